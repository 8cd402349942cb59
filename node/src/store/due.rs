//! Messages that are to be kept for some time only.

use protocol::{
    ids::{GroupId, MemberId, Timestamp},
    limits::EXPIRES_MAX_S,
};
use rusqlite::{OptionalExtension, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

impl Tx<'_> {
    /// Counts a message's time from now on, unless that is done already; until when it is kept.
    pub fn put_due(&self, seq: u64, now: Timestamp, seconds: u32) -> Result<Timestamp, StoreError> {
        let ms = u64::from(seconds.min(EXPIRES_MAX_S)) * 1_000;
        let at = now.plus_ms(ms);
        self.sql.execute(
            "INSERT OR IGNORE INTO due(seq, at, ms) VALUES (?1, ?2, ?3)",
            params![int(seq), int(at.0), int(ms)],
        )?;
        Ok(at)
    }

    /// When the first of them is over.
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let first = "SELECT min(at) FROM due";
        let first: Option<i64> = self.sql.query_row(first, [], |row| row.get(0))?;
        Ok(first.map(|at| Timestamp(uint(at))))
    }

    /// The clock may have been set back: nothing is kept for longer than its time from now on.
    pub fn recount_due(&self, now: Timestamp) -> Result<(), StoreError> {
        self.sql.execute("UPDATE due SET at = ?1 + ms WHERE at > ?1 + ms", [int(now.0)])?;
        Ok(())
    }

    /// As a wrong clock has it.
    #[cfg(test)]
    pub fn expire_at(&self, seq: u64, at: Timestamp) -> Result<(), StoreError> {
        self.sql.execute("UPDATE due SET at = ?2 WHERE seq = ?1", params![int(seq), int(at.0)])?;
        Ok(())
    }

    /// Those that are over, so many at most; with their groups.
    pub fn over(&self, now: Timestamp, most: u32) -> Result<Vec<(u64, GroupId)>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT d.seq, m.grp FROM due d JOIN messages m ON m.seq = d.seq
             WHERE d.at <= ?1 ORDER BY d.at LIMIT ?2",
        )?;
        let rows = rows.query_map(params![int(now.0), most], |row| {
            Ok((uint(row.get(0)?), GroupId(row.get(1)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Empties a message whose time is over, as its writer's deletion does; who that is. `None`: it was deleted already.
    pub fn expire(&self, seq: u64) -> Result<Option<MemberId>, StoreError> {
        let row = "SELECT sender FROM messages WHERE seq = ?1 AND emptied IS NULL";
        let by = self.sql.query_row(row, [int(seq)], |row| row.get(0).map(MemberId)).optional()?;
        if let Some(by) = by {
            self.empty(seq, by)?;
            self.erase(seq)?;
        }
        self.sql.execute("DELETE FROM due WHERE seq = ?1", [int(seq)])?;
        Ok(by)
    }
}
