//! One of a group's two relays withholds a message: everybody has it by the other one, and everybody names the
//! relay that said that it keeps it. The other one is killed and repaired again and again, and is named by nobody.
//! Where there is one relay alone, members who have the message directly name it.

use std::{fs, time::Duration};

use harness::{Node, Relay, World, files_below};
use node::api::types::{Path, What, Withheld};

/// It is given two minutes to tell what another one has told; then it is asked, and asked again.
const LONG: Duration = Duration::from_mins(10);

#[test]
fn a_relay_that_withholds_is_named_and_one_that_was_killed_and_repaired_is_not() {
    let world = World::new();
    let mut honest = world.relay_named("honest");
    let liar = world.liar();
    let node =
        |name: &str| world.node(name).relay(&honest).relay_at(liar.address()).no_direct().start();
    let nodes = ["ana", "ben", "cat"].map(node);
    let [ana, ben, cat] = &nodes;
    ana.create_group("tea");
    for other in [ben, cat] {
        other.join(&ana.invite("tea"));
    }
    nodes.iter().for_each(|node| node.until_people("tea", &["ana", "ben", "cat"]));

    let (mut expected, mut lost) = (Vec::new(), 0);
    for round in 0..3 {
        let ids: Vec<String> = (0..10)
            .map(|n| {
                expected.push(format!("load {round} {n}"));
                ana.send("tea", expected.last().unwrap())
            })
            .collect();
        ana.until_stored(&ids[round]);
        honest.kill9();
        damage(&honest);
        let found = &honest.repair()["store"]["damage"];
        let count = |what: &str| found[what].as_u64().expect("a count");
        lost += count("missing").max(count("entries")).max(count("lost_commits"));
        honest.restart();
        ids.iter().for_each(|id| ana.until_received(id));
    }

    assert!(lost > 0, "the honest one has lost nothing, so nobody could blame it");
    liar.hides(true);
    let withheld = ana.send("tea", "the kettle is on");
    ana.until_received(&withheld);
    ana.until_status("both relays to keep it", |status| {
        status.relays.iter().all(|relay| relay.waiting == 0)
    });
    liar.hides(false);
    assert!(liar.hidden() > 0);
    ana.send("tea", "come");
    expected.extend(["the kettle is on".into(), "come".into()]);
    for other in [ben, cat] {
        other.hears("tea", "come");
        assert_eq!(other.texts("tea"), expected, "{} has all by the other relay", other.name());
    }

    for node in &nodes {
        node.until_status_within(LONG, "to name the relay", |status| {
            let of = |relay: &str| {
                let mut relays = status.relays.iter();
                let relay = relays.find(|it| it.addresses.iter().any(|address| address == relay));
                relay.expect("a relay of the group").withheld
            };
            assert_eq!(of(honest.address()), 0, "{} names who withholds nothing", node.name());
            of(liar.address()) == 1
        });
    }
    for node in &nodes {
        let told = told(node);
        let [of] = &told[..] else { panic!("{} names one, once: {told:?}", node.name()) };
        assert_eq!((of.relay.as_str(), of.messages, &of.shown_by), (liar.address(), 1, &None));
        assert_eq!((of.from.name.as_str(), of.mine), ("ana", node.name() == "ana"));

        let verified = node.cli(&["verify", "tea"]);
        assert_eq!(verified.code, Some(10), "{verified:?}");
        let words = match of.mine {
            true => "said that it keeps 1 message of yours and does not tell it",
            false => {
                "said that it keeps 1 message from ana and does not tell it (another relay told it)"
            }
        };
        let line = format!("the relay {} {words}", liar.address());
        assert!(verified.out.contains(&line), "{line}: {verified:?}");
        let status = node.cli(&["status"]).ok();
        let words = "does not tell 1 message that it said it keeps";
        let lines: Vec<&str> = status.lines().filter(|line| line.contains(words)).collect();
        assert!(matches!(&lines[..], [line] if line.contains(liar.address())), "{status}");
        let doctor = node.cli(&["doctor"]).out;
        assert!(doctor.contains("1 message that a relay said it keeps is not told"), "{doctor}");
    }
}

#[test]
fn what_a_relay_withholds_and_members_gave_directly_is_named_by_each_who_gives_it_to_the_relay_anew()
 {
    let world = World::new();
    let liar = world.liar();
    let node = |name: &str| world.node(name).relay_at(liar.address()).start();
    let [mut ana, ben, mut cat] = ["ana", "ben", "cat"].map(node);
    ana.create_group("tea");
    for other in [&ben, &cat] {
        other.join(&ana.invite("tea"));
    }
    for node in [&ana, &ben, &cat] {
        node.until_people("tea", &["ana", "ben", "cat"]);
        node.until_status("a direct path to each of the others", |status| {
            status.paths.iter().filter(|path| path.path == Path::Direct).count() == 2
        });
    }
    ana.send("tea", "hello");
    ben.hears("tea", "hello");
    cat.hears("tea", "hello");

    cat.stop();
    liar.hides(true);
    ana.send("tea", "the kettle is on");
    ben.hears("tea", "the kettle is on");
    ana.until_status("the relay to keep it", |status| status.relays[0].waiting == 0);
    assert!(liar.hidden() > 0);
    liar.hides(false);
    ana.stop();
    cat.start_again();
    cat.hears("tea", "the kettle is on");
    ben.send("tea", "come");
    cat.hears("tea", "come");

    for (node, by, way) in [(&ben, "ana", "it came directly"), (&cat, "ben", "ben showed it")] {
        node.until_status_within(LONG, "to name the relay", |status| {
            status.relays[0].withheld == 1
        });
        let told = told(node);
        let [of] = &told[..] else { panic!("{} names it once: {told:?}", node.name()) };
        assert_eq!((of.relay.as_str(), of.messages, of.mine), (liar.address(), 1, false));
        assert_eq!(of.from.name, "ana");
        assert_eq!(of.shown_by.as_ref().map(|by| by.name.as_str()), Some(by));
        let verified = node.cli(&["verify", "tea"]);
        let line = format!(
            "the relay {} said that it keeps 1 message from ana and does not tell it ({way})",
            liar.address()
        );
        assert!(verified.code == Some(10) && verified.out.contains(&line), "{line}: {verified:?}");
    }
}

/// What relays it was told to withhold.
fn told(node: &Node) -> Vec<Withheld> {
    let events = node.events().into_iter();
    let told = events.filter_map(|event| match event.what {
        What::Withheld { withheld } => Some(withheld),
        _ => None,
    });
    told.collect()
}

/// Flips a bit in the midst of what its store has written last.
fn damage(relay: &Relay) {
    let files = files_below(&relay.data_dir().join("store"));
    let journals = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "jnl"));
    let journal = journals.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 1;
    fs::write(journal, bytes).unwrap();
}
