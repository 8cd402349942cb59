//! Members' nodes that reach each other without a relay, or beside one.

use protocol::relay_log::Cursor;

use super::World;
use crate::{
    api::types::{CreateInvite, Path, PortMap, What},
    net::{address, relay::RelayReport},
};

#[test]
fn two_nodes_without_a_relay_join_and_talk() {
    let mut world = World::new();
    world.pair(&[]);
    world.pass(1000);
    world.send("ada", "reading", "hello");
    world.send("bob", "reading", "good day");
    assert_eq!(world.texts("ada"), ["hello", "good day"]);
    assert_eq!(world.texts("bob"), ["hello", "good day"]);
    let now = world.now;
    let status = world.core("ada").status(now).unwrap();
    assert_eq!(status.paths[0].path, Path::Direct);
    assert!(world.stored().is_empty());
}

#[test]
fn three_nodes_without_a_relay_find_one_another() {
    let mut world = World::new();
    world.direct_node("ada", &[]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.direct_node(name, &[]);
        world.joined(name, &code);
        world.pass(1000);
    }
    world.stop("ada");
    world.settle();
    world.send("bob", "reading", "just us");
    world.pass(1000);
    assert_eq!(world.texts("carol"), ["just us"]);
    world.start("ada");
    world.pass(60_000);
    assert_eq!(world.texts("ada"), ["just us"]);
}

#[test]
fn a_group_that_is_taken_up_twice_within_a_second_is_in_touch_soon() {
    let mut world = World::new();
    world.pair(&[]);
    world.pass(60_000);
    for _ in 0..2 {
        let now = world.now;
        world.core("ada").on_clock_set_back(now);
        world.pass(400);
    }
    world.send("ada", "reading", "here again");
    world.pass(5_000);
    assert_eq!(world.texts("bob"), ["here again"]);
}

/// Bob has answered to a message of ada's that carol lacks and that nobody has who is there.
fn gap() -> World {
    let mut world = World::new();
    world.direct_node("ada", &[]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.direct_node(name, &[]);
        world.joined(name, &code);
        world.pass(60_000);
    }
    world.cut.extend([("ada", "carol"), ("bob", "carol")]);
    world.settle();
    for text in ["one", "two"] {
        world.send("ada", "reading", text);
        world.pass(5_000);
    }
    assert_eq!(world.texts("bob"), ["one", "two"]);
    world.stop("ada");
    let far = world.now.plus_ms(100 * 24 * 60 * 60 * 1000);
    world.core("bob").store.transaction(|tx| tx.trim_archive(far)).unwrap();
    world.send("bob", "reading", "indeed");
    world.cut.clear();
    world.pass(10_000);
    assert_eq!(world.texts("carol"), ["indeed"]);
    world
}

/// What is told of missing messages of ada's, with how many are, and who is asked.
fn lines(world: &mut World, name: &str) -> Vec<(&'static str, u64, Vec<String>, bool)> {
    let events = world.events(name).into_iter();
    let told = events.filter_map(|event| {
        let (from, told) = match event.what {
            What::Gap { from, missing, asked, everybody } => {
                let asked = asked.into_iter().map(|who| who.name).collect();
                (from, ("gap", missing, asked, everybody))
            }
            What::GapHealed { from, missing } => (from, ("healed", missing, Vec::new(), false)),
            What::GivenUp { from, missing } => (from, ("given up", missing, Vec::new(), false)),
            _ => return None,
        };
        assert_eq!(from.name, "ada");
        Some(told)
    });
    told.collect()
}

/// What is told of missing messages, where bob is asked for them.
fn gaps_told(world: &mut World, name: &str) -> Vec<(&'static str, u64)> {
    let told = lines(world, name).into_iter().map(|(what, missing, asked, everybody)| {
        let bob = if what == "gap" { vec!["bob"] } else { Vec::new() };
        assert_eq!((asked, everybody), (bob.into_iter().map(String::from).collect(), false));
        (what, missing)
    });
    told.collect()
}

/// How much of ada's is missing at carol's, was asked for in vain, and is said to exist by others alone.
fn doubtful(world: &mut World) -> (u64, u64, u64) {
    let verified = world.core("carol").verify("reading").unwrap();
    let [gap] = &verified.gaps[..] else { panic!("{:?}", verified.gaps) };
    (gap.missing, gap.given_up, gap.doubtful)
}

#[test]
fn what_is_missing_is_told_once_with_who_is_asked_and_once_when_it_has_come() {
    let mut world = gap();
    assert_eq!(gaps_told(&mut world, "carol"), [("gap", 2)]);
    world.stop("carol");
    world.start("carol");
    world.pass(10_000);
    assert_eq!(gaps_told(&mut world, "carol"), [("gap", 2)], "and not again after a start");
    world.start("ada");
    world.pass(60_000);
    assert_eq!(world.texts("carol"), ["one", "two", "indeed"], "each in its place");
    assert_eq!(gaps_told(&mut world, "carol"), [("gap", 2), ("healed", 0)]);
}

#[test]
fn what_a_burst_shows_to_be_missing_one_by_one_is_one_line_with_the_sum() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    world.joined("bob", &code);
    world.send("ada", "reading", "hello");
    world.pass(60_000);
    let since = world.lengths();
    world.relay_hides(&relay, true);
    for n in 0..6 {
        world.send("ada", "reading", &format!("word {n}"));
    }
    world.stop("ada");
    let key = address::relays([&relay[..]])[0].peer_id;
    let (log, entries) = since
        .iter()
        .map(|(log, old)| (*log, world.entries_of(log)[*old..].to_vec()))
        .max_by_key(|(_, new)| new.len())
        .unwrap();
    assert_eq!(entries.len(), 6);
    let seq = since[&log] as u64 + 6;
    for shown in entries.iter().skip(1).step_by(2) {
        let entries = vec![shown.clone()];
        let now = world.now;
        let report = RelayReport::Entries { log, entries, cursor: Cursor { generation: 1, seq } };
        world.core("bob").on_relay(&key, report, now).unwrap();
        world.pass(700);
    }
    world.pass(5_000);
    assert_eq!(world.texts("bob"), ["hello", "word 1", "word 3", "word 5"]);
    let gap = ("gap", 3, Vec::new(), true);
    assert_eq!(lines(&mut world, "bob"), std::slice::from_ref(&gap), "all members are asked");
    world.pass(2 * 60 * 60 * 1000);
    let vain = ("given up", 3, Vec::new(), false);
    assert_eq!(lines(&mut world, "bob"), [gap.clone(), vain.clone()]);
    world.relay_tells_late(&relay);
    world.pass(60_000);
    assert_eq!(world.texts("bob").len(), 7);
    let healed = ("healed", 0, Vec::new(), false);
    assert_eq!(lines(&mut world, "bob"), [gap, vain, healed]);
}

#[test]
fn what_nobody_has_is_told_and_taken_all_the_same_when_it_comes() {
    let mut world = gap();
    world.pass(2 * 60 * 60 * 1000);
    assert_eq!(gaps_told(&mut world, "carol"), [("gap", 2), ("given up", 2)]);
    world.start("ada");
    world.pass(60_000);
    assert_eq!(gaps_told(&mut world, "carol")[2..], [("healed", 0)]);
}

#[test]
fn what_was_asked_for_is_told_to_have_come_though_more_was_given_up_before() {
    let mut world = gap();
    world.pass(2 * 60 * 60 * 1000);
    assert_eq!(doubtful(&mut world), (2, 2, 2), "bob alone names them");
    let far = world.now.plus_ms(100 * 24 * 60 * 60 * 1000);
    let forget = |world: &mut World, name| {
        world.core(name).store.transaction(|tx| tx.trim_archive(far)).unwrap();
    };
    world.cut.extend([("ada", "carol"), ("bob", "carol")]);
    world.settle();
    world.start("ada");
    world.pass(60_000);
    forget(&mut world, "ada");
    world.cut.clear();
    world.send("ada", "reading", "three");
    world.pass(2 * 60 * 60 * 1000);
    let told = gaps_told(&mut world, "carol");
    assert_eq!(told, [("gap", 2), ("given up", 2), ("given up", 2)], "asked for again, in vain");
    assert_eq!(doubtful(&mut world), (2, 2, 0), "their writer's own word");
    world.cut.extend([("ada", "carol"), ("bob", "carol")]);
    world.settle();
    world.send("ada", "reading", "four");
    world.pass(5_000);
    world.stop("ada");
    forget(&mut world, "bob");
    world.send("bob", "reading", "so it is");
    world.cut.clear();
    world.pass(10_000);
    assert_eq!(gaps_told(&mut world, "carol")[3..], [("gap", 1)]);
    world.start("ada");
    world.pass(60_000);
    assert!(world.texts("carol").contains(&"four".into()));
    assert_eq!(gaps_told(&mut world, "carol")[4..], [("healed", 2)], "and two are not");
    assert_eq!(doubtful(&mut world), (2, 2, 0));
    world.stop("carol");
    world.start("carol");
    assert_eq!(doubtful(&mut world), (2, 2, 0));
}

#[test]
fn what_still_waited_for_the_relay_when_somebody_came_back_alarms_nobody() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.pair(&[&relay]);
    world.pass(1000);
    world.relay_stands(&relay, false);
    world.settle();
    let now = world.now;
    world.core("bob").leave("reading", now).unwrap();
    world.settle();
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.pass(1000);
    world.relay_stands(&relay, true);
    world.pass(60_000);
    world.send("bob", "reading", "here again");
    assert_eq!(world.texts("ada"), ["here again"]);
    let told = world.events("bob").into_iter();
    let told: Vec<_> = told.filter(|event| matches!(event.what, What::Alarm { .. })).collect();
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn when_the_direct_path_is_cut_the_relay_carries_on() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.pair(&[&relay]);
    world.pass(1000);
    world.send("ada", "reading", "direct");
    let now = world.now;
    assert_eq!(world.core("ada").status(now).unwrap().paths[0].path, Path::Direct);
    world.cut.insert(("ada", "bob"));
    world.settle();
    world.send("ada", "reading", "by relay");
    let status = world.core("ada").status(now).unwrap();
    assert_eq!(status.paths[0].path, Path::Relay);
    assert!(!status.paths[0].reason.is_empty());
    world.cut.clear();
    world.relay_stands(&relay, false);
    world.settle();
    world.send("bob", "reading", "direct again");
    assert_eq!(world.texts("bob"), ["direct", "by relay", "direct again"]);
    assert_eq!(world.texts("ada"), ["direct", "by relay", "direct again"]);
}

#[test]
fn a_node_that_takes_no_direct_connections_says_so() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    let now = world.now;
    let path = world.core("ada").status(now).unwrap().paths.remove(0);
    assert_eq!((path.path, path.member.name.as_str()), (Path::Relay, "bob"));
    assert!(path.reason.contains("turned off"), "{}", path.reason);
}

#[test]
fn strangers_are_let_in_only_while_an_invite_may_be_redeemed() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.direct_node("ada", &[&relay]);
    world.settle();
    world.create("ada", "reading");
    assert!(!world.is_open("ada"));
    let code = world.invite("ada", "reading");
    assert!(world.is_open("ada"));
    world.direct_node("bob", &[]);
    world.joined("bob", &code);
    assert!(!world.is_open("ada"), "it is used up");
    let brief = CreateInvite { expires_in: Some(60), ..CreateInvite::default() };
    world.invite_with("ada", "reading", &brief);
    assert!(world.is_open("ada"));
    world.pass(2 * 60 * 60 * 1000);
    assert!(!world.is_open("ada"), "it has expired");
}

#[test]
fn the_certificate_of_a_channel_is_in_the_audit_log_once_for_each_key() {
    let mut world = World::new();
    world.pair(&[]);
    for _ in 0..2 {
        world.pass(120_000);
        world.cut.insert(("ada", "bob"));
        world.settle();
        world.cut.clear();
        world.pass(120_000);
    }
    let page = world.core("ada").audit("reading", Some(0), 100).unwrap();
    let events: Vec<&str> = page.entries.iter().map(|entry| entry.event.as_str()).collect();
    let count = |event: &str| events.iter().filter(|it| **it == event).count();
    assert!(count("handshake") > 1, "{events:?}");
    assert_eq!(count("certificate"), 1, "{events:?}");
    assert!(world.core("ada").verify_audit("reading").unwrap().holds);
}

#[test]
fn a_member_that_replaces_its_keys_without_end_fills_one_entry_an_hour_of_the_audit_log() {
    let mut world = World::new();
    world.pair(&[]);
    world.pass(60_000);
    let bob = world.member("bob");
    let rekeys = |world: &mut World| {
        let page = world.core("ada").audit("reading", Some(0), 500).unwrap();
        let told = page.entries.into_iter().filter(|entry| entry.event == "rekey");
        told.map(|entry| entry.text).collect::<Vec<_>>()
    };
    for _ in 0..50 {
        let now = world.now;
        world.core("ada").on_rekeyed(bob, 2, now).unwrap();
        world.pass(60_000);
    }
    let told = rekeys(&mut world);
    assert!(told.len() == 1 && told[0].ends_with(", 2 times"), "{told:?}");
    world.pass(60 * 60 * 1000);
    let now = world.now;
    world.core("ada").on_rekeyed(bob, 1, now).unwrap();
    let told = rekeys(&mut world);
    assert!(told.len() == 2 && told[1].ends_with(", 99 times"), "the sum: {told:?}");
    let stranger = protocol::ids::MemberId([9; 32]);
    world.core("ada").on_rekeyed(stranger, 7, now).unwrap();
    assert_eq!(rekeys(&mut world).len(), 2, "of members alone");
    assert!(world.core("ada").verify_audit("reading").unwrap().holds);
}

#[test]
fn a_port_of_the_routers_is_told_to_members_and_for_as_long_as_it_stands() {
    let mut world = World::new();
    world.pair(&[]);
    world.pass(60_000);
    let now = world.now;
    let own = world.core("ada").status(now).unwrap().listen;
    let outside = own[0].replace("198.51.100.1", "11.78.0.2");
    assert_ne!(outside, own[0]);
    let knows = |world: &mut World, address: &str| {
        let address = address::to_bytes(address).unwrap();
        world.core("bob").book().iter().any(|entry| entry.addresses.contains(&address))
    };
    let by = "PCP".into();
    let map = PortMap { by, addresses: vec![outside.clone()], problem: String::new() };
    let all = vec![outside.clone(), own[0].clone()];
    world.core("ada").on_port_map(map, all.clone(), now).unwrap();
    world.pass(1_000);
    assert!(knows(&mut world, &outside) && knows(&mut world, &own[0]));
    assert_eq!(world.core("ada").status(now).unwrap().listen, all);
    let map = PortMap { problem: "the router refuses".into(), ..PortMap::default() };
    let now = world.now;
    world.core("ada").on_port_map(map, own.clone(), now).unwrap();
    world.pass(1_000);
    assert!(!knows(&mut world, &outside) && knows(&mut world, &own[0]));
}
