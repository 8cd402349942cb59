//! Keys of one kind that renew by time.
//!
//! > A key is deleted no earlier than 35 days after another took its place, and only by
//! > [`Ring::forget`], which is called when all that was sent before the start has been read. A ring
//! > that is full gets no new key.

use alloc::vec::Vec;

use crate::ids::Timestamp;

/// How long a key is kept after another took its place, in milliseconds: 35 days.
pub(super) const KEPT_MS: u64 = 35 * 24 * 60 * 60 * 1000;

/// The keys of one kind, oldest first; the last is the newest. Never empty.
#[derive(Clone)]
pub(super) struct Ring<K> {
    newest: Kept<K>,
    older: Vec<Kept<K>>,
}

/// A key, and when it was in use.
#[derive(Clone)]
pub(super) struct Kept<K> {
    pub key: K,
    /// When it was made; `None` until a clock has been seen.
    pub made: Option<Timestamp>,
    /// When another took its place.
    pub superseded: Option<Timestamp>,
}

impl<K> Ring<K> {
    pub fn new(key: K) -> Self {
        Self { newest: Kept { key, made: None, superseded: None }, older: Vec::new() }
    }

    /// The ring of these keys, oldest first.
    pub fn of(mut kept: Vec<Kept<K>>) -> Option<Self> {
        Some(Self { newest: kept.pop()?, older: kept })
    }

    pub fn newest(&self) -> &K {
        &self.newest.key
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        core::iter::once(&self.newest).chain(self.older.iter().rev()).map(|kept| &kept.key)
    }

    /// Oldest first, as they are stored.
    pub fn stored(&self) -> impl Iterator<Item = &Kept<K>> {
        self.older.iter().chain([&self.newest])
    }

    pub fn len(&self) -> usize {
        self.older.len() + 1
    }

    /// Whether the newest key has this age: a clock that was set back counts like one that went on.
    /// The first call gives a key without a time its time.
    pub fn is_due(&mut self, now: Timestamp, age_ms: u64) -> bool {
        // What was superseded at a time that has not come must not stay for ever.
        for kept in &mut self.older {
            kept.superseded = kept.superseded.map(|at| at.min(now)).or(Some(now));
        }
        let made = *self.newest.made.get_or_insert(now);
        now.ms_since(made) >= age_ms || made.ms_since(now) >= age_ms
    }

    /// Puts a new key in the newest one's place.
    pub fn supersede(&mut self, key: K, now: Timestamp) {
        let newest = Kept { key, made: Some(now), superseded: None };
        let mut before = core::mem::replace(&mut self.newest, newest);
        before.superseded = Some(now);
        self.older.push(before);
    }

    /// Deletes what was superseded long ago; answers whether anything was.
    pub fn forget(&mut self, now: Timestamp) -> bool {
        let before = self.older.len();
        self.older.retain(|kept| kept.superseded.is_none_or(|at| now.ms_since(at) < KEPT_MS));
        self.older.len() < before
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;

    fn kept(ring: &Ring<u32>) -> Vec<u32> {
        ring.iter().copied().collect()
    }

    #[test]
    fn a_key_lives_its_time_and_then_35_days() {
        let mut ring = Ring::new(1);
        let start = Timestamp(1_000 * DAY);
        assert!(!ring.is_due(start, DAY));
        assert!(!ring.is_due(start.plus_ms(DAY - 1), DAY));
        assert!(ring.is_due(start.plus_ms(DAY), DAY));
        ring.supersede(2, start.plus_ms(DAY));
        assert!(!ring.forget(start.plus_ms(DAY + KEPT_MS - 1)));
        assert_eq!(kept(&ring), vec![2, 1]);
        assert!(ring.forget(start.plus_ms(DAY + KEPT_MS)));
        assert_eq!(kept(&ring), vec![2]);
    }

    #[test]
    fn the_newest_is_never_deleted() {
        let mut ring = Ring::new(1);
        assert!(!ring.is_due(Timestamp(0), DAY));
        assert!(!ring.forget(Timestamp(u64::MAX)));
        assert_eq!(kept(&ring), vec![1]);
    }

    #[test]
    fn a_clock_set_back_renews_and_keeps_nothing_for_ever() {
        let mut ring = Ring::new(1);
        assert!(!ring.is_due(Timestamp(1_000 * DAY), DAY));
        ring.supersede(2, Timestamp(1_000 * DAY));
        let back = Timestamp(10 * DAY);
        assert!(ring.is_due(back, DAY));
        ring.supersede(3, back);
        assert!(!ring.forget(back.plus_ms(KEPT_MS - 1)));
        assert!(ring.forget(back.plus_ms(KEPT_MS)));
        assert_eq!(kept(&ring), vec![3]);
    }
}
