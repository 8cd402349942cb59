//! Those who showed an invite and have no answer yet, or were denied.

use protocol::ids::{InviteId, MemberId, Timestamp};
use rusqlite::params;

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// Somebody who proved to hold an invite.
#[derive(Clone)]
pub struct RequestRow {
    /// The invite.
    pub invite: InviteId,
    /// Who.
    pub member: MemberId,
    /// The signed card that the proof is about.
    pub card: Vec<u8>,
    /// The join proof.
    pub proof: [u8; 64],
    /// What the proof is bound to: a handshake's hash, or a request's.
    pub handshake: [u8; 32],
    /// Whether it was asked by letter, and is to be answered so.
    pub letter: bool,
    /// What is to become of it.
    pub state: RequestState,
    /// When it came.
    pub at: Timestamp,
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// 0: a person says so.
    Waiting,
    /// 1: a person said no.
    Denied,
    /// 2: it is served at this instant, unless another admin's node has served it by then.
    Due(Timestamp),
}

/// Numbers of [`RequestState::Due`] begin here; the rest is milliseconds.
const DUE: u64 = 2;

impl Tx<'_> {
    /// Adds a request or replaces its row.
    pub fn put_request(&self, row: &RequestRow) -> Result<(), StoreError> {
        let state = match row.state {
            RequestState::Waiting => 0,
            RequestState::Denied => 1,
            RequestState::Due(at) => at.0.saturating_add(DUE),
        };
        self.sql.execute(
            "INSERT OR REPLACE INTO requests
               (invite, member, card, proof, handshake, letter, state, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                row.invite.0,
                row.member.0,
                row.card,
                row.proof,
                row.handshake,
                row.letter,
                int(state),
                int(row.at.0)
            ],
        )?;
        Ok(())
    }

    /// Forgets a request.
    pub fn drop_request(&self, invite: InviteId, member: MemberId) -> Result<(), StoreError> {
        let query = "DELETE FROM requests WHERE invite = ?1 AND member = ?2";
        self.sql.execute(query, params![invite.0, member.0])?;
        Ok(())
    }

    /// All requests, oldest first.
    pub fn requests(&self) -> Result<Vec<RequestRow>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT invite, member, card, proof, handshake, letter, state, at FROM requests
             ORDER BY at, invite, member",
        )?;
        let requests = rows.query_map([], |row| {
            Ok(RequestRow {
                invite: InviteId(row.get(0)?),
                member: MemberId(row.get(1)?),
                card: row.get(2)?,
                proof: row.get(3)?,
                handshake: row.get(4)?,
                letter: row.get(5)?,
                state: match uint(row.get(6)?) {
                    0 => RequestState::Waiting,
                    1 => RequestState::Denied,
                    due => RequestState::Due(Timestamp(due - DUE)),
                },
                at: Timestamp(uint(row.get(7)?)),
            })
        })?;
        Ok(requests.collect::<Result<_, _>>()?)
    }
}
