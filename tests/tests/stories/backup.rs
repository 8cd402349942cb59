//! A disk is lost and a backup restored: history and groups are back, nobody is taken for a thief, and
//! messages go both ways. What can't be opened changes nothing.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use harness::{World, files_below};
use node::api::types::{GroupState, What};

const PASSPHRASE: &str = "six words that nobody has guessed yet";

#[test]
fn a_lost_disk_is_replaced_by_a_backup_and_nobody_is_taken_for_a_copy() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    let cleo = world.node("cleo").relay(&relay).start();
    cleo.join(&ana.invite("tea"));
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    ben.send("tea", "in the backup");
    cleo.send("tea", "so is this");
    ben.hears("tea", "so is this");
    for node in [&ana, &cleo] {
        node.hears("tea", "in the backup");
    }

    // Made while the node runs; its passphrase comes from a pipe.
    let file = world.dir().join("ben.backup");
    let at = file.to_str().unwrap();
    let create = ["backup", "create", at, "--backup-passphrase-file", "-"];
    let said = ben.cli_with(&create, PASSPHRASE);
    assert!(said.err.contains("1 group, 2 messages"), "{said:?}");
    assert!(!said.err.contains(PASSPHRASE) && said.out.is_empty(), "{said:?}");
    said.ok();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(13).any(|part| part == b"in the backup"));
    let again = ben.cli_with(&create, PASSPHRASE).refused(5);
    assert!(again.contains("exists already"), "{again}");
    assert_eq!(fs::read(&file).unwrap(), bytes);

    let sent = ben.send("tea", "after the backup");
    ben.until_received(&sent);
    cleo.send("tea", "an answer");
    ben.hears("tea", "an answer");
    ben.kill9();
    fs::remove_dir_all(ben.data_dir()).unwrap();

    what_does_not_open_changes_nothing(&world, &bytes);

    let home = world.dir().join("new-disk");
    let passphrase = world.dir().join("passphrase");
    fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let from = passphrase.to_str().unwrap();
    let restore = ["backup", "restore", at, "--backup-passphrase-file", from];
    fs::set_permissions(&passphrase, Permissions::from_mode(0o644)).unwrap();
    let open = world.cli("new-disk", &restore).refused(2);
    assert!(open.contains("others can read"), "{open}");
    fs::set_permissions(&passphrase, Permissions::from_mode(0o600)).unwrap();
    let said = world.cli("new-disk", &restore);
    assert!(said.err.contains("next: wattle up"), "{said:?}");
    said.ok();
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
    let twice = world.cli("new-disk", &restore).refused(5);
    assert!(twice.contains("not empty"), "{twice}");

    // It finds the relay by what the old one remembered.
    let ben = world.node("ben").living_in(home).start();
    assert_eq!(ben.texts("tea")[..2], ["in the backup".to_owned(), "so is this".to_owned()]);
    ben.warns("older than what others have seen from it");
    ben.until("to catch up", |event| matches!(event.what, What::CaughtUp).then_some(()));
    assert_eq!(ben.group("tea").summary.state, GroupState::Active);

    ben.send("tea", "it is me again");
    for node in [&ana, &cleo] {
        node.hears("tea", "it is me again");
        node.warns("went on from an older copy");
    }
    for (from, to) in [(&ana, [&ben, &cleo]), (&cleo, [&ana, &ben]), (&ben, [&ana, &cleo])] {
        let text = format!("{} reads everybody", from.name());
        from.send("tea", &text);
        to.iter().for_each(|node| drop(node.hears("tea", &text)));
    }
    for node in [&ana, &cleo] {
        let proven = node.group("tea").notices;
        assert!(proven.is_empty(), "{proven:#?}");
        let texts = node.texts("tea");
        assert_eq!(texts.iter().filter(|text| *text == "in the backup").count(), 1, "{texts:?}");
    }
}

/// Wrong passphrases and files that were cut off, changed, or are of a newer program: each has words
/// of its own, and leaves nothing behind.
fn what_does_not_open_changes_nothing(world: &World, bytes: &[u8]) {
    let mut changed = bytes.to_vec();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let mut newer = bytes.to_vec();
    newer["wattle backup\n".len()] = 9;
    let cut = &bytes[..bytes.len() - 1];
    let cases: [(&str, &[u8], &str, i32, &str); 5] = [
        ("wrong", bytes, "another", 5, "does not open this backup"),
        ("changed", &changed, PASSPHRASE, 10, "damaged"),
        ("cut", cut, PASSPHRASE, 10, "damaged"),
        ("newer", &newer, PASSPHRASE, 5, "newer version"),
        ("other", b"hello", PASSPHRASE, 10, "no backup"),
    ];
    let there = |dir: &std::path::Path| fs::read_dir(dir).unwrap().count();
    for (name, bytes, passphrase, code, words) in cases {
        let file = world.dir().join(format!("{name}.backup"));
        fs::write(&file, bytes).unwrap();
        let before = there(world.dir());
        let secret = world.dir().join("secret");
        fs::write(&secret, passphrase).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let args = ["backup", "restore", file.to_str().unwrap(), "--backup-passphrase-file"];
        let args = [args.as_slice(), &[secret.to_str().unwrap()]].concat();
        let said = world.cli("new-disk", &args).refused(code);
        assert!(said.contains(words) && !said.contains(passphrase), "{name}: {said}");
        fs::remove_file(&secret).unwrap();
        assert_eq!(there(world.dir()), before, "{name}: {:?}", files_below(world.dir()));
    }
}
