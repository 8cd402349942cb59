//! What a neighbour lacks by its summary, or asks for by name, is put out in parts.
//!
//! > Of answers one neighbour is sent 256 frames and 4 MiB at once, then as many frames every 100 ms
//! > and as many bytes every second. What is over waits, by name: it is put together when its turn
//! > comes. So no question costs more than the channel takes.
//!
//! docs/spec/sync.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::bytes::ByteVec;

use super::{
    Group, Output, Timer,
    again::Wanted,
    control::PART,
    queue::Queue,
    syncing::HELLO_MS,
    told::Told,
    wire::{BundleWire, ChainSummary, Data, Frame, Indexes, Summary, Want},
};
use crate::{
    gossip::IDS,
    ids::{ChainId, EnvelopeId, MemberId, OpId, Timestamp},
};

/// Chains that one peer's summary may name.
const NAMED: usize = 4096;
/// Summaries of one neighbour are answered this often, in milliseconds.
const PAUSE_MS: u64 = 1_000;
/// A summary whose last page has not come by then begins anew, in milliseconds.
const PAGES_MS: u64 = 60_000;
/// Bundles, and chains of messages, that one Want may ask for.
const ASKED: usize = 64;
/// Frames of answers to one neighbour: so many at once, and as many every 100 ms.
const FRAMES: u64 = 256;
/// Bytes of them: so many at once, and as many every second.
const BYTES: u64 = 4 * 1024 * 1024;
/// How soon the next part follows, in milliseconds.
const PART_MS: u64 = 100;
/// A question for ops and topics is answered while no more frames than these are owed to those before,
/// of which so many are forgotten each second.
const OWED: u64 = 64;
const OWED_PER_S: u64 = 100;
/// Messages read from the archive at once.
const AT_ONCE: usize = 64;
/// Messages that one question may ask for.
const MESSAGES: usize = 1024;

/// What one neighbour has told of what it has, and what it still is to be sent.
#[derive(Default)]
pub(super) struct Serving {
    pages: Pages,
    /// When the first page of its last summary that is answered came.
    answered: Option<Timestamp>,
    named: BTreeSet<ChainId>,
    lacks: BTreeMap<ChainId, Vec<u32>>,
    /// Whose cards its summary named.
    carded: BTreeSet<MemberId>,
    /// What it was sent and may lack still.
    sent: Told,
    wanted: Wanted,
    put_out: PutOut,
    queue: Queue,
    /// Frames that its questions for ops and topics cost lately, and since when they count.
    owed: u64,
    asked: Timestamp,
}

/// Where a neighbour's summary is.
#[derive(Default, Clone, Copy)]
enum Pages {
    #[default]
    None,
    Heard(Timestamp),
    /// It came too soon after the one before.
    Passed(Timestamp),
}

/// What was put out for one neighbour lately.
#[derive(Default)]
struct PutOut {
    frames: u64,
    bytes: u64,
    since: Timestamp,
}

impl PutOut {
    fn count(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        let passed = now.ms_since(self.since).min(600_000);
        let (frames, bytes) = (passed * FRAMES / PART_MS, passed * BYTES / 1_000);
        if frames > 0 || now < self.since {
            self.frames = self.frames.saturating_sub(frames);
            self.bytes = self.bytes.saturating_sub(bytes);
            self.since = now;
        }
        self.frames < FRAMES && self.bytes < BYTES
    }
}

impl Serving {
    /// Whether a question for ops and topics is answered now.
    fn may_ask(&mut self, now: Timestamp) -> bool {
        let done = now.ms_since(self.asked).min(60_000) * OWED_PER_S / 1_000;
        if done > 0 || now < self.asked {
            (self.owed, self.asked) = (self.owed.saturating_sub(done), now);
        }
        // Ops that wait already are sent first.
        self.owed <= OWED && self.queue.ops.is_empty()
    }

    /// A page of a summary came; whether it is looked at. The first says so for all of them.
    fn hears(&mut self, last: bool, now: Timestamp) -> bool {
        let open = |at: Timestamp| at <= now && now.ms_since(at) < PAGES_MS;
        let heard = match self.pages {
            Pages::Heard(at) if open(at) => true,
            Pages::Passed(at) if open(at) => false,
            _ => {
                let soon = |at: Timestamp| at <= now && now.ms_since(at) < PAUSE_MS;
                let heard = !self.answered.is_some_and(soon);
                if heard {
                    self.answered = Some(now);
                    self.named.clear();
                    self.lacks.clear();
                    self.carded.clear();
                }
                self.pages = if heard { Pages::Heard(now) } else { Pages::Passed(now) };
                heard
            }
        };
        if last {
            self.pages = Pages::None;
        }
        heard
    }
}

impl Group {
    /// Whether a neighbour may be sent a longer answer now.
    pub(super) fn may_answer(&mut self, to: &MemberId, now: Timestamp) -> bool {
        self.peers.get_mut(to).is_some_and(|peer| peer.serving.put_out.has_room(now))
    }

    /// A frame that answers its receiver.
    pub(super) fn reply(&mut self, to: MemberId, frame: &Frame) {
        let before = self.out.len();
        self.frame(to, frame);
        let bytes = match self.out.back() {
            Some(Output::Frame { frame, .. }) if self.out.len() > before => frame.len(),
            _ => return,
        };
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.serving.put_out.count(bytes);
        }
    }

    /// Notes what the peer's summary lacks; after its last page also what it does not name, and begins
    /// to send it.
    pub(super) fn take_summary(&mut self, now: Timestamp, from: MemberId, summary: &Summary) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if !peer.serving.hears(summary.last, now) {
            // Whoever was taken up again a moment after it told its last one waits for the answer.
            peer.heard &= !summary.last;
            self.set_timer(Timer::Hello, now.plus_ms(HELLO_MS));
            return;
        }
        self.hear_of_own(now, &summary.chains);
        self.hear_had(from, &summary.chains);
        let lacks: Vec<_> =
            summary.chains.iter().filter_map(|theirs| self.lacking(&from, theirs)).collect();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let serving = &mut peer.serving;
        for theirs in summary.chains.iter().take(NAMED.saturating_sub(serving.named.len())) {
            serving.named.insert(theirs.chain);
        }
        serving.lacks.extend(lacks);
        for theirs in &summary.cards {
            let card = self.people.cards.get(&theirs.member);
            let Some(card) = card.filter(|_| serving.carded.insert(theirs.member)) else {
                continue;
            };
            if card.card().seq > theirs.seq {
                serving.queue.cards.insert(theirs.member);
            }
        }
        if summary.last {
            self.hear_all(now, from, &summary.heads);
        }
        self.serve_more(now);
    }

    /// A summary has come, whole.
    fn hear_all(&mut self, now: Timestamp, from: MemberId, heads: &[OpId]) {
        let ops = self.ops.to_tell(heads, self.heads_named());
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.heard = true;
        peer.serving.queue.add_ops(ops);
        let named = core::mem::take(&mut peer.serving.named);
        let mut lacks = core::mem::take(&mut peer.serving.lacks);
        // In the order of coming, in which the ratchets under them went on.
        let mut unnamed: BTreeSet<(Timestamp, ChainId)> = self
            .receiving
            .chains
            .iter()
            .filter(|(chain, _)| !named.contains(chain) && self.may_have(&from, chain))
            .map(|(chain, entry)| (entry.at, *chain))
            .collect();
        for (_, chain) in &unnamed {
            let nothing = ChainSummary { chain: *chain, next: 0, missing: Vec::new() };
            lacks.extend(self.lacking(&from, &nothing));
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let serving = &mut peer.serving;
        let without: BTreeSet<ChainId> = unnamed.iter().map(|(_, chain)| *chain).collect();
        serving
            .sent
            .hear(named.len(), |chain| without.contains(chain) || lacks.contains_key(chain));
        for (chain, indexes) in &mut lacks {
            *indexes = serving.sent.due(chain, core::mem::take(indexes), now);
        }
        unnamed.retain(|(_, chain)| serving.sent.take_bundle(*chain, now));
        serving.queue.bundles.extend(unnamed.into_iter().map(|bundle| (bundle, true)));
        serving.queue.done = true;
        for (chain, indexes) in lacks {
            self.queue_messages(from, chain, indexes);
        }
    }

    fn queue_messages(&mut self, to: MemberId, chain: ChainId, indexes: Vec<u32>) {
        let Some(entry) = self.receiving.chains.get(&chain).filter(|_| !indexes.is_empty()) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.serving.queue.messages.entry((entry.at, chain)).or_default().extend(indexes);
        }
    }

    /// A neighbour wants to be pushed to again, and these envelopes to begin with.
    pub(super) fn take_graft(&mut self, now: Timestamp, from: MemberId, ids: &[EnvelopeId]) {
        self.gossip.on_graft(from);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let known = ids.iter().take(IDS).filter(|id| self.gossip.recent(id).is_some());
        peer.serving.queue.add_envelopes(known.copied());
        self.serve_more(now);
    }

    /// A peer lacks something and asks on its channel.
    pub(super) fn take_want(&mut self, now: Timestamp, from: MemberId, want: &Want) {
        let may_ask = self.peers.get_mut(&from).is_some_and(|peer| peer.serving.may_ask(now));
        let heads = want.ops_after.as_ref().filter(|_| may_ask);
        let ops =
            heads.map(|heads| self.ops.to_tell(heads, self.heads_named())).unwrap_or_default();
        let bytes: usize =
            ops.iter().filter_map(|id| self.ops.op(id)).map(|op| op.as_bytes().len()).sum();
        let topics = want.topics && may_ask && self.may_know_topics(&from);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let frames = usize::from(!ops.is_empty()) + bytes / PART + usize::from(topics);
        peer.serving.owed += frames as u64;
        peer.serving.queue.add_ops(ops);
        peer.serving.queue.topics |= topics;
        for chain in want.bundles.iter().take(ASKED) {
            // Whoever can't open a bundle learns from its head that its chain is not for it.
            if let Some(entry) = self.receiving.chains.get(chain)
                && peer.serving.wanted.take(*chain, now)
            {
                peer.serving.queue.bundles.entry((entry.at, *chain)).or_insert(false);
            }
        }
        let mut room = MESSAGES;
        for Indexes { chain, indexes } in want.messages.iter().take(ASKED) {
            let missing = indexes.iter().copied().take(room).collect();
            let wanted = ChainSummary { chain: *chain, next: u32::MAX, missing };
            if let Some((chain, indexes)) = self.lacking(&from, &wanted) {
                room = room.saturating_sub(indexes.len());
                self.queue_messages(from, chain, indexes);
            }
        }
        self.serve_more(now);
    }

    /// Sends each neighbour the next part of what it is to be sent.
    pub(super) fn serve_more(&mut self, now: Timestamp) {
        let serving: Vec<MemberId> = self
            .peers
            .iter()
            .filter(|(_, it)| !it.serving.queue.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for member in serving {
            while self.may_answer(&member, now) && self.serve_next(now, member) {}
            if self.peers.get(&member).is_some_and(|peer| !peer.serving.queue.is_empty()) {
                self.set_timer(Timer::Serve, now.plus_ms(PART_MS));
            }
        }
    }

    /// Sends the first of what waits for a neighbour; whether more may follow at once. Messages are
    /// brought from the archive first.
    fn serve_next(&mut self, now: Timestamp, to: MemberId) -> bool {
        let Some(peer) = self.peers.get_mut(&to) else { return false };
        let queue = &mut peer.serving.queue;
        if let Some(id) = queue.envelopes.pop_front() {
            if let Some(bytes) = self.gossip.recent(&id).map(|it| Vec::from(it).into()) {
                self.reply(to, &Frame::Push(bytes));
            }
        } else if !queue.cards.is_empty() {
            let mut cards = Vec::new();
            let mut room = PART;
            while let Some(member) = queue.cards.first()
                && let card = self.people.cards.get(member).map(|it| it.as_bytes())
                && (cards.is_empty() || card.map_or(0, <[u8]>::len) <= room)
            {
                room = room.saturating_sub(card.map_or(0, <[u8]>::len));
                cards.extend(card.map(|card| ByteVec::from(Vec::from(card))));
                queue.cards.pop_first();
            }
            self.reply(to, &Frame::Data(Data { cards, ..Data::default() }));
        } else if !queue.ops.is_empty() {
            let mut ops = Vec::new();
            let mut room = PART;
            while let Some(id) = queue.ops.front()
                && let op = self.ops.op(id).map(|op| op.as_bytes())
                && (ops.is_empty() || op.map_or(0, <[u8]>::len) <= room)
            {
                room = room.saturating_sub(op.map_or(0, <[u8]>::len));
                ops.extend(op.map(|op| ByteVec::from(Vec::from(op))));
                queue.ops.pop_front();
            }
            self.reply(to, &Frame::Data(Data { ops, ..Data::default() }));
        } else if let Some(((_, chain), whole)) = queue.bundles.pop_first() {
            self.send_bundle(to, &chain);
            // Whoever can open it now may be the only one to whom others turn for theirs.
            if whole || self.slots.of(&chain, &to).is_some() {
                self.send_ciphertexts(to, &chain, None);
            }
        } else if core::mem::take(&mut queue.topics) {
            self.send_topics(to);
        } else if !queue.messages.is_empty() {
            let messages = queue.take_messages(AT_ONCE);
            for (chain, indexes) in &messages {
                peer.serving.sent.send(*chain, indexes, now);
            }
            self.out.push_back(Output::Serve { to, messages });
            return false;
        } else if core::mem::take(&mut queue.done) {
            self.reply(to, &Frame::Done);
        } else {
            return false;
        }
        true
    }

    fn send_topics(&mut self, to: MemberId) {
        if !self.may_know_topics(&to) {
            return;
        }
        #[cfg(any(test, feature = "sim"))]
        self.hear_topics(to);
        let topics = self
            .write_topics()
            .iter()
            .filter_map(|commit| self.topics.secret(commit))
            .map(|secret| Vec::from(secret.as_bytes().as_slice()).into())
            .collect();
        self.reply(to, &Frame::Data(Data { topics, ..Data::default() }));
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
            self.reply(to, &Frame::Data(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use rand_chacha::ChaCha20Rng;

    use super::*;
    use crate::{
        codec,
        envelope::id,
        gossip::Origin,
        group::{ChainState, Cx, Entry, classes::Classes, wire::CardSummary},
        sim::world::World,
    };

    /// A node with a neighbour, which says something at a time; what goes back.
    struct Neighbours {
        world: World,
        liar: MemberId,
    }

    impl Neighbours {
        fn new() -> Self {
            let mut world = World::with(3, false);
            world.link(0, 1);
            world.settle();
            world.now = world.now.plus_ms(10_000);
            let liar = world.id(1);
            Self { world, liar }
        }

        fn act(&mut self, does: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>)) -> Vec<Frame> {
            let liar = self.liar;
            self.world.act(0, |group, cx| {
                while group.poll().is_some() {}
                does(group, cx);
                let mut frames = vec![];
                while let Some(output) = group.poll() {
                    if let Output::Frame { to, frame } = output
                        && to == liar
                    {
                        frames.push(codec::decode(&frame).unwrap());
                    }
                }
                frames
            })
        }

        fn hear(&mut self, frame: &Frame) -> Vec<Frame> {
            let (liar, frame) = (self.liar, codec::encode(frame));
            self.act(|group, cx| group.on_frame(cx, liar, &frame).unwrap())
        }

        fn pass(&mut self, ms: u64) -> Vec<Frame> {
            self.world.now = self.world.now.plus_ms(ms);
            self.act(Group::on_deadline)
        }
    }

    fn data(frames: &[Frame]) -> impl Iterator<Item = &Data> {
        frames.iter().filter_map(|frame| match frame {
            Frame::Data(data) => Some(data),
            _ => None,
        })
    }

    #[test]
    fn a_summary_that_never_ends_brings_each_card_once() {
        let mut two = Neighbours::new();
        let member = two.world.id(2);
        let cards = (0..1_200).map(|_| CardSummary { member, seq: 0 }).collect();
        let page = Frame::Summary(Summary { heads: vec![], chains: vec![], cards, last: false });
        let mut told = 0;
        for _ in 0..20 {
            let frames = two.hear(&page);
            told += data(&frames).map(|data| data.cards.len()).sum::<usize>();
            two.world.now = two.world.now.plus_ms(1_500);
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn the_first_page_of_a_summary_that_comes_too_soon_says_so_for_all() {
        let mut serving = Serving::default();
        let now = Timestamp(10_000_000_000);
        assert!(serving.hears(false, now));
        assert!(serving.hears(true, now.plus_ms(900)));
        assert!(!serving.hears(false, now.plus_ms(950)));
        assert!(!serving.hears(true, now.plus_ms(1_100)), "the first page was not looked at");
        assert!(serving.hears(false, now.plus_ms(1_200)));
        assert!(serving.hears(true, now.plus_ms(3_000)));
        assert!(serving.hears(true, now.plus_ms(4_000)));
    }

    #[test]
    fn a_neighbour_that_asks_for_all_ops_again_and_again_is_answered_within_bounds() {
        let mut two = Neighbours::new();
        let want = Frame::Want(Want { ops_after: Some(vec![]), ..Want::default() });
        let mut come = 0;
        for _ in 0..2_000 {
            come += data(&two.hear(&want)).count();
        }
        assert_eq!(come, 65);
        assert_eq!(data(&two.pass(1_000)).count(), 0, "nothing waits");
        assert_eq!(data(&two.hear(&want)).count(), 1);
    }

    #[test]
    fn envelopes_that_are_asked_for_again_and_again_come_within_bounds() {
        let mut two = Neighbours::new();
        let envelopes = [[1_u8; 500], [2; 500], [3; 500]];
        let ids: Vec<EnvelopeId> = envelopes.iter().map(|it| id(it)).collect();
        two.act(|group, _| envelopes.iter().for_each(|it| group.gossip.spread(it, Origin::Here)));
        let graft = Frame::Graft(ids.clone());
        let pushes = |frames: &[Frame]| {
            frames.iter().filter(|frame| matches!(frame, Frame::Push(_))).count()
        };
        assert_eq!(pushes(&two.hear(&graft)), ids.len());
        let come: usize = (0..1_000).map(|_| pushes(&two.hear(&graft))).sum();
        assert!((1..=256).contains(&come), "{come}");
        // What waits comes once.
        assert_eq!(pushes(&two.pass(100)), ids.len());
        assert_eq!(pushes(&two.pass(100)), 0);
    }

    #[test]
    fn a_bundle_asked_for_twice_at_once_comes_once_and_after_five_seconds_again() {
        let mut two = Neighbours::new();
        two.world.say(0, "x");
        two.world.settle();
        let chain = *two.world.member(0).receiving.chains.keys().next().unwrap();
        let want = Frame::Want(Want { bundles: vec![chain; 64], ..Want::default() });
        let bundles = |frames: &[Frame]| data(frames).map(|data| data.bundles.len()).sum::<usize>();
        assert_eq!(bundles(&two.hear(&want)), 1);
        assert_eq!(bundles(&two.hear(&want)), 0);
        two.world.now = two.world.now.plus_ms(5_000);
        assert_eq!(bundles(&two.hear(&want)), 1);
    }

    #[test]
    fn fifteen_hundred_chains_come_in_parts_all_of_them_in_the_order_of_coming() {
        let mut two = Neighbours::new();
        two.world.say(0, "x");
        two.world.settle();
        let start = two.world.now;
        let frames = two.act(|group, _| {
            let chains = group.receiving.chains.values();
            let head = chains.map(|entry| entry.head.clone()).next().unwrap();
            group.receiving.chains.clear();
            for n in 0..1_500_u32 {
                // What came first has the highest name.
                let mut chain = ChainId([0; 16]);
                chain.0[..4].copy_from_slice(&(1_500 - n).to_be_bytes());
                let entry = Entry {
                    head: head.clone(),
                    pages: vec![Vec::from(n.to_be_bytes())],
                    at: start.plus_ms(n.into()),
                    state: ChainState::Closed { next: 0 },
                    classes: Classes::default(),
                };
                group.receiving.chains.insert(chain, entry);
            }
        });
        assert!(frames.is_empty());
        two.world.now = two.world.now.plus_ms(10_000);
        let heads = two.world.member(0).ops.heads();
        let summary = Summary { heads, chains: vec![], cards: vec![], last: true };
        let mut parts = vec![two.hear(&Frame::Summary(summary))];
        while parts.len() < 100 && !parts.iter().flatten().any(|it| matches!(it, Frame::Done)) {
            parts.push(two.pass(100));
        }
        let bundles = |part: &Vec<Frame>| -> Vec<u32> {
            let bundles = data(part).flat_map(|data| &data.bundles);
            let pages = bundles.flat_map(|bundle| &bundle.pages);
            pages.map(|page| u32::from_be_bytes(page[..4].try_into().unwrap())).collect()
        };
        let come: Vec<Vec<u32>> = parts.iter().map(bundles).collect();
        assert!(come.iter().all(|part| part.len() <= 256));
        assert_eq!(come.len(), 6);
        assert!(come.concat().into_iter().eq(0..1_500));
    }
}
