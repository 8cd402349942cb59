//! Whom to ask for a file, and by what: directly as many as may be; by a circuit through a relay one at a time. Decides, and
//! opens nothing.
//!
//! ```text
//! no circuit ── little comes directly for ALONE ──► asked ── who was asked comes ──► stands
//!      ▲                                              │                                │
//!      └────── nobody came, or could be asked ────────┴────────── it ended ────────────┘
//! ```
//!
//! > Nobody keeps others from giving, and no relay decides alone: of those who have rested the one is asked who gave well last,
//! > and then who was asked longest ago; who brings little by a circuit is left where anybody else, or the same one anew, may
//! > be asked. What is no fault of a member is not counted as its.
//!
//! | A circuit | The member may be asked again | The next with it is |
//! |---|---|---|
//! | brought [`GOOD`] | after [`REST`], before all others | by the same relay |
//! | brought something | after [`REST`], after the others | by another |
//! | brought less than [`WORTH`] in the last [`SLOW`] | 30 s, 1, 2 … 60 minutes after it was asked | by another |
//! | brought nothing | 30 s, 1, 2 … 60 minutes after it ended | by another |
//! | was not come to | as that | by the same |
//! | could not be asked for | after 30 s, each time | by the same |
//! | had no place at any relay | as that; and nobody else is asked for 30 s, 1, 2, 4, 5 minutes | by the same |
//!
//! A circuit that is open where a turn ends has ended with what it brought until then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{ids::MemberId, limits::FILE_SOURCES};
use tokio::time::Instant;

use crate::core::Givers;

/// By what a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// The connection on which a channel stands.
    Direct,
    /// A circuit through a relay.
    Circuit,
}

/// Why there is no circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// Who was asked did not come, or not so that it could give.
    Absent,
    /// It was not asked.
    Unasked,
    /// Nor was it, since no relay gave a place to wait at.
    Refused,
}

/// Who is asked for one file, and who is left alone.
pub(super) struct Whom {
    /// With whom a stream is open that goes directly.
    direct: BTreeSet<MemberId>,
    circuit: Option<Circuit>,
    rests: BTreeMap<(MemberId, By), Rest>,
    /// Until when nobody is asked for a circuit, since no relay gave a place.
    refused: Option<Rest>,
    /// Who gave well by the last circuit.
    good: Option<MemberId>,
    /// Circuits with each that brought little: the next one is by another relay.
    vain: BTreeMap<MemberId, usize>,
    /// When direct streams last brought [`WORTH`] within [`ALONE`], if they did.
    worth: Option<Instant>,
    /// The same; or when somebody was first asked directly, or it began, if that was later.
    since: Instant,
    /// When and at which count of bytes what they bring is looked at from.
    looked: (Instant, u64),
    /// When somebody was first asked for a circuit since it began.
    tried: Option<Instant>,
}

/// The circuit that is asked for, or stands.
struct Circuit {
    member: MemberId,
    asked: Instant,
    /// How long the member had been left alone.
    rested: Duration,
    /// What it has brought.
    bytes: u64,
    /// When and at which count of bytes that is looked at from, once it brings something.
    looked: Option<(Instant, u64)>,
    is_slow: bool,
}

/// Until when somebody is left alone, and since when, and how long that was.
#[derive(Clone, Copy)]
struct Rest {
    since: Instant,
    until: Instant,
    long: Duration,
}

/// How long somebody is left alone who gave something, and nothing more; and who gives nothing directly, at most.
const REST: Duration = Duration::from_secs(1);
/// See [`REST`].
const REST_MAX: Duration = Duration::from_secs(64);
/// The same of who gives nothing by a circuit, which costs more: at first, and at most.
const CIRCUIT_REST: Duration = Duration::from_secs(30);
/// See [`CIRCUIT_REST`].
const CIRCUIT_REST_MAX: Duration = Duration::from_secs(60 * 60);
/// How long all are left alone where no relay gives a place, at most: it may give one soon.
const REFUSED_MAX: Duration = Duration::from_secs(5 * 60);
/// How long next to nothing comes directly before a circuit is asked for: channels come up within that.
const ALONE: Duration = Duration::from_secs(5);
/// What has to come directly within [`ALONE`] for nobody to be asked for a circuit, and by a circuit within [`SLOW`] for nobody
/// else to be, in bytes.
const WORTH: u64 = 256 * 1024;
/// See [`WORTH`].
const SLOW: Duration = Duration::from_secs(30);
/// What a circuit has to bring for the next one to be by the same relay, in bytes.
const GOOD: u64 = 1024 * 1024;
/// How long a file that waits for who was asked keeps its place, where others wait for one, once a turn: by way of a proxy one
/// relay takes as long.
const HELD: Duration = Duration::from_secs(90);
/// Members without a channel who may be asked for one file.
const AFAR: usize = 4;

impl By {
    const fn rests(self) -> (Duration, Duration) {
        match self {
            Self::Direct => (REST, REST_MAX),
            Self::Circuit => (CIRCUIT_REST, CIRCUIT_REST_MAX),
        }
    }
}

impl Whom {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            direct: BTreeSet::new(),
            circuit: None,
            rests: BTreeMap::new(),
            refused: None,
            good: None,
            vain: BTreeMap::new(),
            worth: None,
            since: now,
            looked: (now, 0),
            tried: None,
        }
    }

    /// The fetch begins, perhaps again: nobody is asked yet. Who was left alone is so still.
    pub(super) fn begin(&mut self, now: Instant) {
        self.direct.clear();
        if let Some(circuit) = self.circuit.take() {
            // Whether it was come to nobody says.
            self.closed(&circuit, circuit.bytes, true, now);
        }
        (self.worth, self.since, self.looked, self.tried) = (None, now, (now, 0), None);
    }

    /// A person asks for it once more: nobody is left alone any longer.
    pub(super) fn wake(&mut self) {
        self.rests.clear();
        self.refused = None;
    }

    /// So much has come directly since it began, and so much by the circuit.
    pub(super) fn brought(&mut self, direct: u64, by_circuit: u64, now: Instant) {
        if direct.saturating_sub(self.looked.1) >= WORTH {
            (self.worth, self.since, self.looked) = (Some(now), now, (now, direct));
        } else if now.saturating_duration_since(self.looked.0) >= ALONE {
            self.looked = (now, direct);
        }
        if let Some(circuit) = &mut self.circuit {
            circuit.brought(by_circuit, now);
        }
    }

    /// Streams to be opened now, to members of whom none is `shut_out`.
    pub(super) fn next(
        &mut self,
        givers: &Givers,
        shut_out: impl Fn(&MemberId) -> bool,
        now: Instant,
    ) -> Vec<(MemberId, By)> {
        let mut next = Vec::new();
        // One is for a circuit.
        let most = FILE_SOURCES - usize::from(!givers.afar.is_empty());
        for member in &givers.near {
            let is_free = !self.has_stream(member) && self.has_rested(member, By::Direct, now);
            if is_free && self.direct.len() < most && !shut_out(member) {
                if !self.rests.contains_key(&(*member, By::Direct)) {
                    // It may take a moment, the first time.
                    (self.since, self.looked.0) = (now, now);
                }
                self.direct.insert(*member);
                next.push((*member, By::Direct));
            }
        }
        let is_alone = now.saturating_duration_since(self.since) >= ALONE;
        if is_alone && self.circuit.is_none() {
            let asked = self.to_be_asked(givers, shut_out, now);
            next.extend(asked.map(|member| {
                self.asks(member, now);
                (member, By::Circuit)
            }));
        }
        next
    }

    /// A stream has ended that brought so many bytes; or none could be opened directly.
    pub(super) fn ended(&mut self, member: MemberId, by: By, bytes: u64, now: Instant) {
        match by {
            By::Circuit => {
                if let Some(circuit) = self.take(member) {
                    self.closed(&circuit, bytes, true, now);
                }
            }
            By::Direct => {
                self.direct.remove(&member);
                let rest = self.rests.get(&(member, by)).copied();
                let rest = if bytes > 0 {
                    Rest::new(REST, now)
                } else {
                    Rest::after(rest, by.rests(), now)
                };
                self.rests.insert((member, by), rest);
            }
        }
    }

    /// There is no circuit with a member.
    pub(super) fn unmet(&mut self, member: MemberId, unmet: Unmet, now: Instant) {
        let Some(circuit) = self.take(member) else { return };
        if unmet == Unmet::Absent {
            self.closed(&circuit, 0, false, now);
            return;
        }
        if let Some(rest) = self.rests.get_mut(&(member, By::Circuit)) {
            (rest.long, rest.until) = (circuit.rested, now + CIRCUIT_REST);
        }
        if unmet == Unmet::Refused {
            self.refused = Some(Rest::after(self.refused, (CIRCUIT_REST, REFUSED_MAX), now));
        }
    }

    /// Notes that a member is asked for a circuit. It rests from now on, also where nobody says how that ended.
    fn asks(&mut self, member: MemberId, now: Instant) {
        let before = self.rests.get(&(member, By::Circuit)).copied();
        let rested = before.map_or(REST, |rest| rest.long);
        let (bytes, looked, is_slow) = (0, None, false);
        self.circuit = Some(Circuit { member, asked: now, rested, bytes, looked, is_slow });
        self.tried.get_or_insert(now);
        self.rests.insert((member, By::Circuit), Rest::after(before, By::Circuit.rests(), now));
    }

    /// The circuit that there is with a member is none any more.
    fn take(&mut self, member: MemberId) -> Option<Circuit> {
        self.circuit.take_if(|circuit| circuit.member == member)
    }

    /// What follows from what a circuit brought.
    fn closed(&mut self, circuit: &Circuit, bytes: u64, came: bool, now: Instant) {
        let Circuit { member, is_slow, .. } = *circuit;
        let is_good = bytes >= GOOD && !is_slow;
        self.refused = None;
        if is_good {
            self.good = Some(member);
        } else {
            self.good.take_if(|good| *good == member);
            let vain = self.vain.entry(member).or_default();
            *vain = vain.wrapping_add(usize::from(came));
        }
        // Who is slow rests since it was asked.
        if let Some(rest) = self.rests.get_mut(&(member, By::Circuit)).filter(|_| !is_slow) {
            if bytes > 0 {
                *rest = Rest { long: REST, until: now + REST, ..*rest };
            } else {
                rest.until = rest.until.max(now + rest.long);
            }
        }
    }

    /// How many circuits with a member brought little.
    pub(super) fn vain(&self, member: &MemberId) -> usize {
        self.vain.get(member).copied().unwrap_or(0)
    }

    /// Whether a circuit is asked for, or stands.
    pub(super) const fn has_circuit(&self) -> bool {
        self.circuit.is_some()
    }

    /// Whether who was asked for a circuit may come yet, and that has not been waited for long in this turn.
    pub(super) fn waits(&self, now: Instant) -> bool {
        let is_new = |tried| now.saturating_duration_since(tried) < HELD;
        self.circuit.is_some() && self.tried.is_some_and(is_new)
    }

    /// With whom streams are to end: who has it is a member no more, no channel stands any longer, or by now one does
    /// where there is a circuit; or much comes directly since that was asked for, or little by it where somebody may be asked.
    pub(super) fn leaves(
        &self,
        givers: &Givers,
        shut_out: impl Fn(&MemberId) -> bool,
        now: Instant,
    ) -> Vec<MemberId> {
        let direct = self.direct.iter().filter(|member| !givers.near.contains(*member)).copied();
        let circuit = self.circuit.as_ref().filter(|circuit| {
            let others = || self.to_be_asked(givers, &shut_out, now).is_some();
            !givers.afar.contains(&circuit.member)
                || self.worth > Some(circuit.asked)
                || circuit.is_slow && others()
        });
        direct.chain(circuit.map(|circuit| circuit.member)).collect()
    }

    /// Whether nobody is asked.
    pub(super) fn is_idle(&self) -> bool {
        self.direct.is_empty() && self.circuit.is_none()
    }

    /// Who is to be asked for a circuit now.
    fn to_be_asked(
        &self,
        givers: &Givers,
        shut_out: impl Fn(&MemberId) -> bool,
        now: Instant,
    ) -> Option<MemberId> {
        if self.refused.is_some_and(|rest| rest.until > now) {
            return None;
        }
        let is_good = |it: &MemberId| self.good == Some(*it);
        let may = |it: &MemberId| {
            !self.direct.contains(it) && self.has_rested(it, By::Circuit, now) && !shut_out(it)
        };
        let members = givers.afar.iter().enumerate();
        let members = members.filter(|(at, it)| (*at < AFAR || is_good(it)) && may(it));
        let asked = |it: &MemberId| self.rests.get(&(*it, By::Circuit)).map(|rest| rest.since);
        members.map(|(_, it)| *it).min_by_key(|it| (!is_good(it), asked(it)))
    }

    fn has_stream(&self, member: &MemberId) -> bool {
        let has_circuit = self.circuit.as_ref().is_some_and(|circuit| circuit.member == *member);
        has_circuit || self.direct.contains(member)
    }

    fn has_rested(&self, member: &MemberId, by: By, now: Instant) -> bool {
        self.rests.get(&(*member, by)).is_none_or(|rest| rest.until <= now)
    }
}

impl Circuit {
    fn brought(&mut self, bytes: u64, now: Instant) {
        self.bytes = bytes;
        if bytes == 0 {
            return;
        }
        let (since, before) = *self.looked.get_or_insert((now, 0));
        if bytes.saturating_sub(before) >= WORTH {
            (self.looked, self.is_slow) = (Some((now, bytes)), false);
        } else if now.saturating_duration_since(since) >= SLOW {
            (self.looked, self.is_slow) = (Some((now, bytes)), true);
        }
    }
}

impl Rest {
    fn new(long: Duration, now: Instant) -> Self {
        Self { since: now, until: now + long, long }
    }

    /// Longer than the one before.
    fn after(before: Option<Self>, (first, most): (Duration, Duration), now: Instant) -> Self {
        Self::new(before.map_or(first, |before| (2 * before.long).clamp(first, most)), now)
    }
}

#[cfg(test)]
mod tests;
