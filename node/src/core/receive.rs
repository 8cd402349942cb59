//! What relays tell: entries of logs, and how the relay stands.

use bytes::Bytes;
use protocol::{
    envelope,
    group::Source,
    ids::{EnvelopeId, GroupId, LogId, Timestamp},
    relay_log::Cursor,
};

use super::{
    Core, Effect,
    mail::Carrier,
    relays::Owner,
    trims::became_much,
    withheld::{Teller, tag},
};
use crate::{
    net::relay::{RelayKey, RelayReport},
    store::{Standing, StoreError},
};

/// Tags from here up are of frames that are in no outbox.
pub(super) const TRANSIENT: u64 = 1 << 63;

impl Core {
    /// A relay's client reports: the one that the last plan was for, and none that was dropped. On an error the relay's logs
    /// are read again from where they were last kept.
    pub fn on_relay(
        &mut self,
        relay: &RelayKey,
        report: RelayReport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Its client is about to end. What is read by the next one begins where it was last kept, and may not be passed over.
        if self.is_dropping(relay) {
            return Ok(());
        }
        let result = self.relay_report(relay, report, now);
        let result = result.and_then(|()| self.name_withholding(now));
        if result.is_err() {
            self.restart_relay(relay, now);
        }
        self.finish(now);
        result
    }

    fn relay_report(
        &mut self,
        relay: &RelayKey,
        report: RelayReport,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match report {
            // To be followed anew: what is passed over now comes again, as no cursor moves.
            RelayReport::Entries { log, .. }
            | RelayReport::CaughtUp { log, .. }
            | RelayReport::CursorGone { log }
            | RelayReport::Begins { log, .. }
                if self.after.anew.contains(&log) =>
            {
                Ok(())
            }
            RelayReport::Up { wants_token, keeps } => {
                self.note_report(relay, &report, now);
                self.relay_up(relay, wants_token, keeps, now)?;
                self.joins_on_relay(relay, now)
            }
            RelayReport::Token { under, fault } => self.token_stands(relay, under, fault, now),
            RelayReport::Down { reason, retry_in } => {
                self.relay_latency(relay, None);
                let retry = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                self.relay_down(relay, reason, now.plus_ms(retry), now)
            }
            RelayReport::Latency { took } => {
                self.relay_latency(relay, Some(took));
                Ok(())
            }
            RelayReport::Entries { log, entries, cursor } => {
                if let Some(relay) = self.relays.get_mut(relay) {
                    relay.tells(&log);
                }
                self.entries(relay, log, &entries, cursor, now)
            }
            RelayReport::CaughtUp { log, cursor } => {
                self.keep_read(relay, log, cursor, 0, now)?;
                self.caught_up(relay, log, now)?;
                self.note_end(relay, log, cursor, now);
                Ok(())
            }
            RelayReport::CursorGone { log } => {
                self.note_report(relay, &report, now);
                self.keep_cursor(relay, log, None, now)?;
                self.ask_anew(relay, log, now);
                Ok(())
            }
            RelayReport::Begins { log, cursor } => {
                self.note_report(relay, &report, now);
                self.keep_cursor(relay, log, Some(cursor), now)
            }
            RelayReport::Trimmed { log, cursor } => self.trimmed(relay, log, cursor),
            RelayReport::Appended { tag, cursor } if tag < TRANSIENT => {
                self.appended(relay, tag, cursor, now)
            }
            RelayReport::Refused { tag, reason } if tag < TRANSIENT => {
                self.refused(relay, tag, reason, now)
            }
            RelayReport::Appended { tag, cursor } => {
                self.given_is_kept(relay, tag, cursor, now);
                Ok(())
            }
            RelayReport::Refused { tag, .. } => {
                self.given_is_refused(relay, tag, now);
                Ok(())
            }
            RelayReport::LogRefused { log, reason } => {
                tracing::warn!(?log, %reason, "a relay does not open a log");
                if let Some(relay) = self.relays.get_mut(relay) {
                    relay.closes(log);
                }
                Ok(())
            }
        }
    }

    fn entries(
        &mut self,
        relay: &RelayKey,
        log: LogId,
        entries: &[Bytes],
        cursor: Cursor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self.logs.get(&log).copied() {
            Some(Owner::Group(id)) => self.group_entries(relay, id, log, entries, cursor, now),
            Some(owner) => {
                for entry in entries {
                    self.mail(owner, Carrier::Relay(*relay, log), entry, now)?;
                }
                self.keep_read(relay, log, cursor, entries.len(), now)
            }
            None => Ok(()),
        }
    }

    /// All entries of a report and the place after them, in one transaction. An entry that is not
    /// taken is passed over. Of an own inbox it is marked what was read.
    fn group_entries(
        &mut self,
        relay: &RelayKey,
        id: GroupId,
        log: LogId,
        entries: &[Bytes],
        cursor: Cursor,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let bytes = relay.to_bytes();
        let read = Standing {
            entries: entries.len() as u64,
            bytes: entries.iter().map(|entry| entry.len() as u64).sum(),
        };
        let ids: Vec<EnvelopeId> = entries.iter().map(|entry| envelope::id(entry)).collect();
        let by = tag(relay);
        self.teller = Some(Teller::Relay(*relay));
        let taken = self.step(id, now, |group, step| {
            for (entry, entry_id) in entries.iter().zip(&ids) {
                match group.on_envelope(step.cx(), Source::Log(log), entry) {
                    Ok(()) => {
                        group.note_told(entry_id, by);
                        step.settle(group)?;
                    }
                    Err(error) => tracing::debug!(%error, "an entry was passed over"),
                }
            }
            step.tx.put_cursor(&bytes, log, Some(cursor))?;
            if !group.is_own_inbox(&log) {
                return Ok(false);
            }
            let left = step.tx.mark_read(&bytes, log, cursor, read, now)?;
            Ok::<_, StoreError>(became_much(left, read))
        });
        self.teller = None;
        let is_to_be_trimmed = taken?;
        self.note_told(relay, log, ids, cursor, now);
        if is_to_be_trimmed {
            self.effects.push_back(Effect::Trim { relay: *relay, log, cursor });
        }
        Ok(())
    }

    /// A log is read up to here, so many entries further. A mailbox is read again from before what was begun there and is
    /// not done with, should the node start again.
    fn keep_read(
        &mut self,
        relay: &RelayKey,
        log: LogId,
        cursor: Cursor,
        entries: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Some(Owner::Join(id)) = self.logs.get(&log)
            && self.joining.is_to_be_read_again(*id, relay, entries)
        {
            return Ok(());
        }
        self.keep_cursor(relay, log, Some(cursor), now)
    }

    fn keep_cursor(
        &mut self,
        relay: &RelayKey,
        log: LogId,
        cursor: Option<Cursor>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let relay = relay.to_bytes();
        self.record(now, |step| {
            if cursor.is_none() {
                step.tx.unmark_all(&relay, log)?;
            }
            step.tx.put_cursor(&relay, log, cursor)
        })
    }
}
