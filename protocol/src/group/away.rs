//! What the policy says of those who are away: by the clock argument, over days.

use alloc::{vec, vec::Vec};

use super::{world::World, *};
use crate::{
    audit::{Entry, Fact, RotationReason},
    membership::{Kind, RemoveReason},
};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn with_policy(n: usize, change: impl FnOnce(&mut Policy)) -> World {
    let mut world = World::with(n, true);
    let mut policy = world.member(0).policy().clone();
    change(&mut policy);
    world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
    world.settle();
    world
}

fn evicting(n: usize) -> World {
    with_policy(n, |policy| policy.evict_after_ms = Some(DAY))
}

fn promote(world: &mut World, by: usize, whom: usize) {
    let whom = world.id(whom);
    world.act(by, |group, cx| group.promote(cx, whom)).unwrap();
    world.settle();
}

/// Who removed whom for having been away, as this member sees it.
fn removals(world: &World, at: usize) -> Vec<(usize, usize)> {
    let ops = world.member(at).ops.iter();
    ops.filter_map(|op| match &op.body().kind {
        Kind::Remove { member, reason: RemoveReason::Absent, .. } => {
            Some((world.at(&op.author()), world.at(member)))
        }
        _ => None,
    })
    .collect()
}

fn reasons(world: &World, at: usize) -> Vec<RotationReason> {
    let entries = world.people[at].audit.iter().filter_map(|entry| Entry::from_bytes(entry));
    entries
        .filter_map(|entry| match entry.fact {
            Fact::ChainMade { reason, .. } => Some(reason),
            _ => None,
        })
        .collect()
}

#[test]
fn who_is_there_and_silent_stays() {
    let mut world = evicting(4);
    promote(&mut world, 0, 1);
    world.pass(10 * DAY);
    assert_eq!(world.member(0).members().len(), 4);
    assert_eq!(removals(&world, 0), []);
}

#[test]
fn who_is_away_longer_than_the_policy_allows_is_removed_and_comes_back_by_a_new_invite() {
    let mut world = evicting(3);
    world.people[2].online = false;
    world.pass(23 * HOUR);
    assert!(world.member(0).is_member(&world.id(2)));
    world.pass(2 * HOUR);
    for at in 0..2 {
        assert!(!world.member(at).is_member(&world.id(2)));
        assert_eq!(removals(&world, at), [(0, 2)]);
    }
    let alarm = Event::Alarm(Alarm::Evicted(world.id(2)));
    assert!(world.people[0].events.contains(&alarm));
    world.say(0, "without you");
    world.settle();
    world.people[2].online = true;
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Removed);
    assert!(world.heard(2).is_empty());
    world.join(0, 2);
    world.settle();
    world.say(0, "with you again");
    world.settle();
    assert_eq!(world.heard(2), ["with you again"]);
}

#[test]
fn in_a_group_of_two_the_other_one_is_removed_too() {
    let mut world = evicting(2);
    world.people[1].online = false;
    world.pass(2 * DAY);
    assert_eq!(removals(&world, 0), [(0, 1)]);
}

#[test]
fn only_juniors_are_removed_never_the_founder_and_never_oneself() {
    let mut world = evicting(3);
    promote(&mut world, 0, 1);
    world.people[0].online = false;
    world.pass(5 * DAY);
    assert_eq!(removals(&world, 1), [], "the founder");
    world.people[2].online = false;
    world.pass(5 * DAY);
    assert_eq!(removals(&world, 1), [(1, 2)]);
    assert_eq!(world.member(1).members().len(), 2);
}

#[test]
fn of_several_admins_the_most_senior_one_who_is_there_removes() {
    for (away, by) in [(None, 0), (Some(0), 1)] {
        let mut world = evicting(4);
        promote(&mut world, 0, 1);
        promote(&mut world, 0, 2);
        world.people[3].online = false;
        if let Some(away) = away {
            world.pass(12 * HOUR);
            world.people[away].online = false;
        }
        world.pass(2 * DAY);
        assert_eq!(removals(&world, 1), [(by, 3)]);
    }
}

#[test]
fn an_admin_who_was_away_itself_removes_nobody_for_it() {
    let mut world = evicting(3);
    world.people[0].online = false;
    world.pass(40 * DAY);
    world.people[0].online = true;
    world.pass(3 * DAY);
    world.restart(0);
    world.pass(3 * DAY);
    assert_eq!(removals(&world, 0), []);
    // And nobody where all were away at once.
    world.people.iter_mut().for_each(|person| person.online = false);
    world.pass(40 * DAY);
    world.people.iter_mut().for_each(|person| person.online = true);
    world.pass(3 * DAY);
    assert_eq!(removals(&world, 0), []);
}

#[test]
fn an_admin_whose_clock_leaps_removes_nobody_for_it() {
    let mut world = evicting(3);
    world.pass(6 * HOUR);
    let right = world.now;
    let leap = |world: &mut World, now: Timestamp| {
        let person = &mut world.people[0];
        let cx = Cx { me: &person.me, now, rng: &mut world.rng };
        person.group.as_mut().unwrap().on_deadline(cx);
        world.drain(0);
    };
    // It leaps ahead for a moment and comes back, then it stays ahead.
    leap(&mut world, right.plus_ms(40 * DAY));
    assert_eq!(removals(&world, 0), []);
    leap(&mut world, right);
    world.pass(2 * DAY);
    assert_eq!(removals(&world, 0), []);
    let ahead = 40 * DAY;
    for _ in 0..200 {
        world.pass(HOUR / 4);
        let now = world.now.plus_ms(ahead);
        leap(&mut world, now);
    }
    assert_eq!(removals(&world, 0), []);
}

#[test]
fn a_node_that_is_up_for_some_hours_a_day_removes_who_is_away_for_good() {
    let mut world = evicting(3);
    let policy = Policy { evict_after_ms: Some(10 * DAY), ..world.member(0).policy().clone() };
    world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
    world.settle();
    world.people[2].online = false;
    for _ in 0..12 {
        world.people[0].online = true;
        world.pass(8 * HOUR);
        world.people[0].online = false;
        world.pass(16 * HOUR);
    }
    world.people[0].online = true;
    world.settle();
    assert_eq!(removals(&world, 0), [(0, 2)]);
}

#[test]
fn a_policy_that_was_set_late_counts_from_then_and_one_that_was_taken_back_not_at_all() {
    let mut world = World::with(3, true);
    world.people[2].online = false;
    world.pass(5 * DAY);
    let without = world.member(0).policy().clone();
    let with = Policy { evict_after_ms: Some(DAY), ..without.clone() };
    world.act(0, |group, cx| group.set_policy(cx, with)).unwrap();
    world.pass(20 * HOUR);
    assert_eq!(removals(&world, 0), []);
    world.act(0, |group, cx| group.set_policy(cx, without)).unwrap();
    world.strict = true;
    world.pass(5 * DAY);
    assert_eq!(removals(&world, 0), []);
    world.act(0, |group, _| assert!(group.absence.seen.is_empty()));
}

#[test]
fn what_is_known_of_absence_outlives_a_restart() {
    let mut world = evicting(3);
    world.strict = true;
    world.people[2].online = false;
    world.pass(20 * HOUR);
    world.restart(0);
    world.pass(5 * HOUR);
    assert_eq!(removals(&world, 0), [(0, 2)]);
}

fn rotating(n: usize) -> World {
    let mut world = with_policy(n, |policy| policy.rotate_on_disconnect_ms = Some(60_000));
    for other in 1..n {
        world.link(0, other);
    }
    world.settle();
    world.say(0, "hello");
    world.settle();
    world
}

#[test]
fn a_lost_member_makes_for_a_new_chain_and_is_sealed_to_all_the_same() {
    let mut world = rotating(3);
    let before = reasons(&world, 0).len();
    world.people[2].online = false;
    world.cut(0, 2);
    world.pass(59_000);
    world.say(0, "in time");
    assert_eq!(reasons(&world, 0).len(), before);
    world.pass(2_000);
    let sent = world.say(0, "too late");
    assert_eq!(reasons(&world, 0)[before..], [RotationReason::Disconnect]);
    assert!(sent.recipients.contains(&world.id(2)));
    world.people[2].online = true;
    world.settle();
    assert_eq!(world.heard(2), ["hello", "in time", "too late"]);
}

#[test]
fn who_is_heard_again_in_time_was_not_lost() {
    let mut world = rotating(3);
    let before = reasons(&world, 0).len();
    world.cut(0, 2);
    world.pass(30_000);
    world.say(2, "by the relay");
    world.pass(120_000);
    world.say(0, "good");
    assert_eq!(reasons(&world, 0).len(), before);
}

#[test]
fn lost_members_make_for_one_chain_in_ten_minutes() {
    let mut world = rotating(4);
    let before = reasons(&world, 0).len();
    for (at, minute) in [(1, 0), (2, 2), (3, 5)] {
        world.pass(minute * 60_000);
        world.people[at].online = false;
        world.cut(0, at);
        world.pass(61_000);
        world.say(0, "still here");
    }
    assert_eq!(reasons(&world, 0)[before..], [RotationReason::Disconnect]);
    world.pass(10 * 60_000);
    world.say(0, "alone");
    assert_eq!(reasons(&world, 0)[before..], vec![RotationReason::Disconnect; 2]);
}

#[test]
fn without_the_policy_a_lost_member_makes_for_nothing() {
    let mut world = World::with(2, true);
    world.link(0, 1);
    world.say(0, "hello");
    world.settle();
    let before = reasons(&world, 0).len();
    world.cut(0, 1);
    world.pass(HOUR);
    world.say(0, "still there?");
    assert_eq!(reasons(&world, 0).len(), before);
}
