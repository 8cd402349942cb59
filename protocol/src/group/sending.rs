//! Making chains and sealing messages.
//!
//! > A message is sealed to the roster of its moment. Any change of the roster, 256 messages, 24
//! > hours or a restart means a new chain first, sealed to each remaining member.

use alloc::{collections::BTreeMap, vec::Vec};

use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Entry, Event, Group, GroupState, NotReady, Output, SendError, Sent,
    SignedContent,
    answering::Handed,
    classes::Classes,
    nacks::Repairs,
    records::Key,
    wire::{BundleWire, Control, Statement},
    witness::Kept,
};
use crate::{
    audit::{Fact, RotationReason},
    bundle::{self, Bundle, Closing, Recipient, Terms},
    chain::{Draft, HeadRef, SealError, SendChain},
    envelope::{self, CARRIED_MAX, CONTROL, Header},
    gossip::Origin,
    identity::{Prekey, SignedCard},
    ids::{ChainId, MemberId, PrekeyId, Timestamp},
    limits::{CHAIN_AGE_MS, CHAIN_MESSAGES},
    membership::Roster,
    pair::SendState,
    said,
    topic::TopicSecret,
};

/// Own chains whose init slots may still be confirmed.
const UNCONFIRMED: usize = 8;
/// Bytes around a bundle's head and pages in a control envelope.
const AROUND: usize = 512;
/// In place of a prekey that is not known: no key, so nobody opens what is sealed to it.
const NO_KEY: Prekey = Prekey { id: PrekeyId([0; 4]), public: [0; 32] };

#[derive(Default)]
pub(super) struct Sending {
    pub chain: Option<SendChain>,
    pub closing: Option<Closing>,
    pub pairs: BTreeMap<MemberId, SendState>,
    pub inits: BTreeMap<ChainId, BTreeMap<MemberId, u16>>,
    /// Own chains of this run, oldest first.
    pub recent: Vec<ChainId>,
    /// A new chain was asked for.
    pub asked: Option<RotationReason>,
    /// Whose slots are repaired.
    pub repairs: Repairs,
    /// Under which topics that of the moment was told lately.
    pub handed: BTreeMap<[u8; 32], Handed>,
}

impl Sending {
    /// How the current chain would end now.
    pub fn closing_now(&self) -> Option<Closing> {
        match &self.chain {
            Some(chain) => {
                Some(Closing { chain: chain.id(), count: chain.count(), last: chain.last() })
            }
            None => self.closing,
        }
    }

    /// Why the next message needs a new chain, if it does.
    fn stale(&self, roster: &Roster, now: Timestamp) -> Option<RotationReason> {
        let Some(chain) = &self.chain else {
            let before = self.closing.is_some();
            return Some(if before { RotationReason::Restart } else { RotationReason::First });
        };
        if chain.roster() != roster.hash() {
            return Some(RotationReason::Roster);
        }
        // Or made before the clock was set back.
        let aged = now.ms_since(chain.born()).max(chain.born().ms_since(now)) >= CHAIN_AGE_MS;
        let full = chain.count() >= CHAIN_MESSAGES;
        let due = full.then_some(RotationReason::Count);
        self.asked.or(due).or(aged.then_some(RotationReason::Age))
    }
}

impl Group {
    /// Whether a message can be sealed now.
    pub fn ready(&self, now: Timestamp) -> Result<(), NotReady> {
        if self.state != GroupState::Active {
            return Err(NotReady::NotAMember);
        }
        if self.is_behind() {
            return Err(NotReady::Behind);
        }
        if self.own.is_held(now) {
            return Err(NotReady::NotSynced);
        }
        let alone = self.ops.resolve().members.len() <= 1;
        let synced = alone || now < self.fresh_until || self.is_in_touch();
        if !synced || self.is_out_of_touch(now) {
            return Err(NotReady::NotSynced);
        }
        if self.moving.gone.is_some() {
            return Err(NotReady::Moved);
        }
        if self.is_pair() && alone {
            return Err(NotReady::Alone);
        }
        if !self.holds.is_empty() {
            return Err(NotReady::Returned);
        }
        if self.write_topics().is_empty() {
            return Err(NotReady::NoTopic);
        }
        Ok(())
    }

    /// Seals a message to the members of this moment; where a new chain is due, it is made and
    /// sealed to each of them first.
    pub fn send<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        kind: u8,
        payload: &[u8],
    ) -> Result<Sent, SendError> {
        self.ready(cx.now)?;
        let limit = CARRIED_MAX - AROUND;
        if payload.len() > limit {
            return Err(SendError::TooLong { limit });
        }
        let roster = self.ops.resolve().roster(self.id);
        let turn = self.turns.spoke.then_some(RotationReason::Turn);
        let asks = self.asks_as_admin(kind).then_some(RotationReason::Rights);
        if let Some(reason) = self.sending.stale(&roster, cx.now).or(turn).or(asks) {
            let topics = self.write_topics();
            self.rotate_chain(&mut cx, reason, None, &topics);
        }
        let topics = self.write_topics();
        let headers: Vec<_> = topics
            .iter()
            .filter_map(|commit| self.topics.topic(commit))
            .map(|topic| topic.header.clone())
            .collect();
        let heads = self.heads.iter().copied().collect();
        let lamport = self.lamport.saturating_add(1);
        let draft = Draft { kind, heads, lamport, at: cx.now, payload };
        // A chain was made above if there was none.
        let chain = self.sending.chain.as_mut().ok_or(NotReady::NoTopic)?;
        let sealed =
            chain.seal(&self.id, &headers, draft, cx.rng).map_err(|error| match error {
                SealError::TooLong { limit } => SendError::TooLong { limit },
                SealError::ChainFull | SealError::Heads => NotReady::NoTopic.into(),
            })?;
        let (id, index) = (chain.id(), sealed.index);
        let kept = Kept { id: sealed.id, content: sealed.hash, signature: sealed.signature };
        self.keep(HeadRef { chain: id, index, id: sealed.id }, kept);
        self.lamport = lamport;
        self.has_spoken();
        self.dirty.mark(Key::Meta);
        if let Some(Entry { state: ChainState::Mine { count }, .. }) =
            self.receiving.chains.get_mut(&id)
        {
            *count = index + 1;
            self.dirty.mark(Key::Chain(id));
        }
        for (at, (envelope, commit)) in sealed.envelopes.into_iter().zip(&topics).enumerate() {
            if at == 0 {
                let envelope = envelope.clone();
                let told_by = Vec::new();
                self.out.push_back(Output::Archive { chain: id, index, envelope, told_by });
            }
            self.publish(envelope, commit, Some(sealed.id));
        }
        let recipients =
            roster.members().iter().filter(|member| **member != self.me).copied().collect();
        let signed = SignedContent { content: sealed.content, signature: sealed.signature };
        let by_admin = self.is_mine_by_admin(kind);
        Ok(Sent {
            id: sealed.id,
            chain: id,
            index,
            lamport,
            at: cx.now,
            by_admin,
            recipients,
            signed,
        })
    }

    /// Whether what an admin says would not count in the chain of now: this member was made one since.
    fn asks_as_admin(&self, kind: u8) -> bool {
        let is_admin = said::is_for_admins(kind) && self.ops.resolve().is_admin(&self.me);
        is_admin && !self.is_mine_by_admin(kind)
    }

    /// Whether a message of this kind counts as an admin's in the chain of now.
    fn is_mine_by_admin(&self, kind: u8) -> bool {
        let chain = self.sending.chain.as_ref().map(|chain| chain.id());
        let entry = chain.and_then(|chain| self.receiving.chains.get(&chain));
        entry.is_some_and(|entry| self.is_by_admin(kind, &entry.head))
    }

    /// Makes a new chain, publishes its bundle under these topics, and hands `topic` over in it.
    pub(super) fn rotate_chain<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        reason: RotationReason,
        topic: Option<&TopicSecret>,
        under: &[[u8; 32]],
    ) {
        // Whose state is old goes on with a new chain once it has caught up.
        if self.is_behind() {
            self.sending.asked = Some(RotationReason::Restart);
            return;
        }
        if !self.holds.is_empty() {
            self.holds.owe(topic, under);
            self.sending.asked = Some(reason);
            return;
        }
        self.join_heads(cx, under);
        self.note_end(cx);
        let turn = self.next_turn(cx.rng).unwrap_or_else(|| cx.me.prekey());
        let roster = self.ops.resolve().roster(self.id);
        let others: Vec<MemberId> =
            roster.members().iter().filter(|member| **member != self.me).copied().collect();
        let mut pairs: Vec<SendState> = others
            .iter()
            .map(|member| self.sending.pairs.remove(member).unwrap_or_default())
            .collect();
        let mut recipients: Vec<Recipient<'_>> = others
            .iter()
            .zip(&mut pairs)
            .map(|(member, pair)| {
                // An admin may promote somebody who never came, of whom there is no card. The others'
                // slots stay in their places.
                let card = self.people.cards.get(member).map(SignedCard::card);
                let known = card.map(|card| self.people.prekey(card));
                let prekey = self.turn_prekey().or(known).unwrap_or(NO_KEY);
                let kk = card.and_then(|card| card.kk.as_ref());
                Recipient { member: *member, prekey, kk, pair }
            })
            .collect();
        let terms = Terms {
            group: self.id,
            heads: self.ops.heads(),
            roster: roster.hash(),
            closing: self.sending.closing_now(),
            topic,
            audit_head: self.audit.log.head16(),
            now: cx.now,
        };
        let sealed = bundle::seal_with(cx.me, terms, turn, &mut recipients, cx.rng);
        for (member, pair) in others.iter().zip(pairs) {
            self.sending.pairs.insert(*member, pair);
            self.dirty.mark(Key::PairSend(*member));
        }
        let (id, before) = (sealed.chain.id(), self.chain_before());
        self.sending.closing = self.sending.closing_now();
        self.sending.chain = Some(sealed.chain);
        self.sending.asked = None;
        self.sending.inits.insert(id, sealed.inits.into_iter().collect());
        self.sending.recent.push(id);
        if self.sending.recent.len() > UNCONFIRMED {
            let forgotten = self.sending.recent.remove(0);
            self.sending.inits.remove(&forgotten);
            self.dirty.mark(Key::Inits(forgotten));
        }
        self.publish_bundle(cx, &sealed.bundle, under);
        self.tell_ciphertexts(cx, &sealed.bundle.head, sealed.ciphertexts, under);
        let Bundle { head, pages } = sealed.bundle;
        let state = ChainState::Mine { count: 0 };
        let at = self.next_at(cx.now);
        self.receiving
            .chains
            .insert(id, Entry { head, pages, at, state, classes: Classes::default() });
        self.evict_chains();
        for key in [Key::Meta, Key::Inits(id), Key::Bundle(id), Key::Chain(id)] {
            self.dirty.mark(key);
        }
        let recipients = u32::try_from(others.len()).unwrap_or(u32::MAX);
        self.note(cx, Fact::ChainMade { chain: id, reason, recipients });
        self.note_sealed(cx, id, &others, before);
        let event = Event::Rotated { sender: self.me, chain: id, recipients: others };
        self.out.push_back(Output::Event(event));
    }

    /// A head with its only page goes in one envelope; more pages follow one by one.
    pub(super) fn publish_bundle<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        bundle: &Bundle,
        under: &[[u8; 32]],
    ) {
        let head = bundle.head.as_bytes();
        let mut parts: Vec<Vec<&Vec<u8>>> = bundle.pages.iter().map(|page| [page].into()).collect();
        let first = parts.first().map_or(0, |pages| pages[0].len());
        if parts.is_empty() || head.len() + first > CARRIED_MAX - AROUND {
            parts.insert(0, Vec::new());
        }
        for pages in parts {
            let pages = pages.into_iter().map(|page| page.clone().into()).collect();
            let wire = BundleWire { head: head.into(), pages };
            self.publish_control(cx, &Statement::Bundle(wire), under);
        }
    }

    /// Signs a statement and publishes it under each of these topics.
    pub(super) fn publish_control<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        statement: &Statement,
        under: &[[u8; 32]],
    ) {
        let control = Control::sign(&self.id, statement, cx.me.identity());
        self.publish_signed(cx, &control, under);
    }

    /// Publishes a signed statement under each of these topics.
    pub(super) fn publish_signed<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        control: &[u8],
        under: &[[u8; 32]],
    ) {
        for commit in under {
            let Some(topic) = self.topics.topic(commit) else { continue };
            let header = Header { chain: CONTROL, index: 0 };
            // What is too long for an envelope is never said: each caller bounds it.
            let sealed = envelope::seal(header, &topic.header, &topic.control, control, cx.rng);
            if let Ok(envelope) = sealed {
                self.publish(envelope, commit, None);
            }
        }
    }

    fn publish(
        &mut self,
        envelope: Vec<u8>,
        commit: &[u8; 32],
        message: Option<crate::ids::MessageId>,
    ) {
        let Some(topic) = self.topics.topic(commit) else { return };
        let logs = Vec::from([topic.log]);
        self.gossip.spread(&envelope, Origin::Here);
        self.out.push_back(Output::Publish { envelope, logs, message });
    }

    /// The topics to write to now, of which the secret is known.
    pub(super) fn write_topics(&self) -> Vec<[u8; 32]> {
        let write = &self.ops.resolve().topics().write;
        write.iter().filter(|commit| self.topics.topic(commit).is_some()).copied().collect()
    }
}
