//! The set of identities that a chain is sealed to. Promotions don't change it.

use alloc::vec::Vec;

use crate::{
    codec,
    hash::{Label, hash32},
    ids::{GroupId, MemberId, RosterHash},
};

/// The members of a group at one point, and their hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    members: Vec<MemberId>,
    hash: RosterHash,
}

impl Roster {
    /// The roster of these members; order and duplicates don't matter.
    #[must_use]
    pub fn new(group: GroupId, members: impl IntoIterator<Item = MemberId>) -> Self {
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_unstable();
        members.dedup();
        let hash = RosterHash(hash32(Label::Roster, &[&group.0, &codec::encode(&members)]));
        Self { members, hash }
    }

    /// The members, sorted: slots of a bundle stand in this order.
    #[must_use]
    pub fn members(&self) -> &[MemberId] {
        &self.members
    }

    /// BLAKE2b-256("wt1 roster", group ‖ CBOR array of the sorted members).
    #[must_use]
    pub fn hash(&self) -> RosterHash {
        self.hash
    }

    /// Whether somebody is in it.
    #[must_use]
    pub fn contains(&self, member: &MemberId) -> bool {
        self.members.binary_search(member).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roster_is_a_set_bound_to_its_group() {
        let [a, b, c] = [1, 2, 3].map(|byte| MemberId([byte; 32]));
        let group = GroupId([9; 32]);
        let roster = Roster::new(group, [c, a, b, a]);
        assert_eq!(roster.members(), [a, b, c]);
        assert_eq!(roster, Roster::new(group, [a, b, c]));
        assert!(roster.contains(&b) && !roster.contains(&MemberId([4; 32])));
        assert_ne!(roster.hash(), Roster::new(group, [a, b]).hash());
        assert_ne!(roster.hash(), Roster::new(GroupId([8; 32]), [a, b, c]).hash());
    }
}
