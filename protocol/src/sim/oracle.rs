//! The rule of membership read a second time, by recursion over the signed ops, word for word
//! (docs/spec/membership.md), with parts that can be switched off on this side alone.
//!
//! What it can't see: who may redeem an invite how often, and what a policy comes to. What a conduct does it can.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};
use core::cmp::Reverse;

use super::rules::Rule;
use crate::{
    ids::{InviteId, MemberId, OpId},
    membership::{Conduct, Kind, Op, OpSet},
};

/// Members and admins, as a set of ops makes them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub members: BTreeSet<MemberId>,
    pub admins: BTreeSet<MemberId>,
}

impl View {
    /// What the code that ships says.
    pub fn shipped(ops: &OpSet) -> Self {
        let now = ops.resolve();
        let members = now.members.keys().copied().collect();
        let admins = now.members.keys().filter(|id| now.is_admin(id)).copied().collect();
        Self { members, admins }
    }

    /// What the rule says, without one of its parts.
    pub fn read(ops: &OpSet, broken: Option<Rule>) -> Self {
        let mut oracle = Oracle::of(ops, broken);
        let mut view = Self::default();
        for at in 0..oracle.ops.len() {
            let Some(member) = oracle.grants(at) else { continue };
            if oracle.stands(at, false) {
                view.members.insert(member);
            }
            if oracle.gives_admin(at) && oracle.stands(at, true) {
                view.admins.insert(member);
            }
        }
        view
    }
}

/// What the rule says of the conduct in force.
pub(super) fn conduct(ops: &OpSet) -> Conduct {
    let mut oracle = Oracle::of(ops, None);
    let set: Vec<usize> = (0..oracle.ops.len()).filter(|at| oracle.conducts(*at)).collect();
    let followed = |at: &usize| set.iter().any(|other| oracle.past[*other].contains(at));
    let last = set.iter().filter(|at| !followed(at)).min_by_key(|at| {
        let senior = oracle.cap[**at].map(|cap| &oracle.rank[cap]);
        (senior, Reverse(oracle.height[**at]), oracle.ops[**at].id())
    });
    last.and_then(|at| Conduct::of(oracle.kind(*at))).unwrap_or_default()
}

struct Oracle<'a> {
    ops: Vec<&'a Op>,
    height: Vec<u32>,
    past: Vec<BTreeSet<usize>>,
    cap: Vec<Option<usize>>,
    rank: Vec<(u8, Vec<(u32, OpId)>)>,
    valid: Vec<Option<bool>>,
    broken: Option<Rule>,
}

impl<'a> Oracle<'a> {
    fn of(set: &'a OpSet, broken: Option<Rule>) -> Self {
        let ops: Vec<&Op> = set.iter().collect();
        let numbers: BTreeMap<OpId, usize> =
            ops.iter().enumerate().map(|(at, op)| (op.id(), at)).collect();
        let (mut past, mut height): (Vec<BTreeSet<usize>>, Vec<u32>) = (vec![], vec![]);
        for op in &ops {
            let mut before = BTreeSet::new();
            let mut above = 0;
            for dep in op.body().deps.iter().map(|dep| numbers[dep]) {
                before.extend(past[dep].iter().copied());
                before.insert(dep);
                above = above.max(height[dep] + 1);
            }
            past.push(before);
            height.push(above);
        }
        let cap: Vec<Option<usize>> = ops
            .iter()
            .map(|op| op.body().cap.as_ref().and_then(|cap| numbers.get(cap)).copied())
            .collect();
        let mut rank: Vec<(u8, Vec<(u32, OpId)>)> = vec![];
        for (at, op) in ops.iter().enumerate() {
            let mut path = cap[at].map_or_else(Vec::new, |cap| rank[cap].1.clone());
            if cap[at].is_some() {
                path.push((height[at], op.id()));
            }
            let admin = matches!(op.body().kind, Kind::Genesis { .. } | Kind::Promote { .. });
            rank.push((u8::from(!admin), path));
        }
        let valid = vec![None; ops.len()];
        Self { ops, height, past, cap, rank, valid, broken }
    }

    fn kind(&self, at: usize) -> &'a Kind {
        &self.ops[at].body().kind
    }

    fn grants(&self, at: usize) -> Option<MemberId> {
        match self.kind(at) {
            Kind::Genesis { .. } => Some(self.ops[at].author()),
            Kind::Admit { .. } | Kind::Promote { .. } => self.ops[at].subject(),
            _ => None,
        }
    }

    fn gives_admin(&self, at: usize) -> bool {
        matches!(self.kind(at), Kind::Genesis { .. } | Kind::Promote { .. })
    }

    fn revokes(&self, at: usize, grant: usize) -> bool {
        let (Some(cap), Some(member)) = (self.cap[at], self.grants(grant)) else { return false };
        let aimed = match self.kind(at) {
            Kind::Remove { member: whom, .. } => *whom == member,
            Kind::Demote { member: whom } => {
                *whom == member && matches!(self.kind(grant), Kind::Promote { .. })
            }
            _ => false,
        };
        if let Kind::Retire { .. } = self.kind(at) {
            return self.ops[at].author() == member && self.rank[cap] <= self.rank[grant];
        }
        let senior = self.rank[cap] < self.rank[grant];
        aimed && (senior || self.broken == Some(Rule::ActOnJuniors) && cap != grant)
    }

    fn is_valid(&mut self, at: usize) -> bool {
        if let Some(known) = self.valid[at] {
            return known;
        }
        // With the ranks switched off an op may depend on itself: it is void then.
        self.valid[at] = Some(false);
        let valid = match (self.kind(at), self.cap[at]) {
            (Kind::Genesis { .. } | Kind::Leave, _) => true,
            (Kind::Other { .. }, _) | (_, None) => false,
            (_, Some(cap)) => {
                self.is_valid(cap)
                    && !self.has_left(at, cap)
                    && !self.is_voided(at, cap)
                    && self.lives_by_its_invite(at)
            }
        };
        self.valid[at] = Some(valid);
        valid
    }

    /// Whether it is an admin's word on the conduct that counts.
    fn conducts(&mut self, at: usize) -> bool {
        let cap = self.cap[at].filter(|cap| self.gives_admin(*cap));
        Conduct::of(self.kind(at)).is_some()
            && cap.is_some_and(|cap| {
                self.is_valid(cap) && !self.has_left(at, cap) && !self.is_voided(at, cap)
            })
    }

    /// Whether it follows a Leave of its author's that its grant does not; a Retire may.
    fn has_left(&self, at: usize, cap: usize) -> bool {
        let own = |l: &usize| self.ops[*l].author() == self.ops[at].author();
        let left = |l: usize| matches!(self.kind(l), Kind::Leave) && !self.past[cap].contains(&l);
        !matches!(self.kind(at), Kind::Retire { .. })
            && self.past[at].iter().filter(|l| own(l)).any(|l| left(*l))
    }

    fn is_voided(&mut self, at: usize, cap: usize) -> bool {
        if self.broken == Some(Rule::RemovalVoidsBeside) {
            return (0..self.ops.len())
                .any(|r| self.past[at].contains(&r) && self.counts_against(r, at, cap));
        }
        (0..self.ops.len()).any(|r| self.counts_against(r, at, cap))
    }

    fn counts_against(&mut self, r: usize, at: usize, cap: usize) -> bool {
        let retires = |at: usize| matches!(self.kind(at), Kind::Retire { .. });
        let beside = !self.past[cap].contains(&r) && !self.past[r].contains(&at);
        let own = self.ops[r].author() == self.ops[at].author();
        if retires(r) && own && matches!(self.kind(at), Kind::Refresh { .. }) {
            return beside;
        }
        let spares = matches!(self.kind(at), Kind::Refresh { .. })
            && matches!(self.kind(r), Kind::Demote { .. });
        let voids = !(retires(at) && retires(r) || spares);
        self.revokes(r, cap) && voids && beside && self.is_valid(r)
    }

    fn lives_by_its_invite(&mut self, at: usize) -> bool {
        let Kind::Admit { invite: Some(invite), .. } = self.kind(at) else { return true };
        let created: Vec<usize> =
            self.past[at].iter().copied().filter(|other| self.creates(*other, invite)).collect();
        created.into_iter().any(|other| self.is_valid(other))
    }

    fn creates(&self, at: usize, invite: &InviteId) -> bool {
        matches!(self.kind(at), Kind::InviteCreate { record, .. } if record.id == *invite)
    }

    fn stands(&mut self, grant: usize, as_admin: bool) -> bool {
        let member = self.grants(grant);
        let ended = |oracle: &mut Self, r: usize| {
            if oracle.past[grant].contains(&r) {
                return false;
            }
            let beside = !oracle.past[r].contains(&grant);
            let ends = match oracle.kind(r) {
                Kind::Leave | Kind::Retire { .. } => Some(oracle.ops[r].author()) == member,
                Kind::Demote { .. } => as_admin && oracle.revokes(r, grant),
                _ => oracle.revokes(r, grant),
            };
            let survives = oracle.broken == Some(Rule::RemovalEndsBeside) && beside;
            let formed = matches!(oracle.kind(r), Kind::Retire { .. });
            ends && !survives && (formed || oracle.is_valid(r))
        };
        self.is_valid(grant) && !(0..self.ops.len()).any(|r| ended(self, r))
    }
}
