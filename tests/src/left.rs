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

    /// A process that is no more, and one that runs, each as a part of a name.
    fn makers() -> (String, process::Child, String) {
        let sleep = || Command::new("sleep").arg("1000").spawn().unwrap();
        let (mut gone, runs) = (sleep(), sleep());
        let name = |of: &process::Child| format!("{}.{}-", of.id(), began(of.id()).unwrap());
        let (left, kept) = (name(&gone), name(&runs));
        gone.kill().unwrap();
        gone.wait().unwrap();
        (left, runs, kept)
    }

    #[test]
    fn what_a_process_made_that_is_no_more_is_told_from_everything_else() {
        let (left, mut runs, kept) = makers();
        assert!(is_left(&format!("wts{left}0-ana"), NAMESPACE));
        assert!(!is_left(&format!("wts{kept}0-ana"), NAMESPACE));
        assert!(!is_left(&format!("wts{}0-ana", maker()), NAMESPACE));
        // The id is another process's now.
        let (id, at) = (process::id(), began(process::id()).unwrap());
        assert!(is_left(&format!("wattle-{id}.{}-x1", at - 1), WORLD));
        for other in ["wattle-x1", "wts12-0-ana", "wts12.-0", "other", "wattle-1.2.3-x", ""] {
            assert!(!is_left(other, WORLD) && !is_left(other, NAMESPACE), "{other}");
        }
        runs.kill().unwrap();
        runs.wait().unwrap();
    }

    #[test]
    fn files_of_those_that_are_no_more_are_taken_away_and_directories_in_their_time() {
        let (left, mut runs, kept) = makers();
        let dir = tempfile::tempdir().unwrap();
        let id = |maker: &str| maker.split_once('.').unwrap().0.to_owned();
        let clock = |maker: &str| dir.path().join(format!("faketime_shm_{}", id(maker)));
        let world = |maker: &str| dir.path().join(format!("{WORLD}{maker}x1"));
        for maker in [&left, &kept] {
            fs::write(clock(maker), "").unwrap();
            fs::create_dir(world(maker)).unwrap();
        }
        clocks(dir.path());
        directories(dir.path(), KEPT);
        assert!(!clock(&left).exists() && clock(&kept).exists());
        assert!(world(&left).exists(), "its logs may be read");
        directories(dir.path(), Duration::ZERO);
        assert!(!world(&left).exists() && world(&kept).exists());
        runs.kill().unwrap();
        runs.wait().unwrap();
    }

    #[test]
    fn namespaces_and_disks_of_those_that_are_no_more_are_taken_away() {
        // They are to be had here.
        if Nets::new().is_none() {
            return;
        }
        let (left, mut runs, kept) = makers();
        let netns = Path::new("/run/netns");
        for maker in [&left, &kept] {
            let name = format!("{NAMESPACE}{maker}0-ana");
            assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
        }
        let has = |maker: &str| netns.join(format!("{NAMESPACE}{maker}0-ana")).exists();
        namespaces(netns);
        assert!(!has(&left) && has(&kept));
        quietly(Command::new("ip").args(["netns", "del", &format!("{NAMESPACE}{kept}0-ana")]));

        let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
        let dir = |maker: &str| env::temp_dir().join(format!("{WORLD}{maker}x1"));
        let [first, second] = [&left, &kept].map(|maker| Disk::new(&dir(maker).join("ana"), "1m"));
        let is_there = |maker: &str| mounts().contains(dir(maker).to_str().unwrap());
        // Another test that begins may have taken the first away by now.
        assert!(first.is_ok() && second.is_ok() && is_there(&kept));
        disks(&mounts());
        assert!(!is_there(&left) && is_there(&kept));
        drop((first, second));
        for maker in [&left, &kept] {
            fs::remove_dir_all(dir(maker)).unwrap();
        }
        runs.kill().unwrap();
        runs.wait().unwrap();
    }
}
