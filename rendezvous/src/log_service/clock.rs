//! The relay's own clock, by which entries grow old: a jump of the system's clock deletes nothing.
//!
//! > It never goes back, never stands still, and never runs at more than twice the speed of time. It
//! > is kept in the store over restarts, and goes towards the system's clock within these bounds. So
//! > an entry is kept for half its time at least, whatever the system's clock does, and for its time
//! > exactly where that clock is right and the relay always runs. A relay that was off for a week
//! > catches up within a week.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use protocol::ids::Timestamp;

/// A clock that tells the age of entries.
pub(super) struct Clock {
    reading: Mutex<Reading>,
    is_steady: bool,
}

#[derive(Clone, Copy)]
struct Reading {
    time: Timestamp,
    at: Instant,
}

impl Clock {
    /// Goes on from where the store says that it was; without that, from the system's clock.
    pub(super) fn new(kept: Option<Timestamp>, at: Instant, system: Timestamp) -> Self {
        let reading = Mutex::new(Reading { time: kept.unwrap_or(system), at });
        Self { reading, is_steady: false }
    }

    /// Goes on from the system's clock, and asks it no more.
    pub(super) fn steady(at: Instant, system: Timestamp) -> Self {
        Self { is_steady: true, ..Self::new(None, at, system) }
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now(), super::now())
    }

    fn at(&self, at: Instant, system: Timestamp) -> Timestamp {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = at.saturating_duration_since(reading.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        if passed > 0 {
            let behind = system.0.saturating_sub(reading.time.0);
            let most = if self.is_steady { passed } else { passed.saturating_mul(2) };
            let step = behind.clamp(passed, most);
            // What is less than a millisecond counts the next time.
            let at = reading.at.checked_add(Duration::from_millis(passed)).unwrap_or(at);
            *reading = Reading { time: Timestamp(reading.time.0.saturating_add(step)), at };
        }
        reading.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const START: Timestamp = Timestamp(20_000 * DAY);

    struct World {
        clock: Clock,
        start: Instant,
    }

    fn world(kept: Option<Timestamp>) -> World {
        let start = Instant::now();
        World { clock: Clock::new(kept, start, START), start }
    }

    impl World {
        fn after(&self, days: u64, system: u64) -> u64 {
            let at = self.start + Duration::from_millis(days * DAY);
            self.clock.at(at, Timestamp(system)).0
        }
    }

    #[test]
    fn a_right_system_clock_is_followed() {
        let world = world(None);
        for day in 0..40 {
            assert_eq!(world.after(day, START.0 + day * DAY), START.0 + day * DAY);
        }
    }

    #[test]
    fn a_jump_of_ten_years_in_either_direction_moves_it_by_no_more_than_the_time_passed_again() {
        let world = world(None);
        let (past, future) = (START.0 - 3650 * DAY, START.0 + 3650 * DAY);
        assert_eq!(world.after(1, future), START.0 + 2 * DAY);
        assert_eq!(world.after(2, past), START.0 + 3 * DAY, "and never goes back");
        assert_eq!(world.after(3, START.0 + 3 * DAY), START.0 + 4 * DAY);
    }

    #[test]
    fn what_was_missed_while_the_relay_was_off_is_made_up_at_double_speed() {
        let world = world(Some(Timestamp(START.0 - 5 * DAY)));
        assert_eq!(world.after(0, START.0), START.0 - 5 * DAY);
        assert_eq!(world.after(4, START.0 + 4 * DAY), START.0 + 3 * DAY);
        assert_eq!(world.after(6, START.0 + 6 * DAY), START.0 + 6 * DAY);
    }

    #[test]
    fn a_steady_clock_goes_as_time_passes_whatever_the_system_says() {
        let start = Instant::now();
        let clock = Clock::steady(start, START);
        let at = |micros: u64, system| clock.at(start + Duration::from_micros(micros), system).0;
        assert_eq!(at(DAY * 1000, Timestamp(START.0 + 3650 * DAY)), START.0 + DAY);
        for step in 1..=1000 {
            at(DAY * 1000 + step * 1900, Timestamp(0));
        }
        assert_eq!(at(DAY * 1000 + 1_900_000, Timestamp(0)), START.0 + DAY + 1900);
    }
}
