//! What is over takes no room: over many lifetimes, in a store of an early version, and whatever the clock does.

use std::path::Path;

use fjall::AbstractTree as _;

use super::*;
use crate::store::{
    Anew,
    salvage::{rebuild, survey},
};

const LOG: LogId = LogId([1; 20]);
const OTHER: LogId = LogId([2; 20]);
const AMPLE: Quota = Quota { log_entries: 1 << 20, log_bytes: 1 << 30, total_bytes: 1 << 30 };
const ENTRY: usize = 4096;

/// The `n`th entry of a log.
fn new(log: LogId, n: u64) -> NewEntry {
    let mut bytes = vec![log.as_bytes()[0]; ENTRY];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    NewEntry { log, bytes }
}

/// Opens a store with tables so small that a few entries fill many.
fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open_sized(dir, AMPLE, 0, (64 << 10, 64 << 10)).unwrap()
}

/// The numbers of a log's entries, all of which are as they were appended.
fn seqs(store: &EmbeddedStore, log: LogId) -> Vec<u64> {
    let (mut after, mut seqs) = (0, Vec::new());
    loop {
        let page = store.read(log, after, 1 << 20).unwrap();
        assert_eq!(page.damaged, 0);
        seqs.extend(page.entries.iter().map(|entry| entry.seq));
        after = page.read_to;
        if after == page.head {
            return seqs;
        }
    }
}

/// The bytes of a keyspace's tables.
fn tables(keyspace: &Keyspace) -> u64 {
    tables_in(keyspace.path())
}

fn tables_in(keyspace: &Path) -> u64 {
    let tables = std::fs::read_dir(keyspace.join("tables")).unwrap();
    tables.filter_map(|table| Some(table.ok()?.metadata().ok()?.len())).sum()
}

/// Writes what is in memory to tables, and takes away those that are over.
fn settle(store: &EmbeddedStore) {
    assert!(periods::write_out(&store.entries).unwrap());
    periods::sweep(&store.entries, &store.expiry, store.periods.over().unwrap()).unwrap();
}

#[test]
fn few_busy_logs_take_little_more_room_than_what_they_keep() {
    const TTL: u64 = 32_000;
    const STEP: u64 = 1000;
    const EACH: u64 = 16;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut n = 0;
    let mut most = 0;
    for step in 1..=TTL * 9 / STEP {
        let now = Timestamp(step * STEP);
        let batch: Vec<_> = (n..n + EACH).flat_map(|n| [new(LOG, n), new(OTHER, n)]).collect();
        n += EACH;
        store.append(&batch, now).unwrap();
        let before = Timestamp(now.0.saturating_sub(TTL));
        while store.expire(before, now, 100).unwrap() == 100 {}
        most = most.max(tables(&store.entries));
    }
    settle(&store);
    let live = store.usage().unwrap();
    let kept = live.entries / 2;
    assert_eq!(kept, EACH * (TTL / STEP + 1));
    for log in [LOG, OTHER] {
        assert_eq!(seqs(&store, log), (n - kept + 1..=n).collect::<Vec<_>>());
    }
    let all = n * 2 * ENTRY as u64;
    assert!(most < all / 2 && all > 8 * live.bytes, "{most} of {live:?}");
    let tombstones = store.entries.tree.tombstone_count();
    assert_eq!(tombstones, 0, "nothing is written of what is over");
    drop(store);
    let found = survey(dir.path()).unwrap();
    assert!(found.is_sound() && found.entries == live.entries, "{found:?}");
    let store = open(dir.path());
    // Tables that are over are unlinked beside what goes on: on a machine that is busy a moment later.
    let (mut now, mut waited) = (tables(&store.entries), 0);
    while now >= 2 * live.bytes && waited < 100 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        (now, waited) = (tables(&store.entries), waited + 1);
    }
    assert!(now < 2 * live.bytes, "{now} of {live:?}");
    assert_eq!(seqs(&store, LOG).len() as u64, kept);
    println!("{} kept, {most} at most, {now} after a start", live.bytes);
}

#[test]
fn where_nobody_appends_any_more_nothing_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let path = store.entries.path().to_path_buf();
    let batch: Vec<_> = (0..200).map(|n| new(LOG, n)).collect();
    store.append(&batch, Timestamp(5000)).unwrap();
    assert!(periods::write_out(&store.entries).unwrap());
    store.append(&[new(LOG, 200)], Timestamp(5000)).unwrap();
    assert!(!store.entries.tree.active_memtable().is_empty(), "one is in memory yet");
    while store.expire(Timestamp(5001), Timestamp(9000), 100).unwrap() == 100 {}
    drop(store);
    assert_eq!(tables_in(&path), 0);

    let store = open(dir.path());
    let again = store.append(&[new(LOG, 1)], Timestamp(9001)).unwrap();
    let [Outcome::Kept(seq)] = again[..] else { panic!("{again:?}") };
    assert!(seq > 200);
    assert_eq!(seqs(&store, LOG), [seq]);
    drop(store);
    assert_eq!(seqs(&open(dir.path()), LOG), [seq]);
    assert!(survey(dir.path()).unwrap().is_sound());
}

#[test]
fn what_is_over_does_not_come_back_with_its_log_nor_by_repair() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch: Vec<_> = (0..20).map(|n| new(LOG, n)).collect();
    store.append(&batch, Timestamp(5000)).unwrap();
    store.append(&[new(OTHER, 1)], Timestamp(5001)).unwrap();
    assert_eq!(store.expire(Timestamp(5001), Timestamp(6000), 99).unwrap(), 20);
    assert!(store.entries.iter().count() == 21, "it waits for its period");
    assert_eq!((seqs(&store, LOG), seqs(&store, OTHER)), (vec![], vec![1]));
    drop(store);
    let looked = |dir: &Path| {
        let found = survey(dir).unwrap();
        assert!(found.is_sound(), "{found:?}");
        (found.logs, found.entries)
    };
    assert_eq!(looked(dir.path()), (1, 1));

    let store = open(dir.path());
    let again = store.append(&[new(LOG, 3)], Timestamp(7000)).unwrap();
    let [Outcome::Kept(seq)] = again[..] else { panic!("{again:?}") };
    assert!(seq > 20);
    assert_eq!(seqs(&store, LOG), [seq]);
    assert_eq!(store.trim(LOG, seq, 9).unwrap(), Trimmed { begins: seq - 1, gone: 0 });
    drop(store);
    assert_eq!(looked(dir.path()), (2, 2));
    let fresh = tempfile::tempdir().unwrap();
    let (_, is_new) = rebuild(dir.path(), fresh.path(), Anew::IfNeeded).unwrap();
    assert!(!is_new);
    let store = open(fresh.path());
    assert_eq!((seqs(&store, LOG), seqs(&store, OTHER)), (vec![seq], vec![1]));
    assert_eq!(store.append(&[new(LOG, 4)], Timestamp(7001)).unwrap(), [Outcome::Kept(seq + 1)]);
    assert_eq!(store.expire(Timestamp(7001), Timestamp(8000), 99).unwrap(), 2);
    assert_eq!(seqs(&store, LOG), [seq + 1]);
}

#[test]
fn a_clock_that_goes_back_changes_no_order_and_nothing_goes_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.expire(Timestamp(0), Timestamp(16_000), 9).unwrap();
    let times = [20_000, 50_000, 10_000, 50_500, 30_000, 52_000];
    for (n, time) in (0..).zip(times) {
        store.append(&[new(LOG, n)], Timestamp(time)).unwrap();
    }
    assert_eq!(seqs(&store, LOG), [1, 2, 3, 4, 5, 6]);
    let held = |store: &EmbeddedStore| store.usage().unwrap().entries;
    for (before, left) in [(10_001, 5), (20_001, 4), (30_001, 3), (50_001, 2), (52_000, 1)] {
        while store.expire(Timestamp(before), Timestamp(60_000), 1).unwrap() > 0 {}
        settle(&store);
        assert_eq!(held(&store), left, "{before}");
        assert_eq!(store.read(LOG, 0, 1 << 20).unwrap().entries.last().map(|it| it.seq), Some(6));
    }
    assert_eq!((seqs(&store, LOG), store.periods.all().len()), (vec![6], 1));
}

#[test]
fn after_a_start_with_nothing_kept_and_a_clock_that_was_ahead_room_is_given_back_as_ever() {
    const TTL: u64 = 16_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let batch: Vec<_> = (0..100).map(|n| new(LOG, n)).collect();
    store.append(&batch, Timestamp(1_000_000)).unwrap();
    while store.expire(Timestamp(1_000_001), Timestamp(1_002_000), 99).unwrap() > 0 {}
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.clock(), None);
    let mut most = 0;
    for step in 1..=9 * 16 {
        let now = Timestamp(10_000 + step * 1000);
        let batch: Vec<_> = (0..32).map(|n| new(OTHER, step * 32 + n)).collect();
        store.append(&batch, now).unwrap();
        let before = Timestamp(now.0.saturating_sub(TTL));
        while store.expire(before, now, 100).unwrap() == 100 {}
        most = most.max(store.periods.all().len());
    }
    assert!((2..=18).contains(&most), "{most}");
    settle(&store);
    let (live, now) = (store.usage().unwrap(), tables(&store.entries));
    assert!(now < 2 * live.bytes, "{now} of {live:?}");
    assert_eq!(seqs(&store, OTHER).len() as u64, live.entries);
    drop(store);
    assert_eq!(seqs(&open(dir.path()), OTHER).len() as u64, live.entries);
}

#[test]
fn a_period_that_began_with_a_batch_that_was_given_up_is_known_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (given_up, totals) = (new(LOG, 0), store.lock());
    let id = short(EntryId::of(&given_up.bytes));
    store.put(&mut store.batch(), Timestamp(5000), (LOG, 1), id, &given_up.bytes);
    drop(totals);
    store.append(&[new(LOG, 1)], Timestamp(5001)).unwrap();
    drop(store);
    assert_eq!(seqs(&open(dir.path()), LOG), [1]);
}

/// Makes a store look as early versions wrote it.
fn make_early(dir: &Path) {
    let store = open(dir);
    let early = store.db.keyspace("entries", fjall::KeyspaceCreateOptions::default).unwrap();
    let mut batch = store.batch();
    for item in store.entries.iter() {
        let (key, value) = item.into_inner().unwrap();
        batch.insert(&early, &key[8..], value);
        batch.remove(&store.entries, key);
    }
    batch.remove(&store.meta, PERIODS);
    batch.remove(&store.meta, EXPIRED);
    batch.commit().unwrap();
}

#[test]
fn an_early_store_is_served_where_it_is_until_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..40 {
        store.append(&[new(LOG, n), new(OTHER, n)], Timestamp(5000 + n)).unwrap();
    }
    let generation = store.generation();
    drop(store);
    make_early(dir.path());
    assert!(survey(dir.path()).unwrap().is_sound());

    let store = open(dir.path());
    assert_eq!(store.generation(), generation);
    assert_eq!(store.append(&[new(LOG, 7)], Timestamp(5039)).unwrap(), [Outcome::Kept(8)]);
    for n in 40..60 {
        store.append(&[new(LOG, n)], Timestamp(5039 + n)).unwrap();
    }
    store.trim(LOG, 10, 99).unwrap();
    assert_eq!(seqs(&store, LOG), (11..=60).collect::<Vec<_>>());
    assert_eq!(store.read(LOG, 30, ENTRY * 20).unwrap().read_to, 50);
    assert_eq!(store.expire(Timestamp(5020), Timestamp(9000), 99).unwrap(), 30);
    drop(store);
    let found = survey(dir.path()).unwrap();
    assert!(found.is_sound() && found.entries == 60, "{found:?}");

    let store = open(dir.path());
    assert_eq!(seqs(&store, LOG), (21..=60).collect::<Vec<_>>());
    assert_eq!(seqs(&store, OTHER), (21..=40).collect::<Vec<_>>());
    let early = store.early.clone().unwrap();
    assert!(periods::write_out(&early).unwrap());
    assert!(tables(&early) > 40 * ENTRY as u64);
    store.expire(Timestamp(5085), Timestamp(9000), 99).unwrap();
    assert_eq!(seqs(&store, LOG), (47..=60).collect::<Vec<_>>());
    drop(early);
    drop(store);
    let store = open(dir.path());
    store.append(&[new(LOG, 60)], Timestamp(9_000_000)).unwrap();
    drop(store);
    // Which waits for what is to be taken away.
    let store = open(dir.path());
    drop(store);
    let store = open(dir.path());
    assert!(tables(store.early.as_ref().unwrap()) < ENTRY as u64, "its room is given back");
    assert_eq!(seqs(&store, LOG), (47..=61).collect::<Vec<_>>());
    drop(store);
    assert!(survey(dir.path()).unwrap().is_sound());
}

#[test]
fn entries_that_the_record_of_periods_does_not_name_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.expire(Timestamp(0), Timestamp(16_000), 9).unwrap();
    for n in 0..3 {
        store.append(&[new(LOG, n)], Timestamp(20_000 + n * 5000)).unwrap();
    }
    store.meta.remove(PERIODS).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!((seqs(&store, LOG), store.periods.all().len()), (vec![1, 2, 3], 3));
    store.append(&[new(LOG, 9)], Timestamp(31_000)).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(seqs(&store, LOG), [1, 2, 3, 4]);
    store.expire(Timestamp(30_001), Timestamp(40_000), 9).unwrap();
    assert_eq!((seqs(&store, LOG), store.periods.all().len()), (vec![4], 1));
}

/// A store whose log's record and list of periods are as they were after five of eight entries; of these the 7th is
/// there, too, or is not.
fn gone_back(dir: &Path, has_seventh: bool) -> u64 {
    let store = open(dir);
    store.expire(Timestamp(0), Timestamp(16_000), 9).unwrap();
    for n in 1..=5 {
        store.append(&[new(LOG, n)], Timestamp(20_000)).unwrap();
    }
    let before = |keyspace: &Keyspace, key: &[u8]| keyspace.get(key).unwrap().unwrap();
    let (log, spans) =
        (before(&store.logs, LOG.as_bytes()), before(&store.meta, PERIODS.as_bytes()));
    for n in 6..=8 {
        store.append(&[new(LOG, n)], Timestamp(15_000 + n * 1000)).unwrap();
    }
    let found = store.find(&store.periods.all(), LOG, 7).unwrap().unwrap();
    if !has_seventh {
        store.entries.remove(found.period.key(LOG, 7)).unwrap();
    }
    store.logs.insert(LOG.as_bytes(), log).unwrap();
    store.meta.insert(PERIODS, spans).unwrap();
    let commits = store.lock().commits;
    store.meta.insert("commits", (commits - 3).to_be_bytes()).unwrap();
    store.expiry.remove(due_key(Timestamp(21_000), LOG, 6)).unwrap();
    store.ids.remove(id_key(LOG, short(EntryId::of(&new(LOG, 6).bytes)))).unwrap();
    store.generation()
}

#[test]
fn a_store_that_has_gone_back_takes_in_what_it_has_and_gives_no_number_twice() {
    for has_seventh in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let generation = gone_back(dir.path(), has_seventh);
        let store = open(dir.path());
        assert_ne!(store.generation(), generation);
        let head = if has_seventh { 8 } else { 6 };
        assert_eq!(seqs(&store, LOG), (1..=head).collect::<Vec<_>>());
        assert_eq!(store.usage().unwrap().entries, head);
        let again = store.append(&[new(LOG, 6), new(LOG, 90)], Timestamp(40_000)).unwrap();
        assert_eq!(again, [Outcome::Kept(6), Outcome::Kept(head + 1)]);
        let more = store.append(&[new(LOG, 91)], Timestamp(45_000)).unwrap();
        assert_eq!(more, [Outcome::Kept(head + 2)]);
        for after in 0..head + 2 {
            let page = store.read(LOG, after, ENTRY).unwrap();
            assert_eq!((page.entries[0].seq, page.damaged), (after + 1, 0));
            let given = if after == head {
                90
            } else if after == head + 1 {
                91
            } else {
                after + 1
            };
            assert_eq!(page.entries[0].bytes, new(LOG, given).bytes, "after {after}");
        }
        drop(store);
        let found = survey(dir.path()).unwrap();
        assert!(found.entries == head + 2 && found.damage.missing == 0, "{found:?}");
        assert_eq!((found.damage.tallies, found.damage.entries), (0, 0), "{found:?}");
        let store = open(dir.path());
        store.expire(Timestamp(40_000), Timestamp(50_000), 99).unwrap();
        assert_eq!(seqs(&store, LOG), [head + 1, head + 2], "nothing expires before its time");
        store.expire(Timestamp(45_001), Timestamp(50_000), 99).unwrap();
        assert_eq!((store.usage().unwrap().entries, store.periods.all()), (0, vec![]));
    }
}

#[test]
fn what_expired_by_a_clock_that_was_ahead_keeps_nothing_from_being_saved() {
    let (dir, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    store.append(&[new(LOG, 1)], Timestamp(900)).unwrap();
    let found = store.find(&store.periods.all(), LOG, 1).unwrap().unwrap();
    assert_eq!(store.expire(Timestamp(901), Timestamp(901), 9).unwrap(), 1);
    drop(store);
    let store = open(dir.path());
    store.append(&[new(OTHER, 1)], Timestamp(500)).unwrap();
    let seq = seqs(&store, OTHER)[0];
    // As a journal brings it back.
    store.entries.insert(found.period.key(LOG, 1), found.value).unwrap();
    drop(store);
    let looked = survey(dir.path()).unwrap();
    assert!(looked.is_sound() && looked.entries == 1, "{looked:?}");
    let store = open(dir.path());
    store.logs.remove(OTHER.as_bytes()).unwrap();
    drop(store);
    assert_eq!(survey(dir.path()).unwrap().damage.tallies, 1);
    rebuild(dir.path(), fresh.path(), Anew::IfNeeded).unwrap();
    let store = open(fresh.path());
    assert_eq!((seqs(&store, LOG), seqs(&store, OTHER)), (vec![], vec![seq]));
}

#[test]
fn what_rots_while_it_waits_to_be_taken_away_costs_no_generation() {
    let (dir, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    store.append(&[new(LOG, 1), new(LOG, 2)], Timestamp(5000)).unwrap();
    store.append(&[new(OTHER, 1)], Timestamp(5001)).unwrap();
    let found = store.find(&store.periods.all(), LOG, 1).unwrap().unwrap();
    assert_eq!(store.expire(Timestamp(5001), Timestamp(6000), 9).unwrap(), 2);
    store.entries.insert(found.period.key(LOG, 1), [7; 64]).unwrap();
    let generation = store.generation();
    drop(store);
    let looked = survey(dir.path()).unwrap().damage;
    assert_eq!((looked.entries, looked.tallies, looked.logs), (1, 0, 0));
    let (_, is_new) = rebuild(dir.path(), fresh.path(), Anew::IfNeeded).unwrap();
    let store = open(fresh.path());
    assert!(!is_new && store.generation() == generation);
    assert_eq!((seqs(&store, LOG), seqs(&store, OTHER)), (vec![], vec![1]));
}

#[test]
fn an_early_store_is_emptied_also_where_a_merge_has_brought_all_of_it_into_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let early = store.db.keyspace("entries", fjall::KeyspaceCreateOptions::default).unwrap();
    periods::retire(&early).unwrap();
    assert_eq!(early.table_count(), 1);
    for n in 0..40 {
        early.insert(place(LOG, n), new(LOG, n).bytes).unwrap();
    }
    assert!(periods::write_out(&early).unwrap());
    early.major_compact().unwrap();
    assert_eq!(early.table_count(), 1, "with what stays, and all that goes");
    periods::retire(&early).unwrap();
    assert_eq!((early.table_count(), early.iter().count()), (1, 1));
    assert!(tables(&early) < ENTRY as u64);
}
