//! How far a relay's logs are read, and what was told there.

use std::collections::{BTreeSet, VecDeque};

use protocol::{
    ids::{EnvelopeId, LogId, Timestamp},
    relay_log::Cursor,
};

use super::HOUR_MS;

/// How far a log is read.
pub(super) struct Reading {
    pub(super) upto: Option<Cursor>,
    /// Whether it has said that this is all, and will not say so again of this Follow.
    pub(super) at_end: bool,
    /// Entries that were asked for once more, and since when they are counted.
    again: (Timestamp, u64),
}

/// The last entries that were told, each once.
#[derive(Default)]
pub(super) struct Told {
    known: BTreeSet<EnvelopeId>,
    order: VecDeque<(LogId, EnvelopeId)>,
}

/// Told entries that are remembered.
pub(super) const TOLD: usize = 4096;
/// Entries of a log that are asked for once more in an hour, and so the furthest place behind that is looked for.
pub(super) const AGAIN: u64 = 1024;

impl Reading {
    /// One that goes on from a place, or from the log's start.
    pub(super) fn after(upto: Option<Cursor>) -> Self {
        Self { upto, at_end: false, again: (Timestamp(0), 0) }
    }

    /// It is read from the start. What was asked for once more still counts, or a relay could have it asked for at will.
    pub(super) fn begins_anew(&mut self) {
        (self.upto, self.at_end) = (None, false);
    }

    /// How many entries are told once more where a place is looked for: none if it is ahead.
    pub(super) fn behind(&self, at: Cursor) -> u64 {
        let upto = self.upto.filter(|upto| is_within(at, *upto));
        upto.map_or(0, |upto| upto.seq.saturating_sub(at.seq) + 1)
    }

    /// How many entries may be asked for once more.
    pub(super) fn room(&mut self, now: Timestamp) -> u64 {
        let (since, count) = self.again;
        if now < since || now.ms_since(since) >= HOUR_MS {
            self.again = (now, 0);
            return AGAIN;
        }
        AGAIN.saturating_sub(count)
    }

    /// So many are asked for once more.
    pub(super) fn spend(&mut self, count: u64) {
        self.again.1 = self.again.1.saturating_add(count);
    }

    /// When all may be asked for anew.
    pub(super) fn renewed(&self) -> Timestamp {
        self.again.0.plus_ms(HOUR_MS)
    }

    /// All up to here is read. Within one history that never goes back.
    pub(super) fn reaches(&mut self, at: Cursor) {
        if !self.upto.is_some_and(|upto| is_within(at, upto)) {
            self.upto = Some(at);
        }
    }
}

impl Told {
    pub(super) fn add(&mut self, log: LogId, entry: EnvelopeId) {
        if !self.known.insert(entry) {
            return;
        }
        self.order.push_back((log, entry));
        if self.order.len() > TOLD
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn has(&self, entry: &EnvelopeId) -> bool {
        self.known.contains(entry)
    }

    pub(super) fn keep(&mut self, is_kept: impl Fn(&LogId) -> bool) {
        let known = &mut self.known;
        self.order.retain(|(log, entry)| {
            let is_kept = is_kept(log);
            if !is_kept {
                known.remove(entry);
            }
            is_kept
        });
    }
}

/// Whether a place is no later than another one of the same history.
pub(super) fn is_within(at: Cursor, upto: Cursor) -> bool {
    at.generation == upto.generation && at.seq <= upto.seq
}
