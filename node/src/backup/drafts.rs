//! What a backup, an export or a restored directory is until it is whole.
//!
//! > Whoever makes a draft holds it locked. One that nobody holds is what a process left that was
//! > killed: it goes when the next one begins beside it.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use tempfile::{Builder, NamedTempFile, TempDir};

/// What becomes of a draft that is a file.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A backup.
    Backup,
    /// What a group has said.
    Export,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Backup => ".wattle-backup-",
            Self::Export => ".wattle-export-",
        }
    }
}

const RESTORE: &str = ".wattle-restore-";

/// How many random letters end a draft's name.
const RANDOM: usize = 8;

/// A new file: 0600, and gone again unless it is kept.
pub fn file(beside: &Path, kind: Kind) -> io::Result<NamedTempFile> {
    sweep(beside, kind.prefix());
    loop {
        let draft = Builder::new().prefix(kind.prefix()).rand_bytes(RANDOM).tempfile_in(beside)?;
        // Where the file system knows no locks, nobody takes a draft for one that was left.
        let _ = draft.as_file().lock();
        // Unless another process took it away before it was held.
        if draft.path().exists() {
            return Ok(draft);
        }
    }
}

/// A new directory for what is restored: gone again, with all that is in it, unless it is kept. It
/// is held as long as the file is.
pub(super) fn dir(beside: &Path) -> io::Result<(TempDir, File)> {
    sweep(beside, RESTORE);
    loop {
        let draft = Builder::new().prefix(RESTORE).rand_bytes(RANDOM).tempdir_in(beside)?;
        let Ok(held) = File::open(draft.path()) else { continue };
        let _ = held.lock();
        if draft.path().exists() {
            return Ok((draft, held));
        }
    }
}

/// Removes drafts that nobody holds. One that can't be removed stays.
fn sweep(beside: &Path, prefix: &str) {
    for entry in fs::read_dir(beside).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix.as_bytes());
        let Ok(kind) = entry.file_type() else { continue };
        if random.is_none_or(|random| random.len() != RANDOM) || !(kind.is_file() || kind.is_dir())
        {
            continue;
        }
        let Ok(found) = File::open(entry.path()) else { continue };
        if found.try_lock().is_ok() {
            let _ = match kind.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_another_makes_stays() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        // Killed: nothing of it runs, not even what would take the draft away.
        let (_, left) = file(home, Kind::Backup).unwrap().keep().unwrap();
        let (left_dir, held) = dir(home).unwrap();
        let left_dir = left_dir.keep();
        fs::write(left_dir.join("wattle.db"), "half of it").unwrap();
        drop(held);
        for other in [".wattle-backup-mine", ".wattle-backup", "holiday.backup"] {
            fs::write(home.join(other), "not ours").unwrap();
        }
        assert_eq!(names(home).len(), 5);
        let (draft, (restored, _held)) = (file(home, Kind::Backup).unwrap(), dir(home).unwrap());
        assert!(!left.exists() && !left_dir.exists());
        // Another one begins while these are made.
        let (second, (third, _also)) = (file(home, Kind::Backup).unwrap(), dir(home).unwrap());
        let all = [draft.path(), restored.path(), second.path(), third.path()];
        assert!(all.iter().all(|path| path.exists()));
        assert_eq!(names(home).len(), 3 + 4);
        drop((draft, restored, second, third));
        assert_eq!(names(home), [".wattle-backup", ".wattle-backup-mine", "holiday.backup"]);
    }
}
