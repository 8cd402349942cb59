//! Yesterday's data directories under today's program.
//!
//! `tests/fixtures/format-1.tar.gz` holds what the first program that kept anything left behind: ana
//! and ben in "tea", eve, who was removed from it, an invite, a message that no relay has, one that
//! was never sealed, and the key of the relay, whose store is lost.

use std::{
    env,
    fs::File,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness::{Node, PATIENCE, Relay, World};

/// Where the relay of the fixture listened: its address is in the group's policy.
const RELAY: &str = "127.84.19.3:47193";

/// What ana has in her history, and ben but for the last.
const HISTORY: [&str; 13] = [
    "ana's message 1 of yesterday",
    "ben's message 1 of yesterday",
    "eve's message 1 of yesterday",
    "ana's message 2 of yesterday",
    "ben's message 2 of yesterday",
    "eve's message 2 of yesterday",
    "ana's message 3 of yesterday",
    "ben's message 3 of yesterday",
    "eve's message 3 of yesterday",
    "only ana and ben read this",
    "and this",
    "no relay has this",
    "written when nobody was there",
];

/// One at a time on this machine, for the relay's port is always the same.
fn alone() -> File {
    let path = env::temp_dir().join("wattle-story-of-the-upgrade.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    file.lock().unwrap();
    file
}

fn unpack(into: &Path) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format-1.tar.gz");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(file)
        .arg("-C")
        .arg(into)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(unpacked.success());
}

fn yesterday(world: &World) -> (Relay, Node, Node) {
    unpack(world.dir());
    // The system may have given its port to somebody for a while.
    let start = Instant::now();
    while TcpListener::bind(RELAY).is_err() || UdpSocket::bind(RELAY).is_err() {
        assert!(start.elapsed() < PATIENCE, "{RELAY} is somebody else's");
        thread::sleep(Duration::from_millis(100));
    }
    let relay = world.relay_at("relay", RELAY);
    let [ana, ben] = ["ana", "ben"].map(|name| world.node(name).relay(&relay).start());
    (relay, ana, ben)
}

/// Each of them once, and before all that came since.
fn has_all_of_yesterday(node: &Node) {
    let mut first: Vec<String> = node.texts("tea").into_iter().take(HISTORY.len()).collect();
    first.sort();
    let mut all = HISTORY;
    all.sort_unstable();
    assert_eq!(first, all, "{}", node.name());
}

#[test]
fn a_group_of_yesterday_goes_on_under_todays_program() {
    let _alone = alone();
    let world = World::new();
    let (relay, mut ana, mut ben) = yesterday(&world);
    has_all_of_yesterday(&ana);
    assert_eq!(ana.people("tea"), ["ana", "ben"]);

    // What waited is sealed now, by keys of today.
    ben.hears("tea", "written when nobody was there");
    let said = ana.send("tea", "good morning");
    ben.hears("tea", "good morning");
    ana.until_received(&said);
    ben.send("tea", "good morning to you");
    ana.hears("tea", "good morning to you");

    let carl = world.node("carl").relay(&relay).start();
    carl.join(&ana.invite("tea"));
    for node in [&ana, &ben] {
        node.until_people("tea", &["ana", "ben", "carl"]);
    }
    carl.send("tea", "who was here before me?");
    ben.hears("tea", "who was here before me?");
    assert!(!carl.texts("tea").iter().any(|text| text.contains("yesterday")));

    ana.remove("tea", "carl");
    carl.until_out("tea", node::api::types::GroupState::Removed);
    ben.until_people("tea", &["ana", "ben"]);
    ben.send("tea", "the secret is kettle");
    ana.hears("tea", "the secret is kettle");
    assert!(!carl.texts("tea").iter().any(|text| text.contains("secret")));

    // The audit log began today, and is whole.
    for node in [&ana, &ben] {
        let said = node.cli(&["audit", "verify", "tea"]);
        said.ok();
        node.cli(&["audit", "export", "tea"]).ok();
    }

    // And what today's program has written, it reads.
    ana.stop();
    ben.stop();
    ana.start_again();
    ben.start_again();
    ben.send("tea", "the day after");
    ana.hears("tea", "the day after");
    has_all_of_yesterday(&ana);
    has_all_of_yesterday(&ben);
}
