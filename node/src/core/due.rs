//! Messages that disappear: each is kept for as long as its sender says in it, from when it came here, or was sent.
//!
//! > By this node's clock, and never early because that leaps: what looks over for longer than a minute (the clock was
//! > set, or the machine slept) stays for one more minute of one clock. Nor for longer than its time after the clock
//! > was set back.
//!
//! What is over is emptied as a message that its writer deletes. Its row stays, so that it does not come back.

use protocol::{
    ids::Timestamp,
    said::{Said, Text},
};

use super::{Core, step::Step};
use crate::{
    api::types::{ChangeKind, What},
    store::StoreError,
};

/// When what is to be kept for some time only is looked at.
#[derive(Debug, Default)]
pub(super) struct Due {
    at: Option<Timestamp>,
    /// Since when the clock goes as it does, where it was found to have leapt.
    leapt: Option<Timestamp>,
}

/// So much later than it should be is a leap; and so long is waited after one.
const LEAP_MS: u64 = 60_000;

/// How many are emptied in one step.
const BATCH: u32 = 500;

impl Due {
    pub(super) fn begin(&mut self, at: Option<Timestamp>) {
        self.at = self.at.into_iter().chain(at).min();
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let after = self.leapt.map(|leapt| leapt.plus_ms(LEAP_MS)).unwrap_or_default();
        Some(self.at?.max(after))
    }

    /// Whether something is over, and that by a clock that did not leap.
    fn is_over(&mut self, now: Timestamp) -> bool {
        let Some(deadline) = self.deadline().filter(|deadline| *deadline <= now) else {
            return false;
        };
        if now.ms_since(deadline) > LEAP_MS {
            self.leapt = Some(now);
            return false;
        }
        true
    }
}

impl Core {
    /// Empties what is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if !self.due.is_over(now) {
            return Ok(());
        }
        for (seq, group) in self.store.read(|tx| tx.over(now, BATCH))? {
            if self.groups.contains_key(&group) {
                self.step(group, now, |_, step| step.expire(group, seq))?;
            } else {
                // It is being wiped.
                self.store.transaction(|tx| tx.expire(seq))?;
            }
        }
        self.due.at = self.store.read(|tx| tx.next_due())?;
        if self.due.at.is_none_or(|at| at > now) {
            self.due.leapt = None;
        }
        Ok(())
    }

    /// The clock was set, or the node starts.
    pub(super) fn recount_due(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.due.leapt = None;
        self.due.at = self.store.transaction(|tx| {
            tx.recount_due(now)?;
            tx.next_due()
        })?;
        Ok(())
    }
}

impl Step<'_> {
    /// Counts the time of a message that came or was sent just now, where it has one.
    pub(super) fn count_down(
        &mut self,
        seq: u64,
        kind: u8,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(Said::Text(Text { expires_s: Some(seconds), .. })) = Said::read(kind, payload) {
            let at = self.tx.put_due(seq, self.now, seconds)?;
            self.after.due = self.after.due.into_iter().chain([at]).min();
        }
        Ok(())
    }

    fn expire(&mut self, group: protocol::ids::GroupId, seq: u64) -> Result<(), StoreError> {
        let Some(by) = self.tx.expire(seq)? else { return Ok(()) };
        let message = Box::new(self.tx.message(seq)?.ok_or(StoreError::Damaged)?);
        let (by, change) = (self.tx.member(by)?, ChangeKind::Delete);
        self.emit(Some(group), What::Changed { message, by, change })
    }
}
