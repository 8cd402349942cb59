//! A group that moves to other relays: who was away follows, and what was on its way is read.

use protocol::ids::Timestamp;

use super::World;
use crate::{
    api::conduct::SetPolicy,
    store::{Store, Unlock},
};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// Has a group use this relay alone.
fn moves_to(world: &mut World, name: &str, relay: &str) {
    let now = world.now;
    moves_at(world, name, relay, now);
}

/// Has it do so with its clock at that time.
fn moves_at(world: &mut World, name: &str, relay: &str, now: Timestamp) {
    let change = SetPolicy { relays: Some(vec![relay.into()]), ..SetPolicy::default() };
    world.core(name).set_policy("reading", &change, now).unwrap();
    world.settle();
}

/// How many relays a node uses.
fn relays(world: &mut World, name: &str) -> usize {
    let now = world.now;
    world.core(name).status(now).unwrap().relays.len()
}

#[test]
fn a_group_moves_to_another_relay_and_who_was_away_follows_though_the_first_ends_later() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.node(name, &[]);
        world.joined(name, &code);
    }
    let code = world.invite("ada", "reading");
    world.send("ada", "reading", "at the first");
    world.stop("carol");
    moves_to(&mut world, "ada", &two);
    world.pass(MINUTE_MS);
    world.send("bob", "reading", "at the second");
    assert_eq!(world.texts("ada"), ["at the first", "at the second"]);
    world.start("carol");
    world.pass(MINUTE_MS);
    world.node("dave", &[]);
    world.joined("dave", &code);
    world.relay_stands(&one, false);
    world.settle();
    world.send("carol", "reading", "without the first");
    world.pass(MINUTE_MS);
    for name in ["ada", "bob", "carol"] {
        let expected = ["at the first", "at the second", "without the first"];
        assert_eq!(world.texts(name), expected, "{name}");
    }
    assert_eq!(relays(&mut world, "bob"), 2, "read on");
    assert_eq!(relays(&mut world, "dave"), 1, "what is said there is not for him");
    world.stop("bob");
    world.start("bob");
    assert_eq!(relays(&mut world, "bob"), 2, "after a start, too");
    world.pass(36 * DAY_MS);
    assert_eq!(relays(&mut world, "bob"), 1, "nobody can be there any more");
}

#[test]
fn what_somebody_wrote_to_the_relay_that_was_left_is_read() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    world.joined("bob", &code);
    // Sealed and on its way when the group moves.
    world.dies_after("bob", 0);
    world.send("bob", "reading", "to the first");
    assert!(world.is_dead("bob"));
    moves_to(&mut world, "ada", &two);
    world.start("bob");
    world.pass(MINUTE_MS);
    assert_eq!(world.texts("ada"), ["to the first"]);
    world.send("bob", "reading", "to the second");
    world.pass(MINUTE_MS);
    assert_eq!(world.texts("ada"), ["to the first", "to the second"]);
}

#[test]
fn a_relay_that_was_left_is_read_as_long_whatever_its_makers_clock_said() {
    let of_long_ago = |now: Timestamp| Timestamp(now.0 - 40 * DAY_MS);
    let of_far_ahead = |now: Timestamp| now.plus_ms(100 * 365 * DAY_MS);
    for clock in [of_long_ago, of_far_ahead] {
        let mut world = World::new();
        let (one, two) = (world.relay(1), world.relay(2));
        world.node("ada", &[&one]);
        world.create("ada", "reading");
        let code = world.invite("ada", "reading");
        world.node("bob", &[]);
        world.joined("bob", &code);
        let at = clock(world.now);
        moves_at(&mut world, "ada", &two, at);
        world.pass(MINUTE_MS);
        assert_eq!(relays(&mut world, "bob"), 2);
        world.pass(36 * DAY_MS);
        assert_eq!(relays(&mut world, "bob"), 1);
    }
}

#[test]
fn of_two_moves_at_once_both_relays_are_read_whichever_holds() {
    let mut world = World::new();
    let (one, two, three) = (world.relay(1), world.relay(2), world.relay(3));
    world.node("ada", &[&one]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.node(name, &[]);
        world.joined(name, &code);
    }
    let now = world.now;
    world.core("ada").promote("reading", "bob", now).unwrap();
    world.pass(MINUTE_MS);
    world.relay_stands(&one, false);
    world.settle();
    for (name, relay) in [("ada", &two), ("bob", &three)] {
        moves_to(&mut world, name, relay);
        world.pass(MINUTE_MS);
        world.send(name, "reading", &format!("of {name} alone"));
        world.pass(MINUTE_MS);
    }
    world.relay_stands(&one, true);
    world.pass(5 * MINUTE_MS);
    for name in ["ada", "bob", "carol"] {
        assert_eq!(relays(&mut world, name), 3, "{name}");
        assert_eq!(world.texts(name), ["of ada alone", "of bob alone"], "{name}");
    }
    // The one that does not hold is left like the first.
    world.pass(36 * DAY_MS);
    assert_eq!(relays(&mut world, "carol"), 1);
}

#[test]
fn a_relay_that_is_named_again_is_read_again_though_it_was_left_long_ago() {
    let mut world = World::new();
    let (one, two, three) = (world.relay(1), world.relay(2), world.relay(3));
    world.node("ada", &[&two]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.node(name, &[]);
        world.joined(name, &code);
    }
    let now = world.now;
    world.core("ada").promote("reading", "bob", now).unwrap();
    moves_to(&mut world, "ada", &one);
    world.pass(40 * DAY_MS);
    assert_eq!(relays(&mut world, "carol"), 1);
    // Two moves at once, and bob's holds: who hears of that first has never seen ada's hold.
    world.relay_stands(&one, false);
    world.settle();
    for (name, relay) in [("ada", &two), ("bob", &three)] {
        moves_to(&mut world, name, relay);
        world.pass(MINUTE_MS);
        world.send(name, "reading", &format!("of {name} alone"));
        world.pass(MINUTE_MS);
    }
    world.relay_stands(&one, true);
    world.pass(5 * MINUTE_MS);
    for name in ["ada", "bob", "carol"] {
        assert_eq!(relays(&mut world, name), 3, "{name}");
        assert_eq!(world.texts(name), ["of ada alone", "of bob alone"], "{name}");
    }
}

#[test]
fn what_is_not_known_of_relays_any_more_is_read_by_those_for_whom_it_is() {
    let mut world = World::new();
    let (one, two, three) = (world.relay(1), world.relay(2), world.relay(3));
    world.node("ada", &[&one]);
    world.create("ada", "reading");
    moves_to(&mut world, "ada", &two);
    world.pass(MINUTE_MS);
    let code = world.invite("ada", "reading");
    world.node("dave", &[]);
    world.joined("dave", &code);
    moves_to(&mut world, "ada", &three);
    world.pass(MINUTE_MS);
    for (name, expected) in [("ada", 3), ("dave", 2)] {
        assert_eq!(relays(&mut world, name), expected, "{name}");
        // As a backup has it, and a database of before.
        world.stop(name);
        let mut store = Store::open(world.dir(name), &Unlock::KeyFile).unwrap();
        let forgotten = store.transaction(|tx| {
            let group = tx.groups()?[0];
            tx.drop_former(group, [&one, &two].map(String::as_str))
        });
        forgotten.unwrap();
        drop(store);
        world.start(name);
        world.pass(MINUTE_MS);
        assert_eq!(relays(&mut world, name), expected, "{name}, restored");
    }
}

#[test]
fn what_waits_for_a_relay_goes_to_another_that_is_named_before_the_first_is_left() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.direct_node("ada", &[&one]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.direct_node("bob", &[]);
    world.joined("bob", &code);
    let code = world.invite("ada", "reading");
    world.node("carol", &[]);
    world.joined("carol", &code);
    world.pass(MINUTE_MS);
    world.relay_is_out_of_reach(&one, "bob");
    world.settle();
    world.send("bob", "reading", "while it was gone");
    let is_stored = |world: &mut World| {
        let sent = world.history("bob").remove(0);
        sent.delivery.is_some_and(|it| it.stored)
    };
    assert!(!is_stored(&mut world));
    // In two steps; and before anybody else gives it there.
    let now = world.now;
    let both = SetPolicy { relays: Some(vec![one, two.clone()]), ..SetPolicy::default() };
    world.core("ada").set_policy("reading", &both, now).unwrap();
    world.settle();
    moves_to(&mut world, "ada", &two);
    assert!(is_stored(&mut world), "at the second relay");
    assert_eq!(world.texts("carol"), ["while it was gone"]);
}

#[test]
fn what_waited_for_the_relay_that_was_left_goes_to_the_new_one() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.pair(&[&one]);
    let code = world.invite("ada", "reading");
    world.node("carol", &[]);
    world.joined("carol", &code);
    world.pass(MINUTE_MS);
    // Sealed, and then the relay is gone.
    world.dies_after("bob", 0);
    world.send("bob", "reading", "while it was gone");
    assert!(world.is_dead("bob"));
    moves_to(&mut world, "ada", &two);
    world.pass(MINUTE_MS);
    world.relay_stands(&one, false);
    world.settle();
    // From ada it hears where the group is now; nobody names what it wrote.
    world.stop("ada");
    world.start("bob");
    world.start("ada");
    world.settle();
    let sent = world.history("bob").remove(0);
    assert!(sent.delivery.is_some_and(|it| it.stored), "at the second relay");
    assert_eq!(world.texts("carol"), ["while it was gone"]);
}
