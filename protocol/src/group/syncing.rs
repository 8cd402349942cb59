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
    told::Told,
    wire::{
        BundleWire, CardSummary, ChainSummary, Data, Frame, Indexes, Served, Statement, Summary,
        Want,
    },
};
use crate::{
    codec,
    envelope::{self, Header},
    ids::{ChainId, MemberId, Timestamp},
    limits::{CHAIN_MESSAGES, FRAME_MAX, TOPICS},
};

/// Chains on one page of a summary: at most 256 missing indexes each would still fit a frame.
const PER_PAGE: usize = 64;
/// Chains that one peer's summary may name.
const NAMED: usize = 4096;
/// Channels are evened out again this often, in milliseconds.
const AGAIN_MS: u64 = 5 * 60 * 1000;
/// Messages served to one peer at once, and how soon the next follow, in milliseconds.
const AT_ONCE: usize = 1024;
const SERVE_MS: u64 = 100;
/// Frames taken of one neighbour: so many at once, and so many each second from then on. The others
/// are lost, and sync mends what they carried.
const FRAMES_BURST: u64 = 20_000;
const FRAMES_PER_S: u64 = 500;
/// A neighbour's question is answered while no more frames than these are owed to its questions before,
/// of which so many are forgotten each second.
const OWED: u64 = 64;
const OWED_PER_S: u64 = 100;
/// Heads told on one page.
const HEADS: usize = 256;
/// A summary that has not come by then is asked for, in milliseconds.
const HELLO_MS: u64 = 1_000;

/// How far the sync with one peer is.
#[derive(Default)]
pub(super) struct Peer {
    /// It has sent all that this node's summary lacked.
    pub synced: bool,
    /// Its summary has come, whole.
    heard: bool,
    /// Something that it lacked by its summary has not been sent yet.
    serving: bool,
    /// When its last whole summary, and its last question for one, were answered.
    answered: Option<Timestamp>,
    told: Option<Timestamp>,
    named: BTreeSet<ChainId>,
    lacks: BTreeMap<ChainId, Vec<u32>>,
    /// What it was sent and may lack still.
    sent: Told,
    /// Frames that were taken of it lately, and since when they count.
    taken: u64,
    counted: Timestamp,
    /// Frames that its questions cost lately, and since when they count.
    owed: u64,
    asked: Timestamp,
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

    /// Whether a question of this neighbour is answered now.
    fn may_ask(&mut self, now: Timestamp) -> bool {
        let done = now.ms_since(self.asked).min(60_000) * OWED_PER_S / 1_000;
        if done > 0 || now < self.asked {
            (self.owed, self.asked) = (self.owed.saturating_sub(done), now);
        }
        self.owed <= OWED
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
            Frame::Graft(ids) => self.gossip.on_graft(from, &ids),
            Frame::Prune => self.gossip.on_prune(from),
            Frame::Summary(summary) => self.take_summary(cx.now, from, &summary),
            Frame::Data(data) => self.take_data(cx, from, data),
            Frame::Done => {
                self.on_done(from);
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
        }
        Ok(())
    }

    /// Hands out what [`Output::Serve`] asked for: on the member's channel, or where none stands
    /// once more under the topics of the moment.
    pub fn serve<R: CryptoRng>(&mut self, _: Cx<'_, R>, to: MemberId, kept: Vec<Kept>) {
        if self.state != GroupState::Active || !self.ops.resolve().is_member(&to) {
            return;
        }
        if self.peers.contains_key(&to) {
            for Kept { chain, index, envelope } in kept {
                let envelopes = Vec::from([Served { chain, index, envelope }]);
                self.frame(to, &Frame::Data(Data { envelopes, ..Data::default() }));
            }
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
            self.frame(to, &Frame::Summary(summary));
            if last {
                return;
            }
        }
    }

    /// A peer asks for the summary; each answer costs much more than the question.
    fn take_hello(&mut self, now: Timestamp, from: MemberId) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.told.is_none_or(|told| now.ms_since(told) >= HELLO_MS) {
            peer.told = Some(now);
            self.tell_summary(from);
        }
    }

    /// Sends what the peer's summary lacks; after its last page also what it does not name.
    fn take_summary(&mut self, now: Timestamp, from: MemberId, summary: &Summary) {
        let Some(peer) = self.peers.get(&from) else { return };
        if peer.answered.is_some_and(|answered| now.ms_since(answered) < HELLO_MS) {
            return;
        }
        self.hear_of_own(now, &summary.chains);
        let lacks: Vec<_> =
            summary.chains.iter().filter_map(|theirs| self.lacking(&from, theirs)).collect();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for theirs in summary.chains.iter().take(NAMED.saturating_sub(peer.named.len())) {
            peer.named.insert(theirs.chain);
        }
        peer.lacks.extend(lacks);
        let newer: Vec<ByteVec> = summary
            .cards
            .iter()
            .filter_map(|theirs| {
                let card = self.people.cards.get(&theirs.member)?;
                (card.card().seq > theirs.seq).then(|| Vec::from(card.as_bytes()).into())
            })
            .collect();
        self.send_parts(from, newer, |cards| Data { cards, ..Data::default() });
        if !summary.last {
            return;
        }
        let ops = self.ops_after(&summary.heads);
        self.send_parts(from, ops, |ops| Data { ops, ..Data::default() });
        let Some(peer) = self.peers.get_mut(&from) else { return };
        (peer.heard, peer.answered) = (true, Some(now));
        let named = core::mem::take(&mut peer.named);
        let mut lacks = core::mem::take(&mut peer.lacks);
        let mut unnamed: Vec<(Timestamp, ChainId)> = self
            .receiving
            .chains
            .iter()
            .filter(|(chain, _)| !named.contains(chain) && self.may_have(&from, chain))
            .map(|(chain, entry)| (entry.at, *chain))
            .collect();
        // In the order of coming, in which the ratchets under them went on.
        unnamed.sort_unstable();
        for (_, chain) in &unnamed {
            let nothing = ChainSummary { chain: *chain, next: 0, missing: Vec::new() };
            lacks.extend(self.lacking(&from, &nothing));
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let without: BTreeSet<ChainId> = unnamed.iter().map(|(_, chain)| *chain).collect();
        peer.sent.hear(named.len(), |chain| without.contains(chain) || lacks.contains_key(chain));
        for (chain, indexes) in &mut lacks {
            *indexes = peer.sent.due(chain, core::mem::take(indexes), now);
        }
        lacks.retain(|_, indexes| !indexes.is_empty());
        unnamed.retain(|(_, chain)| peer.sent.take_bundle(*chain, now));
        for (_, chain) in unnamed {
            self.send_bundle(from, &chain);
            self.send_ciphertexts(from, &chain, None);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.lacks = lacks;
            peer.serving = true;
        }
        self.serve_more(now);
    }

    /// Serves each peer a bounded part of what its summary lacked, oldest chains first; the rest
    /// follows.
    pub(super) fn serve_more(&mut self, now: Timestamp) {
        let serving: Vec<MemberId> =
            self.peers.iter().filter(|(_, peer)| peer.serving).map(|(id, _)| *id).collect();
        for member in serving {
            let Some(peer) = self.peers.get_mut(&member) else { continue };
            let mut left: Vec<_> = core::mem::take(&mut peer.lacks).into_iter().collect();
            left.sort_by_key(|(chain, _)| self.receiving.chains.get(chain).map(|entry| entry.at));
            let mut room = AT_ONCE;
            let fits = left.iter().take_while(|(_, indexes)| {
                let fits = indexes.len() <= room;
                room = room.saturating_sub(indexes.len());
                fits
            });
            let rest = left.split_off(fits.count());
            let done = rest.is_empty();
            peer.lacks = rest.into_iter().collect();
            peer.serving = !done;
            for (chain, indexes) in &left {
                peer.sent.send(*chain, indexes, now);
            }
            if !left.is_empty() {
                self.out.push_back(Output::Serve { to: member, messages: left });
            }
            if done {
                self.frame(member, &Frame::Done);
            } else {
                self.set_timer(Timer::Serve, now.plus_ms(SERVE_MS));
            }
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

    fn send_bundle(&mut self, to: MemberId, chain: &ChainId) {
        let Some(mut bundle) = self.bundle_wire(chain) else { return };
        // The head tells that the chain is not for it.
        if !self.may_have(&to, chain) {
            bundle.pages.clear();
        }
        let head = bundle.head;
        let mut parts: Vec<Vec<ByteVec>> =
            bundle.pages.into_iter().map(|page| Vec::from([page])).collect();
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        for pages in parts {
            let bundle = BundleWire { head: head.clone(), pages };
            let data = Data { bundles: Vec::from([bundle]), ..Data::default() };
            self.frame(to, &Frame::Data(data));
        }
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

    fn on_done(&mut self, from: MemberId) {
        self.confirm(Some(from));
        if let Some(peer) = self.peers.get_mut(&from)
            && !peer.synced
        {
            peer.synced = true;
            self.out.push_back(Output::Event(Event::Ready));
        }
    }

    /// A peer lacks something and asks on its channel. A few bytes may ask for all that there is.
    fn take_want(&mut self, now: Timestamp, from: MemberId, want: &Want) {
        if self.peers.get_mut(&from).is_some_and(|peer| peer.may_ask(now)) {
            let before = self.out.len();
            let served = self.answer_want(from, want);
            let frames = self.out.len().saturating_sub(before) + served;
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.owed = peer.owed.saturating_add(frames as u64);
            }
        }
    }

    /// Answers a question; how many messages are served besides.
    fn answer_want(&mut self, from: MemberId, want: &Want) -> usize {
        if let Some(heads) = &want.ops_after {
            let ops = self.ops_after(heads);
            self.send_parts(from, ops, |ops| Data { ops, ..Data::default() });
        }
        // Whoever can't open a bundle learns from it that its chain is not for it.
        for chain in want.bundles.iter().take(PER_PAGE) {
            self.send_bundle(from, chain);
            // Whoever can open it now may be the only one to whom others turn for theirs.
            if self.slots.of(chain, &from).is_some() {
                self.send_ciphertexts(from, chain, None);
            }
        }
        if want.topics && self.may_know_topics(&from) {
            #[cfg(any(test, feature = "sim"))]
            self.hear_topics(from);
            let topics = self
                .write_topics()
                .iter()
                .filter_map(|commit| self.topics.secret(commit))
                .map(|secret| Vec::from(secret.as_bytes().as_slice()).into())
                .collect();
            self.frame(from, &Frame::Data(Data { topics, ..Data::default() }));
        }
        let mut room = AT_ONCE;
        let mut messages = Vec::new();
        for Indexes { chain, indexes } in want.messages.iter().take(PER_PAGE) {
            let missing = indexes.iter().copied().take(room).collect();
            let wanted = ChainSummary { chain: *chain, next: u32::MAX, missing };
            if let Some((chain, indexes)) = self.lacking(&from, &wanted) {
                room = room.saturating_sub(indexes.len());
                messages.push((chain, indexes));
            }
        }
        if !messages.is_empty() {
            self.out.push_back(Output::Serve { to: from, messages });
        }
        AT_ONCE - room
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
