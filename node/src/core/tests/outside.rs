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
    world.pass(1_000);
    let now = world.now;
    let all: BTreeMap<_, _> = all.iter().cloned().collect();
    world.core("ada").on_outside(OUTER.into(), all, now).unwrap();
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
}
