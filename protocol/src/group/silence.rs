//! Absence beyond what any relay keeps, between people in memory.

use alloc::{format, vec::Vec};

use super::{wire::ResyncReq, *};
use crate::{ids::Timestamp, sim::world::World};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a relay keeps for thirty days: how long each log was at the end of each day.
#[derive(Default)]
struct Keeper(Vec<BTreeMap<crate::ids::LogId, usize>>);

impl Keeper {
    /// Everybody lives through a day; what is older than thirty days is gone after it.
    fn day(&mut self, world: &mut World) {
        let end = world.now.plus_ms(DAY_MS);
        while let Some(due) = world.deadline().filter(|due| *due <= end) {
            world.now = due.max(world.now.plus_ms(50));
            world.tick();
            while world.deliver() {}
        }
        world.now = end;
        self.0.push(world.logs.iter().map(|(log, entries)| (*log, entries.len())).collect());
        let Some(old) = self.0.len().checked_sub(31).and_then(|at| self.0.get(at)) else { return };
        for (log, len) in old {
            world.logs.get_mut(log).unwrap()[..*len].iter_mut().for_each(Vec::clear);
        }
    }
}

fn said(world: &World, at: usize, what: impl Fn(&Event) -> bool) -> usize {
    world.people[at].events.iter().filter(|event| what(event)).count()
}

/// Three people and a fourth who is away: 40 days, a word on each, a removal on the way.
fn forty_days(members: usize) -> World {
    let mut world = World::with(members, true);
    let mut keeper = Keeper::default();
    let gone = world.id(2);
    world.people[3].online = false;
    for day in 0..40 {
        if day == 20 {
            world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
        }
        world.say(0, &format!("day {day}"));
        keeper.day(&mut world);
    }
    world.people[3].online = true;
    world
}

fn settle_long(world: &mut World) {
    (0..10).for_each(|_| world.settle());
}

#[test]
fn who_was_away_for_forty_days_reads_what_is_kept_and_is_read_again() {
    let mut world = forty_days(4);
    world.strict = true;
    settle_long(&mut world);
    let heard = world.heard(3);
    let kept: Vec<String> = (10..40).map(|day| format!("day {day}")).collect();
    assert!(kept.iter().all(|text| heard.contains(text)), "{heard:?}");
    assert!(!world.member(3).is_member(&world.id(2)));
    assert_eq!(said(&world, 3, |event| matches!(event, Event::BackInTouch { .. })), 1);
    assert_eq!(said(&world, 3, |event| matches!(event, Event::NoWord { .. })), 0);
    world.say(3, "back");
    settle_long(&mut world);
    assert!([0, 1].into_iter().all(|at| world.heard(at).contains(&"back".into())));
    assert!(!world.heard(2).contains(&"back".into()));
    assert_eq!(world.member(0).fingerprint(), world.member(3).fingerprint());
}

#[test]
fn where_no_inbox_was_told_anything_the_members_are_asked() {
    let mut world = forty_days(4);
    let logs = world.member(3).logs();
    for log in logs.iter().filter(|log| log.role == LogRole::Inbox) {
        world.logs.get_mut(&log.keys.id()).unwrap().iter_mut().for_each(Vec::clear);
    }
    world.deliver();
    assert_eq!(
        world.member(3).ready(world.now),
        Err(NotReady::NotSynced),
        "it knows no log in use"
    );
    settle_long(&mut world);
    assert!(world.heard(3).contains(&"day 39".into()));
    world.say(3, "back");
    settle_long(&mut world);
    assert!([0, 1].into_iter().all(|at| world.heard(at).contains(&"back".into())));
}

#[test]
fn a_process_that_dies_while_it_asks_asks_again() {
    let mut world = forty_days(4);
    for _ in 0..40 {
        world.now = world.now.plus_ms(2_000);
        world.tick();
        world.restart(3);
        world.deliver();
    }
    settle_long(&mut world);
    world.say(3, "back");
    settle_long(&mut world);
    assert!(world.heard(0).contains(&"back".into()));
}

#[test]
fn who_was_removed_meanwhile_learns_that_and_nothing_after_it() {
    let mut world = World::with(4, true);
    let mut keeper = Keeper::default();
    let gone = world.id(3);
    world.people[3].online = false;
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    let known = world.member(0).ops.iter().count();
    for day in 0..40 {
        world.say(0, &format!("day {day}"));
        keeper.day(&mut world);
    }
    world.people[3].online = true;
    settle_long(&mut world);
    assert_eq!(world.member(3).state(), GroupState::Removed);
    assert!(world.member(3).ops.iter().count() <= known, "it was told what came after");
    assert_eq!(world.heard(3), Vec::<String>::new());
}

#[test]
fn who_is_answered_by_nobody_is_told_so_once_and_may_write() {
    let mut world = forty_days(4);
    (0..3).for_each(|at| world.people[at].online = false);
    let logs = world.member(3).logs();
    for log in logs.iter().filter(|log| log.role == LogRole::Inbox) {
        world.logs.get_mut(&log.keys.id()).unwrap().iter_mut().for_each(Vec::clear);
    }
    for _ in 0..30 {
        settle_long(&mut world);
    }
    assert_eq!(said(&world, 3, |event| matches!(event, Event::NoWord { .. })), 1);
    assert_eq!(world.member(3).ready(world.now), Ok(()));
    // They come back, and find the question.
    (0..2).for_each(|at| world.people[at].online = true);
    settle_long(&mut world);
    world.say(3, "back");
    settle_long(&mut world);
    assert!([0, 1].into_iter().all(|at| world.heard(at).contains(&"back".into())));
}

#[test]
fn a_relay_that_hides_part_of_an_answer_does_not_make_it_whole() {
    let mut world = forty_days(4);
    let inbox = world.member(3).logs().into_iter().find(|log| log.role == LogRole::Inbox);
    let inbox = inbox.unwrap().keys.id();
    world.logs.get_mut(&inbox).unwrap().iter_mut().for_each(Vec::clear);
    let before = world.logs[&inbox].len();
    let known = world.member(3).ops.iter().count();
    for _ in 0..400 {
        world.now = world.now.plus_ms(50);
        world.tick();
        world.people[3].online = false;
        world.deliver();
        // Of each answer it shows the last entry alone.
        let entries = world.logs.get_mut(&inbox).unwrap();
        let last = entries.len().saturating_sub(1).max(before);
        entries[before..last].iter_mut().for_each(Vec::clear);
        (0..4).for_each(|at| world.people[at].online = at == 3);
        world.deliver();
        (0..4).for_each(|at| world.people[at].online = true);
    }
    assert_eq!(world.member(3).ops.iter().count(), known);
    assert_eq!(world.member(3).ready(world.now), Err(NotReady::NotSynced));
}

/// What somebody asks after a long absence, at a time by its own clock.
fn question(world: &World, by: usize, at: Timestamp) -> ResyncReq {
    ResyncReq {
        nonce: [0; 16],
        at,
        heads: Vec::new(),
        card: Vec::from(world.people[by].me.card().as_bytes()),
        inbox: world.member(by).own_inbox_statement(),
    }
}

/// How many of these questions are answered.
fn answered(world: &mut World, asked: &[(MemberId, ResyncReq)]) -> usize {
    world.act(0, |group, mut cx| {
        while group.poll().is_some() {}
        let answers = asked.iter().filter(|(from, asked)| {
            group.take_resync_req(&mut cx, *from, asked);
            let mut answer = false;
            while let Some(output) = group.poll() {
                answer |= matches!(output, Output::Publish { .. });
            }
            answer
        });
        answers.count()
    })
}

#[test]
fn an_askers_clock_that_leaps_brings_no_more_answers() {
    let mut world = World::with(4, true);
    let (gone, member) = (world.id(2), world.id(3));
    let now = world.now;
    let leaps = |world: &World, by, from| -> Vec<_> {
        let times = (0..100).map(|n| now.plus_ms(n * 15_000));
        times.map(|at| (from, question(world, by, at))).collect()
    };
    let (of_gone, of_member) = (leaps(&world, 2, gone), leaps(&world, 3, member));
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    world.settle();
    assert_eq!(answered(&mut world, &of_member), 1);
    assert_eq!(answered(&mut world, &of_gone), 1);
    world.now = world.now.plus_ms(20_000);
    assert_eq!(answered(&mut world, &of_member[1..]), 1);
    assert_eq!(answered(&mut world, &of_gone), 0, "who is no member waits for an hour");
    let far = world.now.plus_ms(2 * 60 * 60 * 1000);
    world.now = world.now.plus_ms(20_000);
    let ahead = [(member, question(&world, 3, far))];
    assert_eq!(answered(&mut world, &ahead), 0);
    world.now = far;
    assert_eq!(answered(&mut world, &of_gone[99..]), 1);
}

#[test]
fn who_is_on_hold_is_handed_no_topic() {
    let mut world = World::with(4, true);
    let (second, last) = (world.id(1), world.id(3));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    (0..4).for_each(|at| drop(world.say(at, "hello")));
    world.settle();
    // The one removal makes the other void, and whoever is back by that is on hold.
    world.people[0].online = false;
    world.act(1, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    world.people[3].online = false;
    world.act(0, |group, cx| group.remove(cx, second)).unwrap();
    world.people[0].online = true;
    (0..3).for_each(|_| world.settle());
    assert!(world.member(2).is_member(&last) && !world.member(2).may_know_topics(&last));
    assert!(world.member(2).topics_of(&last).is_empty());
    world.pass(60 * 60_000);
    assert!(world.member(2).may_know_topics(&last));
    assert!(!world.member(2).topics_of(&last).is_empty());
}
