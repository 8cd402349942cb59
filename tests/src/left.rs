//! What a test that was killed has left behind, and its end: namespaces, small disks, directories, files of clocks.
//!
//! > Each has its maker in its name: a process, by its id and by when it began, since ids come again. What a process made
//! > that is no more is taken away before the next test makes anything. Whoever fails as tests do leaves nothing.
//!
//! The processes themselves need no such search: nextest gives each test a process group, and ends all of it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::Once,
    time::Duration,
};

/// How the names of namespaces and of worlds' directories begin.
pub(crate) const NAMESPACE: &str = "wts";
pub(crate) const WORLD: &str = "wattle-";
/// And those of what libfaketime keeps for a process, which end with its id.
const CLOCKS: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];
/// How long a directory is kept: somebody may want to read its logs.
const KEPT: Duration = Duration::from_hours(24);

/// This process, as a part of a name: nothing ever had the same before.
pub(crate) fn maker() -> String {
    format!("{}.{}-", process::id(), began(process::id()).unwrap_or(0))
}

/// Takes away what is left, once a process.
pub(crate) fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        namespaces(Path::new("/run/netns"));
        disks(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
        directories(&env::temp_dir(), KEPT);
        clocks(Path::new("/dev/shm"));
    });
}

fn namespaces(dir: &Path) {
    for name in names(dir).filter(|name| is_left(name, NAMESPACE)) {
        quietly(Command::new("ip").args(["netns", "del", &name]));
    }
}

fn disks(mounts: &str) {
    let temp = env::temp_dir();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points {
        let world = point.strip_prefix(&temp).ok().and_then(|rest| rest.iter().next());
        if world.and_then(|name| name.to_str()).is_some_and(|name| is_left(name, WORLD)) {
            quietly(Command::new("umount").arg("-l").arg(point));
        }
    }
}

fn directories(temp: &Path, kept: Duration) {
    let is_old = |dir: &PathBuf| {
        let changed = fs::metadata(dir).and_then(|it| it.modified());
        changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= kept))
    };
    let left = names(temp).filter(|name| is_left(name, WORLD)).map(|name| temp.join(name));
    for dir in left.filter(is_old) {
        let _ = fs::remove_dir_all(dir);
    }
}

fn clocks(dir: &Path) {
    for name in names(dir) {
        let id = CLOCKS.iter().find_map(|begins| name.strip_prefix(begins));
        if id.and_then(|id| id.parse().ok()).is_some_and(|id| is_seen() && began(id).is_none()) {
            let _ = fs::remove_file(dir.join(name));
        }
    }
}

fn names(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether this names a thing of a process that is no more.
fn is_left(name: &str, begins: &str) -> bool {
    let maker = name.strip_prefix(begins).and_then(|rest| rest.split_once('-'));
    let maker = maker.and_then(|(maker, _)| maker.split_once('.'));
    let maker = maker.and_then(|(id, at)| Some((id.parse().ok()?, at.parse().ok()?)));
    maker.is_some_and(|(id, at): (u32, u64)| is_seen() && began(id) != Some(at))
}

/// Whether the system says which processes there are.
fn is_seen() -> bool {
    began(process::id()).is_some()
}

/// When a process began, in ticks since the system did; nothing where there is none.
fn began(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is its name, which may have anything in it; this is the twenty-second.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn quietly(command: &mut Command) {
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Nets, chaos::Disk};

    /// A process that makes things.
    struct Maker {
        process: process::Child,
        /// As a part of a name.
        name: String,
    }

    impl Maker {
        fn new() -> Self {
            let process = Command::new("sleep").arg("1000").spawn().unwrap();
            let name = format!("{}.{}-", process.id(), began(process.id()).unwrap());
            Self { process, name }
        }

        fn end(&mut self) {
            self.process.kill().unwrap();
            self.process.wait().unwrap();
        }
    }

    #[test]
    fn what_a_process_made_that_is_no_more_is_told_from_everything_else() {
        let (mut left, mut kept) = (Maker::new(), Maker::new());
        left.end();
        assert!(is_left(&format!("wts{}0-ana", left.name), NAMESPACE));
        assert!(!is_left(&format!("wts{}0-ana", kept.name), NAMESPACE));
        assert!(!is_left(&format!("wts{}0-ana", maker()), NAMESPACE));
        // The id is another process's now.
        let (id, at) = (process::id(), began(process::id()).unwrap());
        assert!(is_left(&format!("wattle-{id}.{}-x1", at - 1), WORLD));
        for other in ["wattle-x1", "wts12-0-ana", "wts12.-0", "other", "wattle-1.2.3-x", ""] {
            assert!(!is_left(other, WORLD) && !is_left(other, NAMESPACE), "{other}");
        }
        kept.end();
    }

    #[test]
    fn files_of_those_that_are_no_more_are_taken_away_and_directories_in_their_time() {
        let (mut left, mut kept) = (Maker::new(), Maker::new());
        let dir = tempfile::tempdir().unwrap();
        let clock = |maker: &Maker| dir.path().join(format!("faketime_shm_{}", maker.process.id()));
        let world = |maker: &Maker| dir.path().join(format!("{WORLD}{}x1", maker.name));
        for maker in [&left, &kept] {
            fs::write(clock(maker), "").unwrap();
            fs::create_dir(world(maker)).unwrap();
        }
        left.end();
        clocks(dir.path());
        directories(dir.path(), KEPT);
        assert!(!clock(&left).exists() && clock(&kept).exists());
        assert!(world(&left).exists(), "its logs may be read");
        directories(dir.path(), Duration::ZERO);
        assert!(!world(&left).exists() && world(&kept).exists());
        kept.end();
    }

    #[test]
    fn namespaces_and_disks_of_those_that_are_no_more_are_taken_away() {
        // They are to be had here.
        if Nets::new().is_none() {
            return;
        }
        let (mut left, mut kept) = (Maker::new(), Maker::new());
        let netns = Path::new("/run/netns");
        let space = |maker: &Maker| format!("{NAMESPACE}{}0-ana", maker.name);
        let dir = |maker: &Maker| env::temp_dir().join(format!("{WORLD}{}x1", maker.name));
        // While their makers live nobody else takes away what is just being made.
        for maker in [&left, &kept] {
            let added = Command::new("ip").args(["netns", "add", &space(maker)]).status();
            assert!(added.unwrap().success());
        }
        let disks_of = [&left, &kept].map(|maker| Disk::new(&dir(maker).join("ana"), "1m"));
        let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
        let is_there = |maker: &Maker| mounts().contains(dir(maker).to_str().unwrap());
        assert!(disks_of.iter().all(Result::is_ok) && is_there(&left) && is_there(&kept));
        left.end();
        namespaces(netns);
        let has = |maker: &Maker| netns.join(space(maker)).exists();
        assert!(!has(&left) && has(&kept));
        quietly(Command::new("ip").args(["netns", "del", &space(&kept)]));
        disks(&mounts());
        assert!(!is_there(&left) && is_there(&kept));
        drop(disks_of);
        for maker in [&left, &kept] {
            fs::remove_dir_all(dir(maker)).unwrap();
        }
        kept.end();
    }
}
