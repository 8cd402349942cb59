//! Groups that go on as others, and members whose machines are lost.

use alloc::vec::Vec;

use super::*;
use crate::sim::world::World;

/// Moves a group, as somebody's node does: the new one.
pub(super) fn migrate(world: &mut World, at: usize, without: &[MemberId]) -> Group {
    let (person, now) = (&mut world.people[at], world.now);
    let (me, old) = (&person.me, person.group.as_mut().unwrap());
    let mut new = old.successor(Cx { me, now, rng: &mut world.rng }, without).unwrap();
    old.migrate(Cx { me, now, rng: &mut world.rng }, &new).unwrap();
    while new.poll().is_some() {}
    world.drain(at);
    new
}

fn moved(world: &World, at: usize) -> Vec<(GroupId, bool)> {
    let events = world.people[at].events.iter();
    events
        .filter_map(|event| match event {
            Event::Moved { to, followed, .. } => Some((*to, *followed)),
            _ => None,
        })
        .collect()
}

/// Takes up the new group, as a node does.
fn take_up(world: &mut World, at: usize) -> Group {
    let Moved { to, welcome } = world.member(at).moved().unwrap();
    let (welcome, by) = welcome.unwrap();
    let me = &world.people[at].me;
    let cx = Cx { me, now: world.now, rng: &mut world.rng };
    let new = Group::join(cx, &welcome, by, |_| None).unwrap();
    assert_eq!(new.id(), to);
    world.act(at, |group, _| group.settled());
    new
}

#[test]
fn everybody_follows_the_founder_with_the_same_people_and_rights() {
    let mut world = World::with(4, true);
    let second = world.id(1);
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    let new = migrate(&mut world, 0, &[]);
    let was: Vec<_> = world.member(0).members().iter().map(|it| (it.id, it.role)).collect();
    let is: Vec<_> = new.members().iter().map(|it| (it.id, it.role)).collect();
    assert_eq!(was, is);
    world.settle();
    for at in 1..4 {
        assert_eq!(moved(&world, at), [(new.id(), true)]);
        assert_eq!(world.member(at).state(), GroupState::Migrated);
        assert_eq!(world.member(at).ready(world.now), Err(NotReady::Moved));
        assert_eq!(take_up(&mut world, at).fingerprint(), new.fingerprint());
        assert!(!world.heard(at).iter().any(|text| text.contains("wt1")), "no part is a message");
        world.restart(at);
        assert_eq!(world.member(at).state(), GroupState::Migrated);
        assert_eq!(world.member(at).moved(), Some(Moved { to: new.id(), welcome: None }));
    }
    assert_eq!(world.member(0).state(), GroupState::Migrated);
    assert_eq!(world.member(0).moved(), Some(Moved { to: new.id(), welcome: None }));
}

#[test]
fn whoever_is_away_follows_later_and_a_restart_in_between_loses_no_part() {
    let mut world = World::with(3, true);
    world.people[2].online = false;
    let new = migrate(&mut world, 0, &[]);
    world.settle();
    world.restart(1);
    assert_eq!(take_up(&mut world, 1).fingerprint(), new.fingerprint());
    world.people[2].online = true;
    world.settle();
    assert_eq!(take_up(&mut world, 2).fingerprint(), new.fingerprint());
}

#[test]
fn another_admin_is_followed_by_whoever_says_so_and_the_others_go_on() {
    let mut world = World::with(4, true);
    let (founder, second) = (world.id(0), world.id(1));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    let new = migrate(&mut world, 1, &[founder]);
    assert!(!new.is_member(&founder));
    world.settle();
    assert_eq!(moved(&world, 2), [(new.id(), false)]);
    assert_eq!(world.member(2).state(), GroupState::Active);
    assert!(moved(&world, 0).is_empty(), "the founder is in no such group");
    world.act(2, |group, _| group.follow_to(new.id())).unwrap();
    assert_eq!(world.member(2).state(), GroupState::Migrated);
    assert_eq!(take_up(&mut world, 2).fingerprint(), new.fingerprint());
    world.say(3, "I stay");
    world.settle();
    assert!(world.heard(0).iter().any(|text| text == "I stay"));
    let nowhere = GroupId([9; 32]);
    assert_eq!(world.attempt(3, |it, _| it.follow_to(nowhere)), Err(VerbError::NoSuchMove));
}

#[test]
fn only_admins_move_a_group_and_parts_by_others_are_kept_by_nobody() {
    let mut world = World::with(3, true);
    let (me, now) = (&world.people[1].me, world.now);
    let old = world.people[1].group.as_ref().unwrap();
    let refused = old.successor(Cx { me, now, rng: &mut world.rng }, &[]);
    assert_eq!(refused.err(), Some(VerbError::NotAnAdmin));
    world.act(1, |group, cx| group.send(cx, MOVE, b"not even a part")).unwrap();
    world.settle();
    assert!(world.member(0).moving.told.is_empty());
}

#[test]
fn a_lost_founder_is_retired_at_any_members_node_and_the_admins_go_on() {
    let mut world = World::with(4, true);
    let (founder, second) = (world.id(0), world.id(1));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    (0..4).for_each(|at| drop(world.say(at, "hello")));
    world.settle();
    let key = world.people[0].me.recovery().unwrap().clone();
    world.people[0].online = false;
    // Whoever has the machine makes an admin beside it.
    let last = world.id(3);
    world.act(0, |group, cx| group.promote(cx, last)).unwrap();
    assert_eq!(world.act(2, |group, cx| group.retire(cx, &key)), Ok(founder));
    world.settle();
    let logs = world.logs.len();
    world.people[0].online = true;
    world.settle();
    for at in 1..4 {
        let now = world.member(at).ops.resolve();
        assert!(!now.is_member(&founder) && now.is_admin(&second) && !now.is_admin(&last), "{at}");
        assert!(now.topics().clean);
        let told = world.people[at].events.iter();
        assert!(told.clone().any(|event| *event == Event::Retired { member: founder }));
    }
    assert!(logs > 1, "a new log");
    let before = world.heard(0).len();
    world.say(1, "without the lost machine");
    world.settle();
    assert_eq!(world.heard(0).len(), before);
    assert!(world.heard(3).iter().any(|text| text == "without the lost machine"));
    // Once is enough.
    let again = world.attempt(2, |group, cx| group.retire(cx, &key));
    assert_eq!(again, Err(VerbError::WrongRecovery));
}

#[test]
fn a_recovery_key_of_nobody_here_retires_nobody() {
    let mut world = World::with(2, true);
    let key = crate::recovery::RecoveryKey::generate(&mut world.rng);
    let refused = world.attempt(1, |group, cx| group.retire(cx, &key));
    assert_eq!(refused, Err(VerbError::WrongRecovery));
}
