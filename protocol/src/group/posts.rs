//! Inboxes, between people in memory.

use alloc::vec::Vec;

use super::{
    wire::{Control, InboxAddress, Presence, Statement},
    *,
};
use crate::{ids::LogId, sign::SigningSecret, sim::world::World};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn statement(world: &World, address: &[u8]) -> Statement {
    let addresses = Vec::from([Vec::from(address).into()]);
    Statement::Presence(Presence { at: world.now, addresses })
}

fn own_logs(world: &World, at: usize) -> Vec<LogId> {
    let logs = world.member(at).logs().into_iter();
    logs.filter(|log| log.role == LogRole::Inbox).map(|log| log.keys.id()).collect()
}

fn address_of(world: &World, seen_by: usize, member: usize) -> Option<Vec<u8>> {
    let members = world.member(seen_by).members();
    let person = members.into_iter().find(|it| it.id == world.id(member))?;
    person.addresses.first().cloned()
}

#[test]
fn what_is_posted_to_an_inbox_reaches_its_owner_and_opens_for_nobody_else() {
    let mut world = World::with(3, true);
    world.strict = true;
    let (said, to) = (statement(&world, b"here"), world.id(1));
    world.act(0, |group, mut cx| group.to_inbox(&mut cx, to, &said));
    let log = own_logs(&world, 1)[0];
    assert!(world.member(0).inbox(&log).is_some_and(|keys| keys.id() == log));
    let entry = world.logs[&log].last().unwrap().clone();
    let read = world.attempt(2, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
    assert_eq!(read, Err(EnvelopeError::NotOurs));
    world.settle();
    assert_eq!(address_of(&world, 1, 0).as_deref(), Some(b"here".as_slice()));
    assert_eq!(address_of(&world, 2, 0), None);
}

#[test]
fn what_was_said_to_one_member_counts_for_no_other() {
    let mut world = World::with(3, true);
    let (said, to) = (statement(&world, b"here"), world.id(1));
    let group = world.member(0).id();
    let control = Control::sign_to(&group, &to, &said, world.people[0].me.identity());
    // Member 1 seals to member 2 what member 0 said to it.
    let owner = world.people[2].me.card().card().clone();
    let owner = seal::Owner {
        group: &group,
        member: owner.member,
        prekey: owner.prekey,
        kem: owner.kk.as_ref(),
    };
    let sealed = seal::seal(&owner, &control, &mut world.rng).unwrap();
    let taken = world.attempt(2, |group, mut cx| group.take_sealed(&mut cx, &sealed));
    assert_eq!(taken, Err(EnvelopeError::Forged));
    // Nor does it count when it is said to everybody.
    assert!(Control::from_bytes(&control).unwrap().verify(&group).is_err());
}

#[test]
fn a_member_whose_inbox_is_not_known_is_told_under_the_topic() {
    let mut world = World::with(2, true);
    let to = world.id(1);
    world.people[0].records.retain(|key, _| key[0] != 21);
    world.restart(0);
    let said = statement(&world, b"here");
    world.act(0, |group, mut cx| group.to_inbox(&mut cx, to, &said));
    world.settle();
    assert_eq!(address_of(&world, 1, 0).as_deref(), Some(b"here".as_slice()));
}

#[test]
fn an_inbox_has_a_successor_after_ninety_days_and_is_followed_for_thirty_five_more() {
    let mut world = World::with(3, true);
    world.strict = true;
    let (to, first) = (world.id(1), own_logs(&world, 1)[0]);
    world.people[0].online = false;
    world.now = world.now.plus_ms(91 * DAY_MS);
    world.settle();
    let both = own_logs(&world, 1);
    assert_eq!((both.len(), both[0]), (2, first));
    // Member 0 knows the old one only, and is heard all the same.
    let said = statement(&world, b"old");
    world.act(0, |group, mut cx| group.to_inbox(&mut cx, to, &said));
    world.people[0].online = true;
    world.append(0);
    world.settle();
    assert_eq!(address_of(&world, 1, 0).as_deref(), Some(b"old".as_slice()));
    world.restart(0);
    assert!(world.member(0).inbox(&first).is_none() && world.member(0).inbox(&both[1]).is_some());
    world.restart(1);
    world.now = world.now.plus_ms(36 * DAY_MS);
    world.settle();
    assert_eq!(own_logs(&world, 1), [both[1]]);
}

#[test]
fn an_owner_that_lost_its_state_makes_an_inbox_that_counts_for_more() {
    let mut world = World::with(2, true);
    let backup = world.people[1].records.clone();
    world.now = world.now.plus_ms(91 * DAY_MS);
    world.settle();
    let lost = own_logs(&world, 1)[1];
    assert!(world.member(0).inbox(&lost).is_some());
    world.people[1].records = backup;
    world.restart(1);
    world.settle();
    let now = *own_logs(&world, 1).last().unwrap();
    assert_ne!(now, lost);
    assert!(world.member(0).inbox(&now).is_some());
}

#[test]
fn nobody_announces_an_inbox_for_somebody_else() {
    let mut world = World::with(3, true);
    let (group, log) = (world.member(0).id(), own_logs(&world, 1)[0]);
    let thief = SigningSecret::from_seed(&[9; 32]).public();
    let address = InboxAddress { number: u64::MAX, write: [9; 32], read: thief, trim: thief };
    let mut control =
        Control::sign(&group, &Statement::Inbox(address), world.people[2].me.identity());
    let (from, to) = (world.id(2), world.id(1));
    let at = control.windows(32).position(|bytes| bytes == from.0).unwrap();
    control[at..at + 32].copy_from_slice(&to.0);
    world.act(0, |group, cx| group.take_inbox(cx.now, &control));
    assert!(world.member(0).inbox(&log).is_some(), "the owner's own stays");
}

#[test]
fn a_removed_member_is_posted_to_no_more_and_is_not_heard() {
    let mut world = World::with(3, true);
    let (gone, log, old) = (world.id(2), own_logs(&world, 2)[0], own_logs(&world, 1)[0]);
    let (said, to) = (statement(&world, b"still here"), world.id(1));
    world.people[2].online = false;
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    world.settle();
    assert!(world.member(0).inbox(&log).is_none());
    world.act(2, |group, mut cx| group.to_inbox(&mut cx, to, &said));
    let entry = world.people[2].outbox.last().unwrap().1.clone();
    let read = world.attempt(1, |group, cx| group.on_envelope(cx, Source::Log(old), &entry));
    assert_eq!(read, Err(EnvelopeError::NotAMember));
}

#[test]
fn a_topic_whose_old_log_is_full_is_handed_over_by_the_inboxes() {
    let mut world = World::with(3, true);
    world.settle();
    let gone = world.id(2);
    let old = world.member(0).logs()[0].keys.id();
    let size = world.logs[&old].len();
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    // The old log took nothing of it.
    world.logs.get_mut(&old).unwrap().truncate(size);
    world.settle();
    assert!(!world.member(1).is_member(&gone));
    world.say(0, "to the new log");
    world.settle();
    assert!(world.heard(1).contains(&"to the new log".into()));
    assert!(!world.heard(2).contains(&"to the new log".into()));
}

#[test]
fn a_topic_begun_since_nobody_has_the_last_one_goes_to_the_inboxes() {
    let mut world = World::with(3, true);
    // The founder begins a topic, is heard of by the op alone, and never again.
    world.people[0].online = false;
    let op = world.act(0, |group, cx| {
        group.rotate(cx).unwrap();
        Vec::from(group.ops.iter().last().unwrap().as_bytes())
    });
    for at in [1, 2] {
        world.act(at, |group, mut cx| drop(group.take_ops(&mut cx, [op.as_slice()])));
        assert!(world.member(at).write_topics().is_empty(), "{at}");
    }
    let inboxes = [1, 2].map(|at| own_logs(&world, at)[0]);
    let entries = |world: &World| inboxes.map(|log| world.logs.get(&log).map_or(0, Vec::len));
    let before = entries(&world);
    world.pass(120_000);
    let found = [1, 2].map(|at| world.member(at).write_topics());
    assert!(!found[0].is_empty() && found[0] == found[1]);
    // One's own, and the other's.
    let after = entries(&world);
    assert!((0..2).all(|of| after[of] == before[of] + 1), "{before:?} {after:?}");
}
