//! One step of one group: verb or handler, what it puts out, what it changed, all in one
//! transaction.
//!
//! > A step that fails leaves the group as it was: it is taken up from the store again.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use protocol::{
    codec,
    endpoint::Endpoint,
    envelope,
    group::{Cx, Group, Output},
    ids::{ChainId, EnvelopeId, GroupId, LogId, MemberId, RelayTag, Timestamp},
    limits,
};
use rand_chacha::ChaCha20Rng;

use super::{
    AGAIN_MS, Core, Effect, VerbError, backlog::Came, circuits::Asked, gaps::Gaps,
    membership::is_active, pings::Pong,
};
use crate::{
    api::types::{Event, What},
    net::address,
    store::{Place, StoreError, Tx, rfc3339},
};

/// What a step is lent.
pub(super) struct Step<'a> {
    pub(super) tx: &'a Tx<'a>,
    pub(super) me: &'a Endpoint,
    pub(super) now: Timestamp,
    pub(super) rng: &'a mut ChaCha20Rng,
    /// What was found out of missing messages and is not told yet.
    pub(super) gaps: Gaps,
    /// Messages that came and are not shown yet, by their places.
    pub(super) came: BTreeSet<(Place, u64)>,
    /// Changes of messages that came and are not told yet, by their numbers in the order of coming.
    pub(super) changes: Vec<(GroupId, u64)>,
    /// The message that was archived last.
    pub(super) archived: Option<Archived>,
    /// The group's relays before the step.
    pub(super) relays: Vec<String>,
    pub(super) after: &'a mut After,
}

/// How a message came that was archived.
pub(super) struct Archived {
    pub(super) place: (ChainId, u32),
    pub(super) envelope: EnvelopeId,
    pub(super) told_by: Vec<RelayTag>,
}

/// What follows from steps, once they are committed.
#[derive(Default)]
pub(super) struct After {
    /// To be carried out.
    pub(super) effects: Vec<Effect>,
    /// Logs to follow or write may have changed.
    pub(super) logs: bool,
    /// Members, cards, addresses or paths may have changed.
    pub(super) members: bool,
    /// There are new rows in the outbox.
    pub(super) outbox: bool,
    /// A group has moved to another one.
    pub(super) moved: bool,
    /// Newcomers should hear where this node is.
    pub(super) present: Vec<GroupId>,
    /// Groups that were taken up again and know of no relay.
    pub(super) reloaded: Vec<GroupId>,
    /// Logs to be read from where it is stored that they are read to, though they may be followed
    /// already. What comes of them before that is left for then.
    pub(super) anew: Vec<LogId>,
    /// Messages that were read.
    pub(super) came: Vec<Came>,
    /// When to tell how far own messages are.
    pub(super) untold: Option<Timestamp>,
    /// Until when a message is kept.
    pub(super) due: Option<Timestamp>,
    /// What members' nodes have answered by way of relays.
    pub(super) pongs: Vec<Pong>,
    /// Where members wait for this node.
    pub(super) asked: Vec<Asked>,
    /// The last event.
    pub(super) woken: Option<u64>,
}

impl After {
    /// Whether nothing is left to be followed up.
    pub(super) fn is_empty(&self) -> bool {
        let Self { logs, members, outbox, moved, present, reloaded, .. } = self;
        !(*logs || *members || *outbox || *moved) && present.is_empty() && reloaded.is_empty()
    }
}

/// An error of a step that may come from the store.
pub(super) trait Refusal: From<StoreError> {
    /// Whether the store failed, so that the group may be ahead of it.
    fn is_of_store(&self) -> bool;
}

impl Refusal for StoreError {
    fn is_of_store(&self) -> bool {
        true
    }
}

impl Refusal for VerbError {
    fn is_of_store(&self) -> bool {
        matches!(self, Self::Store(_))
    }
}

/// A frame on a member's channel: which group it is for, and the group's own frame.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct ChannelFrame {
    #[n(0)]
    pub(super) group: GroupId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) frame: Vec<u8>,
}

impl Core {
    /// Runs one step of one group. An error of `act` that isn't the store's must have left the
    /// group unchanged.
    pub(super) fn step<T, E: Refusal>(
        &mut self,
        id: GroupId,
        now: Timestamp,
        act: impl FnOnce(&mut Group, &mut Step<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { store, me, rng, groups, .. } = self;
        let group = groups.get_mut(&id).ok_or(StoreError::Damaged)?;
        let was_active = is_active(group);
        let mut after = After::default();
        let result = store.transaction(|tx| {
            let mut step = Step::new(tx, me, now, rng, &mut after);
            step.relays.clone_from(&group.policy().relays);
            let value = act(group, &mut step)?;
            step.settle(group)?;
            if step.relays != group.policy().relays {
                step.note_former(group, now)?;
                step.carry_over(group)?;
            }
            // What was passed over while it was out is for it to read after all.
            if !was_active && is_active(group) {
                step.read_anew(group)?;
            }
            step.show_all()?;
            Ok(value)
        });
        match result {
            Ok(value) => {
                self.adopt(after);
                Ok(value)
            }
            Err(error) => {
                let error: E = error;
                if error.is_of_store() {
                    self.groups.remove(&id);
                    self.unloaded.insert(id);
                    self.reload(now);
                    self.again = Some(now.plus_ms(AGAIN_MS));
                }
                Err(error)
            }
        }
    }

    /// A transaction about no group in particular.
    pub(super) fn record<T>(
        &mut self,
        now: Timestamp,
        act: impl FnOnce(&mut Step<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Self { store, me, rng, .. } = self;
        let mut after = After::default();
        let value = store.transaction(|tx| act(&mut Step::new(tx, me, now, rng, &mut after)))?;
        self.adopt(after);
        Ok(value)
    }

    /// Takes up again the groups that a failed step left behind.
    pub(super) fn reload(&mut self, now: Timestamp) {
        for id in std::mem::take(&mut self.unloaded) {
            let loaded = self
                .store
                .read(|tx| tx.records(id))
                .map_err(super::OpenError::from)
                .and_then(|records| Ok(Group::load(&self.me, records, now)?));
            match loaded {
                Ok(group) => {
                    self.groups.insert(id, group);
                    self.wired.retain(|(group, _)| *group != id);
                    (self.after.logs, self.after.members) = (true, true);
                    self.after.reloaded.push(id);
                }
                Err(error) => {
                    tracing::error!(%error, "a group can't be taken up again");
                    self.unloaded.insert(id);
                }
            }
        }
    }

    pub(super) fn adopt(&mut self, step: After) {
        let After {
            effects,
            logs,
            members,
            outbox,
            moved,
            present,
            reloaded,
            anew,
            came,
            untold,
            due,
            pongs,
            asked,
            woken,
        } = step;
        self.count_backlog(&came);
        came.iter().for_each(|came| self.watch_relays(came));
        self.effects.extend(effects);
        self.after.logs |= logs || !anew.is_empty();
        self.after.members |= members;
        self.after.outbox |= outbox;
        self.after.moved |= moved;
        self.after.present.extend(present);
        self.after.reloaded.extend(reloaded);
        self.after.anew.extend(anew);
        self.tell_at = self.tell_at.into_iter().chain(untold).min();
        self.due.begin(due);
        pongs.iter().for_each(|pong| self.pings.answered(pong));
        asked.into_iter().for_each(|asked| self.note_asked(asked));
        self.after.woken = woken.or(self.after.woken);
    }
}

impl<'a> Step<'a> {
    fn new(
        tx: &'a Tx<'a>,
        me: &'a Endpoint,
        now: Timestamp,
        rng: &'a mut ChaCha20Rng,
        after: &'a mut After,
    ) -> Self {
        let (gaps, came, changes, relays) =
            (Gaps::default(), BTreeSet::new(), Vec::new(), Vec::new());
        Self { tx, me, now, rng, gaps, came, changes, archived: None, relays, after }
    }
}

impl Step<'_> {
    /// Forgets how far a group's logs were read, for all of them to be read from the start.
    pub(super) fn read_anew(&mut self, group: &Group) -> Result<(), StoreError> {
        self.after.logs = true;
        for log in group.logs() {
            self.tx.unread(log.keys.id())?;
            self.after.anew.push(log.keys.id());
        }
        Ok(())
    }

    /// What the group is lent for one call.
    pub(super) fn cx(&mut self) -> Cx<'_, ChaCha20Rng> {
        Cx { me: self.me, now: self.now, rng: self.rng }
    }

    /// Writes down all that the group puts out, and its changes.
    pub(super) fn settle(&mut self, group: &mut Group) -> Result<(), StoreError> {
        let id = group.id();
        while let Some(output) = group.poll() {
            match output {
                Output::Publish { envelope, logs, message } => {
                    let message = match message {
                        Some(message) => self.tx.own_message(id, message)?,
                        None => None,
                    };
                    // A change of relays is told where the group was, too.
                    let named = group.policy().relays.iter().chain(&self.relays);
                    for relay in address::relays(named.map(String::as_str)) {
                        let relay = relay.peer_id.to_bytes();
                        for log in &logs {
                            self.tx.put_outbox(id, &relay, *log, &envelope, message, self.now)?;
                        }
                    }
                    self.after.outbox = true;
                }
                Output::Frame { to, frame } => self.frame(id, to, frame),
                Output::Archive { chain, index, envelope, told_by } => {
                    let (place, of) = ((chain, index), envelope::id(&envelope));
                    self.archived = Some(Archived { place, envelope: of, told_by });
                    self.tx.put_archive(id, chain, index, &envelope, self.now)?;
                }
                Output::Serve { to, messages } => {
                    let kept = self.tx.archived(id, &messages)?;
                    group.serve(self.cx(), to, kept);
                }
                Output::Audit { seq, entry } => self.tx.put_audit(id, seq, &entry)?,
                Output::Event(event) => self.happened(group, event)?,
            }
        }
        self.tell_gaps(group)?;
        for change in group.changes() {
            let value = change.value.as_ref().map(|value| value.as_slice());
            self.tx.put_record(id, &change.key, value)?;
        }
        Ok(())
    }

    /// Enters an event.
    pub(super) fn emit(&mut self, group: Option<GroupId>, what: What) -> Result<(), StoreError> {
        let is_said =
            matches!(what, What::Message { .. } | What::Changed { .. } | What::Expired { .. });
        if !is_said {
            self.show_all()?;
        }
        let group = group.map(|group| self.tx.group(group)).transpose()?;
        let event =
            Event { v: crate::api::types::VERSION, seq: 0, at: rfc3339(self.now), group, what };
        self.after.woken = Some(self.tx.put_event(&event)?);
        Ok(())
    }

    fn frame(&mut self, group: GroupId, to: MemberId, frame: Vec<u8>) {
        let frame = codec::encode(&ChannelFrame { group, frame });
        if frame.len() <= limits::FRAME_MAX {
            self.after.effects.push(Effect::Channel { to, frame });
        } else {
            tracing::warn!(bytes = frame.len(), "a frame is too long for its channel");
        }
    }
}

/// Random bytes.
pub(super) fn random<const N: usize>(rng: &mut ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::Rng::fill_bytes(rng, &mut bytes);
    bytes
}
