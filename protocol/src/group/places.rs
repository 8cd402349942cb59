//! How far chains were read, once this node's member is out of the group (docs/spec/membership.md).
//!
//! > Whoever is out keeps nothing to open: its own bundles, and of others only numbers. Where it is back
//! > and a chain opens anew, by a slot of first contact, what it had read is not given to it again, and
//! > its keys are not kept.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decode, Encode};

use super::{ChainState, Group, records::Key};
use crate::{
    chain::ReceiveChain,
    ids::{ChainId, Timestamp},
    limits::CHAIN_MESSAGES,
    snapshot::SnapshotError,
};

/// Places remembered: as many as there are chains.
const PLACES: usize = 4096;

/// How far a chain was read.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub(super) struct Place {
    /// One more than the highest index that was read.
    #[n(0)]
    next: u32,
    /// The indexes below it that were not.
    #[n(1)]
    missing: Vec<u32>,
    /// When its bundle was accepted.
    #[n(2)]
    at: Timestamp,
}

/// The places of chains that were open when the group was closed.
#[derive(Default)]
pub(super) struct Places(BTreeMap<ChainId, Place>);

impl Places {
    pub fn place(&self, chain: &ChainId) -> Option<&Place> {
        self.0.get(chain)
    }

    #[cfg(any(test, feature = "sim"))]
    pub fn chains(&self) -> impl Iterator<Item = &ChainId> {
        self.0.keys()
    }

    /// Takes up a stored place; one that no chain has, or one too many, is damage.
    pub fn load(&mut self, chain: ChainId, place: Place) -> Result<(), SnapshotError> {
        let possible =
            place.next <= CHAIN_MESSAGES && place.missing.iter().all(|index| *index < place.next);
        if !possible || place.missing.len() >= CHAIN_MESSAGES as usize || self.0.len() >= PLACES {
            return Err(SnapshotError::Damaged);
        }
        self.0.insert(chain, place);
        Ok(())
    }

    /// Makes room for the newest; answers which had to go.
    fn trim(&mut self) -> Vec<ChainId> {
        let excess = self.0.len().saturating_sub(PLACES);
        if excess == 0 {
            return Vec::new();
        }
        let mut oldest: Vec<_> = self.0.iter().map(|(chain, place)| (place.at, *chain)).collect();
        oldest.sort_unstable();
        let gone: Vec<ChainId> = oldest.into_iter().take(excess).map(|(_, chain)| chain).collect();
        gone.iter().for_each(|chain| drop(self.0.remove(chain)));
        gone
    }
}

impl Group {
    /// Notes how far each chain was read, before all that reads them goes.
    pub(super) fn keep_places(&mut self) {
        let read: Vec<(ChainId, Place)> = self.places_read().collect();
        self.note_places(read);
    }

    /// Who joins anew reads on from where it stopped, should an earlier grant of its own stand again.
    pub(super) fn take_places(&mut self, before: &Self) {
        let kept = before.places.0.iter().map(|(chain, place)| (*chain, place.clone()));
        self.note_places(kept.chain(before.places_read()).collect());
    }

    fn places_read(&self) -> impl Iterator<Item = (ChainId, Place)> + '_ {
        self.receiving.chains.iter().filter_map(|(chain, entry)| {
            let (next, missing) = match &entry.state {
                ChainState::Open(read) => (read.next(), read.missing().collect()),
                ChainState::Closed { next } => (*next, Vec::new()),
                ChainState::NotForMe | ChainState::Failed | ChainState::Mine { .. } => return None,
            };
            Some((*chain, Place { next, missing, at: entry.at }))
        })
    }

    fn note_places(&mut self, places: Vec<(ChainId, Place)>) {
        for (chain, place) in places {
            self.places.0.insert(chain, place);
            self.dirty.mark(Key::Place(chain));
        }
        for chain in self.places.trim() {
            self.dirty.mark(Key::Place(chain));
        }
    }

    /// A chain that opens, from where it was read to before.
    pub(super) fn resume(&mut self, chain: &ChainId, opened: ReceiveChain) -> ReceiveChain {
        let Some(place) = self.places.0.remove(chain) else { return opened };
        self.dirty.mark(Key::Place(*chain));
        // Of what was read then its sender was perhaps not told.
        let read = (0..place.next).filter(|index| !place.missing.contains(index));
        self.receipts.entry(*chain).or_default().extend(read);
        self.dirty.mark(Key::Receipts);
        opened.resume(place.next, &place.missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_places_go_first_and_one_too_many_is_damage() {
        let mut places = Places::default();
        let id = |n: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            ChainId(id)
        };
        let place = |n: usize| Place { next: 1, missing: Vec::new(), at: Timestamp(n as u64) };
        (0..PLACES).for_each(|n| places.load(id(n), place(n + 1)).unwrap());
        assert!(places.load(id(PLACES), place(0)).is_err());
        places.0.insert(id(PLACES), place(0));
        assert_eq!(places.trim(), [id(PLACES)]);
        assert_eq!(places.0.len(), PLACES);
    }

    #[test]
    fn a_place_that_no_chain_has_is_damage() {
        let mut places = Places::default();
        let at = Timestamp(1);
        for (next, missing) in [(CHAIN_MESSAGES + 1, Vec::new()), (2, Vec::from([2]))] {
            assert!(places.load(ChainId([1; 16]), Place { next, missing, at }).is_err());
        }
    }
}
