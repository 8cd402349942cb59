//! The durable store: fjall, one synced batch for each group of appends.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | entries | log 20 ‖ number 8 | time 8 ‖ checksum 16 ‖ bytes |
//! | ids | log 20 ‖ entry id 16 | number 8 |
//! | expiry | time 8 ‖ log 20 ‖ number 8 | entry id 16 ‖ length 4 |
//! | logs | log 20 | head 8 ‖ entries 8 ‖ bytes 8 |
//! | meta | `generation`, `floor` | 8 |
//!
//! Numbers are big-endian. `floor` is the highest head that a forgotten log had: a log starts above
//! it, so that an old cursor never hides a new entry.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    config::CompressionPolicy,
};
use protocol::{
    hash::{Label, kdf16},
    ids::{LogId, Timestamp},
    relay_log::{Entry, EntryId},
};

use super::{LogStore, NewEntry, Outcome, Page, Quota, StoreError, Tally, new_generation};

/// Logs on disk.
pub struct EmbeddedStore {
    db: Database,
    entries: Keyspace,
    ids: Keyspace,
    expiry: Keyspace,
    logs: Keyspace,
    meta: Keyspace,
    generation: u64,
    quota: Quota,
    /// Held by whoever writes.
    totals: Mutex<Totals>,
}

#[derive(Clone, Copy)]
struct Totals {
    bytes: u64,
    floor: u64,
}

/// The 16 bytes of an entry's id that the indexes keep.
type ShortId = [u8; 16];

const MEMTABLE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES: u64 = 64 << 20;
const CACHE_BYTES: u64 = 8 << 20;
const ENTRY_HEADER: usize = 24;
/// Numbers that one salvaging read looks at.
const SALVAGE_STEPS: u64 = 1024;

impl EmbeddedStore {
    /// Opens the store in a directory, or makes one there.
    pub fn open(dir: &Path, quota: Quota) -> Result<Self, StoreError> {
        let db = Database::builder(dir)
            .worker_threads(1)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .journal_compression(CompressionType::None)
            .open()?;
        let keyspace = |name: &str| {
            db.keyspace(name, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(MEMTABLE_BYTES)
                    .data_block_compression_policy(CompressionPolicy::disabled())
                    .index_block_compression_policy(CompressionPolicy::disabled())
            })
        };
        let (entries, ids, expiry) = (keyspace("entries")?, keyspace("ids")?, keyspace("expiry")?);
        let (logs, meta) = (keyspace("logs")?, keyspace("meta")?);

        let generation = match meta.get("generation")? {
            Some(bytes) => number(&bytes)?,
            None => {
                let generation = new_generation()?;
                let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&meta, "generation", generation.to_be_bytes());
                batch.commit()?;
                generation
            }
        };
        let floor = meta.get("floor")?.map_or(Ok(0), |bytes| number(&bytes))?;
        let mut bytes = 0_u64;
        for log in logs.iter() {
            // A damaged record is its own log's misfortune.
            if let Ok(tally) = log.value().map_err(StoreError::from).and_then(|v| tally(&v)) {
                bytes = bytes.saturating_add(tally.bytes);
            }
        }
        let totals = Mutex::new(Totals { bytes, floor });
        Ok(Self { db, entries, ids, expiry, logs, meta, generation, quota, totals })
    }

    fn tally(&self, log: LogId) -> Result<Option<Tally>, StoreError> {
        self.logs.get(log.as_bytes())?.map(|bytes| tally(&bytes)).transpose()
    }

    fn number_of(&self, log: LogId, id: ShortId) -> Result<Option<u64>, StoreError> {
        self.ids.get(id_key(log, id))?.map(|seq| number(&seq)).transpose()
    }

    fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncAll))
    }

    fn floor(&self) -> u64 {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).floor
    }

    /// Reads number by number, past what the disk can't give back.
    fn salvage(&self, log: LogId, page: &mut Page, max_bytes: usize) {
        let mut room =
            max_bytes.saturating_sub(page.entries.iter().map(|entry| entry.bytes.len()).sum());
        let last = page.head.min(page.read_to.saturating_add(SALVAGE_STEPS));
        for seq in page.read_to + 1..=last {
            match self.entries.get(place(log, seq)) {
                Ok(None) => {}
                Ok(Some(value)) => match checked(log, seq, &value) {
                    Some(bytes) if bytes.len() > room && !page.entries.is_empty() => return,
                    Some(bytes) => {
                        room = room.saturating_sub(bytes.len());
                        page.entries.push(Entry { seq, bytes: bytes.to_vec() });
                    }
                    None => page.damaged += 1,
                },
                Err(_) => page.damaged += 1,
            }
            page.read_to = seq;
        }
    }
}

impl LogStore for EmbeddedStore {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn append(&self, entries: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let Totals { mut bytes, floor } = *totals;
        let mut tallies: BTreeMap<LogId, Tally> = BTreeMap::new();
        let mut fresh: BTreeMap<(LogId, ShortId), u64> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut batch = self.batch();
        for new in entries {
            let id = short(EntryId::of(&new.bytes));
            let known = match fresh.get(&(new.log, id)) {
                Some(seq) => Ok(Some(*seq)),
                None => self.number_of(new.log, id),
            };
            let tally = match tallies.get(&new.log) {
                Some(tally) => Ok(*tally),
                None => self.tally(new.log).map(|held| held.unwrap_or(Tally::born_at(floor))),
            };
            let mut tally = match (known, tally) {
                (Ok(Some(seq)), _) => {
                    outcomes.push(Outcome::Kept(seq));
                    continue;
                }
                (Ok(None), Ok(tally)) => tally,
                (Err(_), _) | (_, Err(_)) => {
                    outcomes.push(Outcome::Damaged);
                    continue;
                }
            };
            let outcome = tally.add(&mut bytes, new.bytes.len(), &self.quota);
            outcomes.push(outcome);
            let Outcome::Kept(seq) = outcome else { continue };
            tallies.insert(new.log, tally);
            fresh.insert((new.log, id), seq);
            batch.insert(&self.entries, place(new.log, seq), value(new, seq, now));
            batch.insert(&self.ids, id_key(new.log, id), seq.to_be_bytes());
            let mut due = id.to_vec();
            due.extend_from_slice(
                &u32::try_from(new.bytes.len()).unwrap_or(u32::MAX).to_be_bytes(),
            );
            batch.insert(&self.expiry, due_key(now, new.log, seq), due);
        }
        for (log, tally) in &tallies {
            batch.insert(&self.logs, *log.as_bytes(), tally_bytes(tally));
        }
        if !tallies.is_empty() {
            batch.commit()?;
            totals.bytes = bytes;
        }
        Ok(outcomes)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        let Some(tally) = self.tally(log)? else {
            let floor = self.floor();
            return Ok(Page { read_to: floor, head: floor, ..Page::default() });
        };
        if after >= tally.head {
            return Ok(Page { read_to: tally.head, head: tally.head, ..Page::default() });
        }
        let mut page = Page { read_to: after, head: tally.head, ..Page::default() };
        let mut room = max_bytes;
        for item in self.entries.range(place(log, after.saturating_add(1))..=place(log, tally.head))
        {
            let Ok((key, value)) = item.into_inner() else {
                self.salvage(log, &mut page, max_bytes);
                return Ok(page);
            };
            let Some(seq) = seq_of(&key) else { continue };
            match checked(log, seq, &value) {
                Some(bytes) if bytes.len() > room && !page.entries.is_empty() => {
                    page.read_to = seq - 1;
                    return Ok(page);
                }
                Some(bytes) => {
                    room = room.saturating_sub(bytes.len());
                    page.entries.push(Entry { seq, bytes: bytes.to_vec() });
                }
                None => page.damaged += 1,
            }
            page.read_to = seq;
        }
        page.read_to = tally.head;
        Ok(page)
    }

    fn expire(&self, before: Timestamp, max: usize) -> Result<usize, StoreError> {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = *totals;
        let mut tallies: BTreeMap<LogId, Tally> = BTreeMap::new();
        let mut batch = self.batch();
        let mut gone = 0;
        for item in self.expiry.range(..before.0.to_be_bytes()).take(max) {
            let (key, due) = item.into_inner()?;
            batch.remove(&self.expiry, key.clone());
            gone += 1;
            let (Some((log, seq)), Some((id, len))) = (due_of(&key), due_value(&due)) else {
                continue;
            };
            batch.remove(&self.entries, place(log, seq));
            batch.remove(&self.ids, id_key(log, id));
            let tally = match tallies.get(&log) {
                Some(tally) => Some(*tally),
                None => self.tally(log).ok().flatten(),
            };
            if let Some(mut tally) = tally {
                tally.remove(&mut after.bytes, len);
                tallies.insert(log, tally);
            }
        }
        for (log, tally) in &tallies {
            if tally.entries == 0 {
                after.floor = after.floor.max(tally.head);
                batch.remove(&self.logs, *log.as_bytes());
            } else {
                batch.insert(&self.logs, *log.as_bytes(), tally_bytes(tally));
            }
        }
        if after.floor != totals.floor {
            batch.insert(&self.meta, "floor", after.floor.to_be_bytes());
        }
        if gone > 0 {
            batch.commit()?;
            *totals = after;
        }
        Ok(gone)
    }
}

fn short(id: EntryId) -> ShortId {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}

fn place(log: LogId, seq: u64) -> [u8; 28] {
    let mut key = [0; 28];
    key[..20].copy_from_slice(log.as_bytes());
    key[20..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq_of(place: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(place.get(20..)?.try_into().ok()?))
}

fn id_key(log: LogId, id: ShortId) -> [u8; 36] {
    let mut key = [0; 36];
    key[..20].copy_from_slice(log.as_bytes());
    key[20..].copy_from_slice(&id);
    key
}

fn due_key(time: Timestamp, log: LogId, seq: u64) -> [u8; 36] {
    let mut key = [0; 36];
    key[..8].copy_from_slice(&time.0.to_be_bytes());
    key[8..].copy_from_slice(&place(log, seq));
    key
}

fn due_of(key: &[u8]) -> Option<(LogId, u64)> {
    let place = key.get(8..)?;
    Some((LogId::from_slice(place.get(..20)?)?, seq_of(place)?))
}

fn due_value(value: &[u8]) -> Option<(ShortId, u64)> {
    let (id, len) = value.split_first_chunk::<16>()?;
    Some((*id, u64::from(u32::from_be_bytes(len.try_into().ok()?))))
}

fn value(new: &NewEntry, seq: u64, now: Timestamp) -> Vec<u8> {
    let mut value = Vec::with_capacity(ENTRY_HEADER + new.bytes.len());
    value.extend_from_slice(&now.0.to_be_bytes());
    value.extend_from_slice(&checksum(new.log, seq, &now.0.to_be_bytes(), &new.bytes));
    value.extend_from_slice(&new.bytes);
    value
}

/// The entry in a value, if it is the one that was written at this place.
fn checked(log: LogId, seq: u64, value: &[u8]) -> Option<&[u8]> {
    let (time, rest) = value.split_first_chunk::<8>()?;
    let (sum, bytes) = rest.split_first_chunk::<16>()?;
    (checksum(log, seq, time, bytes) == *sum).then_some(bytes)
}

fn checksum(log: LogId, seq: u64, time: &[u8; 8], bytes: &[u8]) -> [u8; 16] {
    kdf16(&[], Label::EntrySum, &[log.as_bytes(), &seq.to_be_bytes(), time, bytes])
}

fn tally_bytes(tally: &Tally) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&tally.head.to_be_bytes());
    bytes[8..16].copy_from_slice(&tally.entries.to_be_bytes());
    bytes[16..].copy_from_slice(&tally.bytes.to_be_bytes());
    bytes
}

fn tally(bytes: &[u8]) -> Result<Tally, StoreError> {
    let part = |at: usize| bytes.get(at..at + 8).ok_or(StoreError::Damaged).and_then(number);
    if bytes.len() != 24 {
        return Err(StoreError::Damaged);
    }
    Ok(Tally { head: part(0)?, entries: part(8)?, bytes: part(16)? })
}

fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{self, AMPLE};

    const LOG: LogId = LogId([1; 20]);
    const OTHER: LogId = LogId([2; 20]);

    fn new(log: LogId, byte: u8) -> NewEntry {
        NewEntry { log, bytes: vec![byte; 512] }
    }

    #[test]
    fn it_obeys_the_laws_of_a_store() {
        let dirs = tempfile::tempdir().unwrap();
        let count = std::cell::Cell::new(0);
        contract::holds(&|quota| {
            count.set(count.get() + 1);
            let dir = dirs.path().join(count.get().to_string());
            Box::new(EmbeddedStore::open(&dir, quota).unwrap())
        });
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
        assert_eq!(store.totals.lock().unwrap().bytes, 4 * 512);
    }

    #[test]
    fn heads_don_t_go_back_after_all_expired_and_the_store_was_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
        store.append(&[new(LOG, 1), new(LOG, 2)], Timestamp(5)).unwrap();
        store.expire(Timestamp(6), 10).unwrap();
        drop(store);

        let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
        assert_eq!(store.append(&[new(LOG, 1)], Timestamp(7)).unwrap(), [Outcome::Kept(3)]);
    }

    #[test]
    fn a_damaged_entry_is_skipped_and_counted_and_the_rest_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path(), AMPLE).unwrap();
        store
            .append(&[new(LOG, 1), new(LOG, 2), new(LOG, 3), new(OTHER, 4)], Timestamp(5))
            .unwrap();
        let mut value = store.entries.get(place(LOG, 2)).unwrap().unwrap().to_vec();
        value[100] ^= 1;
        store.entries.insert(place(LOG, 2), value).unwrap();

        let page = store.read(LOG, 0, 9999).unwrap();
        assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((page.damaged, page.read_to, page.head), (1, 3, 3));
        assert_eq!(store.read(OTHER, 0, 9999).unwrap().entries.len(), 1);
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
        assert_eq!(store.expire(Timestamp(9), 99).unwrap(), 4 - 1);
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
}
