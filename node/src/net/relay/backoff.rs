//! How long to wait before the next attempt: exponential, with full jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_mins(1);
/// Full jitter may be nothing at all; this much it never is.
const SHORTEST: Duration = Duration::from_millis(20);

/// The ceiling for the next wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Backoff {
    /// The next wait, `random` of the ceiling (0: none of it, `u32::MAX`: all); the ceiling doubles.
    pub(super) fn next(&mut self, random: u32) -> Duration {
        let wait = self.0.mul_f64(f64::from(random) / f64::from(u32::MAX)).max(SHORTEST);
        self.0 = (self.0 * 2).min(LONGEST);
        wait
    }

    /// A wait within a span that the other side has named, at most [`LONGEST`].
    pub(super) fn within(&self, span: Duration, random: u32) -> Duration {
        let part = f64::from(random) / f64::from(u32::MAX);
        span.min(LONGEST).mul_f64(part).max(SHORTEST)
    }

    /// Goes to the longest ceiling, for a relay that will not be better soon.
    pub(super) fn raise(&mut self) {
        self.0 = LONGEST;
    }

    /// Starts again from the shortest ceiling.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_a_success_starts_again() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(u32::MAX), FIRST);
        assert_eq!(backoff.next(u32::MAX), FIRST * 2);
        for _ in 0..20 {
            backoff.next(0);
        }
        assert_eq!(backoff.next(u32::MAX), LONGEST);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), FIRST);
        backoff.raise();
        assert_eq!(backoff.next(u32::MAX), LONGEST);
    }

    #[test]
    fn a_named_span_is_heeded_up_to_a_minute() {
        let backoff = Backoff::default();
        assert_eq!(backoff.within(Duration::from_secs(8), u32::MAX), Duration::from_secs(8));
        assert_eq!(backoff.within(Duration::MAX, u32::MAX), LONGEST);
        assert_eq!(backoff.within(Duration::MAX, 0), SHORTEST);
    }

    #[test]
    fn jitter_is_full_but_never_nothing() {
        let mut backoff = Backoff(Duration::from_secs(10));
        assert_eq!(backoff.next(0), SHORTEST);
        let half = backoff.next(u32::MAX / 2);
        assert!((half.as_secs_f64() - 10.0).abs() < 0.01, "{half:?}");
    }
}
