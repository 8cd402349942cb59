//! Whose turn it is: of the files that are wanted few are fetched at a time, and one that gets nowhere makes room.
//!
//! > No file keeps another one waiting for good: a place that brought no byte for [`STUCK`] goes to whoever had none for
//! > longest, if somebody waits. Those to whose givers a channel stands are first; one of the places is for the others, while there
//! > are such. What has neither channel nor circuit, and brings nothing, leaves the rest of the places to them at once.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Places, and who had one when.
#[derive(Default)]
pub(super) struct Turns {
    under_way: BTreeMap<u64, Way>,
    /// The number of the last turn of each that had one.
    had: BTreeMap<u64, u64>,
    count: u64,
}

/// How one is under way.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    /// How many bytes of it are there.
    pub(super) bytes: u64,
    /// A channel stands with somebody who may have it.
    pub(super) is_near: bool,
    /// A circuit is asked for, or stands.
    pub(super) has_circuit: bool,
    /// Who was asked for one may come yet.
    pub(super) waits: bool,
}

/// How far one is that has a place.
struct Way {
    seen: Seen,
    /// How many bytes there were when it was looked at first, or at most since.
    bytes: Option<u64>,
    /// When it brought something last, or somebody was waited for, or it began.
    since: Instant,
    /// When it brought something last in this turn.
    moved: Option<Instant>,
}

/// What waits for a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    /// Those to whose givers a channel stands.
    pub(super) near: Vec<u64>,
    /// The others.
    pub(super) afar: Vec<u64>,
}

/// Files that are fetched at one time; others wait.
const FETCHED: usize = 4;
/// How long a place may bring nothing while others wait.
const STUCK: Duration = Duration::from_secs(60);

impl Turns {
    /// How one is under way now.
    pub(super) fn see(&mut self, seq: u64, seen: Seen, now: Instant) {
        let Some(way) = self.under_way.get_mut(&seq) else { return };
        if way.bytes.is_some_and(|before| seen.bytes > before) {
            (way.since, way.moved) = (now, Some(now));
        }
        if seen.waits {
            way.since = now;
        }
        (way.bytes, way.seen) = (way.bytes.max(Some(seen.bytes)), seen);
    }

    /// Those whose place goes to others that wait for one: no more than wait.
    pub(super) fn stuck(&self, waiting: &Waiting, now: Instant) -> Vec<u64> {
        let afar = self.under_way.values().filter(|way| !way.seen.is_near).count();
        let at_once = waiting.near.len().min(afar.saturating_sub(1));
        let idle = self.under_way.iter().filter(|(_, way)| way.is_idle(now));
        let mut stuck: Vec<u64> = idle.map(|(seq, _)| *seq).take(at_once).collect();
        for (seq, way) in &self.under_way {
            let is_wanted = stuck.len() < waiting.near.len() + waiting.afar.len();
            if is_wanted && is_long_ago(way.since, now) && !stuck.contains(seq) {
                stuck.push(*seq);
            }
        }
        stuck
    }

    /// Gives the free places to those of `waiting` that had none for longest; says to which.
    pub(super) fn begin(&mut self, waiting: Waiting, now: Instant) -> Vec<u64> {
        let Waiting { near, afar } = waiting;
        let free = FETCHED.saturating_sub(self.under_way.len());
        let has_none = self.under_way.values().all(|way| way.seen.is_near);
        let theirs = usize::from(has_none && !afar.is_empty());
        let mut begun = self.give(near, true, free.saturating_sub(theirs), now);
        begun.extend(self.give(afar, false, free - begun.len(), now));
        begun
    }

    fn give(&mut self, mut to: Vec<u64>, is_near: bool, places: usize, now: Instant) -> Vec<u64> {
        to.retain(|seq| !self.under_way.contains_key(seq));
        to.sort_by_key(|seq| (self.had.get(seq).copied().unwrap_or(0), *seq));
        to.truncate(places);
        for seq in &to {
            self.count += 1;
            self.had.insert(*seq, self.count);
            let seen = Seen { is_near, ..Seen::default() };
            self.under_way.insert(*seq, Way { seen, bytes: None, since: now, moved: None });
        }
        to
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

impl Way {
    /// Whether nobody gives it, nor may come to give it.
    fn is_idle(&self, now: Instant) -> bool {
        let Seen { is_near, has_circuit, .. } = self.seen;
        !is_near && !has_circuit && self.moved.is_none_or(|moved| is_long_ago(moved, now))
    }
}

fn is_long_ago(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) >= STUCK
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Seen = Seen { bytes: 0, is_near: true, has_circuit: false, waits: false };
    const AFAR: Seen = Seen { is_near: false, ..NEAR };

    fn near(seqs: impl IntoIterator<Item = u64>) -> Waiting {
        Waiting { near: seqs.into_iter().collect(), afar: Vec::new() }
    }

    fn afar(seqs: impl IntoIterator<Item = u64>) -> Waiting {
        Waiting { near: Vec::new(), afar: seqs.into_iter().collect() }
    }

    #[test]
    fn four_that_get_nowhere_keep_no_fifth_one_waiting() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        assert_eq!(turns.begin(near(1..=6), start), [1, 2, 3, 4]);
        assert!(turns.begin(near(1..=6), start).is_empty());
        let later = start + STUCK / 2;
        let moved = Seen { bytes: 65_536, ..NEAR };
        turns.see(2, NEAR, start);
        turns.see(2, moved, later);
        let end = start + STUCK;
        assert!(turns.stuck(&near([5, 6]), later).is_empty());
        assert!(turns.stuck(&near([]), end).is_empty(), "nobody waits");
        assert_eq!(turns.stuck(&near([5, 6]), end), [1, 3]);
        turns.end(1);
        turns.end(3);
        assert_eq!(turns.begin(near(1..=6), end), [5, 6], "who had no turn is before who had one");
        // The same bytes again are no way, nor are fewer.
        turns.see(2, NEAR, end);
        turns.see(2, moved, end);
        assert_eq!(turns.stuck(&near(7..=15), later + STUCK), [2, 4]);
        turns.end(4);
        assert_eq!(turns.begin(near(1..=6), end), [1], "and then who had one before the others");
    }

    #[test]
    fn what_nobody_is_there_to_give_leaves_all_places_but_one_to_what_somebody_is() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        assert_eq!(turns.begin(afar(1..=5), start), [1, 2, 3, 4]);
        assert_eq!(turns.stuck(&near([6]), start), [1]);
        assert_eq!(turns.stuck(&near(6..=12), start), [1, 2, 3]);
        turns.see(1, NEAR, start);
        assert_eq!(turns.stuck(&near(6..=12), start), [2, 3], "somebody is there by now");
        assert!(turns.stuck(&afar([5]), start).is_empty(), "it brings nothing either");
        // Who is idle counts once.
        let both = Waiting { near: vec![6], afar: vec![5] };
        assert_eq!(turns.stuck(&both, start + STUCK), [2, 1]);
        assert_eq!(turns.stuck(&afar([5]), start + STUCK), [1]);
    }

    #[test]
    fn what_comes_by_a_circuit_or_came_a_moment_ago_goes_for_nobody_at_once() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        turns.begin(afar(1..=4), start);
        // What was there before has not come now.
        (1..=4).for_each(|seq| turns.see(seq, Seen { bytes: 8, ..AFAR }, start));
        turns.see(1, Seen { has_circuit: true, waits: true, ..AFAR }, start);
        turns.see(2, Seen { has_circuit: true, bytes: 9, ..AFAR }, start);
        turns.see(3, Seen { bytes: 9, ..AFAR }, start);
        assert_eq!(turns.stuck(&near(5..=9), start), [4]);
        let end = start + STUCK;
        turns.see(1, Seen { has_circuit: true, waits: true, ..AFAR }, end);
        turns.see(2, Seen { has_circuit: true, bytes: 10, ..AFAR }, end);
        assert_eq!(turns.stuck(&near(5..=9), end), [3, 4]);
        turns.see(1, AFAR, end);
        assert_eq!(turns.stuck(&near(5..=9), end), [1, 3, 4], "it waits for nobody any more");
    }

    /// Those near bring nothing; says when the one that is not had its turn.
    fn had_its_turn(mut turns: Turns, start: Instant) -> Option<Duration> {
        for second in 0..2 * STUCK.as_secs() {
            let now = start + Duration::from_secs(second);
            let waits = |turns: &Turns, seq| !turns.under_way.contains_key(&seq);
            let near: Vec<u64> = (1..=4).filter(|seq| waits(&turns, *seq)).collect();
            let afar = [5].into_iter().filter(|seq| waits(&turns, *seq)).collect();
            if turns.begin(Waiting { near, afar }, now).contains(&5) {
                return Some(now - start);
            }
            let near = (1..=4).filter(|seq| waits(&turns, *seq)).collect();
            for seq in turns.stuck(&Waiting { near, afar: vec![5] }, now) {
                turns.end(seq);
            }
        }
        None
    }

    #[test]
    fn four_near_that_bring_nothing_keep_no_place_from_what_comes_by_circuits_alone() {
        let start = Instant::now();
        assert_eq!(had_its_turn(Turns::default(), start), Some(Duration::ZERO));
        let mut turns = Turns::default();
        turns.begin(near(1..=4), start);
        assert!(
            had_its_turn(turns, start).is_some_and(|after| after <= STUCK + Duration::from_secs(1))
        );
    }

    #[test]
    fn many_near_keep_the_one_place_of_the_others_from_none_of_them() {
        let (mut turns, start) = (Turns::default(), Instant::now());
        let all = || Waiting { near: (1..=9).collect(), afar: vec![20, 21] };
        assert_eq!(turns.begin(all(), start), [1, 2, 3, 20]);
        let stuck = turns.stuck(&all(), start + STUCK);
        assert_eq!(stuck, [1, 2, 3, 20]);
        stuck.into_iter().for_each(|seq| turns.end(seq));
        assert_eq!(turns.begin(all(), start + STUCK), [4, 5, 6, 21], "one after the other");
    }
}
