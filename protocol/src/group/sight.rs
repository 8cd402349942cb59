//! What the simulator may see of a group that nobody else may, in one place.
//!
//! > Nothing here changes what a group does.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Group, held::Held, receiving::ChainState, records::Key, wire::Frame};
use crate::{
    bundle::SignedHead,
    codec,
    ids::{ChainId, MemberId, Timestamp},
    membership::OpSet,
};

/// What a node can do with a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keys {
    /// It reads it from this index on, with this chain key.
    Open(u32, [u8; 32]),
    /// It made it, and sealed so many messages.
    Mine(u32),
    /// It read it, and its keys are gone.
    Closed(u32),
    /// It is not for it.
    NotForMe,
    /// Its slot did not open.
    Failed,
}

impl Group {
    /// Whether the last step left nothing to carry out or to commit.
    pub(crate) fn is_drained(&self) -> bool {
        self.out.is_empty() && self.dirty.is_empty()
    }

    /// What is to be stored of the whole state.
    pub(crate) fn all_records(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.mark_all();
        self.dirty.mark(Key::Receipts);
        self.mark_view();
        self.sending.pairs.keys().for_each(|id| self.dirty.mark(Key::PairSend(*id)));
        self.sending.inits.keys().for_each(|id| self.dirty.mark(Key::Inits(*id)));
        self.dirty.mark(Key::Gone);
        for (by, told) in &self.moving.told {
            told.parts.keys().for_each(|number| self.dirty.mark(Key::Part(*by, *number)));
        }
        self.holds.members().for_each(|id| self.dirty.mark(Key::Hold(*id)));
        self.receiving.pairs.keys().for_each(|id| self.dirty.mark(Key::PairReceive(*id)));
        self.receiving.parked.keys().for_each(|id| self.dirty.mark(Key::Parked(*id)));
        for chain in self.receiving.chains.keys() {
            self.dirty.mark(Key::Bundle(*chain));
            self.dirty.mark(Key::Chain(*chain));
            self.dirty.mark(Key::Classes(*chain));
        }
        let again = self.receiving.held.iter().filter(|(_, held)| held.again.is_some());
        for chain in again.map(|(chain, _)| *chain).collect::<Vec<_>>() {
            self.dirty.mark(Key::Bundle(chain));
            self.dirty.mark(Key::Chain(chain));
        }
        self.places.chains().for_each(|chain| self.dirty.mark(Key::Place(*chain)));
        self.dirty.mark(Key::WelcomedBy);
        self.dirty.mark(Key::Unseen);
        self.dirty.mark(Key::Watch);
        self.dirty.mark(Key::Turns);
        self.absence.seen.keys().for_each(|id| self.dirty.mark(Key::Seen(*id)));
        self.slots.chains().for_each(|chain| self.dirty.mark(Key::Ciphertexts(*chain)));
        let changes = self.changes();
        changes.into_iter().filter_map(|it| Some((it.key, it.value?.to_vec()))).collect()
    }

    /// The ops that it knows.
    pub(crate) fn op_set(&self) -> &OpSet {
        &self.ops
    }

    /// The logs that it follows.
    pub(crate) fn log_ids(&self) -> impl Iterator<Item = crate::ids::LogId> + '_ {
        let topics = self.topics_in_order().into_iter();
        let topics = topics.filter_map(|commit| Some(self.topics.topic(&commit)?.log));
        topics.chain(self.inbox_logs().map(|log| log.keys.id()))
    }

    /// The commitments of the topics whose secrets it has.
    pub(crate) fn topic_commits(&self) -> BTreeSet<[u8; 32]> {
        self.topics.commits().collect()
    }

    /// Whether it lacks a topic to write to.
    pub(crate) fn is_without_topics(&self) -> bool {
        self.lacks_topics()
    }

    /// Whether it takes a relay to be connected.
    pub(crate) fn hears_relays(&self) -> bool {
        self.relays_up
    }

    /// The chains that it knows.
    pub(crate) fn chain_ids(&self) -> impl Iterator<Item = ChainId> + '_ {
        self.receiving.chains.keys().copied()
    }

    /// The head of a chain, and what this node can do with it.
    pub(crate) fn chain(&self, chain: &ChainId) -> Option<(&SignedHead, &[Vec<u8>], Keys)> {
        let entry = self.receiving.chains.get(chain)?;
        let hold = match &entry.state {
            ChainState::Open(read) => Keys::Open(read.next(), read.key()),
            ChainState::Mine { count } => Keys::Mine(*count),
            ChainState::Closed { next } => Keys::Closed(*next),
            ChainState::NotForMe => Keys::NotForMe,
            ChainState::Failed => Keys::Failed,
        };
        Some((&entry.head, &entry.pages, hold))
    }

    /// The type of the slot that a chain's bundle has for somebody.
    pub(crate) fn slot_type(&self, chain: &ChainId, member: &MemberId) -> Option<u8> {
        let (head, pages, _) = self.chain(chain)?;
        let view = self.ops.resolve_at(&head.head().heads).ok()?;
        let others = view.members.keys().filter(|other| **other != head.head().sender);
        let position = others.into_iter().position(|other| other == member)?;
        let page = pages.first()?;
        page.get(position * (page.len() / (view.members.len() - 1))).copied()
    }

    /// Whether it has the ciphertext of somebody's first contact in a chain.
    pub(crate) fn has_ciphertext(&self, chain: &ChainId, member: &MemberId) -> bool {
        self.slots.of(chain, member).is_some()
    }

    /// The chain and index that an envelope is of.
    pub(crate) fn message_of(&self, envelope: &[u8]) -> Option<(ChainId, u32)> {
        let (_, header) = self.topics.peek(envelope)?;
        (header.chain != crate::envelope::CONTROL).then_some((header.chain, header.index))
    }

    /// The gaps that it knows.
    pub(crate) fn known_gaps(&self) -> Vec<(ChainId, u32)> {
        self.gaps.keys().copied().collect()
    }

    /// The chains of what is parked.
    pub(crate) fn parked_chains(&self) -> Vec<ChainId> {
        self.receiving.parked.values().map(|parked| parked.chain).collect()
    }

    /// How many bundles of these people it holds back, and how many it wants beside those that it
    /// holds of others. Those that still wait for a ciphertext then are left out.
    pub(crate) fn open_bundles(
        &self,
        of: impl Fn(&MemberId) -> bool,
        then: Timestamp,
    ) -> (usize, usize) {
        let counts = |it: &Held| {
            let waits = it.waits.due().is_some_and(|due| due > then);
            of(&it.head.head().sender) && !waits
        };
        let held = &self.receiving.held;
        let others = |chain| held.get(chain).is_some_and(|it| !counts(it));
        let wanted =
            self.receiving.wanted.iter().filter(|(chain, it)| it.is_asked() && !others(chain));
        (held.values().filter(|it| counts(it)).count(), wanted.count())
    }

    /// The chain whose record has this key.
    pub(crate) fn chain_of_key(key: &[u8]) -> Option<ChainId> {
        match Key::from_bytes(key)? {
            Key::Chain(chain) => Some(chain),
            _ => None,
        }
    }

    /// Whether these bytes are a frame.
    pub(crate) fn reads_frame(bytes: &[u8]) -> bool {
        codec::decode::<Frame>(bytes).is_ok()
    }

    /// Whether these bytes would be a frame if encodings were not unique.
    pub(crate) fn reads_frame_loosely(bytes: &[u8]) -> bool {
        minicbor::decode::<Frame>(bytes).is_ok()
    }
}
