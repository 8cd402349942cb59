//! Where a store is at home: in the files in which it was made. A copy of it is another store, since
//! the first may have gone on: within one generation the two would give the same numbers to different
//! entries, and a client with a cursor from the one would miss what the other has.
//!
//! > What can't be told from files alone is that a disk was set back under them: by a snapshot of a
//! > volume or of a virtual machine. Whoever does that says so: `repair --new-generation`.

use std::{fs, io, path::Path, time::UNIX_EPOCH};

use super::{EmbeddedStore, Quota, StoreError, Witness, new_generation, salvage};

/// The number of the witness's file in its file system, and when that file was made: what restores
/// bytes makes neither again. Of what the system doesn't say: zeros.
pub(super) fn of(witness: &Witness) -> io::Result<[u8; 16]> {
    let file = witness.metadata()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&file);
    #[cfg(not(unix))]
    let number = 0_u64;
    let made = file.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let made = made.and_then(|at| u64::try_from(at.as_nanos()).ok()).unwrap_or(0);
    let mut home = [0; 16];
    home[..8].copy_from_slice(&number.to_be_bytes());
    home[8..].copy_from_slice(&made.to_be_bytes());
    Ok(home)
}

impl EmbeddedStore {
    /// Has the store in a directory begin a new generation, whatever its files say.
    pub(crate) fn begin_generation(dir: &Path) -> Result<(), StoreError> {
        let none = Quota { log_entries: 0, log_bytes: 0, total_bytes: 0 };
        let store = Self::open_with(dir, none, 0)?;
        let mut batch = store.batch();
        batch.insert(&store.meta, "generation", new_generation()?.to_be_bytes());
        Ok(batch.commit()?)
    }
}

/// Removes what is left of a store whose making was cut off, before anything was in it: it would
/// keep the next one from being made.
pub(super) fn clear_unborn(dir: &Path) -> io::Result<()> {
    if !salvage::is_unborn(dir)? {
        return Ok(());
    }
    let mark = dir.join("version");
    for path in salvage::journal_paths(dir)?.into_iter().chain(mark.exists().then_some(mark)) {
        fs::remove_file(path)?;
    }
    let keyspaces = dir.join("keyspaces");
    if keyspaces.try_exists()? { fs::remove_dir_all(keyspaces) } else { Ok(()) }
}
