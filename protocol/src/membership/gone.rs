//! By which ops somebody is no member any more. docs/spec/membership.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    bits::Bits,
    node::{Act, Node},
    resolve::Verdict,
    set::OpSet,
};
use crate::ids::{InviteId, MemberId, OpId};

impl OpSet {
    /// The ops by which somebody who was let in is no member: those that end its grants, its own Leaves
    /// too, and those that void what made it one. None for a member, and for who never was one.
    #[must_use]
    pub fn ended_by(&self, member: &MemberId) -> Vec<OpId> {
        let now = self.resolve();
        if now.is_member(member) {
            return Vec::new();
        }
        let ended = now.ended.iter().filter(|(_, ended)| ended.member == *member);
        let by = ended.flat_map(|(grant, ended)| {
            let void = if ended.void { self.voided_by(grant) } else { Vec::new() };
            ended.removals.iter().chain(&ended.leaves).copied().chain(void).collect::<Vec<_>>()
        });
        by.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether the membership that a grant gave goes on: nothing has ended the grant, or its member has
    /// another one that stands and that follows nothing of what did. Whoever was let in anew after its
    /// removal has another membership. Computed once for each resolution.
    #[must_use]
    pub fn goes_on(&self, grant: &OpId) -> bool {
        self.resolve().ended(grant).is_none_or(|ended| ended.goes_on)
    }

    /// The valid Removes, Demotes, Retires, Leaves and InviteRevokes that a grant, or one of those that it
    /// was made under, is not before, and which are about its author or its invite.
    #[must_use]
    pub fn voided_by(&self, grant: &OpId) -> Vec<OpId> {
        let now = self.resolve();
        let counts = |node: &Node| !now.void.contains(&node.id);
        let mut found = BTreeSet::new();
        let mut next = self.number(grant);
        while let Some((at, cap)) = next.and_then(|at| Some((at, self.nodes[at].cap?))) {
            let made = &self.nodes[at];
            let voids = |node: &Node| match &node.act {
                Act::Remove { member } | Act::Demote { member } => *member == made.author,
                Act::Retire | Act::Leave => node.author == made.author,
                Act::InviteRevoke { id } => self.invite_of(at) == Some(*id),
                _ => false,
            };
            let beside = self.nodes.iter().enumerate().filter(|(number, node)| {
                !self.nodes[cap].past.contains(*number) && !node.past.contains(at)
            });
            found.extend(beside.filter(|(_, it)| voids(it) && counts(it)).map(|(_, it)| it.id));
            next = Some(cap);
        }
        found.into_iter().collect()
    }

    /// The invite by which an op let somebody in.
    fn invite_of(&self, at: usize) -> Option<InviteId> {
        let Act::Admit { invite: Some(invite), .. } = self.nodes[at].act else { return None };
        match self.nodes[invite].act {
            Act::InviteCreate { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// By which grants memberships go on whose grants have ended: of each member those that stand and that
/// follow no other of its own which does. What one of them follows, those after it follow too.
pub(super) struct FirstGrants<'a> {
    nodes: &'a [Node],
    first: BTreeMap<MemberId, Bits>,
    /// Many grants are ended by the same ops.
    known: BTreeMap<(MemberId, Bits), bool>,
}

impl<'a> FirstGrants<'a> {
    pub(super) fn of(nodes: &'a [Node], verdict: &Verdict) -> Self {
        let mut first: BTreeMap<MemberId, Bits> = BTreeMap::new();
        for grant in verdict.valid().filter(|at| verdict.stands(nodes, *at)) {
            let Some(member) = nodes[grant].grants() else { continue };
            let first = first.entry(member).or_default();
            if !nodes[grant].past.meets(first) {
                first.insert(grant);
            }
        }
        Self { nodes, first, known: BTreeMap::new() }
    }

    /// Whether a member has a grant that stands and follows none of these ops.
    pub(super) fn is_beside(&mut self, member: MemberId, ends: &[usize]) -> bool {
        let Some(first) = self.first.get(&member) else { return false };
        let mut all = Bits::default();
        ends.iter().for_each(|end| all.insert(*end));
        let nodes = self.nodes;
        *self
            .known
            .entry((member, all))
            .or_insert_with_key(|(_, all)| first.iter().any(|grant| !nodes[grant].past.meets(all)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;

    #[test]
    fn a_membership_goes_on_by_a_grant_beside_the_removal_and_not_by_one_that_follows() {
        let (a, b, c, d) = (person(1), person(2), person(3), person(4));
        let mut set = group(&a);
        for who in [&b, &c, &d] {
            act(&mut set, &a, admit(who));
        }
        act(&mut set, &a, promote(&b));
        act(&mut set, &a, promote(&c));
        let first = set.resolve().members[&d.id()].grant;
        let mut beside = set.clone();
        act(&mut set, &c, remove(d.id(), 1));
        assert!(!set.goes_on(&first));
        let mut after = set.clone();
        let second = act(&mut after, &a, admit(&d));
        assert!(after.resolve().is_member(&d.id()));
        assert!(after.goes_on(&second) && !after.goes_on(&first));
        act(&mut beside, &b, promote(&d));
        merge(&mut set, &beside);
        assert!(set.resolve().ended(&first).is_some() && set.goes_on(&first));
        // Whichever of two grants that stand came first.
        let mut early = beside;
        merge(&mut early, &after);
        merge(&mut after, &set);
        for both in [&after, &early] {
            assert_eq!(both.resolve().grants[&d.id()].len(), 2);
            assert!(both.goes_on(&first) && both.goes_on(&second));
        }
        act(&mut set, &a, remove(d.id(), 2));
        assert!(!set.goes_on(&first));
    }
}
