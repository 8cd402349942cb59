//! Reading a log, past what is damaged: each number between a log's first and its head that isn't
//! there is counted.

use fjall::{Guard, Readable as _, Slice};
use protocol::{ids::LogId, relay_log::Entry};

use super::{EmbeddedStore, Page, StoreError, checked, place, seq_of, tally};

/// Numbers that one salvaging read looks at.
const SALVAGE_STEPS: u64 = 1024;

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
        let now = self.db.snapshot();
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
        let from = place(log, page.read_to.saturating_add(1));
        for item in now.range(&self.entries, from..=place(log, tally.head)) {
            let Ok((key, value)) = item.into_inner() else {
                self.salvage(log, &mut page, max_bytes);
                return Ok(page);
            };
            let Some(seq) = seq_of(&key) else { continue };
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
        }
        page.damaged += if is_known { tally.head - page.read_to } else { 0 };
        page.read_to = tally.head;
        Ok(page)
    }

    /// The record at a place.
    pub(super) fn record_at(&self, log: LogId, seq: u64) -> fjall::Result<Option<Slice>> {
        let key = place(log, seq);
        self.entries.get(key).or_else(|_| {
            // A damaged filter says nothing of the record.
            self.entries.range(key..=key).next().map(Guard::value).transpose()
        })
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
