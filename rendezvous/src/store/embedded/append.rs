//! Taking new entries: what becomes of each, and what is written of those that are kept.

use std::collections::BTreeMap;

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};

use super::{
    EXPIRED, EmbeddedStore, MENDED, NewEntry, Outcome, OwnedWriteBatch, Quota, ShortId, StoreError,
    Tally, Usage, checked, due_key, due_value_bytes, id_key, record, short, tally_bytes,
};
use crate::limits::COMMIT_REPEATS;

/// What becomes of some entries.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) outcomes: Vec<Outcome>,
    /// Those that are to be written.
    pub(super) fresh: Vec<Fresh>,
    tallies: BTreeMap<LogId, Tally>,
    numbers: BTreeMap<(LogId, EntryId), u64>,
    used: Usage,
    /// Whether the index has had any of them at another place.
    is_again: bool,
    /// How many were looked up that the index has.
    looked_up: usize,
}

/// An entry that is to be written.
pub(super) struct Fresh {
    /// Where it stands among those that were given.
    pub(super) position: usize,
    pub(super) seq: u64,
    id: ShortId,
}

/// What becomes of an entry that is given and that the store had, and can't read any more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It is taken anew, at a new place.
    TakenAnew,
    /// Others have it at its place: this store is to be made anew from what they have.
    Refused,
}

/// What a store has of an entry that is given.
enum Known {
    New,
    /// It is told, with this number.
    At(u64),
    /// It can't be read.
    Lost,
    /// At the place that the index names it is no more, or is known to be lost, or is another with the same short id.
    Elsewhere,
    /// The index has it; more are not looked up for this batch.
    Unseen,
}

impl EmbeddedStore {
    /// See [`super::LogStore::append`].
    pub(super) fn append_all(
        &self,
        entries: &[NewEntry],
        now: Timestamp,
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut totals = self.lock();
        let wanted = entries.iter().map(|new| new.bytes.len() as u64).sum();
        self.look_for_room(wanted, &mut totals);
        let plan = self.plan(entries.iter(), totals.used, totals.has_room, Lost::TakenAnew);
        if plan.fresh.is_empty() {
            return Ok(plan.outcomes);
        }
        let mut batch = self.batch();
        for Fresh { position, seq, id } in &plan.fresh {
            let NewEntry { log, bytes } = &entries[*position];
            self.put(&mut batch, now, (*log, *seq), *id, bytes);
        }
        for (log, tally) in &plan.tallies {
            batch.insert(&self.logs, *log.as_bytes(), tally_bytes(tally));
        }
        // What is over is looked for from there on.
        totals.expired = totals.expired.min(now);
        if plan.is_again && !totals.is_mended {
            batch.insert(&self.meta, MENDED, [1_u8]);
        }
        if totals.is_anew {
            // All that was there is in no period that is listed any more.
            batch.remove(&self.meta, EXPIRED);
        }
        self.commit(batch, &mut totals)?;
        totals.is_anew = false;
        totals.is_mended |= plan.is_again;
        totals.used = plan.used;
        Ok(plan.outcomes)
    }

    /// What becomes of these entries where so much is used, in order.
    pub(super) fn plan<'a>(
        &self,
        entries: impl Iterator<Item = &'a NewEntry>,
        used: Usage,
        has_room: bool,
        lost: Lost,
    ) -> Plan {
        let quota = if has_room { self.quota() } else { Quota { total_bytes: 0, ..self.quota() } };
        let mut plan = Plan { used, ..Plan::default() };
        for (position, new) in entries.enumerate() {
            let outcome = self.plan_one(&mut plan, (position, new), &quota, lost);
            plan.outcomes.push(outcome.unwrap_or(Outcome::Damaged));
        }
        plan
    }

    fn plan_one(
        &self,
        plan: &mut Plan,
        (position, new): (usize, &NewEntry),
        quota: &Quota,
        lost: Lost,
    ) -> Result<Outcome, StoreError> {
        let (log, entry) = (new.log, EntryId::of(&new.bytes));
        if let Some(seq) = plan.numbers.get(&(log, entry)) {
            return Ok(Outcome::Kept(*seq));
        }
        let held = match plan.tallies.get(&log) {
            Some(tally) => Some(*tally),
            None => self.tally(log)?,
        };
        let (id, first) = (short(entry), held.map_or(u64::MAX, |tally| tally.first));
        let is_again = match self.known(new, id, first, &mut plan.looked_up)? {
            Known::At(seq) => return Ok(Outcome::Kept(seq)),
            Known::Unseen => return Ok(Outcome::Later),
            Known::Lost if lost == Lost::Refused => return Ok(Outcome::Damaged),
            Known::Lost | Known::Elsewhere => true,
            Known::New => false,
        };
        let mut tally = held.unwrap_or_else(|| Tally::born_at(self.floors.of(log)));
        let outcome = tally.add(&mut plan.used, new.bytes.len(), quota);
        if let Outcome::Kept(seq) = outcome {
            plan.tallies.insert(log, tally);
            plan.numbers.insert((log, entry), seq);
            plan.fresh.push(Fresh { position, seq, id });
            plan.is_again |= is_again;
        }
        Ok(outcome)
    }

    /// What the store has of an entry whose log begins at number `first`. It has what a read tells, and nothing else: who
    /// gives what it does not tell is not told that it is kept.
    fn known(
        &self,
        new: &NewEntry,
        id: ShortId,
        first: u64,
        looked_up: &mut usize,
    ) -> Result<Known, StoreError> {
        let log = new.log;
        let Some(seq) = self.number_of(log, id)? else { return Ok(Known::New) };
        if seq < first {
            return Ok(Known::Elsewhere);
        }
        if *looked_up >= COMMIT_REPEATS {
            return Ok(Known::Unseen);
        }
        *looked_up += 1;
        let Ok(record) = self.record_at(log, seq) else { return Ok(Known::Lost) };
        let Some(record) = record else { return Ok(Known::Elsewhere) };
        Ok(match checked(log, seq, &record) {
            None => Known::Lost,
            Some(bytes) if *bytes == *new.bytes => Known::At(seq),
            Some(_) => Known::Elsewhere,
        })
    }

    /// Writes an entry at its place, and what the indexes have of it.
    pub(super) fn put(
        &self,
        batch: &mut OwnedWriteBatch,
        time: Timestamp,
        (log, seq): (LogId, u64),
        id: ShortId,
        bytes: &[u8],
    ) {
        let period = self.periods.at(time);
        batch.insert(&self.entries, period.key(log, seq), record(log, seq, time, bytes));
        batch.insert(&self.ids, id_key(log, id), seq.to_be_bytes());
        let due = due_value_bytes(id, bytes.len());
        batch.insert(&self.expiry, due_key(time, log, seq), due);
    }
}
