//! Programs that may use the local API by a token: what each may do, and the token's hash.

use std::collections::BTreeSet;

use protocol::ids::{GroupId, Timestamp};
use rusqlite::{Row, params};

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRow {
    /// BLAKE2s-256 of the token.
    pub hash: [u8; 32],
    /// What its owner calls it.
    pub label: String,
    /// What may be done with it, a bit each.
    pub may: u8,
    /// In which groups; in all, where nothing is said.
    pub groups: Option<BTreeSet<GroupId>>,
    /// Messages in a minute.
    pub rate: u32,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends, if it does.
    pub until: Option<Timestamp>,
}

impl Tx<'_> {
    /// All of them, by label.
    pub fn accesses(&self) -> Result<Vec<AccessRow>, StoreError> {
        let query = "SELECT hash, label, may, groups, rate, made, until FROM access ORDER BY label";
        let mut rows = self.sql.prepare(query)?;
        let rows = rows.query_map([], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps one; its label is nobody else's.
    pub fn put_access(&self, row: &AccessRow) -> Result<(), StoreError> {
        let groups = row.groups.as_ref().map(joined);
        self.sql.execute(
            "INSERT INTO access(hash, label, may, groups, rate, made, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                row.hash,
                row.label,
                row.may,
                groups,
                row.rate,
                int(row.made.0),
                row.until.map(|until| int(until.0))
            ],
        )?;
        Ok(())
    }

    /// Ends one; whether there was one.
    pub fn drop_access(&self, label: &str) -> Result<bool, StoreError> {
        Ok(self.sql.execute("DELETE FROM access WHERE label = ?1", [label])? == 1)
    }

    /// No token is for this group any more. One that was for it alone is for none.
    pub(super) fn forget_access(&self, group: GroupId) -> Result<(), StoreError> {
        for row in self.accesses()? {
            let Some(mut groups) = row.groups else { continue };
            if groups.remove(&group) {
                let put = "UPDATE access SET groups = ?2 WHERE label = ?1";
                self.sql.execute(put, params![row.label, joined(&groups)])?;
            }
        }
        Ok(())
    }
}

fn joined(groups: &BTreeSet<GroupId>) -> Vec<u8> {
    groups.iter().flat_map(|group| group.0).collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<AccessRow> {
    let groups: Option<Vec<u8>> = row.get(3)?;
    let until: Option<i64> = row.get(6)?;
    Ok(AccessRow {
        hash: row.get(0)?,
        label: row.get(1)?,
        may: row.get(2)?,
        groups: groups.map(|ids| ids.as_chunks().0.iter().map(|id| GroupId(*id)).collect()),
        rate: row.get(4)?,
        made: Timestamp(uint(row.get(5)?)),
        until: until.map(|until| Timestamp(uint(until))),
    })
}
