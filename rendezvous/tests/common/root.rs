//! What root alone can try: a directory that is somebody else's.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::{MetadataExt as _, chown, lchown},
    path::{Path, PathBuf},
};

/// Nobody of this machine.
pub const SOMEBODY: (u32, u32) = (54_321, 54_322);

fn all_in(dir: &Path) -> Vec<PathBuf> {
    let items = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    let inner = |path: PathBuf| {
        let is_dir = path.symlink_metadata().unwrap().is_dir();
        let within = if is_dir { all_in(&path) } else { Vec::new() };
        within.into_iter().chain([path])
    };
    items.flat_map(inner).collect()
}

/// To whom all belongs that is in a directory.
pub fn owners(dir: &Path) -> BTreeSet<(u32, u32)> {
    let owner = |path: &PathBuf| {
        let of = path.symlink_metadata().unwrap();
        (of.uid(), of.gid())
    };
    all_in(dir).iter().map(owner).collect()
}

pub fn give_all(dir: &Path) {
    for path in all_in(dir).into_iter().chain([dir.to_path_buf()]) {
        lchown(path, Some(SOMEBODY.0), Some(SOMEBODY.1)).unwrap();
    }
}

/// Whether files can be given away here, as root alone can.
pub fn is_root(dir: &Path) -> bool {
    let probe = dir.join("probe");
    fs::write(&probe, "").unwrap();
    let given = chown(&probe, Some(SOMEBODY.0), Some(SOMEBODY.1));
    fs::remove_file(&probe).unwrap();
    if let Err(why) = &given {
        assert!(env::var_os("WATTLE_REQUIRE_ALL").is_none_or(|it| it != "1"), "not root: {why}");
        println!("skipped: not root: {why}");
    }
    given.is_ok()
}
