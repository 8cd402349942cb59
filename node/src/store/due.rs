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
            "INSERT OR IGNORE INTO due(seq, at, ms, fresh) VALUES (?1, ?2, ?3, 1)",
            params![int(seq), int(at.0).min(FAR_MS), int(ms)],
        )?;
        Ok(at)
    }

    /// When the first is over of those that came in this run, or of the others.
    pub fn next_due(&self, fresh: bool) -> Result<Option<Timestamp>, StoreError> {
        let first = "SELECT min(at) FROM due WHERE fresh = ?1";
        let first: Option<i64> = self.sql.query_row(first, [fresh], |row| row.get(0))?;
        Ok(first.map(|at| Timestamp(uint(at))))
    }

    /// The shortest time, in milliseconds, of those that came in earlier runs.
    pub fn shortest_due(&self) -> Result<Option<u64>, StoreError> {
        let shortest = "SELECT min(ms) FROM due WHERE fresh = 0";
        let shortest: Option<i64> = self.sql.query_row(shortest, [], |row| row.get(0))?;
        Ok(shortest.map(uint))
    }

    /// None came in this run yet.
    pub fn begin_run(&self) -> Result<(), StoreError> {
        self.sql.execute("UPDATE due SET fresh = 0 WHERE fresh = 1", [])?;
        Ok(())
    }

    /// The clock was set by so much: what came in this run ends by so much later.
    pub fn move_due(&self, by_ms: i64) -> Result<(), StoreError> {
        let by_ms = by_ms.clamp(-FAR_MS, FAR_MS);
        let set = "UPDATE due SET at = min(max(0, at + ?1), ?2) WHERE fresh = 1";
        self.sql.execute(set, [by_ms, FAR_MS])?;
        Ok(())
    }

    /// As a wrong clock had it in an earlier run.
    #[cfg(test)]
    pub fn expire_at(&self, seq: u64, at: Timestamp) -> Result<(), StoreError> {
        let set = "UPDATE due SET at = ?2 WHERE seq = ?1";
        self.sql.execute(set, params![int(seq), int(at.0)])?;
        Ok(())
    }

    /// Those that are over of what came in this run, or of the others, so many at most; with their groups.
    pub fn over(
        &self,
        now: Timestamp,
        fresh: bool,
        most: u32,
    ) -> Result<Vec<(u64, GroupId)>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT d.seq, m.grp FROM due d JOIN messages m ON m.seq = d.seq
             WHERE d.fresh = ?2 AND d.at <= ?1 ORDER BY d.at LIMIT ?3",
        )?;
        let rows = rows.query_map(params![int(now.0), fresh, most], |row| {
            Ok((uint(row.get(0)?), GroupId(row.get(1)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Those of earlier runs whose whole time is over since, so many at most; with their groups.
    pub fn outlasted(&self, ran_ms: u64, most: u32) -> Result<Vec<(u64, GroupId)>, StoreError> {
        let mut rows = self.sql.prepare(
            "SELECT d.seq, m.grp FROM due d JOIN messages m ON m.seq = d.seq
             WHERE d.fresh = 0 AND d.ms <= ?1 ORDER BY d.ms LIMIT ?2",
        )?;
        let rows = rows.query_map(params![int(ran_ms), most], |row| {
            Ok((uint(row.get(0)?), GroupId(row.get(1)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Empties a message whose time is over, and what it said before; whether it was not empty already.
    pub fn expire(&self, seq: u64) -> Result<bool, StoreError> {
        let row = "SELECT sender FROM messages WHERE seq = ?1 AND emptied IS NULL";
        let by = self.sql.query_row(row, [int(seq)], |row| row.get(0).map(MemberId)).optional()?;
        if let Some(by) = by {
            self.empty(seq, by)?;
            self.sql.execute("UPDATE messages SET expired = 1 WHERE seq = ?1", [int(seq)])?;
            self.erase(seq)?;
        }
        self.sql.execute("DELETE FROM due WHERE seq = ?1", [int(seq)])?;
        Ok(by.is_some())
    }
}

/// Further off than any time that is shown, and far from the end of numbers.
const FAR_MS: i64 = 1 << 60;
