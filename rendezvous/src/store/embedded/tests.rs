//! The durable store: over restarts, on full disks, and with damaged files.

use super::*;
use crate::{
    limits::COMMIT_REPEATS,
    store::{
        FLOOR_STEP,
        contract::{self, AMPLE},
    },
};

const LOG: LogId = LogId([1; 20]);
const OTHER: LogId = LogId([2; 20]);

fn new(log: LogId, byte: u8) -> NewEntry {
    NewEntry { log, bytes: vec![byte; 512] }
}

/// The key of an entry.
fn at(store: &EmbeddedStore, seq: u64) -> Vec<u8> {
    store.find(&store.periods.all(), LOG, seq).unwrap().unwrap().period.key(LOG, seq)
}

#[test]
fn it_obeys_the_laws_of_a_store() {
    contract::holds_on_disk(|dir, quota| EmbeddedStore::open(dir, quota).unwrap());
}

#[test]
fn everything_is_there_after_it_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let generation = store.generation();
    store.append(&[new(LOG, 1), new(OTHER, 2), new(LOG, 3)], Timestamp(5)).unwrap();
    let before = store.read(LOG, 0, 9999).unwrap();
    drop(store);

    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    assert_eq!(store.generation(), generation);
    assert_eq!(store.read(LOG, 0, 9999).unwrap(), before);
    assert_eq!(store.append(&[new(LOG, 3)], Timestamp(6)).unwrap(), [Outcome::Kept(2)]);
    assert_eq!(store.append(&[new(LOG, 4)], Timestamp(6)).unwrap(), [Outcome::Kept(3)]);
    assert_eq!(store.lock().used.bytes, 4 * 512);
}

#[test]
fn of_what_it_has_already_one_batch_looks_up_so_much_and_what_is_new_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let many = u8::try_from(COMMIT_REPEATS + 2).unwrap();
    let mut batch: Vec<NewEntry> = (0..many).map(|byte| new(LOG, byte)).collect();
    let all: Vec<Outcome> = (1..=u64::from(many)).map(Outcome::Kept).collect();
    assert_eq!(store.append(&batch, Timestamp(5)).unwrap(), all, "what is new is not looked up");
    batch.push(new(LOG, many));
    let again = store.append(&batch, Timestamp(6)).unwrap();
    let (seen, rest) = again.split_at(COMMIT_REPEATS);
    assert_eq!(seen, &all[..COMMIT_REPEATS]);
    assert_eq!(rest, [Outcome::Later, Outcome::Later, Outcome::Kept(u64::from(many) + 1)]);
    let rest = store.append(&batch[COMMIT_REPEATS..], Timestamp(7)).unwrap();
    assert_eq!(rest[..2], all[COMMIT_REPEATS..]);
}

#[test]
fn heads_don_t_go_back_after_all_expired_and_the_store_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(LOG, 2)], Timestamp(5)).unwrap();
    store.expire(Timestamp(6), Timestamp(6), 10).unwrap();
    drop(store);

    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let outcomes = store.append(&[new(LOG, 1)], Timestamp(7)).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(FLOOR_STEP + 1)]);
}

#[test]
fn what_was_trimmed_stays_gone_and_its_room_stays_free_after_the_store_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let generation = store.generation();
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3)], Timestamp(5)).unwrap();
    store.trim(LOG, 3, 9).unwrap();
    drop(store);

    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    assert_eq!((store.generation(), store.lock().used.bytes), (generation, 512));
    let page = store.read(LOG, 0, 9999).unwrap();
    assert_eq!((page.begins, page.entries[0].seq, page.damaged), (2, 3, 0));
    for keyspace in [&store.entries, &store.ids, &store.expiry] {
        assert_eq!(keyspace.iter().count(), 1, "nothing of it is left");
    }
    assert_eq!(store.append(&[new(LOG, 1)], Timestamp(6)).unwrap(), [Outcome::Kept(4)]);
}

#[test]
fn a_damaged_entry_is_trimmed_too_and_what_is_counted_of_it_goes_when_it_expires() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3), new(LOG, 4)], Timestamp(5)).unwrap();
    let mut value = store.record_at(LOG, 2).unwrap().unwrap().to_vec();
    value[100] ^= 1;
    store.entries.insert(at(&store, 2), value).unwrap();

    assert_eq!(store.trim(LOG, 3, 9).unwrap(), Trimmed { begins: 3, gone: 3 });
    assert_eq!(store.trim(LOG, 3, 9).unwrap(), Trimmed { begins: 3, gone: 0 });
    let page = store.read(LOG, 0, 9999).unwrap();
    assert_eq!((page.entries.len(), page.damaged, store.lock().used.bytes), (1, 0, 1024));
    assert_eq!(store.expire(Timestamp(6), Timestamp(6), 9).unwrap(), 2);
    assert_eq!(store.lock().used.bytes, 0);
}

#[test]
fn a_damaged_entry_is_skipped_and_counted_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3), new(OTHER, 4)], Timestamp(5)).unwrap();
    let mut value = store.record_at(LOG, 2).unwrap().unwrap().to_vec();
    value[100] ^= 1;
    store.entries.insert(at(&store, 2), value).unwrap();

    let page = store.read(LOG, 0, 9999).unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((page.damaged, page.read_to, page.head), (1, 3, 3));
    assert_eq!(store.read(OTHER, 0, 9999).unwrap().entries.len(), 1);
}

#[test]
fn what_is_damaged_is_taken_anew_where_it_is_given_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3)], Timestamp(5)).unwrap();
    let mut value = store.record_at(LOG, 2).unwrap().unwrap().to_vec();
    value[100] ^= 1;
    store.entries.insert(at(&store, 2), value).unwrap();
    for again in 0..2 {
        let outcomes = store.append(&[new(LOG, 3), new(LOG, 2)], Timestamp(6)).unwrap();
        assert_eq!(outcomes, [Outcome::Kept(3), Outcome::Kept(4)], "{again}");
    }
    let page = store.read(LOG, 0, 9999).unwrap();
    assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(page.entries[2].bytes, vec![2; 512]);
    store.entries.insert(at(&store, 1), record(LOG, 1, Timestamp(5), &[])).unwrap();
    let outcomes = store.append(&[new(LOG, 1)], Timestamp(6)).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(5)], "of a place that is known to be lost");
}

#[test]
fn what_was_taken_anew_is_one_entry_also_once_the_damaged_one_expires() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(LOG, 2)], Timestamp(5)).unwrap();
    let mut value = store.record_at(LOG, 2).unwrap().unwrap().to_vec();
    value[100] ^= 1;
    store.entries.insert(at(&store, 2), value).unwrap();
    assert_eq!(store.append(&[new(LOG, 2)], Timestamp(7)).unwrap(), [Outcome::Kept(3)]);
    drop(store);
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    assert_eq!(store.expire(Timestamp(6), Timestamp(8), 9).unwrap(), 2);
    assert_eq!(store.append(&[new(LOG, 2)], Timestamp(8)).unwrap(), [Outcome::Kept(3)]);
    assert_eq!(store.expire(Timestamp(8), Timestamp(9), 9).unwrap(), 1);
    assert_eq!(store.ids.iter().count(), 0, "nothing of it is left");
}

#[test]
fn what_a_read_does_not_tell_is_not_said_to_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    for n in 1..=3 {
        store.append(&[new(LOG, n)], Timestamp(n.into())).unwrap();
    }
    // What is due is passed over where its record can't be read: it stays, before where its log begins.
    store.expiry.remove(due_key(Timestamp(1), LOG, 1)).unwrap();
    store.expire(Timestamp(3), Timestamp(4), 9).unwrap();
    let seqs = || {
        let page = store.read(LOG, 0, 9999).unwrap();
        page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!((seqs(), store.entries.iter().count()), (vec![3], 3));
    assert_eq!(store.append(&[new(LOG, 1)], Timestamp(4)).unwrap(), [Outcome::Kept(4)]);
    assert_eq!(store.append(&[new(LOG, 1)], Timestamp(4)).unwrap(), [Outcome::Kept(4)]);
    // As if two entries had one short id.
    let id = short(EntryId::of(&new(LOG, 9).bytes));
    store.ids.insert(id_key(LOG, id), 3_u64.to_be_bytes()).unwrap();
    assert_eq!(store.append(&[new(LOG, 9)], Timestamp(4)).unwrap(), [Outcome::Kept(5)]);
    assert_eq!(seqs(), [3, 4, 5]);
}

#[test]
fn salvage_reads_what_a_scan_reads_and_stops_at_the_same_size() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3)], Timestamp(5)).unwrap();
    for max_bytes in [0, 512, 1024, 9999] {
        let mut page = Page { head: 3, ..Page::default() };
        store.salvage(LOG, &mut page, max_bytes);
        assert_eq!(page, store.read(LOG, 0, max_bytes).unwrap(), "{max_bytes}");
    }
}

#[test]
fn a_flipped_bit_in_the_files_never_gives_wrong_bytes_nor_takes_other_logs_down() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let batch: Vec<_> = (0..40_u8).map(|i| new(LogId([i % 4; 20]), i)).collect();
    store.append(&batch, Timestamp(5)).unwrap();
    store.entries.rotate_memtable_and_wait().unwrap();
    drop(store);
    let table = largest_table(dir.path());
    let mut bytes = std::fs::read(&table).unwrap();
    let at = bytes.windows(64).position(|window| window == [17; 64]).unwrap();
    bytes[at] ^= 4;
    std::fs::write(&table, bytes).unwrap();

    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let mut served = 0;
    let mut damaged = 0;
    for log in 0..4_u8 {
        let page = store.read(LogId([log; 20]), 0, usize::MAX).unwrap();
        served += page.entries.len();
        damaged += page.damaged;
        assert_eq!(page.read_to, 10);
        for entry in page.entries {
            let expected = log + 4 * (u8::try_from(entry.seq).unwrap() - 1);
            assert_eq!(entry.bytes, vec![expected; 512]);
        }
    }
    assert!(damaged >= 1 && served >= 30, "{served} served, {damaged} damaged");
    assert_eq!(served as u64 + damaged, 40);
}

#[test]
fn a_log_whose_record_is_damaged_takes_nothing_more_and_no_other_log_notices() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1), new(OTHER, 1)], Timestamp(5)).unwrap();
    store.logs.insert(*LOG.as_bytes(), [0; 7]).unwrap();
    let batch = [new(LOG, 2), new(OTHER, 2)];
    let outcomes = store.append(&batch, Timestamp(6)).unwrap();
    assert_eq!(outcomes, [Outcome::Damaged, Outcome::Kept(2)]);
    assert!(matches!(store.read(LOG, 0, 9999), Err(StoreError::Damaged)));
    drop(store);
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    assert_eq!(store.read(OTHER, 0, 9999).unwrap().entries.len(), 2);
    assert_eq!(store.expire(Timestamp(9), Timestamp(9), 99).unwrap(), 4 - 1);
}

#[test]
fn what_is_due_behind_a_damaged_block_expires_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    for time in 1..=40_u8 {
        let batch: Vec<_> = (0..10).map(|log| new(LogId([log; 20]), time)).collect();
        store.append(&batch, Timestamp(time.into())).unwrap();
    }
    store.expiry.rotate_memtable_and_wait().unwrap();
    drop(store);
    let first = due_key(Timestamp(1), LogId([0; 20]), 1);
    let (table, mut bytes) = files(dir.path())
        .into_iter()
        .filter(|path| path.parent().unwrap().ends_with("tables"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .find(|(_, bytes)| bytes.windows(36).any(|window| window == first))
        .unwrap();
    let at = bytes.windows(36).position(|window| window == first).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(table, bytes).unwrap();

    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let (mut gone, end) = (0, Timestamp(41));
    loop {
        match store.expire(end, end, 50).unwrap() {
            0 => break,
            some => gone += some,
        }
    }
    assert!((200..400).contains(&gone), "{gone} of 400");
}

#[test]
fn a_store_that_went_back_begins_a_new_generation() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let generation = store.generation();
    for byte in 1..=3 {
        store.append(&[new(LOG, byte)], Timestamp(5)).unwrap();
    }
    drop(store);
    let journal = files(dir.path()).into_iter().find(|it| it.ends_with("0.jnl")).unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    let third = bytes.windows(64).position(|window| window == [3; 64]).unwrap();
    // With some of what stands before the bytes of the third batch's first item.
    bytes[third - 60..].fill(0);
    std::fs::write(&journal, bytes).unwrap();

    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    assert_eq!(store.read(LOG, 0, 9999).unwrap().head, 2, "an acknowledged entry is lost");
    assert_ne!(store.generation(), generation);
    let generation = store.generation();
    drop(store);
    assert_eq!(EmbeddedStore::open(dir.path(), AMPLE).unwrap().generation(), generation);
}

#[test]
fn a_disk_with_too_little_room_is_full_and_is_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    store.append(&[new(LOG, 1)], Timestamp(5)).unwrap();
    drop(store);
    let mut store = EmbeddedStore::open_with(dir.path(), AMPLE, u64::MAX).unwrap();
    let outcomes = store.append(&[new(LOG, 1), new(LOG, 2)], Timestamp(6)).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(1), Outcome::StoreFull]);
    assert_eq!(store.read(LOG, 0, 9999).unwrap().entries.len(), 1);
    store.reserve = 0;
    assert_eq!(store.append(&[new(LOG, 2)], Timestamp(6)).unwrap(), [Outcome::Kept(2)]);
}

#[test]
fn the_clock_is_remembered_as_long_as_something_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let open = || EmbeddedStore::open(dir.path(), AMPLE).unwrap();
    let (soon, later) = (Timestamp(5), Timestamp(5 + CLOCK_STEP));
    assert_eq!(open().clock(), None);
    open().append(&[new(LOG, 1)], soon).unwrap();
    assert_eq!(open().clock(), Some(soon));
    open().expire(soon, later, 9).unwrap();
    assert_eq!(open().clock(), Some(later));
    open().expire(later, later, 9).unwrap();
    assert_eq!(open().clock(), None);
}

#[test]
fn flipped_bits_anywhere_never_give_wrong_bytes_nor_bring_numbers_back() {
    let origin = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(origin.path(), AMPLE).unwrap();
    let batch: Vec<_> = (0..40_u8).map(|i| new(LogId([i % 4; 20]), i)).collect();
    store.append(&batch[..20], Timestamp(5)).unwrap();
    for keyspace in [&store.entries, &store.ids, &store.expiry, &store.logs] {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    store.append(&batch[20..], Timestamp(6)).unwrap();
    let generation = store.generation();
    drop(store);

    // Empty ones last.
    let mut sources = files(origin.path());
    sources.sort_by_key(|path| path.metadata().unwrap().len() == 0);
    let full = sources.iter().filter(|path| path.metadata().unwrap().len() > 0).count();
    let mut opened_again = 0;
    // One directory, and the witness one file: in another one a store begins a new generation.
    let dir = origin.path();
    let sources: Vec<_> =
        sources.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    for round in 1..=8_u64 {
        let mut rng = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: usize| {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            (rng % below as u64) as usize
        };
        let target = random(full);
        for path in files(dir).into_iter().filter(|path| !path.ends_with("witness")) {
            std::fs::remove_file(path).unwrap();
        }
        for (index, (bytes, path)) in sources.iter().enumerate() {
            let mut bytes = bytes.clone();
            if path.ends_with("0.jnl") {
                // Without the zeros that were there before it was written.
                bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
            }
            if index == target {
                let at = random(bytes.len());
                bytes[at] ^= 1 << random(8);
            }
            std::fs::write(path, bytes).unwrap();
        }
        let opened = std::panic::catch_unwind(|| EmbeddedStore::open(dir, AMPLE));
        let Ok(Ok(store)) = opened else { continue };
        opened_again += 1;
        for log in 0..4_u8 {
            let Ok(page) = store.read(LogId([log; 20]), 0, usize::MAX) else { continue };
            for entry in &page.entries {
                let expected = log + 4 * (u8::try_from(entry.seq).unwrap() - 1);
                assert_eq!(entry.bytes, vec![expected; 512], "round {round}");
            }
            let outcome = store.append(&[new(LogId([log; 20]), 99)], Timestamp(7)).unwrap()[0];
            if let Outcome::Kept(seq) = outcome
                && store.generation() == generation
            {
                assert_eq!(seq, 11, "round {round}: {}", sources[target].1.display());
            }
        }
        store.expire(Timestamp(8), Timestamp(8), 99).unwrap();
    }
    assert!(opened_again > 0);
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for item in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let found = if item.file_type().unwrap().is_dir() { &mut dirs } else { &mut files };
            found.push(item.path());
        }
    }
    files.sort();
    files
}

fn largest_table(dir: &Path) -> std::path::PathBuf {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for item in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let kind = item.file_type().unwrap();
            if kind.is_dir() {
                dirs.push(item.path());
            } else if item.path().parent().unwrap().ends_with("tables") {
                files.push((item.metadata().unwrap().len(), item.path()));
            }
        }
    }
    files.sort();
    files.pop().unwrap().1
}
