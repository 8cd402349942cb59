//! Asking to be let in by letter, where nobody answers live: joiner and admin need never be online
//! together.

use protocol::{
    ids::{InviteId, Timestamp},
    join::{
        Request,
        letter::{Letters, Told},
        mailbox::{Direction, MailFrame},
    },
};

use super::{Core, mail::Carrier, relays::Owner};
use crate::{
    api::types::JoinState,
    net::relay::RelayKey,
    store::{JoinRow, StoreError},
};

/// What is said of a join whose request lies in the mailbox.
const ASKED: &str = "the request lies at the relay; the inviter's node answers when it is back";

impl Core {
    /// Asks by letter, where that is due.
    pub(super) fn ask(&mut self, id: InviteId, now: Timestamp) -> Result<(), StoreError> {
        let Some(attempt) = self.joining.0.get(&id) else { return Ok(()) };
        if attempt.ask_at.is_none_or(|at| at > now) {
            return Ok(());
        }
        let relays: Vec<RelayKey> = attempt
            .relays
            .iter()
            .map(|relay| relay.peer_id)
            .filter(|relay| self.serves(relay, Owner::Join(id)) && !attempt.posted.contains(relay))
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
        attempt.posted.extend(&relays);
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
