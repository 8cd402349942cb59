//! The durable store: fjall, one synced batch for each group of appends.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | entries | log 20 ‖ number 8 | time 8 ‖ checksum 16 ‖ bytes |
//! | ids | log 20 ‖ entry id 16 | number 8 |
//! | expiry | time 8 ‖ log 20 ‖ number 8 | entry id 16 ‖ length 4 |
//! | logs | log 20 | head 8 ‖ entries 8 ‖ bytes 8 |
//! | meta | `generation`, `floor`, `commits`, `clock` | 8 |
//!
//! Numbers are big-endian. `floor` is the highest head that a forgotten log had: a log starts above
//! it, so that an old cursor never hides a new entry. `commits` counts the batches; if it is behind
//! what the file `witness` says, the store has gone back, and begins a new generation.
//!
//! > A full disk is refused before it is full: fjall takes nothing more after a write that failed, so
//! > appends stop while there is still room to sort and to delete what is there. After a write that
//! > failed all the same, the relay ends, and whoever started it starts it again.

mod trim;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Slice, config::CompressionPolicy,
};
use protocol::{
    hash::{Label, kdf16},
    ids::{LogId, Timestamp},
    relay_log::{Entry, EntryId},
};

use super::{
    LogStore, NewEntry, Outcome, Page, Quota, StoreError, Tally, Trimmed, new_generation,
    witness::Witness,
};

/// Logs on disk.
pub struct EmbeddedStore {
    db: Database,
    entries: Keyspace,
    ids: Keyspace,
    expiry: Keyspace,
    logs: Keyspace,
    meta: Keyspace,
    path: PathBuf,
    generation: u64,
    clock: Option<Timestamp>,
    quota: Quota,
    reserve: u64,
    /// Held by whoever writes.
    totals: Mutex<Totals>,
    /// For those who read; written with `totals` held.
    floor: AtomicU64,
}

struct Totals {
    bytes: u64,
    commits: u64,
    clock: Timestamp,
    witness: Witness,
    has_room: bool,
}

/// The 16 bytes of an entry's id that the indexes keep.
type ShortId = [u8; 16];

const MEMTABLE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES: u64 = 64 << 20;
const CACHE_BYTES: u64 = 8 << 20;
const ENTRY_HEADER: usize = 24;
/// Numbers that one salvaging read looks at.
const SALVAGE_STEPS: u64 = 1024;
/// Room on the disk that appends leave: for two journals, the memtables, and tables being merged.
const RESERVE_BYTES: u64 = 256 << 20;
/// How far the clock goes on before it is written down without need, in milliseconds.
const CLOCK_STEP: u64 = 10 * 60 * 1000;

impl EmbeddedStore {
    /// Opens the store in a directory, or makes one there.
    pub fn open(dir: &Path, quota: Quota) -> Result<Self, StoreError> {
        Self::open_with(dir, quota, RESERVE_BYTES)
    }

    fn open_with(dir: &Path, quota: Quota, reserve: u64) -> Result<Self, StoreError> {
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

        // What a killed process wrote may be in memory only: it is made durable before it is served,
        // and before a repeated append is answered by it.
        db.persist(PersistMode::SyncAll)?;
        let meta_number = |key: &str| meta.get(key)?.map(|bytes| number(&bytes)).transpose();
        let floor = meta_number("floor")?.unwrap_or(0);
        let commits = meta_number("commits")?.unwrap_or(0);
        let clock = meta_number("clock")?.map(Timestamp);
        let (mut witness, witnessed) = Witness::open(&dir.join("witness"))?;
        let lost = witnessed.unwrap_or(0).saturating_sub(commits);
        if lost > 0 {
            tracing::error!(commits = lost, "the store has lost what it had; clients read it anew");
        }
        let generation = match meta_number("generation")? {
            Some(generation) if lost == 0 => generation,
            _ => {
                let generation = new_generation()?;
                let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&meta, "generation", generation.to_be_bytes());
                batch.commit()?;
                witness.say(commits)?;
                generation
            }
        };
        let mut bytes = 0_u64;
        for log in logs.iter() {
            // A damaged record is its own log's misfortune.
            if let Ok(tally) = log.value().map_err(StoreError::from).and_then(|v| tally(&v)) {
                bytes = bytes.saturating_add(tally.bytes);
            }
        }
        let newest = expiry.last_key_value().and_then(|last| due_time(&last.key().ok()?));
        let clock = newest.map(|newest| clock.map_or(newest, |clock| clock.max(newest)));
        let kept = clock.unwrap_or(Timestamp(0));
        let totals = Mutex::new(Totals { bytes, commits, clock: kept, witness, has_room: true });
        let (path, floor) = (dir.to_path_buf(), AtomicU64::new(floor));
        let store = Self {
            db,
            entries,
            ids,
            expiry,
            logs,
            meta,
            path,
            generation,
            clock,
            quota,
            reserve,
            totals,
            floor,
        };
        store.look_for_room(0, &mut store.lock());
        Ok(store)
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

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits, synced, and tells the witness.
    fn commit(&self, mut batch: OwnedWriteBatch, totals: &mut Totals) -> Result<(), StoreError> {
        let commits = totals.commits + 1;
        batch.insert(&self.meta, "commits", commits.to_be_bytes());
        batch.commit()?;
        totals.commits = commits;
        Ok(totals.witness.say(commits)?)
    }

    /// Notes whether the disk has room for so many bytes above the reserve, and says when that
    /// changes.
    fn look_for_room(&self, bytes: u64, totals: &mut Totals) {
        // Where it can't be asked, the write itself will tell.
        let free = fs4::available_space(&self.path).unwrap_or(u64::MAX);
        let has_room = free >= self.reserve.saturating_add(bytes);
        if has_room != totals.has_room {
            totals.has_room = has_room;
            let (free_mib, reserve_mib) = (free >> 20, self.reserve >> 20);
            if has_room {
                tracing::info!(free_mib, "the disk has room again");
            } else {
                tracing::error!(free_mib, reserve_mib, "the disk is nearly full: nothing is taken");
            }
        }
    }

    /// Up to `max` records of entries that were appended before `before`. What the disk can't give
    /// back is passed over: its entries stay, and no others.
    fn due(&self, before: Timestamp, max: usize) -> Vec<(Slice, Slice)> {
        let mut due = Vec::new();
        let mut from = 0;
        while from < before.0 && due.len() < max {
            let mut records = self.due_from(from, before);
            let read = loop {
                match records.next() {
                    Some(Ok(record)) if due.len() < max => due.push(record),
                    Some(Err(_)) => break false,
                    _ => break true,
                }
            };
            if read {
                break;
            }
            let last = due.last().and_then(|(key, _): &(Slice, _)| due_time(key));
            from = self.past_damage(last.map_or(from, |last| last.0.max(from)), before);
        }
        due
    }

    /// The first time after `from` at which the records of what is due can be read again.
    fn past_damage(&self, from: u64, before: Timestamp) -> u64 {
        let (mut damaged, mut sound) = (from, before.0);
        while sound.saturating_sub(damaged) > 1 {
            let middle = damaged + (sound - damaged) / 2;
            if matches!(self.due_from(middle, before).next(), Some(Err(_))) {
                damaged = middle;
            } else {
                sound = middle;
            }
        }
        sound
    }

    fn due_from(
        &self,
        from: u64,
        before: Timestamp,
    ) -> impl Iterator<Item = fjall::Result<(Slice, Slice)>> {
        self.expiry.range(from.to_be_bytes()..before.0.to_be_bytes()).map(fjall::Guard::into_inner)
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
        let mut totals = self.lock();
        let mut bytes = totals.bytes;
        let floor = self.floor.load(Ordering::Acquire);
        let wanted = entries.iter().map(|new| new.bytes.len() as u64).sum();
        self.look_for_room(wanted, &mut totals);
        let quota =
            if totals.has_room { self.quota } else { Quota { total_bytes: 0, ..self.quota } };
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
            let outcome = tally.add(&mut bytes, new.bytes.len(), &quota);
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
            self.commit(batch, &mut totals)?;
            totals.bytes = bytes;
        }
        Ok(outcomes)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        // Before the tally, lest the log be made meanwhile below a floor that rises.
        let floor = self.floor.load(Ordering::Acquire);
        let Some(tally) = self.tally(log)? else {
            return Ok(Page { read_to: floor, head: floor, begins: floor, ..Page::default() });
        };
        if after >= tally.head {
            return Ok(Page { read_to: tally.head, head: tally.head, ..Page::default() });
        }
        let mut page = Page { read_to: after, head: tally.head, ..Page::default() };
        let mut room = max_bytes;
        let mut is_first = true;
        for item in self.entries.range(place(log, after.saturating_add(1))..=place(log, tally.head))
        {
            let Ok((key, value)) = item.into_inner() else {
                self.salvage(log, &mut page, max_bytes);
                return Ok(page);
            };
            let Some(seq) = seq_of(&key) else { continue };
            if std::mem::take(&mut is_first) {
                page.begins = seq - 1;
            }
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

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.trim_log(log, to, max)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        let mut totals = self.lock();
        let mut bytes = totals.bytes;
        let mut floor = self.floor.load(Ordering::Acquire);
        let mut tallies: BTreeMap<LogId, Tally> = BTreeMap::new();
        let mut batch = self.batch();
        let due = self.due(before, max);
        for (key, due) in &due {
            batch.remove(&self.expiry, key.clone());
            let (Some((log, seq)), Some((id, len))) = (due_of(key), due_value(due)) else {
                continue;
            };
            batch.remove(&self.entries, place(log, seq));
            batch.remove(&self.ids, id_key(log, id));
            let tally = match tallies.get(&log) {
                Some(tally) => Some(*tally),
                None => self.tally(log).ok().flatten(),
            };
            if let Some(mut tally) = tally {
                tally.remove(&mut bytes, len);
                tallies.insert(log, tally);
            }
        }
        for (log, tally) in &tallies {
            if tally.entries == 0 {
                floor = floor.max(tally.head);
                batch.remove(&self.logs, *log.as_bytes());
            } else {
                batch.insert(&self.logs, *log.as_bytes(), tally_bytes(tally));
            }
        }
        if floor != self.floor.load(Ordering::Acquire) {
            batch.insert(&self.meta, "floor", floor.to_be_bytes());
        }
        if !due.is_empty() || now.0.saturating_sub(totals.clock.0) >= CLOCK_STEP {
            batch.insert(&self.meta, "clock", now.0.to_be_bytes());
            // The floor before the commit: a log that is gone is read as empty up to it.
            self.floor.store(floor, Ordering::Release);
            self.commit(batch, &mut totals)?;
            totals.bytes = bytes;
            totals.clock = now;
        }
        Ok(due.len())
    }

    fn clock(&self) -> Option<Timestamp> {
        self.clock
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

fn due_time(key: &[u8]) -> Option<Timestamp> {
    key.first_chunk::<8>().map(|time| Timestamp(u64::from_be_bytes(*time)))
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
mod tests;
