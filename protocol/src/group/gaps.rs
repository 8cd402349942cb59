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

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{
    Alarm, ChainState, Class, Cx, Event, Gap, GapCause, GapState, Group, Output, Timer,
    records::Key,
    wire::{Frame, Indexes, Statement, Want},
    witness::Named,
};
use crate::{
    chain::HeadRef,
    codec,
    ids::{ChainId, MemberId, OpId, Timestamp},
    limits::CHAIN_MESSAGES,
    snapshot::SnapshotError,
};

/// How long a message may be on its way before it is asked for, in milliseconds.
pub(super) const PATIENCE_MS: u64 = 1_500;
/// How much longer each member waits than the one before it in the roster until it asks for what may be on its way to all, in
/// milliseconds.
const ASK_STEP_MS: u64 = 50;
/// What is lacking is asked for again this often: (up to this age, so often), in milliseconds.
const AGAIN_MS: [(u64, u64); 2] = [(MINUTE_MS, 5_000), (10 * MINUTE_MS, 30_000)];
/// And later on this often.
const LATER_MS: u64 = 5 * MINUTE_MS;
const MINUTE_MS: u64 = 60_000;
/// A new neighbour is given this long to tell by itself, in milliseconds.
const ANEW_MS: u64 = 2_000;
/// How long what is lacking is asked for, in milliseconds: an hour.
pub(super) const GIVE_UP_MS: u64 = 60 * MINUTE_MS;
/// How long a bundle that was given up is not asked for, whoever names it anew, in milliseconds.
const REST_MS: u64 = 6 * 60 * MINUTE_MS;
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
    pub told: bool,
}

/// A message that is lacking.
pub(super) struct Missing {
    pub lacking: Lacking,
    pub cause: GapCause,
    pub given_up: bool,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    gaps: Vec<StoredGap>,
    #[n(1)]
    named: Vec<StoredNames>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredGap {
    #[n(0)]
    index: u32,
    #[n(1)]
    since: Timestamp,
    #[n(2)]
    cause: u8,
    #[n(3)]
    by: Option<MemberId>,
    #[n(4)]
    told: bool,
    #[n(5)]
    given_up: bool,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredNames {
    #[n(0)]
    index: u32,
    #[n(1)]
    names: Vec<Named>,
}

/// The ops and topics that are lacking.
#[derive(Default)]
pub(super) struct Stuck {
    ops: BTreeSet<OpId>,
    topics: BTreeSet<[u8; 32]>,
    lacking: Option<Lacking>,
}

impl Stuck {
    /// Since when ops or topics have been lacking.
    fn since(&self) -> Option<Timestamp> {
        self.lacking.map(|lacking| lacking.since)
    }
}

impl Missing {
    fn state(&self) -> GapState {
        if self.given_up { GapState::GivenUp } else { GapState::Asked }
    }
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

    /// It was not there for so long to be lacking. What was given up stays so.
    pub fn put_off(&mut self, ms: u64, now: Timestamp) {
        if self.is_asked() {
            let later = |at: Timestamp| at.plus_ms(ms).min(now).max(at);
            (self.since, self.asked) = (later(self.since), self.asked.map(later));
        }
    }

    /// Whether it is still asked for.
    pub fn is_asked(&self) -> bool {
        self.due(0).is_some()
    }

    /// Whether a message is to be asked for now.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.due(PATIENCE_MS).is_some_and(|due| due <= now)
    }

    /// It is not asked for any more.
    fn end(&mut self, now: Timestamp) {
        self.asked = Some(now.max(self.since.plus_ms(GIVE_UP_MS)));
    }

    /// Whether it was given up so long ago that it may be asked for as at first.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let given_up = self.asked.filter(|_| !self.is_asked());
        given_up.is_some_and(|asked| now.ms_since(asked) >= REST_MS || now < asked)
    }

    fn take_due(&mut self, patience: u64, now: Timestamp) -> bool {
        // It was noted by a clock that has been set back since.
        if self.since > now {
            (self.since, self.asked) = (now, None);
        }
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
        if let Some(gap) = self.gaps.remove(&(chain, index)) {
            self.dirty.mark(Key::Gaps(chain));
            if gap.lacking.told {
                let was = gap.state();
                self.out.push_back(Output::Event(Event::Healed { from, chain, index, was }));
                self.tell_asked(from);
            }
        }
        self.note_lacking(now, chain, 0..index, GapCause::Skipped);
        for head in heads {
            if self.receiving.chains.contains_key(&head.chain) {
                let before = 0..head.index.saturating_add(1);
                self.note_lacking(now, head.chain, before, GapCause::Named(from));
            } else {
                // Its bundle tells whether it is for this member.
                self.want_bundle(now, head.chain);
            }
        }
    }

    /// Tells what of a writer's is asked for and not told yet: some of the writer's has come, and it is not all.
    fn tell_asked(&mut self, from: MemberId) {
        let is_asked = |(_, gap): &(&(ChainId, u32), &Missing)| {
            !gap.lacking.told && !gap.given_up && gap.lacking.asked.is_some()
        };
        let asked = self.gaps.iter().filter(is_asked).map(|(place, _)| *place);
        let asked = asked.filter(|(chain, _)| self.writer(chain) == Some(from));
        let asked: Vec<(ChainId, u32)> = asked.collect();
        if asked.is_empty() {
            return;
        }
        for (chain, index) in asked {
            if let Some(gap) = self.gaps.get_mut(&(chain, index)) {
                gap.lacking.told = true;
            }
            self.out.push_back(Output::Event(Event::Gap { from, chain, index }));
            self.dirty.mark(Key::Gaps(chain));
        }
        let (of, everybody) = self.asking.clone();
        self.out.push_back(Output::Event(Event::Asking { of, everybody }));
    }

    /// The messages that this member is entitled to, that are known to exist, and that have not
    /// come within a moment. At most 4,096 are listed.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let told = self.gaps.iter().filter(|(_, gap)| gap.lacking.told);
        told.filter_map(|((chain, index), gap)| {
            let entry = self.receiving.chains.get(chain)?;
            Some(Gap {
                from: entry.head.head().sender,
                chain: *chain,
                index: *index,
                since: gap.lacking.since,
                cause: gap.cause,
                state: gap.state(),
            })
        })
        .collect()
    }

    /// Notes all that is known to exist of a chain and has not come: below what was read, named by
    /// others, counted by its sender's next bundles; and what its own bundle counts of the one
    /// before. A count is believed of its own sender's chains only.
    pub(super) fn note_known(&mut self, now: Timestamp, chain: ChainId) {
        let Some(entry) = self.receiving.chains.get(&chain) else { return };
        let own = entry.head.head();
        let sender = own.sender;
        if let ChainState::Open(read) = &entry.state {
            let next = read.next();
            self.note_lacking(now, chain, 0..next, GapCause::Skipped);
        }
        let entries = self.receiving.chains.values().filter(|it| it.head.head().sender == sender);
        let closings = entries.filter_map(|entry| entry.head.head().closing);
        let count = closings.filter(|it| it.chain == chain).map(|it| it.count).max();
        self.note_lacking(now, chain, 0..count.unwrap_or(0), GapCause::Closed);
        self.note_closing(now, chain);
        let named = self.witness.named.range((chain, 0)..=(chain, CHAIN_MESSAGES));
        let named: Vec<(u32, MemberId)> =
            named.filter_map(|((_, index), names)| Some((*index, names.first()?.by))).collect();
        for (index, by) in named {
            self.note_lacking(now, chain, 0..index.saturating_add(1), GapCause::Named(by));
        }
    }

    /// Notes what the chain before this one still lacks.
    fn note_closing(&mut self, now: Timestamp, chain: ChainId) {
        let Some(entry) = self.receiving.chains.get(&chain) else { return };
        let head = entry.head.head();
        let (sender, Some(closing)) = (head.sender, head.closing) else { return };
        let readable = matches!(entry.state, ChainState::Open(_));
        let before = self.receiving.chains.get(&closing.chain);
        match before.map(|entry| entry.head.head().sender) {
            Some(of) if of == sender => {
                self.note_lacking(now, closing.chain, 0..closing.count, GapCause::Closed);
            }
            // Its bundle tells whether it was for this member.
            None if closing.count > 0 && readable => self.want_bundle(now, closing.chain),
            _ => {}
        }
    }

    /// Notes those of these messages that this member can read and has not.
    pub(super) fn note_lacking(
        &mut self,
        now: Timestamp,
        chain: ChainId,
        indexes: impl IntoIterator<Item = u32>,
        cause: GapCause,
    ) {
        let Some(entry) = self.receiving.chains.get(&chain) else { return };
        let ChainState::Open(read) = &entry.state else { return };
        let writer = entry.head.head().sender;
        let within = indexes.into_iter().take_while(|index| *index < CHAIN_MESSAGES);
        let mut lacking: Vec<u32> = within.filter(|index| !read.has(*index)).collect();
        let mut again = false;
        lacking.retain(|index| match self.gaps.get_mut(&(chain, *index)) {
            None => true,
            Some(gap) => {
                // What others alone said before is its writer's own word from now on.
                if cause.is_word_of(&writer) && !gap.cause.is_word_of(&writer) {
                    gap.cause = cause;
                    if core::mem::replace(&mut gap.given_up, false) {
                        // Whose word it is can be asked.
                        gap.lacking = Lacking { told: gap.lacking.told, ..Lacking::since(now) };
                        again = true;
                    }
                    self.dirty.mark(Key::Gaps(chain));
                }
                false
            }
        });
        if again {
            self.set_timer(Timer::Want, now.plus_ms(PATIENCE_MS));
        }
        if lacking.is_empty() {
            return;
        }
        let mut room = self.room_for_gaps(&chain, cause, lacking.len());
        for index in lacking {
            if room > 0 {
                let lacking = Lacking::since(now);
                self.gaps.insert((chain, index), Missing { lacking, cause, given_up: false });
                self.dirty.mark(Key::Gaps(chain));
                room -= 1;
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
        let want = Want { ops_after, bundles, messages, topics, at: None };
        if !want.is_empty() {
            self.ask_for(cx, want, waited);
        }
    }

    /// Asks a few neighbours; where there is none, or they did not help, everybody.
    fn ask_for<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, want: Want, waited: u64) {
        let neighbours: Vec<MemberId> = self.gossip.neighbours().copied().collect();
        let first = cx.rng.next_u64() as usize % neighbours.len().max(1);
        let turn = neighbours.iter().cycle().skip(first).take(ASKED.min(neighbours.len()));
        let asked: Vec<MemberId> = turn.copied().collect();
        for member in &asked {
            self.frame(*member, &Frame::Want(want.clone()));
        }
        let unhelped = waited > MINUTE_MS / 2 || self.peers.values().all(|peer| !peer.synced);
        let everybody = neighbours.is_empty() || unhelped;
        if !want.messages.is_empty() {
            self.asking = (asked.clone(), everybody);
            self.out.push_back(Output::Event(Event::Asking { of: asked, everybody }));
        }
        if everybody {
            let under = self.topics_to_ask_under();
            if let Some(since) = self.stuck.since().filter(|_| want.topics) {
                self.show_admission(cx, since, &under);
            }
            let want = Want { at: Some(cx.now), ..want };
            self.publish_control(cx, &Statement::Want(want), &under);
        }
    }

    fn due_messages(&mut self, now: Timestamp) -> Vec<Indexes> {
        let mut due: BTreeMap<ChainId, Vec<u32>> = BTreeMap::new();
        let mut room = MESSAGES;
        let gathered = self.gathered(now);
        // A chain of which nothing was delivered is not classed yet.
        let untold = self.gaps.iter().filter(|(_, gap)| !gap.lacking.told);
        let untold: BTreeSet<ChainId> = untold.map(|((chain, _), _)| *chain).collect();
        untold.into_iter().for_each(|chain| self.class_anew(chain));
        let keys: Vec<(ChainId, u32)> = self.gaps.keys().copied().collect();
        for (chain, index) in keys {
            let Some(entry) = self.receiving.chains.get(&chain) else {
                self.drop_gap(chain, index);
                continue;
            };
            let from = entry.head.head().sender;
            if !self.is_lacking(&chain, index) {
                // Its keys are gone.
                self.out.push_back(Output::Event(Event::Undeliverable { from, chain, index }));
                self.drop_gap(chain, index);
                continue;
            }
            // What a removed member sent after its removal is nobody's to have.
            if entry.classes.at(index) == Class::PostCut {
                self.drop_gap(chain, index);
                continue;
            }
            let Some(gap) = self.gaps.get_mut(&(chain, index)) else { continue };
            let (tells, ends) = (gathered.tells(&from, gap, now), gathered.ends(&from, gap));
            if tells {
                gap.lacking.told = true;
                self.out.push_back(Output::Event(Event::Gap { from, chain, index }));
                self.dirty.mark(Key::Gaps(chain));
            }
            // What is told, or given up, is asked for with it: people are told whom.
            if room > 0 && (gap.lacking.take_due(PATIENCE_MS, now) || tells || ends) {
                gap.lacking.asked = Some(now);
                due.entry(chain).or_default().push(index);
                room -= 1;
                if ends {
                    gap.lacking.end(now);
                }
            }
            if gap.lacking.due(PATIENCE_MS).is_none()
                && !core::mem::replace(&mut gap.given_up, true)
            {
                self.out.push_back(Output::Event(Event::Undeliverable { from, chain, index }));
                self.dirty.mark(Key::Gaps(chain));
            }
        }
        due.into_iter().map(|(chain, indexes)| Indexes { chain, indexes }).collect()
    }

    fn due_bundles(&mut self, now: Timestamp) -> Vec<ChainId> {
        let mut due = Vec::new();
        let parked: BTreeSet<ChainId> =
            self.receiving.parked.values().map(|parked| parked.chain).collect();
        let patience = self.place() * ASK_STEP_MS;
        for (chain, lacking) in &mut self.receiving.wanted {
            let all = (*chain, 0)..=(*chain, CHAIN_MESSAGES);
            let awaited = parked.contains(chain) || self.witness.named.range(all).next().is_some();
            let late = awaited && now.ms_since(lacking.since) > KEYS_MS;
            if late && !core::mem::replace(&mut lacking.told, true) {
                self.out.push_back(Output::Event(Event::Alarm(Alarm::KeysMissing(*chain))));
            }
            if due.len() < BUNDLES && lacking.take_due(patience, now) {
                due.push(*chain);
            }
        }
        self.let_go_of_pageless();
        self.receiving.wanted.retain(|_, lacking| !lacking.is_over(now));
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
        let place = self.place();
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
        let due = lacking.take_due(place * ASK_STEP_MS, now);
        // What was said under a topic that is lacking may be ops: this member's own removal, too.
        (due, due && !stuck.topics.is_empty())
    }

    /// Somebody else asks for the topics, and what answers that is for all: the first time it counts as one's own question.
    pub(super) fn is_asked_beside(&mut self, now: Timestamp) {
        if self.stuck.ops.is_empty()
            && !self.stuck.topics.is_empty()
            && let Some(lacking) = &mut self.stuck.lacking
        {
            lacking.asked.get_or_insert(now);
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        let patience = self.place() * ASK_STEP_MS;
        let bundles = self.receiving.wanted.values().chain(&self.stuck.lacking);
        let bundles = bundles.filter_map(|lacking| lacking.due(patience));
        let gaps = self.gaps.values().filter_map(|gap| gap.lacking.due(PATIENCE_MS));
        gaps.chain(bundles).min()
    }

    /// Asks anew for what was asked for in vain: there is somebody else to ask.
    pub(super) fn ask_anew(&mut self, now: Timestamp) {
        self.receiving.wanted.retain(|_, lacking| lacking.is_asked());
        self.want_parked(now);
        self.stuck = Stuck::default();
        self.set_timer(Timer::Want, now.plus_ms(ANEW_MS));
    }

    pub(super) fn drop_gap(&mut self, chain: ChainId, index: u32) {
        self.gaps.remove(&(chain, index));
        self.dirty.mark(Key::Gaps(chain));
    }

    pub(super) fn gaps_record(&self, chain: &ChainId) -> Option<Vec<u8>> {
        let all = (*chain, 0)..=(*chain, u32::MAX);
        let gaps: Vec<StoredGap> = self
            .gaps
            .range(all.clone())
            .map(|((_, index), gap)| {
                let (cause, by) = match gap.cause {
                    GapCause::Skipped => (0, None),
                    GapCause::Named(by) => (1, Some(by)),
                    GapCause::Closed => (2, None),
                    GapCause::Read(by) => (3, Some(by)),
                };
                let Lacking { since, told, .. } = gap.lacking;
                StoredGap { index: *index, since, cause, by, told, given_up: gap.given_up }
            })
            .collect();
        let named = self.witness.named.range(all);
        let named: Vec<StoredNames> = named
            .map(|((_, index), names)| StoredNames { index: *index, names: names.clone() })
            .collect();
        let empty = gaps.is_empty() && named.is_empty();
        (!empty).then(|| codec::encode(&Stored { gaps, named }))
    }

    pub(super) fn load_gaps(&mut self, chain: ChainId, bytes: &[u8]) -> Result<(), SnapshotError> {
        let stored: Stored = codec::decode(bytes).map_err(|_| SnapshotError::Damaged)?;
        for StoredGap { index, since, cause, by, told, given_up } in stored.gaps {
            let cause = match (cause, by) {
                (0, None) => GapCause::Skipped,
                (1, Some(by)) => GapCause::Named(by),
                (2, None) => GapCause::Closed,
                (3, Some(by)) => GapCause::Read(by),
                _ => return Err(SnapshotError::Damaged),
            };
            let lacking = Lacking { since, asked: None, told };
            self.gaps.insert((chain, index), Missing { lacking, cause, given_up });
        }
        for StoredNames { index, names } in stored.named {
            self.witness.named.insert((chain, index), names);
        }
        Ok(())
    }

    /// For how long something has been asked for in vain, in milliseconds.
    fn longest_wait(&self, now: Timestamp) -> u64 {
        let gaps = self.gaps.values().map(|gap| &gap.lacking);
        let asked = self.receiving.wanted.values().chain(gaps);
        let asked = asked.chain(&self.stuck.lacking);
        let asked = asked.filter(|lacking| lacking.asked.is_some() && lacking.is_asked());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::World;

    #[test]
    fn who_hears_another_ask_for_the_topics_asks_later_and_is_put_off_once() {
        let mut world = World::with(3, true);
        world.act(2, |group, cx| {
            group.stuck.topics.insert([7; 32]);
            group.stuck.lacking = Some(Lacking::since(cx.now));
            assert_eq!(group.next_due(), Some(cx.now.plus_ms(group.place() * ASK_STEP_MS)));
            group.is_asked_beside(cx.now.plus_ms(50));
            group.is_asked_beside(cx.now.plus_ms(4_000));
            assert_eq!(group.next_due(), Some(cx.now.plus_ms(50 + 5_000)));
        });
    }
}
