//! `--no-store`: entries are passed on and live in memory; nothing but the key touches the disk.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod client;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use client::{Client, Relay, entry, program, read, ready};
use protocol::relay_log::{Answer, LogKeys, Request};

fn live(dir: &Path) -> Relay {
    let mut program = program(dir);
    program.arg("--no-store").env_clear().stderr(Stdio::piped());
    ready(program)
}

fn keys() -> LogKeys {
    LogKeys::from_seeds([1; 32], [2; 32], None)
}

/// Every file below a directory with its length and when it was changed.
fn listing(dir: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let (mut dirs, mut files) = (vec![dir.to_path_buf()], Vec::new());
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|item| item.unwrap().path()) {
            let meta = path.metadata().unwrap();
            files.push((path.clone(), meta.len(), meta.modified().unwrap()));
            if meta.is_dir() {
                dirs.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The regular files that a process has open.
fn open_files(relay: &Relay) -> Vec<PathBuf> {
    let fds = fs::read_dir(format!("/proc/{}/fd", relay.process.id())).unwrap();
    let targets = fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    targets.filter(|path| path.is_file() && !path.starts_with("/dev")).collect()
}

/// Bytes that the process had written to a disk.
fn written(relay: &Relay) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", relay.process.id())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn what_is_appended_is_passed_on_at_once_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let relay = live(dir.path());
    let (before, bytes) = (listing(dir.path()), written(&relay));
    let names: Vec<_> = before.iter().map(|(path, ..)| path.file_name().unwrap()).collect();
    assert_eq!(names, ["key", "lock", "version"], "no store is made");

    let mut reader = Client::of(&relay, &keys()).await;
    reader.send(Request::Follow { handle: 1, after: None }).await;
    assert!(matches!(reader.next().await, Some(Answer::CaughtUp { .. })));
    let mut writer = Client::of(&relay, &keys()).await;
    for number in 0..200 {
        let entry = entry(number, 4096);
        writer.send(Request::Append { req: number, handle: 1, entry: entry.clone() }).await;
        assert!(matches!(writer.next().await, Some(Answer::Appended { .. })));
        let Some(Answer::Entries { entries, .. }) = reader.next().await else { panic!("no entry") };
        assert_eq!(entries[0].bytes, entry);
    }
    assert_eq!(read(&relay, &keys()).await.0.len(), 200, "and is there for who comes a bit later");
    assert_eq!(listing(dir.path()), before);
    let open = open_files(&relay);
    assert!(open.iter().all(|path| path.ends_with("lock")), "{open:?}");
    assert_eq!(written(&relay), bytes);
}

#[tokio::test]
async fn it_says_what_that_means_and_forgets_everything_but_its_key_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = live(dir.path());
    let mut writer = Client::of(&relay, &keys()).await;
    writer.send(Request::Append { req: 1, handle: 1, entry: entry(1, 512) }).await;
    let Some(Answer::Appended { cursor, .. }) = writer.next().await else { panic!("no answer") };
    // It says so once it is ready, before it hears that it is to end.
    let pid = relay.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut words = String::new();
    relay.process.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(words.contains("in memory only, for 2m") && words.contains("forgets them"), "{words}");
    assert_eq!(relay.process.wait().unwrap().code(), Some(0));

    let again = live(dir.path());
    assert_eq!(again.peer, relay.peer);
    let (found, end) = read(&again, &keys()).await;
    assert!(found.is_empty());
    assert_ne!(end.generation, cursor.generation, "old cursors mean nothing");
}

#[tokio::test]
async fn a_store_that_is_there_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let durable = client::start(dir.path());
    let mut writer = Client::of(&durable, &keys()).await;
    writer.send(Request::Append { req: 1, handle: 1, entry: entry(1, 512) }).await;
    assert!(matches!(writer.next().await, Some(Answer::Appended { .. })));
    drop(durable);
    let before = listing(&dir.path().join("store"));
    let relay = live(dir.path());
    assert!(read(&relay, &keys()).await.0.is_empty());
    drop(relay);
    assert_eq!(listing(&dir.path().join("store")), before);
    assert_eq!(read(&client::start(dir.path()), &keys()).await.0.len(), 1);
}
