//! How two nodes even out what they know over a channel.
//!
//! Each side tells a summary: the heads of its ops, how far it read each chain, which cards it has.
//! Each side then sends what the other's summary lacks, and [`Frame::Done`]. What is still lacking
//! later is asked for by name. docs/spec/sync.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Event, FrameError, Group, GroupState, Kept, Output, Source, Timer,
    control::parts,
    records::Key,
    serving::Serving,
    wire::{CardSummary, ChainSummary, Data, Frame, Served, Statement, Summary},
};
use crate::{
    codec,
    envelope::{self, Header},
    ids::{ChainId, MemberId, Timestamp},
    limits::{CHAIN_MESSAGES, FRAME_MAX, TOPICS},
};

/// Chains on one page of a summary: at most 256 missing indexes each would still fit a frame.
const PER_PAGE: usize = 64;
/// Channels are evened out again this often, in milliseconds.
const AGAIN_MS: u64 = 5 * 60 * 1000;
/// Frames taken of one neighbour: so many at once, and so many each second from then on. The others
/// are lost, and sync mends what they carried.
const FRAMES_BURST: u64 = 20_000;
const FRAMES_PER_S: u64 = 500;
/// Heads told on one page.
const HEADS: usize = 256;
/// A summary that has not come by then is asked for, in milliseconds.
pub(super) const HELLO_MS: u64 = 1_000;

/// How far the sync with one peer is.
#[derive(Default)]
pub(super) struct Peer {
    /// It has sent all that this node's summary lacked.
    pub synced: bool,
    /// Its summary has come, whole.
    pub heard: bool,
    /// When its last question for a summary was answered.
    told: Option<Timestamp>,
    /// What it is sent.
    pub serving: Serving,
    /// How many messages of own chains it said to have at most.
    pub had: BTreeMap<ChainId, usize>,
    /// Frames that were taken of it lately, and since when they count.
    taken: u64,
    counted: Timestamp,
}

impl Peer {
    /// Whether one more frame is taken of this neighbour now.
    fn may_speak(&mut self, now: Timestamp) -> bool {
        let passed = now.ms_since(self.counted).min(60_000);
        let done = passed * FRAMES_PER_S / 1_000;
        if done > 0 || now < self.counted {
            (self.taken, self.counted) = (self.taken.saturating_sub(done), now);
        }
        self.taken += 1;
        self.taken <= FRAMES_BURST
    }
}

impl Group {
    /// A channel to a member stands.
    pub fn on_channel_up<R: CryptoRng>(&mut self, cx: Cx<'_, R>, member: MemberId) {
        if self.state != GroupState::Active || !self.ops.resolve().is_member(&member) {
            return;
        }
        self.note_handshake(&cx, member);
        self.heard_of(cx.now, member, cx.now);
        self.begin_sync(cx.now, member);
        self.tell_presence(member);
        self.tell_inbox(member);
        self.tell_notices(member);
        self.nacks.hurry(&member, cx.now);
        self.watch_nacks();
        self.ask_anew(cx.now);
    }

    /// Tells a peer the summary, now and again for as long as the channel stands: each side sends only
    /// what the other's summary lacks.
    fn begin_sync(&mut self, now: Timestamp, with: MemberId) {
        self.gossip.up(with);
        self.peers.insert(with, Peer::default());
        self.tell_summary(with);
        self.set_timer(Timer::Hello, now.plus_ms(HELLO_MS));
        self.set_timer(Timer::Resync, now.plus_ms(AGAIN_MS));
    }

    /// A member's channel is gone.
    pub fn on_channel_down<R: CryptoRng>(&mut self, cx: Cx<'_, R>, member: MemberId) {
        self.gossip.down(&member);
        self.peers.remove(&member);
        self.note_loss(cx.now, member);
    }

    /// All that a relay had in one of this group's logs has been read. It counts for those that are
    /// written to now: an older one says nothing of what came after.
    pub fn on_caught_up<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>, log: crate::ids::LogId) {
        if self.state != GroupState::Active {
            return;
        }
        self.topics.mark_read(&log);
        self.take_handed_after(&mut cx, log);
        let write = self.write_topics();
        let topics = write.iter().filter_map(|commit| self.topics.topic(commit));
        let current = topics.map(|topic| topic.log).any(|current| current == log);
        if current {
            self.confirm(None);
        }
        if current {
            self.watch_unseen(cx.now);
        }
        if current && !self.relays_up {
            self.relays_up = true;
            self.judge_soon(cx.now);
            self.set_timer(Timer::View, cx.now);
            self.out.push_back(Output::Event(Event::Ready));
        }
    }

    /// No relay is connected any more for this group's logs.
    pub fn on_relays_down<R: CryptoRng>(&mut self, _: Cx<'_, R>) {
        self.relays_up = false;
    }

    /// A frame came on a member's channel.
    pub fn on_frame<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        from: MemberId,
        frame: &[u8],
    ) -> Result<(), FrameError> {
        let known = self.ops.resolve().is_member(&from);
        if !known || self.state != GroupState::Active && !self.listens() {
            return Err(FrameError::NotAMember);
        }
        let frame: Frame = codec::decode(frame).map_err(|_| FrameError::Malformed)?;
        if self.state != GroupState::Active {
            self.take_outside(&mut cx, from, frame);
            if self.state != GroupState::Active {
                return Ok(());
            }
            self.begin_sync(cx.now, from);
            return Ok(());
        }
        self.heard_of(cx.now, from, cx.now);
        // A member admitted since its channel came up is taken in with its first frame.
        if !self.peers.contains_key(&from) {
            self.begin_sync(cx.now, from);
        }
        if self.peers.get_mut(&from).is_some_and(|peer| !peer.may_speak(cx.now)) {
            return Ok(());
        }
        let cx = &mut cx;
        match frame {
            Frame::Push(bytes) => {
                if self.gossip.on_push(from, &envelope::id(&bytes)) {
                    // What does not open is dropped; the channel's peer learns nothing.
                    let _ = self.take_envelope(cx, Source::Member(from), &bytes);
                }
            }
            Frame::Have(ids) => self.gossip.on_have(from, &ids, cx.now),
            Frame::Graft(ids) => self.take_graft(cx.now, from, &ids),
            Frame::Prune => self.gossip.on_prune(from),
            Frame::Summary(summary) => self.take_summary(cx.now, from, &summary),
            Frame::Data(data) => self.take_data(cx, from, data),
            Frame::Done => {
                self.on_done(cx.now, from);
                self.set_timer(Timer::View, cx.now);
            }
            Frame::Want(want) => self.take_want(cx.now, from, &want),
            Frame::Hello => self.take_hello(cx.now, from),
            Frame::Presence(presence) => self.take_presence(cx.now, from, presence),
            Frame::Inboxes(controls) => self.take_inboxes(cx.now, &controls),
            Frame::Sealed(sealed) => {
                // What does not open is dropped; the channel's peer learns nothing.
                let _ = self.take_sealed(cx, &sealed);
            }
            Frame::Notices(notices) => self.take_notices(cx, &notices),
            Frame::Typing(on) => self.take_typing(from, on),
        }
        Ok(())
    }

    /// Hands out what [`Output::Serve`] asked for: on the member's channel, or where none stands
    /// once more under the topics of the moment.
    pub fn serve<R: CryptoRng>(&mut self, cx: Cx<'_, R>, to: MemberId, kept: Vec<Kept>) {
        if self.state != GroupState::Active || !self.ops.resolve().is_member(&to) {
            return;
        }
        if self.peers.contains_key(&to) {
            for Kept { chain, index, envelope } in kept {
                let envelopes = Vec::from([Served { chain, index, envelope }]);
                self.reply(to, &Frame::Data(Data { envelopes, ..Data::default() }));
            }
            self.serve_more(cx.now);
            return;
        }
        let write = self.write_topics();
        let logs: Vec<_> =
            write.iter().filter_map(|commit| self.topics.topic(commit)).map(|t| t.log).collect();
        for Kept { envelope, .. } in kept {
            self.out.push_back(Output::Publish { envelope, logs: logs.clone(), message: None });
        }
    }

    pub(super) fn resync<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let members: Vec<MemberId> = self.peers.keys().copied().collect();
        for member in members {
            self.tell_summary(member);
        }
        if !self.peers.is_empty() {
            self.set_timer(Timer::Resync, cx.now.plus_ms(AGAIN_MS));
        }
    }

    /// Asks those for their summaries from whom none has come: they may have told it before they
    /// were members here.
    pub(super) fn hello(&mut self) {
        let silent: Vec<MemberId> =
            self.peers.iter().filter(|(_, peer)| !peer.heard).map(|(id, _)| *id).collect();
        silent.into_iter().for_each(|member| self.frame(member, &Frame::Hello));
    }

    /// Tells one member what was told last of where this node is: it may have reached nobody, and
    /// without a relay nobody keeps it.
    fn tell_presence(&mut self, member: MemberId) {
        if let Some(presence) = self.people.presences.get(&self.me).cloned() {
            self.frame(member, &Frame::Presence(presence));
        }
    }

    pub(super) fn frame(&mut self, to: MemberId, frame: &Frame) {
        let frame = codec::encode(frame);
        if frame.len() <= FRAME_MAX {
            self.out.push_back(Output::Frame { to, frame });
        }
    }

    fn tell_summary(&mut self, to: MemberId) {
        let chains: Vec<ChainSummary> = self
            .receiving
            .chains
            .iter()
            .filter(|(chain, _)| self.may_have(&to, chain))
            .map(|(chain, entry)| summary_of(*chain, &entry.state))
            .collect();
        let cards: Vec<CardSummary> = self
            .people
            .cards
            .iter()
            .map(|(member, card)| CardSummary { member: *member, seq: card.card().seq })
            .collect();
        let mut chains = chains.into_iter().peekable();
        let mut cards = cards.into_iter().peekable();
        loop {
            let page: Vec<_> = chains.by_ref().take(PER_PAGE).collect();
            let page_cards: Vec<_> = cards.by_ref().take(4 * PER_PAGE).collect();
            let last = chains.peek().is_none() && cards.peek().is_none();
            let heads = self.ops.heads().into_iter().take(HEADS).collect();
            let summary = Summary { heads, chains: page, cards: page_cards, last };
            self.reply(to, &Frame::Summary(summary));
            if last {
                return;
            }
        }
    }

    /// A peer asks for the summary; each answer costs much more than the question.
    fn take_hello(&mut self, now: Timestamp, from: MemberId) {
        let room = self.may_answer(&from, now);
        let Some(peer) = self.peers.get_mut(&from).filter(|_| room) else { return };
        if peer.told.is_none_or(|told| now.ms_since(told) >= HELLO_MS) {
            peer.told = Some(now);
            self.tell_summary(from);
        }
    }

    /// What this node has of a chain and the peer lacks, if it is entitled to it.
    pub(super) fn lacking(
        &self,
        to: &MemberId,
        theirs: &ChainSummary,
    ) -> Option<(ChainId, Vec<u32>)> {
        let chain = theirs.chain;
        let entry = self.receiving.chains.get(&chain)?;
        let (next, lacking): (u32, BTreeSet<u32>) = match &entry.state {
            ChainState::Open(read) => (read.next(), read.missing().collect()),
            ChainState::Mine { count } => (*count, BTreeSet::new()),
            ChainState::Closed { next } => (*next, BTreeSet::new()),
            ChainState::NotForMe | ChainState::Failed => return None,
        };
        let beyond = theirs.next.min(next)..next;
        let missing = theirs.missing.iter().copied().filter(|index| *index < next);
        let indexes: BTreeSet<u32> =
            missing.chain(beyond).filter(|index| !lacking.contains(index)).collect();
        let entitled = !indexes.is_empty() && self.may_have(to, &chain);
        let indexes: Vec<u32> = indexes.into_iter().take(CHAIN_MESSAGES as usize).collect();
        entitled.then_some((chain, indexes))
    }

    pub(super) fn send_parts(
        &mut self,
        to: MemberId,
        items: Vec<ByteVec>,
        wrap: impl Fn(Vec<ByteVec>) -> Data,
    ) {
        for part in parts(items) {
            self.frame(to, &Frame::Data(wrap(part)));
        }
    }

    fn take_data<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, from: MemberId, data: Data) {
        self.take_ops(cx, data.ops.iter().map(|op| op.as_slice()));
        if self.state != GroupState::Active {
            return;
        }
        self.take_cards(data.cards.iter().map(|card| card.as_slice()));
        for topic in data.topics.into_iter().take(TOPICS) {
            if let Ok(bytes) = <[u8; 32]>::try_from(topic.as_slice()) {
                self.learn_topic(cx, crate::topic::TopicSecret::from_bytes(bytes));
            }
        }
        for bundle in data.bundles {
            self.take_bundle(cx, bundle);
        }
        for kem in data.kems.into_iter().flatten() {
            self.take_ciphertexts(cx, from, kem);
        }
        for Served { chain, index, envelope } in data.envelopes {
            // What does not open is dropped; the channel's peer learns nothing.
            let _ = self.take_served(cx, from, Header { chain, index }, &envelope);
        }
    }

    /// Whether what others had to tell was read: of a log to write to, or of a neighbour.
    pub(super) fn is_in_touch(&self) -> bool {
        self.relays_up || self.peers.values().any(|peer| peer.synced)
    }

    fn on_done(&mut self, now: Timestamp, from: MemberId) {
        self.confirm(Some(from));
        if let Some(peer) = self.peers.get_mut(&from)
            && !peer.synced
        {
            peer.synced = true;
            self.judge_soon(now);
            self.out.push_back(Output::Event(Event::Ready));
        }
    }

    /// Tells the members where this node may be reached: binary multiaddrs, at most 16 are told.
    /// A card that is newer than the one they have goes with it.
    pub fn present<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>, addresses: Vec<Vec<u8>>) {
        if self.state != GroupState::Active {
            return;
        }
        let under = self.write_topics();
        self.tell_own_card(&mut cx);
        let addresses: Vec<ByteVec> =
            super::people::bounded(addresses).into_iter().map(Into::into).collect();
        let presence = super::wire::Presence { at: cx.now, addresses };
        if self.people.take_presence(self.me, presence.clone()) {
            self.dirty.mark(Key::Presence(self.me));
            self.publish_control(&mut cx, &Statement::Presence(presence), &under);
        }
    }
}

fn summary_of(chain: ChainId, state: &ChainState) -> ChainSummary {
    let (next, missing) = match state {
        ChainState::Open(read) => (read.next(), read.missing().collect()),
        ChainState::Mine { count } => (*count, Vec::new()),
        ChainState::Closed { next } => (*next, Vec::new()),
        ChainState::NotForMe | ChainState::Failed => (CHAIN_MESSAGES, Vec::new()),
    };
    ChainSummary { chain, next, missing }
}
