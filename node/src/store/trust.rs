//! Whose identity the person of this node has compared, and who came under such a name since.

use protocol::ids::{MemberId, Timestamp};
use rusqlite::params;

use super::{
    StoreError, Tx,
    groups::{int, uint},
};

/// An identity that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRow {
    /// Which.
    pub member: MemberId,
    /// When.
    pub at: Timestamp,
    /// The names that it had then, or took since.
    pub names: Vec<String>,
}

/// Another identity under the name of one that was compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherKeyRow {
    /// Which.
    pub member: MemberId,
    /// The name that it has.
    pub name: String,
    /// When that was found.
    pub at: Timestamp,
    /// Whether the person has said to have seen it.
    pub seen: bool,
}

impl Tx<'_> {
    /// Keeps that an identity was compared.
    pub fn put_verified(&self, row: &VerifiedRow) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO verified(member, at) VALUES (?1, ?2)
             ON CONFLICT(member) DO UPDATE SET at = excluded.at",
            params![row.member.0, int(row.at.0)],
        )?;
        row.names.iter().try_for_each(|name| self.put_verified_name(row.member, name))
    }

    /// Keeps one more name of an identity that was compared.
    pub fn put_verified_name(&self, member: MemberId, name: &str) -> Result<(), StoreError> {
        let insert = "INSERT OR IGNORE INTO verified_names(member, name) VALUES (?1, ?2)";
        self.sql.execute(insert, params![member.0, name])?;
        Ok(())
    }

    /// Takes the mark of an identity back.
    pub fn drop_verified(&self, member: MemberId) -> Result<(), StoreError> {
        for of in ["verified_names", "verified"] {
            self.sql.execute(&format!("DELETE FROM {of} WHERE member = ?1"), [member.0])?;
        }
        Ok(())
    }

    /// All identities that were compared.
    pub fn verified(&self) -> Result<Vec<VerifiedRow>, StoreError> {
        let mut rows = self.sql.prepare("SELECT member, at FROM verified ORDER BY member")?;
        let rows = rows.query_map([], |row| {
            let (member, at) = (MemberId(row.get(0)?), Timestamp(uint(row.get(1)?)));
            Ok(VerifiedRow { member, at, names: Vec::new() })
        })?;
        let mut verified: Vec<VerifiedRow> = rows.collect::<Result<_, _>>()?;
        let names = "SELECT name FROM verified_names WHERE member = ?1 ORDER BY name";
        let mut names = self.sql.prepare(names)?;
        for row in &mut verified {
            let of = names.query_map([row.member.0], |name| name.get(0))?;
            row.names = of.collect::<Result<_, _>>()?;
        }
        Ok(verified)
    }

    /// Keeps that an identity has the name of another one that was compared.
    pub fn put_other_key(&self, row: &OtherKeyRow) -> Result<(), StoreError> {
        self.sql.execute(
            "INSERT INTO other_keys(member, name, at, seen) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(member, name) DO UPDATE SET seen = excluded.seen",
            params![row.member.0, row.name, int(row.at.0), row.seen],
        )?;
        Ok(())
    }

    /// Forgets it.
    pub fn drop_other_key(&self, member: MemberId, name: &str) -> Result<(), StoreError> {
        let delete = "DELETE FROM other_keys WHERE member = ?1 AND name = ?2";
        self.sql.execute(delete, params![member.0, name])?;
        Ok(())
    }

    /// All that is kept of it.
    pub fn other_keys(&self) -> Result<Vec<OtherKeyRow>, StoreError> {
        let rows = "SELECT member, name, at, seen FROM other_keys ORDER BY at, member, name";
        let mut rows = self.sql.prepare(rows)?;
        let rows = rows.query_map([], |row| {
            let (member, name) = (MemberId(row.get(0)?), row.get(1)?);
            Ok(OtherKeyRow { member, name, at: Timestamp(uint(row.get(2)?)), seen: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
