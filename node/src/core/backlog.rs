//! What was said in a group while this node was away, and how far that is read: told while it goes on.
//!
//! > How much there is nobody knows: a log says nothing of its length, and each ends in the next one. What is
//! > known is when what was read was written. So the way goes from there to the moment when reading began;
//! > what is written from then on comes between, and counts for nothing here.
//!
//! All is read once relays have told all of each log, not where none tells one, and whatever a neighbour says that has told what it has.

use std::collections::BTreeMap;

use protocol::{
    group::NotReady,
    ids::{ChainId, EnvelopeId, GroupId, LogId, MemberId, RelayTag, Timestamp},
};

use super::{
    Core, HOUR_MS,
    membership::is_active,
    relays::{Owner, Relay, group_relays},
};
use crate::{
    api::types::{self, What},
    net::relay::RelayKey,
    store::{StoreError, rfc3339},
};

/// A backlog that is being read.
pub(super) struct Backlog {
    /// When the first of it was read, and the last.
    began: Timestamp,
    latest: Timestamp,
    messages: u64,
    /// When the first of it was written, and the last, by their writers' clocks.
    since: Timestamp,
    upto: Timestamp,
    /// When this node came into the group: nothing is for it that is older.
    added: Timestamp,
    /// When it was last told how far it is, and how many messages were read then.
    told: Option<(Timestamp, u64)>,
}

/// A message that a step brought.
pub(super) struct Came {
    pub(super) group: GroupId,
    pub(super) from: MemberId,
    pub(super) place: (ChainId, u32),
    /// In which envelope, where that is known.
    pub(super) envelope: Option<EnvelopeId>,
    /// The relays that have told it while it waited here for its keys.
    pub(super) told_by: Vec<RelayTag>,
    /// When it was written, and when it came.
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
}

/// How it stands with what a group missed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// There is more.
    On,
    /// There may be more where nobody is reached now.
    Waits,
    /// All is read.
    Done,
    /// It is not for this node to read now, or perhaps ever.
    Out,
}

/// Fewer messages are read before anybody could look.
const FEW: u64 = 50;

/// How often it is told how far it is, in milliseconds.
const TELL_MS: u64 = 1_000;

/// For how long it may stand still, in milliseconds.
const STILL_MS: u64 = HOUR_MS;

impl Backlog {
    fn new(now: Timestamp) -> Self {
        Self {
            began: now,
            latest: now,
            messages: 0,
            since: now,
            upto: Timestamp(0),
            added: Timestamp(0),
            told: None,
        }
    }

    fn count(&mut self, came: &Came) {
        self.messages += 1;
        self.latest = came.now;
        self.since = self.since.min(came.at);
        self.upto = self.upto.max(came.at);
    }

    /// Whether there is something to tell: more was read, and it was not told just now.
    fn is_due(&self, now: Timestamp) -> bool {
        self.messages >= FEW
            && self.told.is_none_or(|(told, messages)| {
                // By a clock that was set back, too.
                messages < self.messages && (now < told || now.ms_since(told) >= TELL_MS)
            })
    }

    /// As it is told while there may be more: the end is where nothing comes any more, not where a clock says so.
    fn shown(&self) -> types::Backlog {
        // One writer's clock could say any time.
        let since = self.since.max(self.added).min(self.began);
        let upto = self.upto.max(since);
        let (way, all) = (upto.ms_since(since), self.began.ms_since(since));
        let percent = u8::try_from(way.saturating_mul(100) / all.max(1)).unwrap_or(99).min(99);
        types::Backlog {
            messages: self.messages,
            since: rfc3339(since),
            upto: rfc3339(upto),
            percent,
            ended: false,
        }
    }
}

impl Core {
    /// Counts what came of groups that have not caught up.
    pub(super) fn count_backlog(&mut self, came: &[Came]) {
        let mut readings: BTreeMap<GroupId, Reading> = BTreeMap::new();
        for came in came {
            let reading =
                *readings.entry(came.group).or_insert_with(|| self.reading(&came.group, came.now));
            if reading != Reading::On {
                continue;
            }
            let backlog = self.backlogs.entry(came.group).or_insert_with(|| Backlog::new(came.now));
            if came.at < backlog.began {
                backlog.count(came);
            }
        }
    }

    /// Tells how far each backlog is; of one that is read, that it is; of one that ended before that, that it did.
    pub(super) fn tell_backlogs(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.backlogs.is_empty() {
            return Ok(());
        }
        for (id, backlog) in self.backlogs.iter_mut().filter(|(_, it)| it.told.is_none()) {
            backlog.added = self.store.read(|tx| tx.added(*id))?;
        }
        let mut told: Vec<(GroupId, types::Backlog)> = Vec::new();
        let mut backlogs = std::mem::take(&mut self.backlogs);
        backlogs.retain(|id, backlog| {
            let reading = self.reading(id, now);
            let goes_on = matches!(reading, Reading::On | Reading::Waits)
                && now.ms_since(backlog.latest) < STILL_MS;
            if goes_on && reading == Reading::On && backlog.is_due(now) {
                backlog.told = Some((now, backlog.messages));
                told.push((*id, backlog.shown()));
            }
            if !goes_on && backlog.told.is_some() {
                let shown = backlog.shown();
                let ended = reading != Reading::Done;
                let percent = if ended { shown.percent } else { 100 };
                told.push((*id, types::Backlog { percent, ended, ..shown }));
            }
            goes_on
        });
        self.backlogs = backlogs;
        if told.is_empty() {
            return Ok(());
        }
        self.record(now, |step| {
            told.into_iter()
                .try_for_each(|(id, backlog)| step.emit(Some(id), What::CatchingUp { backlog }))
        })
    }

    /// How far a group's backlog is, where it is long enough for anybody to ask.
    pub(super) fn backlog(&self, id: &GroupId) -> Option<types::Backlog> {
        let backlog = self.backlogs.get(id).filter(|backlog| backlog.told.is_some())?;
        Some(backlog.shown())
    }

    fn reading(&self, id: &GroupId, now: Timestamp) -> Reading {
        let Some(group) = self.groups.get(id).filter(|group| is_active(group)) else {
            return Reading::Out;
        };
        let is_its = |log: &LogId| matches!(self.logs.get(log), Some(Owner::Group(of)) if of == id);
        let has_more = |(key, relay): (&RelayKey, &Relay)| {
            relay.has_more(is_its) && self.serves(key, Owner::Group(*id))
        };
        match group.ready(now) {
            // Newer keys come with what is read.
            Err(NotReady::NotSynced | NotReady::Behind | NotReady::NoTopic) => Reading::On,
            Err(NotReady::Returned) => Reading::Waits,
            Err(NotReady::NotAMember | NotReady::Moved) => Reading::Out,
            Err(NotReady::Alone) => Reading::Done,
            Ok(()) if self.relays.iter().any(has_more) => Reading::On,
            Ok(()) if self.is_withheld(*id) => Reading::Waits,
            Ok(()) if !group_relays(group).is_empty() && !self.has_relay(group) => Reading::Waits,
            Ok(()) => Reading::Done,
        }
    }

    /// Whether some of a group's logs is told by none of the relays that are there.
    fn is_withheld(&self, id: GroupId) -> bool {
        let owner = Owner::Group(id);
        let serving = self.relays.iter().filter(|(key, _)| self.serves(key, owner));
        let there: Vec<&Relay> = serving.map(|(_, relay)| relay).collect();
        let is_its = |log: &&LogId| self.logs.get(*log) == Some(&owner);
        let mut shut = there.iter().flat_map(|relay| relay.shut()).filter(is_its);
        shut.any(|log| there.iter().all(|relay| !relay.has_told(log)))
    }
}
