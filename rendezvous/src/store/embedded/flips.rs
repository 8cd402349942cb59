//! One flipped bit anywhere in the files of a closed store: nothing wrong is served, and what is lost
//! is reported, by the relay that serves it, by who looks, and by who repairs.
//!
//! `WATTLE_FLIPS` says how many.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use protocol::ids::{LogId, Timestamp};

use super::*;
use crate::store::{
    Anew,
    salvage::{rebuild, survey},
};

const LOGS: u8 = 40;
const EACH: u64 = 24;

/// What the store is to have: each entry's bytes, by log and number.
type Contents = BTreeMap<(u8, u64), Vec<u8>>;

/// What became of one flip.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    /// The store is not opened, and who looks says that it is damaged.
    Refused,
    /// It is served; what is lost is reported where it was.
    Reported,
    /// Nothing is lost, and who looks sees the damage.
    Harmless,
    /// Nothing is lost, and nothing is seen: nothing reads these bits.
    NoEffect,
}

fn bytes(log: u8, seq: u64) -> Vec<u8> {
    let len = 512 << (seq % 3);
    let mut bytes = vec![log ^ 0x5a; len];
    bytes[..8].copy_from_slice(&seq.to_be_bytes());
    bytes
}

/// Fills a store so that each kind of record is in two tables and in the journal, and the journal
/// has nothing more that is in the tables.
fn fill(dir: &Path) -> Contents {
    let store = EmbeddedStore::open(dir, AMPLE_ALL).unwrap();
    let mut contents = Contents::new();
    let mut middle = 0;
    for round in 1..=EACH {
        for log in 0..LOGS {
            let bytes = bytes(log, round);
            let new = NewEntry { log: LogId([log; 20]), bytes: bytes.clone() };
            store.append(&[new], Timestamp(round)).unwrap();
            contents.insert((log, round), bytes);
        }
        if round % 9 == 0 {
            for keyspace in [&store.entries, &store.ids, &store.expiry, &store.logs, &store.meta] {
                keyspace.rotate_memtable_and_wait().unwrap();
            }
            middle =
                fs::read(dir.join("0.jnl")).unwrap().iter().rposition(|it| *it != 0).unwrap() + 1;
        }
    }
    store.trim(LogId([0; 20]), 5, 99).unwrap();
    contents.retain(|(log, seq), _| *log > 0 || *seq > 5);
    drop(store);
    let journal = fs::read(dir.join("0.jnl")).unwrap();
    let end = journal.iter().rposition(|it| *it != 0).unwrap() + 1;
    fs::write(dir.join("0.jnl"), &journal[middle..end]).unwrap();
    contents
}

const AMPLE_ALL: Quota = Quota { log_entries: 1000, log_bytes: 64 << 20, total_bytes: 64 << 20 };

/// A directory in memory, where there is one: the disk's own speed is of no use here.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut dirs, mut files) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()) {
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// Puts all files back; the witness is written over, since a store knows its file.
fn restore(dir: &Path, original: &[(PathBuf, Vec<u8>)]) {
    for path in files(dir) {
        if !original.iter().any(|(it, _)| *it == path) {
            fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in original {
        fs::write(path, bytes).unwrap();
    }
}

/// Checks that a store serves nothing wrong; answers whether it serves all, and whether it says of
/// each log that lost something that it did.
fn serve(store: &EmbeddedStore, contents: &Contents, generation: u64) -> (bool, bool) {
    let (mut is_all, mut is_reported) = (true, true);
    for log in 0..LOGS {
        let expected = contents.range((log, 0)..=(log, u64::MAX)).count();
        let Ok(page) = store.read(LogId([log; 20]), 0, usize::MAX) else {
            is_all = false;
            continue;
        };
        let mut there = 0;
        for entry in &page.entries {
            assert!(entry.bytes == bytes(log, entry.seq), "log {log}, entry {}", entry.seq);
            there += usize::from(contents.contains_key(&(log, entry.seq)));
        }
        is_all &= there == expected;
        // Also if what was trimmed is back.
        let is_as_it_was = there == expected && page.entries.len() == expected;
        is_reported &= is_as_it_was || page.damaged > 0 || store.generation() != generation;
    }
    (is_all, is_reported)
}

#[test]
fn one_flipped_bit_serves_nothing_wrong_and_loses_nothing_in_silence() {
    let flips: u64 = std::env::var("WATTLE_FLIPS").map_or(8, |it| it.parse().unwrap());
    let dir = directory();
    let contents = fill(dir.path());
    let generation = EmbeddedStore::open(dir.path(), AMPLE_ALL).unwrap().generation();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    let original: Vec<_> = files(dir.path()).into_iter().map(read).collect();
    assert!(survey(dir.path()).unwrap().is_sound());
    let count =
        |part: &str| original.iter().filter(|(it, _)| it.to_str().unwrap().contains(part)).count();
    assert!(count("tables") >= 6 && count(".jnl") == 1);

    let mut fates: BTreeMap<Fate, u64> = BTreeMap::new();
    let (mut by_repair, mut lost) = (0_u64, 0);
    for flip in 0..flips {
        let mut random = Random(flip.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (path, at, bit) = random.choose(&original);
        let place = format!("flip {flip}: bit {bit} of byte {at} of {}", path.display());
        let damage = || {
            restore(dir.path(), &original);
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1 << bit;
            fs::write(&path, bytes).unwrap();
        };
        damage();
        let found = survey(dir.path()).unwrap();
        let opened = catch_unwind(AssertUnwindSafe(|| EmbeddedStore::open(dir.path(), AMPLE_ALL)));
        let fate = if let Ok(Ok(store)) = opened {
            let (is_all, is_reported) = serve(&store, &contents, generation);
            assert!(is_reported, "a silent loss; {place}");
            match (is_all, found.is_sound()) {
                (false, true) => panic!("lost and not seen by who looks; {place}"),
                (false, false) => Fate::Reported,
                (true, false) => Fate::Harmless,
                (true, true) => Fate::NoEffect,
            }
        } else {
            assert!(!found.is_sound(), "it can't be opened, and who looks finds nothing; {place}");
            Fate::Refused
        };
        *fates.entry(fate).or_default() += 1;

        damage();
        let fresh = directory();
        let (found, is_new) = rebuild(dir.path(), fresh.path(), Anew::IfNeeded).unwrap();
        let store = EmbeddedStore::open(fresh.path(), AMPLE_ALL).unwrap();
        serve(&store, &contents, 0);
        let (there, damage) = (found.entries, found.damage);
        // Whether the last commit that is lost was an entry, nothing says; that it is lost, it does.
        let (known, all) = (there + damage.missing, contents.len() as u64);
        assert!(known == all || damage.lost_commits > 0, "{found:?}; {place}");
        assert!(known + damage.lost_commits >= all, "{found:?}; {place}");
        lost += all.saturating_sub(there);
        by_repair += u64::from(there >= all);
        // Numbers go on where they were, or clients read anew.
        let new = |log| NewEntry { log: LogId([log; 20]), bytes: vec![9; 600] };
        let outcomes =
            store.append(&(0..LOGS).map(new).collect::<Vec<_>>(), Timestamp(99)).unwrap();
        let goes_on = outcomes.iter().all(|outcome| *outcome == Outcome::Kept(EACH + 1));
        assert!(is_new || goes_on, "{outcomes:?}; {place}");
        drop(store);
        assert!(survey(fresh.path()).unwrap().is_sound(), "{place}");
    }
    println!(
        "{flips} flips in {} entries: {fates:?}, silent 0; {by_repair} repaired without loss, the others \
         with {lost} entries lost in all",
        contents.len()
    );
}

/// A table whose blocks are damaged one after the other: a start ends, and what else there is is counted.
#[test]
fn a_start_reads_past_damaged_records_of_logs() {
    let dir = directory();
    fill(dir.path());
    let store = EmbeddedStore::open(dir.path(), AMPLE_ALL).unwrap();
    let whole = store.usage().unwrap().entries;
    // So that there are several blocks.
    let new = |n: u32| {
        let log = [&n.reverse_bits().to_be_bytes()[..], &[7; 16]].concat();
        NewEntry { log: LogId(log.try_into().unwrap()), bytes: vec![1; 8] }
    };
    let new: Vec<NewEntry> = (0..2_000).map(new).collect();
    store.append(&new, Timestamp(50)).unwrap();
    store.logs.rotate_memtable_and_wait().unwrap();
    let all = store.usage().unwrap().entries;
    drop(store);
    let mut original = files(dir.path());
    original.retain(|path| path.to_str().unwrap().contains("keyspaces/4/tables"));
    let (path, bytes) = original
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .max_by_key(|(_, bytes)| bytes.len())
        .unwrap();
    assert!(bytes.len() > 40_000, "{}", bytes.len());
    let mut counted = Vec::new();
    for at in (0..bytes.len()).step_by(bytes.len() / 12) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(&path, damaged).unwrap();
        let opened = catch_unwind(AssertUnwindSafe(|| EmbeddedStore::open(dir.path(), AMPLE_ALL)));
        if let Ok(Ok(store)) = opened {
            counted.push(store.usage().unwrap().entries);
        }
    }
    let some = counted.iter().filter(|it| (whole + 1..all).contains(it)).count();
    assert!(some >= 6, "blocks are lost one at a time: {counted:?} of {all}");
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % bound as u64) as usize
    }

    /// A bit of a file: every other time of any file, however small.
    fn choose(&mut self, files: &[(PathBuf, Vec<u8>)]) -> (PathBuf, usize, usize) {
        let files: Vec<_> = files.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let all = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut index = self.below(files.len());
        if self.below(2) == 0 {
            let mut at = self.below(all);
            index = 0;
            while at >= files[index].1.len() {
                at -= files[index].1.len();
                index += 1;
            }
        }
        let (path, bytes) = files[index];
        (path.clone(), self.below(bytes.len()), self.below(8))
    }
}
