//! How much of what others bring is taken in (docs/spec/membership.md, *Room*).
//!
//! > What is brought unasked has its bound, by author and in all. What a member's own op or bundle
//! > depends on has none but the set's, so that sets that differ become one with the next op.
//!
//! The last part of the set is kept for those who can remove whoever fills it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{
    bits::Bits,
    op::{Body, Kind, Op},
    set::{InsertError, Inserted, OpSet},
};
use crate::{
    ids::{MemberId, OpId},
    limits,
};

/// Ops that a set may grow by before it is looked at anew who is a member.
const SOON: usize = 256;

/// Members as of some ops ago, and what was counted: each with how many ops the set had.
#[derive(Clone, Default)]
pub(super) struct Insiders {
    at: usize,
    members: BTreeSet<MemberId>,
    late: Option<(usize, Arc<BTreeMap<MemberId, usize>>)>,
    loose: Option<(usize, MemberId, usize)>,
}

impl OpSet {
    /// Takes an op in that somebody brought, like [`Self::insert`], where there is room for it.
    /// `named` are ops that are depended on beside the set, each with who says so.
    pub fn take(
        &mut self,
        op: Op,
        named: &BTreeSet<(OpId, MemberId)>,
    ) -> Result<Inserted, InsertError> {
        self.put(op, |set, op| set.has_room(op, named))
    }

    /// What is told to somebody with these heads, parents first: what it lacks, but not what counts for
    /// nothing by authors of whom it takes no more. What is `named` by a bundle is told all the same.
    #[must_use]
    pub fn to_tell<'a>(&self, heads: &[OpId], named: impl Iterator<Item = &'a OpId>) -> Vec<OpId> {
        let idle = self.idle(named);
        let told = |id: &OpId| self.number(id).is_none_or(|at| !idle.contains(at));
        self.not_in_past(heads).into_iter().filter(told).collect()
    }

    /// Whether an op by this author has a place in what is left of the set.
    pub(super) fn is_open_to(&self, body: &Body, bytes: usize) -> bool {
        let (ops, bytes) = (self.ops.len() + 1, self.bytes.saturating_add(bytes));
        let within = |kept_ops: usize, kept_bytes: usize| {
            ops <= limits::OPS - kept_ops && bytes <= limits::OPS_TOTAL_BYTES - kept_bytes
        };
        if within(limits::OPS_KEPT, limits::OPS_KEPT_BYTES) {
            return true;
        }
        let now = self.resolve();
        let Some(standing) = now.members.get(&body.author) else { return false };
        let cap = body.cap.and_then(|cap| self.number(&cap));
        let by_admin =
            standing.admin.is_some() && cap.is_some_and(|cap| self.nodes[cap].act.is_admin_grant());
        let ends = matches!(body.kind, Kind::Leave | Kind::Retire { .. });
        let last = now.admins().first() == Some(&body.author);
        (by_admin || ends)
            && (last && within(0, 0) || within(limits::OPS_LAST, limits::OPS_LAST_BYTES))
    }

    fn has_room(&self, op: &Op, named: &BTreeSet<(OpId, MemberId)>) -> bool {
        let author = op.author();
        // Of whom nothing is known here waits for what tells, within a bound of its own.
        if !self.granted.contains(&author) {
            return true;
        }
        let is_open = self.is_open_to(op.body(), op.as_bytes().len());
        let own = if self.is_insider(&author) {
            self.own_room(&author)
        } else {
            self.outside_room(&author)
        };
        is_open && own || self.is_depended_on(&op.id(), &author, is_open, named)
    }

    /// Whether somebody is a member, by what was found a few ops ago at most.
    fn is_insider(&self, who: &MemberId) -> bool {
        let known = self.insiders.borrow();
        let (at, inside) = (known.at, known.members.contains(who));
        if at == self.ops.len() || inside && self.ops.len() < at + SOON {
            return inside;
        }
        drop(known);
        let members: BTreeSet<MemberId> = self.resolve().members.keys().copied().collect();
        let inside = members.contains(who);
        let mut known = self.insiders.borrow_mut();
        (known.at, known.members) = (self.ops.len(), members);
        inside
    }

    /// An admin may be the only one who signs ops, one after another; who is none has others' ops
    /// after its own in time.
    fn own_room(&self, author: &MemberId) -> bool {
        let own = || self.numbers_of(author);
        if own().count() < limits::OPS_LOOSE {
            return true;
        }
        if self.resolve().is_admin(author) {
            return own().filter(|at| self.is_head(*at)).count() < limits::OPS_LOOSE;
        }
        let known = self.insiders.borrow().loose;
        if let Some((_, _, loose)) =
            known.filter(|(at, who, _)| *at == self.ops.len() && who == author)
        {
            return loose < limits::OPS_LOOSE;
        }
        let followed = self.before(|at| {
            let other = self.nodes[at].author;
            other != *author && self.is_insider(&other)
        });
        let loose = own().filter(|at| !followed.contains(*at)).count();
        self.insiders.borrow_mut().loose = Some((self.ops.len(), *author, loose));
        loose < limits::OPS_LOOSE
    }

    /// Of somebody who is no member what it signed beside or after its end, and what waits.
    fn outside_room(&self, author: &MemberId) -> bool {
        let late = self.late();
        let waiting = self.pending.ops.values().filter(|op| op.author() == *author).count();
        let own = late.get(author).copied().unwrap_or_default() + waiting;
        own < limits::OPS_OUTSIDE_OF_ONE && late.values().sum::<usize>() < limits::OPS_OUTSIDE
    }

    /// How many ops those who are no members signed that no end of their memberships follows.
    fn late(&self) -> Arc<BTreeMap<MemberId, usize>> {
        if let Some((at, late)) = &self.insiders.borrow().late
            && *at == self.ops.len()
        {
            return late.clone();
        }
        let now = self.resolve();
        let mut ended: BTreeMap<MemberId, (Bits, Option<Bits>)> = BTreeMap::new();
        for end in now.ended.values().filter(|end| !now.is_member(&end.member)) {
            let (by_others, by_itself) = ended.entry(end.member).or_default();
            for at in end.removals.iter().chain(&end.leaves).filter_map(|id| self.number(id)) {
                let past = &self.nodes[at].past;
                if self.nodes[at].author != end.member {
                    by_others.union(past);
                } else if let Some(all) = by_itself {
                    // Whoever goes on leaving makes nothing undone by it.
                    all.intersect(past);
                } else {
                    *by_itself = Some(past.clone());
                }
            }
        }
        let mut late: BTreeMap<MemberId, usize> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            if let Some((by_others, by_itself)) = ended.get(&node.author)
                && !by_others.contains(at)
                && !by_itself.as_ref().is_some_and(|past| past.contains(at))
            {
                *late.entry(node.author).or_default() += 1;
            }
        }
        let late = Arc::new(late);
        self.insiders.borrow_mut().late = Some((self.ops.len(), late.clone()));
        late
    }

    /// Everything before one of these.
    fn before(&self, of: impl Fn(usize) -> bool) -> Bits {
        let mut before = Bits::default();
        // Parents come first: what is in it already brings nothing more.
        for at in (0..self.nodes.len()).rev() {
            if !before.contains(at) && of(at) {
                before.union(&self.nodes[at].past);
            }
        }
        before
    }

    /// Whether what somebody else who is a member said depends on it; where the set is nearly full,
    /// somebody for whom the rest is kept.
    fn is_depended_on(
        &self,
        id: &OpId,
        author: &MemberId,
        is_open: bool,
        named: &BTreeSet<(OpId, MemberId)>,
    ) -> bool {
        let counts = |who: &MemberId| who != author && self.is_insider(who);
        let roots = self.pending.ops.values().filter(|op| {
            counts(&op.author()) && (is_open || self.is_open_to(op.body(), op.as_bytes().len()))
        });
        let mut wanted: Vec<OpId> = roots.flat_map(|op| op.body().deps.iter().copied()).collect();
        let by_admin = |who: &MemberId| is_open || self.resolve().is_admin(who);
        wanted.extend(
            named.iter().filter(|(_, who)| counts(who) && by_admin(who)).map(|(id, _)| *id),
        );
        let mut seen: BTreeSet<OpId> = BTreeSet::new();
        while let Some(next) = wanted.pop() {
            if next == *id {
                return true;
            }
            if seen.insert(next)
                && let Some(op) = self.pending.ops.get(&next)
            {
                wanted.extend(op.body().deps.iter().copied());
            }
        }
        false
    }

    /// The ops that count for nothing, by those who are no members and have no room left, and that
    /// nothing else follows or names.
    fn idle<'a>(&self, named: impl Iterator<Item = &'a OpId>) -> Bits {
        let mut idle = Bits::default();
        if self.ops.len() < limits::OPS_OUTSIDE_OF_ONE {
            return idle;
        }
        let (late, now) = (self.late(), self.resolve());
        if late.values().all(|late| *late < limits::OPS_OUTSIDE_OF_ONE) {
            return idle;
        }
        let full = |who| late.get(who).is_some_and(|late| *late >= limits::OPS_OUTSIDE_OF_ONE);
        let is_idle = |at: usize| {
            let (node, kind) = (&self.nodes[at], &self.ops[at].body().kind);
            let nothing = now.void.contains(&node.id) || matches!(kind, Kind::Other { .. });
            full(&node.author) && nothing && !matches!(kind, Kind::Retire { .. })
        };
        let mut followed = self.before(|at| !is_idle(at));
        for at in named.filter_map(|id| self.number(id)) {
            followed.union(&self.nodes[at].past);
            followed.insert(at);
        }
        let loose = (0..self.nodes.len()).filter(|at| is_idle(*at) && !followed.contains(*at));
        loose.for_each(|at| idle.insert(at));
        idle
    }

    fn numbers_of(&self, author: &MemberId) -> impl Iterator<Item = usize> {
        self.by_author.range((*author, 0)..=(*author, u32::MAX)).flat_map(|(_, ops)| ops).copied()
    }

    fn is_head(&self, at: usize) -> bool {
        self.heads.contains(&self.nodes[at].id)
    }
}
