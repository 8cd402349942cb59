//! Bytes that were put on the log and are not in the index yet: one quota is for all shards, and each appends by itself.
//!
//! > Who appends counts itself in first, and looks then what is left beside those who came before. So two at once never take
//! > the same room.

use std::sync::atomic::{AtomicU64, Ordering};

/// One append's part of what is under way, for as long as this lives.
pub(super) struct UnderWay<'a> {
    all: &'a AtomicU64,
    bytes: u64,
}

impl<'a> UnderWay<'a> {
    /// A part of nothing so far.
    pub(super) fn of(all: &'a AtomicU64) -> Self {
        Self { all, bytes: 0 }
    }

    /// Takes so many bytes in place of those of before; gives those of all others at that moment.
    pub(super) fn takes(&mut self, bytes: u64) -> u64 {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let all = self.all.fetch_add(bytes, Ordering::AcqRel);
        self.all.fetch_sub(before, Ordering::AcqRel);
        all.saturating_sub(before)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.takes(0);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_comes_second_sees_the_first_before_either_has_looked_what_is_left() {
        let all = AtomicU64::new(0);
        let (mut first, mut second) = (UnderWay::of(&all), UnderWay::of(&all));
        let seen = [first.takes(600), second.takes(600)];
        assert_eq!(seen, [0, 600]);
        // What it needs not after all is free again, and what is its own is not another's.
        assert_eq!((first.takes(100), second.takes(600)), (600, 100));
        drop(second);
        assert_eq!(first.takes(100), 0);
        drop(first);
        assert_eq!(all.into_inner(), 0);
    }

    #[test]
    fn of_many_at_once_no_more_have_room_than_there_is() {
        for _ in 0..1000 {
            let all = AtomicU64::new(0);
            let fits = || {
                let mut mine = UnderWay::of(&all);
                (mine.takes(512) + 512 <= 1024).then_some(mine)
            };
            let taken: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(fits)).collect();
                threads.into_iter().filter_map(|it| it.join().unwrap()).collect()
            });
            assert!((1..=2).contains(&taken.len()), "{}", taken.len());
        }
    }
}
