//! By which ops somebody is no member any more. docs/spec/membership.md.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    node::{Act, Node},
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
    /// removal has another membership.
    #[must_use]
    pub fn goes_on(&self, grant: &OpId) -> bool {
        let now = self.resolve();
        let Some(ended) = now.ended(grant) else { return true };
        let ends = ended.removals.iter().chain(&ended.leaves);
        let ends: Vec<usize> = ends.filter_map(|end| self.number(end)).collect();
        let standing = now.grants.get(&ended.member).into_iter().flatten();
        let mut standing = standing.filter_map(|grant| self.number(grant));
        let beside = |grant: usize| ends.iter().all(|end| !self.nodes[grant].past.contains(*end));
        ended.is_void_alone() || standing.any(beside)
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
        act(&mut set, &a, remove(d.id(), 2));
        assert!(!set.goes_on(&first));
    }
}
