//! Members who come back because their removal does not count.

use alloc::vec::Vec;

use super::*;
use crate::{ids::LogId, sim::world::World};

const TEN_MINUTES: u64 = 10 * 60 * 1000;

/// Four people; the second, an admin, removes the last, beside its own removal by the founder. The
/// third hears of both, one after the other.
pub(super) fn returned() -> World {
    let mut world = World::with(4, true);
    let (second, last) = (world.id(1), world.id(3));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    (0..4).for_each(|at| drop(world.say(at, "hello")));
    world.settle();
    world.people[0].online = false;
    world.act(1, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    assert!(!world.member(2).is_member(&last));
    assert_eq!(world.member(3).state(), GroupState::Removed);
    world.act(0, |group, cx| group.remove(cx, second)).unwrap();
    world.people[0].online = true;
    world.settle();
    world
}

fn alarms(world: &World, at: usize) -> Vec<MemberId> {
    let events = world.people[at].events.iter();
    events
        .filter_map(|event| match event {
            Event::Alarm(Alarm::Returned { member, .. }) => Some(*member),
            _ => None,
        })
        .collect()
}

#[test]
fn a_removed_member_whose_removal_does_not_count_comes_back_with_a_loud_event() {
    let world = returned();
    let last = world.id(3);
    for at in [0, 2, 3] {
        assert!(world.member(at).is_member(&last), "{at}");
        assert_eq!(world.member(at).state(), GroupState::Active, "{at}");
    }
    assert_eq!(alarms(&world, 2), [last]);
    assert_eq!(alarms(&world, 3), [last]);
    // The founder never saw it removed, and has always sealed to it.
    assert!(alarms(&world, 0).is_empty() && world.member(0).held().next().is_none());
    assert_eq!(world.member(1).state(), GroupState::Removed);
}

#[test]
fn a_returner_is_sealed_to_after_ten_minutes_and_everybody_reads_everybody() {
    let mut world = returned();
    assert_eq!(world.member(2).ready(world.now), Err(NotReady::Returned));
    let chains = |world: &World| {
        let events = world.people[2].events.iter();
        let own = world.id(2);
        events.filter(|it| matches!(it, Event::Rotated { sender, .. } if *sender == own)).count()
    };
    let before = chains(&world);
    world.pass(TEN_MINUTES / 2);
    // Neither a restart nor a Refresh makes it seal.
    world.restart(2);
    world.settle();
    assert_eq!(world.member(2).ready(world.now), Err(NotReady::Returned));
    world.act(2, |group, cx| group.rotate(cx)).unwrap();
    assert_eq!(chains(&world), before);
    world.pass(TEN_MINUTES / 2 + 1_000);
    assert_eq!(world.member(2).ready(world.now), Ok(()));
    world.settle();
    for (at, text) in [(0, "a"), (2, "b"), (3, "c")] {
        world.say(at, text);
    }
    world.settle();
    world.settle();
    for (at, others) in [(0, ["b", "c"]), (2, ["a", "c"]), (3, ["a", "b"])] {
        let heard = world.heard(at);
        for text in others {
            assert!(heard.iter().any(|it| it == text), "{at} did not read {text}: {heard:?}");
        }
    }
}

#[test]
fn a_promotion_that_knows_nothing_of_the_removal_is_no_answer_to_it() {
    let mut world = World::with(4, true);
    let (second, last) = (world.id(1), world.id(3));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    world.people[0].online = false;
    world.act(1, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    world.act(0, |group, cx| group.promote(cx, last)).unwrap();
    world.act(0, |group, cx| group.demote(cx, second)).unwrap();
    world.people[0].online = true;
    world.settle();
    for at in [1, 2, 3] {
        assert!(world.member(at).is_member(&last), "{at}");
        assert_eq!(alarms(&world, at), [last], "{at}");
    }
    assert_eq!(world.member(2).ready(world.now), Err(NotReady::Returned));
    world.pass(TEN_MINUTES);
    assert_eq!(world.member(2).ready(world.now), Ok(()));
}

#[test]
fn an_admins_grant_ends_the_hold_at_once_for_all() {
    let mut world = returned();
    let last = world.id(3);
    assert_eq!(world.attempt(2, |group, cx| group.readmit(cx, last)), Err(VerbError::NotAnAdmin));
    world.act(0, |group, cx| group.readmit(cx, last)).unwrap();
    world.settle();
    assert_eq!(world.member(2).ready(world.now), Ok(()));
    world.say(2, "welcome back");
    world.settle();
    assert!(world.heard(3).iter().any(|text| text == "welcome back"));
    // Once answered there is nobody to admit.
    assert!(world.attempt(0, |group, cx| group.readmit(cx, last)).is_err());
}

#[test]
fn an_admins_second_removal_ends_the_hold_and_the_membership() {
    let mut world = returned();
    let last = world.id(3);
    world.act(0, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    assert_eq!(world.member(3).state(), GroupState::Removed);
    assert_eq!(world.member(2).ready(world.now), Ok(()));
    let before = world.heard(3).len();
    world.say(2, "without you");
    world.settle();
    assert_eq!(world.heard(3).len(), before);
    assert!(world.heard(0).iter().any(|text| text == "without you"));
}

/// Whether everybody but the second knows every topic to write to.
fn all_know_the_topics(world: &World) -> bool {
    [0, 2, 3].into_iter().all(|at| {
        let write = &world.member(at).ops.resolve().topics().write;
        write.iter().all(|commit| world.member(at).topics.topic(commit).is_some())
    })
}

/// The third begins a topic.
fn begins_a_topic(world: &mut World) -> [u8; 32] {
    world.act(2, |group, cx| group.rotate(cx)).unwrap();
    world.member(2).ops.resolve().topics().write[0]
}

#[test]
fn a_topic_begun_meanwhile_is_not_told_to_the_returner_and_to_the_others_afterwards() {
    let mut world = returned();
    // All who are there hold the last back.
    world.people[0].online = false;
    let commit = begins_a_topic(&mut world);
    world.settle();
    assert!(world.member(3).topics.topic(&commit).is_none());
    world.pass(TEN_MINUTES + 60_000);
    assert!(world.member(3).topics.topic(&commit).is_some());
    world.people[0].online = true;
    world.settle();
    assert!(all_know_the_topics(&world));
}

#[test]
fn who_never_saw_the_removal_tells_the_returner_a_topic_in_a_chain_of_its_own() {
    let mut world = returned();
    let commit = begins_a_topic(&mut world);
    world.settle();
    assert!(world.member(0).may_know_topics(&world.id(3)));
    assert!(!world.member(2).may_know_topics(&world.id(3)));
    assert!(world.member(3).topics.topic(&commit).is_some() && all_know_the_topics(&world));
}

#[test]
fn whoever_was_removed_silences_nobody_by_more_void_removals() {
    let mut world = returned();
    world.pass(TEN_MINUTES + 1_000);
    assert_eq!(world.member(2).ready(world.now), Ok(()));
    // The second, who is out, signs another removal by its old grant, back-dated.
    let (second, third) = (world.id(1), world.id(2));
    let body = {
        let group = world.member(1);
        let grant = group.ops.iter().find(
            |op| matches!(op.body().kind, membership::Kind::Promote { member } if member == second),
        );
        let grant = grant.unwrap().id();
        membership::Body {
            group: Some(group.id()),
            author: second,
            seq: 900,
            deps: Vec::from([grant]),
            cap: Some(grant),
            at: world.now,
            incarnation: None,
            kind: membership::Kind::Remove {
                member: third,
                cut: Vec::new(),
                reason: membership::RemoveReason::Unsaid,
                topic_commit: [9; 32],
            },
        }
    };
    let op = membership::Op::sign(body, world.people[1].me.identity());
    let before = alarms(&world, 0).len();
    for at in [0, 2, 3] {
        let bytes = Vec::from(op.as_bytes());
        world.act(at, |group, mut cx| drop(group.take_ops(&mut cx, [bytes.as_slice()])));
        assert!(world.member(at).is_member(&third));
        assert_eq!(world.member(at).ready(world.now), Ok(()), "{at}");
    }
    assert_eq!(alarms(&world, 0).len(), before);
}

#[test]
fn a_removed_member_hears_over_a_channel_that_its_removal_does_not_count() {
    let mut world = World::with(4, false);
    let (second, last) = (world.id(1), world.id(3));
    for (a, b) in [(0, 1), (0, 2), (0, 3), (1, 3), (1, 2), (2, 3)] {
        world.link(a, b);
    }
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    for (a, b) in [(0, 1), (0, 2), (0, 3)] {
        world.cut(a, b);
    }
    world.act(1, |group, cx| group.remove(cx, last)).unwrap();
    let ops: Vec<_> = world.member(1).ops.iter().cloned().collect();
    world.act(3, |group, mut cx| drop(group.take_ops(&mut cx, ops.iter().map(|op| op.as_bytes()))));
    assert_eq!(world.member(3).state(), GroupState::Removed);
    world.act(0, |group, cx| group.remove(cx, second)).unwrap();
    world.settle();
    world.link(0, 3);
    world.settle();
    assert_eq!(world.member(3).state(), GroupState::Active);
    world.link(0, 2);
    world.settle();
    world.say(0, "still here?");
    world.settle();
    assert!(world.heard(3).iter().any(|text| text == "still here?"));
}

/// Back by an op that no relay told of, so long after its Welcome.
fn is_back_unread(after_ms: u64) {
    let mut world = World::with(4, true);
    let (second, last) = (world.id(1), world.id(3));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.pass(after_ms);
    world.people[0].online = false;
    world.act(1, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    assert_eq!(world.member(3).state(), GroupState::Removed);
    world.reachable = false;
    let voids = world.act(0, |group, cx| {
        group.remove(cx, second).unwrap();
        Vec::from(group.ops.iter().last().unwrap().as_bytes())
    });
    world.act(3, |group, mut cx| drop(group.take_ops(&mut cx, [voids.as_slice()])));
    assert_eq!(world.member(3).state(), GroupState::Active);
    assert_eq!(world.member(3).ready(world.now), Err(NotReady::NotSynced));
    world.reachable = true;
    world.people[0].online = true;
    world.settle();
    assert_eq!(world.member(3).ready(world.now), Ok(()));
}

#[test]
fn what_a_relay_had_before_somebody_was_out_says_nothing_of_what_came_since() {
    is_back_unread(TEN_MINUTES);
}

#[test]
fn a_welcome_from_before_somebody_was_out_says_nothing_of_what_came_since() {
    is_back_unread(20_000);
}

#[test]
fn whoever_left_comes_back_by_an_admins_new_grant() {
    let mut world = World::with(3, true);
    let last = world.id(2);
    world.act(2, |group, cx| group.leave(cx)).unwrap();
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Left);
    world.act(0, |group, cx| group.readmit(cx, last)).unwrap();
    world.settle();
    world.link(0, 2);
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Active);
    world.say(0, "back");
    world.settle();
    assert!(world.heard(2).iter().any(|text| text == "back"));
}

#[test]
fn a_welcome_from_before_a_removal_makes_nobody_a_member() {
    let mut world = World::with(3, true);
    let victim = world.id(2);
    let (old, host) = (world.member(0).welcome().unwrap(), world.id(0));
    world.act(0, |group, cx| group.remove(cx, victim)).unwrap();
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Removed);
    let now = world.now;
    let person = &world.people[2];
    let cx = Cx { me: &person.me, now, rng: &mut world.rng };
    let joined = Group::join(cx, &old, host, |_| person.group.as_ref());
    assert_eq!(joined.err(), Some(WelcomeError::NotAMember));
}

#[test]
fn whoever_joins_by_an_old_welcome_uses_no_number_twice() {
    let mut world = World::with(3, true);
    let old = world.member(0).welcome().unwrap();
    let (own, host) = (world.id(2), world.id(0));
    world.act(2, |group, cx| group.rotate(cx)).unwrap();
    let last = world.member(2).ops.iter().filter(|op| op.author() == own).last().unwrap().clone();
    let now = world.now;
    let person = &world.people[2];
    let cx = Cx { me: &person.me, now, rng: &mut world.rng };
    let joined = Group::join(cx, &old, host, |_| person.group.as_ref()).unwrap();
    let next = joined.ops.next(own, membership::Kind::Leave, now).unwrap();
    assert_eq!(next.seq, last.body().seq + 1);
}

/// As [`returned`]; before, the founder said three words, the second of which has not reached the
/// last: its log and its envelope. While the last is out, `meanwhile` happens.
fn returned_with_a_gap(meanwhile: impl FnOnce(&mut World)) -> (World, LogId, Vec<u8>) {
    let mut world = World::with(4, true);
    let (second, last) = (world.id(1), world.id(3));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    world.say(0, "one");
    world.settle();
    let log =
        world.member(0).logs().iter().find(|log| log.role == LogRole::Write).unwrap().keys.id();
    world.say(0, "two");
    let missed = world.logs.get_mut(&log).unwrap().pop().unwrap();
    world.say(0, "three");
    world.deliver();
    // Before anybody can ask for it.
    world.people[0].online = false;
    world.settle();
    assert_eq!(world.heard(3), ["one", "three"]);
    world.act(1, |group, cx| group.remove(cx, last)).unwrap();
    world.settle();
    assert_eq!(world.member(3).state(), GroupState::Removed);
    assert_eq!(world.member(3).chain_ids().count(), 0);
    meanwhile(&mut world);
    world.people[0].events.clear();
    world.act(0, |group, cx| group.remove(cx, second)).unwrap();
    world.people[0].online = true;
    world.settle();
    assert_eq!(world.member(3).state(), GroupState::Active);
    (world, log, missed)
}

/// The last has read all logs anew, and was given the word that it had missed; a relay that tells it
/// the envelope late changes nothing.
fn is_given_each_word_once((mut world, log, missed): (World, LogId, Vec<u8>)) {
    world.restart(3);
    world.settle();
    world.pass(TEN_MINUTES + 60_000);
    assert!(world.member(3).places.chains().next().is_none(), "the chain has opened anew");
    world.act(3, |group, cx| group.on_envelope(cx, Source::Log(log), &missed)).unwrap();
    assert_eq!(world.heard(3), ["one", "three", "two"]);
    world.settle();
    // The founder has heard since it is back online that all three are read.
    let last = world.id(3);
    let told = world.people[0].events.iter().filter_map(|event| match event {
        Event::Delivered { to, indexes, .. } if *to == last => Some(indexes.clone()),
        _ => None,
    });
    let told: BTreeSet<u32> = told.flatten().collect();
    assert_eq!(told, BTreeSet::from([0, 1, 2]));
    world.restart(3);
    world.settle();
    assert_eq!(world.heard(3), ["one", "three", "two"]);
}

#[test]
fn a_returner_is_given_each_message_once_and_still_one_that_it_had_missed() {
    is_given_each_word_once(returned_with_a_gap(|_| {}));
}

#[test]
fn a_restart_while_it_is_out_makes_a_returner_read_nothing_twice() {
    is_given_each_word_once(returned_with_a_gap(|world| {
        world.restart(3);
        world.settle();
        assert_eq!(world.member(3).state(), GroupState::Removed);
    }));
}

#[test]
fn who_joins_anew_knows_how_far_it_had_read() {
    returned_with_a_gap(|world| {
        let read: Vec<ChainId> = world.member(3).places.chains().copied().collect();
        assert_eq!(read.len(), 1);
        // The second, who has not heard that it is removed itself, lets the last in once more.
        world.join(1, 3);
        assert_eq!(world.member(3).state(), GroupState::Active);
        world.restart(3);
        assert!(world.member(3).places.chains().eq(&read));
    });
}
