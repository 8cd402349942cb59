//! Whether a client takes what is sent to it: what it leaves lying is memory of the relay's.

use std::time::{Duration, Instant};

/// What waits to be written to a client.
pub(super) struct Stuck {
    patience: Duration,
    waits: Option<Waits>,
}

#[derive(Clone, Copy)]
struct Waits {
    until: Instant,
    left: usize,
}

impl Stuck {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, waits: None }
    }

    /// So many bytes are left to be written, with more behind them, or nothing is.
    pub(super) fn waits(&mut self, left: Option<usize>, now: Instant) {
        match left {
            None => self.waits = None,
            Some(left) if self.waits.is_none() => self.begin(left, now),
            Some(_) => {}
        }
    }

    /// When it is to be looked whether any have gone.
    pub(super) fn until(&self) -> Option<Instant> {
        self.waits.map(|waits| waits.until)
    }

    /// Whether none have gone all the time.
    pub(super) fn is_so(&mut self, left: usize, now: Instant) -> bool {
        let has_moved = self.waits.is_some_and(|waits| left < waits.left);
        if has_moved {
            self.begin(left, now);
        }
        !has_moved
    }

    fn begin(&mut self, left: usize, now: Instant) {
        let until = now.checked_add(self.patience);
        self.waits = until.map(|until| Waits { until, left });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_byte_in_time_is_not_stuck() {
        let start = Instant::now();
        let patience = Duration::from_secs(60);
        let mut stuck = Stuck::new(patience);
        assert_eq!(stuck.until(), None);
        stuck.waits(Some(100), start);
        stuck.waits(Some(200), start + patience / 2);
        assert_eq!(stuck.until(), Some(start + patience));
        assert!(!stuck.is_so(99, start + patience));
        assert_eq!(stuck.until(), Some(start + patience * 2));
        assert!(stuck.is_so(99, start + patience * 2));
        stuck.waits(None, start);
        assert_eq!(stuck.until(), None);
    }
}
