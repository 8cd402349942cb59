//! What a relay has acknowledged outlives a loss of power, wherever in its work it comes.
//!
//! `strace` records what a loaded relay does to its files. The disk is rebuilt as it may be after a
//! loss of power at a random one of these steps: with everything that was synced, and of the rest
//! nothing, a random prefix, or a random half with torn writes. The store is opened again, and
//! every entry looked for that was acknowledged before that step. A disk that does not heed syncs is
//! the control: on it, entries must be lost.
//!
//! `WATTLE_POWER_STATES` says how many states; from 200 on there is a new trace for each 200, long
//! enough for tables to be written and merged.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

#[path = "../client/mod.rs"]
mod client;
mod disk;
mod trace;

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use client::{Client, Dice, Relay, count, entry, has, program, ready};
use disk::{Disk, Kept};
use protocol::{
    ids::{LogId, Timestamp},
    relay_log::{Answer, Cursor, LogKeys, Request},
};
use rendezvous::{
    Limits,
    store::{EmbeddedStore, LogStore as _, NewEntry},
};
use trace::Step;

/// An entry's number, when its acknowledgement came, and what it said.
type Acknowledged = Vec<(u32, Duration, Cursor)>;

fn keys() -> LogKeys {
    LogKeys::from_seeds([1; 32], [2; 32], None)
}

/// Has a relay that is watched take so many bytes; answers what it did and what it acknowledged.
async fn record(dir: &Path, bytes: usize) -> (Vec<Step>, Acknowledged) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let watched = program(dir);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-xx", "-s", "100000", "-e", trace::CALLS, "-o"]).arg(log.path());
    strace.arg(watched.get_program()).args(watched.get_args());
    let mut relay = ready(strace);
    let acknowledged = load(&relay, bytes).await;
    end(&mut relay);
    (trace::read(&fs::read_to_string(log.path()).unwrap()), acknowledged)
}

/// Ends what strace runs, which is then written down, too.
fn end(strace: &mut Relay) {
    let pid = strace.process.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert!(Command::new("kill").args(children.split_whitespace()).status().unwrap().success());
    assert!(strace.process.wait().unwrap().success());
}

async fn load(relay: &Relay, bytes: usize) -> Acknowledged {
    let mut client = Client::of(relay, &keys()).await;
    let (mut acknowledged, mut sent, mut next) = (Vec::new(), 0, 0);
    loop {
        while sent < bytes && next < u32::try_from(acknowledged.len()).unwrap() + 32 {
            // Most are small; most bytes are in large ones.
            let len = if next % 3 == 0 { 32_768 } else { 512 << (next % 5) };
            client.send(Request::Append { req: next, handle: 1, entry: entry(next, len) }).await;
            (sent, next) = (sent + len, next + 1);
        }
        if acknowledged.len() == next as usize {
            return acknowledged;
        }
        match client.next().await {
            Some(Answer::Appended { req, cursor }) => {
                acknowledged.push((req, UNIX_EPOCH.elapsed().unwrap(), cursor));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What is wrong with the store in a directory, given what was acknowledged.
fn fault(store: &Path, log: LogId, acknowledged: &[&(u32, Duration, Cursor)]) -> Option<String> {
    let opened =
        catch_unwind(AssertUnwindSafe(|| EmbeddedStore::open(store, Limits::default().quota)));
    let store = match opened {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => return Some(format!("it can't be opened: {error}")),
        Err(_) => return Some("opening it panics".into()),
    };
    let (mut found, mut after) = (BTreeMap::new(), 0);
    loop {
        let page = match store.read(log, after, 1 << 20) {
            Ok(page) => page,
            Err(error) => return Some(format!("it can't be read: {error}")),
        };
        if page.damaged > 0 {
            return Some(format!("{} entries are damaged", page.damaged));
        }
        for read in page.entries {
            let number = u32::from_be_bytes(read.bytes[..4].try_into().unwrap());
            if read.bytes != entry(number, read.bytes.len()) {
                return Some(format!("entry {number} is torn"));
            }
            found.insert(number, Cursor { generation: store.generation(), seq: read.seq });
        }
        after = page.read_to;
        if after >= page.head {
            break;
        }
    }
    if let Some((number, ..)) = acknowledged.iter().find(|it| found.get(&it.0) != Some(&it.2)) {
        return Some(format!("entry {number} was acknowledged, and is {:?}", found.get(number)));
    }
    let new = NewEntry { log, bytes: vec![7; 512] };
    store
        .append(&[new], Timestamp(u64::MAX / 2))
        .err()
        .map(|error| format!("it takes nothing: {error}"))
}

/// How many of so many states have a fault, and the first of them.
fn faults(
    dir: &Path,
    steps: &[Step],
    acknowledged: &Acknowledged,
    states: usize,
    heeds: bool,
    seed: u64,
) -> (usize, Option<String>) {
    let mut dice = Dice::new(seed);
    let mut cuts: Vec<_> = (0..states).map(|_| dice.below(steps.len())).collect();
    cuts.sort_unstable();
    let store = dir.join("store");
    let mut disk = Disk::new(&store, heeds);
    let (mut done, mut count, mut first) = (0, 0, None);
    for cut in cuts {
        steps[done..cut].iter().for_each(|step| disk.take(&step.what));
        done = cut;
        let kept = [Kept::None, Kept::Prefix, Kept::TornHalf][dice.below(3)];
        disk.lose_power(kept, &mut dice);
        let before: Vec<_> = acknowledged.iter().filter(|it| it.1 < steps[cut].began).collect();
        let looked = if before.is_empty() { None } else { Some(rendezvous::repair::check(dir)) };
        let alarm = looked.and_then(|looked| match looked {
            Ok(found) if found.is_sound() => None,
            other => Some(format!("who looks sees damage: {other:?}")),
        });
        if let Some(fault) = fault(&store, keys().publics().id(), &before).or(alarm) {
            count += 1;
            first.get_or_insert(format!("step {cut} of {}, {kept:?}: {fault}", steps.len()));
        }
    }
    (count, first)
}

#[tokio::test]
async fn what_was_acknowledged_outlives_a_loss_of_power_at_any_step() {
    if !has(Command::new("strace").arg("-V").output().is_ok(), "strace") {
        return;
    }
    let states = count("WATTLE_POWER_STATES", 30);
    let traces = (states / 200).max(1);
    let bytes = if states < 200 { 1 << 20 } else { 14 << 20 };
    let (mut entries, mut all, mut tables, mut controls, mut lost) = (0, 0, 0, 0, 0);
    for index in 0..traces {
        let dir = directory();
        let (steps, acknowledged) = record(dir.path(), bytes).await;
        let is_table = |step: &&Step| {
            matches!(&step.what, trace::What::Open { path, flags, .. }
                if path.parent().is_some_and(|it| it.ends_with("tables")) && flags.contains("O_CREAT"))
        };
        tables += steps.iter().filter(is_table).count();
        (entries, all) = (entries + acknowledged.len(), all + steps.len());
        let seed = index as u64 + 1;
        let some = states / traces;
        let (count, first) = faults(dir.path(), &steps, &acknowledged, some, true, seed);
        assert_eq!((count, first), (0, None));
        let some = (some / 5).max(20);
        lost += faults(dir.path(), &steps, &acknowledged, some, false, seed).0;
        controls += some;
    }
    println!(
        "{} states of {traces} traces ({all} steps, {tables} tables written, {entries} entries \
         acknowledged): 0 lost; without syncs {lost} of {controls} states lost some",
        states / traces * traces
    );
    assert!(lost > 0, "the control must fail");
}

/// A directory in memory, where there is one: what is synced is known from the trace.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}
