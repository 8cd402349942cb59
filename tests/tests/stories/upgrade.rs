//! Yesterday's data directories under today's program.
//!
//! `tests/fixtures` has what a program of each format left behind: ana and ben in "tea", eve, who was
//! removed from it, an invite, a message that no relay has, one that was never sealed, and the key of the
//! relay, whose store is lost. From format 10 on there are files too; its README says how the next is made.

use std::{
    env,
    fs::{self, File},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness::{Node, PATIENCE, Relay, Said, World, seal, unseal};
use node::api::types::{CreateInvite, DeliveryState, FileStanding, GroupState, Path as Way};

/// Where the relay of the fixtures listened: its address is in the group's policy.
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
    READ_BY_BEN,
    "and this",
    "no relay has this",
    "written when nobody was there",
];

/// Of this ana has ben's receipt.
const READ_BY_BEN: &str = "only ana and ben read this";
/// What ana offered, in bytes: ben has the first one.
const FILES: [(&str, usize); 2] = [("notes.txt", 100_000), ("later.txt", 70_000)];

/// A data directory of before.
struct Fixture {
    archive: PathBuf,
    /// The format of its store.
    format: u32,
}

impl Fixture {
    fn of(format: u32) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        Self { archive: dir.join(format!("format-{format}.tar.gz")), format }
    }

    /// Files came with format 10, and with them the command that makes fixtures.
    fn has_files(&self) -> bool {
        self.format >= 10
    }

    /// What is in ana's history, sorted.
    fn history(&self) -> Vec<&'static str> {
        let files = FILES.iter().map(|(name, _)| *name).filter(|_| self.has_files());
        let mut history: Vec<_> = HISTORY.into_iter().chain(files).collect();
        history.sort_unstable();
        history
    }

    fn unpack(&self, into: &Path) {
        tar(&["-xzf"], &self.archive, into, &[]);
        if self.has_files() {
            seal(&into.join("ana"));
            seal(&into.join("ben"));
        }
    }

    fn pack(&self, from: &Path) {
        unseal(&from.join("ana"));
        unseal(&from.join("ben"));
        let left = ["relay/store", "lock", "*.sock", "logs"];
        let left: Vec<String> = left.iter().map(|name| format!("--exclude={name}")).collect();
        let how = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"];
        let how: Vec<&str> = how.into_iter().chain(left.iter().map(String::as_str)).collect();
        tar(&[&how[..], &["-czf"]].concat(), &self.archive, from, &["ana", "ben", "relay"]);
    }
}

fn tar(how: &[&str], archive: &Path, at: &Path, what: &[&str]) {
    let mut tar = Command::new("tar");
    tar.args(how).arg(archive).arg("-C").arg(at).args(what).stdin(Stdio::null());
    assert!(tar.status().unwrap().success(), "{tar:?}");
}

/// What is in a file of ana's.
fn content(name: &str, bytes: usize) -> Vec<u8> {
    let line = format!("a line of {name}\n");
    line.bytes().cycle().take(bytes).collect()
}

/// One at a time on this machine, for the relay's port is always the same.
fn alone() -> File {
    let path = env::temp_dir().join("wattle-story-of-the-upgrade.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).unwrap();
    file.lock().unwrap();
    file
}

/// The relay at the place that the fixtures name.
fn relay(world: &World) -> Relay {
    // The system may have given its port to somebody for a while.
    let start = Instant::now();
    while TcpListener::bind(RELAY).is_err() || UdpSocket::bind(RELAY).is_err() {
        assert!(start.elapsed() < PATIENCE, "{RELAY} is somebody else's");
        thread::sleep(Duration::from_millis(100));
    }
    world.relay_at("relay", RELAY)
}

/// Each of them once, and before all that came since.
fn has_all_of_yesterday(fixture: &Fixture, node: &Node) {
    let all = fixture.history();
    let mut first: Vec<String> = node.texts("tea").into_iter().take(all.len()).collect();
    first.sort();
    assert_eq!(first, all, "{}", node.name());
}

fn has_the_files_of_yesterday(ana: &Node, ben: &Node) {
    let files =
        |node: &Node| node.ask("its files", |client| async move { client.files("tea").await });
    let states = |node: &Node| {
        FILES.map(|(name, size)| {
            let all = files(node);
            let file = all.iter().find(|view| view.file.name == name).expect(name);
            assert_eq!(file.file.size, size as u64);
            file.state
        })
    };
    assert_eq!(states(ana), [FileStanding::Here; 2]);
    assert_eq!(states(ben), [FileStanding::Here, FileStanding::Offered]);
    let fetched = ben.cli(&["file", "get", "tea", FILES[0].0]).ok();
    assert!(fs::read(fetched.trim()).unwrap() == content(FILES[0].0, FILES[0].1));
}

/// What the program knew of its messages, its invites and its past.
fn has_the_rest_of_yesterday(ana: &Node, ben: &Node) {
    let history = ana.history("tea");
    let read = history.iter().find(|message| message.text == READ_BY_BEN).unwrap().id.clone();
    let delivery = ana.ask("delivery", |client| async move { client.delivery("tea", &read).await });
    assert_eq!(delivery.state, DeliveryState::Received, "{delivery:#?}");

    // The invite is over, and is looked at without harm.
    ana.cli(&["invite", "list", "tea"]).ok();

    for node in [ana, ben] {
        let audit = node.cli(&["audit", "export", "tea"]).ok();
        assert!(audit.lines().count() > 10 && audit.contains("eve"), "{audit}");
    }
}

/// What a fixture holds is there, and it goes on, so many days from now.
fn goes_on(fixture: &Fixture, days: u32) {
    let _alone = alone();
    let world = World::new();
    fixture.unpack(world.dir());
    let mut relay = relay(&world);
    relay.kill9();
    relay.set_ahead(days);
    relay.restart();
    let start =
        |name: &str| world.node(name).relay(&relay).arg(&format!("--clock-offset={days}d")).start();
    let [mut ana, mut ben] = ["ana", "ben"].map(start);
    has_all_of_yesterday(fixture, &ana);
    assert_eq!(ana.people("tea"), ["ana", "ben"]);
    if fixture.has_files() {
        has_the_files_of_yesterday(&ana, &ben);
        has_the_rest_of_yesterday(&ana, &ben);
    }

    // What waited is sealed now, by keys of today.
    ben.hears("tea", "written when nobody was there");
    let said = ana.send("tea", "good morning");
    ben.hears("tea", "good morning");
    ana.until_received(&said);
    ben.send("tea", "good morning to you");
    ana.hears("tea", "good morning to you");

    let carl = start("carl");
    carl.join(&ana.invite("tea"));
    for node in [&ana, &ben] {
        node.until_people("tea", &["ana", "ben", "carl"]);
    }
    carl.send("tea", "who was here before me?");
    ben.hears("tea", "who was here before me?");
    assert!(!carl.texts("tea").iter().any(|text| text.contains("yesterday")));

    ana.remove("tea", "carl");
    carl.until_out("tea", GroupState::Removed);
    ben.until_people("tea", &["ana", "ben"]);
    ben.send("tea", "the secret is kettle");
    ana.hears("tea", "the secret is kettle");
    assert!(!carl.texts("tea").iter().any(|text| text.contains("secret")));

    // What there was before there was an index is found, too.
    let said = fixture.history().iter().filter(|text| text.contains("yesterday")).count();
    let all = |it: &Said| it.out.lines().count() == said && it.err.is_empty();
    assert_eq!(ana.cli_until(&["search", "yesterd"], all).code, Some(0));

    // The audit log is whole; of format 1 it began today.
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
    has_all_of_yesterday(fixture, &ana);
    has_all_of_yesterday(fixture, &ben);
}

/// Fixtures grow old, and so do directories that somebody finds again.
const LATER: [u32; 2] = [1, 400];

#[test]
fn a_group_of_format_1_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(1), days);
    }
}

#[test]
fn a_group_of_format_10_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(10), days);
    }
}

#[test]
fn a_group_of_format_11_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(11), days);
    }
}

#[test]
fn a_group_of_format_12_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(12), days);
    }
}

#[test]
fn a_group_of_format_13_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(13), days);
    }
}

#[test]
fn a_group_of_format_14_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(14), days);
    }
}

#[test]
fn a_group_of_format_15_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(15), days);
    }
}

#[test]
fn a_group_of_format_16_goes_on_under_todays_program() {
    for days in LATER {
        goes_on(&Fixture::of(16), days);
    }
}

#[test]
fn todays_format_has_a_fixture() {
    let world = World::new();
    world.cli("ana", &["init", "--name", "ana"]).ok();
    let format = fs::read_to_string(world.dir().join("ana/version")).unwrap();
    let fixture = Fixture::of(format.trim().parse().unwrap());
    let makes = env::var("WATTLE_FIXTURE").is_ok_and(|value| value == "make");
    if makes && !fixture.archive.exists() {
        make(&fixture);
    }
    let name = fixture.archive.display();
    assert!(
        fixture.archive.exists(),
        "{name} is not there; it is made, once the format is what it will be, by: WATTLE_FIXTURE=make \
         cargo test -p tests --test stories todays_format_has_a_fixture"
    );
}

/// Makes a fixture with today's program.
fn make(fixture: &Fixture) {
    let _alone = alone();
    let world = World::new();
    let mut relay = relay(&world);
    let [mut ana, mut ben, eve] =
        ["ana", "ben", "eve"].map(|name| world.node(name).relay(&relay).start());
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    eve.join(&ana.invite("tea"));
    for node in [&ana, &ben, &eve] {
        node.until_people("tea", &["ana", "ben", "eve"]);
    }
    for text in &HISTORY[..9] {
        let says = |node: &&Node| text.starts_with(node.name());
        let (writers, readers): (Vec<&Node>, Vec<&Node>) =
            [&ana, &ben, &eve].into_iter().partition(says);
        writers[0].send("tea", text);
        for reader in readers {
            reader.hears("tea", text);
        }
    }
    for (name, bytes) in FILES {
        let path = world.dir().join(name);
        fs::write(&path, content(name, bytes)).unwrap();
        ana.cli(&["file", "send", "tea", path.to_str().unwrap()]).ok();
        ben.hears("tea", name);
    }
    ben.cli(&["file", "get", "tea", FILES[0].0]).ok();
    ana.remove("tea", "eve");
    eve.until_out("tea", GroupState::Removed);
    ben.until_people("tea", &["ana", "ben"]);
    let read = ana.send("tea", READ_BY_BEN);
    ben.hears("tea", READ_BY_BEN);
    ben.send("tea", HISTORY[10]);
    ana.hears("tea", HISTORY[10]);
    ana.until_received(&read);
    ana.invite_for("tea", CreateInvite { uses: Some(3), ..CreateInvite::default() });

    relay.kill9();
    ana.send("tea", HISTORY[11]);
    ben.hears("tea", HISTORY[11]);
    ben.stop();
    ana.until_group("tea", "to be alone", |view| {
        view.people.iter().all(|person| person.me || person.path == Way::None)
    });
    let last = ana.send("tea", HISTORY[12]);
    assert!(!ana.message(&last).delivery.is_some_and(|delivery| delivery.sealed));
    ana.stop();
    drop(eve);
    fixture.pack(world.dir());
}
