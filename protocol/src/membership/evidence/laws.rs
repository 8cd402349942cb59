//! What must hold of any DAG: docs/spec/invariants.md, I7 to I10.

use alloc::vec::Vec;

use super::{
    dag::{Dag, Do, FOUNDER, PEOPLE, Step},
    oracle::{Oracle, Rule},
};
use crate::membership::{
    bits::Bits,
    node::{Act, Node},
    resolution::in_force,
    resolve::resolve,
};

/// A law that a DAG breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broken {
    /// The validity of an op depends on itself.
    Cycle,
    /// The founder is no admin, though it never left.
    Founder,
    /// I8: a junior's op changes something for its seniors.
    JuniorHarm,
    /// A Leave, or what its author does after it, changes something for somebody else.
    LeaveHarm,
    /// I9: what a removed member did beside its removal changes something for others.
    Retaliation,
    /// I10: a removed member came back by itself or by a junior of whoever removed it.
    Reentry,
    /// What a lost machine did beside its Retire changes something for others.
    Thief,
    /// Somebody is a member after a Retire that nothing follows.
    NotRetired,
    /// A Refresh counts that its author's Retire does not follow, by a grant that does not follow it.
    Refreshed,
    /// More Admits count than the invite has uses.
    Uses,
    /// An Admit counts that an InviteRevoke voids.
    Revoked,
    /// An InviteRevoke by a junior of the invite's changes something.
    Seniority,
    /// An act of an admin who knows everything does not count, or does not last.
    NoWayBack,
    /// A Refresh by a member who knows everything does not count.
    Silenced,
}

/// I7: ops that come in another order come to the same; and the rule that ships and its second
/// reading agree on every op.
pub(super) fn assert_one_outcome(dag: &Dag, oracle: &Oracle<'_>, orders: &[Vec<usize>]) {
    for order in orders {
        let nodes = dag.reordered(order).nodes();
        let verdict = resolve(&nodes, Bits::below(nodes.len()));
        for (at, old) in order.iter().copied().enumerate() {
            let stands = verdict.stands(&nodes, at);
            let admin = stands
                && nodes[at].act.is_admin_grant()
                && verdict.revokers(&nodes, at).next().is_none();
            let grant = dag.grants(old).is_some();
            let same = verdict.valid[at] == oracle.is_valid(old)
                && (!grant || stands == oracle.stands(old))
                && (!grant || admin == oracle.stands_as_admin(old));
            assert!(same, "{old} in {order:?}: {:?}", dag.steps());
        }
        let conduct = in_force(&nodes, &verdict, |act| *act == Act::Conduct);
        assert_eq!(conduct.map(|at| order[at]), oracle.conduct(), "{order:?}: {:?}", dag.steps());
        let by_rank = |a: &usize, b: &usize| verdict.rank[*a].cmp(&verdict.rank[*b]);
        let mut grants: Vec<usize> =
            (0..nodes.len()).filter(|at| verdict.rank[*at].is_some()).collect();
        grants.sort_by(by_rank);
        let ranks = grants.iter().map(|at| oracle.rank(order[*at]));
        assert!(ranks.is_sorted_by(|a, b| a < b), "{order:?}: {:?}", dag.steps());
    }
}

/// To who takes each Conduct for an op of an unknown kind all else is as valid, and stands as well.
pub(super) fn assert_same_to_older_nodes(dag: &Dag) {
    let of = |nodes: &[Node]| resolve(nodes, Bits::below(nodes.len()));
    let (new, mut nodes) = (dag.nodes(), dag.nodes());
    for node in nodes.iter_mut().filter(|node| node.act == Act::Conduct) {
        node.act = Act::Other;
    }
    let (knows, older) = (of(&new), of(&nodes));
    for at in 0..nodes.len() {
        assert_eq!(new[at].is_formed(&new), nodes[at].is_formed(&nodes));
        assert_eq!(knows.rank[at], older.rank[at]);
        if new[at].grants().is_some() {
            assert_eq!(knows.stands(&new, at), older.stands(&nodes, at));
        }
        assert!(!older.valid[at] || knows.valid[at]);
        assert!(older.valid[at] == knows.valid[at] || new[at].act == Act::Conduct);
    }
    assert_eq!(knows.uses, older.uses);
}

/// Checks every law but I7.
pub(super) fn check<'a>(dag: &'a Dag, rule: Rule) -> Result<Oracle<'a>, Broken> {
    let oracle = Oracle::of(dag, rule).map_err(|_| Broken::Cycle)?;
    founder(dag, &oracle)?;
    for op in 1..dag.steps().len() {
        let other = dag.without(1 << op | after_leave(dag, &oracle, op));
        let without = Oracle::of(&other, rule).map_err(|_| Broken::Cycle)?;
        match dag.steps()[op].act {
            Do::Leave => leave(dag, &oracle, rule, op)?,
            Do::Retire => retire(dag, &oracle, op, &without)?,
            _ => junior(dag, &oracle, op, &without)?,
        }
        reentry(dag, &oracle, op, &without)?;
    }
    retaliation(dag, &oracle, rule)?;
    thief(dag, &oracle, rule)?;
    invites(dag, &oracle, rule)?;
    way_back(dag, &oracle)?;
    Ok(oracle)
}

fn founder(dag: &Dag, oracle: &Oracle<'_>) -> Result<(), Broken> {
    let left = |step: &Step| step.author == FOUNDER && matches!(step.act, Do::Leave | Do::Retire);
    let left = dag.steps().iter().any(left);
    if left || oracle.is_admin(FOUNDER) { Ok(()) } else { Err(Broken::Founder) }
}

/// Whether a grant comes to the same in both.
fn same(a: &Oracle<'_>, b: &Oracle<'_>, grant: usize) -> bool {
    a.stands(grant) == b.stands(grant) && a.stands_as_admin(grant) == b.stands_as_admin(grant)
}

/// Neither a Leave nor what its author does after it changes anything for others.
fn leave(dag: &Dag, oracle: &Oracle<'_>, rule: Rule, op: usize) -> Result<(), Broken> {
    let gone = 1 << op | after_leave(dag, oracle, op);
    let unharmed = is_harmless(dag, oracle, rule, gone, dag.steps()[op].author, |_| false)?;
    if unharmed { Ok(()) } else { Err(Broken::LeaveHarm) }
}

/// If an op is a Leave: what its author does after it, by grants that it does not precede.
fn after_leave(dag: &Dag, oracle: &Oracle<'_>, op: usize) -> u16 {
    let leave = &dag.steps()[op];
    let after = |(at, step): &(usize, &Step)| {
        let by_old = step.cap.is_some_and(|cap| !oracle.is_past(op, usize::from(cap)));
        leave.act == Do::Leave
            && step.author == leave.author
            && step.act != Do::Retire
            && by_old
            && oracle.is_past(op, *at)
    };
    dag.steps().iter().enumerate().filter(after).fold(0, |ops, (at, _)| ops | 1 << at)
}

fn junior(dag: &Dag, oracle: &Oracle<'_>, op: usize, without: &Oracle<'_>) -> Result<(), Broken> {
    let rank = oracle.rank_of_cap(op);
    let unharmed = (0..dag.steps().len()).filter(|at| *at != op).all(|at| {
        // An Admit by an invite also lives by whoever may revoke the invite, or use it first.
        let by_invite = matches!(dag.steps()[at].act, Do::Redeem(..));
        let senior = oracle.rank_of_cap(at) <= rank;
        let senior_grant = dag.grants(at).is_some_and(|who| !retires(dag, without, who))
            && oracle.rank(at) <= rank;
        let own_word = refreshes_retired(dag, without, at);
        (by_invite || own_word || !senior || oracle.is_valid(at) == without.is_valid(at))
            && (by_invite || !senior_grant || same(oracle, without, at))
    });
    if unharmed { Ok(()) } else { Err(Broken::JuniorHarm) }
}

/// A Retire is harmless to all that is senior to its grant but its author's own Refreshes, and to
/// everybody's grants there but its author's own; and nothing is left of its author's membership, nor
/// of what it did as a member, that the Retire follows or stands beside.
fn retire(dag: &Dag, oracle: &Oracle<'_>, op: usize, without: &Oracle<'_>) -> Result<(), Broken> {
    let (rank, own) = (oracle.rank_of_cap(op), dag.steps()[op].author);
    let unharmed = (0..dag.steps().len()).filter(|at| *at != op).all(|at| {
        let by_invite = matches!(dag.steps()[at].act, Do::Redeem(..));
        let senior = oracle.rank_of_cap(at) < rank;
        let senior_grant = dag.grants(at).is_some_and(|who| who != own) && oracle.rank(at) < rank;
        (by_invite
            || is_refresh(dag, at, own)
            || !senior
            || oracle.is_valid(at) == without.is_valid(at))
            && (by_invite || !senior_grant || same(oracle, without, at))
    });
    if !unharmed {
        return Err(Broken::JuniorHarm);
    }
    let mut grants = (0..dag.steps().len()).filter(|g| dag.grants(*g) == Some(own));
    if !grants.all(|g| oracle.is_past(op, g) || !oracle.stands(g)) {
        return Err(Broken::NotRetired);
    }
    let anew = |at: usize| {
        let cap = dag.steps()[at].cap.map(usize::from);
        cap.is_some_and(|cap| oracle.is_past(op, cap))
    };
    let mut refreshes = (0..dag.steps().len()).filter(|at| is_refresh(dag, *at, own));
    let silent = refreshes.all(|at| oracle.is_past(at, op) || anew(at) || !oracle.is_valid(at));
    if silent { Ok(()) } else { Err(Broken::Refreshed) }
}

fn is_refresh(dag: &Dag, at: usize, by: u8) -> bool {
    let step = &dag.steps()[at];
    step.act == Do::Refresh && step.author == by
}

/// Whether an op is a Refresh by somebody who retires by a grant that is not there without some ops:
/// whoever does voids its own Refreshes, too.
fn refreshes_retired(dag: &Dag, without: &Oracle<'_>, at: usize) -> bool {
    let author = dag.steps()[at].author;
    is_refresh(dag, at, author) && retires(dag, without, author)
}

/// Whether somebody retires by a grant that is not there without some ops: whoever does ends its
/// other grants too, and that is its own word.
fn retires(dag: &Dag, without: &Oracle<'_>, who: u8) -> bool {
    let mut steps = dag.steps().iter().enumerate();
    steps.any(|(at, step)| step.act == Do::Retire && step.author == who && !without.is_formed(at))
}

/// The valid removals, with whom they are about.
fn removals<'a>(dag: &'a Dag, oracle: &'a Oracle<'_>) -> impl Iterator<Item = (usize, u8)> + 'a {
    dag.steps().iter().enumerate().filter_map(|(at, step)| match step.act {
        Do::Remove(who) if oracle.is_valid(at) => Some((at, who)),
        _ => None,
    })
}

/// What anybody does beside its removal, or as an admin beside its demotion, changes nothing for
/// others.
fn retaliation(dag: &Dag, oracle: &Oracle<'_>, rule: Rule) -> Result<(), Broken> {
    for (end, step) in dag.steps().iter().enumerate().filter(|(at, _)| oracle.is_valid(*at)) {
        let (whom, demoted) = match step.act {
            Do::Remove(whom) => (whom, false),
            Do::Demote(whom) => (whom, true),
            _ => continue,
        };
        let mut held = (0..dag.steps().len())
            .filter(|g| dag.grants(*g) == Some(whom) && (!demoted || dag.is_admin_grant(*g)));
        let out =
            held.all(|g| !oracle.is_formed(g) || oracle.revokes(end, g) && !oracle.is_past(end, g));
        // Whoever is demoted is a member still, and may leave, or void what it does as a member. Of who is
        // removed a Retire voids Refreshes that the removal follows, which begins a topic after them.
        let own =
            |at: usize| demoted && dag.steps()[at].author == whom || is_refresh(dag, at, whom);
        let beside = beside(dag, oracle, end, whom, |act| !demoted || act != Do::Leave);
        if out && !is_harmless(dag, oracle, rule, beside, whom, own)? {
            return Err(Broken::Retaliation);
        }
    }
    Ok(())
}

/// What a machine does beside the Retire of its owner, under the grants that this voids, changes
/// nothing for others.
fn thief(dag: &Dag, oracle: &Oracle<'_>, rule: Rule) -> Result<(), Broken> {
    let retires = |at: &usize| dag.steps()[*at].act == Do::Retire && oracle.is_valid(*at);
    for end in (0..dag.steps().len()).filter(retires) {
        let owner = dag.steps()[end].author;
        let mut held = (0..dag.steps().len()).filter(|g| dag.grants(*g) == Some(owner));
        let out = held.all(|g| {
            let junior = oracle.rank_of_cap(end) <= oracle.rank(g);
            !oracle.is_formed(g) || junior && !oracle.is_past(end, g)
        });
        let beside = beside(dag, oracle, end, owner, |act| !matches!(act, Do::Leave | Do::Retire));
        if out && !is_harmless(dag, oracle, rule, beside, owner, |_| false)? {
            return Err(Broken::Thief);
        }
    }
    Ok(())
}

/// What somebody did that is not before an op, nor the op itself.
fn beside(
    dag: &Dag,
    oracle: &Oracle<'_>,
    end: usize,
    whom: u8,
    counts: impl Fn(Do) -> bool,
) -> u16 {
    let steps = dag.steps().iter().enumerate();
    steps
        .filter(|(at, step)| step.author == whom && *at != end && !oracle.is_past(*at, end))
        .filter(|(_, step)| counts(step.act))
        .fold(0, |ops, (at, _)| ops | 1 << at)
}

/// Whether nothing changes for others where these ops of somebody are taken away.
fn is_harmless(
    dag: &Dag,
    oracle: &Oracle<'_>,
    rule: Rule,
    ops: u16,
    whom: u8,
    own: impl Fn(usize) -> bool,
) -> Result<bool, Broken> {
    if ops == 0 {
        return Ok(true);
    }
    let other = dag.without(ops);
    let without = Oracle::of(&other, rule).map_err(|_| Broken::Cycle)?;
    let mut left = (0..dag.steps().len()).filter(|at| ops >> at & 1 == 0 && !own(*at));
    let unharmed = left.all(|at| {
        let grants = dag.grants(at);
        (oracle.is_valid(at) == without.is_valid(at) || refreshes_retired(dag, &without, at))
            && grants.is_none_or(|who| {
                who == whom || retires(dag, &without, who) || same(oracle, &without, at)
            })
    });
    let mut others = (0..PEOPLE).filter(|who| *who != whom && !retires(dag, &without, *who));
    let nobody_else = others.all(|who| {
        oracle.is_member(who) == without.is_member(who)
            && oracle.is_admin(who) == without.is_admin(who)
    });
    Ok(unharmed && nobody_else)
}

/// Where one op makes somebody a member again whom a removal keeps out without it, there is a grant
/// that follows the removal, or the op is by a senior of whoever removed them, or whoever did is
/// retired by it.
fn reentry(dag: &Dag, oracle: &Oracle<'_>, op: usize, without: &Oracle<'_>) -> Result<(), Broken> {
    for (removal, whom) in removals(dag, without) {
        if without.is_member(whom) || !oracle.is_member(whom) {
            continue;
        }
        let grants = || (0..dag.steps().len()).filter(|g| dag.grants(*g) == Some(whom));
        let kept_out = grants().any(|g| without.is_valid(g) && without.revokes(removal, g));
        let granted = grants().any(|g| oracle.stands(g) && oracle.is_past(removal, g));
        let (by, removed) = (&dag.steps()[op], &dag.steps()[removal]);
        let taken_back = by.act == Do::Retire
            && by.author == removed.author
            && oracle.rank_of_cap(op) == oracle.rank_of_cap(removal);
        let by_senior = oracle.rank_of_cap(op) < oracle.rank_of_cap(removal);
        if kept_out && !granted && !by_senior && !taken_back {
            return Err(Broken::Reentry);
        }
    }
    Ok(())
}

/// No invite has more uses than it may; none has any that a valid InviteRevoke, by a grant not
/// junior to its own, does not follow; and other InviteRevokes change nothing.
fn invites(dag: &Dag, oracle: &Oracle<'_>, rule: Rule) -> Result<(), Broken> {
    for (invite, step) in dag.steps().iter().enumerate() {
        let Do::Invite(uses) = step.act else { continue };
        let by_it = |at: &usize| matches!(dag.steps()[*at].act, Do::Redeem(_, by) if usize::from(by) == invite);
        let counted: Vec<usize> =
            (0..dag.steps().len()).filter(|at| by_it(at) && oracle.is_valid(*at)).collect();
        if counted.len() > usize::from(uses) {
            return Err(Broken::Uses);
        }
        let revokes = |r: &usize| dag.steps()[*r].act == Do::Revoke && oracle.is_valid(*r);
        for r in (0..dag.steps().len()).filter(revokes) {
            let senior = oracle.may_revoke(r, invite);
            if senior && counted.iter().any(|at| !oracle.is_past(*at, r)) {
                return Err(Broken::Revoked);
            }
            let other = dag.without(1 << r);
            let without = Oracle::of(&other, rule).map_err(|_| Broken::Cycle)?;
            let same = |at| oracle.is_valid(at) == without.is_valid(at);
            if !senior && !(0..dag.steps().len()).filter(by_it).all(same) {
                return Err(Broken::Seniority);
            }
        }
    }
    Ok(())
}

/// What follows all other ops counts if its grant stands, and stands if it is a grant itself.
fn way_back(dag: &Dag, oracle: &Oracle<'_>) -> Result<(), Broken> {
    let last = dag.steps().len() - 1;
    let step = &dag.steps()[last];
    let acts = step.cap.map(usize::from).is_some_and(|cap| oracle.stands_as_admin(cap));
    let follows_all = step.past == (1 << last) - 1;
    let redeems = matches!(step.act, Do::Redeem(..));
    if step.act == Do::Retire && follows_all {
        let out = !oracle.is_member(step.author);
        return if out { Ok(()) } else { Err(Broken::NotRetired) };
    }
    let counts = oracle.is_valid(last) && (dag.grants(last).is_none() || oracle.stands(last));
    let member = step.cap.map(usize::from).is_some_and(|cap| oracle.stands(cap));
    if follows_all && member && step.act == Do::Refresh && !oracle.is_valid(last) {
        return Err(Broken::Silenced);
    }
    if follows_all && acts && !redeems && step.act != Do::Inert && !counts {
        return Err(Broken::NoWayBack);
    }
    Ok(())
}
