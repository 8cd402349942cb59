//! Backups: what a machine's disk holds and no other has, in one file, sealed with a passphrase.
//!
//! > A backup opens nothing that was sealed to the lost machine, and uses no key twice: it holds no
//! > chain's key, no pair's ratchet and no prekey. Whoever restores it is a node that was set back: it
//! > catches up, then makes a new chain, and all that is said to it first is sealed to new keys.
//!
//! It is made beside a running node or without one, at one instant. It is restored into a directory
//! that does not exist or is empty, and whole or not at all. docs/spec/storage.md.

pub mod drafts;
mod far;
mod sealed;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use minicbor::{Decode, Decoder, Encode, Encoder, data::Type};
use protocol::{
    codec,
    endpoint::{self, Endpoint},
    group::Group,
    ids::{GroupId, Timestamp},
    snapshot::SnapshotError,
};
use rand_chacha::ChaCha20Rng;
use zeroize::{Zeroize, Zeroizing};

use self::{
    far::{Far, Read},
    sealed::{Reader, Writer},
};
use crate::{
    core::{ENDPOINT, META_KEPT},
    store::{Backed, Snapshot, Store, StoreError, TABLES, Tx, Unlock, Value},
};

/// Why no backup was made, or none restored. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A newer program made it.
    #[error("the backup is of a newer version of Wattle (format {found}, this one knows {known})")]
    Newer {
        /// Its version.
        found: u8,
        /// The newest that this program knows.
        known: u8,
    },
    /// The file is something else.
    #[error("the file is no backup of Wattle, or only the beginning of one")]
    NoBackup,
    /// The passphrase does not open it; nor does one where its beginning was changed.
    #[error("the passphrase does not open this backup, or the file was changed at its beginning")]
    WrongPassphrase,
    /// It is not what was written.
    #[error("the backup is damaged: it was cut off or changed")]
    Damaged,
    /// There is a file already.
    #[error("the file exists already, and no backup is written over another")]
    Exists,
    /// There is a node already, or something else.
    #[error("the data directory is not empty, and nothing is written over")]
    NotEmpty,
    /// The data directory holds no identity.
    #[error("there is no identity in this data directory yet")]
    NoIdentity,
    /// A group can't be read.
    #[error("a group can't be read: {0}")]
    Group(#[from] SnapshotError),
    /// The identity can't be read.
    #[error(transparent)]
    Identity(#[from] endpoint::LoadError),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system refuses.
    #[error("the file system refuses: {0}")]
    Io(#[from] io::Error),
}

/// The first thing in a backup.
#[derive(Encode, Decode)]
#[cbor(array)]
struct Beginning {
    /// The database's format.
    #[n(0)]
    format: u32,
    /// When it was made.
    #[n(1)]
    made: Timestamp,
    #[cbor(n(2), with = "minicbor::bytes")]
    endpoint: Vec<u8>,
    /// What is remembered of the choice of relays.
    #[n(3)]
    relays: Option<String>,
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.endpoint.zeroize();
    }
}

/// What is in a backup, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Contents {
    /// The name on the card.
    pub name: String,
    /// How many groups.
    pub groups: u64,
    /// How many messages of their history.
    pub messages: u64,
    /// When it was made, in milliseconds since 1970.
    pub made: u64,
}

/// The longest thing in a backup, in bytes.
const ITEM_MAX: u32 = 64 << 20;

/// Writes a backup of the node in `data_dir` to `file`, which must not exist. `told` is given the percent that is done,
/// each once.
pub fn create(
    data_dir: &Path,
    unlock: &Unlock,
    file: &Path,
    passphrase: &str,
    now: Timestamp,
    rng: &mut ChaCha20Rng,
    told: &mut dyn FnMut(u8),
) -> Result<Contents, BackupError> {
    if fs::symlink_metadata(file).is_ok() {
        return Err(BackupError::Exists);
    }
    let mut snapshot = Snapshot::open(data_dir, unlock)?;
    let beside = parent(file);
    let draft = drafts::file(&beside, drafts::Kind::Backup)?;
    let mut writer = Writer::new(io::BufWriter::new(draft.as_file()), passphrase)?;
    let relays = optional(fs::read_to_string(data_dir.join("relays")))?;
    let contents = snapshot.read(|tx| write(tx, &mut writer, relays, (now, rng), told))?;
    writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    draft.as_file().sync_all()?;
    draft.persist_noclobber(file).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists,
        _ => error.error.into(),
    })?;
    File::open(&beside)?.sync_all()?;
    Ok(contents)
}

/// Makes the data directory of a node from a backup. It must not exist, or be empty. `told` is given the percent of the
/// file that is read, each once.
pub fn restore(
    file: &Path,
    passphrase: &str,
    data_dir: &Path,
    unlock: &Unlock,
    rng: &mut ChaCha20Rng,
    told: &mut dyn FnMut(u8),
) -> Result<Contents, BackupError> {
    if !is_free(data_dir)? {
        return Err(BackupError::NotEmpty);
    }
    let input = File::open(file)?;
    let mut far = Far::new(input.metadata()?.len());
    let (input, done) = Read::new(input);
    let mut reader = Reader::new(input, passphrase)?;
    let first = item(&mut reader)?.ok_or(BackupError::Damaged)?;
    let beginning: Beginning = codec::decode(&first).map_err(|_| BackupError::Damaged)?;
    let me = Endpoint::restore(&beginning.endpoint, rng)?;
    let beside = parent(data_dir);
    fs::create_dir_all(&beside)?;
    let (draft, _held) = drafts::dir(&beside)?;
    let name = me.card().card().name.clone();
    let mut contents = Contents { name, groups: 0, messages: 0, made: beginning.made.0 };
    let format = usize::try_from(beginning.format).unwrap_or(usize::MAX);
    Store::fill(draft.path(), unlock, format, |tx| {
        tx.put_meta(ENDPOINT, &me.save())?;
        while let Some(bytes) = item(&mut reader)? {
            let row = row(&bytes)?;
            contents.count(&row);
            tx.put_row(&row)?;
            far.is_at(done.get(), told);
        }
        Ok::<_, BackupError>(())
    })?;
    if let Some(relays) = &beginning.relays {
        fs::write(draft.path().join("relays"), relays)?;
    }
    for entry in fs::read_dir(draft.path())? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(draft.path())?.sync_all()?;
    // It takes the place of an empty directory, and of nothing else.
    fs::rename(draft.path(), data_dir).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => BackupError::NotEmpty,
        _ => error.into(),
    })?;
    File::open(&beside)?.sync_all()?;
    Ok(contents)
}

fn write(
    tx: &Tx<'_>,
    writer: &mut Writer<impl io::Write>,
    relays: Option<String>,
    (now, rng): (Timestamp, &mut ChaCha20Rng),
    told: &mut dyn FnMut(u8),
) -> Result<Contents, BackupError> {
    let me = Endpoint::load(&tx.meta(ENDPOINT)?.ok_or(BackupError::NoIdentity)?, rng)?;
    let format = u32::try_from(Store::format()).unwrap_or(u32::MAX);
    let endpoint = me.backup().to_vec();
    let beginning = Beginning { format, made: now, endpoint, relays };
    put(writer, &Zeroizing::new(codec::encode(&beginning)))?;
    let name = me.card().card().name.clone();
    let mut contents = Contents { name, groups: 0, messages: 0, made: now.0 };
    for key in META_KEPT {
        if let Some(value) = tx.meta(key)? {
            let values = vec![Value::Text(key.into()), Value::Blob(value.to_vec())];
            put_row(writer, &Backed { table: "meta".into(), values })?;
        }
    }
    let counts = TABLES.iter().map(|table| tx.count(table));
    let mut far = Far::new(counts.sum::<Result<u64, StoreError>>()?);
    let mut rows = 0;
    for table in TABLES {
        tx.rows(table, |row| {
            contents.count(&row);
            rows += 1;
            far.is_at(rows, told);
            put_row(writer, &row)
        })?;
    }
    for id in tx.groups()? {
        put_records(tx, writer, &me, id, now)?;
    }
    Ok(contents)
}

/// Of a group's records, those that may be in a backup.
fn put_records(
    tx: &Tx<'_>,
    writer: &mut Writer<impl io::Write>,
    me: &Endpoint,
    id: GroupId,
    now: Timestamp,
) -> Result<(), BackupError> {
    let records = tx.records(id)?;
    let group = Group::load(me, records.clone(), now)?;
    for (key, value) in group.backup_records(records) {
        let values = [id.0.to_vec(), key, value].map(Value::Blob).to_vec();
        put_row(writer, &Backed { table: "records".into(), values })?;
    }
    Ok(())
}

impl Contents {
    fn count(&mut self, row: &Backed) {
        match row.table.as_str() {
            "groups" => self.groups += 1,
            "messages" => self.messages += 1,
            _ => {}
        }
    }
}

fn put(writer: &mut Writer<impl io::Write>, bytes: &[u8]) -> Result<(), BackupError> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= ITEM_MAX);
    writer.write(&length.ok_or(BackupError::Damaged)?.to_be_bytes())?;
    writer.write(bytes)
}

fn item(reader: &mut Reader<impl io::Read>) -> Result<Option<Zeroizing<Vec<u8>>>, BackupError> {
    let mut length = [0; 4];
    if !reader.read(&mut length)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length);
    if length == 0 || length > ITEM_MAX {
        return Err(BackupError::Damaged);
    }
    let mut bytes = Zeroizing::new(vec![0; length as usize]);
    if reader.read(&mut bytes)? { Ok(Some(bytes)) } else { Err(BackupError::Damaged) }
}

/// A row is `[table, [value…]]`.
fn put_row(writer: &mut Writer<impl io::Write>, row: &Backed) -> Result<(), BackupError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut out = Encoder::new(&mut *bytes);
    encode_row(&mut out, row).map_err(|_| BackupError::Damaged)?;
    put(writer, &bytes)
}

fn encode_row<W: minicbor::encode::Write>(
    out: &mut Encoder<W>,
    row: &Backed,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    out.array(2)?.str(&row.table)?.array(row.values.len() as u64)?;
    for value in &row.values {
        match value {
            Value::Null => out.null()?,
            Value::Int(number) => out.i64(*number)?,
            Value::Text(text) => out.str(text)?,
            Value::Blob(bytes) => out.bytes(bytes)?,
        };
    }
    Ok(())
}

fn row(bytes: &[u8]) -> Result<Backed, BackupError> {
    let mut input = Decoder::new(bytes);
    let row = decode_row(&mut input).map_err(|_| BackupError::Damaged)?;
    if input.position() == bytes.len() { Ok(row) } else { Err(BackupError::Damaged) }
}

fn decode_row(input: &mut Decoder<'_>) -> Result<Backed, minicbor::decode::Error> {
    let wrong = || minicbor::decode::Error::message("a row");
    if input.array()? != Some(2) {
        return Err(wrong());
    }
    let table = input.str()?.into();
    let count = input.array()?.filter(|count| *count <= 32).ok_or_else(wrong)?;
    let values = (0..count).map(|_| {
        Ok(match input.datatype()? {
            Type::Null => input.null().map(|()| Value::Null)?,
            Type::String => Value::Text(input.str()?.into()),
            Type::Bytes => Value::Blob(input.bytes()?.into()),
            _ => Value::Int(input.i64()?),
        })
    });
    Ok(Backed { table, values: values.collect::<Result<_, minicbor::decode::Error>>()? })
}

/// Whether there is nothing, or an empty directory.
fn is_free(dir: &Path) -> Result<bool, io::Error> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.into(),
        _ => ".".into(),
    }
}

fn optional(read: io::Result<String>) -> io::Result<Option<String>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
