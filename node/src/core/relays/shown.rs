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

    /// It does not tell a log for now.
    pub(in crate::core) fn closes(&mut self, log: LogId) {
        self.caught_up.remove(&log);
        if self.planned.contains(&log) {
            self.closed.insert(log);
        }
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
            latency_us: latency_us.filter(|_| matches!(self.state, State::Up)),
        }
    }
}
