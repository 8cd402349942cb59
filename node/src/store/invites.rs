//! Invites that this node serves, and joins that it is about.

use protocol::ids::{GroupId, InviteId, Timestamp};
use rusqlite::{OptionalExtension, Row, params};
use zeroize::Zeroizing;

use super::{
    StoreError, Tx,
    groups::{int, uint},
};
use crate::api::types::JoinState;

/// An invite that this node made and serves.
#[derive(Clone)]
pub struct InviteRow {
    /// Its id.
    pub id: InviteId,
    /// The group.
    pub group: GroupId,
    /// The encoded `InviteRecord`: what serving needs.
    pub record: Zeroizing<Vec<u8>>,
    /// How often it may be used.
    pub uses: u32,
    /// How often it has been used.
    pub used: u32,
    /// When it was made.
    pub made: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Since when it can't be used any more.
    pub ended: Option<Timestamp>,
}

/// A join: under way, or ended.
#[derive(Clone)]
pub struct JoinRow {
    /// The invite's id, which names the join too.
    pub id: InviteId,
    /// The code; gone once the join has ended.
    pub code: Option<Zeroizing<String>>,
    /// How far it is.
    pub state: JoinState,
    /// What it waits for or why it failed, in words.
    pub detail: String,
    /// The exit code, where it failed.
    pub exit: Option<u8>,
    /// The group, once joined.
    pub group: Option<GroupId>,
    /// When it began.
    pub started: Timestamp,
    /// What was asked by letter, if it was.
    pub request: Option<Vec<u8>>,
}

impl Tx<'_> {
    /// Adds an invite or replaces its row.
    pub fn put_invite(&self, row: &InviteRow) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO invites(id, grp, record, uses, used, made, expires, revoked, ended)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (id) DO UPDATE SET
               used = ?5, revoked = ?8, ended = ?9",
            params![
                row.id.0,
                row.group.0,
                row.record.as_slice(),
                row.uses,
                row.used,
                int(row.made.0),
                int(row.expires.0),
                row.revoked,
                row.ended.map(|at| int(at.0))
            ],
        )?;
        Ok(())
    }

    /// Forgets an invite.
    pub fn drop_invite(&self, id: InviteId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM requests WHERE invite = ?1", [id.0])?;
        self.sql.execute("DELETE FROM invites WHERE id = ?1", [id.0])?;
        Ok(())
    }

    /// All invites, oldest first.
    pub fn invites(&self) -> Result<Vec<InviteRow>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT id, grp, record, uses, used, made, expires, revoked, ended FROM invites
             ORDER BY made, id",
        )?;
        let invites = rows.query_map([], |row| {
            let ended: Option<i64> = row.get(8)?;
            Ok(InviteRow {
                id: InviteId(row.get(0)?),
                group: GroupId(row.get(1)?),
                record: Zeroizing::new(row.get(2)?),
                uses: row.get(3)?,
                used: row.get(4)?,
                made: Timestamp(uint(row.get(5)?)),
                expires: Timestamp(uint(row.get(6)?)),
                revoked: row.get(7)?,
                ended: ended.map(|at| Timestamp(uint(at))),
            })
        })?;
        Ok(invites.collect::<Result<_, _>>()?)
    }

    /// Adds a join or replaces its row.
    pub fn put_join(&self, row: &JoinRow) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT OR REPLACE INTO joins(id, code, state, detail, exit, grp, started, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                row.id.0,
                row.code.as_ref().map(|code| code.as_str()),
                number_of(row.state),
                row.detail,
                row.exit,
                row.group.map(|group| group.0),
                int(row.started.0),
                row.request
            ],
        )?;
        Ok(())
    }

    /// One join.
    pub fn join(&self, id: InviteId) -> Result<Option<JoinRow>, StoreError> {
        let query =
            "SELECT id, code, state, detail, exit, grp, started, request FROM joins WHERE id = ?1";
        Ok(self.sql.query_row(query, [id.0], join_row).optional()?)
    }

    /// The last join that ended in this group.
    pub fn join_into(&self, group: GroupId) -> Result<Option<JoinRow>, StoreError> {
        let query = "SELECT id, code, state, detail, exit, grp, started, request FROM joins
             WHERE grp = ?1 ORDER BY started DESC, id LIMIT 1";
        Ok(self.sql.query_row(query, [group.0], join_row).optional()?)
    }

    /// All joins, oldest first.
    pub fn joins(&self) -> Result<Vec<JoinRow>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT id, code, state, detail, exit, grp, started, request FROM joins
             ORDER BY started, id",
        )?;
        let joins = rows.query_map([], join_row)?;
        Ok(joins.collect::<Result<_, _>>()?)
    }

    /// Forgets the joins that ended before `before`.
    pub fn trim_joins(&self, before: Timestamp) -> Result<(), StoreError> {
        self.sql
            .execute("DELETE FROM joins WHERE code IS NULL AND started < ?1", [int(before.0)])?;
        Ok(())
    }
}

fn join_row(row: &Row<'_>) -> rusqlite::Result<JoinRow> {
    let (code, group): (Option<String>, Option<[u8; 32]>) = (row.get(1)?, row.get(5)?);
    Ok(JoinRow {
        id: InviteId(row.get(0)?),
        code: code.map(Zeroizing::new),
        state: state_of(row.get(2)?),
        detail: row.get(3)?,
        exit: row.get(4)?,
        group: group.map(GroupId),
        started: Timestamp(uint(row.get(6)?)),
        request: row.get(7)?,
    })
}

/// The states by their numbers, which stay.
const STATES: [JoinState; 8] = [
    JoinState::Connecting,
    JoinState::RelayReached,
    JoinState::InviterFound,
    JoinState::ChannelOpen,
    JoinState::InviteProven,
    JoinState::Joined,
    JoinState::Failed,
    JoinState::WaitingForApproval,
];

fn number_of(state: JoinState) -> u8 {
    let at = STATES.iter().position(|known| *known == state);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn state_of(number: u8) -> JoinState {
    STATES.get(usize::from(number)).copied().unwrap_or(JoinState::Failed)
}
