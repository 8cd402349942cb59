//! Commands that root gives in a directory of somebody else's, who has laid links in the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/root.rs"]
mod root;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::Path,
    process::{Command, Stdio},
};

use root::{SOMEBODY, give_all, is_root, owners};
use tempfile::TempDir;

/// Exit code, and all that is said.
fn token(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.env_clear().env("HOME", dir.parent().unwrap()).stdin(Stdio::null());
    let said = command.arg("token").args(args).arg("--data-dir").arg(dir).output().unwrap();
    let words = [said.stdout, said.stderr].concat();
    (said.status.code(), String::from_utf8(words).unwrap())
}

const NEW: [&str; 3] = ["new", "--label", "ana"];

/// A directory of root's alone with one of somebody's in it, as a service manager keeps them.
fn private() -> Option<TempDir> {
    let outer = tempfile::tempdir().unwrap();
    if !is_root(outer.path()) {
        return None;
    }
    fs::create_dir(outer.path().join("relay")).unwrap();
    give_all(&outer.path().join("relay"));
    Some(outer)
}

/// A file or a directory of somebody's: a link.
fn lay(to: &Path, link: &Path) {
    symlink(to, link).unwrap();
    lchown(link, Some(SOMEBODY.0), Some(SOMEBODY.1)).unwrap();
}

#[test]
fn a_link_in_the_place_of_a_file_does_not_lead_root_to_another() {
    let Some(outer) = private() else { return };
    let dir = outer.path().join("relay");
    let roots = outer.path().join("root's");
    fs::write(&roots, "version = 1\n").unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["tokens.lock", "tokens.new", "tokens.toml"] {
        let link = dir.join(name);
        for is_hard in [false, true] {
            if is_hard {
                fs::hard_link(&roots, &link).unwrap()
            } else {
                lay(&roots, &link)
            }
            let (code, words) = token(&dir, &NEW);
            assert_eq!(code, Some(1), "{name}: {words}");
            assert!(words.contains(dir.to_str().unwrap()) && !words.contains("wtt1"), "{words}");
            fs::remove_file(&link).unwrap();
        }
        // Nor is a pipe waited for.
        assert!(Command::new("mkfifo").arg(&link).status().unwrap().success());
        lchown(&link, Some(SOMEBODY.0), Some(SOMEBODY.1)).unwrap();
        let (code, words) = token(&dir, &NEW);
        assert_eq!(code, Some(1), "{name}: {words}");
        fs::remove_file(&link).unwrap();
    }
    assert_eq!(fs::read_to_string(&roots).unwrap(), "version = 1\n");
    let of = roots.metadata().unwrap();
    assert_eq!((of.uid(), of.gid(), of.nlink()), (0, 0, 1));

    let (code, words) = token(&dir, &NEW);
    assert!(code == Some(0) && words.contains("wtt1"), "{words}");
    assert_eq!(owners(&dir), [SOMEBODY].into());
    let (code, words) = token(&dir, &["list"]);
    assert!(code == Some(0) && words.contains("ana"), "{words}");
}

#[test]
fn a_link_on_the_way_counts_if_root_or_the_owner_made_it() {
    let Some(outer) = private() else { return };
    let (dir, theirs) = (outer.path().join("relay"), outer.path().join("theirs"));
    symlink("relay", &theirs).unwrap();
    assert_eq!(token(&theirs, &NEW).0, Some(0), "as a service manager's");
    lchown(&theirs, Some(SOMEBODY.0), Some(SOMEBODY.1)).unwrap();
    assert_eq!(token(&theirs, &NEW).0, Some(0));
    assert_eq!(owners(&dir), [SOMEBODY].into());

    let roots = outer.path().join("root's");
    fs::create_dir(&roots).unwrap();
    lay(&roots, &dir.join("link"));
    for way in ["link", "link/more", "link/../link"] {
        let (code, words) = token(&dir.join(way), &NEW);
        assert!(code == Some(1) && words.contains("by a link"), "{way}: {words}");
    }
    assert_eq!(fs::read_dir(&roots).unwrap().count(), 0);
    symlink("again", outer.path().join("again")).unwrap();
    assert_eq!(token(&outer.path().join("again"), &NEW).0, Some(1));
}

#[test]
fn what_root_makes_in_a_directory_of_somebody_s_is_theirs_and_in_one_of_its_own_root_s() {
    let Some(outer) = private() else { return };
    let (theirs, own) = (outer.path().join("relay"), outer.path().join("own"));
    assert_eq!(token(&theirs.join("a/b"), &NEW).0, Some(0));
    assert_eq!(owners(&theirs), [SOMEBODY].into());
    assert!(theirs.join("a/b/tokens.toml").exists());
    assert_eq!(token(&own.join("a"), &NEW).0, Some(0));
    assert_eq!(owners(&own), [(0, 0)].into());

    // Where others may write, links may be laid.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o1777)).unwrap();
    for dir in [own.clone(), own.join("new")] {
        let (code, words) = token(&dir, &NEW);
        assert!(code == Some(1) && words.contains("others may write"), "{words}");
    }
    // A group has members, and where a list names others its bits are theirs: root's group, too.
    for (mode, group) in [(0o770, 0), (0o770, SOMEBODY.1), (0o720, 0)] {
        lchown(&own, Some(0), Some(group)).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(mode)).unwrap();
        let (code, words) = token(&own, &NEW);
        assert!(code == Some(1) && words.contains("others may write"), "{mode:o} {group}: {words}");
    }
    fs::set_permissions(&own, fs::Permissions::from_mode(0o750)).unwrap();
    assert_eq!(token(&own, &NEW).0, Some(0));
    // A group that is root's gives nobody its rights.
    lchown(&theirs, Some(SOMEBODY.0), Some(0)).unwrap();
    assert_eq!(token(&theirs, &NEW).0, Some(0));
    assert_eq!(theirs.join("tokens.toml").metadata().unwrap().gid(), 65_534);
}
