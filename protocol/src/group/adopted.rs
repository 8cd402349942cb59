//! Who sends under the view that this node has: read from the rosters of the newest chains.
//! docs/spec/consistency.md.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Entry, Group};
use crate::{evidence::follows, ids::MemberId};

/// How far the members have come with this node's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// Whose newest chain is sealed to exactly the members of this view; this node's own member is
    /// always among them. Sorted.
    pub under: Vec<MemberId>,
    /// Whose newest chain shows another roster, or none yet. Sorted.
    pub waiting: Vec<MemberId>,
}

impl Group {
    /// Which members send under this node's view: a member that has said nothing since it changed
    /// has not shown yet that it knows it.
    #[must_use]
    pub fn adopted(&self) -> Adopted {
        let now = self.ops.resolve();
        let roster = now.roster(self.id).hash();
        let chains = self.receiving.chains.values();
        let followed: BTreeSet<_> = chains.clone().filter_map(|it| follows(&it.head)).collect();
        let stands = |entry: &&Entry| {
            let head = entry.head.head();
            head.roster == roster
                && !followed.contains(&entry.head.chain())
                && self.ops.resolve_at(&head.heads).is_ok_and(|view| self.is_as_it_was(&view))
        };
        let shown: BTreeSet<MemberId> =
            chains.filter(stands).map(|entry| entry.head.head().sender).collect();
        let (under, waiting) = now
            .members
            .keys()
            .copied()
            .partition(|member| *member == self.me || shown.contains(member));
        Adopted { under, waiting }
    }
}
