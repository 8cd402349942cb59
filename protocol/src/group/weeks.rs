//! Topic epochs over weeks, between people in memory.

use alloc::{collections::BTreeSet, vec::Vec};

use super::*;
use crate::{ids::LogId, sim::world::World};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Lets days pass, and everybody do what is due when it is.
fn live(world: &mut World, days: u64) {
    let end = world.now.plus_ms(days * DAY_MS);
    while let Some(due) = world.deadline().filter(|due| *due <= end) {
        world.now = due.max(world.now.plus_ms(50));
        world.tick();
        while world.deliver() {}
    }
    world.now = end;
}

fn topics_begun(world: &World, at: usize) -> usize {
    world.member(at).ops.iter().filter(|op| op.body().kind.topic_commit().is_some()).count()
}

fn write_logs(world: &World, at: usize) -> Vec<LogId> {
    let logs = world.member(at).logs().into_iter();
    logs.filter(|log| log.role == LogRole::Write).map(|log| log.keys.id()).collect()
}

#[test]
fn a_topic_is_renewed_each_week_by_the_most_senior_admin_who_is_there() {
    let mut world = World::with(4, true);
    world.strict = true;
    let second = world.id(1);
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    live(&mut world, 6);
    assert_eq!(topics_begun(&world, 2), 1);
    live(&mut world, 2);
    assert_eq!(topics_begun(&world, 2), 2);
    let last = world.member(2).ops.iter().last().unwrap().author();
    assert_eq!(last, world.id(0));
    world.people[0].online = false;
    live(&mut world, 7);
    assert_eq!(topics_begun(&world, 2), 3);
    let last = world.member(2).ops.iter().last().unwrap().author();
    assert_eq!(last, world.id(1));
    // Where no admin is there, a member does it a day later.
    world.people[1].online = false;
    live(&mut world, 9);
    assert_eq!(topics_begun(&world, 2), 4);
    (0..2).for_each(|at| world.people[at].online = true);
    world.settle();
    let logs: BTreeSet<_> = (0..4).map(|at| write_logs(&world, at)).collect();
    assert_eq!(logs.len(), 1);
}

#[test]
fn clocks_that_leap_renew_no_more_than_once() {
    let mut world = World::with(6, true);
    for _ in 0..20 {
        world.now = world.now.plus_ms(30 * DAY_MS);
        world.settle();
        world.now = Timestamp(world.now.0 - 30 * DAY_MS);
        world.settle();
    }
    assert_eq!(topics_begun(&world, 0), 1, "a leap alone renews nothing");
    world.now = world.now.plus_ms(30 * DAY_MS);
    live(&mut world, 1);
    assert_eq!(topics_begun(&world, 0), 1, "everybody has heard of everybody");
    live(&mut world, 7);
    (0..6).for_each(|at| assert_eq!(topics_begun(&world, at), 2, "{at}"));
}

#[test]
fn who_was_away_for_more_topics_than_are_kept_reads_all_of_their_logs() {
    let mut world = World::with(3, true);
    world.people[1].online = false;
    let texts: Vec<String> = (0..24).map(|n| alloc::format!("{n}")).collect();
    for text in &texts {
        world.act(0, Group::rotate).unwrap();
        world.say(0, text);
        world.now = world.now.plus_ms(1_000);
    }
    // No inbox has any of it: the hand-overs are on the logs alone.
    let inboxes: Vec<LogId> = world.member(1).logs().iter().map(|it| it.keys.id()).collect();
    world.logs.remove(&inboxes[1]);
    world.people[1].online = true;
    world.settle();
    assert_eq!(world.heard(1), texts);
    world.settle();
    let followed = world.member(1).logs().len();
    assert!(followed <= 17, "{followed} logs are followed");
}

#[test]
fn everybody_who_starts_at_once_makes_one_topic_of_two() {
    let mut world = World::with(6, true);
    let second = world.id(1);
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    // Two admins remove different people at once: no topic is clean.
    let (a, b) = (world.id(4), world.id(5));
    world.reachable = false;
    world.act(0, |group, cx| group.remove(cx, a)).unwrap();
    world.act(1, |group, cx| group.remove(cx, b)).unwrap();
    world.reachable = true;
    (0..4).for_each(|at| world.append(at));
    world.deliver();
    world.deliver();
    assert_eq!(write_logs(&world, 2).len(), 2, "content goes to both meanwhile");
    let before = topics_begun(&world, 2);
    (0..4).for_each(|at| world.restart(at));
    world.settle();
    assert_eq!(topics_begun(&world, 2), before + 1, "one of them joins them");
    let last = world.member(2).ops.iter().last().unwrap().author();
    assert_eq!(last, world.id(0));
    let logs: BTreeSet<_> = (0..4).map(|at| write_logs(&world, at)).collect();
    assert_eq!(logs.len(), 1);
    world.say(3, "one log again");
    world.settle();
    (0..3).for_each(|at| assert!(world.heard(at).contains(&"one log again".into())));
}

#[test]
fn a_full_log_is_followed_by_one_that_everybody_finds() {
    let mut world = World::with(4, true);
    world.now = world.now.plus_ms(DAY_MS / 24);
    world.settle();
    (0..40).for_each(|_| drop(world.say(3, "flood")));
    world.settle();
    let full = write_logs(&world, 0)[0];
    let size = world.logs[&full].len();
    for at in [2, 0, 1] {
        world.act(at, |group, cx| group.on_log_full(cx, full));
        world.act(at, |group, cx| group.on_log_full(cx, full));
    }
    let alarms = world.people[0].events.iter();
    let flooder = Event::Alarm(Alarm::LogFull(Some(world.id(3))));
    assert_eq!(alarms.filter(|event| **event == flooder).count(), 1);
    for _ in 0..400 {
        while world.deliver() {}
        // The relay takes nothing more for the old log.
        world.logs.get_mut(&full).unwrap().truncate(size);
        world.now = world.now.plus_ms(50);
        world.tick();
    }
    let logs: BTreeSet<_> = (0..4).map(|at| write_logs(&world, at)).collect();
    assert!(logs.len() == 1 && !logs.contains(&Vec::from([full])));
    assert_eq!(topics_begun(&world, 1), 2, "one of them began it");
    world.say(1, "on the new log");
    world.settle();
    assert!([0, 2, 3].into_iter().all(|at| world.heard(at).contains(&"on the new log".into())));
}
