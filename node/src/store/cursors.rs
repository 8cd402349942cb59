//! How far scripts have read events, by names that they chose.

use protocol::ids::{GroupId, Timestamp};
use rusqlite::{OptionalExtension, Row, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// A named cursor.
pub struct CursorRow {
    /// Its name.
    pub name: String,
    /// Whose events are read by it.
    pub group: GroupId,
    /// The event after which it goes on.
    pub after: u64,
    /// When it was set there.
    pub moved: Timestamp,
    /// Whether it counts the events of this database, not of one whose backup this was.
    pub ours: bool,
}

/// This database's own name for the numbers of its events.
const OURS: &str = "(SELECT value FROM meta WHERE key = 'events')";

impl Tx<'_> {
    /// Puts a cursor somewhere, a new one or one that there is.
    pub fn put_named_cursor(
        &self,
        name: &str,
        group: GroupId,
        after: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let put = format!(
            "INSERT OR REPLACE INTO cursors_named(name, grp, event, moved, events)
             VALUES (?1, ?2, ?3, ?4, {OURS})"
        );
        self.sql.execute(&put, params![name, group.0, int(after), int(now.0)])?;
        Ok(())
    }

    /// A cursor.
    pub fn named_cursor(&self, name: &str) -> Result<Option<CursorRow>, StoreError> {
        let query = select("WHERE name = ?1");
        Ok(self.sql.query_row(&query, [name], row).optional()?)
    }

    /// All cursors by their names.
    pub fn named_cursors(&self) -> Result<Vec<CursorRow>, StoreError> {
        let mut rows = self.sql.prepare(&select("ORDER BY name"))?;
        let rows = rows.query_map([], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Removes a cursor; whether there was one.
    pub fn drop_named_cursor(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.sql.execute("DELETE FROM cursors_named WHERE name = ?1", [name])? == 1)
    }
}

fn select(which: &str) -> String {
    format!("SELECT name, grp, event, moved, events = {OURS} FROM cursors_named {which}")
}

fn row(row: &Row<'_>) -> rusqlite::Result<CursorRow> {
    Ok(CursorRow {
        name: row.get(0)?,
        group: GroupId(row.get(1)?),
        after: uint(row.get(2)?),
        moved: Timestamp(uint(row.get(3)?)),
        ours: row.get(4)?,
    })
}
