//! Reads that need no decision: history and events, on a connection that can't write.
//!
//! > Whoever ends the process closes it first: SQLCipher frees what it shares when a process exits,
//! > under the hands of a thread that still reads, or drops the last reader.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::ids::GroupId;
use rusqlite::{Connection, OpenFlags};

use super::{
    Filter, Onward, Search, StoreError, connect, events, filter, key::DatabaseKey, messages,
    order::Place, search,
};
use crate::api::types::{Event, Hit, MemberRef, Message};

/// A read-only view of the store, cheap to clone. Its methods touch the disk: call them where
/// blocking is allowed. It sees what is committed, nothing else.
#[derive(Clone)]
pub struct Reader {
    /// Gone when it was closed.
    sql: Arc<Mutex<Option<Connection>>>,
    /// One of its own for searches, which may take long.
    searching: Arc<Mutex<Option<Connection>>>,
}

impl Reader {
    pub(super) fn open(path: &Path, key: &DatabaseKey) -> Result<Self, StoreError> {
        let open = || connect(path, key, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let [sql, searching] = [open()?, open()?].map(|sql| Arc::new(Mutex::new(Some(sql))));
        Ok(Self { sql, searching })
    }

    /// Messages of a group in the order that is shown: the last `limit`, before the one with the `seq`
    /// `before` where it is given.
    pub fn messages(
        &self,
        group: GroupId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        self.read(|sql| messages::page(sql, group, before, limit))
    }

    /// The same, of those that `filter` takes; and the `seq` before which to go on, where there may be more: a read looks at
    /// 10,000 messages at most, so that others need not wait long for it.
    pub fn filtered(
        &self,
        group: GroupId,
        filter: &Filter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<(Vec<Message>, Option<u64>), StoreError> {
        self.read(|sql| filter::page(sql, group, filter, before, (limit, filter::LOOKED_AT)))
    }

    /// Messages in the order in which they came here, of one group or of all: the first `limit` with a
    /// `seq` above `after`.
    pub fn came_after(
        &self,
        group: Option<GroupId>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        self.read(|sql| messages::came_after(sql, group, after, limit))
    }

    /// One message by its local id.
    pub fn message(&self, id: &[u8]) -> Result<Option<Message>, StoreError> {
        self.read(|sql| messages::message_by_id(sql, id))
    }

    /// The first `limit` events with a `seq` above `after`. The last 100,000 are kept.
    pub fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.read(|sql| events::page(sql, after, limit))
    }

    /// The same; and where they begin in what is not kept any more, that they do, and the messages that were told there.
    pub fn onward(&self, after: u64, limit: u32) -> Result<Onward, StoreError> {
        self.read(|sql| events::onward(sql, after, limit))
    }

    /// Events of a group's messages, oldest first: the last `limit`, before the event `before` where it is given.
    pub fn events_of_messages(
        &self,
        group: GroupId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(|sql| events::of_messages(sql, group, before, limit))
    }

    /// Messages of a group in the order that is shown: the first `limit` beyond a place and the number in the order of
    /// coming of who stands there, from the first on where there is none.
    pub fn beyond(
        &self,
        group: GroupId,
        beyond: Option<([u8; Place::BYTES], u64)>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        self.read(|sql| {
            let beyond = beyond.map(|(place, seq)| (Place(place), seq));
            messages::beyond(sql, group, beyond, limit)
        })
    }

    /// After which event those begin that are kept.
    pub fn events_begin(&self) -> Result<u64, StoreError> {
        self.read(events::begin)
    }

    /// The last event's `seq`; 0 before the first.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        self.read(events::last)
    }

    /// Messages that have all the words, those that came last first; and how many messages the index lacks yet.
    pub fn search(&self, wanted: &Search) -> Result<(Vec<Hit>, u64), StoreError> {
        let mut sql = locked(&self.searching);
        let sql = sql.as_mut().ok_or(StoreError::Closed)?;
        Ok((search::search(sql, wanted)?, search::unindexed(sql)?))
    }

    /// Whoever is known here by this name, or by an id that begins so: nine of them at most.
    pub fn known(&self, asked: &str) -> Result<Vec<MemberRef>, StoreError> {
        self.read(|sql| search::known(sql, asked))
    }

    /// How many rows each table has.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Result<std::collections::BTreeMap<String, u64>, StoreError> {
        self.read(|sql| {
            let mut tables = sql.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
            let tables = tables.query_map([], |row| row.get(0))?;
            let counted = tables.map(|table: Result<String, _>| {
                let table = table?;
                let count = format!("SELECT count(*) FROM \"{table}\"");
                let rows = sql.query_row(&count, [], |row| row.get::<_, i64>(0))?;
                Ok((table, u64::try_from(rows).unwrap_or_default()))
            });
            counted.collect()
        })
    }

    /// Ends it for all its clones, once nobody reads; from then on each read is refused.
    pub fn close(&self) {
        drop(locked(&self.sql).take());
        drop(locked(&self.searching).take());
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        read(locked(&self.sql).as_ref().ok_or(StoreError::Closed)?)
    }
}

fn locked(sql: &Mutex<Option<Connection>>) -> MutexGuard<'_, Option<Connection>> {
    // A reader changes nothing, so one that panicked left nothing half done.
    sql.lock().unwrap_or_else(PoisonError::into_inner)
}
