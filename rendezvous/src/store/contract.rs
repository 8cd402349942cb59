//! The laws of a store, as tests that every store passes.

use std::{cell::Cell, path::Path};

use protocol::ids::{LogId, Timestamp};

use super::{LogStore, NewEntry, Outcome, Page, Quota, Trimmed, Usage};

/// A quota that no test here reaches.
pub const AMPLE: Quota = Quota { log_entries: 1000, log_bytes: 1 << 20, total_bytes: 1 << 20 };

const LOG: LogId = LogId([1; 20]);
const OTHER: LogId = LogId([2; 20]);
const NOW: Timestamp = Timestamp(1000);

type Make<'a> = &'a dyn Fn(Quota) -> Box<dyn LogStore>;

/// Checks every law on stores made by `make`, each new and empty.
pub fn holds(make: Make<'_>) {
    an_unknown_log_is_empty(make);
    numbers_are_consecutive_and_per_log(make);
    repeated_bytes_keep_their_number(make);
    pages_are_bounded_and_join_without_a_gap(make);
    a_full_log_refuses_and_evicts_nothing(make);
    a_full_store_refuses_and_evicts_nothing(make);
    what_is_old_expires_and_heads_stay(make);
    what_is_forgotten_does_not_tell_how_long_it_was(make);
    expiry_makes_room(make);
    what_is_trimmed_is_gone_and_numbers_go_on(make);
    the_last_entry_and_what_nobody_read_are_not_trimmed(make);
    trimming_makes_room_and_goes_by_steps(make);
    a_page_says_where_its_log_begins(make);
    what_is_held_is_counted(make);
    generations_differ(make);
}

/// The same, on stores that `open` opens, each in a directory of its own.
pub fn holds_on_disk<S: LogStore>(open: impl Fn(&Path, Quota) -> S) {
    let (dirs, count) = (tempfile::tempdir().unwrap(), Cell::new(0));
    holds(&|quota| {
        count.set(count.get() + 1);
        Box::new(open(&dirs.path().join(count.get().to_string()), quota))
    });
}

/// Of a store that decides by itself how much it takes: what was set last holds.
pub fn follows_its_quota(store: &dyn LogStore) {
    let little = Quota { log_entries: 2, ..AMPLE };
    store.set_quota(little);
    store.append(&[new(LOG, 1), new(LOG, 2)], NOW).unwrap();
    assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::LogFull]);
    store.set_quota(AMPLE);
    assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::Kept(3)]);
    store.set_quota(Quota { total_bytes: 512, ..AMPLE });
    assert_eq!(store.append(&[new(OTHER, 4)], NOW).unwrap(), [Outcome::StoreFull]);
    assert_eq!(seqs(&store.read(LOG, 0, 9999).unwrap()), [1, 2, 3], "what is there stays");
}

fn new(log: LogId, byte: u8) -> NewEntry {
    NewEntry { log, bytes: vec![byte; 512] }
}

fn seqs(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

fn an_unknown_log_is_empty(make: Make<'_>) {
    let store = make(AMPLE);
    assert_eq!(store.read(LOG, 0, 9999).unwrap(), Page::default());
    assert_eq!(store.append(&[], NOW).unwrap(), []);
}

fn numbers_are_consecutive_and_per_log(make: Make<'_>) {
    let store = make(AMPLE);
    let outcomes = store.append(&[new(LOG, 1), new(OTHER, 1), new(LOG, 2)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(1), Outcome::Kept(1), Outcome::Kept(2)]);
    assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::Kept(3)]);
    let page = store.read(LOG, 0, 9999).unwrap();
    assert_eq!((seqs(&page), page.read_to, page.head), (vec![1, 2, 3], 3, 3));
    let bytes: Vec<_> = page.entries.iter().map(|entry| entry.bytes[0]).collect();
    assert_eq!(bytes, [1, 2, 3]);
}

fn repeated_bytes_keep_their_number(make: Make<'_>) {
    let store = make(AMPLE);
    let batch = [new(LOG, 1), new(LOG, 2), new(LOG, 1), new(OTHER, 2)];
    let expected = [1, 2, 1, 1].map(Outcome::Kept);
    assert_eq!(store.append(&batch, NOW).unwrap(), expected);
    assert_eq!(store.append(&batch, NOW).unwrap(), expected);
    assert_eq!(store.read(LOG, 0, 9999).unwrap().entries.len(), 2);
}

fn pages_are_bounded_and_join_without_a_gap(make: Make<'_>) {
    let store = make(AMPLE);
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3)], NOW).unwrap();
    let first = store.read(LOG, 0, 1024).unwrap();
    assert_eq!((seqs(&first), first.read_to, first.head), (vec![1, 2], 2, 3));
    let second = store.read(LOG, first.read_to, 1024).unwrap();
    assert_eq!((seqs(&second), second.read_to), (vec![3], 3));
    let one = store.read(LOG, 0, 1).unwrap();
    assert_eq!(seqs(&one), [1], "at least one, however small the room");
    let none = store.read(LOG, 3, 1024).unwrap();
    assert_eq!((seqs(&none), none.read_to), (vec![], 3));
}

fn a_full_log_refuses_and_evicts_nothing(make: Make<'_>) {
    for quota in [Quota { log_entries: 2, ..AMPLE }, Quota { log_bytes: 1100, ..AMPLE }] {
        let store = make(quota);
        let batch = [new(LOG, 1), new(LOG, 2), new(LOG, 3), new(OTHER, 3), new(LOG, 1)];
        let expected = [
            Outcome::Kept(1),
            Outcome::Kept(2),
            Outcome::LogFull,
            Outcome::Kept(1),
            Outcome::Kept(1),
        ];
        assert_eq!(store.append(&batch, NOW).unwrap(), expected);
        assert_eq!(seqs(&store.read(LOG, 0, 9999).unwrap()), [1, 2]);
    }
}

fn a_full_store_refuses_and_evicts_nothing(make: Make<'_>) {
    let store = make(Quota { total_bytes: 1100, ..AMPLE });
    let outcomes = store.append(&[new(LOG, 1), new(OTHER, 2), new(OTHER, 3)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(1), Outcome::Kept(1), Outcome::StoreFull]);
    assert_eq!(store.append(&[new(LOG, 9)], NOW).unwrap(), [Outcome::StoreFull]);
    assert_eq!(seqs(&store.read(LOG, 0, 9999).unwrap()), [1]);
}

fn what_is_old_expires_and_heads_stay(make: Make<'_>) {
    let store = make(AMPLE);
    store.append(&[new(LOG, 1), new(LOG, 2), new(OTHER, 1)], Timestamp(10)).unwrap();
    store.append(&[new(LOG, 3)], Timestamp(20)).unwrap();
    assert_eq!(store.expire(Timestamp(10), Timestamp(20), 100).unwrap(), 0);
    assert_eq!(store.expire(Timestamp(11), Timestamp(21), 1).unwrap(), 1, "no more than asked for");
    assert_eq!(store.expire(Timestamp(11), Timestamp(21), 100).unwrap(), 2);
    let page = store.read(LOG, 0, 9999).unwrap();
    assert_eq!((seqs(&page), page.head), (vec![3], 3));
    assert_eq!(store.expire(Timestamp(21), Timestamp(22), 100).unwrap(), 1);
    let page = store.read(LOG, 0, 9999).unwrap();
    assert!(seqs(&page).is_empty() && page.head >= 3, "an empty log's head does not go back");
    let outcomes = store.append(&[new(LOG, 1)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(page.head + 1)]);
}

fn what_is_forgotten_does_not_tell_how_long_it_was(make: Make<'_>) {
    let floors = [1, 5].map(|length| {
        let store = make(AMPLE);
        let batch: Vec<_> = (0..length).map(|byte| new(LOG, byte)).collect();
        store.append(&batch, Timestamp(10)).unwrap();
        store.expire(Timestamp(11), Timestamp(11), 100).unwrap();
        let page = store.read(LOG, 0, 9999).unwrap();
        (page.head, page.begins, store.trim(LOG, 1, 9).unwrap().begins)
    });
    assert_eq!(floors[0], floors[1]);
}

fn expiry_makes_room(make: Make<'_>) {
    let store = make(Quota { log_entries: 1, total_bytes: 512, ..AMPLE });
    store.append(&[new(LOG, 1)], Timestamp(10)).unwrap();
    store.expire(Timestamp(11), Timestamp(11), 100).unwrap();
    assert!(matches!(store.append(&[new(OTHER, 1)], NOW).unwrap()[..], [Outcome::Kept(_)]));
}

fn what_is_trimmed_is_gone_and_numbers_go_on(make: Make<'_>) {
    let store = make(AMPLE);
    let batch = [new(LOG, 1), new(LOG, 2), new(LOG, 3), new(OTHER, 1), new(OTHER, 2)];
    store.append(&batch, Timestamp(10)).unwrap();
    assert_eq!(store.trim(LOG, 2, 100).unwrap(), Trimmed { begins: 2, gone: 2 });
    assert_eq!(store.trim(LOG, 2, 100).unwrap(), Trimmed { begins: 2, gone: 0 });
    assert_eq!(seqs(&store.read(LOG, 0, 9999).unwrap()), [3]);
    assert_eq!(seqs(&store.read(OTHER, 0, 9999).unwrap()), [1, 2], "another log's stay");
    let again = store.append(&[new(LOG, 3), new(LOG, 1)], Timestamp(20)).unwrap();
    assert_eq!(again, [Outcome::Kept(3), Outcome::Kept(4)], "what is gone is new again");
    assert_eq!(store.expire(Timestamp(11), Timestamp(21), 100).unwrap(), 3, "and expires no more");
    assert_eq!(seqs(&store.read(LOG, 0, 9999).unwrap()), [4]);
}

fn the_last_entry_and_what_nobody_read_are_not_trimmed(make: Make<'_>) {
    let store = make(AMPLE);
    assert_eq!(store.trim(LOG, 0, 9).unwrap(), Trimmed { begins: 0, gone: 0 });
    assert_eq!(store.trim(LOG, 7, 9).unwrap(), Trimmed { begins: 0, gone: 0 });
    store.append(&[new(LOG, 1), new(LOG, 2)], NOW).unwrap();
    assert_eq!(store.trim(LOG, 3, 9).unwrap(), Trimmed { begins: 0, gone: 0 }, "beyond the end");
    assert_eq!(store.trim(LOG, u64::MAX, 9).unwrap(), Trimmed { begins: 0, gone: 0 });
    assert_eq!(store.trim(LOG, 2, 9).unwrap(), Trimmed { begins: 1, gone: 1 });
    assert_eq!(seqs(&store.read(LOG, 0, 9999).unwrap()), [2]);
    assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::Kept(3)]);
}

fn trimming_makes_room_and_goes_by_steps(make: Make<'_>) {
    let store = make(Quota { log_entries: 3, total_bytes: 3 * 512, ..AMPLE });
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3)], NOW).unwrap();
    assert_eq!(store.append(&[new(LOG, 4)], NOW).unwrap(), [Outcome::LogFull]);
    assert_eq!(store.append(&[new(OTHER, 4)], NOW).unwrap(), [Outcome::StoreFull]);
    assert_eq!(store.trim(LOG, 3, 1).unwrap(), Trimmed { begins: 1, gone: 1 });
    assert_eq!(store.trim(LOG, 3, 1).unwrap(), Trimmed { begins: 2, gone: 1 });
    assert_eq!(store.trim(LOG, 3, 1).unwrap(), Trimmed { begins: 2, gone: 0 });
    let outcomes = store.append(&[new(LOG, 4), new(OTHER, 4)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(4), Outcome::Kept(1)]);
    assert_eq!(store.append(&[new(LOG, 5)], NOW).unwrap(), [Outcome::StoreFull]);
}

fn a_page_says_where_its_log_begins(make: Make<'_>) {
    let store = make(AMPLE);
    let batch: Vec<_> = (1..=5).map(|byte| new(LOG, byte)).collect();
    store.append(&batch, NOW).unwrap();
    assert_eq!(store.read(LOG, 0, 9999).unwrap().begins, 0);
    store.trim(LOG, 3, 9).unwrap();
    for after in 0..=2 {
        let page = store.read(LOG, after, 512).unwrap();
        assert_eq!((page.begins, seqs(&page)), (3, vec![4]));
    }
    for after in 3..=5 {
        assert!(store.read(LOG, after, 9999).unwrap().begins <= after);
    }
}

fn what_is_held_is_counted(make: Make<'_>) {
    let store = make(Quota { log_entries: 3, ..AMPLE });
    let held = |entries| Some(Usage { entries, bytes: entries * 512 });
    assert_eq!(store.usage(), held(0));
    let batch = [new(LOG, 1), new(LOG, 2), new(LOG, 1), new(LOG, 3), new(LOG, 4), new(OTHER, 1)];
    store.append(&batch, Timestamp(10)).unwrap();
    assert_eq!(store.usage(), held(4), "neither what is there already nor what is refused");
    store.trim(LOG, 1, 9).unwrap();
    assert_eq!(store.usage(), held(3));
    store.expire(Timestamp(11), Timestamp(11), 100).unwrap();
    assert_eq!(store.usage(), held(0));
}

fn generations_differ(make: Make<'_>) {
    assert_ne!(make(AMPLE).generation(), make(AMPLE).generation());
}
