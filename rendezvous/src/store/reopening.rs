//! A store on disk that comes back by itself: after a write that failed it is read on, and opened
//! again when the disk has room.
//!
//! ```text
//! serving ── a write fails ──▶ read only ── every few seconds, if there is room ──▶ opened again
//! ```
//!
//! > What failed was answered to nobody. Whether it is in the store is known once that was opened
//! > again; a client that asks again for the same bytes then gets their place. A store that comes back
//! > with another generation is not served: live readers have places of the old one, so the relay ends,
//! > and starts anew.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use protocol::ids::{LogId, Timestamp};

use super::{EmbeddedStore, LogStore, NewEntry, Outcome, Page, Quota, StoreError, Trimmed, Usage};

/// A durable store that outlives a full disk.
pub struct ReopeningStore {
    path: PathBuf,
    quota: Mutex<Quota>,
    reserve: u64,
    pause: Duration,
    generation: u64,
    clock: Option<Timestamp>,
    /// `None` while it could not be opened again.
    store: RwLock<Option<EmbeddedStore>>,
    failed: Mutex<Option<Failed>>,
}

#[derive(Clone, Copy)]
struct Failed {
    /// When it is looked at next.
    again: Instant,
    /// What those are told who append.
    refusal: Outcome,
}

/// Room below which opening it again is not tried.
const ROOM: u64 = 1 << 20;

impl ReopeningStore {
    /// Opens the store in a directory, or makes one there; `reserve` is how many bytes of the disk it
    /// leaves free, `pause` how long it is left alone after a write that failed.
    pub fn open(
        dir: &Path,
        quota: Quota,
        reserve: u64,
        pause: Duration,
    ) -> Result<Self, StoreError> {
        let store = EmbeddedStore::open_with(dir, quota, reserve)?;
        let (generation, clock) = (store.generation(), store.clock());
        let (store, failed) = (RwLock::new(Some(store)), Mutex::default());
        let (path, quota) = (dir.to_path_buf(), Mutex::new(quota));
        Ok(Self { path, quota, reserve, pause, generation, clock, store, failed })
    }

    fn store(&self) -> RwLockReadGuard<'_, Option<EmbeddedStore>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn quota(&self) -> Quota {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, Option<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes, after opening the store again if that is due. `Ok(Err(…))`: it takes nothing now.
    fn write<T>(
        &self,
        write: impl FnOnce(&EmbeddedStore) -> Result<T, StoreError>,
    ) -> Result<Result<T, Outcome>, StoreError> {
        let mut failed = self.failed();
        if let Some(Failed { again, refusal }) = *failed {
            if Instant::now() < again {
                return Ok(Err(refusal));
            }
            if !self.reopen()? {
                *failed = Some(Failed { again: Instant::now() + self.pause, refusal });
                return Ok(Err(refusal));
            }
            *failed = None;
        }
        let held = self.store();
        let Some(store) = held.as_ref() else { return Ok(Err(Outcome::Damaged)) };
        match write(store) {
            Err(StoreError::Disk(error)) => {
                let refusal = if self.has_room() { Outcome::Damaged } else { Outcome::StoreFull };
                tracing::error!(%error, "the store takes nothing; it is read on, and tried again");
                *failed = Some(Failed { again: Instant::now() + self.pause, refusal });
                Ok(Err(refusal))
            }
            done => done.map(Ok),
        }
    }

    /// Opens the store again; answers whether it is open.
    fn reopen(&self) -> Result<bool, StoreError> {
        if !self.has_room() {
            return Ok(false);
        }
        let mut held = self.store.write().unwrap_or_else(PoisonError::into_inner);
        // It is locked until it is gone.
        *held = None;
        match EmbeddedStore::open_with(&self.path, self.quota(), self.reserve) {
            Ok(store) if store.generation() != self.generation => Err(StoreError::Changed),
            Ok(store) => {
                tracing::info!("the store takes entries again");
                *held = Some(store);
                Ok(true)
            }
            Err(StoreError::Disk(error)) => {
                tracing::error!(%error, "the store could not be opened again");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn has_room(&self) -> bool {
        fs4::available_space(&self.path).is_ok_and(|free| free >= self.reserve.max(ROOM))
    }
}

impl LogStore for ReopeningStore {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let done = self.write(|store| store.append(batch, now))?;
        Ok(done.unwrap_or_else(|refusal| vec![refusal; batch.len()]))
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        let held = self.store();
        held.as_ref().ok_or(StoreError::Resting)?.read(log, after, max_bytes)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.write(|store| store.trim(log, to, max))?.map_err(|_| StoreError::Resting)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        Ok(self.write(|store| store.expire(before, now, max))?.unwrap_or(0))
    }

    fn clock(&self) -> Option<Timestamp> {
        self.clock
    }

    fn usage(&self) -> Option<Usage> {
        self.store().as_ref().and_then(LogStore::usage)
    }

    fn is_writable(&self) -> bool {
        let has_failed = self.failed().is_some();
        !has_failed && self.store().as_ref().is_some_and(LogStore::is_writable)
    }

    fn set_quota(&self, quota: Quota) {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner) = quota;
        self.store().iter().for_each(|store| store.set_quota(quota));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{self, AMPLE};

    #[test]
    fn it_obeys_the_laws_of_a_store() {
        contract::holds_on_disk(|dir, quota| ReopeningStore::open(dir, quota, 0, PAUSE).unwrap());
    }

    #[test]
    fn its_quota_can_be_changed_and_outlives_its_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = ReopeningStore::open(dir.path(), AMPLE, 0, PAUSE).unwrap();
        contract::follows_its_quota(&store);
        fail(&store, Instant::now());
        assert_eq!(store.append(&[new(9)], Timestamp(5)).unwrap(), [Outcome::StoreFull]);
        assert!(store.is_writable(), "it is the quota that refuses");
    }

    const LOG: LogId = LogId([1; 20]);
    const PAUSE: Duration = Duration::from_mins(1);

    fn new(byte: u8) -> NewEntry {
        NewEntry { log: LOG, bytes: vec![byte; 512] }
    }

    /// As after a write that failed.
    fn fail(store: &ReopeningStore, again: Instant) {
        *store.failed() = Some(Failed { again, refusal: Outcome::StoreFull });
    }

    #[test]
    fn a_store_that_failed_is_read_on_and_takes_entries_again_after_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let store = ReopeningStore::open(dir.path(), AMPLE, 0, PAUSE).unwrap();
        let generation = store.generation();
        store.append(&[new(1)], Timestamp(5)).unwrap();
        fail(&store, Instant::now() + PAUSE);
        assert_eq!(store.append(&[new(2)], Timestamp(5)).unwrap(), [Outcome::StoreFull]);
        assert!(!store.is_writable() && store.usage().is_some_and(|used| used.entries == 1));
        assert!(matches!(store.trim(LOG, 1, 9), Err(StoreError::Resting)));
        assert_eq!(store.expire(Timestamp(9), Timestamp(9), 9).unwrap(), 0);
        assert_eq!(store.read(LOG, 0, 9999).unwrap().entries.len(), 1);
        fail(&store, Instant::now());
        assert_eq!(store.append(&[new(2)], Timestamp(5)).unwrap(), [Outcome::Kept(2)]);
        assert!(store.is_writable());
        assert_eq!(store.generation(), generation);
    }

    #[test]
    fn it_is_not_opened_again_while_there_is_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ReopeningStore::open(dir.path(), AMPLE, 0, PAUSE).unwrap();
        store.reserve = u64::MAX;
        fail(&store, Instant::now());
        assert_eq!(store.append(&[new(1)], Timestamp(5)).unwrap(), [Outcome::StoreFull]);
        assert!(store.store().is_some(), "and is read on");
    }

    #[test]
    fn one_that_comes_back_as_another_ends_the_relay() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ReopeningStore::open(dir.path(), AMPLE, 0, PAUSE).unwrap();
        store.generation ^= 1;
        fail(&store, Instant::now());
        assert!(matches!(store.append(&[new(1)], Timestamp(5)), Err(StoreError::Changed)));
    }
}
