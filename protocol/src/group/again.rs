//! Pauses that grow: what was put out once is put out again ever more rarely.
//!
//! > After the first pause, twice that, four times … up to the longest. What nobody asked for in that
//! > long begins anew.
//!
//! docs/spec/sync.md.

use alloc::collections::BTreeMap;

use crate::ids::{ChainId, Timestamp};

/// Messages told under a topic again: the pauses, in milliseconds, and how many are remembered.
const TOLD_MS: [u64; 2] = [5 * 60 * 1000 - 10_000, 6 * 60 * 60 * 1000];
const TOLD: usize = 16_384;
/// Bundles that a neighbour asks for: the first pause is shorter than that between its questions.
const WANTED_MS: [u64; 2] = [4_000, 5 * 60 * 1000];
const WANTED: usize = 4096;

/// When each of these may be put out again.
pub(super) struct Pauses<K> {
    first: u64,
    longest: u64,
    room: usize,
    of: BTreeMap<K, Pause>,
}

struct Pause {
    due: Timestamp,
    next: u64,
}

/// Messages that were told under the topics of the moment, whoever asked.
pub(super) type ToldAgain = Pauses<(ChainId, u32)>;
/// Bundles that one neighbour asked for by name.
pub(super) type Wanted = Pauses<ChainId>;

impl Default for ToldAgain {
    fn default() -> Self {
        Self::new(TOLD_MS, TOLD)
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Self::new(WANTED_MS, WANTED)
    }
}

impl<K: Ord + Copy> Pauses<K> {
    fn new([first, longest]: [u64; 2], room: usize) -> Self {
        Self { first, longest, room, of: BTreeMap::new() }
    }

    /// Whether this may be put out now, which then is noted.
    pub fn take(&mut self, what: K, now: Timestamp) -> bool {
        let known = self.of.get(&what).filter(|it| now.ms_since(it.due) < self.longest);
        if known.is_some_and(|it| !it.is_due(now, self.longest)) {
            return false;
        }
        let pause = known.map_or(self.first, |it| it.next);
        if self.of.len() >= self.room && !self.of.contains_key(&what) {
            let oldest = self.of.iter().min_by_key(|(_, it)| it.due).map(|(what, _)| *what);
            oldest.and_then(|oldest| self.of.remove(&oldest));
        }
        let next = self.longest.min(2 * pause);
        self.of.insert(what, Pause { due: now.plus_ms(pause), next });
        true
    }
}

impl Pause {
    /// A clock that was set back silences nothing for long.
    fn is_due(&self, now: Timestamp, longest: u64) -> bool {
        self.due <= now || now.plus_ms(longest) < self.due
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const CHAIN: ChainId = ChainId([1; 16]);
    const NOW: Timestamp = Timestamp(10_000_000_000);

    #[test]
    fn what_is_asked_for_every_second_is_told_ever_more_rarely() {
        let mut told = ToldAgain::default();
        let seconds = 0..48 * 60 * 60_u64;
        let at: Vec<u64> =
            seconds.filter(|s| told.take((CHAIN, 0), NOW.plus_ms(s * 1_000))).collect();
        assert_eq!(at[..4], [0, 290, 870, 2_030]);
        assert_eq!(at.len(), 14);
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] <= 6 * 60 * 60));
        assert!(told.take((CHAIN, 1), NOW), "each by itself");
        assert!(told.take((CHAIN, 0), NOW), "a clock that is set back silences nothing");
    }

    #[test]
    fn who_asks_again_after_five_seconds_is_given_a_bundle_again() {
        let mut wanted = Wanted::default();
        let given = |wanted: &mut Wanted, ms| wanted.take(CHAIN, NOW.plus_ms(ms));
        assert!(given(&mut wanted, 0) && !given(&mut wanted, 1_000));
        assert!(given(&mut wanted, 5_000) && !given(&mut wanted, 10_000));
        assert!(given(&mut wanted, 15_000));
        assert!(given(&mut wanted, 60_000));
    }

    #[test]
    fn a_full_table_forgets_what_is_due_first() {
        let mut told = ToldAgain::default();
        for n in 0..TOLD as u64 + 1 {
            assert!(told.take((CHAIN, n as u32), NOW.plus_ms(n)));
        }
        assert_eq!(told.of.len(), TOLD);
        assert!(told.take((CHAIN, 0), NOW.plus_ms(20_000)));
        assert!(!told.take((CHAIN, TOLD as u32), NOW.plus_ms(20_000)));
    }
}
