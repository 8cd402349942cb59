//! Conversations of two: turns, and what they heal.

use alloc::{collections::BTreeMap, string::String, vec, vec::Vec};

use super::{world::World, *};
use crate::audit::{Entry, Fact, RotationReason};

pub(super) fn two(seed: u64) -> World {
    let mut world = World::founded(3, true, seed);
    let policy = Policy { name: "pair".into(), pair: Some(true), ..Policy::default() };
    let person = &mut world.people[0];
    let cx = Cx { me: &person.me, now: world.now, rng: &mut world.rng };
    person.group = Some(Group::create(cx, policy).unwrap());
    (person.records, person.audit) = (BTreeMap::new(), vec![]);
    world.drain(0);
    world.join(0, 1);
    world.settle();
    world
}

fn turn(world: &mut World, at: usize, text: &str) {
    world.say(at, text);
    world.settle();
}

fn reasons(world: &World, at: usize) -> Vec<RotationReason> {
    let entries = world.people[at].audit.iter().filter_map(|entry| Entry::from_bytes(entry));
    let facts = entries.filter_map(|entry| match entry.fact {
        Fact::ChainMade { reason, .. } => Some(reason),
        _ => None,
    });
    facts.collect()
}

#[test]
fn each_turn_makes_a_new_chain_and_what_is_said_in_one_turn_shares_it() {
    let mut world = two(1);
    turn(&mut world, 0, "a1");
    turn(&mut world, 1, "b1");
    let before = [reasons(&world, 0).len(), reasons(&world, 1).len()];
    for text in ["a2", "a3", "a4"] {
        turn(&mut world, 0, text);
    }
    turn(&mut world, 1, "b2");
    turn(&mut world, 0, "a5");
    assert_eq!(reasons(&world, 0)[before[0]..], [RotationReason::Turn; 2]);
    assert_eq!(reasons(&world, 1)[before[1]..], [RotationReason::Turn]);
    assert_eq!(world.heard(0), ["b1", "b2"]);
    assert_eq!(world.heard(1), ["a1", "a2", "a3", "a4", "a5"]);
}

#[test]
fn in_a_group_of_two_that_is_no_pair_nothing_turns() {
    let mut world = World::with(2, true);
    turn(&mut world, 0, "a1");
    turn(&mut world, 1, "b1");
    let before = reasons(&world, 0).len();
    turn(&mut world, 0, "a2");
    assert_eq!(reasons(&world, 0).len(), before);
}

/// What a copy of somebody's node, keys and all, can open of the other one's chains that came
/// later: it is told all that the relay has.
fn opened_by_a_copy(world: &mut World, records: BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    let me = &world.people[0].me;
    let mut copy = Group::load(me, records, world.now).unwrap();
    let mut opened = Vec::new();
    let logs: Vec<_> = world.logs.clone().into_iter().collect();
    for _ in 0..2 {
        for (log, entries) in &logs {
            for entry in entries {
                let cx = Cx { me, now: world.now, rng: &mut world.rng };
                let _ = copy.on_envelope(cx, Source::Log(*log), entry);
                while let Some(output) = copy.poll() {
                    if let Output::Event(Event::Message(message)) = output {
                        opened.push(String::from_utf8(message.payload).unwrap());
                    }
                }
            }
        }
    }
    opened
}

#[test]
fn a_stolen_copy_opens_nothing_any_more_once_each_side_has_had_a_turn() {
    let mut world = two(2);
    for _ in 0..2 {
        turn(&mut world, 0, "before");
        turn(&mut world, 1, "before");
    }
    let stolen = world.people[0].records.clone();
    turn(&mut world, 1, "still in the chain that was stolen");
    turn(&mut world, 0, "my turn");
    turn(&mut world, 1, "healed");
    turn(&mut world, 0, "my turn again");
    turn(&mut world, 1, "healed for good");
    let opened = opened_by_a_copy(&mut world, stolen);
    assert_eq!(opened, ["still in the chain that was stolen"]);
    assert!(world.heard(0).contains(&"healed for good".into()));
}

#[test]
fn in_a_group_that_does_not_turn_the_same_copy_reads_on() {
    // What the test above is worth: without turns the copy opens what comes.
    let mut world = World::with(2, true);
    turn(&mut world, 0, "before");
    turn(&mut world, 1, "before");
    let stolen = world.people[0].records.clone();
    turn(&mut world, 0, "my turn");
    turn(&mut world, 1, "not healed");
    assert!(opened_by_a_copy(&mut world, stolen).contains(&"not healed".into()));
}

#[test]
fn both_may_speak_at_once_and_either_may_restart() {
    let mut world = two(3);
    world.strict = true;
    for round in 0..8 {
        world.say(0, "from ana");
        world.say(1, "from ben");
        world.settle();
        if round % 3 == 1 {
            world.restart(round % 2);
            world.settle();
        }
    }
    assert_eq!((world.heard(0).len(), world.heard(1).len()), (8, 8));
}

#[test]
fn who_lost_its_latest_turns_is_sealed_to_anew() {
    let mut world = two(4);
    turn(&mut world, 0, "one");
    turn(&mut world, 1, "two");
    let old = (world.people[0].records.clone(), world.people[0].audit.clone());
    for _ in 0..6 {
        turn(&mut world, 0, "ahead");
        turn(&mut world, 1, "ahead");
    }
    (world.people[0].records, world.people[0].audit) = old;
    world.restart(0);
    world.pass(120_000);
    turn(&mut world, 1, "can you hear me?");
    world.pass(180_000);
    turn(&mut world, 1, "and now?");
    world.pass(120_000);
    turn(&mut world, 0, "I can");
    world.pass(120_000);
    assert!(world.heard(0).contains(&"and now?".into()));
    assert!(world.heard(1).contains(&"I can".into()));
}

#[test]
fn a_third_one_is_not_let_in() {
    let mut world = two(5);
    let secret = world.invite(0);
    assert_eq!(world.admit(0, 2, &secret), Err(AdmitError::Full));
}

#[test]
fn of_two_conversations_begun_at_once_both_sides_keep_the_same() {
    let (one, other) = (GroupId([1; 32]), GroupId([2; 32]));
    assert_eq!(the_one_that_stays(one, other), one);
    assert_eq!(the_one_that_stays(other, one), one);
}

#[test]
fn an_opened_turn_uses_up_the_prekeys_before_it() {
    let mut world = two(6);
    for _ in 0..5 {
        turn(&mut world, 0, "a");
        turn(&mut world, 1, "b");
    }
    let before = world.people[0].records.get(&vec![27]).cloned().unwrap();
    // One key of 32 bytes with its id, and the other one's: no more.
    assert!(before.len() < 2 * 40 + 45, "{} bytes are kept", before.len());
}
