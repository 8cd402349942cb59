//! `wattle-rendezvous check --store` and `repair`: a damaged store, as its operator meets it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/root.rs"]
mod root;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use protocol::ids::{LogId, Timestamp};
use rendezvous::{
    Limits,
    store::{EmbeddedStore, LogStore as _, NewEntry},
};

use root::{SOMEBODY, give_all, is_root, owners};

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

#[test]
fn what_root_repairs_belongs_to_whoever_the_directory_belongs_to() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    if !is_root(outside.path()) {
        return;
    }
    filled(dir);
    damage(dir, 7);
    // What somebody has laid there that isn't theirs stays whose it is, and as it is.
    let roots = outside.path().join("root's");
    fs::write(&roots, "root's").unwrap();
    let drafts = outside.path().join("drafts");
    fs::create_dir(&drafts).unwrap();
    fs::write(drafts.join("root's"), "").unwrap();
    symlink(&roots, dir.join("store/link")).unwrap();
    symlink(&drafts, dir.join("store.draft")).unwrap();
    give_all(dir);
    fs::hard_link(&roots, dir.join("store/name")).unwrap();
    let (code, _, words) = ask(&REPAIR, dir);
    assert_eq!(code, Some(0), "{words}");
    let [kept] = &kept(dir)[..] else { panic!("one is kept") };
    assert!(words.contains(kept.to_str().unwrap()), "{words}");
    let of = roots.metadata().unwrap();
    assert_eq!((of.uid(), of.gid()), (0, 0), "a file of two names");
    assert_eq!(fs::read_to_string(&roots).unwrap(), "root's");
    assert!(drafts.join("root's").exists());
    fs::remove_file(kept.join("name")).unwrap();
    assert!(dir.join("lock").exists() && dir.join("version").exists());
    assert_eq!(owners(dir), [SOMEBODY].into());

    let (code, _, words) = ask(&["repair", "--new-generation", "--data-dir"], dir);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(owners(dir), [SOMEBODY].into());
    assert_eq!(ask(&CHECK, dir).0, Some(0));

    // A link in the place of what would be written is nobody's way to a file of root's.
    fs::remove_file(dir.join("lock")).unwrap();
    symlink(&roots, dir.join("lock")).unwrap();
    let (code, _, words) = ask(&REPAIR, dir);
    assert_eq!(code, Some(1), "{words}");
    fs::remove_file(dir.join("lock")).unwrap();
    fs::write(dir.join("lock"), "").unwrap();
    fs::set_permissions(dir.join("lock"), fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _, words) = ask(&REPAIR, dir);
    assert_eq!(code, Some(1));
    assert!(words.contains("must belong to its owner"), "{words}");
}
