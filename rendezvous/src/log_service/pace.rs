//! How fast a stream may ask: a bucket of tokens that may be overdrawn once.

use std::time::{Duration, Instant};

/// Tokens that come back at a steady rate. What is too fast waits; nothing is refused for it.
pub(super) struct Pace {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket of `burst` tokens that gains `per_s` of them each second.
    pub(super) fn new(per_s: impl Into<f64>, burst: impl Into<f64>, now: Instant) -> Self {
        let burst = burst.into();
        Self { rate: per_s.into().max(1.0), burst, tokens: burst, at: now }
    }

    /// Takes `cost` tokens; answers how long to wait before the next.
    pub(super) fn take(&mut self, cost: u32, now: Instant) -> Duration {
        self.gain(now);
        self.tokens -= f64::from(cost);
        Duration::from_secs_f64((-self.tokens / self.rate).max(0.0))
    }

    /// The same, where many take from one bucket: what is missing is never more than the bucket holds.
    pub(super) fn take_at_most(&mut self, cost: u32, now: Instant) -> Duration {
        let wait = self.take(cost, now);
        self.tokens = self.tokens.max(-self.burst);
        wait
    }

    /// Takes `cost` tokens if there are as many; otherwise none, and says when there will be.
    pub(super) fn try_take(&mut self, cost: u32, now: Instant) -> Result<(), Duration> {
        let wait = self.wait_for(cost, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.tokens -= f64::from(cost);
        Ok(())
    }

    /// After which time there will be `cost` tokens.
    pub(super) fn wait_for(&mut self, cost: u32, now: Instant) -> Duration {
        self.gain(now);
        let missing = f64::from(cost) - self.tokens;
        Duration::from_secs_f64((missing / self.rate).max(0.0))
    }

    /// Goes by another rate and another burst; what was taken stays taken.
    pub(super) fn set(&mut self, per_s: impl Into<f64>, burst: impl Into<f64>, now: Instant) {
        self.gain(now);
        let burst = burst.into();
        self.tokens += burst - self.burst;
        (self.rate, self.burst) = (per_s.into().max(1.0), burst);
    }

    /// Which part of the bucket is missing.
    pub(super) fn missing(&mut self, now: Instant) -> f64 {
        self.gain(now);
        1.0 - self.tokens / self.burst
    }

    fn gain(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_comes_at_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 3, start);
        for _ in 0..3 {
            assert_eq!(pace.take(1, start), Duration::ZERO);
        }
        assert_eq!(pace.take(1, start), Duration::from_millis(100));
        let later = start + Duration::from_millis(200);
        assert_eq!(pace.take(1, later), Duration::ZERO);
    }

    #[test]
    fn another_rate_and_burst_forgive_nothing_and_take_nothing_back() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 30, start);
        assert_eq!(pace.try_take(20, start), Ok(()));
        pace.set(10, 50, start);
        assert_eq!(pace.try_take(30, start), Ok(()));
        assert!(pace.try_take(1, start).is_err());
        pace.set(100, 40, start);
        let missing = Duration::from_millis(110);
        assert_eq!(pace.try_take(1, start), Err(missing), "what is owed comes at the new rate");
        assert_eq!(pace.try_take(1, start + missing), Ok(()));
    }

    #[test]
    fn a_long_rest_fills_the_bucket_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 2, start);
        let later = start + Duration::from_hours(1);
        assert_eq!(pace.take(2, later), Duration::ZERO);
        assert_eq!(pace.take(1, later), Duration::from_millis(100));
    }
}
