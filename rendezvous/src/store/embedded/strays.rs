//! What a store that has gone back has of entries that its logs' records do not count: the files of one keyspace may
//! be newer than those of another.
//!
//! > A number is not given twice while an entry is there that has it. What comes next in its log is taken in again; what
//! > else is above a log's head goes, before the store begins its new generation.

use std::collections::BTreeMap;

use fjall::{Guard, Keyspace, OwnedWriteBatch};
use protocol::{
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};

use super::{
    StoreError, Tally, checked, due_key, due_of, due_time, due_value_bytes, id_key,
    periods::{Period, placed},
    seq_of, short, tally, tally_bytes,
};

/// A store that is being opened.
pub(super) struct Strays<'a> {
    pub(super) ids: &'a Keyspace,
    pub(super) expiry: &'a Keyspace,
    pub(super) logs: &'a Keyspace,
    /// Up to when all is over that no log's record counts.
    pub(super) expired: Option<Timestamp>,
    /// Begins a batch.
    pub(super) begin: &'a dyn Fn() -> OwnedWriteBatch,
}

/// Records that are written at once.
const STEP: usize = 1024;

impl Strays<'_> {
    /// Takes in or removes what is there of entries above the heads of their logs, from this period on; answers how
    /// many were taken in.
    pub(super) fn settle(&self, shelf: &Keyspace, from: Period) -> Result<u64, StoreError> {
        let mut work = Work { batch: (self.begin)(), waiting: 0, tallies: BTreeMap::new() };
        let mut taken = 0;
        let mut at = from.start();
        while let Some(item) = shelf.range(at..).next() {
            // What the disk can't give back hides what is behind it from a reader, too.
            let Ok((key, value)) = item.into_inner() else { break };
            at = [&key[..], &[0]].concat();
            let Some((period, place)) = placed(&key) else { continue };
            let (Some(log), Some(seq)) = (LogId::from_slice(&place[..20]), seq_of(place)) else {
                continue;
            };
            let Ok(held) = self.tally(&work, log) else {
                at = period.key(log, u64::MAX);
                at.push(0);
                continue;
            };
            if let Some(held) = held.filter(|held| seq <= held.head) {
                at = period.key(log, held.head);
                at.push(0);
                continue;
            }
            let found = checked(log, seq, &value).zip(due_time(&value));
            if held.is_none() && found.is_some_and(|(_, time)| Some(time) <= self.expired) {
                // Its log is gone, and its floor above it.
                continue;
            }
            let next = held.unwrap_or(Tally::born_at(seq.saturating_sub(1)));
            match found.filter(|_| seq == next.head + 1) {
                Some((bytes, time)) => {
                    let (id, len) = (short(EntryId::of(bytes)), bytes.len());
                    if len > 0 {
                        work.batch.insert(self.ids, id_key(log, id), seq.to_be_bytes());
                    }
                    let due = due_value_bytes(id, len);
                    work.batch.insert(self.expiry, due_key(time, log, seq), due);
                    let bytes = next.bytes.saturating_add(len as u64);
                    let entries = next.entries.saturating_add(1);
                    work.tallies.insert(log, Tally { head: seq, entries, bytes, ..next });
                    taken += 1;
                }
                None => work.batch.remove(shelf, key),
            }
            self.step(&mut work)?;
        }
        self.flush(work).map(|()| taken)
    }

    /// Removes what would expire with a number above the head of its log: another entry may get it.
    pub(super) fn settle_due(&self) -> Result<(), StoreError> {
        let mut work = Work { batch: (self.begin)(), waiting: 0, tallies: BTreeMap::new() };
        let mut heads: BTreeMap<LogId, Option<u64>> = BTreeMap::new();
        for key in self.expiry.iter().map(Guard::key) {
            let Ok(key) = key else { break };
            let Some((log, seq)) = due_of(&key) else { continue };
            let head = match heads.get(&log) {
                Some(head) => *head,
                None => {
                    // A damaged record says nothing.
                    let held = self.tally(&work, log).map(|held| held.map_or(0, |it| it.head));
                    *heads.entry(log).or_insert(held.ok())
                }
            };
            if head.is_some_and(|head| seq > head) {
                work.batch.remove(self.expiry, key);
                self.step(&mut work)?;
            }
        }
        self.flush(work)
    }

    fn tally(&self, work: &Work, log: LogId) -> Result<Option<Tally>, StoreError> {
        match work.tallies.get(&log) {
            Some(held) => Ok(Some(*held)),
            None => self.logs.get(log.as_bytes())?.map(|bytes| tally(&bytes)).transpose(),
        }
    }

    fn step(&self, work: &mut Work) -> Result<(), StoreError> {
        work.waiting += 1;
        if work.waiting < STEP {
            return Ok(());
        }
        let next = Work { batch: (self.begin)(), waiting: 0, tallies: BTreeMap::new() };
        self.flush(std::mem::replace(work, next))
    }

    /// Writes what waits: entries together with their logs' records.
    fn flush(&self, mut work: Work) -> Result<(), StoreError> {
        if work.waiting == 0 {
            return Ok(());
        }
        for (log, tally) in &work.tallies {
            work.batch.insert(self.logs, *log.as_bytes(), tally_bytes(tally));
        }
        Ok(work.batch.commit()?)
    }
}

struct Work {
    batch: OwnedWriteBatch,
    waiting: usize,
    tallies: BTreeMap<LogId, Tally>,
}
