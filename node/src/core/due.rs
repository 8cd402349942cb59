//! Messages that disappear: each is kept for as long as its sender says in it, from when it came here, or was sent.
//!
//! > No clock that is set ends one early. What came in the run that goes on is counted by the machine's clock, which nobody
//! > sets: where the wall's is set, its end is moved along. What came in an earlier run is over where the wall's clock says
//! > so and has gone on for a minute since the start, or since it was set; or once the run has lasted for its whole time.
//!
//! What is over is emptied as a deletion does it, and says so. Its row stays, so that it does not come back.

mod steady;

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    ids::{GroupId, Timestamp},
    said::{Said, Text},
};

use self::steady::Steady;
use super::{Core, step::Step};
use crate::{
    api::types::What,
    store::{StoreError, Tx},
};

/// When what is to be kept for some time only is looked at.
#[derive(Debug, Default)]
pub(super) struct Due {
    clocks: Steady,
    /// The first that came in this run.
    fresh: Option<Timestamp>,
    /// The first of earlier ones.
    earlier: Option<Timestamp>,
    /// The shortest time of these, in milliseconds.
    shortest: Option<u64>,
    /// By how much the wall's clock was set, where the store has yet to be told.
    owed_ms: i64,
}

/// How many of each are emptied at once.
const BATCH: u32 = 500;

impl Due {
    /// Something came that is kept until then.
    pub(super) fn begin(&mut self, at: Option<Timestamp>) {
        self.fresh = self.fresh.into_iter().chain(at).min();
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        if self.owed_ms != 0 {
            return None;
        }
        let sure = self.clocks.sure_at();
        let earlier = self.earlier.zip(sure).map(|(at, sure)| at.max(sure));
        let outlasted = self.shortest.and_then(|ms| self.clocks.lasts_for(ms));
        self.fresh.into_iter().chain(earlier).chain(outlasted).min()
    }

    fn look(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        (self.fresh, self.earlier) = (tx.next_due(true)?, tx.next_due(false)?);
        self.shortest = tx.shortest_due()?;
        Ok(())
    }
}

impl Core {
    /// Told before all else that comes: what time it is, and for how many milliseconds the machine has run, from any
    /// beginning.
    pub fn on_time(&mut self, now: Timestamp, ran_ms: u64) {
        if let Some(by) = self.due.clocks.told(now, ran_ms) {
            self.due.owed_ms = self.due.owed_ms.saturating_add(by);
        }
        if self.due.owed_ms == 0 {
            return;
        }
        let by = self.due.owed_ms;
        match self.store.transaction(|tx| tx.move_due(by)) {
            Ok(()) => self.due.owed_ms = 0,
            Err(error) => {
                // What comes meanwhile is not to end early: rather late, where it was set back.
                self.due.owed_ms = by.max(0);
                return tracing::error!(%error, "the store refuses; trying again");
            }
        }
        let due = &mut self.due;
        if let Err(error) = self.store.read(|tx| due.look(tx)) {
            tracing::error!(%error, "the store can't be read; trying again");
            due.fresh = Some(now);
        }
    }

    /// Empties what is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.due.deadline().is_none_or(|deadline| deadline > now) {
            return Ok(());
        }
        let (sure, ran_ms) = (self.due.clocks.is_sure(), self.due.clocks.lasted());
        let over = self.store.read(|tx| {
            let mut over = tx.over(now, true, BATCH)?;
            over.extend(tx.outlasted(ran_ms, BATCH)?);
            if sure {
                over.extend(tx.over(now, false, BATCH)?);
            }
            Ok::<_, StoreError>(over)
        })?;
        let mut groups: BTreeMap<GroupId, BTreeSet<u64>> = BTreeMap::new();
        over.into_iter().for_each(|(seq, group)| {
            groups.entry(group).or_default().insert(seq);
        });
        for (group, seqs) in groups {
            if self.groups.contains_key(&group) {
                self.step(group, now, |_, step| {
                    seqs.into_iter().try_for_each(|seq| step.expire(group, seq))
                })?;
            } else {
                // It is being wiped.
                self.store.transaction(|tx| {
                    seqs.into_iter().try_for_each(|seq| tx.expire(seq).map(drop))
                })?;
            }
        }
        let due = &mut self.due;
        self.store.read(|tx| due.look(tx))
    }

    /// The node starts: all that there is came in an earlier run.
    pub(super) fn take_up_due(&mut self) -> Result<(), StoreError> {
        let due = &mut self.due;
        self.store.transaction(|tx| {
            tx.begin_run()?;
            due.look(tx)
        })
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

    fn expire(&mut self, group: GroupId, seq: u64) -> Result<(), StoreError> {
        if let Some(head) = self.tx.head(seq)? {
            // What it was to say instead is said to nobody any more.
            let edits = self.tx.queued_edits(group, &head)?;
            edits.into_iter().try_for_each(|edit| self.tx.unqueue(edit))?;
        }
        if !self.tx.expire(seq)? {
            return Ok(());
        }
        let message = Box::new(self.tx.message(seq)?.ok_or(StoreError::Damaged)?);
        self.emit(Some(group), What::Expired { message })
    }
}
