//! How a topic epoch ends: who begins the next one, and how its secret gets to everybody.
//!
//! > The secret goes to the members of the new roster and to nobody else: in the bundle that is the
//! > last entry to read on the old log, and in each member's inbox.
//!
//! docs/spec/relay-log.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_core::CryptoRng;

use super::{
    Alarm, Cx, Event, Group, GroupState, Output, Timer, VerbError,
    control::Said,
    inbox::POSTED,
    records::Key,
    wire::{HandOver, Statement},
};
use crate::{
    codec,
    ids::{LogId, MemberId, OpId, Timestamp},
    limits::TOPICS,
    membership::Kind,
    topic::TopicSecret,
};

/// Members to whose inboxes a new topic is copied; where there are more, those who miss it ask.
const HANDED: usize = 64;
/// How long a topic from the inbox waits for the old log to be read, in milliseconds: where that is
/// followed already, and where it is to be reached first.
const SOON_MS: u64 = 5_000;
/// See [`SOON_MS`].
const LATER_MS: u64 = 30_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a topic is written to, in milliseconds.
const WEEK_MS: u64 = 7 * DAY_MS;
/// How long each more senior member is given to renew the topic first, in milliseconds.
const STEP_MS: u64 = 1_500;
/// The same for the weekly one: ten minutes.
const WEEKLY_STEP_MS: u64 = 600_000;
/// How soon who has to catch up first looks again whether a renewal is due, in milliseconds.
const AGAIN_MS: u64 = 10_000;
/// What is due by a clock that has leapt, or while others can't be heard, waits this long.
const GRACE_MS: u64 = 600_000;
/// What comes so much later than it was due comes by a leap of the clock, or after a sleep.
const LEAP_MS: u64 = 60 * 60 * 1000;
/// A log that was begun less than this ago is not given up for being full, in milliseconds.
const REST_MS: u64 = 600_000;

/// The end of the topic epoch, as this node sees it coming.
#[derive(Default)]
pub(super) struct Epoch {
    /// When the weekly renewal is due here.
    due: Timestamp,
    /// The log that was full.
    full: Option<LogId>,
    /// Whether the next topic goes to every member's inbox, however many they are.
    hand_to_all: bool,
    /// How many bytes each member has put on the logs since the topic was begun, as far as they were
    /// read in this run.
    written: BTreeMap<MemberId, u64>,
}

impl Group {
    /// Copies a topic to each member's inbox, should the old log be full or expire; and to this node's
    /// own, should it be set back to a state that has not got it when nobody else knows the old one.
    pub(super) fn post_hand_over<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        op: &OpId,
        topic: &TopicSecret,
    ) {
        let members = &self.ops.resolve().members;
        let others: Vec<MemberId> =
            members.keys().filter(|member| **member != self.me).copied().collect();
        let others: Vec<MemberId> =
            others.into_iter().filter(|member| self.may_know_topics(member)).collect();
        let Some(op) = self.ops.op(op).map(|op| Vec::from(op.as_bytes())) else { return };
        let statement = Statement::HandOver(HandOver { op, topic: *topic.as_bytes() });
        self.post_to_self(cx, &statement);
        if others.len() > HANDED && !self.epoch.hand_to_all {
            return;
        }
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

    /// The topics that are known here, in the order of the ops that began them; at the end those
    /// whose ops wait for others.
    pub(super) fn topics_in_order(&self) -> Vec<[u8; 32]> {
        let begun = self.ops.iter().filter_map(|op| op.body().kind.topic_commit());
        let mut known = BTreeSet::new();
        let mut order: Vec<[u8; 32]> = begun
            .filter(|commit| self.topics.topic(commit).is_some() && known.insert(*commit))
            .collect();
        order.extend(self.topics.commits().filter(|commit| !known.contains(commit)));
        order
    }

    /// Topics whose ops wait for others: they are read, and asked under.
    pub(super) fn early_topics(&self) -> Vec<[u8; 32]> {
        let begun = self.ops.waiting().filter_map(|op| op.body().kind.topic_commit());
        begun.filter(|commit| self.topics.topic(commit).is_some() && !self.names(commit)).collect()
    }

    /// Whether an op begins a topic with this commitment.
    pub(super) fn names(&self, commit: &[u8; 32]) -> bool {
        self.ops.iter().any(|op| op.body().kind.topic_commit().as_ref() == Some(commit))
    }

    /// Takes a topic up that an op begins, be it one that waits for others.
    pub(super) fn learn_topic<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, topic: TopicSecret) {
        let commit = topic.commit();
        let waits = || {
            let mut begun = self.ops.waiting().filter_map(|op| op.body().kind.topic_commit());
            begun.any(|begun| begun == commit) && self.early_topics().len() < TOPICS
        };
        if (self.names(&commit) || waits()) && self.topics.learn(&self.id, topic, cx.now) {
            self.dirty.mark(Key::Topic(commit));
            self.epoch.written.clear();
            self.out.push_back(Output::Event(Event::Logs));
            self.out.push_back(Output::Event(Event::Ready));
            self.watch_topics(cx);
        }
    }

    /// Draws what follows from the topics of the moment.
    pub(super) fn watch_topics<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let frontier = self.ops.resolve().topics().frontier.iter();
        let mut current: Vec<_> = frontier.map(|topic| topic.commit).collect();
        current.extend(self.early_topics());
        let order = self.topics_in_order();
        for commit in self.topics.prune(&order, &current, cx.now) {
            self.dirty.mark(Key::Topic(commit));
        }
        if self.lacks_topics() {
            self.set_timer(Timer::Want, cx.now.plus_ms(1_000));
        }
        self.watch_epoch(cx.now);
        self.watch_lost(cx.now);
    }

    /// Sets when this node renews the topic, if nobody does before: soon where none is clean, and a
    /// week after this one was learnt.
    pub(super) fn watch_epoch(&mut self, now: Timestamp) {
        let needed = self.ops.resolve().topics().needs_refresh();
        if needed && !self.timers.contains_key(&Timer::Refresh) {
            self.set_timer(Timer::Refresh, now.plus_ms(self.turn()));
        }
        for commit in self.topics.not_after(now) {
            self.dirty.mark(Key::Topic(commit));
        }
        self.watch_word(now);
        let Some(learnt) = self.topic_learnt() else { return };
        let due = learnt.plus_ms(WEEK_MS).plus_ms(self.weekly_turn());
        if due > now {
            self.watch_week(due);
        } else if !self.timers.contains_key(&Timer::Weekly) {
            self.watch_week(now.plus_ms(GRACE_MS).plus_ms(self.weekly_turn()));
        }
    }

    fn watch_week(&mut self, due: Timestamp) {
        self.epoch.due = due;
        self.timers.insert(Timer::Weekly, due);
    }

    /// When the newest topic to write to was learnt.
    pub(super) fn topic_learnt(&self) -> Option<Timestamp> {
        let write = self.write_topics();
        write.iter().filter_map(|commit| self.topics.topic(commit)).map(|it| it.learnt).max()
    }

    /// What is due when no topic is clean: a Refresh, if none came meanwhile.
    pub(super) fn refresh<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        if self.ops.resolve().topics().needs_refresh() {
            let kind = |commit| Kind::Refresh { topic_commit: Some(commit) };
            // Whoever may not, or has no topic yet, leaves it to others.
            if let Err(VerbError::Behind) = self.renew(cx, kind) {
                self.set_timer(Timer::Refresh, cx.now.plus_ms(AGAIN_MS).plus_ms(self.turn()));
            }
        }
    }

    /// What is due a week after the topic was learnt. A clock that has leapt proves nothing, and
    /// whoever was away may have missed that another did it: both wait, and look again.
    pub(super) fn renew_weekly<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let Some(learnt) = self.topic_learnt() else { return };
        let alone = self.ops.resolve().members.len() <= 1;
        if alone || cx.now.ms_since(learnt) < WEEK_MS {
            return self.watch_epoch(cx.now);
        }
        let leapt = cx.now.ms_since(self.epoch.due) > LEAP_MS;
        let renewed = !leapt
            && self.ready(cx.now).is_ok()
            && self.renew(cx, |commit| Kind::Refresh { topic_commit: Some(commit) }).is_ok();
        if !renewed {
            self.watch_week(cx.now.plus_ms(GRACE_MS).plus_ms(self.weekly_turn()));
        }
    }

    /// A relay's log of this group takes nothing more. Whoever may renews the topic, and with it the
    /// log, the most senior admin first; whether somebody is to be removed for it, people decide.
    pub fn on_log_full<R: CryptoRng>(&mut self, cx: Cx<'_, R>, log: LogId) {
        let write = self.write_topics();
        let topics = write.iter().filter_map(|commit| self.topics.topic(commit));
        let is_current = topics.map(|topic| topic.log).any(|current| current == log);
        if self.state != GroupState::Active || !is_current || self.epoch.full == Some(log) {
            return;
        }
        self.epoch.full = Some(log);
        let rested = self.topic_learnt().map_or(cx.now, |learnt| learnt.plus_ms(REST_MS));
        self.set_timer(Timer::Full, rested.max(cx.now).plus_ms(self.turn()));
        let total: u64 = self.epoch.written.values().sum();
        let most = self.epoch.written.iter().max_by_key(|(_, bytes)| **bytes);
        let most = most.filter(|(_, bytes)| **bytes > total / 2).map(|(member, _)| *member);
        self.out.push_back(Output::Event(Event::Alarm(Alarm::LogFull(most))));
    }

    /// What is due when the log was full, and nobody has begun another.
    pub(super) fn renew_full<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let Some(full) = self.epoch.full.take() else { return };
        let write = self.write_topics();
        let topics = write.iter().filter_map(|commit| self.topics.topic(commit));
        if topics.map(|topic| topic.log).any(|log| log == full) {
            self.epoch.hand_to_all = true;
            // Whoever may not leaves it to others.
            let _ = self.renew(cx, |commit| Kind::Refresh { topic_commit: Some(commit) });
            self.epoch.hand_to_all = false;
        }
    }

    /// Counts what a member has put on the log of the moment.
    pub(super) fn count_written(&mut self, from: MemberId, bytes: usize) {
        if self.is_member(&from) {
            *self.epoch.written.entry(from).or_default() += bytes as u64;
        }
    }

    /// How long this node gives to those before it, in milliseconds: in the order of seniority.
    pub(super) fn turn(&self) -> u64 {
        self.seniors() * STEP_MS + self.jitter(STEP_MS / 2)
    }

    /// The same where it is not urgent; members who are no admins wait a day more.
    fn weekly_turn(&self) -> u64 {
        let standing = self.ops.resolve().members.get(&self.me);
        let day = if standing.is_some_and(|it| it.admin.is_some()) { 0 } else { DAY_MS };
        day + self.seniors() * WEEKLY_STEP_MS + self.jitter(WEEKLY_STEP_MS / 2)
    }

    /// How many members are senior to this one.
    fn seniors(&self) -> u64 {
        let members = &self.ops.resolve().members;
        let Some(own) = members.get(&self.me).map(|standing| standing.rank) else { return 0 };
        members.values().filter(|standing| standing.rank < own).count() as u64
    }

    /// Another one for each member, always the same.
    fn jitter(&self, below: u64) -> u64 {
        self.me.0.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte)) % below
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
