//! What a node keeps: one SQLCipher database in the data directory, and its key.
//!
//! > One step of the node is one transaction. What the step sends leaves after the commit; what it
//! > acknowledges is acknowledged after the commit; a step that fails leaves no trace.
//!
//! The database runs in WAL mode with `synchronous=FULL`: a commit costs one sync, and the API's
//! readers never hold up the node's writes, nor the other way round, as they would with a rollback
//! journal. `secure_delete=ON` overwrites used-up keys in the database; the log's older copies of
//! them go at the checkpoint of each start and end. Everything on disk is encrypted either way.

mod access;
mod audit;
mod backup;
mod cursors;
mod delivery;
mod due;
mod erase;
mod events;
mod files;
mod filter;
mod former;
mod groups;
mod health;
mod history;
mod invites;
pub(crate) mod key;
mod marks;
mod messages;
mod order;
mod outbox;
mod reader;
mod requests;
mod said;
mod schema;
mod search;
mod shelf;
mod talks;
#[cfg(test)]
mod tests;
mod text;
mod trust;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use zeroize::Zeroizing;

pub use self::{
    access::AccessRow,
    backup::{Backed, Snapshot, TABLES, Value},
    cursors::CursorRow,
    delivery::{Lack, Recipient, Sent, Which},
    events::Onward,
    files::{FileState, GivenRow, OfferRow},
    filter::Filter,
    invites::{InviteRow, JoinRow},
    key::{Unlock, is_locked},
    marks::{MARK_MS, Standing},
    messages::{NewMessage, Queued, Reclassed, Sealing},
    order::Place,
    outbox::OutboxRow,
    reader::Reader,
    requests::{RequestRow, RequestState},
    said::{Body, Changed},
    search::{Search, Words, WordsError},
    shelf::{BLOCKED, MUTED_FOR_EVER, Shelf, UNREAD},
    talks::{TALK_MS, TalkRow},
    text::{hex, rfc3339, unhex},
    trust::{OtherKeyRow, VerifiedRow},
};

/// The node's database, open for writing: there is one of it for a data directory.
pub struct Store {
    sql: Connection,
    path: PathBuf,
    key: key::DatabaseKey,
    _lock: File,
    #[cfg(test)]
    refuses: bool,
    #[cfg(test)]
    unreadable: bool,
}

/// One transaction: what is written through it is kept together or not at all.
pub struct Tx<'a> {
    sql: rusqlite::Transaction<'a>,
}

/// Why the store can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A newer program wrote it; nothing was touched.
    #[error(
        "the data directory is of a newer version of Wattle (format {found}, this one knows \
         {known}): update this program"
    )]
    NewerVersion {
        /// The database's format.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The key or the passphrase doesn't open it.
    #[error("the key or passphrase does not open this data directory")]
    WrongKey,
    /// There is a database, and no key for it.
    #[error("the file `key` of the data directory is missing; without it nothing here can be read")]
    KeyMissing,
    /// The database is locked with a passphrase, and none was given.
    #[error(
        "this data directory needs its passphrase: give --passphrase-file FILE, or start it at a terminal"
    )]
    PassphraseNeeded,
    /// The database has a key file, and a passphrase was given.
    #[error("this data directory was made without a passphrase: give none")]
    PassphraseUnknown,
    /// Another process has it open.
    #[error(
        "another `wattle up` runs on this data directory: stop it with `wattle down`, or name \
         another directory with --data-dir"
    )]
    Locked,
    /// An older program wrote it, and it is only to be read.
    #[error(
        "the data directory is of an older version of Wattle (format {found}): start it once with \
         this program"
    )]
    OlderVersion {
        /// The database's format.
        found: i64,
    },
    /// It was closed, since the node ends.
    #[error("the node has ended")]
    Closed,
    /// There is no database.
    #[error("there is no node in this data directory")]
    NoDatabase,
    /// What is on the disk can't be what was written.
    #[error("the database is damaged")]
    Damaged,
    /// It was given up.
    #[error("that takes too long")]
    TooSlow,
    /// No room.
    #[error("the disk is full")]
    DiskFull,
    /// The file system refuses.
    #[error("the data directory can't be used: {0}")]
    Io(#[from] io::Error),
    /// The database refuses.
    #[error("the database refuses: {0}")]
    Sql(rusqlite::Error),
}

/// The database's file in the data directory.
const FILE: &str = "wattle.db";

/// The file whose lock says that the directory is in use.
const LOCK: &str = "lock";

impl Store {
    /// Opens the data directory; makes it, its key and its database where they aren't there yet.
    ///
    /// A directory of an older version is brought forward in one transaction; one of a newer
    /// version is refused and left as it is.
    pub fn open(dir: &Path, unlock: &Unlock) -> Result<Self, StoreError> {
        make_private(dir)?;
        let lock = lock(dir)?;
        schema::check_file(dir)?;
        let path = dir.join(FILE);
        let exists = path.try_exists()?;
        let key = key::obtain(dir, unlock, exists)?;
        if exists {
            let looking = connect(&path, &key, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            schema::check_version(&looking, schema::MIGRATIONS)?;
        }
        private_file(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut sql = connect(&path, &key, flags)?;
        sql.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;
             PRAGMA foreign_keys = ON; PRAGMA wal_checkpoint(TRUNCATE);",
        )?;
        schema::migrate(&mut sql, schema::MIGRATIONS)?;
        schema::write_file(dir)?;
        sql.execute_batch(search::NOTES)?;
        Ok(Self {
            sql,
            path,
            key,
            _lock: lock,
            #[cfg(test)]
            refuses: false,
            #[cfg(test)]
            unreadable: false,
        })
    }

    /// Runs one transaction: commits where `step` gives `Ok`, and keeps nothing of it where it
    /// gives `Err` or the commit fails.
    pub fn transaction<T, E: From<StoreError>>(
        &mut self,
        step: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let step = |tx: &Tx<'_>| {
            let value = step(tx)?;
            tx.index_touched()?;
            Ok(value)
        };
        #[cfg(test)]
        if self.refuses {
            return self.run(TransactionBehavior::Immediate, |tx| {
                step(tx).and_then(|_| Err(StoreError::DiskFull.into()))
            });
        }
        self.run(TransactionBehavior::Immediate, step)
    }

    /// Reads, at one instant. What `look` writes may fail, and works only by accident.
    pub fn read<T, E: From<StoreError>>(
        &mut self,
        look: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        #[cfg(test)]
        if self.unreadable {
            return Err(StoreError::Damaged.into());
        }
        self.run(TransactionBehavior::Deferred, look)
    }

    /// Makes every read fail, or no longer.
    #[cfg(test)]
    pub(crate) fn refuse_reads(&mut self, refuse: bool) {
        self.unreadable = refuse;
    }

    /// Makes every commit of a transaction that may write fail, or no longer.
    #[cfg(test)]
    pub(crate) fn refuse_commits(&mut self, refuse: bool) {
        self.refuses = refuse;
    }

    /// Opens a read-only connection of its own.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path, &self.key)
    }

    fn run<T, E: From<StoreError>>(
        &mut self,
        behavior: TransactionBehavior,
        step: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let sql = self.sql.transaction_with_behavior(behavior).map_err(StoreError::from)?;
        let tx = Tx { sql };
        let value = step(&tx)?;
        tx.sql.commit().map_err(StoreError::from)?;
        Ok(value)
    }

    /// Takes what the log has into the database, so that nothing is left in it of what was deleted. Best effort: a reader may
    /// be in the way, and the next start does the same.
    pub fn checkpoint(&self) {
        let _ = self.sql.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.checkpoint();
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::WrongKey,
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged,
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::OperationInterrupted) => Self::TooSlow,
            _ => Self::Sql(error),
        }
    }
}

/// Makes a new directory its owner's alone. One that holds something already, as a home does, keeps
/// the rights that it has: each file in it that is the node's is its owner's alone anyway.
fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::read_dir(dir)?.next().is_some() {
        return Ok(());
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Makes the database's file where it is not there. SQLite gives its other files the rights that
/// this one has.
fn private_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    Ok(())
}

/// Takes the directory for this process, until the file is dropped.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Connects, and proves that the key fits.
fn connect(
    path: &Path,
    key: &key::DatabaseKey,
    flags: OpenFlags,
) -> Result<Connection, StoreError> {
    // SQLCipher sets itself up at the first key, and threads that do so at once get in its way.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let sql = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\";", &*hex_secret(key)));
    sql.execute_batch("PRAGMA cipher_log_level = NONE;")?;
    sql.execute_batch(&pragma)?;
    sql.busy_timeout(std::time::Duration::from_secs(5))?;
    sql.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(sql)
}

fn hex_secret(key: &key::DatabaseKey) -> Zeroizing<String> {
    Zeroizing::new(hex(key.as_slice()))
}
