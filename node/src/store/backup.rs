//! What a backup reads from the store and a restore writes into a new one: rows, table by table.
//!
//! > A snapshot is one instant of the database, read beside a node that runs: it takes no lock and
//! > writes nothing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params_from_iter, types::ValueRef};

use super::{
    FILE, Store, StoreError, Tx, Unlock, connect, groups::uint, key, lock, make_private, schema,
};

/// What is in a backup whole, in the order in which it can be written again. Of `meta` and `records`,
/// which are in it too, the caller chooses. Not in it: where logs were read and when, what waits to be sealed,
/// joins and requests under way, events, those that are due.
pub const TABLES: [&str; 16] = [
    "groups",
    "names",
    "verified",
    "verified_names",
    "other_keys",
    "messages",
    "due",
    "recipients",
    "outbox",
    "archive",
    "invites",
    "audit",
    "cursors_named",
    "shelf",
    "blocked",
    "talks",
];

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The database at one instant, read-only.
pub struct Snapshot {
    pub(super) sql: Connection,
}

/// A row of a table, as a backup holds it.
pub struct Backed {
    /// Which table.
    pub table: String,
    /// A value for each column, in the table's order.
    pub values: Vec<Value>,
}

impl Snapshot {
    /// Opens the database of a data directory, whether a node runs there or not.
    pub fn open(dir: &Path, unlock: &Unlock) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if !path.try_exists()? {
            return Err(StoreError::NoDatabase);
        }
        schema::check_file(dir)?;
        let key = key::obtain(dir, unlock, true)?;
        let sql = connect(&path, &key, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let version = schema::check_version(&sql, schema::MIGRATIONS)?;
        if version < schema::MIGRATIONS.len() {
            let found = i64::try_from(version).unwrap_or(i64::MAX);
            return Err(StoreError::OlderVersion { found });
        }
        Ok(Self { sql })
    }

    /// Reads, at one instant.
    pub fn read<T, E: From<StoreError>>(
        &mut self,
        look: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let sql = self.sql.transaction_with_behavior(TransactionBehavior::Deferred);
        look(&Tx { sql: sql.map_err(StoreError::from)? })
    }
}

impl Store {
    /// The format that this program writes.
    #[must_use]
    pub const fn format() -> usize {
        schema::MIGRATIONS.len()
    }

    /// Makes a database of this format in an empty directory, and fills it in one transaction. It is
    /// brought forward when it is opened.
    pub fn fill<E: From<StoreError>>(
        dir: &Path,
        unlock: &Unlock,
        format: usize,
        write: impl FnOnce(&Tx<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut sql = new_database(dir, unlock, format)?;
        let tx = sql.transaction_with_behavior(TransactionBehavior::Immediate);
        let tx = Tx { sql: tx.map_err(StoreError::from)? };
        write(&tx)?;
        if format >= schema::WITH_SEARCH {
            tx.index_all()?;
        }
        tx.sql.commit().map_err(StoreError::from)?;
        Ok(())
    }
}

fn new_database(dir: &Path, unlock: &Unlock, format: usize) -> Result<Connection, StoreError> {
    make_private(dir)?;
    let _lock = lock(dir)?;
    let Some(migrations) = schema::MIGRATIONS.get(..format) else {
        let [found, known] = [format, Store::format()].map(|it| it.try_into().unwrap_or(i64::MAX));
        return Err(StoreError::NewerVersion { found, known });
    };
    let key = key::obtain(dir, unlock, false)?;
    let path = dir.join(FILE);
    super::private_file(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut sql = connect(&path, &key, flags)?;
    sql.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON;",
    )?;
    schema::migrate(&mut sql, migrations)?;
    Ok(sql)
}

impl Tx<'_> {
    /// Gives each row of a table, in the order of its key.
    pub fn rows<E: From<StoreError>>(
        &self,
        table: &str,
        mut each: impl FnMut(Backed) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns = self.columns(table)?;
        let sql = format!("SELECT {} FROM {table} ORDER BY 1", columns.join(", "));
        let mut rows = self.sql.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = rows.query([]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let values = (0..columns.len()).map(|at| row.get_ref(at).map(Value::from));
            let values = values.collect::<Result<_, _>>().map_err(StoreError::from)?;
            each(Backed { table: table.into(), values })?;
        }
        Ok(())
    }

    /// How many rows a table of [`TABLES`] has.
    pub fn count(&self, table: &str) -> Result<u64, StoreError> {
        let Some(table) = TABLES.into_iter().find(|known| *known == table) else {
            return Err(StoreError::Damaged);
        };
        let rows =
            self.sql.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(uint(rows))
    }

    /// Writes a row as it was.
    pub fn put_row(&self, row: &Backed) -> Result<(), StoreError> {
        let known = ["meta", "records"].into_iter().chain(TABLES);
        let Some(table) = known.into_iter().find(|table| *table == row.table) else {
            return Err(StoreError::Damaged);
        };
        let columns = self.columns(table)?;
        if columns.len() != row.values.len() {
            return Err(StoreError::Damaged);
        }
        let places: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let (columns, places) = (columns.join(", "), places.join(", "));
        let sql = format!("INSERT INTO {table}({columns}) VALUES ({places})");
        let values = row.values.iter().map(Value::as_sql);
        self.sql.prepare(&sql)?.execute(params_from_iter(values))?;
        Ok(())
    }

    /// A table's columns. Both names come from this program and its own schema.
    fn columns(&self, table: &str) -> Result<Vec<String>, StoreError> {
        let mut names = self.sql.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let names = names.query_map([table], |row| row.get(0))?;
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        if names.is_empty() { Err(StoreError::Damaged) } else { Ok(names) }
    }
}

impl Value {
    fn as_sql(&self) -> rusqlite::types::ToSqlOutput<'_> {
        let value = match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        };
        rusqlite::types::ToSqlOutput::Borrowed(value)
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            // Nothing in the schema is a floating-point number.
            ValueRef::Null | ValueRef::Real(_) => Self::Null,
            ValueRef::Integer(number) => Self::Int(number),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.into()),
        }
    }
}
