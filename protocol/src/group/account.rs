//! What the simulator's tracker (`sim/tracker.rs`) is told of a group: what its node seals, to whom it hands
//! what, and which secrets it has, by name.
//!
//! > Nothing here changes what a group does, and no secret leaves it: keys are named by what made them.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Change, Group, receiving::ChainState, records::Key, wire::Statement};
use crate::{
    identity::Prekey,
    ids::{ChainId, MemberId, PrekeyId},
    pair::SendState,
    topic::TopicSecret,
};

/// A topic's secret that was handed to one member alone.
pub(crate) struct HandedOut {
    pub to: MemberId,
    /// The topic, by its commitment.
    pub topic: [u8; 32],
    /// Whether it was a member just then, by this node's ops.
    pub member: bool,
}

/// A slot as anybody reads it on the wire.
pub(crate) struct SlotOnWire {
    pub to: MemberId,
    pub kind: u8,
    pub prekey: PrekeyId,
    pub epoch: u16,
    pub counter: u16,
}

/// The bytes of a slot.
const SLOT: usize = 57;

impl Group {
    /// Something is said to one member alone.
    pub(super) fn hear_said(&mut self, to: MemberId, statement: &Statement) {
        if let Statement::HandOver(handed) = statement {
            let topic = TopicSecret::from_bytes(handed.topic).commit();
            self.hear_handed(to, topic);
        }
    }

    /// The topics of the moment are told on a channel.
    pub(super) fn hear_topics(&mut self, to: MemberId) {
        self.write_topics().into_iter().for_each(|topic| self.hear_handed(to, topic));
    }

    fn hear_handed(&mut self, to: MemberId, topic: [u8; 32]) {
        let member = self.ops.resolve().is_member(&to);
        self.inboxes.ear.push(HandedOut { to, topic, member });
    }

    /// The topics that it handed to single members since this was last asked.
    pub(crate) fn handed_out(&mut self) -> Vec<HandedOut> {
        core::mem::take(&mut self.inboxes.ear)
    }

    /// The topics that a newcomer is handed in its Welcome.
    pub(crate) fn topics_for_newcomers(&self) -> Vec<[u8; 32]> {
        self.write_topics()
    }

    /// The prekeys of a member that this node has been told, on cards and in bundles.
    pub(crate) fn prekeys_of(&self, member: &MemberId) -> Vec<Prekey> {
        let chains = self.receiving.chains.values().map(|entry| entry.head.head());
        let brought = chains.filter(|head| head.sender == *member).map(|head| head.prekey);
        let card = self.people.cards.get(member).map(|card| card.card().prekey);
        brought.chain(card).collect()
    }

    /// The slots of a chain's bundle, by the roster of its heads.
    pub(crate) fn slots_of(&self, chain: &ChainId) -> Vec<SlotOnWire> {
        let Some(entry) = self.receiving.chains.get(chain) else { return Vec::new() };
        let head = entry.head.head();
        let Ok(view) = self.ops.resolve_at(&head.heads) else { return Vec::new() };
        let others = view.members.keys().filter(|other| **other != head.sender);
        let slots = entry.pages.iter().flat_map(|page| page.chunks_exact(SLOT));
        let pair = |at: &[u8]| u16::from_be_bytes([at[0], at[1]]);
        let read = |(to, slot): (&MemberId, &[u8])| SlotOnWire {
            to: *to,
            kind: slot[0],
            prekey: PrekeyId([slot[1], slot[2], slot[3], slot[4]]),
            epoch: pair(&slot[5..]),
            counter: pair(&slot[7..]),
        };
        others.zip(slots).map(read).collect()
    }

    /// The chains that it can read: from which index on, and which single messages before.
    pub(crate) fn readable(&self) -> impl Iterator<Item = (ChainId, u32, BTreeSet<u32>)> + '_ {
        self.receiving.chains.iter().filter_map(|(chain, entry)| match &entry.state {
            ChainState::Open(read) => Some((*chain, read.next(), read.missing().collect())),
            _ => None,
        })
    }

    /// The steps of pair ratchets that it can take: of whom, in which epoch, which, and whether all that
    /// follow with it.
    pub(crate) fn pair_steps(&self) -> impl Iterator<Item = (MemberId, u16, u16, bool)> + '_ {
        let pairs = self.receiving.pairs.iter();
        pairs.flat_map(|(from, pair)| {
            pair.steps().map(|(epoch, counter, on)| (*from, epoch, counter, on))
        })
    }

    /// Towards whom a ratchet was moved, if this is the new record of a pair's sending side: one that
    /// was reset moved for no slot.
    pub(crate) fn moved_towards(change: &Change) -> Option<MemberId> {
        let Key::PairSend(to) = Key::from_bytes(&change.key)? else { return None };
        SendState::load(change.value.as_ref()?).ok()?.is_begun().then_some(to)
    }
}
