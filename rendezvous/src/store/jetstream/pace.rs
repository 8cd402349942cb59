//! A shard's time: for how long the relay has run, as its processes count it.
//!
//! ```text
//! shard    ──── record, time 70 ─────────────────────── record, time 95 ───▶
//! process   70 + what has passed since, by its own count = 95 ──┘
//! ```
//!
//! A shard's time is its last record's. Whoever writes the next one adds what has passed since it last
//! knew the time, and never asks what day it is: so a clock that is wrong, at any of the processes, is of
//! no account. Of what the store is told by its caller only differences count, and they are a steady
//! clock's.
//!
//! > All processes count as fast as time passes, so none is ahead of the shard but by what it alone has
//! > seen pass: while it was cut off, and the others were off. Where others have written meanwhile, it
//! > goes beyond what they said by [`LEAP`] and no more.

use std::sync::{Mutex, PoisonError};

use protocol::ids::Timestamp;

/// How far a shard's time may fall behind while nobody writes to it, in milliseconds.
pub(super) const TICK: u64 = 5 * 60 * 1000;
/// How far beyond what others have written a process may bring it at once.
pub(super) const LEAP: u64 = 2 * TICK;

/// What one process knows of a shard's time.
#[derive(Default)]
pub(super) struct Pace(Mutex<Option<Reading>>);

#[derive(Clone, Copy)]
struct Reading {
    /// When it was looked at last, by the caller's clock.
    told: Timestamp,
    /// What the shard's time was then.
    time: Timestamp,
    /// The latest time of a record until then.
    seen: Timestamp,
}

impl Pace {
    /// The shard's time when the caller's clock tells `told` and its last record's time is `last`.
    pub(super) fn at(&self, told: Timestamp, last: Timestamp) -> Timestamp {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match *reading {
            None => Reading { told, time: last, seen: last },
            Some(held) => {
                let mut time = held.time.plus_ms(told.ms_since(held.told));
                if last > held.seen {
                    time = time.min(last.plus_ms(LEAP));
                }
                Reading {
                    told: held.told.max(told),
                    time: time.max(last),
                    seen: held.seen.max(last),
                }
            }
        };
        *reading = Some(next);
        next.time
    }

    /// Notes that a record of this time is this process's own.
    pub(super) fn wrote(&self, time: Timestamp) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = reading.as_mut() {
            held.seen = held.seen.max(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60 * 1000;
    const DAY: u64 = 24 * 60 * MINUTE;

    /// Processes with clocks that are off by so much, and a shard.
    struct World {
        processes: Vec<(Pace, u64)>,
        now: u64,
        shard: Timestamp,
    }

    fn world(off: &[u64]) -> World {
        let processes = off.iter().map(|off| (Pace::default(), *off)).collect();
        let mut world = World { processes, now: 0, shard: Timestamp(1) };
        for number in 0..off.len() {
            world.look(number);
        }
        world
    }

    impl World {
        fn look(&mut self, number: usize) -> Timestamp {
            let (pace, off) = &self.processes[number];
            pace.at(Timestamp(off + self.now), self.shard)
        }

        fn write(&mut self, number: usize) -> u64 {
            self.shard = self.look(number);
            self.processes[number].0.wrote(self.shard);
            self.shard.0 - 1
        }
    }

    #[test]
    fn clocks_that_are_days_off_change_nothing() {
        let mut world = world(&[50 * DAY, 0, 90 * DAY]);
        for minute in 1..=10 * 24 * 60 {
            world.now = minute * MINUTE;
            let writer = usize::try_from(minute % 7 % 3).unwrap();
            assert_eq!(world.write(writer), world.now);
            for number in 0..3 {
                world.look(number);
            }
        }
    }

    #[test]
    fn a_shard_that_is_written_all_the_time_loses_nothing() {
        let mut world = world(&[0, DAY]);
        for now in 1..=100_000 {
            world.now = now;
            world.write(usize::try_from(now % 2).unwrap());
        }
        assert_eq!(world.shard.0 - 1, 100_000);
    }

    #[test]
    fn a_process_that_was_cut_off_leaps_by_little_beyond_what_others_wrote() {
        let mut world = world(&[0, 0]);
        // The first has counted 20 days; meanwhile the second was off, started anew, and wrote.
        world.now = 20 * DAY;
        world.processes[1].0 = Pace::default();
        world.look(1);
        world.now += MINUTE;
        assert_eq!(world.write(1), MINUTE);
        assert_eq!(world.write(0), MINUTE + LEAP);
        world.now += MINUTE;
        assert_eq!(world.write(0), 2 * MINUTE + LEAP, "once");
        assert_eq!(world.write(1), 2 * MINUTE + LEAP, "and for all");
    }

    #[test]
    fn what_passed_while_nobody_could_write_counts() {
        let mut world = world(&[0, 0]);
        world.now = DAY;
        assert_eq!(world.write(0), DAY);
        assert_eq!(world.write(1), DAY);
    }

    #[test]
    fn it_never_goes_back() {
        let pace = Pace::default();
        assert_eq!(pace.at(Timestamp(100), Timestamp(7)), Timestamp(7));
        assert_eq!(pace.at(Timestamp(90), Timestamp(7)), Timestamp(7));
        assert_eq!(pace.at(Timestamp(101), Timestamp(7)), Timestamp(8));
        assert_eq!(pace.at(Timestamp(101), Timestamp(9)), Timestamp(9));
    }
}
