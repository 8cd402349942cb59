//! A store in memory, for a relay that forwards live and touches no disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::{Entry, EntryId},
};

use super::{
    LogStore, NewEntry, Outcome, Page, Quota, StoreError, Tally, Trimmed, Usage, floor_above,
    new_generation,
};

/// Logs in memory. Its generation lasts as long as it does.
pub struct MemoryStore {
    generation: u64,
    shelves: Mutex<Shelves>,
}

struct Shelves {
    quota: Quota,
    logs: BTreeMap<LogId, Log>,
    by_age: BTreeSet<(Timestamp, LogId, u64)>,
    used: Usage,
    floor: u64,
}

struct Log {
    tally: Tally,
    /// With when they came.
    entries: BTreeMap<u64, (Timestamp, Vec<u8>)>,
    ids: BTreeMap<EntryId, u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(quota: Quota) -> Result<Self, StoreError> {
        let shelves = Shelves {
            quota,
            logs: BTreeMap::new(),
            by_age: BTreeSet::new(),
            used: Usage::default(),
            floor: 0,
        };
        Ok(Self { generation: new_generation()?, shelves: Mutex::new(shelves) })
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for MemoryStore {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut shelves = self.lock();
        Ok(batch.iter().map(|entry| shelves.append(entry, now)).collect())
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        let shelves = self.lock();
        let Some(log) = shelves.logs.get(&log) else {
            let floor = shelves.floor;
            return Ok(Page { read_to: floor, head: floor, begins: floor, ..Page::default() });
        };
        let mut page = Page { read_to: log.tally.head, head: log.tally.head, ..Page::default() };
        let mut next = log.entries.range((Bound::Excluded(after), Bound::Unbounded));
        page.begins = next.next().map_or(after, |(seq, _)| seq - 1);
        let mut room = max_bytes;
        for (seq, (_, bytes)) in log.entries.range((Bound::Excluded(after), Bound::Unbounded)) {
            if bytes.len() > room && !page.entries.is_empty() {
                page.read_to = seq - 1;
                break;
            }
            room = room.saturating_sub(bytes.len());
            page.entries.push(Entry { seq: *seq, bytes: bytes.clone() });
        }
        Ok(page)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        let mut shelves = self.lock();
        let Some(held) = shelves.logs.get(&log) else {
            return Ok(Trimmed { begins: shelves.floor, gone: 0 });
        };
        let head = held.tally.head;
        let to = if to > head { 0 } else { to.min(head - 1) };
        let due: Vec<_> =
            held.entries.range(..=to).take(max).map(|(seq, (at, _))| (*at, log, *seq)).collect();
        for place in &due {
            shelves.by_age.remove(place);
            shelves.remove(place.1, place.2);
        }
        let first = shelves.logs.get(&log).and_then(|log| log.entries.keys().next());
        Ok(Trimmed { begins: first.map_or(head, |first| first - 1), gone: due.len() })
    }

    fn expire(&self, before: Timestamp, _: Timestamp, max: usize) -> Result<usize, StoreError> {
        let mut shelves = self.lock();
        let mut gone = 0;
        while gone < max && shelves.by_age.first().is_some_and(|(time, ..)| *time < before) {
            let Some((_, id, seq)) = shelves.by_age.pop_first() else { break };
            shelves.remove(id, seq);
            gone += 1;
        }
        Ok(gone)
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }

    fn waits(&self) -> bool {
        false
    }

    fn usage(&self) -> Option<Usage> {
        Some(self.lock().used)
    }

    fn set_quota(&self, quota: Quota) {
        self.lock().quota = quota;
    }
}

impl Shelves {
    fn append(&mut self, new: &NewEntry, now: Timestamp) -> Outcome {
        let id = EntryId::of(&new.bytes);
        let held = self.logs.get(&new.log);
        if let Some(seq) = held.and_then(|log| log.ids.get(&id)) {
            return Outcome::Kept(*seq);
        }
        let mut tally = held.map_or(Tally::born_at(self.floor), |log| log.tally);
        let outcome = tally.add(&mut self.used, new.bytes.len(), &self.quota);
        let Outcome::Kept(seq) = outcome else { return outcome };
        let log = self.logs.entry(new.log).or_insert_with(|| Log {
            tally,
            entries: BTreeMap::new(),
            ids: BTreeMap::new(),
        });
        log.tally = tally;
        log.entries.insert(seq, (now, new.bytes.clone()));
        log.ids.insert(id, seq);
        self.by_age.insert((now, new.log, seq));
        outcome
    }

    fn remove(&mut self, id: LogId, seq: u64) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        if let Some((_, bytes)) = log.entries.remove(&seq) {
            log.ids.remove(&EntryId::of(&bytes));
            log.tally.remove(&mut self.used, seq, bytes.len() as u64);
        }
        if log.entries.is_empty() {
            self.floor = self.floor.max(floor_above(log.tally.head));
            self.logs.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn it_obeys_the_laws_of_a_store() {
        contract::holds(&|quota| Box::new(MemoryStore::new(quota).unwrap()));
        contract::follows_its_quota(&MemoryStore::new(contract::AMPLE).unwrap());
    }
}
