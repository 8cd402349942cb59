//! What happened, in order, for whoever asks later.

use rusqlite::{Connection, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};
use crate::api::types::Event;

/// How many events are kept.
const EVENTS: i64 = 100_000;

/// How many events pass between two trimmings.
const TRIM_EVERY: i64 = 1024;

impl Tx<'_> {
    /// Adds an event; its `seq` is chosen here and given back.
    pub fn put_event(&self, event: &Event) -> Result<u64, StoreError> {
        let text = serde_json::to_string(event).map_err(|_| StoreError::Damaged)?;
        self.sql.execute("INSERT INTO events(event) VALUES (?1)", [text])?;
        let seq = self.sql.last_insert_rowid();
        if seq % TRIM_EVERY == 0 {
            self.sql.execute("DELETE FROM events WHERE seq <= ?1", [seq - EVENTS])?;
        }
        Ok(uint(seq))
    }

    /// The last event's `seq`; 0 before the first.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        last(&self.sql)
    }
}

/// The last event's `seq`; 0 before the first.
pub(super) fn last(sql: &Connection) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(seq), 0) FROM events";
    Ok(uint(sql.query_row(query, [], |row| row.get(0))?))
}

/// The first `limit` events after `after`.
pub(super) fn page(sql: &Connection, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let mut rows =
        sql.prepare("SELECT seq, event FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let rows = rows.query_map(params![int(after), limit], |row| {
        Ok((uint(row.get(0)?), row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (seq, text) = row?;
        let event: Event = serde_json::from_str(&text).map_err(|_| StoreError::Damaged)?;
        Ok(Event { seq, ..event })
    })
    .collect()
}
