//! What relays say of a machine, and who hears of it.

use std::collections::BTreeMap;

use super::World;
use crate::{
    api::types::{CreateGroup, Nat, Outside},
    net::{
        address,
        relay::{RelayKey, RelayPeer},
    },
};

const OUTER: &str = "/p2p/12D3KooWKRyzVWW6ChFjQjK4miCty85Niy48tpPV95XdKu1BcvMA";

/// One relay says this of ada.
fn seen(relay: &str, ip: &str) -> (RelayKey, (Outside, Option<String>)) {
    let met = format!("/ip4/{ip}/udp/7/quic-v1{OUTER}");
    let outside = Outside { address: ip.into(), nat: Nat::KeepsPorts };
    (relay.parse::<RelayPeer>().unwrap().peer_id, (outside, Some(met)))
}

fn says(world: &mut World, all: &[(RelayKey, (Outside, Option<String>))]) {
    says_over_both(world, all, &[]);
}

fn says_over_both(
    world: &mut World,
    all: &[(RelayKey, (Outside, Option<String>))],
    six: &[String],
) {
    world.pass(1_000);
    let now = world.now;
    let all: BTreeMap<_, _> = all.iter().cloned().collect();
    world.core("ada").on_outside(Some(OUTER.into()), all, six.to_vec(), now).unwrap();
    world.pass(1_000);
}

/// Where `name` has it that ada is, but for where she listens.
fn told(world: &mut World, name: &'static str) -> Vec<String> {
    let ada = world.member("ada");
    let book = world.core(name).book();
    let entry = book.iter().find(|entry| entry.member == ada).unwrap();
    let texts = entry.addresses.iter().filter_map(|bytes| address::to_text(bytes));
    texts.filter(|text| text.ends_with(OUTER)).collect()
}

/// Ada is in one group with bob, at the first relay, and in another with carol, at the second.
fn two_groups() -> (World, String, String) {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    for name in ["ada", "bob", "carol"] {
        world.direct_node(name, &[&one, &two]);
    }
    for (group, relay, member) in [("reading", &one, "bob"), ("tea", &two, "carol")] {
        let now = world.now;
        let relays = vec![relay.clone()];
        let asked = CreateGroup { relays, ..CreateGroup::named(group) };
        world.core("ada").create_group(&asked, now).unwrap();
        world.settle();
        let code = world.invite("ada", group);
        world.joined(member, &code);
    }
    world.pass(5_000);
    (world, one, two)
}

#[test]
fn what_a_relay_says_is_told_to_the_groups_that_use_it_alone() {
    let (mut world, one, two) = two_groups();
    says(&mut world, &[]);
    for name in ["bob", "carol"] {
        assert_eq!(told(&mut world, name), [OUTER], "her outer swarm is let in in any case");
    }
    let (first, second) = (seen(&one, "198.51.100.77"), seen(&two, "203.0.113.9"));
    let at = |said: &(RelayKey, (Outside, Option<String>))| said.1.1.clone().unwrap();
    says(&mut world, std::slice::from_ref(&first));
    assert_eq!(told(&mut world, "bob"), [at(&first)]);
    assert_eq!(told(&mut world, "carol"), [OUTER]);
    says(&mut world, &[first.clone(), second.clone()]);
    assert_eq!(told(&mut world, "bob"), [at(&first)]);
    assert_eq!(told(&mut world, "carol"), [at(&second)]);
    // The first one does not know any more, or is left.
    let before = world.stored().len();
    says(&mut world, std::slice::from_ref(&second));
    assert_eq!(told(&mut world, "bob"), [OUTER]);
    assert_eq!(told(&mut world, "carol"), [at(&second)]);
    assert_eq!(world.stored().len(), before + 1, "whom it does not concern hears nothing");
    let now = world.now;
    let status = world.core("ada").status(now).unwrap();
    assert_eq!(status.outside, [second.1.0]);
    // The system gives no port for another outer swarm: whose time is over nobody is sent to.
    world.core("ada").on_outside(None, BTreeMap::new(), Vec::new(), now).unwrap();
    world.pass(1_000);
    for name in ["bob", "carol"] {
        assert!(told(&mut world, name).is_empty(), "{name}");
    }
    let ipv6 = world.core("ada").ipv6_status().unwrap();
    assert!(ipv6.problem.contains("no port"), "{ipv6:?}");
}

#[test]
fn before_the_first_look_at_it_nothing_is_said_of_ipv6() {
    let (mut world, ..) = two_groups();
    assert_eq!(world.core("ada").ipv6_status(), None);
}

#[test]
fn where_a_machine_is_over_ipv6_all_groups_hear_whatever_relays_say() {
    let (mut world, one, _) = two_groups();
    let six = [format!("/ip6/2a00:79::7/udp/9/quic-v1{OUTER}")];
    says_over_both(&mut world, &[], &six);
    for name in ["bob", "carol"] {
        assert_eq!(told(&mut world, name), six, "the name is in it");
    }
    let first = seen(&one, "198.51.100.77");
    says_over_both(&mut world, std::slice::from_ref(&first), &six);
    assert_eq!(told(&mut world, "bob"), [six[0].clone(), first.1.1.clone().unwrap()]);
    assert_eq!(told(&mut world, "carol"), six);
    let now = world.now;
    let status = world.core("ada").status(now).unwrap();
    let ipv6 = status.ipv6.unwrap();
    assert_eq!((&ipv6.addresses[..], ipv6.problem.as_str()), (&["2a00:79::7".to_owned()][..], ""));
    says(&mut world, &[first]);
    assert_eq!(told(&mut world, "carol"), [OUTER]);
    let now = world.now;
    let ipv6 = world.core("ada").status(now).unwrap().ipv6.unwrap();
    assert!(ipv6.addresses.is_empty() && ipv6.problem.contains("no address of the internet"));
}

#[test]
fn what_a_member_told_last_comes_first_whichever_group_heard_it() {
    for silent in 0..2 {
        let mut world = World::new();
        let relays = [world.relay(1), world.relay(2)];
        let next = format!("/p2p/{}", world.relay(9).rsplit('/').next().unwrap());
        for name in ["ada", "bob"] {
            world.direct_node(name, &[&relays[0], &relays[1]]);
        }
        world.cut.insert(("ada", "bob"));
        for (group, relay) in ["reading", "tea"].into_iter().zip(&relays) {
            let now = world.now;
            let asked = CreateGroup { relays: vec![relay.clone()], ..CreateGroup::named(group) };
            world.core("ada").create_group(&asked, now).unwrap();
            world.settle();
            let code = world.invite("ada", group);
            world.joined("bob", &code);
        }
        world.pass(5_000);
        says(&mut world, &[]);
        // One of the groups does not hear of the next day's name.
        world.relay_stands(&relays[silent], false);
        world.pass(1_000);
        let now = world.now;
        world.core("ada").on_outside(Some(next.clone()), BTreeMap::new(), Vec::new(), now).unwrap();
        world.pass(5_000);
        let ada = world.member("ada");
        let book = world.core("bob").book();
        let entry = book.iter().find(|entry| entry.member == ada).unwrap();
        let texts = entry.addresses.iter().filter_map(|bytes| address::to_text(bytes));
        let names: Vec<String> = texts.filter(|text| text.starts_with("/p2p/")).collect();
        assert_eq!(names, [next.as_str(), OUTER], "{silent}");
    }
}
