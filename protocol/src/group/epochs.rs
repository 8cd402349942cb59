//! How a topic epoch ends: who begins the next one, and how its secret gets to everybody.
//!
//! > The secret goes to the members of the new roster and to nobody else: in the bundle that is the
//! > last entry to read on the old log, and in each member's inbox.
//!
//! docs/spec/relay-log.md.

use alloc::{collections::BTreeSet, vec::Vec};

use rand_core::CryptoRng;

use super::{
    Cx, Group, GroupState, Timer,
    control::Said,
    inbox::POSTED,
    records::Key,
    wire::{HandOver, Statement},
};
use crate::{
    codec,
    ids::{LogId, MemberId, OpId, Timestamp},
    limits::TOPICS,
    topic::TopicSecret,
};

/// Members to whose inboxes a new topic is copied; where there are more, those who miss it ask.
const HANDED: usize = 64;
/// How long a topic from the inbox waits for the old log to be read, in milliseconds: where that is
/// followed already, and where it is to be reached first.
const SOON_MS: u64 = 5_000;
/// See [`SOON_MS`].
const LATER_MS: u64 = 30_000;

impl Group {
    /// Copies a topic to each member's inbox, should the old log be full or expire.
    pub(super) fn post_hand_over<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        op: &OpId,
        topic: &TopicSecret,
    ) {
        let members = &self.ops.resolve().members;
        let others: Vec<MemberId> =
            members.keys().filter(|member| **member != self.me).copied().collect();
        if others.len() > HANDED {
            return;
        }
        let Some(op) = self.ops.op(op).map(|op| Vec::from(op.as_bytes())) else { return };
        let statement = Statement::HandOver(HandOver { op, topic: *topic.as_bytes() });
        others.into_iter().for_each(|member| self.to_inbox(cx, member, &statement));
    }

    /// A member hands a topic over in this node's inbox. It waits until the log of the newest topic
    /// known here is read: what was said there came before.
    pub(super) fn take_hand_over<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: &Said,
        told: HandOver,
    ) {
        let commit = TopicSecret::from_bytes(told.topic).commit();
        // Said under a topic, it would be told to whoever has that one.
        if said.topic != POSTED || self.topics.topic(&commit).is_some() {
            return;
        }
        let handed = &mut self.inboxes.handed;
        if handed.iter().any(|known| known.topic == told.topic) {
            return;
        }
        handed.push(told);
        if handed.len() > TOPICS {
            handed.remove(0);
        }
        self.dirty.mark(Key::HandedOver);
        let wait = if self.relays_up { SOON_MS } else { LATER_MS };
        self.set_timer(Timer::HandOver, cx.now.plus_ms(wait));
    }

    /// All of a log was read: what was handed over is taken up if no newer log is to be read first.
    pub(super) fn take_handed_after<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, log: LogId) {
        let newest = self.topics_in_order().pop();
        let newest = newest.and_then(|commit| self.topics.topic(&commit));
        if newest.is_none_or(|topic| topic.log == log) {
            self.take_handed(cx);
        }
    }

    /// Takes up what was handed over.
    pub(super) fn take_handed<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        if self.inboxes.handed.is_empty() {
            return;
        }
        self.dirty.mark(Key::HandedOver);
        for told in core::mem::take(&mut self.inboxes.handed) {
            self.take_ops(cx, [told.op.as_slice()]);
            if self.state != GroupState::Active {
                return;
            }
            self.learn_topic(cx, TopicSecret::from_bytes(told.topic));
        }
    }

    /// The topics that are known here, in the order of the ops that began them.
    pub(super) fn topics_in_order(&self) -> Vec<[u8; 32]> {
        let begun = self.ops.iter().filter_map(|op| op.body().kind.topic_commit());
        let mut known = BTreeSet::new();
        begun
            .filter(|commit| self.topics.topic(commit).is_some() && known.insert(*commit))
            .collect()
    }

    pub(super) fn handed_record(&self) -> Option<Vec<u8>> {
        let handed = &self.inboxes.handed;
        (!handed.is_empty()).then(|| codec::encode(handed))
    }

    pub(super) fn load_handed(&mut self, bytes: &[u8]) -> Result<(), codec::Malformed> {
        self.inboxes.handed = codec::decode(bytes)?;
        Ok(())
    }

    /// Sets what is due after a load.
    pub(super) fn watch_handed(&mut self, now: Timestamp) {
        if !self.inboxes.handed.is_empty() {
            self.set_timer(Timer::HandOver, now.plus_ms(LATER_MS));
        }
    }
}
