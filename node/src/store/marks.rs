//! What was read of the node's own inboxes at relays, and when: so that relays need not keep it for
//! ever.
//!
//! > A mark is written in the transaction that keeps what was read. So whatever a mark covers is on
//! > this disk.

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::Cursor,
};
use rusqlite::{OptionalExtension, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// What was read of a log, and stands at its relay still as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// How many entries.
    pub entries: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// How long one mark is written on, in milliseconds: a day.
pub const MARK_MS: u64 = 24 * 60 * 60 * 1000;

impl Tx<'_> {
    /// Notes that entries of a log were read, up to a place; gives what now stands there.
    pub fn mark_read(
        &self,
        relay: &[u8],
        log: LogId,
        cursor: Cursor,
        read: Standing,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        let newest = "SELECT max(at) FROM marks WHERE relay = ?1 AND log = ?2";
        let newest: Option<i64> =
            self.sql.prepare(newest)?.query_row(params![relay, log.0], |row| row.get(0))?;
        let newest = newest.map(uint).filter(|at| now.0 < at.saturating_add(MARK_MS));
        self.sql
            .prepare(
                "INSERT INTO marks(relay, log, at, cursor, entries, bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT(relay, log, at) DO UPDATE SET cursor = excluded.cursor,
                   entries = entries + excluded.entries, bytes = bytes + excluded.bytes",
            )?
            .execute(params![
                relay,
                log.0,
                int(newest.unwrap_or(now.0)),
                cursor.to_bytes(),
                int(read.entries),
                int(read.bytes),
            ])?;
        self.standing(relay, log)
    }

    /// What was read of a log and stands at its relay.
    pub fn standing(&self, relay: &[u8], log: LogId) -> Result<Standing, StoreError> {
        let sums = "SELECT coalesce(sum(entries), 0), coalesce(sum(bytes), 0) FROM marks
                    WHERE relay = ?1 AND log = ?2";
        let standing = self.sql.prepare(sums)?.query_row(params![relay, log.0], |row| {
            Ok(Standing { entries: uint(row.get(0)?), bytes: uint(row.get(1)?) })
        })?;
        Ok(standing)
    }

    /// The place up to which all of a log had been read at an instant.
    pub fn read_by(
        &self,
        relay: &[u8],
        log: LogId,
        at: Timestamp,
    ) -> Result<Option<Cursor>, StoreError> {
        // A mark's last entry may have come when it was as old as it gets.
        let begun = Timestamp(at.0.saturating_sub(MARK_MS));
        let newest = "SELECT cursor FROM marks WHERE relay = ?1 AND log = ?2 AND at <= ?3
                      ORDER BY at DESC LIMIT 1";
        let cursor: Option<Vec<u8>> = self
            .sql
            .prepare(newest)?
            .query_row(params![relay, log.0, int(begun.0)], |row| row.get(0))
            .optional()?;
        Ok(cursor.as_deref().and_then(Cursor::from_bytes))
    }

    /// Forgets the marks up to a place: what they cover is gone from the relay.
    pub fn unmark(&self, relay: &[u8], log: LogId, to: Cursor) -> Result<(), StoreError> {
        let life = Cursor { seq: 0, ..to };
        self.sql.execute(
            "DELETE FROM marks WHERE relay = ?1 AND log = ?2 AND cursor BETWEEN ?3 AND ?4",
            params![relay, log.0, life.to_bytes(), to.to_bytes()],
        )?;
        Ok(())
    }

    /// Forgets all marks of a log at a relay: its numbers count for nothing any more.
    pub fn unmark_all(&self, relay: &[u8], log: LogId) -> Result<(), StoreError> {
        let all = "DELETE FROM marks WHERE relay = ?1 AND log = ?2";
        self.sql.execute(all, params![relay, log.0])?;
        Ok(())
    }

    /// Forgets how far a log is read at any relay, and its marks.
    pub fn unread(&self, log: LogId) -> Result<(), StoreError> {
        for all in ["DELETE FROM cursors WHERE log = ?1", "DELETE FROM marks WHERE log = ?1"] {
            self.sql.execute(all, params![log.0])?;
        }
        Ok(())
    }

    /// The logs of which it is known how far they are read.
    pub fn logs_read(&self) -> Result<Vec<LogId>, StoreError> {
        let mut rows = self.sql.prepare("SELECT log FROM cursors UNION SELECT log FROM marks")?;
        let rows = rows.query_map([], |row| Ok(LogId(row.get(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets the marks that were begun before an instant, of whatever log.
    pub fn trim_marks(&self, before: Timestamp) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM marks WHERE at < ?1", [int(before.0)])?;
        Ok(())
    }
}
