//! The durable store: fjall, one synced batch for each group of appends.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | timed | period 8 ‖ log 20 ‖ number 8 | time 8 ‖ checksum 16 ‖ bytes |
//! | entries | log 20 ‖ number 8 | the same: of an early store, until it is over |
//! | ids | log 20 ‖ entry id 16 | number 8 |
//! | expiry | time 8 ‖ log 20 ‖ number 8 | entry id 16 ‖ length 4 |
//! | logs | log 20 | head 8 ‖ entries 8 ‖ bytes 8 ‖ first 8 |
//! | meta | `generation`, `floor`, `commits`, `clock`; `expired`; `home`, `stamp`; `mended`; `spans` | 8; 16; 1; 24 each |
//!
//! Entries are by the time of their appends, so that what is over is given back whole (`periods.rs`): nothing is
//! written about it in `timed`. What is below its log's `first` is over, and what no log's record counts and was
//! appended up to `expired`, and all before the first period that `spans` names.
//!
//! Numbers are big-endian. `floor` is at least the highest head that a forgotten log had, in steps: a log
//! starts above it, so that an old cursor never hides a new entry; an index has one for each shard (`replica.rs`). `commits` counts the batches; if it is behind
//! what the file `witness` says, the store has gone back, and begins a new generation. So does one
//! whose witness is another file than `home` says: it was copied, or restored from a backup. Each
//! batch begins with `stamp`, which the store alone knows: no entry can carry what would be taken for
//! a batch.
//!
//! > A full disk is refused before it is full: fjall takes nothing more after a write that failed, so
//! > appends stop while there is still room to sort and to delete what is there. After a write that
//! > failed all the same, the store is read on, and is to be opened again.

mod append;
mod damage;
mod doomed;
mod floors;
mod home;
mod periods;
mod read;
mod records;
pub(super) mod replica;
pub(crate) mod salvage;
mod strays;
mod trim;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Slice,
    compaction::Leveled,
    config::{CompressionPolicy, PartitioningPolicy},
};
use protocol::{
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};

use super::{
    LogStore, NewEntry, Outcome, Page, Quota, StoreError, Tally, Trimmed, Usage, floor_above,
    new_generation,
    witness::{Said, Stamp, Witness},
};
use doomed::Doomed;
use floors::Floors;
use periods::{PERIODS, Period, Periods, Span, Sweeper, placed};
use records::{
    ShortId, checked, due_key, due_of, due_time, due_value, due_value_bytes, id_key, number, place,
    record, seq_of, short, tally, tally_bytes,
};
use strays::Strays;

/// Logs on disk.
pub struct EmbeddedStore {
    sweeper: Sweeper,
    db: Database,
    entries: Keyspace,
    /// Those of an early store.
    early: Option<Keyspace>,
    ids: Keyspace,
    expiry: Keyspace,
    logs: Keyspace,
    meta: Keyspace,
    stamp: Stamp,
    path: PathBuf,
    generation: u64,
    clock: Option<Timestamp>,
    quota: Mutex<Quota>,
    reserve: u64,
    /// Held by whoever writes.
    totals: Mutex<Totals>,
    /// For those who read; written with `totals` held.
    floors: Floors,
    /// Of which there are entries; written with `totals` held.
    periods: Periods,
    _doomed: Doomed,
}

struct Totals {
    used: Usage,
    commits: u64,
    clock: Timestamp,
    /// Nothing is left of what was appended before this. (What is deleted stays in the tables for a
    /// while: to begin before it would be to walk over all of that at each step.)
    expired: Timestamp,
    witness: Witness,
    has_room: bool,
    /// Whether an entry was ever taken anew: then the index may name another place than the one that expires.
    is_mended: bool,
    /// Whether nothing was kept at the start, and nothing was appended since: the clock may have gone back behind
    /// what the store says has expired.
    is_anew: bool,
}

const MEMTABLE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES: u64 = 64 << 20;
const CACHE_BYTES: u64 = 8 << 20;
/// Of a table that was merged. What a merge reads, writes and deletes at once goes by it, and so does how long an append may have
/// to wait for one.
const TABLE_BYTES: u64 = 8 << 20;
/// Tables that are kept open to be read; [`doomed`] holds as many.
const TABLES_OPEN: usize = 256;
/// One writes memtables out and two merge tables. One alone for both has appends wait for as long as it merges, which
/// of a store of a gigabyte is a minute.
const WORKERS: usize = 3;
/// Room on the disk that appends leave: for two journals, the memtables, and tables being merged.
pub const RESERVE_BYTES: u64 = 256 << 20;
/// The key of the record with which each batch begins.
const STAMP: &str = "stamp";
/// The key of the record that says that an entry was taken anew.
const MENDED: &str = "mended";
/// The key of the record that says up to when all is over that no log's record counts.
const EXPIRED: &str = "expired";
/// How far the clock goes on before it is written down without need, in milliseconds.
const CLOCK_STEP: u64 = 10 * 60 * 1000;

impl EmbeddedStore {
    /// Opens the store in a directory, or makes one there.
    pub fn open(dir: &Path, quota: Quota) -> Result<Self, StoreError> {
        Self::open_with(dir, quota, RESERVE_BYTES)
    }

    /// Opens it with so many bytes of the disk to be left free.
    pub(super) fn open_with(dir: &Path, quota: Quota, reserve: u64) -> Result<Self, StoreError> {
        Self::open_sized(dir, quota, reserve, (MEMTABLE_BYTES, TABLE_BYTES))
    }

    /// Opens it with memtables and tables of so many bytes.
    fn open_sized(
        dir: &Path,
        quota: Quota,
        reserve: u64,
        (memtable, table): (u64, u64),
    ) -> Result<Self, StoreError> {
        if !salvage::is_openable(dir)? {
            return Err(StoreError::NeedsRepair);
        }
        home::clear_unborn(dir)?;
        let db = Database::builder(dir)
            .worker_threads(WORKERS)
            .cache_size(CACHE_BYTES)
            .max_cached_files(Some(TABLES_OPEN))
            .max_journaling_size(JOURNAL_BYTES)
            .journal_compression(CompressionType::None)
            .open()?;
        let keyspace = |name: &str| {
            db.keyspace(name, || {
                let levels = Leveled::default().with_table_target_size(table);
                KeyspaceCreateOptions::default()
                    .compaction_strategy(Arc::new(levels))
                    .max_memtable_size(memtable)
                    .data_block_compression_policy(CompressionPolicy::disabled())
                    .index_block_compression_policy(CompressionPolicy::disabled())
                    // Of a table that was merged, a lookup reads a page of the filter and of the index. As a whole
                    // they are a megabyte, which the cache does not keep: each append would read them.
                    .filter_block_partitioning_policy(PartitioningPolicy::new([false, true]))
                    .index_block_partitioning_policy(PartitioningPolicy::new([false, true]))
            })
        };
        let (entries, ids, expiry) = (keyspace("timed")?, keyspace("ids")?, keyspace("expiry")?);
        let (logs, meta) = (keyspace("logs")?, keyspace("meta")?);
        let early = db.keyspace_exists("entries").then(|| keyspace("entries")).transpose()?;

        // What a killed process wrote may be in memory only: it is made durable before it is served,
        // and before a repeated append is answered by it.
        db.persist(PersistMode::SyncAll)?;
        let meta_number = |key: &str| meta.get(key)?.map(|bytes| number(&bytes)).transpose();
        let floor = meta_number("floor")?.unwrap_or(0);
        let commits = meta_number("commits")?.unwrap_or(0);
        let clock = meta_number("clock")?.map(Timestamp);
        let (mut witness, said) = Witness::open(&dir.join("witness"))?;
        let Said { commits: witnessed, stamp: kept } = said;
        let known = meta.get(STAMP)?.and_then(|stamp| Stamp::try_from(&stamp[..]).ok());
        let stamp = known.map_or_else(new_stamp, Ok)?;
        let lost = witnessed.unwrap_or(0).saturating_sub(commits);
        if lost > 0 {
            tracing::error!(commits = lost, "the store has lost what it had; clients read it anew");
        }
        let home = home::of(&witness)?;
        let known = meta.get("home")?;
        // An early store does not say where it is at home.
        let is_at_home = known.as_ref().is_none_or(|known| **known == home);
        if !is_at_home || (witnessed.is_none() && commits > 0) {
            tracing::warn!("the store was copied, moved or restored; clients read it anew");
        }
        let is_same = lost == 0 && is_at_home && (witnessed.is_some() || commits == 0);
        let held = meta_number("generation")?.filter(|_| is_same);
        let generation = held.map_or_else(new_generation, Ok)?;
        let listed = meta.get(PERIODS)?.map(|record| Periods::read(&record)).transpose()?;
        if !is_same {
            let strays = Strays {
                ids: &ids,
                expiry: &expiry,
                logs: &logs,
                expired: meta_number(EXPIRED)?.map(Timestamp),
                begin: &|| begun(&db, &meta, &stamp),
            };
            let first = listed.iter().flatten().map(|span| span.period).next();
            let first = first.unwrap_or(Period::EARLY);
            let early = early.as_ref().filter(|_| first == Period::EARLY);
            let early = early.map_or(Ok(0), |early| strays.settle(early, first))?;
            let taken = early + strays.settle(&entries, first)?;
            strays.settle_due()?;
            if taken > 0 {
                tracing::warn!(entries = taken, "entries were there that no log counted");
            }
        }
        if held.is_none() || known.is_none_or(|known| *known != home) {
            let mut batch = begun(&db, &meta, &stamp);
            batch.insert(&meta, "generation", generation.to_be_bytes());
            batch.insert(&meta, "home", home);
            batch.commit()?;
        }
        if witnessed != Some(commits) || kept != Some(stamp) {
            witness.say(commits)?;
            witness.keep(&stamp)?;
            witness.sync()?;
        }
        let mut used = Usage::default();
        damage::readable(&logs, |_, record| {
            // A damaged record is its own log's misfortune.
            if let Ok(tally) = tally(record) {
                used.bytes = used.bytes.saturating_add(tally.bytes);
                used.entries = used.entries.saturating_add(tally.entries);
            }
        });
        let last = expiry.last_key_value().map(fjall::Guard::key);
        let is_empty = last.is_none() && used.entries == 0;
        let newest = last.and_then(|last| due_time(&last.ok()?));
        let all = match listed {
            Some(all) => all,
            None => early.iter().map(|_| Span::first(Period::EARLY)).collect(),
        };
        // Where it can't be read, no entry was appended so long after the clock was noted, or a record was applied.
        let noted = clock.max(replica::newest(&meta));
        let guess = noted.map(|noted| Timestamp(noted.0.saturating_add(2 * CLOCK_STEP)));
        let guess = guess.or_else(|| all.last()?.end());
        let until = newest.or(guess).unwrap_or(Timestamp(u64::MAX));
        let clock = newest.map(|newest| clock.map_or(newest, |clock| clock.max(newest)));
        let kept = clock.unwrap_or_default();
        let totals = Mutex::new(Totals {
            used,
            commits,
            clock: kept,
            expired: Timestamp(0),
            witness,
            has_room: true,
            is_mended: meta.contains_key(MENDED)?,
            is_anew: is_empty && meta.contains_key(EXPIRED)?,
        });
        let (path, floors) = (dir.to_path_buf(), Floors::new([floor]));
        let last = entries.last_key_value().and_then(|it| Some(placed(&it.key().ok()?)?.0));
        let last = last.max(all.last().map(|last| last.period));
        // Where nothing is wanted, all that is there is over, whatever the clock was.
        let all = if is_empty { Vec::new() } else { all };
        let listed = all.last().map(|last| last.period);
        let periods = Periods::new(all, until, last);
        if !is_empty {
            periods.name(&periods::found(&entries, listed), until);
        }
        periods.see(kept);
        let sweeper = Sweeper::spawn(&entries, early.as_ref(), &expiry)?;
        // Who fills a new store begins where nothing is to go.
        let has_any = last.is_some() || early.is_some();
        sweeper.sweep(periods.over().filter(|_| has_any));
        let doomed = Doomed::spawn(dir)?;
        let store = Self {
            sweeper,
            db,
            entries,
            early,
            ids,
            expiry,
            logs,
            meta,
            stamp,
            path,
            generation,
            clock,
            quota: Mutex::new(quota),
            reserve,
            totals,
            floors,
            periods,
            _doomed: doomed,
        };
        store.look_for_room(0, &mut store.lock());
        Ok(store)
    }

    fn tally(&self, log: LogId) -> Result<Option<Tally>, StoreError> {
        self.logs.get(log.as_bytes())?.map(|bytes| tally(&bytes)).transpose()
    }

    fn number_of(&self, log: LogId, id: ShortId) -> Result<Option<u64>, StoreError> {
        let key = id_key(log, id);
        let found = self.ids.get(key).or_else(|_| {
            // A damaged filter says nothing of the record.
            let mut records = self.ids.range(key..=key);
            records.next().map(fjall::Guard::value).transpose()
        })?;
        found.map(|seq| number(&seq)).transpose()
    }

    /// Whether the index names this place, and no later one at which the same bytes were taken anew.
    fn names(&self, log: LogId, id: ShortId, seq: u64) -> bool {
        matches!(self.number_of(log, id), Ok(Some(named)) if named == seq)
    }

    fn batch(&self) -> OwnedWriteBatch {
        begun(&self.db, &self.meta, &self.stamp)
    }

    /// Gives back the room of periods that are over, where nothing is wanted any more that was appended before this.
    fn sweep(&self, before: Timestamp, _: &Totals) {
        self.sweeper.sweep(self.periods.forget(before));
    }

    fn quota(&self) -> Quota {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits, synced, and tells the witness.
    fn commit(&self, mut batch: OwnedWriteBatch, totals: &mut Totals) -> Result<(), StoreError> {
        let commits = totals.commits + 1;
        batch.insert(&self.meta, "commits", commits.to_be_bytes());
        if let Some(periods) = self.periods.unnoted() {
            batch.insert(&self.meta, PERIODS, periods);
        }
        batch.commit()?;
        self.periods.noted();
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

    /// Up to `max` wanted records of entries that were appended from `from` on and before `before`, by
    /// their keys. What the disk can't give back is passed over: their logs' records
    /// count these entries on, which go with their period all the same.
    fn due(
        &self,
        mut from: u64,
        before: Timestamp,
        max: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Vec<(Slice, Slice)> {
        let mut due = Vec::new();
        while from < before.0 && due.len() < max {
            let mut records = self.due_from(from, before);
            let read = loop {
                if due.len() == max {
                    break true;
                }
                match records.next() {
                    Some(Ok((key, value))) => {
                        from = due_time(&key).map_or(from, |time| time.0.max(from));
                        if is_wanted(&key) {
                            due.push((key, value));
                        }
                    }
                    Some(Err(_)) => break false,
                    None => break true,
                }
            };
            if read {
                break;
            }
            from = self.past_damage(from, before);
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
}

/// A batch that is synced, with the store's stamp as its first record.
fn begun(db: &Database, meta: &Keyspace, stamp: &Stamp) -> OwnedWriteBatch {
    let mut batch = db.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(meta, STAMP, stamp);
    batch
}

fn new_stamp() -> Result<Stamp, StoreError> {
    let mut stamp = Stamp::default();
    getrandom::fill(&mut stamp).map_err(|_| StoreError::Random)?;
    Ok(stamp)
}

impl LogStore for EmbeddedStore {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn append(&self, entries: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        self.append_all(entries, now)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        self.read_log(log, after, max_bytes)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.trim_log(log, to, max)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        let mut totals = self.lock();
        // Where nobody appends any more, nobody else notices that there is room again.
        self.look_for_room(0, &mut totals);
        self.periods.keep_from(before, now);
        let mut used = totals.used;
        let mut floor = self.floors.of_shard(0);
        let mut tallies: BTreeMap<LogId, Tally> = BTreeMap::new();
        let mut batch = self.batch();
        let due = self.due(totals.expired.0, before, max, |_| true);
        for (key, due) in &due {
            batch.remove(&self.expiry, key.clone());
            let (Some((log, seq)), Some((id, len))) = (due_of(key), due_value(due)) else {
                continue;
            };
            if due_time(key).is_some_and(|time| self.periods.is_early(time))
                && let Some(early) = &self.early
            {
                batch.remove(early, place(log, seq));
            }
            if !totals.is_mended || self.names(log, id, seq) {
                batch.remove(&self.ids, id_key(log, id));
            }
            let tally = match tallies.get(&log) {
                Some(tally) => Some(*tally),
                None => self.tally(log).ok().flatten(),
            };
            if let Some(mut tally) = tally {
                tally.remove(&mut used, seq, len);
                tallies.insert(log, tally);
            }
        }
        for (log, tally) in &tallies {
            if tally.entries == 0 {
                floor = floor.max(floor_above(tally.head));
                batch.remove(&self.logs, *log.as_bytes());
            } else {
                batch.insert(&self.logs, *log.as_bytes(), tally_bytes(tally));
            }
        }
        if floor != self.floors.of_shard(0) {
            batch.insert(&self.meta, "floor", floor.to_be_bytes());
        }
        let expired = due.last().and_then(|(key, _)| due_time(key));
        let expired = totals.expired.max(expired.unwrap_or(Timestamp(0)));
        if !due.is_empty() || now.0.saturating_sub(totals.clock.0) >= CLOCK_STEP {
            batch.insert(&self.meta, "clock", now.0.to_be_bytes());
            if !due.is_empty() {
                batch.insert(&self.meta, EXPIRED, expired.0.to_be_bytes());
            }
            // The floor before the commit: a log that is gone is read as empty up to it.
            self.floors.set(0, floor);
            self.commit(batch, &mut totals)?;
            totals.used = used;
            totals.clock = now;
            totals.expired = expired;
        }
        if due.len() < max {
            self.sweep(before, &totals);
        }
        Ok(due.len())
    }

    fn clock(&self) -> Option<Timestamp> {
        self.clock
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.lock().used)
    }

    fn is_writable(&self) -> bool {
        self.lock().has_room
    }

    fn set_quota(&self, quota: Quota) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
    }
}

#[cfg(test)]
mod flips;
#[cfg(test)]
mod room;
#[cfg(test)]
mod tests;
