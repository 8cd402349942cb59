//! Where entries are kept: a small trait, its laws, and two stores that obey them.
//!
//! The laws, which `contract.rs` checks for each store:
//!
//! 1. *Durable.* What `append` answered `Ok` for is read back after any crash of the process, and
//!    in the durable store after a crash of the machine.
//! 2. *Counted.* The entries of a log have consecutive numbers in the order of their appends. A
//!    log's head never goes back within a generation, not even when all of it has expired.
//! 3. *Idempotent.* Appending bytes that the log still holds answers their original number.
//! 4. *Full means full.* An append past a quota is refused; nothing is evicted for it.
//! 5. *Apart.* What is damaged in one log is skipped and counted there, and no other log notices.
//! 6. *All or nothing.* A method that returns `Err` has changed nothing that can be read. A store
//!    whose `append`, `trim` or `expire` answered `Err` takes nothing more; it is to be opened again,
//!    which [`ReopeningStore`] does by itself. [`StoreError::Away`] and [`Outcome::Away`] alone
//!    promise neither: a cluster may keep what it has not answered for, and takes more once it can be
//!    reached.
//! 7. *Trimmed from the front.* What `trim` has deleted is gone after any crash, and nothing behind
//!    it is touched. A log's last entry stays, so that its numbers go on without a gap.

#[cfg(test)]
mod contract;
mod embedded;
pub mod jetstream;
mod memory;
mod reopening;
mod witness;

use std::{borrow::Cow, time::Duration};

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::Entry,
};
use serde::{Deserialize, Serialize};

use crate::settings::units;

pub(crate) use embedded::salvage;
pub use embedded::{
    EmbeddedStore, RESERVE_BYTES,
    salvage::{Anew, Damage, Survey},
};
pub use jetstream::{ClusterError, JetStreamStore};
pub use memory::MemoryStore;
pub use reopening::ReopeningStore;

/// Append-only logs, by id. Calls block; they are made from threads that may.
pub trait LogStore: Send + Sync + 'static {
    /// Random at the creation of the store: cursors of another generation mean nothing here.
    fn generation(&self) -> u64;

    /// Appends a batch with one commit, in order. One answer for each entry. Of those that it may have already it answers
    /// some at least, and others with [`Outcome::Later`].
    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError>;

    /// Reads entries after number `after`, up to `max_bytes` of them, but at least one if there is
    /// one.
    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError>;

    /// Deletes up to `max` of a log's entries, from the first to number `to`, but never the last
    /// one; with a `to` beyond the log's end, none. To be called again while `gone` is `max`.
    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError>;

    /// Deletes up to `max` entries that were appended before `before`; answers how many. Remembers
    /// from time to time that it is `now`.
    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError>;

    /// The last time that the store was told when it was opened; `None` if it was empty then.
    fn clock(&self) -> Option<Timestamp>;

    /// Whether of the times that it is told only what passes between them counts: then they are to go on
    /// as time does, whatever the system's clock says.
    fn counts_time(&self) -> bool {
        false
    }

    /// Whether nobody else appends: what was appended here last is what there is.
    fn is_own(&self) -> bool {
        true
    }

    /// Into how many lanes its logs fall. Batches of different lanes may be appended at once, and one that
    /// waits keeps no other waiting; a batch is of one lane's logs where its caller can have it so.
    fn lanes(&self) -> usize {
        1
    }

    /// A log's lane, below [`Self::lanes`]; always the same.
    fn lane(&self, _log: LogId) -> usize {
        0
    }

    /// Whether `append` waits, for a disk or for others; otherwise it may be called from where nobody may.
    fn waits(&self) -> bool {
        true
    }

    /// How much it holds; `None` while it can't say. It may wait for a commit that is under way.
    fn usage(&self) -> Option<Usage>;

    /// Whether it would take an entry now, whatever the quota says: the disk had room when it was last
    /// looked at, and no write has failed.
    fn is_writable(&self) -> bool {
        true
    }

    /// Goes by another quota from now on; what is there stays. A store whose room is not its own to
    /// decide on goes by the one it was opened with.
    fn set_quota(&self, _quota: Quota) {}

    /// How long an append may wait for others, where others have to answer for it.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    /// With whom it is shared and how that goes, in a sentence without addresses or names.
    fn shared(&self) -> Cow<'static, str> {
        "One relay, no cluster.".into()
    }

    /// Waits until what others were answered about this log before now can be read here too. At once
    /// where no other process writes.
    fn catch_up(&self, _log: LogId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Has `others` told from now on of what other processes do, where others write.
    fn listen(&self, _others: Box<dyn Others>) {}
}

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Told by a store of what other processes do.
pub trait Others: Send + Sync {
    /// A log has more to read.
    fn grown(&self, log: LogId);

    /// The store can't go on; it has said why.
    fn ended(&self);
}

/// An entry to be appended.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// To this log, which need not exist.
    pub log: LogId,
    /// Opaque.
    pub bytes: Vec<u8>,
}

/// What became of one entry of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has this number; it may have had it before.
    Kept(u64),
    /// The log has reached its quota.
    LogFull,
    /// The store has reached its quota, or the disk has too little room left.
    StoreFull,
    /// A record of this log is damaged: it takes nothing more.
    Damaged,
    /// The cluster could not be asked, or has not answered in time. It may be kept all the same.
    Away,
    /// The store may have it already, and has looked up as many of this batch as it does: it is to be given again.
    Later,
}

/// Some entries of a log, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Everything up to this number has been looked at.
    pub read_to: u64,
    /// Everything up to this number has been deleted. Said only as far as it lies after the number
    /// that the page was asked for.
    pub begins: u64,
    /// The number of the log's last entry; of a log that has none, what it would go on from.
    pub head: u64,
    /// Entries that were skipped because they don't match their checksum or are not there.
    pub damaged: u64,
}

/// What one call of [`LogStore::trim`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trimmed {
    /// Everything up to this number has been deleted.
    pub begins: u64,
    /// How many entries this call deleted.
    pub gone: usize,
}

/// How much a store takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Entries in one log.
    pub log_entries: u64,
    /// Entry bytes in one log.
    #[serde(with = "units::bytes")]
    pub log_bytes: u64,
    /// Entry bytes in all logs.
    #[serde(with = "units::bytes")]
    pub total_bytes: u64,
}

/// A store that can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, or what is on it.
    #[error("the store on disk failed: {0}")]
    Disk(fjall::Error),
    /// Its files don't say any more what it consists of: opening it would drop what can be saved.
    #[error("the store is damaged")]
    NeedsRepair,
    /// A write failed a moment ago, and it was not opened again yet.
    #[error("the store takes nothing just now")]
    Resting,
    /// Opened again, it had lost something: live readers have places that mean nothing any more.
    #[error("the store came back without all that it had")]
    Changed,
    /// A record about this log is not as it was written.
    #[error("a record of the store is damaged")]
    Damaged,
    /// The cluster that keeps the entries could not be asked, or has not answered in time.
    #[error("the cluster can't be reached just now")]
    Away,
    /// The cluster's streams are full.
    #[error("the cluster's streams are full")]
    Full,
    /// What is here is not what the cluster has, or can't be made so without a new start.
    #[error("the store no longer goes with its cluster")]
    Parted,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    Random,
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error.into())
    }
}

/// What a store remembers of a log besides its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tally {
    head: u64,
    entries: u64,
    bytes: u64,
    /// The number of the first entry; 0 where it isn't known.
    first: u64,
}

impl Tally {
    const fn born_at(head: u64) -> Self {
        Self { head, entries: 0, bytes: 0, first: head + 1 }
    }

    /// Counts one more entry in, or says which quota stands against it.
    fn add(&mut self, used: &mut Usage, len: usize, quota: &Quota) -> Outcome {
        let len = len as u64;
        if self.entries >= quota.log_entries || self.bytes.saturating_add(len) > quota.log_bytes {
            return Outcome::LogFull;
        }
        if used.bytes.saturating_add(len) > quota.total_bytes {
            return Outcome::StoreFull;
        }
        self.head += 1;
        self.entries += 1;
        self.bytes += len;
        used.entries += 1;
        used.bytes += len;
        Outcome::Kept(self.head)
    }

    /// Counts out an entry; none before it is left.
    fn remove(&mut self, used: &mut Usage, seq: u64, len: u64) {
        self.first = self.first.max(seq + 1);
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(len);
        used.entries = used.entries.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(len);
    }
}

/// From where new logs begin, so that an old cursor hides nothing, once one is forgotten whose last number
/// was `head`: so far above it that it tells little of how long others' logs were.
fn floor_above(head: u64) -> u64 {
    head.checked_next_multiple_of(FLOOR_STEP).unwrap_or(head)
}

/// Numbers between the places from which new logs may begin.
const FLOOR_STEP: u64 = 1 << 20;

fn new_generation() -> Result<u64, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(u64::from_be_bytes(bytes))
}
