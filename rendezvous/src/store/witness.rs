//! How many commits a store has made, written beside it, so that a store that lost some of them is
//! known when it is opened: by a damaged journal, by a disk that lied about a sync, by a backup.
//!
//! A store that went back must not give a number twice within a generation: a client whose cursor is
//! past the new entries would never see them.
//!
//! ```text
//! witness = commits u64 ‖ its complement u64 ‖ stamp 16
//! ```
//!
//! Numbers are big-endian. The stamp is the store's secret, with which each of its batches begins.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

/// 16 bytes that a store alone knows.
pub(super) type Stamp = [u8; 16];

/// The file beside a store.
pub(super) struct Witness(File);

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Said {
    pub(super) commits: Option<u64>,
    pub(super) stamp: Option<Stamp>,
}

impl Witness {
    /// Opens the file, or makes it; answers what it says, if it says anything.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Said)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(SIZE).read_to_end(&mut bytes)?;
        Ok((Self(file), said(&bytes)))
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

    /// Writes the store's stamp behind what is said of commits. Not synced.
    pub(super) fn keep(&mut self, stamp: &Stamp) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(16))?;
        self.0.write_all(stamp)
    }
}

const SIZE: u64 = 32;

/// What the bytes of the file say. An early one has no stamp.
pub(super) fn said(bytes: &[u8]) -> Said {
    let number = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes);
    let commits = number(0).filter(|commits| number(8) == Some(!commits));
    let stamp = bytes.get(16..).and_then(|rest| rest.first_chunk()).copied();
    Said { commits, stamp }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_said_last_and_nothing_when_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let (mut witness, said) = Witness::open(&path).unwrap();
        assert_eq!(said, Said::default());
        witness.say(7).unwrap();
        witness.say(8).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, Said { commits: Some(8), stamp: None });
        witness.keep(&[5; 16]).unwrap();
        witness.say(9).unwrap();
        assert_eq!(
            Witness::open(&path).unwrap().1,
            Said { commits: Some(9), stamp: Some([5; 16]) }
        );
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Witness::open(&path).unwrap().1, Said { commits: None, stamp: Some([5; 16]) });
    }
}
