//! I7 to I10: what the ops come to.

use alloc::{collections::BTreeSet, format, vec, vec::Vec};

use rand_chacha::rand_core::Rng;

use super::Sim;
use crate::{
    ids::{MemberId, OpId},
    membership::{Body, InsertError, Inserted, Kind, Op, OpSet, RemoveReason},
    sim::{
        invariant::Invariant,
        oracle::{self, View},
        rules::Rule,
    },
};

/// Hostile ops tried on each set of ops at the end.
const PROBES: usize = 12;

impl Sim {
    /// I7: members with equal ops agree.
    pub(super) fn check_convergence(&mut self, members: &[usize]) {
        if !self.world.relay && !self.are_acquainted(members) {
            return;
        }
        let views: BTreeSet<_> = members
            .iter()
            .map(|at| {
                let group = self.world.member(*at);
                let ids: Vec<_> = group.members().iter().map(|member| member.id).collect();
                let topics = group.op_set().resolve().topics();
                (group.fingerprint(), ids, topics.write.clone())
            })
            .collect();
        let watch = &mut self.world.watch;
        watch.check(Invariant::Convergence, views.len() <= 1, || {
            format!("members disagree: {views:?}")
        });
        let truth = self.truth();
        let void = truth.iter().filter(|op| {
            matches!(op.body().kind, Kind::Remove { .. }) && truth.resolve().void.contains(&op.id())
        });
        let void = void.count() as u64;
        self.world.watch.happened_times("void removals", void);
        if truth.resolve().topics().write.len() > 1 {
            self.world.watch.happened("topics at once");
        }
        for at in members.iter().filter(|at| !self.world.people[**at].hostile) {
            let group = self.world.member(*at);
            let lacks = group.is_without_topics();
            let needs = group.op_set().resolve().topics().needs_refresh();
            // Who is alone without a relay may wait for the secret of somebody who left unheard.
            let may = members.len() > 1 || self.world.relay;
            self.world.watch.check(Invariant::Liveness, !may || !lacks && !needs, || {
                format!("{at} lacks a topic ({lacks}), or a clean one ({needs})")
            });
        }
    }

    /// I7: ops that come in another order, and twice, come to the same.
    pub(super) fn check_shuffled(&mut self) {
        let truth = self.truth();
        let mut ops: Vec<&Op> = truth.iter().skip(1).collect();
        for at in (1..ops.len()).rev() {
            ops.swap(at, self.world.below(at + 1));
        }
        let genesis = truth.iter().next().unwrap().clone();
        let mut other = OpSet::new(genesis).unwrap();
        let waits = self.world.watch.keeps(Rule::EarlyOpsWait);
        for op in ops.iter().chain(&ops[..ops.len() / 4]) {
            let early = op.body().deps.iter().any(|dep| !other.contains(dep));
            if waits || !early {
                other.insert((*op).clone()).unwrap();
            }
        }
        let same = other.resolve() == truth.resolve() && other.heads() == truth.heads();
        self.world.watch.check(Invariant::Convergence, same, || {
            format!("{} ops come to something else in another order", ops.len())
        });
    }

    /// I7: the rule that ships and its second reading agree.
    pub(super) fn check_second_reading(&mut self) {
        let truth = self.truth();
        let (shipped, read) = (View::shipped(&truth), View::read(&truth, None));
        self.world.watch.check(Invariant::Convergence, shipped == read, || {
            format!("the rule as shipped and as read differ: {shipped:?} and {read:?}")
        });
        let (shipped, read) = (truth.resolve().conduct, oracle::conduct(&truth));
        self.world.watch.check(Invariant::Convergence, shipped == read, || {
            format!("the conduct as shipped and as read differs: {shipped:?} and {read:?}")
        });
    }

    /// I8 to I10: ops that hostile people could sign now, tried on a copy of the ops.
    pub(super) fn check_probes(&mut self) {
        let truth = self.truth();
        let rule = [Rule::ActOnJuniors, Rule::RemovalVoidsBeside, Rule::RemovalEndsBeside]
            .into_iter()
            .find(|rule| !self.world.watch.keeps(*rule));
        let view = |ops: &OpSet| match rule {
            None => View::shipped(ops),
            Some(_) => View::read(ops, rule),
        };
        let before = view(&truth);
        let people: Vec<MemberId> = truth.iter().filter_map(Op::subject).collect();
        let grants: Vec<(OpId, MemberId)> = truth
            .iter()
            .filter(|op| matches!(op.body().kind, Kind::Promote { .. } | Kind::Genesis { .. }))
            .filter_map(|op| Some((op.id(), op.subject()?)))
            .collect();
        for probe in 0..PROBES {
            let (grant, author) = grants[self.world.below(grants.len())];
            let member = people[self.world.below(people.len())];
            let mut topic_commit = [0; 32];
            self.world.rng.fill_bytes(&mut topic_commit);
            let kind = match self.world.below(3) {
                0 => {
                    Kind::Remove { member, cut: vec![], reason: RemoveReason::Unsaid, topic_commit }
                }
                1 => Kind::Demote { member },
                _ => Kind::Promote { member },
            };
            // As if it knew nothing since, or all.
            let deps = if probe % 2 == 0 { vec![grant] } else { self.known_to(&truth, grant) };
            let body = Body {
                group: Some(truth.group()),
                author,
                seq: 99,
                deps,
                cap: Some(grant),
                at: self.world.now,
                kind: kind.clone(),
                incarnation: None,
            };
            let author_at = self.world.at(&author);
            let op = Op::sign(body, self.world.people[author_at].me.identity());
            let mut after = truth.clone();
            match after.insert(op.clone()) {
                Ok(Inserted::New(_)) => {}
                Ok(_) | Err(InsertError::NotFormed) => continue,
                Err(_) => return,
            }
            self.check_probe(&truth, &op, &before, &view(&after));
        }
    }

    /// The heads of a random past that has this grant.
    fn known_to(&mut self, ops: &OpSet, grant: OpId) -> Vec<OpId> {
        let all: Vec<OpId> = ops.iter().map(Op::id).collect();
        let known = all[self.world.below(all.len())];
        let past = ops.past(&[known]).unwrap();
        let mut heads = if past.contains(&grant) { vec![known] } else { vec![grant, known] };
        if ops.past(&[grant]).unwrap().contains(&known) {
            heads = vec![grant];
        }
        heads.sort_unstable();
        heads.dedup();
        heads
    }

    fn check_probe(&mut self, ops: &OpSet, op: &Op, before: &View, after: &View) {
        let now = ops.resolve();
        let (author, cap) = (op.author(), op.body().cap.unwrap());
        let unknowing = op.body().deps == [cap];
        let let_in_or_out: BTreeSet<MemberId> =
            before.members.symmetric_difference(&after.members).copied().collect();
        let raised_or_lowered: BTreeSet<MemberId> =
            before.admins.symmetric_difference(&after.admins).copied().collect();
        let changed: BTreeSet<MemberId> =
            let_in_or_out.union(&raised_or_lowered).copied().collect();
        let told = || format!("{:?} by {author:?}", op.body().kind);
        let own = now.members.get(&author).filter(|standing| standing.admin == Some(cap));
        let watch = &mut self.world.watch;
        if own.is_some() {
            // A member by a grant that is senior may be an admin by one that is not.
            let senior = |who: &&MemberId| {
                let out = let_in_or_out.contains(*who) && !now.may_remove(&author, who);
                let down = raised_or_lowered.contains(*who) && !now.may_demote(&author, who);
                **who != author && (now.is_member(who) && out || now.is_admin(who) && down)
            };
            let seniors: Vec<_> = changed.iter().filter(senior).collect();
            watch.check(Invariant::Juniors, seniors.is_empty(), || {
                format!("{} changes its seniors {seniors:?}", told())
            });
        }
        if unknowing && now.ended.get(&cap).is_some_and(|ended| !ended.removals.is_empty()) {
            let others: Vec<_> = changed.iter().filter(|who| **who != author).collect();
            watch.check(Invariant::Retaliation, others.is_empty(), || {
                format!("{}, who was removed, changes {others:?}", told())
            });
        }
        if let (Kind::Promote { member }, Some(own), true) = (&op.body().kind, own, unknowing)
            && !before.members.contains(member)
        {
            let by_senior = |removal: &OpId| {
                let removal = ops.op(removal).unwrap();
                now.members.get(&removal.author()).is_some_and(|standing| {
                    standing.admin == removal.body().cap && standing.rank <= own.rank
                }) && !ops.past(&[cap]).unwrap().contains(&removal.id())
            };
            let mut ended = now.ended.values().filter(|ended| ended.member == *member);
            if ended.any(|ended| ended.removals.iter().any(by_senior)) {
                watch.check(Invariant::Reentry, !after.members.contains(member), || {
                    format!("{member:?} is back by a {} beside its removal", told())
                });
            }
        }
    }
}
