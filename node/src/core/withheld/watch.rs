//! What one relay says of what it was given: the state of each entry that it is to tell.
//!
//! > A relay is named for what it says on one connection: that it keeps an entry, and then twice, asked for its log
//! > from before that entry's place, that this is all, without it. One process says all of that, and has the entry while
//! > it does. What a crash, a repair, a backup, another process of a cluster, a line or a clock takes away, it
//! > takes between connections: then the relay is given the entry anew, and what it says then counts.
//!
//! | State of an entry | What moves it |
//! |---|---|
//! | *lacking*: it came another way | due: it is given to the relay, *asked*. Two hours later it is let go |
//! | *asked*: an append is under way, of at most four; in no outbox, as nobody but this thought needs it. Refused: *lacking* for a while | "kept at this place": *promised*. After two hours it is let go |
//! | *promised*: own messages begin here | two ends of the log without it, on the connection of the promise: *named*. One, on a later connection: the promise is broken, *lacking* anew; the third time *named*. "Deleted", long before its time: *lacking* anew; the second time *named*. Half the time that the relay keeps an entry: let go |
//! | *named* | a week: let go |
//!
//! In each state the entry is forgotten once the relay tells it. Times decide only when it is asked.
//!
//! A relay that says to keep an entry for less than an hour, be it after it has promised, is not held to it. There is a bound on all that is kept
//! here; what goes first is the oldest of whoever has most.

mod told;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use protocol::{
    ids::{ChainId, EnvelopeId, GroupId, LogId, MemberId, Timestamp},
    relay_log::Cursor,
};

use self::told::{AGAIN, Reading, Told, is_within};

/// What a relay has told in this run, and what it is to tell.
#[derive(Default)]
pub(in crate::core) struct Watch {
    logs: BTreeMap<LogId, Reading>,
    told: Told,
    places: BTreeMap<EnvelopeId, Place>,
    /// How long it says that it keeps an entry, in milliseconds.
    keeps_ms: u64,
    /// When it was given whose messages, in the last hour.
    asks: VecDeque<(Timestamp, Of)>,
    /// What it was given and has not answered, by the tag of the append.
    given: BTreeMap<u64, (LogId, EnvelopeId)>,
    /// It has refused something: it is given nothing before this.
    refused_until: Timestamp,
    /// For whose messages it is named, which was not told yet; and when that was told last.
    news: BTreeSet<Of>,
    said: BTreeMap<Of, Timestamp>,
    /// Nothing is looked at before this.
    rests: Timestamp,
}

/// A group, and whose messages in it.
pub(super) type Of = (GroupId, MemberId);

/// A message that a relay is to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subject {
    pub(super) of: Of,
    /// Where the archive has it.
    pub(super) place: (ChainId, u32),
    /// Who showed it, where that was a member.
    pub(super) shown_by: Option<MemberId>,
}

struct Place {
    subject: Subject,
    state: State,
    /// Since when it is in this state.
    since: Timestamp,
    /// Promises of it of which a later connection knew nothing.
    broken: u8,
    /// How often it was said to be deleted, long before its time.
    deleted: u8,
}

enum State {
    Lacking { due: Timestamp },
    Asked,
    Promised(Promise),
    Named,
}

struct Promise {
    log: LogId,
    at: Cursor,
    /// How long the relay keeps an entry, by the shortest that it has said since.
    keeps_ms: u64,
    /// Whether it was given on this connection.
    is_here: bool,
    /// A Follow from before the place has begun since, and has not come to its end.
    waits: bool,
    /// How many have.
    ends: u8,
    /// When to begin another.
    next: Timestamp,
}

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// How long a relay may lack what came another way before it is given it, in milliseconds.
pub(super) const ASK_MS: u64 = 2 * MINUTE_MS;
/// How long what a relay lacks is thought of, in milliseconds.
const LACKS_MS: u64 = 2 * HOUR_MS;
/// How soon a log is followed anew where a promise is open, and nothing behind it was told, in milliseconds.
const AGAIN_MS: u64 = 5 * MINUTE_MS;
/// How often it is looked what is due, in milliseconds.
const LOOK_MS: u64 = 15 * 1000;
/// How long a relay stays named for a message, in milliseconds.
const NAMED_MS: u64 = 7 * 24 * HOUR_MS;
/// Entries that a relay is given in an hour, and of those of one writer.
const ASKS: usize = 64;
/// See [`ASKS`].
const ASKS_OF_ONE: usize = 16;
/// Of them, those that it has not answered: own messages never stand behind more.
const GIVEN: usize = 4;
/// For how long a relay that has refused one is given none, in milliseconds.
const REFUSED_MS: u64 = 5 * MINUTE_MS;
/// Ends of a log without an entry that was promised on the connection.
const ENDS: u8 = 2;
/// Broken promises.
const BROKEN: u8 = 3;
/// Deletions of what was promised a moment ago. One may be of an entry that was there before, and old.
const DELETED: u8 = 2;
/// Entries that are thought of.
const PLACES: usize = 1024;

impl Watch {
    /// A log of the plan is followed from here on, unless it is already.
    pub(in crate::core) fn follows(&mut self, log: LogId, after: Option<Cursor>) {
        self.logs.entry(log).or_insert(Reading::after(after));
    }

    /// Forgets what was to be told in other logs.
    pub(in crate::core) fn keep_logs(&mut self, planned: &BTreeSet<LogId>) {
        self.logs.retain(|log, _| planned.contains(log));
        self.told.keep(|log| planned.contains(log));
        self.places.retain(|_, place| match &place.state {
            State::Promised(promise) => planned.contains(&promise.log),
            _ => true,
        });
    }

    /// Forgets what was written in other groups.
    pub(in crate::core) fn keep_groups(&mut self, alive: &BTreeSet<GroupId>) {
        self.places.retain(|_, place| alive.contains(&place.subject.of.0));
        self.news.retain(|of| alive.contains(&of.0));
        self.said.retain(|of, _| alive.contains(&of.0));
    }

    /// The relay has another client in a moment, which reads from where it is stored that logs are read to.
    pub(in crate::core) fn restarts(&mut self, now: Timestamp) {
        self.client_ends(now);
        self.logs.clear();
        for promise in self.places.values_mut().filter_map(Place::promise) {
            (promise.is_here, promise.waits) = (false, false);
        }
    }

    /// A connection stands: each log is followed anew, and perhaps by another process.
    pub(in crate::core) fn up(&mut self, keeps: Duration, now: Timestamp) {
        let keeps_ms = u64::try_from(keeps.as_millis()).unwrap_or(u64::MAX);
        self.keeps_ms = keeps_ms;
        self.logs.values_mut().for_each(|reading| reading.at_end = false);
        for promise in self.places.values_mut().filter_map(Place::promise) {
            (promise.is_here, promise.waits, promise.next) = (false, false, now);
            // Processes of a cluster, or an operator who tries values, say now this, now that: the shortest holds.
            promise.keeps_ms = promise.keeps_ms.min(keeps_ms);
        }
        self.places.retain(|_, it| it.promise().is_none_or(|it| it.keeps_ms >= HOUR_MS));
    }

    /// The relay tells entries; none of them was left out up to this cursor, if it is honest.
    pub(super) fn tells(
        &mut self,
        log: LogId,
        entries: impl IntoIterator<Item = EnvelopeId>,
        upto: Cursor,
        now: Timestamp,
    ) {
        for entry in entries {
            self.places.remove(&entry);
            self.told.add(log, entry);
        }
        self.read(log, upto, now);
    }

    /// The relay has told all that it has in a log.
    pub(super) fn ends(&mut self, log: LogId, upto: Cursor, now: Timestamp) {
        self.read(log, upto, now);
        if let Some(reading) = self.logs.get_mut(&log) {
            reading.at_end = true;
        }
        for entry in self.promised(|promise| promise.log == log && promise.waits) {
            let Some(promise) = self.places.get_mut(&entry).and_then(Place::promise) else {
                continue;
            };
            (promise.waits, promise.next, promise.ends) = (false, now, promise.ends + 1);
            if !promise.is_here {
                self.broken(entry, now);
            } else if promise.ends >= ENDS {
                self.name(entry, now);
            }
        }
    }

    /// The relay says that all up to here is deleted.
    pub(super) fn begins(&mut self, log: LogId, at: Cursor, now: Timestamp) {
        self.read(log, at, now);
        for entry in self.promised(|promise| promise.log == log && is_within(promise.at, at)) {
            let Some(place) = self.places.get_mut(&entry) else { continue };
            let Some(keeps_ms) = place.promise().map(|promise| promise.keeps_ms) else { continue };
            place.deleted += u8::from(now.ms_since(place.since) < keeps_ms / 2);
            if place.deleted >= DELETED {
                self.name(entry, now);
            } else {
                self.lacks_again(entry, now);
            }
        }
    }

    /// The relay knows the place no more up to which a log was read, and tells the log from its start.
    pub(super) fn gone(&mut self, log: LogId) {
        if let Some(reading) = self.logs.get_mut(&log) {
            reading.begins_anew();
        }
        let promises = self.places.values_mut().filter_map(Place::promise);
        promises.filter(|it| it.log == log).for_each(|it| it.waits = true);
    }

    /// A log is to be told anew from where it is read to, or is not told for now.
    pub(in crate::core) fn reads_anew(&mut self, log: &LogId) {
        if let Some(reading) = self.logs.get_mut(log) {
            reading.at_end = false;
        }
        let promises = self.places.values_mut().filter_map(Place::promise);
        promises.filter(|it| it.log == *log).for_each(|it| it.waits = false);
    }

    /// Whether the relay has told an entry, as far as that is remembered.
    pub(super) fn has_told(&self, entry: &EnvelopeId) -> bool {
        self.told.has(entry)
    }

    /// A message came another way. The relay is asked when it is due, if it does not tell it before.
    pub(super) fn lacks(
        &mut self,
        entry: EnvelopeId,
        subject: Subject,
        due: Timestamp,
        now: Timestamp,
    ) {
        if self.told.has(&entry) || self.places.contains_key(&entry) {
            return;
        }
        self.insert(entry, Place::new(subject, State::Lacking { due }, now), now);
    }

    /// The relay says that it keeps an entry, at this place: one's own message, or what it was given.
    pub(super) fn keeps(
        &mut self,
        entry: EnvelopeId,
        own: Option<Subject>,
        log: LogId,
        at: Cursor,
        now: Timestamp,
    ) {
        let Some(reading) = self.logs.get(&log) else { return };
        // What is to be read once more for it; while the relay is named nothing is.
        let behind = reading.behind(at);
        let is_read = behind > 0;
        let is_too_much = behind > AGAIN || is_read && self.count() > 0;
        let place = match self.places.remove(&entry) {
            Some(place) if place.is_settled() => place,
            _ if self.told.has(&entry) || self.keeps_ms < HOUR_MS || is_too_much => return,
            known => {
                let new = own.map(|own| Place::new(own, State::Asked, now));
                let Some(mut place) = known.or(new) else { return };
                let next = if is_read { now } else { now.plus_ms(AGAIN_MS) };
                let keeps_ms = self.keeps_ms;
                let promise =
                    Promise { log, at, keeps_ms, is_here: true, waits: false, ends: 0, next };
                (place.state, place.since) = (State::Promised(promise), now);
                place
            }
        };
        self.insert(entry, place, now);
    }

    /// What the relay is to be given now. For what it was given too much already, later.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(EnvelopeId, Subject)> {
        let mut asked: BTreeMap<Of, usize> = BTreeMap::new();
        let room = ASKS.saturating_sub(self.asks.len());
        let mut room = room.min(GIVEN.saturating_sub(self.given.len()));
        if now < self.refused_until {
            room = 0;
        }
        for (_, of) in &self.asks {
            *asked.entry(*of).or_default() += 1;
        }
        let mut given = Vec::new();
        for (entry, Place { subject, state, .. }) in &mut self.places {
            let State::Lacking { due } = state else { continue };
            let of_one = asked.entry(subject.of).or_default();
            if *due > now {
                continue;
            }
            if room > 0 && *of_one < ASKS_OF_ONE {
                (room, *of_one) = (room - 1, *of_one + 1);
                given.push((*entry, *subject));
            } else {
                *due = now.plus_ms(MINUTE_MS);
            }
        }
        given
    }

    /// The relay is not given an entry now.
    pub(super) fn not_now(&mut self, entry: &EnvelopeId, now: Timestamp) {
        if let Some(Place { state: State::Lacking { due }, .. }) = self.places.get_mut(entry) {
            *due = now.plus_ms(MINUTE_MS);
        }
    }

    /// The relay is given an entry of a log, by an append of this tag.
    pub(super) fn asked(&mut self, entry: EnvelopeId, log: LogId, tag: u64, now: Timestamp) {
        if let Some(place) = self.places.get_mut(&entry) {
            place.state = State::Asked;
            self.asks.push_back((now, place.subject.of));
            self.given.insert(tag, (log, entry));
        }
    }

    /// The relay keeps what it was given by an append of this tag.
    pub(super) fn takes(&mut self, tag: u64, at: Cursor, now: Timestamp) {
        if let Some((log, entry)) = self.given.remove(&tag) {
            self.keeps(entry, None, log, at, now);
        }
    }

    /// It refuses that: nothing more is given for a while.
    pub(super) fn refuses(&mut self, tag: u64, now: Timestamp) {
        let Some((_, entry)) = self.given.remove(&tag) else { return };
        self.refused_until = now.plus_ms(REFUSED_MS);
        if let Some(place) = self.places.get_mut(&entry)
            && matches!(place.state, State::Asked)
        {
            place.state = State::Lacking { due: self.refused_until };
        }
    }

    /// The relay's client is another one from now on: what was given to it is lost with it.
    pub(in crate::core) fn client_ends(&mut self, now: Timestamp) {
        for (_, entry) in std::mem::take(&mut self.given).into_values() {
            if let Some(place) = self.places.get_mut(&entry)
                && matches!(place.state, State::Asked)
            {
                place.state = State::Lacking { due: now };
            }
        }
    }

    /// Nothing is to be told of an entry.
    pub(super) fn lets_go(&mut self, entry: &EnvelopeId) {
        self.places.remove(entry);
    }

    /// Logs to be followed anew, and from where; none: from where they are read to.
    pub(super) fn again(&mut self, now: Timestamp) -> BTreeMap<LogId, Option<Cursor>> {
        let open = self.places.values().filter_map(Place::open);
        let due = open.filter(|it| it.next <= now && self.is_at_end(&it.log));
        let due: BTreeSet<LogId> = due.map(|it| it.log).collect();
        due.into_iter().filter_map(|log| self.looks_for(log, now)).collect()
    }

    /// From where a log is to be followed anew for what is promised in it. What is told once more costs the relay and
    /// this node: what is too far behind is let go, and what would be too much for now waits. The nearest goes first.
    fn looks_for(&mut self, log: LogId, now: Timestamp) -> Option<(LogId, Option<Cursor>)> {
        let reading = self.logs.get_mut(&log)?;
        self.places.retain(|_, place| {
            place.promise().is_none_or(|it| it.log != log || reading.behind(it.at) <= AGAIN)
        });
        let room = reading.room(now);
        let promises = self.places.values_mut().filter_map(Place::promise);
        let (near, far): (Vec<_>, Vec<_>) =
            promises.filter(|it| it.log == log).partition(|it| reading.behind(it.at) <= room);
        for promise in far {
            (promise.waits, promise.next) = (false, reading.renewed());
        }
        if near.iter().all(|promise| promise.next > now) {
            return None;
        }
        let first = near.iter().max_by_key(|it| reading.behind(it.at)).map(|it| it.at);
        let first = first.filter(|at| reading.behind(*at) > 0);
        near.into_iter().for_each(|promise| promise.waits = true);
        if let Some(first) = first {
            reading.spend(reading.behind(first));
        }
        reading.at_end = false;
        Some((log, first.map(|at| Cursor { seq: at.seq.saturating_sub(1), ..at })))
    }

    /// When [`Self::look`] has something to do.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let places = self.places.values().filter_map(|place| match &place.state {
            State::Lacking { due } => Some(*due),
            _ => place.open().filter(|it| self.is_at_end(&it.log)).map(|it| it.next),
        });
        let news = self.news.iter().map(|of| self.told_next(of));
        places.chain(news).min().map(|at| at.max(self.rests))
    }

    /// Forgets what is too old, from time to time; whether it is time to ask.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let is_time = self.rests <= now;
        if is_time {
            self.rests = now.plus_ms(LOOK_MS);
            self.tidy(now);
        }
        is_time
    }

    /// For whose messages the relay is named, and more than was told: of one writer once an hour.
    pub(super) fn news(&mut self, now: Timestamp) -> Vec<Of> {
        let due: Vec<Of> =
            self.news.iter().copied().filter(|of| self.told_next(of) <= now).collect();
        for of in &due {
            self.news.remove(of);
            self.said.insert(*of, now);
        }
        due
    }

    /// The clock was set back: what was measured by it is let go.
    pub(in crate::core) fn clock_set_back(&mut self, now: Timestamp) {
        self.places.retain(|_, place| matches!(place.state, State::Named));
        self.places.values_mut().for_each(|place| place.since = place.since.min(now));
        self.asks.clear();
        self.said.clear();
        (self.rests, self.refused_until) = (now, now);
    }

    /// What the relay is named for: of each writer how many, and who showed one of them.
    pub(super) fn named(&self) -> BTreeMap<Of, (u64, Option<MemberId>)> {
        let mut named: BTreeMap<_, (u64, Option<MemberId>)> = BTreeMap::new();
        for Place { subject, .. } in self.all_named() {
            let (count, shown_by) = named.entry(subject.of).or_default();
            *count += 1;
            *shown_by = shown_by.or(subject.shown_by);
        }
        named
    }

    /// For how many messages it is named.
    pub(in crate::core) fn count(&self) -> u64 {
        self.all_named().count() as u64
    }

    fn all_named(&self) -> impl Iterator<Item = &Place> {
        self.places.values().filter(|place| matches!(place.state, State::Named))
    }

    fn promised(&self, is_meant: impl Fn(&Promise) -> bool) -> Vec<EnvelopeId> {
        let places = self.places.iter();
        let promised = places.filter(
            |(_, place)| matches!(&place.state, State::Promised(promise) if is_meant(promise)),
        );
        promised.map(|(entry, _)| *entry).collect()
    }

    fn is_at_end(&self, log: &LogId) -> bool {
        self.logs.get(log).is_some_and(|reading| reading.at_end)
    }

    /// All up to here is told. What was promised in it is looked for once more, soon.
    fn read(&mut self, log: LogId, upto: Cursor, now: Timestamp) {
        let Some(reading) = self.logs.get_mut(&log) else { return };
        reading.reaches(upto);
        let promises = self.places.values_mut().filter_map(Place::promise);
        for promise in promises.filter(|it| it.log == log && is_within(it.at, upto)) {
            promise.next = promise.next.min(now);
        }
    }

    fn name(&mut self, entry: EnvelopeId, now: Timestamp) {
        if let Some(place) = self.places.get_mut(&entry) {
            (place.state, place.since) = (State::Named, now);
            self.news.insert(place.subject.of);
        }
    }

    /// Another connection knows nothing of what was promised. Once that is bad luck.
    fn broken(&mut self, entry: EnvelopeId, now: Timestamp) {
        let Some(place) = self.places.get_mut(&entry) else { return };
        place.broken += 1;
        if place.broken >= BROKEN {
            self.name(entry, now);
        } else {
            self.lacks_again(entry, now);
        }
    }

    fn lacks_again(&mut self, entry: EnvelopeId, now: Timestamp) {
        if let Some(place) = self.places.get_mut(&entry) {
            (place.state, place.since) = (State::Lacking { due: now }, now);
        }
    }

    fn insert(&mut self, entry: EnvelopeId, place: Place, now: Timestamp) {
        if self.places.len() >= PLACES {
            self.tidy(now);
        }
        if self.places.len() >= PLACES {
            self.make_room();
        }
        self.places.insert(entry, place);
    }

    /// Lets the oldest go of whoever has most; of those that a relay is named for only where all are.
    fn make_room(&mut self) {
        let mut open: BTreeMap<Of, usize> = BTreeMap::new();
        for place in self.places.values().filter(|it| !matches!(it.state, State::Named)) {
            *open.entry(place.subject.of).or_default() += 1;
        }
        let most = open.into_iter().max_by_key(|(_, count)| *count).map(|(of, _)| of);
        let of_most = self.places.iter().filter(|(_, place)| {
            let is_named = matches!(place.state, State::Named);
            most.is_none_or(|most| place.subject.of == most && !is_named)
        });
        let oldest = of_most.min_by_key(|(_, place)| place.since).map(|(entry, _)| *entry);
        if let Some(oldest) = oldest {
            self.places.remove(&oldest);
        }
    }

    fn tidy(&mut self, now: Timestamp) {
        self.places.retain(|_, place| {
            let age = now.ms_since(place.since);
            age < match &place.state {
                State::Lacking { .. } | State::Asked => LACKS_MS,
                // The entry may have been there when it was promised.
                State::Promised(promise) => promise.keeps_ms / 2,
                State::Named => NAMED_MS,
            }
        });
        self.said.retain(|_, at| now.ms_since(*at) < NAMED_MS);
        self.asks.retain(|(at, _)| now.ms_since(*at) < HOUR_MS);
    }

    fn told_next(&self, of: &Of) -> Timestamp {
        self.said.get(of).map_or(Timestamp(0), |at| at.plus_ms(HOUR_MS))
    }
}

impl Place {
    fn new(subject: Subject, state: State, since: Timestamp) -> Self {
        Self { subject, state, since, broken: 0, deleted: 0 }
    }

    /// Whether it makes no difference that the relay says once more that it keeps it.
    fn is_settled(&self) -> bool {
        match &self.state {
            State::Lacking { .. } | State::Asked => false,
            State::Promised(promise) => promise.is_here,
            State::Named => true,
        }
    }

    fn promise(&mut self) -> Option<&mut Promise> {
        match &mut self.state {
            State::Promised(promise) => Some(promise),
            _ => None,
        }
    }

    /// A promise for which no Follow is under way.
    fn open(&self) -> Option<&Promise> {
        match &self.state {
            State::Promised(promise) if !promise.waits => Some(promise),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
