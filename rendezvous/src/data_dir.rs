//! A relay's directory: a lock, a version, the key, the store.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use libp2p::identity::Keypair;
#[cfg(unix)]
use rustix::fs::OFlags;

/// The layout of the directory that this version writes. The first one's store had entries by log alone; it is read on, and
/// what comes to it is by time.
const VERSION: u32 = 2;

/// A directory that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    lock: File,
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
        let dir = Self { path: path.to_path_buf(), lock };
        dir.check_version()?;
        Ok(dir)
    }

    /// Holds a directory that nothing is to be written to, as long as the answer lives; where there
    /// is nothing to hold, no relay has ever run.
    pub fn look(path: &Path) -> Result<Option<File>, DataDirError> {
        match open_file(&path.join("lock")) {
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
        let mut seed = match open_file(&path) {
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
        match read_text(&path) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(VERSION) => return Ok(()),
                Ok(found) if found > VERSION => return Err(DataDirError::Newer { found }),
                // Said before anything is written that an older version would take for damage.
                Ok(1) => {}
                _ => return Err(DataDirError::Damaged { file: "version" }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        Ok(write_durably(&path, format!("{VERSION}\n").as_bytes())?)
    }
}

impl Drop for DataDir {
    /// Closing the file is not enough: a child that is just being started holds it, too, until it runs.
    fn drop(&mut self) {
        let _ = fs4::FileExt::unlock(&self.lock);
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

/// Opens a file to be read. What is none, such as a pipe, is refused and not waited for.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    flags(&mut options, OFlags::NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok(file)
}

/// The text in a file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_file(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// For a file that is its owner's alone. A link in its place is not followed, a pipe not waited for.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        flags(&mut options, OFlags::NOFOLLOW | OFlags::NONBLOCK);
    }
    options
}

#[cfg(unix)]
fn flags(options: &mut OpenOptions, flags: OFlags) {
    let flags = i32::from_ne_bytes(flags.bits().to_ne_bytes());
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, flags);
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
        let says = |version: &str| fs::write(tmp.path().join("version"), version).unwrap();
        says("3\n");
        assert!(matches!(DataDir::open(tmp.path()), Err(DataDirError::Newer { found: 3 })));
        for damaged in ["?", "0\n"] {
            says(damaged);
            let damaged = DataDir::open(tmp.path());
            assert!(matches!(damaged, Err(DataDirError::Damaged { file: "version" })));
        }
        says("2\n");
        fs::write(tmp.path().join("key"), [1; 31]).unwrap();
        let key = DataDir::open(tmp.path()).unwrap().key();
        assert!(matches!(key, Err(DataDirError::Damaged { file: "key" })));
    }

    #[test]
    fn an_older_layout_is_brought_forward_so_that_an_older_program_refuses_it() {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join("version"), "1\n").unwrap();
        drop(DataDir::open(tmp.path()).unwrap());
        assert_eq!(fs::read_to_string(tmp.path().join("version")).unwrap(), "2\n");
    }
}
