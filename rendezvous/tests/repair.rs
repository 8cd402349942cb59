//! `wattle-rendezvous check --store` and `repair`: a damaged store, as its operator meets it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt as _, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use protocol::ids::{LogId, Timestamp};
use rendezvous::{
    Limits,
    store::{EmbeddedStore, LogStore as _, NewEntry},
};

const ENTRIES: u8 = 30;

fn program(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.args(args).arg(dir);
    command
}

/// Exit code, standard output, standard error.
fn ask(args: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = program(args, dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

const CHECK: [&str; 2] = ["check", "--store"];
const REPAIR: [&str; 2] = ["repair", "--data-dir"];
const RUN: [&str; 7] = ["run", "--json", "--watch", "", "--listen", "127.0.0.1:0", "--data-dir"];

fn open(dir: &Path) -> EmbeddedStore {
    fs::create_dir_all(dir.join("store")).unwrap();
    EmbeddedStore::open(&dir.join("store"), Limits::default().quota).unwrap()
}

/// A store with three logs.
fn filled(dir: &Path) -> u64 {
    let store = open(dir);
    for byte in 0..ENTRIES {
        let new = NewEntry { log: LogId([byte % 3; 20]), bytes: vec![byte; 512] };
        store.append(&[new], Timestamp(5)).unwrap();
    }
    store.generation()
}

fn entries(dir: &Path) -> Vec<u8> {
    let store = open(dir);
    let read = |log| store.read(LogId([log; 20]), 0, usize::MAX).unwrap().entries;
    let mut all: Vec<_> = (0..3).flat_map(read).map(|entry| entry.bytes[0]).collect();
    all.sort_unstable();
    all
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("store/0.jnl")
}

/// Damages the batch of one entry, in the middle of the journal.
fn damage(dir: &Path, byte: u8) {
    let mut bytes = fs::read(journal(dir)).unwrap();
    let at = bytes.windows(64).position(|window| window == [byte; 64]).unwrap();
    bytes[at + 70] ^= 1;
    fs::write(journal(dir), bytes).unwrap();
}

fn kept(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains("store.damaged-")).collect()
}

fn start(dir: &Path) -> Child {
    let mut relay = program(&RUN, dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(relay.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("ready"), "{line}");
    relay
}

#[test]
fn a_damaged_store_is_said_so_mended_and_kept_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let generation = filled(dir);
    let (code, out, words) = ask(&CHECK, dir);
    assert_eq!(code, Some(0), "{out}{words}");
    assert!(out.contains("3 logs, 30 entries, 15360 bytes") && words.contains("sound"), "{out}");

    damage(dir, 7);
    let damaged = fs::read(journal(dir)).unwrap();
    let (code, _, words) = ask(&RUN, dir);
    assert_eq!(code, Some(1));
    let next = format!("repair --data-dir {}", dir.display());
    assert!(words.contains("damaged") && words.contains(&next), "{words}");
    let (code, out, words) = ask(&CHECK, dir);
    assert_eq!(code, Some(10), "{out}{words}");
    assert!(out.contains("1 batches of journals are damaged"), "{out}");
    assert!(words.contains(&next), "{words}");
    let (code, out, _) = ask(&["check", "--json", "--store"], dir);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["sound"]), (Some(10), &false.into()));
    assert_eq!(report["store"]["damage"]["missing"], 1);
    assert_eq!(fs::read(journal(dir)).unwrap(), damaged, "looking changes nothing");

    let (code, out, words) = ask(&REPAIR, dir);
    assert_eq!(code, Some(0), "{out}{words}");
    assert!(out.contains("saved: 29 entries of 3 logs"), "{out}");
    assert!(out.contains("lost: at least 1 entries"), "{out}");
    let [kept] = &kept(dir)[..] else { panic!("one is kept") };
    assert!(words.contains(kept.to_str().unwrap()) && words.contains("anew"), "{words}");
    assert_eq!(fs::read(kept.join("0.jnl")).unwrap(), damaged);
    assert_eq!(ask(&CHECK, dir).0, Some(0));
    assert_eq!(ask(&CHECK, kept).0, Some(10), "a store by itself is looked at, too");

    let mut relay = start(dir);
    relay.kill().unwrap();
    relay.wait().unwrap();
    assert_eq!(entries(dir), (0..ENTRIES).filter(|byte| *byte != 7).collect::<Vec<_>>());
    assert_ne!(open(dir).generation(), generation);
}

#[test]
fn a_sound_store_is_left_alone_and_begins_a_new_generation_if_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let generation = filled(dir.path());
    let (code, _, words) = ask(&REPAIR, dir.path());
    assert!(code == Some(0) && words.contains("Nothing had to be repaired"), "{words}");
    assert_eq!(open(dir.path()).generation(), generation);
    let (code, _, words) = ask(&["repair", "--new-generation", "--data-dir"], dir.path());
    assert!(code == Some(0) && words.contains("read their logs anew"), "{words}");
    assert_ne!(open(dir.path()).generation(), generation);
    assert_eq!(entries(dir.path()).len(), usize::from(ENTRIES));
    assert!(kept(dir.path()).is_empty());
}

#[test]
fn a_relay_that_runs_keeps_both_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = start(dir.path());
    for args in [CHECK, REPAIR] {
        let (code, _, words) = ask(&args, dir.path());
        assert_eq!(code, Some(1));
        assert!(words.contains("is using") && words.contains("Stop the relay"), "{words}");
    }
    relay.kill().unwrap();
    relay.wait().unwrap();
    assert_eq!(ask(&CHECK, dir.path()).0, Some(0));
}

#[test]
fn a_repair_that_is_killed_at_any_time_has_lost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    filled(dir);
    damage(dir, 7);
    let expected: Vec<_> = (0..ENTRIES).filter(|byte| *byte != 7).collect();
    for delay in 0..12 {
        let mut repair = program(&REPAIR, dir).stdout(Stdio::null()).spawn().unwrap();
        // Each time a little later; the last ones may be done by then.
        std::thread::sleep(std::time::Duration::from_millis(delay * 10));
        repair.kill().unwrap();
        repair.wait().unwrap();
        assert!(dir.join("store").exists() || dir.join("store.repaired").exists());
    }
    assert_eq!(ask(&REPAIR, dir).0, Some(0));
    assert_eq!(kept(dir).len(), 1);
    assert!(!dir.join("store.draft").exists() && !dir.join("store.repaired").exists());
    assert_eq!(entries(dir), expected);
}

/// Nobody of this machine.
const SOMEBODY: (u32, u32) = (54_321, 54_322);

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
fn owners(dir: &Path) -> BTreeSet<(u32, u32)> {
    let owner = |path: &PathBuf| {
        let of = path.symlink_metadata().unwrap();
        (of.uid(), of.gid())
    };
    all_in(dir).iter().map(owner).collect()
}

fn give_all(dir: &Path) {
    for path in all_in(dir).into_iter().chain([dir.to_path_buf()]) {
        lchown(path, Some(SOMEBODY.0), Some(SOMEBODY.1)).unwrap();
    }
}

/// Whether files can be given away here, as root alone can.
fn is_root(dir: &Path) -> bool {
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

#[test]
fn what_root_repairs_belongs_to_whoever_the_directory_belongs_to() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    if !is_root(outside.path()) {
        return;
    }
    filled(dir);
    give_all(dir);
    damage(dir, 7);
    // What somebody has laid there that isn't theirs stays whose it is.
    let roots = outside.path().join("root's");
    fs::write(&roots, "").unwrap();
    symlink(&roots, dir.join("store/link")).unwrap();
    fs::hard_link(&roots, dir.join("store/name")).unwrap();
    let (code, _, words) = ask(&REPAIR, dir);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(kept(dir).len(), 1);
    let of = roots.metadata().unwrap();
    assert_eq!((of.uid(), of.gid()), (0, 0), "a file of two names");
    fs::remove_file(kept(dir)[0].join("name")).unwrap();
    assert!(dir.join("lock").exists() && dir.join("version").exists());
    assert_eq!(owners(dir), [SOMEBODY].into());

    // A new generation is written by root into files of its own; and what an earlier version left.
    chown(dir.join("store"), Some(0), Some(0)).unwrap();
    chown(dir.join("lock"), Some(0), Some(0)).unwrap();
    let (code, _, words) = ask(&["repair", "--new-generation", "--data-dir"], dir);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(owners(dir), [SOMEBODY].into());
}
