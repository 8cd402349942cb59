//! Chains that were not for this node's member when their bundles came, and are after all.
//!
//! > Whoever joined anew while its removal stood takes what is sealed to its old membership for
//! > somebody else's. Where that removal turns out void, such bundles are judged once more.

use alloc::vec::Vec;

use super::{
    ChainState, Entry, Group,
    receiving::{Held, Receiving},
    records::Key,
};
use crate::{
    ids::{ChainId, OpId},
    membership::Op,
};

/// Bundles judged once more, the newest.
const JUDGED: usize = 64;

impl Receiving {
    /// Takes a bundle that was accepted back among those that wait to be judged.
    pub fn hold_again(&mut self, chain: &ChainId) {
        if let Some(Entry { head, pages, .. }) = self.chains.remove(chain) {
            self.came += 1;
            self.held.insert(*chain, Held { pages, ..Held::new(head, self.came) });
        }
    }
}

impl Group {
    /// This member's standing grants.
    pub(super) fn own_grants(&self) -> Vec<OpId> {
        self.ops.resolve().grants.get(&self.me).cloned().unwrap_or_default()
    }

    /// Takes bundles back to be judged, where a grant that had ended stands again.
    pub(super) fn hold_shut(&mut self, new: &[Op]) {
        let now = self.own_grants();
        let came = |grant: &OpId| new.iter().any(|op| op.id() == *grant);
        let again = now.iter().any(|grant| !self.standing.contains(grant) && !came(grant));
        self.standing = now;
        if !again {
            return;
        }
        let shut = self.receiving.chains.iter().filter(|(_, entry)| {
            let head = entry.head.head();
            let view = self.ops.resolve_at(&head.heads);
            matches!(entry.state, ChainState::NotForMe)
                && head.sender != self.me
                && self.is_member(&head.sender)
                && view.is_ok_and(|view| self.is_still(&self.me, &view))
        });
        let mut shut: Vec<_> = shut.map(|(chain, entry)| (entry.at, *chain)).collect();
        shut.sort_unstable();
        let newest: Vec<ChainId> = shut.iter().rev().take(JUDGED).map(|it| it.1).collect();
        for chain in newest.into_iter().rev() {
            self.receiving.hold_again(&chain);
            for key in [Key::Chain(chain), Key::Bundle(chain), Key::Classes(chain)] {
                self.dirty.mark(key);
            }
        }
    }
}
