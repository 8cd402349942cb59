//! Floors: at least the highest head that a forgotten log had, for each shard of a cluster's index. A store that
//! is no index is one shard.
//!
//! > Shards are in no order among each other: what one process has seen of all of them, no other need
//! > ever have seen. So a log is born at the floor of its own shard, which is the same at the same place
//! > for everybody, and is read as empty up to that one.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::ids::LogId;

/// A floor for each shard, for those who read.
pub(super) struct Floors(Vec<AtomicU64>);

impl Floors {
    /// Of so many shards as there are floors.
    pub(super) fn new(floors: impl IntoIterator<Item = u64>) -> Self {
        Self(floors.into_iter().map(AtomicU64::new).collect())
    }

    /// Of a log's shard.
    pub(super) fn of(&self, log: LogId) -> u64 {
        self.of_shard(shard_of(log, u8::try_from(self.0.len()).unwrap_or(u8::MAX)))
    }

    pub(super) fn of_shard(&self, shard: u8) -> u64 {
        self.0.get(usize::from(shard)).map_or(0, |floor| floor.load(Ordering::Acquire))
    }

    /// To be called by who holds the store's totals.
    pub(super) fn set(&self, shard: u8, floor: u64) {
        if let Some(held) = self.0.get(usize::from(shard)) {
            held.store(floor, Ordering::Release);
        }
    }
}

/// The shard of a log, of so many.
pub(in crate::store) fn shard_of(log: LogId, shards: u8) -> u8 {
    // Ids are hashes.
    log.as_bytes()[0] % shards.max(1)
}
