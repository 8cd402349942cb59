//! Relays that groups have left, and since when this node knows that.

use protocol::ids::{GroupId, Timestamp};
use rusqlite::params;

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

impl Tx<'_> {
    /// Notes that a group has left relays. Of those of which it was known, since when stays.
    pub fn put_former<'a>(
        &self,
        group: GroupId,
        relays: impl IntoIterator<Item = &'a str>,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let insert = "INSERT OR IGNORE INTO former(grp, relay, since) VALUES (?1, ?2, ?3)";
        let mut insert = self.sql.prepare(insert)?;
        for relay in relays {
            insert.execute(params![group.0, relay, int(since.0)])?;
        }
        Ok(())
    }

    /// Forgets that a group has left relays: it uses them again.
    pub fn drop_former<'a>(
        &self,
        group: GroupId,
        relays: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        let mut delete = self.sql.prepare("DELETE FROM former WHERE grp = ?1 AND relay = ?2")?;
        for relay in relays {
            delete.execute(params![group.0, relay])?;
        }
        Ok(())
    }

    /// The relays that a group has left, and since when that is known, those left last first.
    pub fn former(&self, group: GroupId) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let query = "SELECT relay, since FROM former WHERE grp = ?1 ORDER BY since DESC, relay";
        let mut rows = self.sql.prepare(query)?;
        let rows =
            rows.query_map([group.0], |row| Ok((row.get(0)?, Timestamp(uint(row.get(1)?)))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
