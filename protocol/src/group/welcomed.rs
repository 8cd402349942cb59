//! Who is let in again, and hears so before its Welcome comes; and slots that come before those they go
//! on from.

use alloc::vec::Vec;

use super::*;
use crate::{audit::RotationReason, codec, ids::LogId, limits::LAMPORT_LEAP, sim::world::World};

/// Three people, the last of whom was removed and is let in again: its node hears so by the host's
/// channel before the Welcome comes, which is kept back.
fn reopened() -> (World, Vec<u8>) {
    let mut world = World::with(3, true);
    let last = world.id(2);
    world.act(0, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Removed);
    let secret = world.invite(0);
    let welcome = world.admit(0, 2, &secret).unwrap().to_vec();
    world.link(0, 2);
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Active);
    (world, welcome)
}

/// All that has come to logs since they had so many entries.
fn since(world: &World, had: &BTreeMap<LogId, usize>) -> Vec<Vec<u8>> {
    let news = |(log, entries): (&LogId, &Vec<Vec<u8>>)| {
        entries[had.get(log).copied().unwrap_or(0)..].to_vec()
    };
    world.logs.iter().flat_map(news).collect()
}

fn had(world: &World) -> BTreeMap<LogId, usize> {
    world.logs.iter().map(|(log, entries)| (*log, entries.len())).collect()
}

/// Somebody is given envelopes on a channel. What is in others' inboxes is refused.
fn take(world: &mut World, at: usize, from: MemberId, envelopes: &[Vec<u8>]) {
    for envelope in envelopes {
        let _ = world.act(at, |group, cx| group.on_envelope(cx, Source::Member(from), envelope));
    }
}

/// Slots that did not open: chains that are shut for good, and alarms.
fn failed(world: &World, at: usize) -> usize {
    let chains = world.member(at).receiving.chains.values();
    let failed = chains.filter(|entry| matches!(entry.state, ChainState::Failed)).count();
    let told = |event: &&Event| matches!(event, Event::Alarm(Alarm::SlotFailed(_)));
    failed + world.people[at].events.iter().filter(told).count()
}

#[test]
fn a_welcome_takes_no_keys_from_who_has_heard_already_that_it_is_in() {
    let (mut world, welcome) = reopened();
    world.say(0, "a");
    // It opens and says so: what follows is sealed to it by the ratchet.
    world.settle();
    assert_eq!(world.heard(2), ["a"]);
    world.people[2].online = false;
    let before = had(&world);
    world.act(0, |group, _| group.sending.asked = Some(RotationReason::Refresh));
    world.say(0, "b");
    let news = since(&world, &before);
    assert!(news.len() >= 2, "a bundle and a message");
    world.people[2].online = true;
    world.welcome(0, 2, &welcome);
    let host = world.id(0);
    take(&mut world, 2, host, &news);
    assert_eq!(failed(&world, 2), 0);
    assert_eq!(world.heard(2), ["a", "b"]);
    world.settle();
    world.restart(2);
    world.settle();
    assert_eq!(world.heard(2), ["a", "b"]);
    assert_eq!(failed(&world, 2), 0);
}

#[test]
fn what_somebody_said_before_its_welcome_came_is_read_by_the_others() {
    let (mut world, welcome) = reopened();
    world.cut(0, 2);
    world.reachable = false;
    world.say(2, "here I am");
    world.welcome(0, 2, &welcome);
    world.reachable = true;
    world.settle();
    for reader in [0, 1] {
        assert_eq!(world.heard(reader), ["here I am"], "{reader}");
    }
}

#[test]
fn a_welcome_brings_what_the_ops_alone_did_not() {
    for host in [0, 1] {
        let mut world = World::with(3, true);
        let (second, last) = (world.id(1), world.id(2));
        world.act(0, |group, cx| group.promote(cx, second)).unwrap();
        world.settle();
        world.act(0, |group, cx| group.remove(cx, last)).unwrap();
        world.settle();
        world.say(0, "while you are out");
        world.settle();
        world.reachable = false;
        let secret = world.invite(host);
        let welcome = world.admit(host, 2, &secret).unwrap();
        let ops: Vec<Vec<u8>> =
            world.member(host).ops.iter().map(|op| op.as_bytes().into()).collect();
        let ops = || ops.iter().map(Vec::as_slice);
        world.act(2, |group, mut cx| drop(group.take_ops(&mut cx, ops())));
        let member = world.member(2);
        assert!(member.state() == GroupState::Active && member.lacks_topics());
        assert_eq!(member.ready(world.now), Err(NotReady::NotSynced));
        world.welcome(host, 2, &welcome);
        let member = world.member(2);
        assert!(!member.lacks_topics());
        assert!(member.lamport > 0 && member.lamport == world.member(host).lamport);
        // A founder's word is as good as a sync; another admin's is its own alone.
        assert_eq!(member.is_confirmed(), host == 0);
        assert_eq!(member.ready(world.now).is_ok(), host == 0);
        world.reachable = true;
        world.settle();
        assert!(world.member(2).is_confirmed());
        world.say(2, "here I am");
        world.settle();
        assert_eq!(world.heard(0), ["here I am"], "{host}");
    }
}

#[test]
fn a_welcome_that_does_not_hold_changes_nothing_of_who_is_in() {
    let (mut world, welcome) = reopened();
    let (second, last) = (world.id(1), world.id(2));
    for (welcome, host) in [(&welcome[..], second), (&welcome[..40], world.id(0))] {
        let taken = world.attempt(2, |group, cx| group.take_welcome(cx, welcome, host));
        assert!(taken.is_err());
    }
    // Nor one that its own ops have ended: it begins another membership.
    let known = |world: &World| {
        let person = &world.people[2];
        Group::known_by(&welcome, world.id(0), |_| person.group.as_ref())
    };
    assert!(known(&world).is_some());
    world.act(0, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    assert_eq!(known(&world), None);
    let host = world.id(0);
    let taken = world.attempt(2, |group, cx| group.take_welcome(cx, &welcome, host));
    assert_eq!(taken, Err(WelcomeError::NotAMember));
}

#[test]
fn a_slot_whose_older_one_is_still_to_be_read_waits_for_it() {
    let mut world = World::with(2, true);
    let copy = world.people[1].records.clone();
    let first = had(&world);
    world.say(0, "a");
    let older = since(&world, &first);
    world.settle();
    assert_eq!(world.heard(1), ["a"]);
    world.people[1].online = false;
    let before = had(&world);
    world.act(0, |group, _| group.sending.asked = Some(RotationReason::Refresh));
    let chain = world.say(0, "b").chain;
    let news = since(&world, &before);
    // An older state of it is given the newer keys before the older ones.
    world.people[1].records = copy;
    world.restart(1);
    world.people[1].events.clear();
    let writer = world.id(0);
    take(&mut world, 1, writer, &news);
    assert!(world.member(1).receiving.held.contains_key(&chain));
    take(&mut world, 1, writer, &older);
    world.act(1, |group, cx| group.on_deadline(cx));
    assert_eq!(failed(&world, 1), 0);
    assert_eq!(world.heard(1), ["a", "b"]);
}

#[test]
fn a_slot_that_no_older_one_opens_is_told_once_all_is_read() {
    let mut world = World::with(2, true);
    world.say(0, "a");
    world.settle();
    world.people[1].online = false;
    world.act(0, |group, _| group.sending.asked = Some(RotationReason::Refresh));
    let chain = world.say(0, "b").chain;
    let bundle = world.member(0).bundle_wire(&chain).unwrap();
    // Its keys are lost, and no log has the older bundle any more.
    world.act(1, |group, cx| {
        group.receiving.pairs.clear();
        group.on_relays_down(cx);
    });
    world.act(1, |group, mut cx| group.take_bundle(&mut cx, bundle));
    assert_eq!(failed(&world, 1), 0);
    assert!(world.member(1).receiving.held.contains_key(&chain));
    world.people[1].online = true;
    world.people[1].caught_up.clear();
    world.settle();
    let told = |event: &Event| matches!(event, Event::Alarm(Alarm::SlotFailed(_)));
    assert!(world.people[1].events.iter().any(told));
    // Its sender seals to it anew.
    world.say(0, "c");
    world.settle();
    assert!(world.heard(1).iter().any(|text| text == "c"));
}

#[test]
fn a_host_that_makes_up_a_clock_has_who_is_in_be_ahead_of_nobody() {
    let (mut world, welcome) = reopened();
    let (host, before) = (world.id(0), world.member(2).lamport());
    let mut far: wire::Welcome = codec::decode(&welcome).unwrap();
    far.lamport = Some(u64::MAX);
    let far = codec::encode(&far);
    world.act(2, |group, cx| group.take_welcome(cx, &far, host)).unwrap();
    assert_eq!(world.member(2).lamport(), before + LAMPORT_LEAP / 2);
    world.say(2, "here I am");
    world.settle();
    assert_eq!(world.member(1).lamport(), before + LAMPORT_LEAP / 2 + 1, "it is ahead of nobody");
}

/// A Welcome in which the host makes up where somebody is, and when that was told.
fn made_up(welcome: &[u8], member: MemberId, at: Timestamp) -> Vec<u8> {
    let mut welcome: wire::Welcome = codec::decode(welcome).unwrap();
    let addresses = alloc::vec![b"made up".to_vec().into()];
    let presence = wire::Presence { at, addresses };
    welcome.presences = alloc::vec![wire::Whereabouts { member, presence }];
    codec::encode(&welcome)
}

#[test]
fn a_host_that_makes_up_where_others_are_shuts_out_nothing_that_they_say_themselves() {
    let (mut world, welcome) = reopened();
    let (host, other, now) = (world.id(0), world.id(1), world.now);
    let at = |group: &Group| group.people.presences.get(&other).map(|told| told.at);
    let take = |world: &mut World, welcome: &[u8]| {
        world.act(2, |group, cx| group.take_welcome(cx, welcome, host)).unwrap();
    };
    world.people[2].group.as_mut().unwrap().people.presences.clear();
    let far = made_up(&welcome, other, Timestamp(u64::MAX));
    take(&mut world, &far);
    assert_eq!(at(world.member(2)), None, "of a time that never comes");
    let person = &world.people[2];
    let cx = Cx { me: &person.me, now, rng: &mut world.rng };
    let anew = Group::join(cx, &far, host, |_| None).unwrap();
    assert_eq!(at(&anew), None, "by a newcomer, too");

    let near = made_up(&welcome, other, now);
    take(&mut world, &near);
    assert_eq!(at(world.member(2)), Some(now), "where nothing is known");
    take(&mut world, &made_up(&welcome, other, now.plus_ms(1000)));
    assert_eq!(at(world.member(2)), Some(now), "in the place of nothing that is known");
}
