//! Who has the places of a relay, by block of addresses: an IPv4 address, or an IPv6 /48.
//!
//! > Max-min fair: when no place is left, a newcomer gets one of the block that has most, if that has still
//! > more than the newcomer's then. So nobody is kept out by those who have many, and no two that have
//! > about as many take places from each other.

use std::collections::{BTreeSet, HashMap};

use libp2p::swarm::ConnectionId;

use crate::blocks::Block;

/// Whom a place is counted to; who has no address is one more block.
pub(super) type Holder = Option<Block>;

/// The connections that stand and were not told to go.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Places {
    held: HashMap<Holder, BTreeSet<ConnectionId>>,
    by_count: BTreeSet<(usize, Holder)>,
    taken: u32,
}

impl Places {
    /// A connection takes a place.
    pub(super) fn take(&mut self, id: ConnectionId, holder: Holder) {
        self.change(holder, |held| held.insert(id));
    }

    /// It gives the place back, if it has it still.
    pub(super) fn give(&mut self, id: ConnectionId, holder: Holder) {
        self.change(holder, |held| held.remove(&id));
    }

    /// Takes a place from the block that has most for one that has fewer; answers whose, if there is one.
    pub(super) fn clear_for(&mut self, holder: Holder) -> Option<ConnectionId> {
        let (most, _) = self.by_count.last()?;
        let would_have = 1 + self.held.get(&holder).map_or(0, BTreeSet::len);
        if *most > would_have + 1 { self.clear() } else { None }
    }

    /// Takes a place from the block that has most, the newest; answers whose.
    pub(super) fn clear(&mut self) -> Option<ConnectionId> {
        let (_, holder) = *self.by_count.last()?;
        let newest = *self.held.get(&holder)?.last()?;
        self.give(newest, holder);
        Some(newest)
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut BTreeSet<ConnectionId>) -> bool) {
        let held = self.held.entry(holder).or_default();
        let before = held.len();
        let has_changed = change(held);
        let after = held.len();
        if after == 0 {
            self.held.remove(&holder);
        }
        if has_changed {
            self.by_count.remove(&(before, holder));
            if after > 0 {
                self.by_count.insert((after, holder));
            }
            self.taken = if after > before { self.taken + 1 } else { self.taken - 1 };
        }
    }
}
