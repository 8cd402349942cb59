//! Welcomes: what is checked of one, and what it adds to a state that is in already.
//!
//! > An op may tell who was out that it is let in again before its Welcome comes. What its node has opened
//! > and sealed since stands: the Welcome adds to it and replaces nothing.
//!
//! docs/spec/invite.md, *Welcome*.

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{
    Cx, Event, Group, GroupState, Output, WelcomeError,
    records::{Key, ordered},
    wire::Welcome,
};
use crate::{
    codec,
    ids::{GroupId, MemberId, Timestamp},
    limits::{LAMPORT_LEAP, TOPICS},
    membership::{Op, OpSet},
    topic::TopicSecret,
};

/// The version that is written and read.
pub(super) const VERSION: u8 = 1;
/// A Welcome is as good as a sync for this long, in milliseconds.
const FRESH_MS: u64 = 5 * 60 * 1000;
/// The greatest logical clock that is taken from a host.
const LAMPORT: u64 = 1 << 48;

/// A Welcome that holds, with what this node knows of the group from before.
pub(super) struct Checked<'a> {
    pub welcome: Welcome,
    /// Its ops, and those of before.
    pub ops: OpSet,
    /// Its topics, be they of this group or not.
    pub topics: Vec<TopicSecret>,
    /// The state of before.
    pub before: Option<&'a Group>,
}

impl<'a> Checked<'a> {
    /// Reads and checks what `host` hands to `me`.
    pub fn read(
        bytes: &[u8],
        me: &MemberId,
        host: &MemberId,
        before: impl FnOnce(&GroupId) -> Option<&'a Group>,
    ) -> Result<Self, WelcomeError> {
        let welcome: Welcome = codec::decode(bytes).map_err(|_| WelcomeError::Malformed)?;
        let mut ops = Vec::new();
        for op in &welcome.ops {
            ops.push(Op::from_bytes(op).map_err(|_| WelcomeError::Malformed)?);
        }
        if welcome.version != VERSION || ops.is_empty() {
            return Err(WelcomeError::Malformed);
        }
        let genesis = ops.remove(0);
        let mut ops = ordered(genesis, ops).ok_or(WelcomeError::Malformed)?;
        if ops.group() != welcome.group {
            return Err(WelcomeError::Malformed);
        }
        let before = before(&welcome.group);
        for op in before.into_iter().flat_map(|before| before.ops.iter()) {
            // Those that a full set has no room for are no better than unknown.
            let _ = ops.insert(op.clone());
        }
        if !ops.resolve().is_member(me) {
            return Err(WelcomeError::NotAMember);
        }
        if !ops.resolve().is_admin(host) {
            return Err(WelcomeError::NotAnAdmin);
        }
        let mut topics = Vec::new();
        for topic in welcome.topics.iter().take(TOPICS) {
            let topic = topic.as_slice().try_into().map_err(|_| WelcomeError::Malformed)?;
            topics.push(TopicSecret::from_bytes(topic));
        }
        Ok(Self { welcome, ops, topics, before })
    }

    /// The logical clock that it gives.
    pub fn lamport(&self) -> u64 {
        self.welcome.lamport.unwrap_or(0).min(LAMPORT)
    }

    /// Whether the state of before is in, by a membership that these ops leave as it is.
    fn is_in(&self) -> bool {
        self.before.is_some_and(|before| {
            let standing = before.ops.resolve().members.get(&before.me);
            before.state() == GroupState::Active
                && standing.is_some_and(|standing| self.ops.goes_on(&standing.grant))
        })
    }
}

impl Group {
    /// The group that this node's member is in already, by a membership that this Welcome leaves as it
    /// is: the Welcome is for [`Self::take_welcome`] there. Every other one is for [`Self::join`].
    #[must_use]
    pub fn known_by<'a>(
        welcome: &[u8],
        host: MemberId,
        before: impl FnOnce(&GroupId) -> Option<&'a Self>,
    ) -> Option<GroupId> {
        let id = codec::decode::<Welcome>(welcome).ok()?.group;
        // What is checked costs a signature for each op.
        let before = before(&id).filter(|before| before.state() == GroupState::Active)?;
        let checked = Checked::read(welcome, &before.me, &host, |_| Some(before)).ok()?;
        checked.is_in().then_some(id)
    }

    /// Takes from a Welcome what this state lacks. `host` is the admin whom the join's handshake
    /// authenticated. For states of [`Self::known_by`] alone: any other is not changed.
    pub fn take_welcome<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        welcome: &[u8],
        host: MemberId,
    ) -> Result<(), WelcomeError> {
        let checked = Checked::read(welcome, &self.me, &host, |_| Some(&*self))?;
        if !checked.is_in() || checked.welcome.group != self.id {
            return Err(WelcomeError::NotAMember);
        }
        let lamport = checked.lamport();
        let Checked { mut welcome, topics, .. } = checked;
        self.take_ops(&mut cx, welcome.ops.iter().map(|op| op.as_slice()));
        self.take_cards(welcome.cards.iter().map(|card| card.as_slice()));
        topics.into_iter().for_each(|topic| self.learn_topic(&mut cx, topic));
        for told in core::mem::take(&mut welcome.presences) {
            // What a member has said itself is worth more.
            let is_known = self.people.presences.contains_key(&told.member);
            let other = told.member != self.me && self.is_member(&told.member);
            if other && !is_known && self.people.take_told(cx.now, told.member, told.presence) {
                self.dirty.mark(Key::Presence(told.member));
            }
        }
        for control in welcome.inboxes.iter().flatten() {
            self.take_inbox(cx.now, control);
        }
        // Others' words take along the clock of who is in: a host can't use it up, nor have what it says be ahead.
        self.lamport = self.lamport.max(lamport.min(self.lamport.saturating_add(LAMPORT_LEAP / 2)));
        self.dirty.mark(Key::Meta);
        self.note_joined();
        let by_others = |(member, peer): (&MemberId, &super::Peer)| *member != host && peer.synced;
        if !self.relays_up && !self.peers.iter().any(by_others) {
            self.begin_with(cx.now, host);
        }
        self.out.push_back(Output::Event(Event::Ready));
        self.out.push_back(Output::Event(Event::Members));
        Ok(())
    }

    /// What is known is its host's word, until somebody else has told what is new.
    pub(super) fn begin_with(&mut self, now: Timestamp, host: MemberId) {
        self.fresh_until = now.plus_ms(FRESH_MS);
        self.trust_welcome(host);
        self.await_admission();
    }
}
