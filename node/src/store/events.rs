//! What happened, in order, for whoever asks later.

use rusqlite::{Connection, params};
use serde_json::Value;

use super::{
    StoreError, Tx,
    groups::{int, uint},
    messages::message_by_seq,
};
use crate::api::types::{Event, What};

/// How many events are kept.
const EVENTS: i64 = 100_000;

/// The field of an event that has a message, whose number is stored in its stead.
const MESSAGE: &str = "message";

/// How many events pass between two trimmings.
const TRIM_EVERY: i64 = 1024;

impl Tx<'_> {
    /// Adds an event; its `seq` is chosen here and given back.
    pub fn put_event(&self, event: &Event) -> Result<u64, StoreError> {
        let mut value = serde_json::to_value(event).map_err(|_| StoreError::Damaged)?;
        let message = match &event.what {
            What::Message { message } | What::Changed { message, .. } => Some(int(message.seq)),
            _ => None,
        };
        if message.is_some()
            && let Some(fields) = value.as_object_mut()
        {
            fields.remove(MESSAGE);
        }
        let insert = "INSERT INTO events(event, message) VALUES (?1, ?2)";
        self.sql.execute(insert, params![value.to_string(), message])?;
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

/// The first `limit` events after `after`. A message is as it is shown now.
pub(super) fn page(sql: &Connection, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let mut rows =
        sql.prepare("SELECT seq, event, message FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let rows = rows.query_map(params![int(after), limit], |row| {
        let message: Option<i64> = row.get(2)?;
        Ok((uint(row.get(0)?), row.get::<_, String>(1)?, message.map(uint)))
    })?;
    let mut events = Vec::new();
    for row in rows {
        let (seq, text, message) = row?;
        let mut value: Value = serde_json::from_str(&text).map_err(|_| StoreError::Damaged)?;
        if let Some(message) = message {
            let Some(message) = message_by_seq(sql, message)? else { continue };
            let message = serde_json::to_value(message).map_err(|_| StoreError::Damaged)?;
            let fields = value.as_object_mut().ok_or(StoreError::Damaged)?;
            fields.insert(MESSAGE.into(), message);
        }
        let event: Event = serde_json::from_value(value).map_err(|_| StoreError::Damaged)?;
        events.push(Event { seq, ..event });
    }
    Ok(events)
}
