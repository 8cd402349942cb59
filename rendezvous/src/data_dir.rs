//! A relay's directory: a lock, a version, the key, the store.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use libp2p::identity::Keypair;

/// The layout of the directory that this version writes.
const VERSION: u32 = 1;

/// A directory that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("another wattle-rendezvous is using this data directory")]
    InUse,
    /// A newer version wrote it.
    #[error(
        "a newer version of wattle-rendezvous wrote this data directory (layout {found}, this one knows {VERSION})"
    )]
    Newer {
        /// The layout's number.
        found: u32,
    },
    /// The file `version` or `key` is not as it was written.
    #[error("the file \"{file}\" in the data directory is damaged")]
    Damaged {
        /// Which.
        file: &'static str,
    },
    /// It can't be read or written.
    #[error("the data directory can't be used")]
    Io(#[from] io::Error),
}

impl DataDir {
    /// Takes a directory into use; makes it, for its owner alone, if there is none.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        create_private_dir(path)?;
        let lock = private().create(true).truncate(false).write(true).open(path.join("lock"))?;
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => return Err(DataDirError::InUse),
            Err(fs4::TryLockError::Error(error)) => return Err(error.into()),
        }
        let dir = Self { path: path.to_path_buf(), _lock: lock };
        dir.check_version()?;
        for file in ["lock", "version"] {
            give_to_owner(path, &path.join(file))?;
        }
        Ok(dir)
    }

    /// Holds a directory that nothing is to be written to, as long as the answer lives; where there
    /// is nothing to hold, no relay has ever run.
    pub fn look(path: &Path) -> Result<Option<File>, DataDirError> {
        match File::open(path.join("lock")) {
            Ok(lock) => match fs4::FileExt::try_lock(&lock) {
                Ok(()) => Ok(Some(lock)),
                Err(fs4::TryLockError::WouldBlock) => Err(DataDirError::InUse),
                Err(fs4::TryLockError::Error(error)) => Err(error.into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The relay's key; made at the first start.
    pub fn key(&self) -> Result<Keypair, DataDirError> {
        let path = self.path.join("key");
        let mut seed = match File::open(&path) {
            Ok(mut file) => {
                let mut seed = Vec::new();
                file.read_to_end(&mut seed)?;
                seed
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = vec![0; 32];
                getrandom::fill(&mut seed).map_err(|_| io::Error::other("no randomness"))?;
                write_durably(&path, &seed)?;
                seed
            }
            Err(error) => return Err(error.into()),
        };
        // The seed is wiped by the call.
        if seed.len() != 32 {
            return Err(DataDirError::Damaged { file: "key" });
        }
        Keypair::ed25519_from_bytes(&mut seed).map_err(|_| DataDirError::Damaged { file: "key" })
    }

    /// Where the store lives; a directory for its owner alone.
    pub fn store(&self) -> Result<PathBuf, DataDirError> {
        crate::repair::settle(&self.path, SystemTime::now())?;
        let path = self.path.join("store");
        create_private_dir(&path)?;
        Ok(path)
    }

    /// Where the index of a cluster's log lives; a directory for its owner alone.
    pub fn index(&self) -> Result<PathBuf, DataDirError> {
        let path = self.path.join("index");
        create_private_dir(&path)?;
        Ok(path)
    }

    fn check_version(&self) -> Result<(), DataDirError> {
        let path = self.path.join("version");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(VERSION) => Ok(()),
                Ok(found) if found > VERSION => Err(DataDirError::Newer { found }),
                _ => Err(DataDirError::Damaged { file: "version" }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(write_durably(&path, format!("{VERSION}\n").as_bytes())?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a new file so that it is there whole or not at all.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = private().create(true).truncate(true).write(true).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(unix)]
pub(crate) fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
pub(crate) fn private() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(unix)]
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Gives what root made in a directory of somebody's to that somebody, with all that is in it: their
/// relay opens it. Who is not root has made it as whoever they are, and it stays theirs.
#[cfg(unix)]
pub(crate) fn give_to_owner(dir: &Path, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let whose = fs::metadata(dir)?;
    give(path, whose.uid(), whose.gid())
}

#[cfg(unix)]
fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, lchown};
    let now = fs::symlink_metadata(path)?;
    if now.is_dir() {
        for item in fs::read_dir(path)? {
            give(&item?.path(), user, group)?;
        }
    } else if now.nlink() > 1 {
        // The owner of the directory may have given a file of somebody else's a name in it.
        return Ok(());
    }
    if now.uid() == user {
        return Ok(());
    }
    match lchown(path, Some(user), Some(group)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
pub(crate) fn give_to_owner(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_its_owner_alone() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a/b");
        let first = DataDir::open(&path).unwrap().key().unwrap().public();
        assert_eq!(DataDir::open(&path).unwrap().key().unwrap().public(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path.join("key")), 0o600);
            assert_eq!(mode(&path), 0o700);
        }
    }

    #[test]
    fn a_directory_is_used_once_at_a_time() {
        let tmp = tempfile::tempdir().unwrap();
        let held = DataDir::open(tmp.path()).unwrap();
        assert!(matches!(DataDir::open(tmp.path()), Err(DataDirError::InUse)));
        drop(held);
        assert!(DataDir::open(tmp.path()).is_ok());
    }

    #[test]
    fn a_newer_layout_and_damaged_files_are_told_apart() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("version"), "2\n").unwrap();
        assert!(matches!(DataDir::open(tmp.path()), Err(DataDirError::Newer { found: 2 })));
        fs::write(tmp.path().join("version"), "?").unwrap();
        let damaged = DataDir::open(tmp.path());
        assert!(matches!(damaged, Err(DataDirError::Damaged { file: "version" })));
        fs::write(tmp.path().join("version"), "1\n").unwrap();
        fs::write(tmp.path().join("key"), [1; 31]).unwrap();
        let key = DataDir::open(tmp.path()).unwrap().key();
        assert!(matches!(key, Err(DataDirError::Damaged { file: "key" })));
    }
}
