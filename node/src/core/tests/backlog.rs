//! What was said while a node was away: told how far it is read, and when it is.

use protocol::relay_log::Refusal;

use super::World;
use crate::{
    api::types::{Backlog, What},
    net::relay::RelayReport,
};

const MINUTE_MS: u64 = 60_000;

fn told(world: &mut World, name: &str) -> Vec<Backlog> {
    let events = world.events(name).into_iter();
    let told = events.filter_map(|event| match event.what {
        What::CatchingUp { backlog } => Some(backlog),
        _ => None,
    });
    told.collect()
}

/// Ada and carol by a relay; carol takes direct connections, too.
fn two() -> World {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.direct_node("carol", &[]);
    world.joined("carol", &code);
    world.pass(MINUTE_MS);
    world
}

fn say(world: &mut World, messages: usize) {
    for n in 0..messages {
        world.send("ada", "reading", &format!("word {n}"));
        world.pass(1_000);
    }
}

/// Ada has written so much while carol was away.
fn away(messages: usize) -> World {
    let mut world = two();
    world.stop("carol");
    say(&mut world, messages);
    world
}

#[test]
fn a_neighbour_that_has_little_does_not_end_what_a_relay_is_telling() {
    let mut world = two();
    let code = world.invite("ada", "reading");
    world.direct_node("bob", &[]);
    world.joined("bob", &code);
    world.pass(MINUTE_MS);
    world.stop("carol");
    world.stop("bob");
    let before = world.lengths().into_values().max().unwrap();
    say(&mut world, 100);
    world.stall(Some(before));
    world.start("bob");
    world.start("carol");
    world.pass(MINUTE_MS);
    let now = world.now;
    let ready = world.core("carol").groups.values().all(|group| group.ready(now).is_ok());
    assert!(ready, "bob has told all that he has");
    world.stall(Some(before + 70));
    world.pass(MINUTE_MS);
    world.stall(None);
    world.pass(MINUTE_MS);
    assert_eq!(world.texts("carol").len(), 100);
    let told = told(&mut world, "carol");
    let all = told.iter().filter(|it| it.percent == 100).map(|it| it.messages);
    assert_eq!(all.collect::<Vec<_>>(), [100], "{told:?}");
    assert!(told[0].percent < 100);
}

#[test]
fn what_a_relay_does_not_tell_for_now_is_not_read() {
    let mut world = two();
    let code = world.invite("ada", "reading");
    world.direct_node("bob", &[]);
    world.joined("bob", &code);
    world.pass(MINUTE_MS);
    world.stop("carol");
    world.stop("bob");
    let before = world.lengths().into_values().max().unwrap();
    say(&mut world, 100);
    world.stall(Some(before + 70));
    world.start("bob");
    world.start("carol");
    world.pass(MINUTE_MS);
    let now = world.now;
    let ready = world.core("carol").groups.values().all(|group| group.ready(now).is_ok());
    assert!(ready, "bob has told all that he has");
    let log = world.lengths().into_iter().max_by_key(|(_, length)| *length).unwrap().0;
    let refused = RelayReport::LogRefused { log, reason: Refusal::TooManyLogs };
    let (relay, _) = world.core("carol").planned().remove(0);
    world.core("carol").on_relay(&relay, refused, now).unwrap();
    world.pass(MINUTE_MS);
    let read = world.texts("carol").len();
    assert!((50..100).contains(&read), "{read}");
    assert!(told(&mut world, "carol").iter().all(|it| it.percent < 100 && !it.ended));
    world.stall(None);
    world.pass(MINUTE_MS);
    let told = told(&mut world, "carol");
    let all = told.iter().filter(|it| it.percent == 100).map(|it| it.messages);
    assert_eq!(all.collect::<Vec<_>>(), [100], "{told:?}");
}

#[test]
fn who_is_removed_meanwhile_has_not_read_all() {
    let mut world = away(100);
    world.remove("ada", "reading", "carol");
    world.pass(MINUTE_MS);
    world.start("carol");
    world.pass(MINUTE_MS);
    let told = told(&mut world, "carol");
    assert!(told.len() >= 2 && told.iter().all(|it| it.percent < 100), "{told:?}");
    assert_eq!(told.iter().filter(|it| it.ended).count(), 1);
    assert!(told.last().is_some_and(|it| it.ended));
}

#[test]
fn what_stands_still_is_told_no_more_until_it_goes_on() {
    let mut world = away(150);
    world.stall(Some(90));
    world.start("carol");
    world.pass(MINUTE_MS);
    let before = told(&mut world, "carol").len();
    assert!(before > 0);
    for n in 0..20 {
        world.send("ada", "reading", &format!("more {n}"));
        world.pass(MINUTE_MS);
        // Other groups have it do something all the time.
        let now = world.now;
        world.core("carol").on_deadline(now).unwrap();
    }
    assert_eq!(told(&mut world, "carol").len(), before, "nothing more was read");
    world.pass(60 * MINUTE_MS);
    assert!(told(&mut world, "carol").last().is_some_and(|it| it.ended && it.percent < 100));
    let status = world.core("carol").groups(Default::default()).unwrap();
    assert!(status.iter().all(|group| group.backlog.is_none()));
    world.stall(None);
    world.pass(MINUTE_MS);
    let told = told(&mut world, "carol");
    assert!(told.last().is_some_and(|it| it.percent == 100 && it.messages > 50), "{told:?}");
}

#[test]
fn no_clock_of_a_writers_makes_the_way_longer_than_this_node_is_a_member() {
    let mut world = away(0);
    let now = world.now;
    // Ada's clock is of long ago for one message.
    world.now = protocol::ids::Timestamp(1_000);
    world.send("ada", "reading", "of long ago");
    world.now = now;
    say(&mut world, 80);
    world.start("carol");
    world.pass(MINUTE_MS);
    let told = told(&mut world, "carol");
    assert!(!told.is_empty() && told.iter().all(|it| it.since.starts_with("2027")), "{told:?}");
}
