//! How often something may be done: so many times at once after a rest, and then at a rate. What is too
//! fast waits, and overdraws a bucket of tokens once, or is refused and takes none.

use std::time::{Duration, Instant};

/// Tokens that come back at a steady rate.
#[derive(Clone)]
pub(crate) struct Pace {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket of `burst` tokens that gains `per_s` of them each second.
    pub(crate) fn new(per_s: impl Into<f64>, burst: impl Into<f64>, now: Instant) -> Self {
        let burst = burst.into();
        Self { rate: per_s.into().max(1.0), burst, tokens: burst, at: now }
    }

    /// A full bucket for so many at once, and as many again within a time, which is not zero.
    pub(crate) fn within(burst: u32, time: Duration, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self { rate: burst / time.as_secs_f64(), burst, tokens: burst, at: now }
    }

    /// Takes `cost` tokens; answers how long to wait before the next.
    pub(crate) fn take(&mut self, cost: u32, now: Instant) -> Duration {
        self.gain(now);
        self.tokens -= f64::from(cost);
        Duration::from_secs_f64((-self.tokens / self.rate).max(0.0))
    }

    /// The same, where many take from one bucket: what is missing is never more than the bucket holds.
    pub(crate) fn take_at_most(&mut self, cost: u32, now: Instant) -> Duration {
        let wait = self.take(cost, now);
        self.tokens = self.tokens.max(-self.burst);
        wait
    }

    /// Takes `cost` tokens if there are as many; otherwise none, and says when there will be.
    pub(crate) fn try_take(&mut self, cost: u32, now: Instant) -> Result<(), Duration> {
        let wait = self.wait_for(cost, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.tokens -= f64::from(cost);
        Ok(())
    }

    /// After which time there will be `cost` tokens.
    pub(crate) fn wait_for(&mut self, cost: u32, now: Instant) -> Duration {
        self.gain(now);
        let missing = f64::from(cost) - self.tokens;
        Duration::from_secs_f64((missing / self.rate).max(0.0))
    }

    /// Goes by another rate and another burst; what was taken stays taken.
    pub(crate) fn set(&mut self, per_s: impl Into<f64>, burst: impl Into<f64>, now: Instant) {
        self.gain(now);
        let burst = burst.into();
        self.tokens += burst - self.burst;
        (self.rate, self.burst) = (per_s.into().max(1.0), burst);
    }

    /// Which part of the bucket is missing.
    pub(crate) fn missing(&mut self, now: Instant) -> f64 {
        self.gain(now);
        1.0 - self.tokens / self.burst
    }

    fn gain(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = now;
    }
}

/// Where more paces are kept than can be, the part of them that is forgotten at once, of those who have most
/// left: one walk over them is for so many newcomers.
pub(crate) const FORGOTTEN: usize = 4;

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
    fn so_many_at_once_and_as_many_again_within_a_time() {
        let now = Instant::now();
        let mut pace = Pace::within(4, Duration::from_secs(8), now);
        for _ in 0..4 {
            assert_eq!(pace.try_take(1, now), Ok(()));
        }
        assert!(pace.try_take(1, now).is_err());
        assert!(pace.try_take(1, now + Duration::from_millis(1999)).is_err());
        let later = now + Duration::from_secs(2);
        assert!(pace.try_take(1, later).is_ok() && pace.try_take(1, later).is_err());
        let rested = now + Duration::from_hours(1);
        assert_eq!((0..9).take_while(|_| pace.try_take(1, rested).is_ok()).count(), 4);
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
