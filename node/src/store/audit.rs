//! The audit logs: appended to, read in order, and dropped at the old end by the protocol's rule.

use protocol::{audit, ids::GroupId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx, groups::int};

impl Tx<'_> {
    /// Appends an entry. One that stands there already is never written over.
    pub fn put_audit(&self, group: GroupId, seq: u64, entry: &[u8]) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO audit(grp, seq, entry) VALUES (?1, ?2, ?3)",
            params![group.0, int(seq), entry],
        )?;
        if seq.is_multiple_of(audit::SEGMENT) {
            self.sql.execute(
                "DELETE FROM audit WHERE grp = ?1 AND seq < ?2",
                params![group.0, int(audit::prunable(seq))],
            )?;
        }
        Ok(())
    }

    /// The last entry of a group's log.
    pub fn last_audit(&self, group: GroupId) -> Result<Option<Vec<u8>>, StoreError> {
        let last = "SELECT entry FROM audit WHERE grp = ?1 ORDER BY seq DESC LIMIT 1";
        Ok(self.sql.query_row(last, [group.0], |row| row.get(0)).optional()?)
    }

    /// At most `limit` entries of a group's log, from this number on.
    pub fn audit(&self, group: GroupId, from: u64, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        page(&self.sql, group, from, limit)
    }
}

fn page(
    sql: &Connection,
    group: GroupId,
    from: u64,
    limit: u32,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut rows =
        sql.prepare("SELECT entry FROM audit WHERE grp = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3")?;
    let entries = rows.query_map(params![group.0, int(from), limit], |row| row.get(0))?;
    Ok(entries.collect::<Result<_, _>>()?)
}
