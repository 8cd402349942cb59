//! What is found in sound and in damaged stores, and what a rebuilt one has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use protocol::ids::{LogId, Timestamp};

use super::*;
use crate::store::{EmbeddedStore, LogStore as _, NewEntry, Outcome, contract::AMPLE};

const LOGS: u8 = 4;

fn new(log: u8, byte: u8) -> NewEntry {
    NewEntry { log: LogId([log; 20]), bytes: vec![byte; 512] }
}

/// A store with 80 entries in four logs: half in tables, half in the journal, some trimmed from the
/// first log.
fn filled(dir: &Path) -> u64 {
    let store = EmbeddedStore::open(dir, AMPLE).unwrap();
    for byte in 0..40 {
        store.append(&[new(byte % LOGS, byte)], Timestamp(5)).unwrap();
    }
    store.trim(LogId([0; 20]), 3, 99).unwrap();
    for keyspace in [&store.entries, &store.ids, &store.expiry, &store.logs, &store.meta] {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    for byte in 40..80 {
        store.append(&[new(byte % LOGS, byte)], Timestamp(6)).unwrap();
    }
    store.generation()
}

fn file(dir: &Path, is_it: impl Fn(&str) -> bool) -> PathBuf {
    let (mut dirs, mut found) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for item in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if item.path().is_dir() {
                dirs.push(item.path());
            } else if is_it(item.path().to_str().unwrap()) {
                found.push((item.metadata().unwrap().len(), item.path()));
            }
        }
    }
    found.sort();
    found.pop().unwrap().1
}

/// Flips a bit behind the first place of 64 such bytes.
fn flip(path: &Path, byte: u8) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(64).position(|window| window == [byte; 64]).unwrap();
    bytes[at + 70] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Numbers of each log, with the first byte of each entry.
fn contents(store: &EmbeddedStore) -> Vec<Vec<(u64, u8)>> {
    let read = |log| store.read(LogId([log; 20]), 0, usize::MAX).unwrap().entries;
    (0..LOGS).map(|log| read(log).iter().map(|it| (it.seq, it.bytes[0])).collect()).collect()
}

/// Rebuilds into a new directory.
fn rebuilt(dir: &Path) -> (tempfile::TempDir, Survey, bool) {
    let to = tempfile::tempdir().unwrap();
    let (found, is_new) = rebuild(dir, to.path(), Anew::IfNeeded).unwrap();
    (to, found, is_new)
}

#[test]
fn a_sound_store_is_found_so_and_looking_changes_no_file() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let journal = fs::read(file(dir.path(), |name| name.ends_with(".jnl"))).unwrap();
    let found = survey(dir.path()).unwrap();
    assert_eq!((found.logs, found.entries, found.bytes), (4, 77, 77 * 512));
    assert!(found.is_sound() && found.blocks > 5, "{found:?}");
    assert_eq!(fs::read(file(dir.path(), |name| name.ends_with(".jnl"))).unwrap(), journal);
    let empty = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(empty.path(), AMPLE).unwrap());
    assert!(survey(empty.path()).unwrap().is_sound());
}

#[test]
fn a_rebuilt_store_has_what_the_sound_one_had_and_its_cursors_hold() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    let before = contents(&EmbeddedStore::open(dir.path(), AMPLE).unwrap());
    let (to, found, is_new) = rebuilt(dir.path());
    assert!(found.is_sound() && !is_new);
    assert_eq!(survey(to.path()).unwrap().damage, Damage::default());
    let store = EmbeddedStore::open(to.path(), AMPLE).unwrap();
    assert_eq!((contents(&store), store.generation()), (before, generation));
    assert_eq!(store.append(&[new(1, 1)], Timestamp(7)).unwrap(), [Outcome::Kept(1)], "known");
    assert_eq!(store.append(&[new(0, 99)], Timestamp(7)).unwrap(), [Outcome::Kept(21)]);
    assert_eq!(store.expire(Timestamp(9), Timestamp(9), 999).unwrap(), 78);
    drop(store);
    assert!(survey(to.path()).unwrap().entries == 0);
}

/// Cuts off the first half of the journal, as if it had been deleted after all of it was in tables.
fn forget_journal(dir: &Path) {
    let path = file(dir, |name| name.ends_with(".jnl"));
    let bytes = fs::read(&path).unwrap();
    let entry = bytes.windows(64).position(|window| window == [40; 64]).unwrap();
    let batch = bytes[..entry].windows(4).rposition(|window| window == b"FJL\x03").unwrap() + 4;
    fs::write(path, &bytes[batch..]).unwrap();
}

#[test]
fn what_a_journal_still_has_makes_up_for_a_damaged_block() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    flip(&file(dir.path(), |name| name.contains("tables")), 17);
    let found = survey(dir.path()).unwrap();
    assert_eq!((found.entries, found.damage), (77, Damage { blocks: 1, ..Damage::default() }));
    let (to, _, is_new) = rebuilt(dir.path());
    assert!(!is_new);
    assert_eq!(survey(to.path()).unwrap().entries, 77);
}

#[test]
fn a_damaged_block_costs_its_own_entries_and_their_places_stay_known() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    forget_journal(dir.path());
    assert!(survey(dir.path()).unwrap().is_sound());
    flip(&file(dir.path(), |name| name.contains("tables")), 17);
    let found = survey(dir.path()).unwrap();
    assert!(found.damage.blocks == 1 && found.damage.missing >= 1, "{found:?}");
    assert_eq!(found.entries + found.damage.missing, 77);

    let (to, _, is_new) = rebuilt(dir.path());
    assert!(!is_new, "every head is known");
    let store = EmbeddedStore::open(to.path(), AMPLE).unwrap();
    assert_eq!(store.generation(), generation);
    let there: usize = contents(&store).iter().map(Vec::len).sum();
    assert_eq!(there as u64, found.entries);
    assert_eq!(store.read(LogId([1; 20]), 0, usize::MAX).unwrap().damaged, 0, "said once");
    assert!(survey(to.path()).unwrap().is_sound());
    assert_eq!(store.expire(Timestamp(9), Timestamp(9), 999).unwrap(), 77);
}

#[test]
fn damage_in_the_middle_of_a_journal_cuts_off_nothing_and_stops_the_relay_first() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    flip(&file(dir.path(), |name| name.ends_with(".jnl")), 60);
    let opened = EmbeddedStore::open(dir.path(), AMPLE);
    assert!(matches!(opened, Err(crate::store::StoreError::NeedsRepair)));
    let found = survey(dir.path()).unwrap();
    assert_eq!((found.damage.batches, found.damage.lost_commits), (1, 1), "{found:?}");
    assert_eq!((found.entries, found.damage.missing), (76, 1));
    let (to, _, is_new) = rebuilt(dir.path());
    assert!(is_new);
    let store = EmbeddedStore::open(to.path(), AMPLE).unwrap();
    assert_ne!(store.generation(), generation);
    let lost = contents(&store)[0].iter().all(|(_, byte)| *byte != 60);
    assert!(lost && contents(&store)[3].contains(&(20, 79)), "what came after it is there");
}

#[test]
fn without_its_manifest_a_keyspace_has_all_tables_that_are_there() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    for entry in fs::read_dir(dir.path().join("keyspaces")).unwrap() {
        let current = entry.unwrap().path().join("current");
        let mut bytes = fs::read(&current).unwrap();
        bytes[0] ^= 1;
        fs::write(current, bytes).unwrap();
    }
    assert!(EmbeddedStore::open(dir.path(), AMPLE).is_err());
    let found = survey(dir.path()).unwrap();
    assert_eq!((found.entries, found.damage.missing), (77, 0));
    assert!(found.damage.files >= 5);
    assert!(rebuilt(dir.path()).2, "heads may be old");
}

#[test]
fn a_gap_between_two_entries_is_counted_by_who_reads_and_by_who_looks() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    for byte in 1..=5 {
        store.append(&[new(1, byte)], Timestamp(5)).unwrap();
    }
    for seq in [1, 3, 5] {
        let log = LogId([1; 20]);
        let found = store.find(&store.periods.all(), log, seq).unwrap().unwrap();
        store.entries.remove(found.period.key(log, seq)).unwrap();
    }
    let page = store.read(LogId([1; 20]), 0, usize::MAX).unwrap();
    assert_eq!((page.entries.len(), page.damaged, page.read_to), (2, 3, 5));
    let (mut after, mut damaged) = (0, 0);
    while after < 5 {
        let page = store.read(LogId([1; 20]), after, 1).unwrap();
        (after, damaged) = (page.read_to, damaged + page.damaged);
    }
    assert_eq!(damaged, 3, "page by page as well");
    drop(store);
    let found = survey(dir.path()).unwrap();
    assert_eq!((found.entries, found.damage.missing, found.damage.logs), (2, 3, 1));
}

#[test]
fn a_copy_of_a_store_begins_a_new_generation_and_is_at_home_then() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let generation = filled(dir.path());
    assert!(
        std::process::Command::new("cp")
            .arg("-a")
            .args([dir.path().join("."), copy.path().to_path_buf()])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(EmbeddedStore::open(dir.path(), AMPLE).unwrap().generation(), generation);
    let store = EmbeddedStore::open(copy.path(), AMPLE).unwrap();
    let other = store.generation();
    assert_ne!(other, generation);
    drop(store);
    assert_eq!(EmbeddedStore::open(copy.path(), AMPLE).unwrap().generation(), other);
}

#[test]
fn a_store_whose_making_was_cut_off_is_made_anew_and_one_that_lost_its_mark_is_not() {
    for mark in [None, Some(""), Some("FJ"), Some("\0\0\0\0"), Some("\0\0\0\x03")] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keyspaces")).unwrap();
        fs::write(dir.path().join("0.jnl"), [0; 4096]).unwrap();
        if let Some(mark) = mark {
            fs::write(dir.path().join("version"), mark).unwrap();
        }
        assert!(survey(dir.path()).unwrap().is_sound());
        let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
        assert_eq!(store.append(&[new(1, 1)], Timestamp(5)).unwrap(), [Outcome::Kept(1)]);
        drop(store);
        fs::write(dir.path().join("version"), mark.unwrap_or_default()).unwrap();
        assert!(EmbeddedStore::open(dir.path(), AMPLE).is_err());
        assert_eq!(survey(dir.path()).unwrap().entries, 1);
    }
}
