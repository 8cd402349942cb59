//! What was committed last of logs that are followed: who follows along needs no read of the store.
//!
//! > A tail has no gap and ends where its log ends, or it is empty. What is not in it is read from the
//! > store. Nothing stays for long, and all tails together have a bound.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use protocol::relay_log::Entry;

use crate::{limits::RECENT_BYTES, store::Page};

/// The last entries of one log.
#[derive(Default)]
pub(super) struct Tail(Mutex<Last>);

#[derive(Default)]
struct Last {
    /// The number of the log's last entry, once it is known.
    head: Option<u64>,
    /// Those up to it.
    entries: VecDeque<Arc<Vec<u8>>>,
}

/// All that tails hold, the oldest first.
#[derive(Default)]
pub(super) struct Recent(Mutex<Order>);

#[derive(Default)]
struct Order {
    held: VecDeque<Held>,
    bytes: usize,
}

struct Held {
    tail: Weak<Tail>,
    seq: u64,
    bytes: usize,
}

impl Tail {
    /// The store says that the log's last entry has this number.
    pub(super) fn ends_at(&self, head: u64) {
        let mut last = lock(&self.0);
        if last.head.is_none_or(|known| known < head) {
            *last = Last { head: Some(head), entries: VecDeque::new() };
        }
    }

    /// What comes after a number, up to so many bytes, but at least one entry; `None` if that is not all
    /// here.
    pub(super) fn after(&self, after: u64, max_bytes: usize) -> Option<Page> {
        let (head, first, found) = {
            let last = lock(&self.0);
            let (head, first) = (last.head?, last.first()?);
            let skipped = after.checked_add(1)?.checked_sub(first)?;
            let mut room = max_bytes;
            let found = last.entries.iter().skip(usize::try_from(skipped).ok()?);
            let found = found.enumerate().take_while(|(place, entry)| {
                let fits = *place == 0 || entry.len() <= room;
                room = room.saturating_sub(entry.len());
                fits
            });
            (head, after + 1, found.map(|(_, entry)| Arc::clone(entry)).collect::<Vec<_>>())
        };
        let entries: Vec<_> = (first..)
            .zip(&found)
            .map(|(seq, bytes)| Entry { seq, bytes: bytes.to_vec() })
            .collect();
        let read_to = entries.last()?.seq;
        Some(Page { entries, read_to, head, begins: after, damaged: 0 })
    }

    /// Holds nothing of what it held.
    pub(super) fn clear(&self) {
        lock(&self.0).entries = VecDeque::new();
    }

    /// Takes what was appended; answers whether it is held now. An entry that was there before is not, nor
    /// any while it isn't known where the log ends.
    fn push(&self, seq: u64, bytes: Arc<Vec<u8>>) -> bool {
        let mut last = lock(&self.0);
        let Some(head) = last.head.filter(|head| *head < seq) else { return false };
        if seq != head + 1 {
            last.entries.clear();
        }
        last.head = Some(seq);
        last.entries.push_back(bytes);
        true
    }

    fn forget(&self, seq: u64) {
        let mut last = lock(&self.0);
        if last.first() == Some(seq) {
            last.entries.pop_front();
        }
    }
}

impl Last {
    fn first(&self) -> Option<u64> {
        let len = u64::try_from(self.entries.len()).ok().filter(|len| *len > 0)?;
        Some(self.head? + 1 - len)
    }
}

impl Recent {
    /// Has a tail hold what was appended, for as long as there is room.
    pub(super) fn keep(&self, tail: &Arc<Tail>, seq: u64, entry: &Arc<Vec<u8>>) {
        if !tail.push(seq, Arc::clone(entry)) {
            return;
        }
        let mut order = lock(&self.0);
        let bytes = entry.len();
        order.held.push_back(Held { tail: Arc::downgrade(tail), seq, bytes });
        order.bytes += bytes;
        while order.bytes > RECENT_BYTES {
            let Some(Held { tail, seq, bytes }) = order.held.pop_front() else { return };
            order.bytes -= bytes;
            tail.upgrade().iter().for_each(|tail| tail.forget(seq));
        }
    }

    /// Empties all tails.
    pub(super) fn clear(&self) {
        let held = std::mem::take(&mut *lock(&self.0)).held;
        held.iter().filter_map(|held| held.tail.upgrade()).for_each(|tail| tail.clear());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(byte: u8) -> Arc<Vec<u8>> {
        Arc::new(vec![byte; 512])
    }

    fn numbers(tail: &Tail, after: u64, max: usize) -> Option<Vec<u64>> {
        let page = tail.after(after, max)?;
        assert!(page.entries.iter().all(|entry| entry.bytes == [entry.seq as u8; 512]));
        assert_eq!(page.entries.last().map(|entry| entry.seq), Some(page.read_to));
        Some(page.entries.iter().map(|entry| entry.seq).collect())
    }

    #[test]
    fn a_tail_gives_what_comes_after_a_number_or_nothing() {
        let (recent, tail) = (Recent::default(), Arc::new(Tail::default()));
        recent.keep(&tail, 5, &entry(5));
        assert_eq!(numbers(&tail, 4, 9999), None, "where the log ends is not known");
        tail.ends_at(5);
        for seq in 6..=8 {
            recent.keep(&tail, seq, &entry(seq as u8));
        }
        assert_eq!(numbers(&tail, 5, 9999), Some(vec![6, 7, 8]));
        assert_eq!(numbers(&tail, 5, 1024), Some(vec![6, 7]));
        assert_eq!(numbers(&tail, 7, 1), Some(vec![8]));
        for after in [0, 4, 8, 9, u64::MAX] {
            assert_eq!(numbers(&tail, after, 9999), None, "{after}");
        }
    }

    #[test]
    fn what_was_there_before_changes_nothing_and_a_gap_begins_anew() {
        let (recent, tail) = (Recent::default(), Arc::new(Tail::default()));
        tail.ends_at(5);
        recent.keep(&tail, 6, &entry(6));
        recent.keep(&tail, 3, &entry(3));
        tail.ends_at(4);
        assert_eq!(numbers(&tail, 5, 9999), Some(vec![6]));
        recent.keep(&tail, 9, &entry(9));
        assert_eq!(numbers(&tail, 5, 9999), None);
        assert_eq!(numbers(&tail, 8, 9999), Some(vec![9]));
        tail.ends_at(10);
        assert_eq!(numbers(&tail, 8, 9999), None, "one more is in the store alone");
    }

    #[test]
    fn all_tails_together_have_a_bound_and_the_oldest_entries_go_first() {
        let recent = Recent::default();
        let tails = [1, 2].map(|_| Arc::new(Tail::default()));
        tails.iter().for_each(|tail| tail.ends_at(0));
        let rounds = (RECENT_BYTES / 512) as u64;
        for seq in 1..=rounds {
            tails.iter().for_each(|tail| recent.keep(tail, seq, &Arc::new(vec![seq as u8; 512])));
        }
        for tail in &tails {
            assert_eq!(lock(&tail.0).first(), Some(rounds / 2 + 1));
            assert_eq!(numbers(tail, rounds / 2 - 1, 512), None);
        }
        recent.clear();
        assert!(tails.iter().all(|tail| numbers(tail, rounds - 1, 512).is_none()));
        assert_eq!(lock(&recent.0).bytes, 0);
        recent.keep(&tails[0], rounds + 1, &Arc::new(vec![(rounds + 1) as u8; 512]));
        assert_eq!(numbers(&tails[0], rounds, 512), Some(vec![rounds + 1]), "it goes on");
    }
}
