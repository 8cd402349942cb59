//! How a relay stands, and what it has told.

use protocol::ids::{LogId, Timestamp};

use super::{Relay, State};
use crate::{
    api::types::{RelayState, RelayStatus},
    net::address,
};

impl Relay {
    /// Whether it is connected and has more to tell of some of these logs, as far as it has said.
    pub(in crate::core) fn has_more(&self, is_meant: impl Fn(&LogId) -> bool) -> bool {
        let untold = |log: &&LogId| !self.caught_up.contains(log) && !self.closed.contains(log);
        matches!(self.state, State::Up) && self.readable.iter().filter(untold).any(is_meant)
    }

    /// The logs to be read that it says that it does not tell.
    pub(in crate::core) fn shut(&self) -> impl Iterator<Item = &LogId> {
        self.closed.intersection(&self.readable)
    }

    /// Whether it has told all of a log.
    pub(in crate::core) fn has_told(&self, log: &LogId) -> bool {
        self.caught_up.contains(log)
    }

    /// It tells a log, whatever it said before.
    pub(in crate::core) fn tells(&mut self, log: &LogId) {
        self.closed.remove(log);
    }

    /// It does not tell a log for now.
    pub(in crate::core) fn closes(&mut self, log: LogId) {
        self.reads_anew(&log);
        if self.planned.contains(&log) {
            self.closed.insert(log);
        }
    }

    /// It is to tell a log anew from where it is read to, or does not tell it for now.
    pub(in crate::core) fn reads_anew(&mut self, log: &LogId) {
        self.not_at_end(log);
        self.watch.reads_anew(log);
    }

    /// It has not told all of a log until it says so once more.
    pub(in crate::core) fn not_at_end(&mut self, log: &LogId) {
        self.caught_up.remove(log);
    }

    /// Whether it is connected, has told all of a log that it had, and has answered and refuses nothing of this
    /// node's own.
    pub(in crate::core) fn serves_whole(&self, log: &LogId) -> bool {
        let is_told = matches!(self.state, State::Up) && self.caught_up.contains(log);
        is_told && self.refused.is_empty() && self.in_flight.is_empty()
    }

    /// Its first address.
    pub(in crate::core) fn address(&self) -> String {
        address::texts(&self.peer).into_iter().next().unwrap_or_default()
    }

    pub(super) fn status(
        &self,
        waiting: u64,
        latency_us: Option<u64>,
        now: Timestamp,
    ) -> RelayStatus {
        let (state, reason, retry) = match &self.state {
            State::Connecting => (RelayState::Connecting, String::new(), None),
            State::Up => (RelayState::Up, String::new(), None),
            State::Down { reason, retry } => {
                (RelayState::Down, reason.to_string(), Some(retry.ms_since(now)))
            }
        };
        RelayStatus {
            addresses: address::texts(&self.peer),
            state,
            reason,
            retry_in_ms: retry,
            waiting,
            withheld: self.watch.count(),
            latency_us: latency_us.filter(|_| matches!(self.state, State::Up)),
        }
    }
}
