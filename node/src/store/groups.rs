//! Groups as the protocol keeps them, the names of members, and the node's own secrets.

use protocol::ids::{GroupId, MemberId, Timestamp};
use rusqlite::{OptionalExtension, params};
use zeroize::Zeroizing;

use super::{StoreError, Tx};
use crate::api::types::{GroupRef, MemberRef};

/// A key and its value among a group's records.
pub type Record = (Vec<u8>, Vec<u8>);

impl Tx<'_> {
    /// Keeps one of the node's own values.
    pub fn put_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO meta(key, value) VALUES (?1, ?2)
             ON CONFLICT(key) DO UPDATE SET value = excluded.value",
            params![key, value],
        )?;
        Ok(())
    }

    /// One of the node's own values.
    pub fn meta(&self, key: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let value = self
            .sql
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()?;
        Ok(value.map(Zeroizing::new))
    }

    /// Adds a group, or gives one that is there its present name.
    pub fn put_group(&self, group: GroupId, name: &str, now: Timestamp) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO groups(id, name, added) VALUES (?1, ?2, ?3)
             ON CONFLICT(id) DO UPDATE SET name = excluded.name",
            params![group.0, name, int(now.0)],
        )?;
        Ok(())
    }

    /// When a group was added.
    pub fn added(&self, group: GroupId) -> Result<Timestamp, StoreError> {
        let added = "SELECT added FROM groups WHERE id = ?1";
        let added = self.sql.query_row(added, [group.0], |row| row.get(0)).optional()?;
        Ok(Timestamp(added.map_or(0, uint)))
    }

    /// All groups, oldest first.
    pub fn groups(&self) -> Result<Vec<GroupId>, StoreError> {
        let mut rows = self.sql.prepare("SELECT id FROM groups ORDER BY added, id")?;
        let ids = rows.query_map([], |row| row.get(0).map(GroupId))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Writes or deletes one of a group's records.
    pub fn put_record(
        &self,
        group: GroupId,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        match value {
            Some(value) => self.sql.execute(
                "INSERT INTO records(grp, key, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT(grp, key) DO UPDATE SET value = excluded.value",
                params![group.0, key, value],
            ),
            None => self
                .sql
                .execute("DELETE FROM records WHERE grp = ?1 AND key = ?2", params![group.0, key]),
        }?;
        Ok(())
    }

    /// All of a group's records, by key.
    pub fn records(&self, group: GroupId) -> Result<Vec<Record>, StoreError> {
        let mut rows =
            self.sql.prepare("SELECT key, value FROM records WHERE grp = ?1 ORDER BY key")?;
        let records = rows.query_map([group.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(records.collect::<Result<_, _>>()?)
    }

    /// Deletes all of a group's records, before others take their place.
    pub fn clear_records(&self, group: GroupId) -> Result<(), StoreError> {
        self.sql.execute("DELETE FROM records WHERE grp = ?1", [group.0])?;
        Ok(())
    }

    /// Keeps the name on a member's card.
    pub fn put_name(&self, member: MemberId, name: &str) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO names(member, name) VALUES (?1, ?2)
             ON CONFLICT(member) DO UPDATE SET name = excluded.name WHERE name <> excluded.name",
            params![member.0, name],
        )?;
        Ok(())
    }

    /// A member by id and name.
    pub fn member(&self, member: MemberId) -> Result<MemberRef, StoreError> {
        let name = self
            .sql
            .query_row("SELECT name FROM names WHERE member = ?1", [member.0], |row| row.get(0))
            .optional()?;
        Ok(MemberRef { id: member.to_string(), name: name.unwrap_or_default() })
    }

    /// A group by id and name.
    pub fn group(&self, group: GroupId) -> Result<GroupRef, StoreError> {
        let name = self
            .sql
            .query_row("SELECT name FROM groups WHERE id = ?1", [group.0], |row| row.get(0))
            .optional()?;
        Ok(GroupRef { id: group.to_string(), name: name.unwrap_or_default() })
    }
}

/// A number as SQLite holds it; what doesn't fit is the largest.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that was written by [`int`].
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
