//! A full disk: nothing is acknowledged that is not durable, readers are served, and all goes on
//! when there is room.
//!
//! Disks are small tmpfs mounts of the tests' own, which takes root. `WATTLE_FULL_LEVELS` says at how
//! many fill levels a disk is full; `WATTLE_FULL_WRITES`, at how many different writes of the relay the
//! system refuses one, by a limit on the size of files.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod client;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use client::{Client, Relay, count, entry, has, program, read, ready, start};
use protocol::{
    ids::{LogId, Timestamp},
    relay_log::{Answer, LogKeys, Refusal, Request},
};
use rendezvous::{
    Limits,
    store::{EmbeddedStore, LogStore, NewEntry, Outcome, ReopeningStore},
};

/// A file system of its own, gone when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .output();
        let is_mounted = mount.is_ok_and(|it| it.status.success());
        has(is_mounted, "mounting a tmpfs, which takes root,").then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: u64) -> PathBuf {
        let path = self.path().join("filler");
        let room = fs4::available_space(self.path()).unwrap();
        let zeros = vec![0; usize::try_from(room.saturating_sub(free)).unwrap()];
        fs::write(&path, zeros).unwrap();
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

const LOG: LogId = LogId([1; 20]);

fn append(store: &dyn LogStore, number: u32) -> Outcome {
    let len = 512 << (number % 5);
    let new = NewEntry { log: LOG, bytes: entry(number, len) };
    store.append(&[new], Timestamp(u64::from(number) + 1)).unwrap()[0]
}

fn contents(store: &dyn LogStore) -> BTreeMap<u64, u32> {
    let page = store.read(LOG, 0, usize::MAX).unwrap();
    assert_eq!(page.damaged, 0);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    for read in &page.entries {
        assert_eq!(read.bytes, entry(number(&read.bytes), read.bytes.len()));
    }
    page.entries.iter().map(|read| (read.seq, number(&read.bytes))).collect()
}

#[test]
fn however_full_the_disk_is_nothing_that_was_acknowledged_is_lost() {
    let levels = count("WATTLE_FULL_LEVELS", 4);
    let Some(disk) = Small::new("100m") else { return };
    let quota = Limits::default().quota;
    let (mut refused, mut unknown) = (0, 0);
    for level in 0..levels {
        let dir = disk.path().join("store");
        fs::create_dir(&dir).unwrap();
        let store = ReopeningStore::open(&dir, quota, 0, Duration::ZERO).unwrap();
        let mut acknowledged = BTreeMap::new();
        let mut take = |number| match append(&store, number) {
            Outcome::Kept(seq) => acknowledged.insert(seq, number).is_none(),
            Outcome::StoreFull | Outcome::Damaged => false,
            other => panic!("{other:?}"),
        };
        assert!((0..5).all(&mut take));
        // Another page each time, so that another write is the one that fails.
        let filler = disk.fill(level as u64 * 4096);
        let first = (5..4000).find(|number| !take(*number)).unwrap();
        let there = contents(&store);
        assert!(acknowledged.iter().all(|it| there.get(it.0) == Some(it.1)), "it is read on");

        fs::remove_file(filler).unwrap();
        let Outcome::Kept(seq) = append(&store, first) else { panic!("there is room again") };
        acknowledged.insert(seq, first);
        // It may have been on the disk all the time.
        let there = contents(&store);
        assert!(acknowledged.iter().all(|it| there.get(it.0) == Some(it.1)));
        unknown += usize::from(there.len() > acknowledged.len());
        refused += 1;
        drop(store);
        let store = EmbeddedStore::open(&dir, quota).unwrap();
        assert_eq!(contents(&store), there);
        drop(store);
        fs::remove_dir_all(dir).unwrap();
    }
    println!("{refused} fill levels: 0 acknowledged entries lost, {unknown} with more on the disk");
}

#[tokio::test]
async fn a_relay_on_a_full_disk_refuses_says_so_serves_and_goes_on() {
    let Some(disk) = Small::new("300m") else { return };
    let relay = start(&disk.path().join("relay"));
    let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
    let mut client = Client::of(&relay, &keys).await;
    let mut append = async |number| {
        client.send(Request::Append { req: number, handle: 1, entry: entry(number, 512) }).await;
        client.next().await.unwrap()
    };
    assert!(matches!(append(1).await, Answer::Appended { .. }));
    let filler = disk.fill(0);
    let reason = Refusal::DiskFull;
    assert_eq!(append(2).await, Answer::AppendRefused { req: 2, reason });
    assert_eq!(read(&relay, &keys).await.0, [(1, 1)].into());
    fs::remove_file(filler).unwrap();
    let Answer::Appended { cursor, .. } = append(2).await else { panic!("there is room again") };
    assert_eq!(cursor.seq, 2);
}

/// A relay in a process of which no file grows beyond so many KiB: writing more is an error there.
fn limited(dir: &Path, kib: usize) -> Relay {
    let relay = program(dir);
    let mut shell = Command::new("bash");
    // Where the signal is not ignored it would end the process.
    let script = format!("trap '' XFSZ; ulimit -S -f {kib}; exec \"$@\"");
    shell.args(["-c", &script, "limited"]).arg(relay.get_program()).args(relay.get_args());
    ready(shell)
}

/// How much of the journal is written, in whole KiB.
fn journaled(dir: &Path) -> usize {
    let bytes = fs::read(dir.join("store/0.jnl")).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() / 1024
}

#[tokio::test]
async fn whichever_write_fails_nothing_that_was_acknowledged_is_lost_and_it_goes_on_afterwards() {
    let writes = count("WATTLE_FULL_WRITES", 3);
    let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
    let mut total = 0;
    for write in 0..writes {
        let dir = tempfile::tempdir().unwrap();
        drop(start(dir.path()));
        let relay = limited(dir.path(), journaled(dir.path()) + 8 + write);
        let mut client = Client::of(&relay, &keys).await;
        let mut acknowledged = BTreeMap::new();
        let refused = loop {
            let number = u32::try_from(acknowledged.len()).unwrap();
            let entry = entry(number, 512 << (write % 3));
            client.send(Request::Append { req: number, handle: 1, entry }).await;
            match client.next().await.unwrap() {
                Answer::Appended { req, cursor } => acknowledged.insert(req, cursor.seq),
                Answer::AppendRefused { req, reason: Refusal::Unavailable } => break req,
                other => panic!("{other:?}"),
            };
        };
        // It is left alone for a while.
        let again = Request::Append { req: refused, handle: 1, entry: entry(refused, 512) };
        client.send(again).await;
        let reason = Refusal::Unavailable;
        let answer = client.next().await.unwrap();
        assert_eq!(answer, Answer::AppendRefused { req: refused, reason });
        assert_eq!(read(&relay, &keys).await.0, acknowledged, "it is read on");
        // Once for all: it takes some seconds.
        let relay = if write == 0 {
            let pid = format!("--pid={}", relay.process.id());
            let freed = Command::new("prlimit").args([&pid, "--fsize=unlimited:"]).status();
            assert!(freed.unwrap().success());
            loop {
                let again = entry(refused, 512);
                client.send(Request::Append { req: refused, handle: 1, entry: again }).await;
                match client.next().await.unwrap() {
                    Answer::Appended { .. } => break,
                    Answer::AppendRefused { reason: Refusal::Unavailable, .. } => {}
                    other => panic!("{other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            relay
        } else {
            drop(relay);
            start(dir.path())
        };
        let (found, _) = read(&relay, &keys).await;
        assert!(acknowledged.iter().all(|it| found.get(it.0) == Some(it.1)));
        total += acknowledged.len();
    }
    println!("{writes} writes failed: 0 of {total} acknowledged entries lost");
}

#[test]
fn a_repair_that_has_no_room_says_so_and_changes_nothing() {
    let Some(disk) = Small::new("100m") else { return };
    let dir = disk.path().join("relay");
    fs::create_dir_all(dir.join("store")).unwrap();
    let store = EmbeddedStore::open(&dir.join("store"), Limits::default().quota).unwrap();
    drop(store);
    fs::write(dir.join("store/version"), "FJL?").unwrap();
    let filler = disk.fill(64 << 10);
    let repair = || {
        let mut repair = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
        let output = repair.args(["repair", "--data-dir"]).arg(&dir).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = repair();
    assert!(code == Some(1) && words.contains("too little room"), "{words}");
    assert_eq!(fs::read(dir.join("store/version")).unwrap(), b"FJL?");
    assert!(!dir.join("store.draft").exists());
    fs::remove_file(filler).unwrap();
    assert_eq!(repair().0, Some(0));
}
