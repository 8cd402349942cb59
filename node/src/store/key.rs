//! The database's key: 32 random bytes in a file of its own, or from a passphrase through Argon2id
//! (RFC 9106).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::StoreError;

/// How the database's key is had.
pub enum Unlock {
    /// From the file `key` in the data directory; made at first.
    KeyFile,
    /// From a passphrase; its salt and parameters are in the file `key.argon2`, made at first.
    Passphrase(Zeroizing<String>),
}

/// A raw key. Wiped on drop.
pub(crate) type DatabaseKey = Zeroizing<[u8; 32]>;

const KEY: &str = "key";
const HEADER: &str = "key.argon2";

/// Of a header: version u8 = 1 ‖ m_cost u32 ‖ t_cost u32 ‖ p_cost u32 ‖ salt\[16\], big-endian.
pub(crate) const HEADER_LEN: usize = 29;

const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// The most that a header may ask for, so that a changed one can't exhaust the machine.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
const PASSES_MAX: u32 = 64;

/// Whether a data directory is locked with a passphrase, without which nothing in it can be read.
#[must_use]
pub fn is_locked(dir: &Path) -> bool {
    dir.join(HEADER).exists() && !dir.join(KEY).exists()
}

/// Reads or derives the key. Makes one only where there is no database yet.
pub(super) fn obtain(dir: &Path, unlock: &Unlock, exists: bool) -> Result<DatabaseKey, StoreError> {
    let (file, header) = (read(&dir.join(KEY))?, read(&dir.join(HEADER))?);
    match unlock {
        Unlock::KeyFile => match (file, header) {
            (Some(bytes), _) => <[u8; 32]>::try_from(bytes.as_slice())
                .map(Zeroizing::new)
                .map_err(|_| StoreError::WrongKey),
            (None, Some(_)) => Err(StoreError::PassphraseNeeded),
            (None, None) if exists => Err(StoreError::KeyMissing),
            (None, None) => {
                let key = random::<32>()?;
                write(dir, KEY, key.as_slice())?;
                Ok(key)
            }
        },
        Unlock::Passphrase(passphrase) => match (file, header) {
            (Some(_), _) => Err(StoreError::PassphraseUnknown),
            (None, Some(header)) => derive(passphrase, &header),
            (None, None) if exists => Err(StoreError::KeyMissing),
            (None, None) => {
                let header = new_header()?;
                write(dir, HEADER, &header)?;
                derive(passphrase, &header)
            }
        },
    }
}

/// A header with a new salt.
pub(crate) fn new_header() -> Result<Vec<u8>, StoreError> {
    let (costs, salt) = ([MEMORY_KIB, PASSES, LANES].map(u32::to_be_bytes), random::<16>()?);
    Ok([&[1], costs.as_flattened(), salt.as_slice()].concat())
}

/// The key that a passphrase gives with this header.
pub(crate) fn derive(passphrase: &str, header: &[u8]) -> Result<DatabaseKey, StoreError> {
    let damaged = || StoreError::Damaged;
    if header.len() != HEADER_LEN || header[0] != 1 {
        return Err(damaged());
    }
    let (costs, salt) = header[1..].split_at(12);
    let (costs, _) = costs.as_chunks::<4>();
    let [memory, passes, lanes] = [0, 1, 2].map(|i: usize| u32::from_be_bytes(costs[i]));
    if memory > MEMORY_KIB_MAX || passes > PASSES_MAX {
        return Err(damaged());
    }
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(|_| damaged())?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(|_| damaged())?;
    Ok(key)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, StoreError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes a small file so that it is there whole, on the disk, or not at all.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let draft = dir.join(format!("{name}.new"));
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, dir.join(name))?;
    File::open(dir)?.sync_all()?;
    Ok(())
}
