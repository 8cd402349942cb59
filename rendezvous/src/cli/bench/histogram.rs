//! How long things took, in bounded memory: counts by time, each within 1.6 % of what was measured.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;

/// Counts of times; written to by any number of tasks.
pub(super) struct Histogram {
    counts: Vec<AtomicU64>,
    max: AtomicU64,
}

/// What is told of them, in milliseconds.
#[derive(Serialize)]
pub(super) struct Times {
    pub(super) count: u64,
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// Slots for each doubling.
const STEPS: u64 = 64;

/// Slots for all nanoseconds that a `u64` counts.
const SLOTS: usize = 59 * STEPS as usize;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), max: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(super) fn count(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[slot(nanos)].fetch_add(1, Ordering::Relaxed);
        self.max.fetch_max(nanos, Ordering::Relaxed);
    }

    /// What is counted; `None` of nothing.
    pub(super) fn times(&self) -> Option<Times> {
        let counts: Vec<_> = self.counts.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        Times::of(&counts, self.max.load(Ordering::Relaxed))
    }

    /// The same, and begins anew.
    pub(super) fn take(&self) -> Option<Times> {
        let counts: Vec<_> = self.counts.iter().map(|it| it.swap(0, Ordering::Relaxed)).collect();
        Times::of(&counts, self.max.swap(0, Ordering::Relaxed))
    }
}

impl Times {
    fn of(counts: &[u64], max: u64) -> Option<Self> {
        let count = counts.iter().sum();
        (count > 0).then(|| {
            let at = |per_cent| millis(reached(counts, count, per_cent).min(max));
            Self { count, p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: millis(max) }
        })
    }
}

/// The end of the slot at which so many per cent are counted.
fn reached(counts: &[u64], all: u64, per_cent: u64) -> u64 {
    let wanted = (u128::from(all) * u128::from(per_cent)).div_ceil(100);
    let mut below = 0_u128;
    let found = counts.iter().position(|count| {
        below += u128::from(*count);
        below >= wanted
    });
    found.map_or(u64::MAX, end)
}

/// The first 128 nanoseconds have a slot each; then each doubling has [`STEPS`].
fn slot(nanos: u64) -> usize {
    let doublings = u64::from((u64::BITS - nanos.leading_zeros()).saturating_sub(7));
    (doublings * STEPS + (nanos >> doublings)) as usize
}

/// The last nanosecond of a slot.
fn end(slot: usize) -> u64 {
    let slot = slot as u64;
    let doublings = (slot / STEPS).saturating_sub(1);
    let rest = slot - doublings * STEPS;
    (rest << doublings) | ((1 << doublings) - 1)
}

fn millis(nanos: u64) -> f64 {
    (nanos as f64 / 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_has_a_slot_that_ends_little_after_it() {
        for bits in 0..64 {
            for nanos in [1_u64 << bits, (1 << bits) + 1, (1 << bits) | (1 << bits >> 1)] {
                let end = end(slot(nanos));
                assert!(end >= nanos && end - nanos <= nanos / 64, "{nanos}: {end}");
            }
        }
        assert_eq!(end(slot(u64::MAX)), u64::MAX);
        assert!(slot(u64::MAX) < SLOTS);
    }

    #[test]
    fn the_middle_and_the_tail_are_those_of_what_was_measured() {
        let histogram = Histogram::default();
        assert!(histogram.times().is_none());
        (1..=200).for_each(|ms| histogram.count(Duration::from_millis(ms)));
        let times = histogram.times().unwrap();
        assert_eq!((times.count, times.max_ms), (200, 200.0));
        for (told, is) in [(times.p50_ms, 100.0), (times.p90_ms, 180.0), (times.p99_ms, 198.0)] {
            assert!((is..is * 1.016).contains(&told), "{told} for {is}");
        }
        assert_eq!(histogram.take().unwrap().count, 200);
        assert!(histogram.times().is_none());
    }
}
