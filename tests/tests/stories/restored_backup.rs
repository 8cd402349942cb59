//! A copy of a data directory comes back after the node has gone on: it says so, catches up, speaks
//! with new keys, and everybody is told.

use std::{fs, path::Path};

use harness::World;
use node::api::types::{GroupState, NoticeKind, What};

/// Copies files and directories; what is neither belongs to a process that runs.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, kind) = entry.map(|it| (it.path(), it.file_type().unwrap())).unwrap();
        let to = to.join(entry.file_name().unwrap());
        if kind.is_dir() {
            copy(&entry, &to);
        } else if kind.is_file() {
            fs::copy(&entry, &to).unwrap();
        }
    }
}

#[test]
fn a_restored_backup_catches_up_before_it_speaks_and_everybody_is_told() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    let cleo = world.node("cleo").relay(&relay).start();
    cleo.join(&ana.invite("tea"));
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    ben.send("tea", "in the backup");
    cleo.hears("tea", "in the backup");
    ana.hears("tea", "in the backup");

    ben.stop();
    let backup = world.dir().join("backup");
    copy(&ben.data_dir(), &backup);
    ben.start_again();
    for text in ["after the backup", "and more"] {
        let sent = ben.send("tea", text);
        ben.until_received(&sent);
    }
    cleo.send("tea", "an answer");
    ben.hears("tea", "an answer");
    ben.stop();

    let ben = world.node("ben").living_in(backup).relay(&relay).start();
    ben.warns("older than what others have seen from it");
    ben.until("to catch up", |event| matches!(event.what, What::CaughtUp).then_some(()));
    assert_eq!(ben.group("tea").summary.state, GroupState::Active);
    ben.hears("tea", "an answer");

    ben.send("tea", "it is me again");
    for node in [&ana, &cleo] {
        node.hears("tea", "it is me again");
        node.warns("went on from an older copy");
        let proven = node.group("tea").notices;
        assert!(proven.iter().all(|it| it.kind != NoticeKind::Equivocation), "{proven:#?}");
        node.until_group("tea", "nothing to be missing", |view| view.gaps.is_empty());
    }
    for (from, to) in [(&ana, [&ben, &cleo]), (&cleo, [&ana, &ben]), (&ben, [&ana, &cleo])] {
        let text = format!("{} reads everybody", from.name());
        from.send("tea", &text);
        to.iter().for_each(|node| drop(node.hears("tea", &text)));
    }
    ana.until_group("tea", "all to have sent under this view", |view| {
        view.adopted.waiting.is_empty()
    });
    let shown = ana.cli(&["group", "show", "tea"]).ok();
    assert!(shown.contains("all 3 members send under it"), "{shown}");
}
