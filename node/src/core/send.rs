//! Sending: a message is queued at once, sealed when it may be, and kept until a relay has it.

use protocol::{
    group::{GroupState, SendError},
    ids::{GroupId, Timestamp},
};

use super::{
    Core, VerbError,
    step::{Step, random},
};
use crate::{
    api::types::{Message, SendMessage, What},
    store::{Body, Sealing, StoreError},
};

/// The longest text of a message, in bytes: what fits an envelope.
pub const TEXT_MAX: usize = 31_744;

/// Messages of one group that may wait to be sealed.
const QUEUE_MAX: u64 = 10_000;

/// Messages sealed in one transaction.
const BATCH: usize = 16;

impl Core {
    /// Queues a message; it is sealed and sent as soon as it may be. The answer's id stays.
    pub fn send(
        &mut self,
        reference: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Message, VerbError> {
        self.send_with(reference, &SendMessage { text: text.into(), ..SendMessage::default() }, now)
    }

    /// Queues a message, with what goes with it.
    pub(super) fn queue(
        &mut self,
        id: GroupId,
        body: &Body<'_>,
        now: Timestamp,
        more: impl FnOnce(&mut Step<'_>, u64) -> Result<(), StoreError>,
    ) -> Result<u64, VerbError> {
        self.may_send(&id)?;
        let seq = self.step(id, now, |group, step| {
            if group.state() == GroupState::Migrated {
                return Err(VerbError::Moved);
            }
            if group.state() != GroupState::Active {
                return Err(VerbError::NotAMember);
            }
            let waiting = step.tx.queued(id)?;
            if waiting >= QUEUE_MAX {
                return Err(VerbError::QueueFull { waiting });
            }
            let local = random(step.rng);
            let seq = step.tx.queue_message(id, local, step.me.member(), body, now)?;
            more(step, seq)?;
            match body.changes {
                // What it does is done once it is sealed; it is shown from now on.
                Some(_) => step.changes.push((id, seq)),
                None => step.show(seq)?,
            }
            Ok(seq)
        })?;
        self.queued.insert(id);
        self.finish(now);
        Ok(seq)
    }

    /// Seals what waits, in every group where that is possible now.
    pub(super) fn flush(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for id in self.queued.clone() {
            while self.queued.contains(&id)
                && self.groups.get(&id).is_some_and(|group| group.ready(now).is_ok())
                && self.may_send(&id).is_ok()
            {
                match self.seal_some(id, now)? {
                    Progress::Emptied => drop(self.queued.remove(&id)),
                    Progress::More => {}
                    Progress::Stuck => break,
                }
            }
        }
        Ok(())
    }

    fn seal_some(&mut self, id: GroupId, now: Timestamp) -> Result<Progress, StoreError> {
        self.step(id, now, |group, step| {
            for _ in 0..BATCH {
                let Some(queued) = step.tx.next_queued(id)? else {
                    return Ok(Progress::Emptied);
                };
                match group.send(step.cx(), queued.kind, &queued.payload) {
                    Ok(sent) => {
                        step.tx.seal_message(&Sealing {
                            seq: queued.seq,
                            chain: sent.chain,
                            index: sent.index,
                            message: sent.id,
                            at: sent.at,
                            lamport: sent.lamport,
                            by_admin: sent.by_admin,
                            recipients: &sent.recipients,
                            signed: &sent.signed,
                        })?;
                        step.count_down(queued.seq, queued.kind, &queued.payload)?;
                        step.settle_change(queued.seq)?;
                        step.settle(group)?;
                        step.delivery(queued.seq)?;
                    }
                    Err(SendError::NotReady(_)) => return Ok(Progress::Stuck),
                    Err(SendError::TooLong { limit }) => step.give_up(id, queued.seq, limit)?,
                }
            }
            Ok(Progress::More)
        })
    }
}

enum Progress {
    Emptied,
    More,
    Stuck,
}

impl Step<'_> {
    /// Takes a message that can never be sealed out of the way of the others.
    fn give_up(&mut self, group: GroupId, seq: u64, limit: usize) -> Result<(), StoreError> {
        self.tx.unqueue(seq)?;
        let text = format!("A message is too long to be sent: it may have {limit} bytes.");
        self.emit(Some(group), What::Alarm { text })
    }
}
