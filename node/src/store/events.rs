//! What happened, in order, for whoever asks later.

use protocol::ids::{GroupId, Timestamp};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

use super::{
    StoreError, Tx,
    groups::{int, uint},
    messages::message_by_seq,
    text::rfc3339,
};
use crate::api::types::{Event, VERSION, What};

/// Events as somebody goes on to read them.
pub struct Onward {
    /// Where what is not kept any more ends, if they begin in it: of that there are messages alone.
    pub lost: Option<u64>,
    /// The next of them.
    pub events: Vec<Event>,
}

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
            What::Message { message }
            | What::Changed { message, .. }
            | What::Expired { message } => Some(int(message.seq)),
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
            self.trim_events(seq - EVENTS)?;
        }
        Ok(uint(seq))
    }

    /// Of the events up to one, only by which number each message was told is kept: as long as the message.
    fn trim_events(&self, until: i64) -> Result<(), StoreError> {
        let keep = "INSERT OR IGNORE INTO trimmed(event, message, at)
                    SELECT seq, message, json_extract(event, '$.at') FROM events
                    WHERE seq <= ?1 AND message IN (SELECT seq FROM messages)
                      AND json_extract(event, '$.event') = 'message'";
        self.sql.execute(keep, [until])?;
        self.sql.execute("DELETE FROM events WHERE seq <= ?1", [until])?;
        Ok(())
    }

    /// The last event's `seq`; 0 before the first.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        last(&self.sql)
    }

    /// After which event those begin that are kept.
    pub fn events_begin(&self) -> Result<u64, StoreError> {
        begin(&self.sql)
    }
}

/// The last event's `seq`; 0 before the first.
pub(super) fn last(sql: &Connection) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(seq), 0) FROM events";
    Ok(uint(sql.query_row(query, [], |row| row.get(0))?))
}

/// After which event those begin that are kept: up to it they were trimmed. What was erased with a group is not lost to
/// anybody, wherever it stood.
pub(super) fn begin(sql: &Connection) -> Result<u64, StoreError> {
    let last = int(last(sql)?);
    let query = "SELECT coalesce(max(event), 0) FROM trimmed";
    let told: i64 = sql.query_row(query, [], |row| row.get(0))?;
    Ok(uint((last - last % TRIM_EVERY - EVENTS).max(told)))
}

/// The first `limit` events after `after`. A message is as it is shown now.
pub(super) fn page(sql: &Connection, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let mut rows =
        sql.prepare("SELECT seq, event, message FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let rows = rows.query_map(params![int(after), limit], stored)?;
    complete(sql, rows)
}

/// The same, and where they begin in what is not kept any more, the messages that were told there.
pub(super) fn onward(sql: &Connection, after: u64, limit: u32) -> Result<Onward, StoreError> {
    // At one instant: what is trimmed meanwhile would be neither here nor there.
    let tx = sql.unchecked_transaction()?;
    let begin = begin(&tx)?;
    if after >= begin {
        return Ok(Onward { lost: None, events: page(&tx, after, limit)? });
    }
    let mut events = trimmed(&tx, after, limit)?;
    if events.is_empty() {
        events = page(&tx, begin, limit)?;
    }
    Ok(Onward { lost: Some(begin), events })
}

/// Events of a group's messages, oldest first: the last `limit`, before one event where it is given.
pub(super) fn of_messages(
    sql: &Connection,
    group: GroupId,
    before: Option<u64>,
    limit: u32,
) -> Result<Vec<Event>, StoreError> {
    let mut rows = sql.prepare(
        "SELECT e.seq, e.event, e.message FROM events e CROSS JOIN messages m ON m.seq = e.message
         WHERE m.grp = ?1 AND e.seq < ?2 AND json_extract(e.event, '$.event') = 'message'
         ORDER BY e.seq DESC LIMIT ?3",
    )?;
    let before = before.map_or(i64::MAX, int);
    let rows = rows.query_map(params![group.0, before, limit], stored)?;
    let mut events = complete(sql, rows)?;
    events.reverse();
    Ok(events)
}

fn trimmed(sql: &Connection, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let mut rows = sql.prepare(
        "SELECT event, message, at FROM trimmed WHERE event > ?1 ORDER BY event LIMIT ?2",
    )?;
    let rows = rows.query_map(params![int(after), limit], |row| {
        Ok((uint(row.get(0)?), uint(row.get(1)?), row.get::<_, Option<String>>(2)?))
    })?;
    let mut events = Vec::new();
    for row in rows {
        let (seq, message, at) = row?;
        let message = message_by_seq(sql, message)?.ok_or(StoreError::Damaged)?;
        events.push(Event {
            v: VERSION,
            seq,
            at: at.unwrap_or_else(|| message.at.clone()),
            group: Some(message.group.clone()),
            what: What::Message { message: Box::new(message) },
        });
    }
    Ok(events)
}

impl Onward {
    /// What tells somebody who was at `after` that what follows is not kept any more.
    #[must_use]
    pub fn loss(&self, after: u64) -> Option<Event> {
        let until = self.lost?;
        let at = self.events.first().map(|event| event.at.clone());
        Some(Event {
            v: VERSION,
            seq: after,
            at: at.unwrap_or_else(|| rfc3339(Timestamp(0))),
            group: None,
            what: What::EventsLost { after, until },
        })
    }
}

type Stored = (u64, String, Option<u64>);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let message: Option<i64> = row.get(2)?;
    Ok((uint(row.get(0)?), row.get(1)?, message.map(uint)))
}

fn complete(
    sql: &Connection,
    rows: impl Iterator<Item = rusqlite::Result<Stored>>,
) -> Result<Vec<Event>, StoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Store, Unlock,
        tests::{GROUP, dir, received, with_group},
    };

    fn event(what: What) -> Event {
        Event { v: VERSION, seq: 0, at: "2026-01-31T14:03:00Z".into(), group: None, what }
    }

    impl Tx<'_> {
        /// A message that came, and its event; the number of that.
        fn tell(&self, index: u32) -> u64 {
            let seq = self.put_message(&received(index, "hello")).unwrap().unwrap();
            let message = Box::new(self.message(seq).unwrap().unwrap());
            self.put_event(&event(What::Message { message })).unwrap()
        }
    }

    /// What somebody is told who was at `after`, and how often that something is lost.
    fn read(store: &Store, mut after: u64) -> (Vec<(u64, u64)>, usize) {
        let reader = store.reader().unwrap();
        let (mut messages, mut losses, mut until) = (Vec::new(), 0, 0);
        loop {
            let onward = reader.onward(after, if after < until { 3 } else { 1000 }).unwrap();
            if let Some(loss) = onward.loss(after)
                && until <= after
            {
                assert_eq!(loss.seq, after);
                (losses, until) = (losses + 1, onward.lost.unwrap());
            }
            if onward.events.is_empty() {
                return (messages, losses);
            }
            for event in onward.events {
                assert!(event.seq > after, "{} after {after}", event.seq);
                after = event.seq;
                if let What::Message { message } = event.what {
                    messages.push((event.seq, message.seq));
                }
            }
        }
    }

    #[test]
    fn what_was_erased_with_a_group_is_no_loss_to_who_reads_another() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let last = store.transaction(|tx| {
            for _ in 0..10 {
                tx.put_event(&event(What::CaughtUp))?;
            }
            tx.sql.execute("DELETE FROM events WHERE seq <= 8", [])?;
            tx.put_event(&event(What::GroupWiped))
        });
        let last = last.unwrap();
        for after in 0..=last {
            assert_eq!(read(&store, after).1, 0, "after {after}");
        }
    }

    #[test]
    fn who_is_a_hundred_thousand_events_behind_is_told_so_and_gets_each_message_once() {
        let dir = dir();
        let mut store = with_group(dir.path());
        let told: Vec<(u64, u64)> = store
            .transaction(|tx| {
                let first: Vec<u64> = (0..20).map(|index| tx.tell(index)).collect();
                for _ in 0..102_400 {
                    tx.put_event(&event(What::CaughtUp))?;
                }
                let told = first.into_iter().chain((20..40).map(|index| tx.tell(index)));
                Ok::<_, StoreError>(told.zip(1..).collect())
            })
            .unwrap();
        let rows = store.reader().unwrap().rows().unwrap();
        assert_eq!((rows["events"] <= 101_024, rows["trimmed"]), (true, 20));
        assert_eq!(read(&store, told[2].0), (told[3..].to_vec(), 1));
        assert_eq!(
            read(&store, told[19].0),
            (told[20..].to_vec(), 1),
            "no message, and other events"
        );
        assert_eq!(read(&store, told[20].0), (told[21..].to_vec(), 0));
        let last = store.reader().unwrap().events_of_messages(GROUP, None, 3).unwrap();
        assert_eq!(
            last.iter().map(|event| event.seq).collect::<Vec<_>>(),
            [37, 38, 39].map(|at| told[at].0)
        );
        let before = Some(told[37].0);
        let before = store.reader().unwrap().events_of_messages(GROUP, before, 2).unwrap();
        assert_eq!(
            before.iter().map(|event| event.seq).collect::<Vec<_>>(),
            [35, 36].map(|at| told[at].0)
        );
    }

    #[test]
    fn messages_whose_events_were_gone_before_are_told_before_those_that_are_kept() {
        let dir = dir();
        let path = dir.path().join("old");
        Store::fill::<StoreError>(&path, &Unlock::KeyFile, 11, |tx| {
            tx.sql.execute("INSERT INTO groups VALUES (?1, 'reading', 0)", [GROUP.0])?;
            for n in 1..=5u8 {
                tx.sql.execute(
                    "INSERT INTO messages(id, grp, sender, mine, text, at, class, place)
                     VALUES (?1, ?2, ?2, 0, 'hello', 0, 0, ?3)",
                    params![[n; 16], GROUP.0, [n; 32]],
                )?;
            }
            tx.sql.execute("INSERT INTO queue VALUES (3, ?1)", [GROUP.0])?;
            let text = serde_json::to_string(&event(What::CaughtUp)).unwrap();
            tx.sql.execute("INSERT INTO events(seq, event) VALUES (5000, ?1)", [text])?;
            let text = r#"{"v":1,"seq":0,"at":"","event":"message"}"#;
            tx.sql
                .execute("INSERT INTO events(seq, event, message) VALUES (5001, ?1, 5)", [text])?;
            Ok(())
        })
        .unwrap();
        let store = Store::open(&path, &Unlock::KeyFile).unwrap();
        assert_eq!(read(&store, 4990), (vec![(4997, 1), (4998, 2), (4999, 4), (5001, 5)], 1));
        assert_eq!(read(&store, 5000), (vec![(5001, 5)], 0));
    }
}
