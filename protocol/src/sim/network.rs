//! What lies between the nodes of a world: channels, and a relay that does as it likes.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{invariant::Invariant, words::Way, world::World};
use crate::{
    group::{GroupState, Source},
    ids::{LogId, MemberId, Timestamp},
};

/// What a relay may do with an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trick {
    /// This follower never sees it.
    Hide,
    /// It sees it later than what came after.
    Delay,
    /// It sees it twice.
    Repeat,
}

/// Frames kept for whoever replays them.
const OVERHEARD: usize = 64;
/// A clock that goes back by no more, in milliseconds, is not worth a word.
const SET_BACK_MS: i64 = 10_000;

impl World {
    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    pub fn link(&mut self, a: usize, b: usize) {
        self.links.insert((a.min(b), a.max(b)));
        let (ida, idb) = (self.id(a), self.id(b));
        self.wired.remove(&(a, idb));
        self.wired.remove(&(b, ida));
        self.meet(a);
        self.meet(b);
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.links.remove(&(a.min(b), a.max(b)));
        self.frames.retain(|(from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        let (ida, idb) = (self.id(a), self.id(b));
        for (at, other) in [(a, idb), (b, ida)] {
            self.wired.remove(&(at, other));
            self.act(at, |group, cx| group.on_channel_down(cx, other));
        }
    }

    /// Makes the channels that stand known to a group as its members come and go, as a node does.
    pub(super) fn meet(&mut self, at: usize) {
        let ends = self.links.iter().filter_map(|(a, b)| match at {
            _ if *a == at => Some(*b),
            _ if *b == at => Some(*a),
            _ => None,
        });
        let Some(group) = &self.people[at].group else { return };
        let takes_part = group.state() == GroupState::Active || group.listens();
        let met: BTreeSet<MemberId> = ends
            .map(|other| self.id(other))
            .filter(|other| takes_part && group.is_member(other))
            .collect();
        let known = self.wired.range((at, MemberId([0; 32]))..=(at, MemberId([255; 32])));
        let known: BTreeSet<MemberId> = known.map(|(_, other)| *other).collect();
        for other in known.difference(&met) {
            self.wired.remove(&(at, *other));
            self.act(at, |group, cx| group.on_channel_down(cx, *other));
        }
        for other in met.difference(&known) {
            self.wired.insert((at, *other));
            self.act(at, |group, cx| group.on_channel_up(cx, *other));
        }
    }

    /// Puts a frame on the channel to a member, if one stands.
    pub(super) fn frame(&mut self, from: usize, to: &MemberId, frame: Vec<u8>) {
        let node = (0..self.people.len())
            .find(|node| self.is_linked(from, *node) && self.id(*node) == *to);
        if let Some(to) = node.filter(|_| self.empties_outbox(from)) {
            self.sees(from, Way::Channel(to), frame.len());
            self.frames.push_back((from, to, frame));
        }
    }

    /// Hands the outbox to the relay.
    pub fn append(&mut self, at: usize) {
        let empties = self.empties_outbox(at);
        let person = &mut self.people[at];
        if !self.relay {
            person.outbox.clear();
        }
        if !self.reachable || !person.online || !person.reach || !empties {
            return;
        }
        for (log, envelope) in person.outbox.drain(..) {
            let entries = self.logs.entry(log).or_default();
            if !entries.contains(&envelope) {
                entries.push(envelope);
            }
        }
    }

    /// The relay can't be reached from here any more.
    pub fn lose_relay(&mut self, at: usize) {
        self.people[at].caught_up.clear();
        if self.people[at].group.is_some() {
            self.act(at, |group, cx| group.on_relays_down(cx));
        }
    }

    /// A node's clock leaps. Where it goes back, the process around the group takes it up again with the
    /// new time, as its own node does, and tells it anew of channels that stand and logs that were read.
    pub fn set_clock(&mut self, at: usize, ms: i64) {
        let person = &mut self.people[at];
        person.skew = person.skew.saturating_add(ms);
        if ms >= -SET_BACK_MS || person.group.is_none() {
            return;
        }
        person.caught_up.clear();
        self.wired.retain(|(of, _)| *of != at);
        self.reload(at);
        self.meet(at);
        self.drain(at);
    }

    /// The relay loses all it has: its logs are of another generation, and read from the start.
    pub fn forget_logs(&mut self) {
        self.logs.clear();
        for person in &mut self.people {
            person.read.clear();
            person.late.clear();
        }
    }

    /// Lets twenty seconds pass.
    pub fn settle(&mut self) {
        self.pass(20_000);
    }

    /// Lets this much time pass, from one thing to do to the next.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        loop {
            while self.deliver() {}
            match self.deadline().filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.tick();
        }
        self.now = end;
    }

    /// Everybody online does what is due.
    pub fn tick(&mut self) {
        for at in 0..self.people.len() {
            let person = &self.people[at];
            let due = person.group.as_ref().and_then(crate::group::Group::deadline);
            if person.online && due.is_some_and(|due| due <= person.clock(self.now)) {
                self.act(at, |group, cx| group.on_deadline(cx));
            }
        }
    }

    /// The next thing that anybody online has to do, by the world's clock.
    pub fn deadline(&self) -> Option<Timestamp> {
        let online = self.people.iter().filter(|person| person.online);
        let due = online.filter_map(|person| {
            let due = person.group.as_ref()?.deadline()?;
            Some(Timestamp(due.0.saturating_add_signed(-person.skew)))
        });
        due.min()
    }

    /// Delivers all that is in flight and all that the relay has; answers whether there was any.
    pub fn deliver(&mut self) -> bool {
        let mut busy = false;
        while self.deliver_frame(0) {
            busy = true;
        }
        for at in 0..self.people.len() {
            for log in self.followed(at) {
                while self.read(at, log, None) {
                    busy = true;
                }
                let news = self.people[at].caught_up.insert(log);
                if news || !self.member(at).hears_relays() {
                    self.act(at, |group, cx| group.on_caught_up(cx, log));
                }
            }
        }
        busy
    }

    /// Delivers the oldest frame on the channel and in the direction of the nth in flight.
    pub fn deliver_frame(&mut self, nth: usize) -> bool {
        let Some((from, to, _)) = self.frames.get(nth) else { return false };
        let (from, to) = (*from, *to);
        let first = self.frames.iter().position(|(f, t, _)| (*f, *t) == (from, to));
        let Some((_, _, frame)) = first.and_then(|at| self.frames.remove(at)) else { return false };
        if self.is_linked(from, to) && self.people[to].online && self.people[from].online {
            self.check_frame(&frame);
            if self.framed.is_multiple_of(4) {
                self.overheard.push_back((to, frame.clone()));
                if self.overheard.len() > OVERHEARD {
                    self.overheard.pop_front();
                }
            }
            let from = self.id(from);
            // A peer that is no member is refused; the test's assertions see what follows.
            let _ = self.attempt(to, |group, cx| group.on_frame(cx, from, &frame));
        }
        true
    }

    /// The logs that somebody follows at the relay, where it can be reached.
    pub fn followed(&mut self, at: usize) -> Vec<LogId> {
        self.append(at);
        let person = &self.people[at];
        let reached = person.online && person.reach && self.relay && self.reachable;
        let group = person.group.as_ref().filter(|_| reached);
        group.map_or_else(Vec::new, |group| group.log_ids().collect())
    }

    /// Reads one entry of a log that came earlier than the relay showed it, or the next one.
    pub fn read(&mut self, at: usize, log: LogId, trick: Option<Trick>) -> bool {
        let late = self.people[at].late.iter().position(|(of, _)| *of == log);
        if let Some(late) = late.filter(|_| trick.is_none()) {
            let (_, entry) = self.people[at].late.remove(late);
            self.take(at, log, entry);
            return true;
        }
        let next = *self.people[at].read.entry(log).or_default();
        if self.logs.get(&log).is_none_or(|log| log.len() <= next) {
            return false;
        }
        self.people[at].read.insert(log, next + 1);
        match trick {
            Some(Trick::Hide) => {}
            Some(Trick::Delay) => self.people[at].late.push((log, next)),
            Some(Trick::Repeat) => {
                self.take(at, log, next);
                self.take(at, log, next);
            }
            None => self.take(at, log, next),
        }
        true
    }

    fn take(&mut self, at: usize, log: LogId, entry: usize) {
        let Some(entry) = self.logs.get(&log).and_then(|log| log.get(entry)).cloned() else {
            return;
        };
        // Those of a topic that is gone are refused quietly.
        let _ = self.attempt(at, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
    }

    /// That a step has committed all that it changed.
    pub(super) fn check_committed(&mut self, at: usize) {
        let person = &mut self.people[at];
        let live = person.group.as_mut().unwrap().all_records();
        let same = live == person.records;
        self.watch.check(Invariant::AllOrNothing, same, || {
            let records = &self.people[at].records;
            let lost = live.iter().find(|(key, value)| records.get(*key) != Some(*value));
            let stray = records.keys().find(|key| !live.contains_key(*key));
            alloc::format!(
                "{at}: {:02x?} not committed, {stray:02x?} not deleted",
                lost.map(|it| it.0)
            )
        });
    }
}
