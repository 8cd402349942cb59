//! What a node has said about itself so far, and waiting for more of it.

use std::{
    sync::{Condvar, Mutex},
    time::{Duration, Instant},
};

use node::api::types::Event;

use crate::PATIENCE;

/// The events of one node, from its first start on.
#[derive(Default)]
pub(crate) struct Watch {
    seen: Mutex<Vec<Event>>,
    changed: Condvar,
}

impl Watch {
    /// Keeps one more event; one that is known already changes nothing.
    pub(crate) fn add(&self, event: Event) {
        let mut seen = self.seen.lock().expect("events");
        if seen.last().is_none_or(|last| last.seq < event.seq) {
            seen.push(event);
            self.changed.notify_all();
        }
    }

    /// The number of the latest event.
    pub(crate) fn latest(&self) -> u64 {
        self.seen.lock().expect("events").last().map_or(0, |event| event.seq)
    }

    /// Every event so far.
    pub(crate) fn all(&self) -> Vec<Event> {
        self.seen.lock().expect("events").clone()
    }

    /// The first event after number `after` that `pick` takes.
    pub(crate) fn until<T>(
        &self,
        who: &str,
        what: &str,
        after: u64,
        pick: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        self.within(PATIENCE, after, pick).unwrap_or_else(|| {
            let seen = self.all();
            let last: Vec<&Event> = seen.iter().rev().take(5).collect();
            panic!("{who}: waited for {what}; its last events: {last:#?}")
        })
    }

    /// The same, for so long; none where nothing such happened.
    pub(crate) fn within<T>(
        &self,
        patience: Duration,
        after: u64,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + patience;
        let mut seen = self.seen.lock().expect("events");
        let mut next = 0;
        loop {
            for event in &seen[next..] {
                if event.seq > after
                    && let Some(found) = pick(event)
                {
                    return Some(found);
                }
            }
            next = seen.len();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            seen = self.changed.wait_timeout(seen, left).expect("events").0;
        }
    }

    /// Returns when there is an event after number `after`, or after `patience`.
    pub(crate) fn next(&self, after: u64, patience: Duration) {
        let seen = self.seen.lock().expect("events");
        let _ = self.changed.wait_timeout_while(seen, patience, |seen| {
            seen.last().is_none_or(|last| last.seq <= after)
        });
    }
}
