//! How many commits a store has made, written beside it, so that a store that lost some of them is
//! known when it is opened: by a damaged journal, by a disk that lied about a sync, by a backup.
//!
//! A store that went back must not give a number twice within a generation: a client whose cursor is
//! past the new entries would never see them.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

/// The file beside a store.
pub(super) struct Witness(File);

impl Witness {
    /// Opens the file, or makes it; answers what it says, if it says anything.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<u64>)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(17).read_to_end(&mut bytes)?;
        Ok((Self(file), commits(&bytes)))
    }

    /// Makes what was said last outlive a crash of the machine.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    /// What the system knows of the file itself.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.0.metadata()
    }

    /// Says that so many commits have been made. Not synced: it may say too few after a crash of
    /// the machine, and never too many.
    pub(super) fn say(&mut self, commits: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        let (number, check) = bytes.split_at_mut(8);
        number.copy_from_slice(&commits.to_be_bytes());
        check.copy_from_slice(&(!commits).to_be_bytes());
        self.0.seek(SeekFrom::Start(0))?;
        self.0.write_all(&bytes)
    }
}

/// What the bytes of the file say.
pub(super) fn commits(bytes: &[u8]) -> Option<u64> {
    let (number, check) = bytes.split_first_chunk::<8>()?;
    let commits = u64::from_be_bytes(*number);
    (check == (!commits).to_be_bytes()).then_some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_said_last_and_nothing_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let (mut witness, said) = Witness::open(&path).unwrap();
        assert_eq!(said, None);
        witness.say(7).unwrap();
        witness.say(8).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, Some(8));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, None);
    }
}
