//! Whether the database is what was written.

use rusqlite::Connection;

use super::{Snapshot, StoreError};

/// Faults that are told; there may be more.
const TOLD: usize = 10;

impl Snapshot {
    /// What is wrong with the database, in words without anything of its content; nothing where it is whole.
    /// Reads all of it: each page against its checksum, and how they hang together.
    pub fn faults(&self) -> Result<Vec<String>, StoreError> {
        let faults = looked_at(&self.sql)?;
        // While a node writes, a page may be met in the middle of that.
        if faults.is_empty() { Ok(faults) } else { looked_at(&self.sql) }
    }
}

fn looked_at(sql: &Connection) -> Result<Vec<String>, StoreError> {
    let mut faults = said(sql, "PRAGMA cipher_integrity_check")?;
    if faults.is_empty() {
        faults = said(sql, "PRAGMA quick_check(10)")?;
        faults.retain(|line| line != "ok");
    }
    Ok(faults)
}

fn said(sql: &Connection, pragma: &str) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    let mut asked = sql.prepare(pragma)?;
    let mut rows = asked.query([])?;
    while lines.len() < TOLD
        && let Some(row) = rows.next()?
    {
        lines.push(row.get(0)?);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Seek, SeekFrom, Write},
    };

    use protocol::ids::{GroupId, Timestamp};

    use super::*;
    use crate::store::{Store, Unlock};

    #[test]
    fn a_database_that_was_written_to_by_somebody_else_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), &Unlock::KeyFile).unwrap();
        let (group, now) = (GroupId([1; 32]), Timestamp(1));
        // So that the last pages are nothing that a start reads.
        let put = store.transaction(|tx| {
            tx.put_group(group, "ops", now)?;
            tx.put_record(group, b"key", Some(&[7; 40_000]))
        });
        put.unwrap();
        drop(store);
        let faults = || Snapshot::open(dir.path(), &Unlock::KeyFile).unwrap().faults();
        assert_eq!(faults().unwrap(), Vec::<String>::new());
        let path = dir.path().join("wattle.db");
        let pages = fs::metadata(&path).unwrap().len() / 4096;
        assert!(pages > 8);
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start((pages - 2) * 4096 + 100)).unwrap();
        file.write_all(b"bit rot").unwrap();
        drop(file);
        let found = faults().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
