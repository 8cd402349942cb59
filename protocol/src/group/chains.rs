//! Which chains stay readable, and which are forgotten: the table has bounds.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{ChainState, Group, records::Key};
use crate::{
    ids::{ChainId, MemberId, Timestamp},
    limits::CHAINS_PER_INCARNATION,
};

/// Chains remembered, of all senders.
const CHAINS: usize = 4096;
/// Chains of one sender that stay open while messages of them are lacking.
const UNREAD_CHAINS: usize = 256;

impl Group {
    /// Keeps the newest chains of a sender readable, and older ones until they are read to their
    /// end; the keys of the others go.
    pub(super) fn retire_chains(&mut self, sender: MemberId) {
        let chains = &self.receiving.chains;
        let own = chains.iter().filter(|(_, entry)| entry.head.head().sender == sender);
        let ends: BTreeMap<ChainId, u32> = own
            .clone()
            .filter_map(|(_, entry)| entry.head.head().closing)
            .map(|closing| (closing.chain, closing.count))
            .collect();
        let mut open: Vec<(Timestamp, ChainId, bool)> = own
            .filter_map(|(chain, entry)| match &entry.state {
                ChainState::Open(read) => Some((entry.at, *chain, read)),
                _ => None,
            })
            .map(|(at, chain, read)| {
                let end = ends.get(&chain);
                (at, chain, end.is_some_and(|end| (0..*end).all(|index| read.has(index))))
            })
            .collect();
        open.sort_unstable();
        let excess = open.len().saturating_sub(2 * CHAINS_PER_INCARNATION);
        let unread = open.len().saturating_sub(UNREAD_CHAINS);
        for (place, (_, chain, read)) in open.into_iter().take(excess).enumerate() {
            if (read || place < unread)
                && let Some(entry) = self.receiving.chains.get_mut(&chain)
                && let ChainState::Open(read) = &entry.state
            {
                entry.state = ChainState::Closed { next: read.next() };
                self.dirty.mark(Key::Chain(chain));
            }
        }
    }

    /// A time for a new entry, later than that of every other: the order of coming stays known.
    pub(super) fn next_at(&self, now: Timestamp) -> Timestamp {
        let last = self.receiving.chains.values().map(|entry| entry.at).max();
        last.map_or(now, |last| now.max(last.plus_ms(1)))
    }

    /// Forgets the oldest chain of whoever has most, while there are too many.
    pub(super) fn evict_chains(&mut self) {
        while self.receiving.chains.len() > CHAINS {
            let mut of: BTreeMap<MemberId, (usize, Timestamp, ChainId)> = BTreeMap::new();
            for (chain, entry) in &self.receiving.chains {
                let most = of.entry(entry.head.head().sender).or_insert((0, entry.at, *chain));
                let oldest = (most.1, most.2).min((entry.at, *chain));
                *most = (most.0 + 1, oldest.0, oldest.1);
            }
            let Some((_, _, chain)) = of.into_values().max_by_key(|(count, _, _)| *count) else {
                return;
            };
            let gone = self.receiving.chains.remove(&chain);
            let is_own = gone.is_some_and(|gone| gone.head.head().sender == self.me);
            self.forget_chain(chain, is_own);
            self.forget_ciphertexts(&chain);
            self.dirty.mark(Key::Bundle(chain));
            self.dirty.mark(Key::Chain(chain));
            self.dirty.mark(Key::Classes(chain));
        }
    }
}
