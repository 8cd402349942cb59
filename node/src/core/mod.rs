//! The node's decisions: it owns the store, the groups and one seeded source of randomness, and
//! names no socket, clock or thread.
//!
//! > Each step is one transaction. What it sends is seen by [`Core::poll_effect`] only after the
//! > commit; what it acknowledges is on the disk. Effects are hints, rows are the truth.
//!
//! Methods are of four kinds: *verbs*, asked by people; *handlers* (`on_…`), told by the network;
//! *deadlines*; and the poll. After each call: [`Core::poll_effect`] until it is empty, then wait
//! until [`Core::deadline`] at the latest.

mod effect;
mod error;

use std::{collections::VecDeque, sync::Arc};

use protocol::{
    endpoint::Endpoint,
    ids::{GroupId, MemberId, Timestamp},
    noise::Peer,
};
use rand_chacha::ChaCha20Rng;
use zeroize::Zeroizing;

pub use self::{
    effect::Effect,
    error::{InitError, OpenError, VerbError},
};
use crate::{
    api::types::{CreateInvite, GroupSummary, GroupView, InviteView, JoinView, Message, Status},
    net::relay::{RelayKey, RelayReport},
    store::{Reader, Store, StoreError},
};

/// How this node takes part.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether direct connections are made and taken.
    pub direct: bool,
    /// This node's own relays: multiaddrs, each with `/p2p`. New groups use them.
    pub relays: Vec<String>,
}

/// The owner of all state.
#[expect(dead_code, reason = "the decisions come with the next commits")]
pub struct Core {
    store: Store,
    me: Arc<Endpoint>,
    node_key: Zeroizing<[u8; 32]>,
    rng: ChaCha20Rng,
    options: Options,
    started: Timestamp,
    effects: VecDeque<Effect>,
}

/// Makes a node's identity and node key in an empty store.
pub fn init(store: &mut Store, name: &str, rng: &mut ChaCha20Rng) -> Result<MemberId, InitError> {
    let _ = (store, name, rng);
    Err(InitError::Exists)
}

/// Whether [`init`] has been done on this store.
pub fn is_initialised(store: &mut Store) -> Result<bool, StoreError> {
    store.transaction(|tx| Ok(tx.meta("endpoint")?.is_some()))
}

#[expect(clippy::missing_errors_doc, reason = "of a verb, see VerbError; of a handler, StoreError")]
impl Core {
    /// Takes up everything that is stored. `rng` is seeded from the system, once.
    pub fn open(
        store: Store,
        rng: ChaCha20Rng,
        options: Options,
        now: Timestamp,
    ) -> Result<Self, OpenError> {
        let _ = (store, rng, options, now);
        Err(OpenError::NoIdentity)
    }

    /// This node's secrets, for channels.
    #[must_use]
    pub fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.me)
    }

    /// The Ed25519 seed of the libp2p node key; its PeerId is on the card.
    #[must_use]
    pub fn node_key(&self) -> &[u8; 32] {
        &self.node_key
    }

    /// A read-only view of the store.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        self.store.reader()
    }

    // Verbs.

    /// Founds a group.
    pub fn create_group(&mut self, name: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let _ = (name, now);
        Err(VerbError::BadName)
    }

    /// All groups, oldest first.
    pub fn groups(&mut self, now: Timestamp) -> Result<Vec<GroupSummary>, VerbError> {
        let _ = now;
        Ok(Vec::new())
    }

    /// One group: by its exact name or an unambiguous id prefix of at least four digits.
    pub fn group(&mut self, reference: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let _ = now;
        Err(VerbError::NoSuchGroup { asked: reference.into() })
    }

    /// Which group a name or id prefix means.
    pub fn find_group(&self, reference: &str) -> Result<GroupId, VerbError> {
        Err(VerbError::NoSuchGroup { asked: reference.into() })
    }

    /// Makes an invite; its code is in this answer and nowhere else.
    pub fn invite(
        &mut self,
        reference: &str,
        terms: &CreateInvite,
        now: Timestamp,
    ) -> Result<InviteView, VerbError> {
        let _ = (reference, terms, now);
        Err(VerbError::NotAMember)
    }

    /// The invites that this node made for a group.
    pub fn invites(
        &mut self,
        reference: &str,
        now: Timestamp,
    ) -> Result<Vec<InviteView>, VerbError> {
        let _ = (reference, now);
        Ok(Vec::new())
    }

    /// Takes an invite back.
    pub fn revoke(
        &mut self,
        reference: &str,
        invite: &str,
        now: Timestamp,
    ) -> Result<InviteView, VerbError> {
        let _ = (reference, invite, now);
        Err(VerbError::NoSuchInvite)
    }

    /// Begins to join by a code, or says how far the join by that code is.
    pub fn join(&mut self, code: &str, now: Timestamp) -> Result<JoinView, VerbError> {
        let _ = (code, now);
        Err(VerbError::NoWay)
    }

    /// All joins.
    pub fn joins(&mut self) -> Result<Vec<JoinView>, VerbError> {
        Ok(Vec::new())
    }

    /// One join.
    pub fn join_state(&mut self, id: &str) -> Result<JoinView, VerbError> {
        let _ = id;
        Err(VerbError::NoSuchJoin)
    }

    /// Queues a message; it is sealed and sent as soon as it may be.
    pub fn send(
        &mut self,
        reference: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        let _ = (reference, text, now);
        Err(VerbError::NotAMember)
    }

    /// Removes a member: by exact name, with or without `@`, or an unambiguous id prefix.
    pub fn remove(
        &mut self,
        reference: &str,
        member: &str,
        now: Timestamp,
    ) -> Result<GroupView, VerbError> {
        let _ = (reference, member, now);
        Err(VerbError::NotAMember)
    }

    /// Leaves a group.
    pub fn leave(&mut self, reference: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let _ = (reference, now);
        Err(VerbError::NotAMember)
    }

    /// Makes new keys and seals them to every member.
    pub fn rotate(&mut self, reference: &str, now: Timestamp) -> Result<GroupView, VerbError> {
        let _ = (reference, now);
        Err(VerbError::NotAMember)
    }

    /// How everything stands.
    pub fn status(&mut self, now: Timestamp) -> Result<Status, VerbError> {
        let _ = now;
        Err(VerbError::NotAMember)
    }

    // Handlers.

    /// A channel to a member stands. It takes the place of one that stood before.
    pub fn on_channel_up(
        &mut self,
        peer: &Peer,
        address: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (peer, address, now);
        Ok(())
    }

    /// A member's channel is gone.
    pub fn on_channel_down(
        &mut self,
        member: MemberId,
        reason: String,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (member, reason, now);
        Ok(())
    }

    /// A member could not be dialled; it is tried again in `retry_in_ms`.
    pub fn on_dial_failed(
        &mut self,
        member: MemberId,
        reason: String,
        retry_in_ms: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (member, reason, retry_in_ms, now);
        Ok(())
    }

    /// A frame came on a member's channel.
    pub fn on_channel_frame(
        &mut self,
        member: MemberId,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (member, frame, now);
        Ok(())
    }

    /// All addresses at which this node listens now: multiaddrs with its PeerId.
    pub fn on_listening(
        &mut self,
        addresses: Vec<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (addresses, now);
        Ok(())
    }

    /// A relay's client reports.
    pub fn on_relay(
        &mut self,
        relay: &RelayKey,
        report: RelayReport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (relay, report, now);
        Ok(())
    }

    /// A join's stream is open: one that was dialled, or one that came in.
    pub fn on_join_open(&mut self, stream: u64, now: Timestamp) -> Result<(), StoreError> {
        let _ = (stream, now);
        Ok(())
    }

    /// A frame came on a join's stream.
    pub fn on_join_frame(
        &mut self,
        stream: u64,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _ = (stream, frame, now);
        Ok(())
    }

    /// A join's stream is gone, or could not be opened.
    pub fn on_join_closed(&mut self, stream: u64, now: Timestamp) -> Result<(), StoreError> {
        let _ = (stream, now);
        Ok(())
    }

    // Deadlines and polls.

    /// When [`Self::on_deadline`] wants to be called, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Does what is due.
    pub fn on_deadline(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let _ = now;
        Ok(())
    }

    /// The next piece of work for the network, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}
