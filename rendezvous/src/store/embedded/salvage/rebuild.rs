//! Writes what can be read of a store into a fresh one.

use std::path::Path;

use fjall::OwnedWriteBatch;
use protocol::{
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};

use super::{
    super::{
        EmbeddedStore, PERIODS, Period, Periods, Span, due_key, due_value_bytes, id_key, record,
        short, tally_bytes,
    },
    survey::{Met, Survey, walk},
};
use crate::store::{Quota, StoreError, Tally, floor_above, new_generation};

/// A store that is being written, and was never served from.
struct Draft {
    store: EmbeddedStore,
    batch: OwnedWriteBatch,
    waiting: usize,
    /// Of the log that is being written.
    log: Tally,
    floor: u64,
    newest: u64,
}

/// Records that are written at once.
const STEP: usize = 1024;

/// Writes what can be read of the store in `from` into a new one in `to`, which must be empty.
/// Answers what was found, and whether the new store has a new generation.
pub(super) fn rebuild(from: &Path, to: &Path, anew: Anew) -> Result<(Survey, bool), StoreError> {
    let store = EmbeddedStore::open_unbound(to)?;
    let batch = store.batch().durability(None);
    let mut draft = Draft { store, batch, waiting: 0, log: Tally::born_at(0), floor: 0, newest: 0 };
    let (survey, memory) = walk(from, &mut |met| draft.take(met))?;
    let kept = memory.generation.filter(|_| memory.knows_heads && anew == Anew::IfNeeded);
    let generation = kept.map_or_else(new_generation, Ok)?;
    draft.floor = draft.floor.max(memory.floor);
    let (store, clock) = (draft.store, memory.clock.max(draft.newest));
    let mut batch = draft.batch.durability(Some(fjall::PersistMode::SyncAll));
    batch.insert(&store.meta, "generation", generation.to_be_bytes());
    batch.insert(&store.meta, "floor", draft.floor.to_be_bytes());
    batch.insert(&store.meta, "clock", clock.to_be_bytes());
    batch.insert(&store.meta, PERIODS, Periods::record(&[Span::first(Period::REPAIRED)]));
    let mut totals = store.lock();
    totals.commits = totals.commits.max(memory.commits);
    store.commit(batch, &mut totals)?;
    drop(totals);
    Ok((survey, kept.is_none()))
}

/// When a repaired store begins a new generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anew {
    /// Where a number could be given twice.
    IfNeeded,
    /// In any case.
    Always,
}

impl Draft {
    fn take(&mut self, met: Met<'_>) -> Result<(), StoreError> {
        match met {
            Met::Entry { log, seq, at, bytes } => self.entry(log, seq, at, bytes)?,
            // Empty, so that the place is known to be lost, and counts until its time has passed.
            Met::Gone { log, from, to, at } => {
                for seq in from..=to {
                    self.entry(log, seq, at, &[])?;
                }
            }
            Met::End { log, head } => {
                let mut tally = std::mem::replace(&mut self.log, Tally::born_at(0));
                if tally.entries == 0 {
                    self.floor = self.floor.max(floor_above(head));
                } else {
                    tally.head = tally.head.max(head);
                    self.batch.insert(&self.store.logs, *log.as_bytes(), tally_bytes(&tally));
                    self.step()?;
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        log: LogId,
        seq: u64,
        at: Timestamp,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if self.log.entries == 0 {
            self.log = Tally::born_at(seq.saturating_sub(1));
        }
        self.log.head = seq;
        self.log.entries += 1;
        self.log.bytes += bytes.len() as u64;
        self.newest = self.newest.max(at.0);
        let id = short(EntryId::of(bytes));
        let (batch, store) = (&mut self.batch, &self.store);
        let key = Period::REPAIRED.key(log, seq);
        batch.insert(&store.entries, key, record(log, seq, at, bytes));
        batch.insert(&store.expiry, due_key(at, log, seq), due_value_bytes(id, bytes.len()));
        if !bytes.is_empty() {
            batch.insert(&store.ids, id_key(log, id), seq.to_be_bytes());
        }
        self.step()
    }

    /// Writes what waits, if it is enough. Not synced: the last batch syncs all.
    fn step(&mut self) -> Result<(), StoreError> {
        self.waiting += 1;
        if self.waiting >= STEP {
            self.waiting = 0;
            let next = self.store.batch().durability(None);
            std::mem::replace(&mut self.batch, next).commit()?;
        }
        Ok(())
    }
}

impl EmbeddedStore {
    /// Opens an empty store that takes whatever it is given.
    fn open_unbound(dir: &Path) -> Result<Self, StoreError> {
        let all = u64::MAX;
        Self::open_with(dir, Quota { log_entries: all, log_bytes: all, total_bytes: all }, 0)
    }
}
