//! Looking at the store of a relay that doesn't run, and mending it.
//!
//! ```text
//! store.draft      what can be read of the store, being written      removed by the next repair
//! store.repaired   the same, whole and on the disk                   becomes "store", by whoever is next
//! store.damaged-…  the store as it was                               kept until the operator deletes it
//! ```
//!
//! > Nothing that was there is ever deleted or changed. A repair may be killed between any two of its
//! > steps: before `store.repaired` is there, nothing has happened; after it, it is taken up by the
//! > next start or repair.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    data_dir::{DataDir, DataDirError},
    store::{Anew, EmbeddedStore, StoreError, Survey, salvage},
};

/// What a repair did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repaired {
    /// What the store had, and what was wrong with it.
    pub found: Survey,
    /// Where the store is now as it was, if another took its place.
    pub kept_as: Option<PathBuf>,
    /// Whether clients read their logs anew, since a number could be given twice otherwise.
    pub is_new_generation: bool,
}

/// Why a store was not looked at or mended. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The data directory can't be used; also if a relay runs in it.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is none in it.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// The disk has too little room for a second store beside the first.
    #[error("the disk has too little room: it takes {needed} bytes, and {free} are free")]
    NoRoom {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The new store can't be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file can't be read, written or renamed.
    #[error("the store can't be read or written")]
    Io(#[from] io::Error),
}

/// What each entry takes in a store besides its bytes, at most: its records and their keys.
const ENTRY_OVERHEAD: u64 = 256;
/// What a store takes besides its entries.
const STORE_OVERHEAD: u64 = 8 << 20;

/// Walks every record of the store in a data directory, and changes nothing. The relay must not run.
/// The directory of a store itself will do, too.
pub fn check(data_dir: &Path) -> Result<Survey, RepairError> {
    let _held = DataDir::look(data_dir)?;
    let own = [data_dir.join("store"), data_dir.join("store.repaired")];
    let is_store = data_dir.join("keyspaces").is_dir();
    let bare = is_store.then(|| data_dir.to_path_buf());
    let dir = own.into_iter().chain(bare).find(|dir| dir.is_dir());
    let dir = dir.ok_or_else(|| RepairError::NoStore(data_dir.to_path_buf()))?;
    Ok(salvage::survey(&dir)?)
}

/// Puts a store of what can be read in the place of a damaged one, which is kept beside it. A sound
/// one stays; with [`Anew::Always`] it begins a new generation. The relay must not run.
pub fn repair(data_dir: &Path, anew: Anew, now: SystemTime) -> Result<Repaired, RepairError> {
    if !data_dir.is_dir() {
        return Err(RepairError::NoStore(data_dir.to_path_buf()));
    }
    let held = DataDir::open(data_dir)?;
    settle(data_dir, now)?;
    let store = data_dir.join("store");
    if !store.is_dir() {
        return Err(RepairError::NoStore(data_dir.to_path_buf()));
    }
    let draft = data_dir.join("store.draft");
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    let found = salvage::survey(&store)?;
    if found.is_sound() {
        let is_new_generation = anew == Anew::Always;
        if is_new_generation {
            EmbeddedStore::begin_generation(&store)?;
        }
        return Ok(Repaired { found, kept_as: None, is_new_generation });
    }
    let written = found.bytes.saturating_add(found.entries.saturating_mul(ENTRY_OVERHEAD));
    // Each record is in a journal and then in a table.
    let needed = written.saturating_mul(2).saturating_add(STORE_OVERHEAD);
    let free = fs4::available_space(data_dir)?;
    if free < needed {
        return Err(RepairError::NoRoom { needed, free });
    }
    let built = build(&store, &draft, anew);
    let (found, is_new_generation) = built.inspect_err(|_| drop(fs::remove_dir_all(&draft)))?;
    fs::rename(&draft, data_dir.join("store.repaired"))?;
    sync(data_dir)?;
    let kept_as = settle(data_dir, now)?;
    drop(held);
    Ok(Repaired { found, kept_as, is_new_generation })
}

fn build(store: &Path, draft: &Path, anew: Anew) -> Result<(Survey, bool), RepairError> {
    crate::data_dir::create_private_dir(draft)?;
    let built = salvage::rebuild(store, draft, anew)?;
    sync_tree(draft)?;
    Ok(built)
}

/// Puts a store that was repaired in its place, if a repair was cut off before it did. Answers where
/// the damaged one is now.
pub(crate) fn settle(data_dir: &Path, now: SystemTime) -> io::Result<Option<PathBuf>> {
    let (repaired, store) = (data_dir.join("store.repaired"), data_dir.join("store"));
    if !repaired.try_exists()? {
        return Ok(None);
    }
    let mut kept_as = None;
    if store.try_exists()? {
        let away = unused(data_dir, now)?;
        fs::rename(&store, &away)?;
        sync(data_dir)?;
        kept_as = Some(away);
    }
    fs::rename(&repaired, &store)?;
    sync(data_dir)?;
    Ok(kept_as)
}

/// A name for a damaged store that nothing has.
fn unused(data_dir: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let date = humantime::format_rfc3339_seconds(now).to_string().replace(':', "-");
    let mut path = data_dir.join(format!("store.damaged-{date}"));
    for number in 2.. {
        if !path.try_exists()? {
            break;
        }
        path = data_dir.join(format!("store.damaged-{date}-{number}"));
    }
    Ok(path)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn sync_tree(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(dir)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let items = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_repair_that_was_cut_off_before_or_between_its_renames_is_finished() {
        for had_moved in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let damaged = if had_moved { "store.damaged-then" } else { "store" };
            fs::create_dir(dir.path().join(damaged)).unwrap();
            fs::create_dir(dir.path().join("store.repaired")).unwrap();
            fs::write(dir.path().join("store.repaired/new"), "").unwrap();
            settle(dir.path(), UNIX_EPOCH).unwrap();
            assert_eq!(names(&dir.path().join("store")), ["new"]);
            assert!(names(dir.path()).iter().any(|name| name.starts_with("store.damaged-")));
            assert_eq!(names(dir.path()).len(), 2);
        }
    }

    #[test]
    fn two_damaged_stores_of_one_second_are_both_kept() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            fs::create_dir(dir.path().join("store.repaired")).unwrap();
            settle(dir.path(), UNIX_EPOCH).unwrap();
        }
        let expected =
            ["store", "store.damaged-1970-01-01T00-00-00Z", "store.damaged-1970-01-01T00-00-00Z-2"];
        assert_eq!(names(dir.path()), expected);
    }

    #[test]
    fn where_there_is_no_store_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(check(dir.path()), Err(RepairError::NoStore(_))));
        assert_eq!(names(dir.path()).len(), 0);
        let nowhere = dir.path().join("nowhere");
        assert!(matches!(check(&nowhere), Err(RepairError::NoStore(_))));
        let repaired = repair(&nowhere, Anew::IfNeeded, UNIX_EPOCH);
        assert!(matches!(repaired, Err(RepairError::NoStore(_))));
        assert!(!nowhere.exists());
    }
}
