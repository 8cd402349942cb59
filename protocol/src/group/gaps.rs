//! Messages that are known to exist and have not come.
//!
//! A message names the ones before it: in its own chain by index, in others by the heads that its
//! sender had. A closing count says how many a finished chain carried. Whatever of these this
//! member is entitled to and lacks is a gap: asked for, then reported, then healed.
//! docs/spec/consistency.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_core::CryptoRng;

use super::{
    Alarm, ChainState, Cx, Event, Group, Output, Timer,
    wire::{Frame, Indexes, Statement, Want},
};
use crate::{
    bundle::Closing,
    chain::HeadRef,
    ids::{ChainId, MemberId, OpId, Timestamp},
    limits::CHAIN_MESSAGES,
};

/// Gaps remembered at once.
const GAPS: usize = 4096;
/// How long a message may be on its way before it is asked for, in milliseconds.
const PATIENCE_MS: u64 = 1_500;
/// What is lacking is asked for again this often: (up to this age, so often), in milliseconds.
const AGAIN_MS: [(u64, u64); 2] = [(MINUTE_MS, 5_000), (10 * MINUTE_MS, 30_000)];
/// And later on this often.
const LATER_MS: u64 = 5 * MINUTE_MS;
const MINUTE_MS: u64 = 60_000;
/// A new neighbour is given this long to tell by itself, in milliseconds.
const ANEW_MS: u64 = 2_000;
/// How long what is lacking is asked for, in milliseconds: an hour.
const GIVE_UP_MS: u64 = 60 * MINUTE_MS;
/// Chains asked for at once, and messages of chains.
const BUNDLES: usize = 64;
const MESSAGES: usize = 1024;
/// Neighbours asked at once.
const ASKED: usize = 3;
/// How long keys may be missing before a person is told, in milliseconds.
const KEYS_MS: u64 = MINUTE_MS;
/// Heads told with a question for ops.
const HEADS: usize = 64;

/// A message or a bundle that has not come.
#[derive(Clone, Copy)]
pub(super) struct Lacking {
    pub since: Timestamp,
    asked: Option<Timestamp>,
    told: bool,
}

/// The ops and topics that are lacking.
#[derive(Default)]
pub(super) struct Stuck {
    ops: BTreeSet<OpId>,
    topics: BTreeSet<[u8; 32]>,
    lacking: Option<Lacking>,
}

impl Lacking {
    pub fn since(now: Timestamp) -> Self {
        Self { since: now, asked: None, told: false }
    }

    /// When it is to be asked for: often at first, then less; not for ever.
    fn due(&self, patience: u64) -> Option<Timestamp> {
        let Some(asked) = self.asked else { return Some(self.since.plus_ms(patience)) };
        let age = asked.ms_since(self.since);
        let again = AGAIN_MS.iter().find(|(until, _)| age < *until);
        (age < GIVE_UP_MS).then(|| asked.plus_ms(again.map_or(LATER_MS, |(_, again)| *again)))
    }

    fn take_due(&mut self, patience: u64, now: Timestamp) -> bool {
        let due = self.due(patience).is_some_and(|due| due <= now);
        if due {
            self.asked = Some(now);
        }
        due
    }
}

impl Group {
    /// Notes what a message shows to be lacking, and what it heals.
    pub(super) fn note_gaps(
        &mut self,
        now: Timestamp,
        from: MemberId,
        chain: ChainId,
        index: u32,
        heads: &[HeadRef],
    ) {
        if self.gaps.remove(&(chain, index)).is_some_and(|gap| gap.told) {
            self.out.push_back(Output::Event(Event::Healed { from, chain, index }));
        }
        self.note_until(now, chain, index);
        for head in heads {
            self.note_until(now, head.chain, head.index.saturating_add(1));
        }
    }

    /// Notes what a finished chain still lacks.
    pub(super) fn note_closing(&mut self, now: Timestamp, from: MemberId, closing: &Closing) {
        let sender =
            self.receiving.chains.get(&closing.chain).map(|entry| entry.head.head().sender);
        if sender == Some(from) {
            self.note_until(now, closing.chain, closing.count);
        }
    }

    fn note_until(&mut self, now: Timestamp, chain: ChainId, end: u32) {
        let Some(ChainState::Open(read)) =
            self.receiving.chains.get(&chain).map(|entry| &entry.state)
        else {
            return;
        };
        let end = end.min(CHAIN_MESSAGES);
        let lacking: Vec<u32> = (0..end).filter(|index| !read.has(*index)).collect();
        if lacking.is_empty() {
            return;
        }
        for index in lacking {
            if self.gaps.len() < GAPS {
                self.gaps.entry((chain, index)).or_insert(Lacking::since(now));
            }
        }
        self.set_timer(Timer::Want, now.plus_ms(PATIENCE_MS));
    }

    /// Asks for what has been lacking for a while; reports it the first time.
    pub(super) fn ask<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let waited = self.longest_wait(cx.now);
        let messages = self.due_messages(cx.now);
        let bundles = self.due_bundles(cx.now);
        let (ops, topics) = self.due_ops_and_topics(cx.now);
        if let Some(due) = self.next_due() {
            self.set_timer(Timer::Want, due);
        }
        let ops_after = ops.then(|| self.ops.heads().into_iter().take(HEADS).collect());
        let want = Want { ops_after, bundles, messages, topics };
        if !want.is_empty() {
            self.ask_for(cx, want, waited);
        }
    }

    /// Asks a few neighbours; where there is none, or they did not help, everybody.
    fn ask_for<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, want: Want, waited: u64) {
        let neighbours: Vec<MemberId> = self.gossip.neighbours().copied().collect();
        let first = cx.rng.next_u64() as usize % neighbours.len().max(1);
        let turn = neighbours.iter().cycle().skip(first).take(ASKED.min(neighbours.len()));
        for member in turn {
            self.frame(*member, &Frame::Want(want.clone()));
        }
        let unhelped = waited > MINUTE_MS / 2 || self.peers.values().all(|peer| !peer.synced);
        if neighbours.is_empty() || unhelped {
            let under = self.topics_to_ask_under();
            self.publish_control(cx, &Statement::Want(want), &under);
        }
    }

    fn due_messages(&mut self, now: Timestamp) -> Vec<Indexes> {
        let mut due: BTreeMap<ChainId, Vec<u32>> = BTreeMap::new();
        let mut room = MESSAGES;
        let keys: Vec<(ChainId, u32)> = self.gaps.keys().copied().collect();
        for (chain, index) in keys {
            if !self.is_lacking(&chain, index) {
                self.gaps.remove(&(chain, index));
                continue;
            }
            let sender = self.receiving.chains.get(&chain).map(|entry| entry.head.head().sender);
            let (Some(gap), Some(from)) = (self.gaps.get_mut(&(chain, index)), sender) else {
                continue;
            };
            let patient = now.ms_since(gap.since) < PATIENCE_MS;
            if !patient && !core::mem::replace(&mut gap.told, true) {
                self.out.push_back(Output::Event(Event::Gap { from, chain, index }));
            }
            if room > 0 && gap.take_due(PATIENCE_MS, now) {
                due.entry(chain).or_default().push(index);
                room -= 1;
            }
        }
        due.into_iter().map(|(chain, indexes)| Indexes { chain, indexes }).collect()
    }

    fn due_bundles(&mut self, now: Timestamp) -> Vec<ChainId> {
        let mut due = Vec::new();
        for (chain, lacking) in &mut self.receiving.wanted {
            let late = now.ms_since(lacking.since) > KEYS_MS;
            if late && !core::mem::replace(&mut lacking.told, true) {
                self.out.push_back(Output::Event(Event::Alarm(Alarm::KeysMissing(*chain))));
            }
            if due.len() < BUNDLES && lacking.take_due(0, now) {
                due.push(*chain);
            }
        }
        self.receiving.wanted.retain(|_, lacking| lacking.due(0).is_some());
        due
    }

    /// Whether ops and topics are to be asked for now.
    fn due_ops_and_topics(&mut self, now: Timestamp) -> (bool, bool) {
        let mut ops: BTreeSet<OpId> = self.ops.missing().into_iter().collect();
        let heads = self.receiving.held.values().flat_map(|held| &held.head.head().heads);
        ops.extend(heads.filter(|head| !self.ops.contains(head)));
        let write = &self.ops.resolve().topics().write;
        let topics: BTreeSet<[u8; 32]> =
            write.iter().filter(|commit| self.topics.topic(commit).is_none()).copied().collect();
        let stuck = &mut self.stuck;
        if ops.is_empty() && topics.is_empty() {
            *stuck = Stuck::default();
            return (false, false);
        }
        let more = !ops.is_subset(&stuck.ops) || !topics.is_subset(&stuck.topics);
        (stuck.ops, stuck.topics) = (ops, topics);
        let lacking = stuck.lacking.get_or_insert(Lacking::since(now));
        if more {
            *lacking = Lacking::since(now);
        }
        let due = lacking.take_due(0, now);
        (due && !stuck.ops.is_empty(), due && !stuck.topics.is_empty())
    }

    fn next_due(&self) -> Option<Timestamp> {
        let bundles = self.receiving.wanted.values().chain(&self.stuck.lacking);
        let bundles = bundles.filter_map(|lacking| lacking.due(0));
        self.gaps.values().filter_map(|gap| gap.due(PATIENCE_MS)).chain(bundles).min()
    }

    /// Asks anew for what was asked for in vain: there is somebody else to ask.
    pub(super) fn ask_anew(&mut self, now: Timestamp) {
        self.want_parked(now);
        self.stuck = Stuck::default();
        self.set_timer(Timer::Want, now.plus_ms(ANEW_MS));
    }

    /// For how long something has been asked for in vain, in milliseconds.
    fn longest_wait(&self, now: Timestamp) -> u64 {
        let asked = self.receiving.wanted.values().chain(self.gaps.values());
        let asked = asked.chain(&self.stuck.lacking);
        let asked = asked.filter(|lacking| lacking.asked.is_some());
        asked.map(|lacking| now.ms_since(lacking.since)).max().unwrap_or(0)
    }

    /// Whether a topic to write to is not known here.
    pub(super) fn lacks_topics(&self) -> bool {
        let write = &self.ops.resolve().topics().write;
        write.iter().any(|commit| self.topics.topic(commit).is_none())
    }

    /// The topics under which the others can read this node now: those to write to, and those that
    /// are newer than the ops known here.
    pub(super) fn topics_to_ask_under(&self) -> Vec<[u8; 32]> {
        let mut under = self.write_topics();
        under.extend(self.early_topics());
        if under.is_empty() { self.topics.newest() } else { under }
    }
}
