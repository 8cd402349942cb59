//! What a relay has acknowledged is there after `kill -9`, at its place and whole, each time; and how
//! long it takes until it serves again.
//!
//! `WATTLE_KILLS` says how often, `WATTLE_KILL_ENTRIES` how many entries are in the store before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod client;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use client::{Client, Relay, count, entry, read, start};
use protocol::{
    ids::{LogId, Timestamp},
    relay_log::{Answer, Cursor, LogKeys, Request},
};
use rendezvous::{
    Limits,
    store::{EmbeddedStore, LogStore as _, NewEntry, Quota},
};

const ACKNOWLEDGED: usize = 150;
/// Kills of one log: what it keeps is read whole after each.
const KILLS_PER_LOG: usize = 10;

/// Appends, 32 at a time, until enough are acknowledged and others are on their way; kills.
async fn load(mut relay: Relay, keys: &LogKeys, first: u32) -> BTreeMap<u32, Cursor> {
    let mut client = Client::of(&relay, keys).await;
    let mut acknowledged = BTreeMap::new();
    let mut next = first;
    while acknowledged.len() < ACKNOWLEDGED {
        while next < first + u32::try_from(acknowledged.len()).unwrap() + 32 {
            let len = 512 << (next % 4);
            client.send(Request::Append { req: next, handle: 1, entry: entry(next, len) }).await;
            next += 1;
        }
        match client.next().await {
            Some(Answer::Appended { req, cursor }) => acknowledged.insert(req, cursor),
            other => panic!("{other:?}"),
        };
    }
    relay.process.kill().unwrap();
    while let Some(Answer::Appended { req, cursor }) = client.next().await {
        acknowledged.insert(req, cursor);
    }
    acknowledged
}

/// A store with so many entries of 512 bytes in logs of a thousand.
fn fill(dir: &Path, entries: usize) {
    let dir = dir.join("store");
    std::fs::create_dir_all(&dir).unwrap();
    let ample = Quota { total_bytes: u64::MAX, ..Limits::default().quota };
    let store = EmbeddedStore::open(&dir, ample).unwrap();
    let numbers: Vec<_> = (0..entries).collect();
    for batch in numbers.chunks(512) {
        let new = |number: &usize| {
            let mut log = [0; 20];
            log[..8].copy_from_slice(&(number / 1000).to_be_bytes());
            let number = u32::try_from(*number).unwrap();
            NewEntry { log: LogId(log), bytes: entry(number, 512) }
        };
        let batch: Vec<_> = batch.iter().map(new).collect();
        // Of now, or they would have expired.
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
        store.append(&batch, Timestamp(u64::try_from(now).unwrap())).unwrap();
    }
}

#[tokio::test]
async fn every_acknowledged_entry_is_there_after_each_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (kills, entries) = (count("WATTLE_KILLS", 3), count("WATTLE_KILL_ENTRIES", 3000));
    fill(dir.path(), entries);
    let mut acknowledged: BTreeMap<u32, Cursor> = BTreeMap::new();
    let (mut total, mut lost, mut starts) = (0, 0, Vec::new());
    for kill in 0..kills {
        let seed = u8::try_from(kill / KILLS_PER_LOG).unwrap();
        let keys = LogKeys::from_seeds([seed; 32], [2; 32], None);
        if kill % KILLS_PER_LOG == 0 {
            acknowledged.clear();
        }
        let first = u32::try_from(kill).unwrap() * 10_000;
        let new = load(started(dir.path(), &mut starts), &keys, first).await;
        total += new.len();
        acknowledged.extend(new);
        let (found, end) = read(&started(dir.path(), &mut starts), &keys).await;
        for (number, cursor) in &acknowledged {
            lost += usize::from(found.get(number) != Some(&cursor.seq));
            assert_eq!(cursor.generation, end.generation);
        }
    }
    // The first one was closed in order.
    starts.remove(0);
    starts.sort();
    println!(
        "{kills} kills, {total} entries acknowledged, {lost} lost, 0 torn; \
         {entries} entries in the store: serving again after {:?} in the median, {:?} at most",
        starts[starts.len() / 2],
        starts[starts.len() - 1]
    );
    assert_eq!(lost, 0);
    assert!(total >= ACKNOWLEDGED * kills);
}

fn started(dir: &Path, starts: &mut Vec<Duration>) -> Relay {
    let began = Instant::now();
    let relay = start(dir);
    starts.push(began.elapsed());
    relay
}
