//! The rule read a second time: by recursion, word for word, so that a cycle would show.

use core::cmp::Reverse;

use super::dag::{Dag, Do, MOST};

/// The rule as it is, or with one part switched off, to show that the checks notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    AsItIs,
    /// Any admin removes any, itself included.
    Rankless,
    /// Any admin removes any other but the founder.
    Sideways,
    /// Any admin removes any other.
    Upward,
    /// A removal voids only what its target did after it.
    BesideCounts,
    /// A removal voids whatever its target does, even by a later grant.
    RevokedForEver,
    /// A Leave voids what its author did beside it.
    LeaveVoids,
    /// What somebody does after its own Leave counts.
    LeaveForgotten,
    /// A Leave voids a Retire that follows it.
    LeaveVoidsRetire,
    /// What follows a Leave is void, even by a later grant.
    LeftForEver,
    /// A removal ends grants that came after it too.
    RemovedForEver,
    /// A removal doesn't end grants that were made beside it.
    BesideSurvives,
    /// A Demote voids a Refresh.
    DemoteSilences,
    /// A Refresh under a grant that is senior to its author's Retire outlives it.
    RefreshUpward,
    /// A Retire that is void voids no Refresh.
    RefreshOutlives,
    /// A Retire voids nothing.
    RetireSpares,
    /// A Retire can't be voided.
    RetireLasts,
    /// A Retire voids what its author did under more senior grants too.
    RetireUpward,
    /// A Retire that is void ends nothing.
    RetireFails,
    /// A Retire voids another one.
    RetireVoidsRetire,
    /// Every Admit by an invite counts.
    UsesUncounted,
    /// An InviteRevoke voids nothing.
    RevokeSpares,
    /// An InviteRevoke by anybody voids what it does not follow.
    RevokeUpward,
    /// An Admit outlives the invite that it is by.
    InviteOutlives,
}

/// What the rule says of every op.
#[derive(Clone, Copy)]
pub(super) struct Oracle<'a> {
    dag: &'a Dag,
    rule: Rule,
    rank: [u64; MOST],
    judged: [Judged; MOST],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Judged {
    NotYet,
    Open,
    Valid,
    Void,
}

/// The validity of an op depends on itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cycle;

/// The rank of what is no formed grant.
const NONE: u64 = u64::MAX;

impl<'a> Oracle<'a> {
    pub(super) fn of(dag: &'a Dag, rule: Rule) -> Result<Self, Cycle> {
        let mut oracle = Self { dag, rule, rank: [NONE; MOST], judged: [Judged::NotYet; MOST] };
        for at in 0..dag.steps().len() {
            oracle.rank[at] = oracle.rank_of(at);
        }
        for at in 0..dag.steps().len() {
            oracle.judge(at)?;
        }
        Ok(oracle)
    }

    /// The path below the founder as a number: four bits a step, from the left, so that numbers
    /// compare as paths do; the class above it.
    fn rank_of(&self, at: usize) -> u64 {
        const CLASS: u64 = 1 << 60;
        let step = &self.dag.steps()[at];
        if !self.is_formed(at) || self.dag.grants(at).is_none() {
            return NONE;
        }
        let Some(cap) = step.cap.map(usize::from) else { return 0 };
        let before = self.rank[cap];
        if before == NONE {
            return NONE;
        }
        let depth = (0..14).find(|depth| before >> (52 - 4 * depth) & 15 == 0).unwrap();
        let class = if self.dag.is_admin_grant(at) { 0 } else { CLASS };
        before + (u64::from(step.order) << (52 - 4 * depth)) + class
    }

    pub(super) fn is_formed(&self, at: usize) -> bool {
        let step = &self.dag.steps()[at];
        let grant = step
            .cap
            .map(usize::from)
            .filter(|cap| step.past >> cap & 1 == 1 && self.dag.grants(*cap) == Some(step.author));
        match step.act {
            Do::Genesis | Do::Leave => step.cap.is_none(),
            Do::Refresh | Do::Retire => grant.is_some(),
            Do::Conduct => step.cap.is_none() || grant.is_some(),
            Do::Inert => true,
            _ => grant.is_some_and(|cap| self.dag.is_admin_grant(cap)),
        }
    }

    fn judge(&mut self, at: usize) -> Result<bool, Cycle> {
        match self.judged[at] {
            Judged::Valid => return Ok(true),
            Judged::Void => return Ok(false),
            Judged::Open => return Err(Cycle),
            Judged::NotYet => self.judged[at] = Judged::Open,
        }
        let valid = self.is_valid_afresh(at)?;
        self.judged[at] = if valid { Judged::Valid } else { Judged::Void };
        Ok(valid)
    }

    fn is_valid_afresh(&mut self, at: usize) -> Result<bool, Cycle> {
        let step = self.dag.steps()[at];
        if !self.is_formed(at) || step.act == Do::Inert {
            return Ok(false);
        }
        let by_admin = step.cap.is_some_and(|cap| self.dag.is_admin_grant(cap.into()));
        if step.act == Do::Conduct && !by_admin {
            return Ok(false);
        }
        let Some(cap) = step.cap.map(usize::from) else { return Ok(true) };
        if !self.has_authority(at, cap)? {
            return Ok(false);
        }
        match step.act {
            Do::Redeem(_, invite) => self.is_redeemed(at, invite.into()),
            _ => Ok(true),
        }
    }

    /// A Leave by o's author is in past(o) and not in past(o.cap).
    pub(super) fn is_after_leave(&self, at: usize, cap: usize) -> bool {
        (0..self.dag.steps().len()).any(|l| {
            self.is_leave_of(l, cap)
                && self.is_past(l, at)
                && (self.rule == Rule::LeftForEver || !self.is_past(l, cap))
        })
    }

    /// valid(o.cap) ∧ ¬left(o) ∧ ¬∃ r: revokes(r,o.cap) ∧ valid(r) ∧ r∉past(o.cap) ∧ o∉past(r)
    fn has_authority(&mut self, at: usize, cap: usize) -> Result<bool, Cycle> {
        if !self.judge(cap)? {
            return Ok(false);
        }
        let retire = self.dag.steps()[at].act == Do::Retire;
        let left = match self.rule {
            Rule::LeaveForgotten => false,
            Rule::LeaveVoidsRetire => self.is_after_leave(at, cap),
            _ => !retire && self.is_after_leave(at, cap),
        };
        if left {
            return Ok(false);
        }
        for r in 0..self.dag.steps().len() {
            let voids = match self.rule {
                Rule::BesideCounts => self.revokes(r, cap) && self.is_past(r, at),
                Rule::LeaveVoids => self.revokes(r, cap) || self.is_leave_of(r, cap),
                _ => self.revokes(r, cap),
            };
            let retires = |at: usize| self.dag.steps()[at].act == Do::Retire;
            let voids = match self.rule {
                Rule::RetireLasts => voids && !retires(at),
                Rule::RetireVoidsRetire => voids,
                _ => voids && !(retires(at) && retires(r)),
            };
            let spares = self.dag.steps()[at].act == Do::Refresh
                && matches!(self.dag.steps()[r].act, Do::Demote(_));
            let silences = self.silences(r, at)?;
            let voids = silences || voids && (!spares || self.rule == Rule::DemoteSilences);
            let spared = self.rule != Rule::RevokedForEver && self.is_past(r, cap);
            let counts = voids && !spared && !self.is_past(at, r);
            if counts && (silences || self.judge(r)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// o = Refresh: each formed Retire by o's author counts as r.
    fn silences(&mut self, r: usize, at: usize) -> Result<bool, Cycle> {
        let steps = self.dag.steps();
        let own = steps[at].act == Do::Refresh
            && steps[r].act == Do::Retire
            && steps[r].author == steps[at].author
            && self.is_formed(r);
        Ok(own
            && match self.rule {
                Rule::RetireSpares => false,
                Rule::RefreshUpward => self.rank_of_cap(r) <= self.rank_of_cap(at),
                Rule::RefreshOutlives => self.judge(r)?,
                _ => true,
            })
    }

    fn is_redeemed(&mut self, at: usize, invite: usize) -> Result<bool, Cycle> {
        let Do::Invite(max_uses) = self.dag.steps()[invite].act else { return Ok(false) };
        let made = self.judge(invite)? || self.rule == Rule::InviteOutlives;
        if !made || self.is_taken_back(at, invite)? {
            return Ok(false);
        }
        let mut before = 0;
        for other in 0..self.dag.steps().len() {
            let rival = matches!(self.dag.steps()[other].act, Do::Redeem(_, i) if usize::from(i) == invite)
                && self.is_formed(other)
                && self.admit_order(other) < self.admit_order(at);
            if rival {
                let cap = usize::from(self.dag.steps()[other].cap.unwrap());
                let counts =
                    self.has_authority(other, cap)? && !self.is_taken_back(other, invite)?;
                before += u8::from(counts);
            }
        }
        Ok(before < max_uses || self.rule == Rule::UsesUncounted)
    }

    fn is_taken_back(&mut self, at: usize, invite: usize) -> Result<bool, Cycle> {
        for r in 0..self.dag.steps().len() {
            let taken = self.dag.steps()[r].act == Do::Revoke
                && self.is_formed(r)
                && (self.may_revoke(r, invite) || self.rule == Rule::RevokeUpward)
                && self.rule != Rule::RevokeSpares
                && !self.is_past(at, r);
            if taken && self.judge(r)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether an InviteRevoke is by a grant not junior to the invite's.
    pub(super) fn may_revoke(&self, r: usize, invite: usize) -> bool {
        self.rank_of_cap(r) <= self.rank_of_cap(invite)
    }

    fn admit_order(&self, at: usize) -> (u64, u8, u8) {
        let step = &self.dag.steps()[at];
        (self.rank_of_cap(at), step.height, step.id)
    }

    /// Whether one op is before another.
    pub(super) fn is_past(&self, at: usize, of: usize) -> bool {
        self.dag.steps()[of].past >> at & 1 == 1
    }

    pub(super) fn is_leave_of(&self, r: usize, grant: usize) -> bool {
        let step = &self.dag.steps()[r];
        step.act == Do::Leave && self.dag.grants(grant) == Some(step.author)
    }

    fn is_retire_of(&self, r: usize, grant: usize) -> bool {
        let step = &self.dag.steps()[r];
        step.act == Do::Retire
            && self.dag.grants(grant) == Some(step.author)
            && self.is_formed(r)
            && (self.rule != Rule::RetireFails || self.is_valid(r))
    }

    /// revokes(r,g) of the rule; r formed is presumed, its validity not.
    pub(super) fn revokes(&self, r: usize, grant: usize) -> bool {
        let step = &self.dag.steps()[r];
        if step.act == Do::Retire {
            let senior = self.rank_of_cap(r) <= self.rank[grant] || self.rule == Rule::RetireUpward;
            return self.rule != Rule::RetireSpares
                && self.dag.grants(grant) == Some(step.author)
                && self.is_formed(r)
                && senior;
        }
        let about = match step.act {
            Do::Remove(who) => Some(who),
            Do::Demote(who) if matches!(self.dag.steps()[grant].act, Do::Promote(_)) => Some(who),
            _ => None,
        };
        about.is_some()
            && about == self.dag.grants(grant)
            && self.is_formed(r)
            && self.is_senior(self.rank_of_cap(r), self.rank[grant])
    }

    fn is_senior(&self, author: u64, target: u64) -> bool {
        match self.rule {
            Rule::Rankless => true,
            Rule::Sideways => author != target && target != 0,
            Rule::Upward => author != target,
            _ => author < target,
        }
    }

    pub(super) fn rank(&self, grant: usize) -> u64 {
        self.rank[grant]
    }

    pub(super) fn rank_of_cap(&self, at: usize) -> u64 {
        self.dag.steps()[at].cap.map_or(NONE, |cap| self.rank[usize::from(cap)])
    }

    pub(super) fn is_valid(&self, at: usize) -> bool {
        self.judged[at] == Judged::Valid
    }

    /// Of the valid Conducts that no other such one follows the most senior author's; then the highest, then the first by id.
    pub(super) fn conduct(&self) -> Option<usize> {
        let steps = self.dag.steps();
        let set =
            || (0..steps.len()).filter(|at| steps[*at].act == Do::Conduct && self.is_valid(*at));
        let last = set().filter(|at| !set().any(|other| self.is_past(*at, other)));
        last.min_by_key(|at| (self.rank_of_cap(*at), Reverse(steps[*at].height), steps[*at].id))
    }

    /// Whether a grant makes its member a member.
    pub(super) fn stands(&self, grant: usize) -> bool {
        self.holds(grant, |r| !matches!(self.dag.steps()[r].act, Do::Demote(_)))
    }

    /// Whether a grant makes its member an admin.
    pub(super) fn stands_as_admin(&self, grant: usize) -> bool {
        self.dag.is_admin_grant(grant) && self.holds(grant, |_| true)
    }

    fn holds(&self, grant: usize, counts: impl Fn(usize) -> bool) -> bool {
        let ends = |r: usize| {
            let beside = self.rule == Rule::BesideSurvives && !self.is_past(grant, r);
            counts(r)
                && (self.is_leave_of(r, grant)
                    || self.is_retire_of(r, grant)
                    || self.is_valid(r) && self.revokes(r, grant) && !beside)
                && (self.rule == Rule::RemovedForEver || !self.is_past(r, grant))
        };
        self.is_valid(grant)
            && self.dag.grants(grant).is_some()
            && !(0..self.dag.steps().len()).any(ends)
    }

    pub(super) fn is_member(&self, who: u8) -> bool {
        (0..self.dag.steps().len()).any(|g| self.dag.grants(g) == Some(who) && self.stands(g))
    }

    pub(super) fn is_admin(&self, who: u8) -> bool {
        (0..self.dag.steps().len())
            .any(|g| self.dag.grants(g) == Some(who) && self.stands_as_admin(g))
    }
}
