//! Whose turn it is: of the files that are wanted few are fetched at a time, and one that gets nowhere makes room.
//!
//! > No file keeps another one waiting for good: a place that brought no byte for [`STUCK`] goes to whoever had none for
//! > longest, if somebody waits; and at once, where nobody is there to give the one and somebody to give the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

/// Places, and who had one when.
#[derive(Default)]
pub(super) struct Turns {
    under_way: BTreeMap<u64, Way>,
    /// The number of the last turn of each that had one.
    had: BTreeMap<u64, u64>,
    count: u64,
}

/// How far one is that has a place.
struct Way {
    bytes: u64,
    since: Instant,
}

/// How many wait for a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    /// That somebody is there to give.
    pub(super) given: usize,
    /// That nobody is.
    pub(super) idle: usize,
}

/// Files that are fetched at one time; others wait.
const FETCHED: usize = 4;
/// How long a place may bring nothing while others wait.
const STUCK: Duration = Duration::from_secs(60);

impl Turns {
    /// How many bytes of a file are there now.
    pub(super) fn moved(&mut self, seq: u64, bytes: u64, now: Instant) {
        if let Some(way) = self.under_way.get_mut(&seq)
            && bytes > way.bytes
        {
            *way = Way { bytes, since: now };
        }
    }

    /// Those whose place goes to others that wait for one: no more than wait. Those that nobody is there to give, `idle`, go at
    /// once, for those that somebody is.
    pub(super) fn stuck(&self, waiting: Waiting, idle: &BTreeSet<u64>, now: Instant) -> Vec<u64> {
        let Waiting { given, idle: others } = waiting;
        let is_idle = |seq: &&u64| idle.contains(*seq);
        let mut stuck: Vec<u64> =
            self.under_way.keys().filter(is_idle).take(given).copied().collect();
        let is_stuck = |way: &Way| now.saturating_duration_since(way.since) >= STUCK;
        for (seq, way) in &self.under_way {
            if stuck.len() < given + others && is_stuck(way) && !stuck.contains(seq) {
                stuck.push(*seq);
            }
        }
        stuck
    }

    /// Gives the free places to those of `waiting` that had none for longest; says to which.
    pub(super) fn begin(&mut self, mut waiting: Vec<u64>, now: Instant) -> Vec<u64> {
        waiting.retain(|seq| !self.under_way.contains_key(seq));
        waiting.sort_by_key(|seq| (self.had.get(seq).copied().unwrap_or(0), *seq));
        waiting.truncate(FETCHED.saturating_sub(self.under_way.len()));
        for seq in &waiting {
            self.count += 1;
            self.had.insert(*seq, self.count);
            self.under_way.insert(*seq, Way { bytes: 0, since: now });
        }
        waiting
    }

    /// A place is free again.
    pub(super) fn end(&mut self, seq: u64) {
        self.under_way.remove(&seq);
    }

    /// Nobody wants it any more.
    pub(super) fn forget(&mut self, seq: u64) {
        self.had.remove(&seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_that_get_nowhere_keep_no_fifth_one_waiting() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let all = || (1..=6).collect::<Vec<u64>>();
        assert_eq!(turns.begin(all(), start), [1, 2, 3, 4]);
        assert!(turns.begin(all(), start).is_empty());
        let later = start + STUCK / 2;
        turns.moved(2, 65_536, later);
        let end = start + STUCK;
        let stuck = |turns: &Turns, given, now| {
            turns.stuck(Waiting { given, idle: 0 }, &BTreeSet::new(), now)
        };
        assert!(stuck(&turns, 2, later).is_empty());
        assert!(stuck(&turns, 0, end).is_empty(), "nobody waits");
        assert_eq!(stuck(&turns, 2, end), [1, 3]);
        turns.end(1);
        turns.end(3);
        assert_eq!(turns.begin(all(), end), [5, 6], "who had no turn is before who had one");
        // The same bytes again are no way, nor are fewer.
        turns.moved(2, 0, end);
        turns.moved(2, 65_536, end);
        assert_eq!(stuck(&turns, 9, later + STUCK), [2, 4]);
        turns.end(4);
        assert_eq!(turns.begin(all(), end), [1], "and then who had one before the others");
    }

    #[test]
    fn what_nobody_is_there_to_give_keeps_no_place_from_what_somebody_is() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        turns.begin(vec![1, 2, 3, 4], start);
        let idle = BTreeSet::from([2, 3, 9]);
        let waiting = |given, idle| Waiting { given, idle };
        assert_eq!(turns.stuck(waiting(1, 5), &idle, start), [2]);
        assert_eq!(turns.stuck(waiting(5, 0), &idle, start), [2, 3]);
        assert!(turns.stuck(waiting(0, 5), &idle, start).is_empty(), "they give nothing either");
        // Who is idle counts once.
        assert_eq!(turns.stuck(waiting(1, 1), &idle, start + STUCK), [2, 1]);
        assert_eq!(turns.stuck(waiting(0, 1), &idle, start + STUCK), [1]);
    }
}
