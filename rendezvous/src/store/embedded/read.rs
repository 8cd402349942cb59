//! Reading a log, past what is damaged: each number between a log's first and its head that isn't
//! there is counted.

use fjall::{Guard, Keyspace, Readable as _, Slice, Snapshot};
use protocol::{ids::LogId, relay_log::Entry};

use super::{
    EmbeddedStore, Page, StoreError, checked,
    periods::{Period, placed},
    seq_of, tally,
};

/// Numbers that one salvaging read looks at.
const SALVAGE_STEPS: u64 = 1024;

/// An entry's record.
pub(super) struct Found {
    pub(super) period: Period,
    pub(super) seq: u64,
    pub(super) value: Slice,
}

impl EmbeddedStore {
    /// See [`super::LogStore::read`].
    pub(super) fn read_log(
        &self,
        log: LogId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Page, StoreError> {
        // Before the tally, lest the log be made meanwhile below a floor that rises.
        let floor = self.floors.of(log);
        // A trim in between is no damage.
        let (now, periods) = self.periods.with(|| self.db.snapshot());
        let held = now.get(&self.logs, log.as_bytes())?;
        let Some(tally) = held.map(|bytes| tally(&bytes)).transpose()? else {
            return Ok(Page { read_to: floor, head: floor, begins: floor, ..Page::default() });
        };
        if after >= tally.head {
            return Ok(Page { read_to: tally.head, head: tally.head, ..Page::default() });
        }
        let begins = tally.first.saturating_sub(1);
        let mut page = Page { read_to: after.max(begins), head: tally.head, ..Page::default() };
        if begins > after {
            page.begins = begins;
        }
        let mut room = max_bytes;
        // An early record does not say where its log begins.
        let mut is_known = tally.first > 0;
        let from = page.read_to.saturating_add(1);
        let periods = self.periods_from(&now, &periods, log, from);
        for item in self.walk(&now, periods, log, (from, tally.head)) {
            let Ok(Found { seq, value, .. }) = item else {
                self.salvage(log, &mut page, max_bytes);
                return Ok(page);
            };
            if seq <= page.read_to {
                continue;
            }
            let gap = seq - 1 - page.read_to;
            if std::mem::replace(&mut is_known, true) {
                page.damaged += gap;
            } else {
                page.begins = seq - 1;
            }
            page.read_to = seq - 1;
            match checked(log, seq, &value) {
                Some(bytes) if bytes.len() > room && !page.entries.is_empty() => return Ok(page),
                Some(bytes) => {
                    room = room.saturating_sub(bytes.len());
                    push(&mut page, seq, bytes);
                }
                None => page.damaged += 1,
            }
            page.read_to = seq;
            if seq == tally.head {
                // Later periods have nothing of it.
                return Ok(page);
            }
        }
        page.damaged += if is_known { tally.head - page.read_to } else { 0 };
        page.read_to = tally.head;
        Ok(page)
    }

    /// The entries of a log with these numbers, in order, as far as the disk gives them back.
    pub(super) fn walk(
        &self,
        now: &Snapshot,
        periods: &[Period],
        log: LogId,
        (from, to): (u64, u64),
    ) -> impl Iterator<Item = fjall::Result<Found>> {
        periods.iter().flat_map(move |period| {
            let shelf = self.shelf(*period);
            let items =
                shelf.map(|shelf| now.range(shelf, period.key(log, from)..=period.key(log, to)));
            items.into_iter().flatten().filter_map(|item| {
                let (key, value) = match item.into_inner() {
                    Ok(item) => item,
                    Err(error) => return Some(Err(error)),
                };
                let (period, place) = placed(&key)?;
                let seq = seq_of(place)?;
                Some(Ok(Found { period, seq, value }))
            })
        })
    }

    /// The periods in which a log goes on from this number; all, where nothing has it.
    pub(super) fn periods_from<'a>(
        &self,
        now: &Snapshot,
        periods: &'a [Period],
        log: LogId,
        seq: u64,
    ) -> &'a [Period] {
        let has = |period: &Period| {
            let shelf = self.shelf(*period);
            shelf.is_some_and(|it| matches!(now.contains_key(it, period.key(log, seq)), Ok(true)))
        };
        let first = if periods.len() > 1 { periods.iter().rposition(has) } else { None };
        &periods[first.unwrap_or(0)..]
    }

    /// Where the entries of a period are.
    pub(super) fn shelf(&self, period: Period) -> Option<&Keyspace> {
        if period == Period::EARLY { self.early.as_ref() } else { Some(&self.entries) }
    }

    /// The record at a place.
    pub(super) fn record_at(&self, log: LogId, seq: u64) -> fjall::Result<Option<Slice>> {
        let found = self.find(&self.periods.all(), log, seq)?;
        Ok(found.map(|found| found.value))
    }

    /// The record at a place, looked for in the last of these periods first.
    pub(super) fn find(
        &self,
        periods: &[Period],
        log: LogId,
        seq: u64,
    ) -> fjall::Result<Option<Found>> {
        let mut failed = None;
        for period in periods.iter().rev() {
            let (Some(shelf), key) = (self.shelf(*period), period.key(log, seq)) else { continue };
            let found = shelf.get(&key).or_else(|_| {
                // A damaged filter says nothing of the record.
                shelf.range(key.clone()..=key).next().map(Guard::value).transpose()
            });
            match found {
                Ok(Some(value)) => return Ok(Some(Found { period: *period, seq, value })),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Reads number by number, past what the disk can't give back.
    pub(super) fn salvage(&self, log: LogId, page: &mut Page, max_bytes: usize) {
        let mut room =
            max_bytes.saturating_sub(page.entries.iter().map(|entry| entry.bytes.len()).sum());
        let last = page.head.min(page.read_to.saturating_add(SALVAGE_STEPS));
        for seq in page.read_to + 1..=last {
            match self.record_at(log, seq) {
                // It may have been trimmed meanwhile.
                Ok(None) => {}
                Ok(Some(value)) => match checked(log, seq, &value) {
                    Some(bytes) if bytes.len() > room && !page.entries.is_empty() => return,
                    Some(bytes) => {
                        room = room.saturating_sub(bytes.len());
                        push(page, seq, bytes);
                    }
                    None => page.damaged += 1,
                },
                Err(_) => page.damaged += 1,
            }
            page.read_to = seq;
        }
    }
}

/// Adds an entry, unless all that is known of it is that it is lost.
fn push(page: &mut Page, seq: u64, bytes: &[u8]) {
    if !bytes.is_empty() {
        page.entries.push(Entry { seq, bytes: bytes.to_vec() });
    }
}
