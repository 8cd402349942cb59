//! Deleting what a log's owner has read: from the front, with all that the indexes have of it.

use protocol::ids::LogId;

use super::{
    EmbeddedStore, EntryId, StoreError, Tally, Trimmed, checked, due_key, due_time, id_key,
    periods::Period, read::Found, short, tally_bytes,
};

impl EmbeddedStore {
    /// See [`super::LogStore::trim`]. Of an entry that is damaged the indexes can't be found: they,
    /// and its part of the quota, go when it expires.
    pub(super) fn trim_log(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        let mut totals = self.lock();
        let Some(mut tally) = self.tally(log)? else {
            return Ok(Trimmed { begins: self.floors.of(log), gone: 0 });
        };
        let first = self.first(log, &tally);
        let to = if to > tally.head { 0 } else { to.min(tally.head.saturating_sub(1)) };
        let mut trimmed = Trimmed { begins: first.saturating_sub(1), gone: 0 };
        let mut used = totals.used;
        let mut batch = self.batch();
        let periods = self.periods.all();
        let mut near: Option<Period> = None;
        for seq in first..=to {
            if trimmed.gone == max {
                break;
            }
            trimmed.begins = seq;
            // What the disk can't give back goes when it expires.
            let found = near.and_then(|near| self.find(&[near], log, seq).ok().flatten());
            let found = found.map_or_else(|| self.find(&periods, log, seq), |it| Ok(Some(it)));
            let Ok(Some(Found { period, value, .. })) = found else { continue };
            near = Some(period);
            if let Some(shelf) = self.shelf(period) {
                batch.remove(shelf, period.key(log, seq));
            }
            trimmed.gone += 1;
            let (Some(entry), Some(at)) = (checked(log, seq, &value), due_time(&value)) else {
                continue;
            };
            let id = short(EntryId::of(entry));
            if self.names(log, id, seq) {
                batch.remove(&self.ids, id_key(log, id));
            }
            batch.remove(&self.expiry, due_key(at, log, seq));
            tally.remove(&mut used, seq, entry.len() as u64);
        }
        if trimmed.gone > 0 {
            tally.first = tally.first.max(trimmed.begins + 1);
            batch.insert(&self.logs, *log.as_bytes(), tally_bytes(&tally));
            self.commit(batch, &mut totals)?;
            totals.used = used;
        }
        Ok(trimmed)
    }

    /// The number of a log's first entry; where the disk can't say, the least that it can be.
    pub(super) fn first(&self, log: LogId, tally: &Tally) -> u64 {
        // Not from the start: what was deleted before stays in the tables for a while, and is walked.
        let (now, periods) = self.periods.with(|| self.db.snapshot());
        let periods = self.periods_from(&now, &periods, log, tally.first);
        let mut entries = self.walk(&now, periods, log, (tally.first, tally.head));
        let first = entries.next().and_then(|item| Some(item.ok()?.seq));
        first.unwrap_or_else(|| tally.head.saturating_sub(tally.entries).saturating_add(1))
    }
}
