//! What stopped processes have on their disks, read with other eyes than their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use rusqlite::Connection;

/// Bytes before an entry in the relay's store: its time and its checksum.
const HEADER: usize = 24;
/// Bytes before an entry's log and number in its key: the period.
const PERIOD: usize = 8;
/// The database in a node's directory.
const DATABASE: &str = "wattle.db";

/// Every entry in the store below a relay's data directory.
pub(crate) fn entries(data_dir: &Path) -> Vec<Vec<u8>> {
    let keyspace = kept(data_dir);
    keyspace.iter().map(|item| item.value().expect("an entry")[HEADER..].to_vec()).collect()
}

fn kept(data_dir: &Path) -> Keyspace {
    let db = Database::builder(data_dir.join("store")).open().expect("the relay's store");
    assert!(db.keyspace_exists("timed"), "entries are by time");
    db.keyspace("timed", KeyspaceCreateOptions::default).expect("its entries")
}

/// The numbers of all entries in that store, by the names of their logs.
pub(crate) fn numbers(data_dir: &Path) -> BTreeMap<Vec<u8>, BTreeSet<u64>> {
    let keyspace = kept(data_dir);
    let mut logs: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
    for item in keyspace.iter() {
        let place = item.key().expect("an entry's place");
        let (log, number) = place[PERIOD..].split_at(20);
        let number = u64::from_be_bytes(number.try_into().expect("a number"));
        logs.entry(log.to_vec()).or_default().insert(number);
    }
    logs
}

/// What a node in this data directory has read of its own inboxes, and not trimmed as far as it
/// knows: each log's name, with the number of the last entry read on each day.
pub(crate) fn marks(data_dir: &Path) -> BTreeMap<Vec<u8>, Vec<u64>> {
    let sql = database(data_dir);
    let mut rows = sql.prepare("SELECT log, cursor FROM marks ORDER BY at").expect("the marks");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)));
    let mut marks: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for row in rows.expect("the marks") {
        let (log, cursor) = row.expect("a mark");
        let number = cursor[8..].try_into().expect("a cursor");
        marks.entry(log).or_default().push(u64::from_be_bytes(number));
    }
    marks
}

/// Where a message stands among its writer's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The chain's id.
    pub chain: Vec<u8>,
    /// The index there.
    pub index: u32,
}

/// The ids of the messages that were sealed or opened in this data directory, by their places.
pub(crate) fn places(data_dir: &Path) -> BTreeMap<Place, Vec<u8>> {
    let sql = database(data_dir);
    let query = "SELECT chain, idx, msg FROM messages WHERE chain IS NOT NULL";
    let mut rows = sql.prepare(query).expect("the messages");
    let rows = rows
        .query_map([], |row| Ok((Place { chain: row.get(0)?, index: row.get(1)? }, row.get(2)?)));
    rows.expect("the messages").map(|row| row.expect("a message")).collect()
}

/// Changes the number of the format of the database in a node's data directory.
pub(crate) fn database_format(data_dir: &Path, change: impl FnOnce(i64) -> i64) -> i64 {
    let sql = database(data_dir);
    let read = sql.query_row("PRAGMA user_version", [], |row| row.get(0));
    let format = read.expect("the number of the format");
    sql.pragma_update(None, "user_version", change(format)).expect("a new number");
    format
}

/// Replaces the database in a stopped node's directory by one with the same rows that is not sealed: a
/// seal can't be packed.
pub fn unseal(data_dir: &Path) {
    export(data_dir, database(data_dir), "");
}

/// Seals what [`unseal`] made by the key in its directory.
pub fn seal(data_dir: &Path) {
    let sql = Connection::open(data_dir.join(DATABASE)).expect("an open database");
    export(data_dir, sql, &key(data_dir));
}

fn export(data_dir: &Path, from: Connection, key: &str) {
    let new = data_dir.join("new.db");
    let format: i64 = from
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .expect("the number of the format");
    let path = new.to_str().expect("a path in UTF-8");
    from.execute("ATTACH DATABASE ?1 AS new KEY ?2", [path, key]).expect("another database");
    from.query_row("SELECT sqlcipher_export('new')", [], |_| Ok(())).expect("a copy");
    from.pragma_update(Some("new"), "user_version", format).expect("its format");
    from.execute("DETACH DATABASE new", []).expect("a whole copy");
    drop(from);
    fs::rename(new, data_dir.join(DATABASE)).expect("the copy in its place");
}

/// Queues so many copies of the message that was queued last in the node's database. Its node must be down.
pub(crate) fn queue_copies(data_dir: &Path, copies: u32) {
    let sql = database(data_dir);
    let names = "SELECT group_concat(name) FROM pragma_table_info('messages') WHERE name NOT IN ('seq', 'id')";
    let names: String = sql.query_row(names, [], |row| row.get(0)).expect("its columns");
    let last: i64 =
        sql.query_row("SELECT max(seq) FROM queue", [], |row| row.get(0)).expect("one that waits");
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    let copy = format!(
        "INSERT INTO messages(id, {names}) {numbers} SELECT randomblob(16), {names} FROM n, messages WHERE seq = ?2"
    );
    sql.execute(&copy, (copies, last)).expect("copies");
    let queue = "INSERT INTO queue(seq, grp) SELECT seq, grp FROM messages WHERE seq > ?1";
    sql.execute(queue, [last]).expect("a queue");
}

fn database(data_dir: &Path) -> Connection {
    let sql = Connection::open(data_dir.join(DATABASE)).expect("the node's database");
    sql.pragma_update(None, "key", key(data_dir)).expect("the key");
    sql
}

/// The key in a node's directory, as SQLCipher takes it.
fn key(data_dir: &Path) -> String {
    let key = fs::read(data_dir.join("key")).expect("the key file");
    format!("x'{}'", key.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Copies a directory and all that is in it, with its rights, as a backup does.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the directory").map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_dir(&from, &to);
        } else if from.is_file() {
            fs::copy(from, to).expect("a copy");
        }
    }
    let rights = fs::metadata(from).expect("the directory").permissions();
    fs::set_permissions(to, rights).expect("its rights");
}
