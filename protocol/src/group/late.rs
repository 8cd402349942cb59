//! Classes of messages: the same on every node in the end, whatever came first.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::*;
use crate::{invite::InviteSecret, membership::AdmitMode, sim::world::World};

/// What somebody's events say of each message in the end.
fn told(world: &World, at: usize) -> BTreeMap<(ChainId, u32), Class> {
    let mut told = BTreeMap::new();
    for event in &world.people[at].events {
        match event {
            Event::Message(it) => {
                told.insert((it.chain, it.index), it.class.clone());
            }
            Event::Reclassed { chain, from, until, class } => {
                for ((_, _), known) in told.range_mut((*chain, *from)..(*chain, *until)) {
                    known.clone_from(class);
                }
            }
            _ => {}
        }
    }
    told
}

/// What somebody's ops make of each message that it was told.
fn judged(world: &World, at: usize) -> BTreeMap<(ChainId, u32), Class> {
    let group = world.member(at);
    let class = |(chain, index): (ChainId, u32)| {
        class_of(&group.ops, &group.receiving.chains[&chain].head, index)
    };
    told(world, at).into_keys().map(|place| (place, class(place))).collect()
}

#[test]
fn what_came_before_its_senders_removal_was_known_is_classed_anew() {
    let mut world = World::with(4, true);
    world.say(3, "counts");
    world.settle();
    // The founder removes the third; the others don't hear of it, and read on.
    world.people[0].online = false;
    let removed = world.id(3);
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    let late = world.say(3, "beyond the cut");
    world.settle();
    assert_eq!(told(&world, 1)[&(late.chain, late.index)], Class::Ok);
    world.people[0].online = true;
    world.settle();
    for at in [1, 2] {
        let told = told(&world, at);
        assert_eq!(told[&(late.chain, late.index)], Class::PostCut);
        assert_eq!(told[&(late.chain, 0)], Class::Ok, "what the cut accepts");
        assert_eq!(told, judged(&world, at));
    }
}

#[test]
fn everybody_classes_everything_alike_whoever_heard_of_a_removal_first() {
    let mut world = World::with(4, true);
    (0..4).for_each(|at| drop(world.say(at, "hello")));
    world.settle();
    world.people[2].online = false;
    let removed = world.id(3);
    world.act(1, |group, cx| group.send(cx, 0, b"before")).unwrap();
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.settle();
    world.say(2, "to all four");
    world.people[2].online = true;
    world.settle();
    world.say(1, "to three");
    world.settle();
    let mut all: BTreeMap<(ChainId, u32), Class> = BTreeMap::new();
    for at in 0..3 {
        let told = told(&world, at);
        assert_eq!(told, judged(&world, at));
        for (place, class) in told {
            assert_eq!(*all.entry(place).or_insert(class.clone()), class);
        }
    }
    assert!(all.values().any(|class| *class == Class::StaleView(vec![removed])));
    assert!(all.values().any(|class| *class == Class::Ok));
}

#[test]
fn classes_outlive_a_restart_and_are_told_once() {
    let mut world = World::with(3, true);
    world.say(2, "counts");
    world.settle();
    let removed = world.id(2);
    world.people[0].online = false;
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.say(2, "beyond the cut");
    world.settle();
    world.people[0].online = true;
    world.settle();
    let before = world.people[1].events.len();
    world.restart(1);
    world.settle();
    let again: Vec<_> = world.people[1].events[before..]
        .iter()
        .filter(|event| matches!(event, Event::Reclassed { .. }))
        .collect();
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn what_stays_valid_of_a_member_keeps_its_messages_good() {
    let mut world = World::with(3, true);
    let (second, third) = (world.id(1), world.id(2));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    // The second promotes the third beside its own demotion: the promotion is void, and the third
    // is the member that it was.
    world.people[0].online = false;
    world.act(0, |group, cx| group.demote(cx, second)).unwrap();
    world.act(1, |group, cx| group.promote(cx, third)).unwrap();
    world.settle();
    let said = world.say(2, "as a member");
    world.settle();
    world.people[0].online = true;
    world.settle();
    assert!(!world.member(1).ops.resolve().is_admin(&third));
    for at in [0, 1] {
        assert_eq!(told(&world, at)[&(said.chain, said.index)], Class::Ok);
    }
}

/// A founder and an admin, and an invite with one use that both know.
fn with_an_invite(people: usize) -> (World, InviteSecret) {
    let mut world = World::founded(people, true, 7);
    world.join(0, 1);
    world.settle();
    let admin = world.id(1);
    world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
    world.settle();
    let terms = InviteTerms {
        max_uses: 1,
        expires: world.now.plus_ms(1_000_000),
        mode: AdmitMode::Auto,
        strict: false,
    };
    let secret = InviteSecret::generate(&mut world.rng);
    world.act(0, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
    world.settle();
    (world, secret)
}

/// The admin lets somebody in, of whom the founder does not hear yet, and reads it.
fn admitted_for_nothing(world: &mut World, secret: &InviteSecret, who: usize) -> Sent {
    let welcome = world.admit(1, who, secret).unwrap();
    world.welcome(1, who, &welcome);
    world.link(1, who);
    world.settle();
    let said = world.say(who, "in vain");
    world.settle();
    assert_eq!(told(world, 1)[&(said.chain, said.index)], Class::Ok);
    said
}

#[test]
fn what_was_said_by_who_came_by_a_used_invite_is_classed_anew() {
    let (mut world, secret) = with_an_invite(4);
    world.reachable = false;
    let welcome = world.admit(0, 2, &secret).unwrap();
    world.welcome(0, 2, &welcome);
    let said = admitted_for_nothing(&mut world, &secret, 3);
    world.reachable = true;
    (0..20).for_each(|_| world.pass(1_000));
    world.settle();
    assert!(!world.member(1).is_member(&world.id(3)));
    assert_eq!(told(&world, 1)[&(said.chain, said.index)], Class::PostCut);
    assert_eq!(told(&world, 1), judged(&world, 1));
}

#[test]
fn what_was_said_by_who_came_by_a_revoked_invite_is_classed_anew() {
    let (mut world, secret) = with_an_invite(3);
    world.reachable = false;
    let said = admitted_for_nothing(&mut world, &secret, 2);
    world.act(0, |group, cx| group.revoke(cx, secret.id())).unwrap();
    world.reachable = true;
    (0..20).for_each(|_| world.pass(1_000));
    world.settle();
    assert!(!world.member(1).is_member(&world.id(2)));
    assert_eq!(told(&world, 1)[&(said.chain, said.index)], Class::PostCut);
    assert_eq!(told(&world, 1), judged(&world, 1));
}
