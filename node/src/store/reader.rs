//! Reads that need no decision: history and events, on a connection that can't write.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::ids::GroupId;
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, connect, events, key::DatabaseKey, messages};
use crate::api::types::{Event, Message};

/// A read-only view of the store, cheap to clone. Its methods touch the disk: call them where
/// blocking is allowed. It sees what is committed, nothing else.
#[derive(Clone)]
pub struct Reader {
    sql: Arc<Mutex<Connection>>,
}

impl Reader {
    pub(super) fn open(path: &Path, key: &DatabaseKey) -> Result<Self, StoreError> {
        let sql = connect(path, key, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Self { sql: Arc::new(Mutex::new(sql)) })
    }

    /// Messages in the order of the history, of one group or of all: the first `limit` with a
    /// `seq` above `after`; without `after`, the last `limit`, below `before` where it is given.
    pub fn messages(
        &self,
        group: Option<GroupId>,
        after: Option<u64>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        messages::page(&self.sql(), group, after, before, limit)
    }

    /// One message by its local id.
    pub fn message(&self, id: &[u8]) -> Result<Option<Message>, StoreError> {
        messages::message_by_id(&self.sql(), id)
    }

    /// The first `limit` events with a `seq` above `after`. The last 100,000 are kept.
    pub fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        events::page(&self.sql(), after, limit)
    }

    /// The last event's `seq`; 0 before the first.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        events::last(&self.sql())
    }

    fn sql(&self) -> MutexGuard<'_, Connection> {
        // A reader changes nothing, so one that panicked left nothing half done.
        self.sql.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
