//! What can be seen without the node: the data directory, its database, this machine's sleep.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use node::store::{Snapshot, StoreError, Unlock};

use super::{
    super::{exit::Exit, show},
    check::Check,
};

/// Less room than this is little, in bytes; with less than the other nothing can be kept soon.
const LITTLE: u64 = 1 << 30;
const NONE: u64 = 32 << 20;

pub(super) fn look(dir: &Path, unlock: &Unlock) -> Vec<Check> {
    let mut checks = vec![directory(dir)];
    checks.extend(files(dir));
    checks.extend(room(dir));
    checks.push(store(dir, unlock));
    checks.extend(asleep());
    checks
}

fn directory(dir: &Path) -> Check {
    const NAME: &str = "directory";
    let shown = dir.display().to_string();
    let about = match fs::metadata(dir) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::broken(NAME, "there is no data directory yet", Exit::NotRunning)
                .detail(shown)
                .advice("wattle up makes it; --data-dir DIR names another place");
        }
        Err(error) => {
            return Check::broken(NAME, "it can't be looked at", Exit::Unexpected)
                .detail(format!("{shown}: {error}"))
                .advice("whoever runs the node must own its data directory");
        }
    };
    if !about.is_dir() {
        return Check::broken(NAME, "it is no directory", Exit::Unexpected).detail(shown);
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Check::broken(NAME, "it belongs to another user", Exit::Unexpected)
            .detail(shown)
            .advice("run the node and this command as the user who owns it");
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Check::look(NAME, format!("others may look into it (mode {mode:03o})"))
            .detail(shown)
            .advice("chmod 700 it; what is secret in it is its owner's alone all the same");
    }
    Check::well(NAME, "its owner's alone").detail(shown)
}

/// Files that others may read.
fn files(dir: &Path) -> Option<Check> {
    let open: Vec<&str> = ["key", "key.argon2", "wattle.db", "wattle.db-wal", "relay/key"]
        .into_iter()
        .filter(|name| {
            let about = fs::metadata(dir.join(name));
            about.is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
        })
        .collect();
    let said = format!("others may read {}", open.join(", "));
    (!open.is_empty()).then(|| {
        Check::broken("files", said, Exit::Unexpected)
            .advice("chmod 600 them, and ask who could have read them: the key opens everything")
    })
}

fn room(dir: &Path) -> Option<Check> {
    const NAME: &str = "disk";
    let disk = rustix::fs::statvfs(dir).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let said = format!("{} MiB free", free >> 20);
    Some(match free {
        0..NONE => Check::broken(NAME, said, Exit::Unexpected)
            .advice("free some room: what can't be written is neither sent nor acknowledged"),
        NONE..LITTLE => Check::look(NAME, said).advice("free some room before it runs out"),
        _ => Check::well(NAME, said),
    })
}

fn store(dir: &Path, unlock: &Unlock) -> Check {
    const NAME: &str = "store";
    let looked = Snapshot::open(dir, unlock).and_then(|snapshot| snapshot.faults());
    match looked {
        Ok(faults) if faults.is_empty() => Check::well(NAME, "every page is as it was written"),
        Ok(faults) => Check::broken(NAME, "the database is damaged", Exit::Integrity)
            .detail(faults.join("; "))
            .advice("stop the node, keep a copy of the directory, restore a backup: wattle backup restore"),
        Err(StoreError::NoDatabase) => {
            Check::unknown(NAME, "there is no database yet").advice("wattle up makes one")
        }
        Err(StoreError::PassphraseNeeded) => {
            Check::unknown(NAME, "not looked at: it is locked with a passphrase")
                .advice("give --ask-passphrase, or --passphrase-file FILE")
        }
        Err(error @ (StoreError::NewerVersion { .. } | StoreError::OlderVersion { .. })) => {
            Check::broken(NAME, error.to_string(), Exit::Unexpected)
        }
        Err(error @ (StoreError::WrongKey | StoreError::KeyMissing | StoreError::Damaged)) => {
            Check::broken(NAME, error.to_string(), Exit::Integrity)
                .advice("restore the directory's own key, or a backup: wattle backup restore")
        }
        Err(error) => Check::broken(NAME, "the database can't be read", Exit::Unexpected)
            .detail(error.to_string()),
    }
}

/// How long this machine has slept since it started.
fn asleep() -> Option<Check> {
    let slept = slept()?;
    let said = match slept.as_secs() {
        0..=9 => return Some(Check::well("sleep", "this machine has not slept since it started")),
        seconds => format!("this machine slept for {} since it started", show::lasting(seconds)),
    };
    let advice = "while it sleeps the node hears nothing; it catches up when it wakes";
    Some(Check::look("sleep", said).advice(advice))
}

#[cfg(target_os = "linux")]
fn slept() -> Option<Duration> {
    use rustix::time::{ClockId, Timespec, clock_gettime};
    let span = |at: Timespec| {
        let (seconds, nanos) = (u64::try_from(at.tv_sec).ok()?, u32::try_from(at.tv_nsec).ok()?);
        Some(Duration::new(seconds, nanos))
    };
    let awake = span(clock_gettime(ClockId::Monotonic))?;
    Some(span(clock_gettime(ClockId::Boottime))?.saturating_sub(awake))
}

#[cfg(not(target_os = "linux"))]
fn slept() -> Option<Duration> {
    None
}
