//! A store as the index of a cluster's log: it decides nothing, it applies records, and remembers in the
//! same commit how far it has applied each shard.
//!
//! In `meta`: `origin` is the cluster's generation 8 ‖ its shards 1 ‖ this store's own generation 8, which
//! changes when the store has gone back. `p` ‖ shard is the place 8 ‖ the time 8 ‖ the mark 16 of the
//! message that was applied last; `m` ‖ shard ‖ time 8 names the place of a record of that time, here and
//! there; `f` ‖ shard is the shard's floor 8.

use std::collections::{BTreeMap, BTreeSet};

use fjall::Keyspace;

pub(in crate::store) use super::floors::shard_of;
use super::{
    EmbeddedStore, EntryId, Floors, LogId, NewEntry, Outcome, OwnedWriteBatch, StoreError, Tally,
    Timestamp, Totals, Usage,
    append::{Fresh, Lost},
    checked, due_key, due_of, due_time, id_key, number,
    periods::Period,
    read::Found,
    short, tally_bytes,
};
use crate::store::{
    floor_above,
    jetstream::record::{Change, Gone, Put, Record, Sum},
};

/// Of which cluster a store is the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Origin {
    pub(in crate::store) generation: u64,
    pub(in crate::store) shards: u8,
}

/// How far a shard has been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::store) struct Place {
    /// The last message's place.
    pub(in crate::store) at: u64,
    /// The time of the last record.
    pub(in crate::store) time: Timestamp,
    /// What tells the last message from others.
    pub(in crate::store) mark: Sum,
}

/// The next message of a shard.
pub(in crate::store) struct Step {
    pub(in crate::store) shard: u8,
    pub(in crate::store) at: u64,
    pub(in crate::store) mark: Sum,
    /// Nothing, where the message is no record that counts.
    pub(in crate::store) record: Option<Record>,
}

/// Entries of a log that are past their time.
pub(in crate::store) struct Due {
    pub(in crate::store) gone: Gone,
    pub(in crate::store) count: usize,
}

/// What is to go of a shard because it is past its time.
pub(in crate::store) struct Expiry {
    pub(in crate::store) due: Vec<Due>,
    /// The shard's floor once all of it is gone.
    pub(in crate::store) floor: u64,
    /// Nothing of the shard was appended before this that is here and can be read.
    pub(in crate::store) oldest: Timestamp,
}

/// Time between the records whose places are noted, in milliseconds.
const NOTE_STEP: u64 = 60 * 1000;

/// The newest time of the records that were applied last, by what an index says of itself.
pub(super) fn newest(meta: &Keyspace) -> Option<Timestamp> {
    let places = (0..=u8::MAX).filter_map(|shard| {
        let place = meta.get([b'p', shard]).ok()??;
        let time = place.get(8..16).filter(|_| place.len() == 32)?;
        number(time).ok().map(Timestamp)
    });
    places.max()
}

impl EmbeddedStore {
    /// How far each shard was applied, if this is the index of that cluster or of none yet. `None`: it is
    /// another's, or has lost something, and is of no use.
    pub(in crate::store) fn follow(
        &mut self,
        origin: Origin,
    ) -> Result<Option<Vec<Place>>, StoreError> {
        let mut wanted = origin.generation.to_be_bytes().to_vec();
        wanted.push(origin.shards);
        wanted.extend_from_slice(&self.generation.to_be_bytes());
        match self.meta.get("origin")? {
            Some(found) if *found == *wanted => {}
            Some(_) => return Ok(None),
            None => {
                let mut totals = self.lock();
                if totals.commits > 0 {
                    return Ok(None);
                }
                let mut batch = self.batch();
                batch.insert(&self.meta, "origin", wanted);
                self.commit(batch, &mut totals)?;
            }
        }
        let floor_of = |shard| match self.meta.get([b'f', shard])? {
            Some(floor) => number(&floor),
            None => Ok(0),
        };
        let floors = (0..origin.shards).map(floor_of).collect::<Result<Vec<_>, _>>()?;
        self.floors = Floors::new(floors);
        (0..origin.shards).map(|shard| self.place_of(shard)).collect::<Result<_, _>>().map(Some)
    }

    fn place_of(&self, shard: u8) -> Result<Place, StoreError> {
        let Some(bytes) = self.meta.get([b'p', shard])? else { return Ok(Place::default()) };
        let Some((numbers, mark)) = bytes.split_last_chunk::<16>() else {
            return Err(StoreError::Damaged);
        };
        let (at, time) = numbers.split_at_checked(8).ok_or(StoreError::Damaged)?;
        Ok(Place { at: number(at)?, time: Timestamp(number(time)?), mark: *mark })
    }

    /// Applies what comes next, shard by shard in order; answers the new places, and the logs that grew.
    pub(in crate::store) fn apply(
        &self,
        steps: &[Step],
    ) -> Result<(BTreeMap<u8, Place>, BTreeSet<LogId>), StoreError> {
        let mut totals = self.lock();
        let mut work = Work::new(self, &totals);
        for step in steps {
            let mut place = match work.places.get(&step.shard) {
                Some(place) => *place,
                None => self.place_of(step.shard)?,
            };
            if let Some(record) = &step.record {
                self.periods.see(record.time);
                // What goes is looked up in the store: there all that came before must be.
                if matches!(record.change, Change::Drop(_)) && work.is_begun {
                    work = work.committed(&mut totals)?;
                }
                let noted = record.time.0 / NOTE_STEP > place.time.0 / NOTE_STEP;
                place.time = record.time;
                if noted {
                    let mut key = vec![b'm', step.shard];
                    key.extend_from_slice(&record.time.0.to_be_bytes());
                    work.batch.insert(&self.meta, key, step.at.to_be_bytes());
                }
                work.apply(step.shard, record)?;
            }
            (place.at, place.mark) = (step.at, step.mark);
            work.places.insert(step.shard, place);
        }
        let done = work.committed(&mut totals)?;
        Ok((done.all_places, done.all_grown))
    }

    /// What becomes of these entries, and what has to be put on the log for it, where so many bytes
    /// besides are on their way here.
    pub(in crate::store) fn plan_append(
        &self,
        entries: &[&NewEntry],
        under_way: u64,
    ) -> (Vec<Outcome>, Vec<Put>) {
        let (used, has_room) = {
            let mut totals = self.lock();
            let wanted = entries.iter().map(|new| new.bytes.len() as u64).sum();
            self.look_for_room(wanted, &mut totals);
            let bytes = totals.used.bytes.saturating_add(under_way);
            (Usage { bytes, ..totals.used }, totals.has_room)
        };
        let plan = self.plan(entries.iter().copied(), used, has_room, Lost::Refused);
        let put = |fresh: &Fresh| {
            let NewEntry { log, bytes } = entries[fresh.position];
            Put { log: *log, seq: fresh.seq, bytes: bytes.clone() }
        };
        (plan.outcomes, plan.fresh.iter().map(put).collect())
    }

    /// After which number a log begins, and what would go of it by a trim; nothing where nothing would.
    pub(in crate::store) fn plan_trim(
        &self,
        log: LogId,
        to: u64,
        max: usize,
    ) -> Result<(u64, Option<Gone>), StoreError> {
        let Some(tally) = self.tally(log)? else {
            return Ok((self.floors.of(log), None));
        };
        let begins = self.first(log, &tally).saturating_sub(1);
        let to = if to > tally.head { 0 } else { to.min(tally.head.saturating_sub(1)) };
        let to = to.min(begins.saturating_add(max as u64));
        Ok((begins, (to > begins).then_some(Gone { log, to })))
    }

    /// The first `max` entries of a shard that were appended from `from` on and before `before`, by log.
    /// What is damaged here is passed over.
    pub(in crate::store) fn plan_expiry(
        &self,
        shard: u8,
        shards: u8,
        from: Timestamp,
        before: Timestamp,
        max: usize,
    ) -> Expiry {
        let place_of = |key: &[u8]| due_of(key).filter(|(log, _)| shard_of(*log, shards) == shard);
        let periods = self.periods.all();
        let is_there = |(log, seq)| {
            let key = |period: &Period| Some((self.shelf(*period)?, period.key(log, seq)));
            let mut keys = periods.iter().filter_map(key);
            keys.any(|(shelf, key)| matches!(shelf.contains_key(key), Ok(true)))
        };
        let records = self.due(from.0, before, max, |key| place_of(key).is_some_and(is_there));
        if records.len() < max {
            self.sweep_index(before);
        }
        let oldest = records.first().and_then(|(key, _)| due_time(key));
        let mut due: BTreeMap<LogId, Due> = BTreeMap::new();
        for (log, seq) in records.iter().filter_map(|(key, _)| due_of(key)) {
            let due = due.entry(log).or_insert(Due { gone: Gone { log, to: 0 }, count: 0 });
            due.gone.to = due.gone.to.max(seq);
            due.count += 1;
        }
        let heads = due.values().filter_map(|due| {
            let tally = self.tally(due.gone.log).ok().flatten()?;
            (due.gone.to >= tally.head).then(|| floor_above(tally.head))
        });
        let floor = heads.fold(self.floors.of_shard(shard), u64::max);
        Expiry { due: due.into_values().collect(), floor, oldest: oldest.unwrap_or(before) }
    }

    /// Gives back the room of what is over and gone, where nothing is kept that was appended before this. What is over
    /// stays here until a record says that it goes.
    fn sweep_index(&self, before: Timestamp) {
        let totals = self.lock();
        self.periods.keep_from(before, self.periods.newest());
        // To begin before it would be to walk over all that was removed, while the writer waits.
        let from = self.periods.oldest();
        let first = self.due(from.0, Timestamp(u64::MAX), 1, |_| true);
        let oldest = first.first().and_then(|(key, _)| due_time(key));
        // Where nothing is left, it is what comes next.
        self.periods.note_oldest(oldest.unwrap_or(Timestamp(u64::MAX)));
        self.sweep(oldest.unwrap_or(before).min(before), &totals);
    }

    /// From where new logs of a shard begin.
    pub(in crate::store) fn floor(&self, shard: u8) -> u64 {
        self.floors.of_shard(shard)
    }

    /// Whether the disk has room: otherwise what failed may have failed for want of it.
    pub(in crate::store) fn has_room(&self) -> bool {
        let mut totals = self.lock();
        self.look_for_room(0, &mut totals);
        totals.has_room
    }

    /// The place in a shard before which nothing is left of what its records brought, where nothing of it
    /// is left that was appended before `from`.
    pub(in crate::store) fn unneeded(&self, shard: u8, from: Timestamp) -> Option<u64> {
        let mut records = self.expiry.range(from.0.to_be_bytes()..);
        let oldest = match records.next().map(fjall::Guard::key) {
            Some(key) => due_time(&key.ok()?)?,
            None => Timestamp(u64::MAX),
        };
        let key = |time: u64| [&[b'm', shard][..], &time.to_be_bytes()].concat();
        let mut noted = self.meta.range(key(0)..key(oldest.0));
        number(&noted.next_back()?.value().ok()?).ok()
    }

    /// Forgets the notes of places before this one.
    pub(in crate::store) fn forget_places(&self, shard: u8, before: u64) -> Result<(), StoreError> {
        let mut totals = self.lock();
        let mut batch = self.batch();
        let mut any = false;
        for note in self.meta.prefix([b'm', shard]) {
            let (key, at) = note.into_inner()?;
            if number(&at)? >= before {
                break;
            }
            batch.remove(&self.meta, key);
            any = true;
        }
        if any { self.commit(batch, &mut totals) } else { Ok(()) }
    }
}

/// What is to be committed at once.
struct Work<'a> {
    store: &'a EmbeddedStore,
    batch: OwnedWriteBatch,
    is_begun: bool,
    used: Usage,
    /// Those that this changes.
    floors: BTreeMap<u8, u64>,
    tallies: BTreeMap<LogId, Option<Tally>>,
    places: BTreeMap<u8, Place>,
    grown: BTreeSet<LogId>,
    all_places: BTreeMap<u8, Place>,
    all_grown: BTreeSet<LogId>,
}

impl<'a> Work<'a> {
    fn new(store: &'a EmbeddedStore, totals: &Totals) -> Self {
        Self {
            store,
            batch: store.batch(),
            is_begun: false,
            used: totals.used,
            floors: BTreeMap::new(),
            tallies: BTreeMap::new(),
            places: BTreeMap::new(),
            grown: BTreeSet::new(),
            all_places: BTreeMap::new(),
            all_grown: BTreeSet::new(),
        }
    }

    fn tally(&self, log: LogId) -> Result<Option<Tally>, StoreError> {
        self.tallies.get(&log).map_or_else(|| self.store.tally(log), |tally| Ok(*tally))
    }

    /// Raises a shard's floor to at least this.
    fn raise(&mut self, shard: u8, floor: u64) {
        let held = self.floors.get(&shard).copied();
        let held = held.unwrap_or_else(|| self.store.floors.of_shard(shard));
        if floor > held {
            self.floors.insert(shard, floor);
        }
    }

    fn apply(&mut self, shard: u8, record: &Record) -> Result<(), StoreError> {
        self.is_begun = true;
        self.raise(shard, record.floor);
        match &record.change {
            Change::Put(puts) => puts.iter().try_for_each(|put| self.put(put, record.time)),
            Change::Drop(gone) => {
                // Each log once: what is removed here is still found in the store.
                let by_log: BTreeMap<_, _> = gone.iter().map(|gone| (gone.log, gone)).collect();
                by_log.into_values().try_for_each(|gone| self.drop(shard, gone))
            }
        }
    }

    fn put(&mut self, put: &Put, time: Timestamp) -> Result<(), StoreError> {
        let (store, log, seq) = (self.store, put.log, put.seq);
        let id = short(EntryId::of(&put.bytes));
        let len = put.bytes.len() as u64;
        let mut tally = self.tally(log)?.unwrap_or(Tally::born_at(seq.saturating_sub(1)));
        tally.head = seq;
        tally.entries += 1;
        tally.bytes += len;
        store.put(&mut self.batch, time, (log, seq), id, &put.bytes);
        self.used.entries += 1;
        self.used.bytes = self.used.bytes.saturating_add(len);
        self.tallies.insert(log, Some(tally));
        self.grown.insert(log);
        Ok(())
    }

    fn drop(&mut self, shard: u8, gone: &Gone) -> Result<(), StoreError> {
        let (store, log) = (self.store, gone.log);
        let Some(mut tally) = self.tally(log)? else { return Ok(()) };
        let to = gone.to.min(tally.head);
        let (now, periods) = store.periods.with(|| store.db.snapshot());
        let periods = store.periods_from(&now, &periods, log, tally.first);
        for item in store.walk(&now, periods, log, (tally.first, to)) {
            let Found { period, seq, value: entry } = item?;
            if let Some(shelf) = store.shelf(period) {
                self.batch.remove(shelf, period.key(log, seq));
            }
            // Without these its part of the indexes can't be found: the store is to be made anew.
            let bytes = checked(log, seq, &entry).ok_or(StoreError::Damaged)?;
            let at = due_time(&entry).ok_or(StoreError::Damaged)?;
            let id = short(EntryId::of(bytes));
            if store.names(log, id, seq) {
                self.batch.remove(&store.ids, id_key(log, id));
            }
            self.batch.remove(&store.expiry, due_key(at, log, seq));
            tally.remove(&mut self.used, seq, bytes.len() as u64);
        }
        let is_empty = to == tally.head;
        if is_empty {
            // Not in steps: whoever planned this said how far, and all are to have the same.
            self.raise(shard, tally.head);
        }
        self.tallies.insert(log, (!is_empty).then_some(tally));
        Ok(())
    }

    /// Commits; what follows begins with an empty batch.
    fn committed(mut self, totals: &mut Totals) -> Result<Self, StoreError> {
        let store = self.store;
        for (log, tally) in &self.tallies {
            match tally {
                Some(tally) => {
                    self.batch.insert(&store.logs, *log.as_bytes(), tally_bytes(tally));
                }
                None => self.batch.remove(&store.logs, *log.as_bytes()),
            }
        }
        for (shard, place) in &self.places {
            let mut bytes = place.at.to_be_bytes().to_vec();
            bytes.extend_from_slice(&place.time.0.to_be_bytes());
            bytes.extend_from_slice(&place.mark);
            self.batch.insert(&store.meta, [b'p', *shard], bytes);
        }
        for (shard, floor) in &self.floors {
            self.batch.insert(&store.meta, [b'f', *shard], floor.to_be_bytes());
            // Before the commit: a log that is gone is read as empty up to it.
            store.floors.set(*shard, *floor);
        }
        store.commit(self.batch, totals)?;
        totals.used = self.used;
        let mut next = Self::new(store, totals);
        next.all_places = self.all_places;
        next.all_places.extend(&self.places);
        next.all_grown = self.all_grown;
        next.all_grown.extend(&self.grown);
        next.places = self.places;
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
