//! Taking new entries: what becomes of each, and what is written of those that are kept.

use std::collections::BTreeMap;

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};

use super::{
    EmbeddedStore, NewEntry, Outcome, OwnedWriteBatch, Quota, ShortId, StoreError, Tally, Usage,
    due_key, due_value_bytes, id_key, place, record, short, tally_bytes,
};

/// What becomes of some entries.
pub(super) struct Plan {
    pub(super) outcomes: Vec<Outcome>,
    /// Those that are to be written.
    pub(super) fresh: Vec<Fresh>,
    tallies: BTreeMap<LogId, Tally>,
    used: Usage,
}

/// An entry that is to be written.
pub(super) struct Fresh {
    /// Where it stands among those that were given.
    pub(super) position: usize,
    pub(super) seq: u64,
    id: ShortId,
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
        let plan = self.plan(entries.iter(), totals.used, totals.has_room);
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
        self.commit(batch, &mut totals)?;
        totals.used = plan.used;
        Ok(plan.outcomes)
    }

    /// What becomes of these entries where so much is used, in order.
    pub(super) fn plan<'a>(
        &self,
        entries: impl Iterator<Item = &'a NewEntry>,
        used: Usage,
        has_room: bool,
    ) -> Plan {
        let quota = if has_room { self.quota() } else { Quota { total_bytes: 0, ..self.quota() } };
        let (outcomes, fresh) = (Vec::new(), Vec::new());
        let mut plan = Plan { outcomes, fresh, tallies: BTreeMap::new(), used };
        let mut numbers: BTreeMap<(LogId, ShortId), u64> = BTreeMap::new();
        for (position, new) in entries.enumerate() {
            let id = short(EntryId::of(&new.bytes));
            let known = match numbers.get(&(new.log, id)) {
                Some(seq) => Ok(Some(*seq)),
                None => self.number_of(new.log, id),
            };
            let tally = match plan.tallies.get(&new.log) {
                Some(tally) => Ok(*tally),
                None => self.tally_or_new(new.log),
            };
            let outcome = match (known, tally) {
                (Ok(Some(seq)), _) => Outcome::Kept(seq),
                (Ok(None), Ok(mut tally)) => {
                    let outcome = tally.add(&mut plan.used, new.bytes.len(), &quota);
                    if let Outcome::Kept(seq) = outcome {
                        plan.tallies.insert(new.log, tally);
                        numbers.insert((new.log, id), seq);
                        plan.fresh.push(Fresh { position, seq, id });
                    }
                    outcome
                }
                (Err(_), _) | (_, Err(_)) => Outcome::Damaged,
            };
            plan.outcomes.push(outcome);
        }
        plan
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
        batch.insert(&self.entries, place(log, seq), record(log, seq, time, bytes));
        batch.insert(&self.ids, id_key(log, id), seq.to_be_bytes());
        let due = due_value_bytes(id, bytes.len());
        batch.insert(&self.expiry, due_key(time, log, seq), due);
    }
}
