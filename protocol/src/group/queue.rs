//! What one neighbour still is to be sent, by name: it is put together when its turn comes.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{
    gossip::RECENT,
    ids::{ChainId, EnvelopeId, MemberId, OpId, Timestamp},
};

/// What is to be sent, in this order.
#[derive(Default)]
pub(super) struct Queue {
    /// Recent envelopes that it asked for, each once.
    pub envelopes: VecDeque<EnvelopeId>,
    pub cards: BTreeSet<MemberId>,
    pub ops: VecDeque<OpId>,
    /// Each with whether all ciphertexts go with it: to who has nothing of the chain.
    pub bundles: BTreeMap<(Timestamp, ChainId), bool>,
    pub topics: bool,
    pub messages: BTreeMap<(Timestamp, ChainId), BTreeSet<u32>>,
    /// Whether Done comes last.
    pub done: bool,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        !self.topics
            && !self.done
            && self.envelopes.is_empty()
            && self.cards.is_empty()
            && self.ops.is_empty()
            && self.bundles.is_empty()
            && self.messages.is_empty()
    }

    pub fn add_envelopes(&mut self, ids: impl Iterator<Item = EnvelopeId>) {
        for id in ids {
            if self.envelopes.len() < RECENT && !self.envelopes.contains(&id) {
                self.envelopes.push_back(id);
            }
        }
    }

    pub fn add_ops(&mut self, ops: Vec<OpId>) {
        let queued: BTreeSet<OpId> = self.ops.iter().copied().collect();
        self.ops.extend(ops.into_iter().filter(|op| !queued.contains(op)));
    }

    /// The next messages, oldest chains first.
    pub fn take_messages(&mut self, mut room: usize) -> Vec<(ChainId, Vec<u32>)> {
        let mut taken = Vec::new();
        while let Some(mut entry) = self.messages.first_entry().filter(|_| room > 0) {
            let chain = entry.key().1;
            let rest = entry.get().iter().nth(room).copied();
            let rest = rest.map(|from| entry.get_mut().split_off(&from)).unwrap_or_default();
            let indexes = core::mem::replace(entry.get_mut(), rest);
            if entry.get().is_empty() {
                entry.remove();
            }
            room -= indexes.len();
            taken.push((chain, indexes.into_iter().collect()));
        }
        taken
    }
}
