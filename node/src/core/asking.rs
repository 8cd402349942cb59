//! Asking to be let in by letter, where nobody answers live: joiner and admin need never be online
//! together.

use protocol::{
    ids::{InviteId, LogId, Timestamp},
    join::{
        Request,
        letter::{Letters, Told},
        mailbox::{Direction, MailFrame},
    },
};

use super::{Core, joins::Joining, mail::Carrier, relays::Owner};
use crate::{
    api::types::JoinState,
    net::relay::RelayKey,
    store::{JoinRow, StoreError},
};

/// What is said of a join whose request lies in the mailbox.
const ASKED: &str = "the request lies at the relay; the inviter's node answers when it is back";

/// How long it is waited before what a relay may have lost is asked there once more, in milliseconds.
const AGAIN_MS: u64 = 10 * 60 * 1000;

/// Entries of a mailbox that are read again after a restart, at most, for what was begun there: more than a letter has.
const UNSTORED: usize = 1024;

impl Core {
    /// Asks by letter, where that is due.
    pub(super) fn ask(&mut self, id: InviteId, now: Timestamp) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get_mut(&id) else { return Ok(()) };
        let posted = attempt.posted.len();
        attempt.posted.retain(|_, again| again.is_none_or(|at| at > now));
        if attempt.posted.len() < posted {
            attempt.ask_at = Some(now);
        }
        let Some(attempt) = self.joining.0.get(&id) else { return Ok(()) };
        if attempt.ask_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let relays: Vec<RelayKey> = attempt
            .relays
            .iter()
            .map(|relay| relay.peer_id)
            .filter(|relay| {
                self.serves(relay, Owner::Join(id)) && !attempt.posted.contains_key(relay)
            })
            .collect();
        if relays.is_empty() {
            // As soon as one is connected, it is due again.
            if let Some(attempt) = self.joining.0.get_mut(&id) {
                attempt.ask_at = None;
            }
            return Ok(());
        }
        let log = attempt.keys().id();
        // One that a version of before signatures kept lets nobody in: it is made anew.
        let kept = attempt.asked.as_ref().map(|(request, _)| request);
        let request = match kept.filter(|request| request.is_signed()) {
            Some(request) => request.clone(),
            None => Request::new(&attempt.code, &self.me, &mut self.rng),
        };
        let detail = match attempt.row.state {
            state if state < JoinState::InviterFound => ASKED.into(),
            _ => attempt.row.detail.clone(),
        };
        let row =
            JoinRow { request: Some(request.as_bytes().into()), detail, ..attempt.row.clone() };
        // What is asked is kept before it is asked: its answers can be read by it alone.
        self.tell_join(&row, now)?;
        let Some(attempt) = self.joining.0.get_mut(&id) else { return Ok(()) };
        attempt.row = row;
        attempt.ask_at = None;
        attempt.posted.extend(relays.iter().map(|relay| (*relay, None)));
        let key = attempt.code.secret.seal_key();
        if attempt.asked.as_ref().is_none_or(|(kept, _)| *kept != request) {
            let letters = Letters::new(&attempt.code, &request);
            attempt.asked = Some((request.clone(), letters));
            // Relays that aren't reached yet may have the answer before they are.
            self.after.logs = true;
        }
        let frame = MailFrame {
            session: request.session(),
            direction: Direction::Request,
            seq: 0,
            body: request.as_bytes().into(),
        };
        for relay in relays {
            self.post(Carrier::Relay(relay, log), &key, &frame);
        }
        Ok(())
    }

    /// A relay knows no more how far a log was read: it may have lost it. What was asked there is asked there once more, at a
    /// pace, for it may say so as often as it likes.
    pub(super) fn ask_anew(&mut self, relay: &RelayKey, log: LogId, now: Timestamp) {
        let Some(Owner::Join(id)) = self.logs.get(&log) else { return };
        let posted = self.joining.0.get_mut(id).and_then(|it| it.posted.get_mut(relay));
        if let Some(lost) = posted {
            lost.get_or_insert(now.plus_ms(AGAIN_MS));
        }
    }

    /// A frame of an admin's letter.
    pub(super) fn join_letter(
        &mut self,
        id: InviteId,
        frame: &MailFrame,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get_mut(&id) else { return Ok(()) };
        let asked = attempt.asked.as_mut().filter(|(it, _)| it.session() == frame.session);
        let Some((_, letters)) = asked else { return Ok(()) };
        match letters.on_frame(&self.me, frame.seq, &frame.body) {
            Ok(None) => Ok(()),
            Ok(Some(Told::Pending)) => self.join_reached(id, JoinState::WaitingForApproval, now),
            Ok(Some(Told::Welcomed { welcome, host, group })) => {
                self.joined(id, group, &welcome, &host, now)
            }
            Ok(Some(Told::Refused(reason))) => self.join_refused(id, reason, now),
            Err(error) => {
                tracing::debug!(%error, "a frame of a letter was passed over");
                Ok(())
            }
        }
    }
}

impl Joining {
    /// Whether a mailbox, read by so many entries further, is to be read again from where it is stored that it was read to,
    /// should the node start again.
    pub(super) fn is_to_be_read_again(
        &mut self,
        id: InviteId,
        relay: &RelayKey,
        entries: usize,
    ) -> bool {
        let Some(attempt) = self.0.get_mut(&id) else { return false };
        let is_open = attempt.asked.as_ref().is_some_and(|(_, letters)| letters.is_open());
        let unstored = attempt.unstored.entry(*relay).or_default();
        *unstored += entries;
        let is_kept = (is_open || attempt.welcomed.is_some()) && *unstored <= UNSTORED;
        if !is_kept {
            *unstored = 0;
        }
        is_kept
    }
}
