//! Tables that fjall is done with, deleted where nobody waits for it.
//!
//! > fjall deletes tables that it has merged while it holds a lock that appends need, and to give back the blocks of one
//! > takes some file systems 20 ms for each 8 MiB. A file that is open keeps its blocks when its name is taken away: so a
//! > thread holds the tables open, and lets go of those that have no name any more. What it holds is given back at
//! > the latest a moment after fjall gave it up, and with the process.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, SystemTime},
};

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a file system may tell the same time.
const TICK: Duration = Duration::from_secs(2);
/// Tables held at most: the newest, which are merged soonest. The deletion of others is waited for.
const HELD: usize = 256;

/// The thread; it ends with this.
pub(super) struct Doomed {
    _ends: mpsc::SyncSender<()>,
}

impl Doomed {
    /// Begins to hold the tables of the store in a directory.
    pub(super) fn spawn(dir: &Path) -> io::Result<Self> {
        let (ends, ended) = mpsc::sync_channel(0);
        let keyspaces = dir.join("keyspaces");
        thread::Builder::new().name("doomed".into()).spawn(move || {
            let mut held = Held::default();
            while matches!(ended.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout)) {
                // What can't be read now is looked at the next time.
                let _ = held.look(&keyspaces);
            }
        })?;
        Ok(Self { _ends: ends })
    }
}

#[derive(Default)]
struct Held {
    tables: BTreeMap<PathBuf, File>,
    /// When the folders were written to, as they were looked at last.
    written: Vec<(PathBuf, SystemTime)>,
}

impl Held {
    /// Opens what is new, and lets go of what has no name any more.
    fn look(&mut self, keyspaces: &Path) -> io::Result<()> {
        let mut written = Vec::new();
        for keyspace in fs::read_dir(keyspaces)? {
            let tables = keyspace?.path().join("tables");
            if let Ok(at) = fs::metadata(&tables).and_then(|folder| folder.modified()) {
                written.push((tables, at));
            }
        }
        written.sort_unstable();
        // Where it was a moment ago, more may have come at the same tick of the clock.
        let is_old = |at: &SystemTime| at.elapsed().is_ok_and(|since| since > TICK);
        if written == self.written && written.iter().all(|(_, at)| is_old(at)) {
            return Ok(());
        }
        let mut tables = Vec::new();
        for (folder, _) in &written {
            let Ok(all) = fs::read_dir(folder) else { continue };
            for table in all {
                let table = table?;
                let number = table.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
                tables.extend(number.map(|number| (number, table.path())));
            }
        }
        tables.sort_unstable_by(|one, other| other.cmp(one));
        tables.truncate(HELD);
        let held = |(_, path): (u64, PathBuf)| {
            let file = self.tables.remove(&path).or_else(|| File::open(&path).ok());
            file.map(|file| (path, file))
        };
        // What is not among them any more is given back here, one after another.
        self.tables = tables.into_iter().filter_map(held).collect();
        self.written = written;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_is_held_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let tables = dir.path().join("3/tables");
        fs::create_dir_all(&tables).unwrap();
        let mut held = Held::default();
        let mut look = || {
            held.look(dir.path()).unwrap();
            held.tables.keys().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(look().is_empty());
        for name in ["7", "8"] {
            fs::write(tables.join(name), name).unwrap();
        }
        fs::write(tables.join("no number"), "").unwrap();
        assert_eq!(look(), ["7", "8"]);
        fs::remove_file(tables.join("7")).unwrap();
        fs::write(tables.join("9"), "9").unwrap();
        assert_eq!(look(), ["8", "9"]);
        for number in 0..HELD {
            fs::write(tables.join(format!("{}", number + 10)), "").unwrap();
        }
        let newest = look();
        assert!(newest.len() == HELD && !newest.iter().any(|it| it == "8" || it == "9"));
    }
}
