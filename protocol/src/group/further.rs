//! The logical clock of a state that was set back: what it says stands after what it has lost.

use super::{
    restores::{alarms, everybody_reads_everybody, nobody_is_accused, restore},
    world::World,
    *,
};
use crate::limits::LAMPORT_LEAP;

#[test]
fn what_a_restored_state_says_stands_after_all_that_it_lost() {
    // The last are as many as there may be.
    for lost in [5_000, LAMPORT_LEAP - (1 << 16) - 3] {
        let mut world = World::with(2, true);
        world.say(1, "one");
        world.settle();
        let copy = world.people[1].records.clone();
        // It alone speaks, and so much that nobody shows all of it.
        world.people[1].group.as_mut().unwrap().lamport += lost;
        let last = world.say(1, "the last before");
        world.settle();
        restore(&mut world, 1, copy);
        world.settle();
        assert_eq!(alarms(&world, 1), [Alarm::OldState]);
        let next = world.say(1, "the first after");
        world.settle();
        assert!(next.lamport > last.lamport, "{lost}");
        assert_eq!(world.heard(0), ["one", "the last before", "the first after"]);
        assert_eq!(world.member(0).lamport(), next.lamport, "it is ahead of nobody");
        let answer = world.say(0, "an answer");
        assert!(answer.lamport > next.lamport);
    }
}

#[test]
fn a_state_that_is_found_old_twice_before_it_speaks_goes_ahead_once() {
    for (restarts, another_run) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::with(2, true);
        world.say(1, "one");
        world.settle();
        let copy = world.people[1].records.clone();
        world.act(1, Group::rotate).unwrap();
        world.say(1, "two");
        world.settle();
        // What it says then only a relay has, which nobody reaches when it comes back.
        world.people[0].online = false;
        if another_run {
            world.restart(1);
            world.settle();
        }
        world.act(1, Group::rotate).unwrap();
        let last = world.say(1, "three");
        world.settle();
        world.people[0].online = true;
        world.reachable = false;
        world.link(0, 1);
        restore(&mut world, 1, copy);
        world.settle();
        assert!(!world.member(1).is_behind());
        assert_eq!(alarms(&world, 1), [Alarm::OldState]);
        let first = world.member(1).lamport();
        if restarts {
            world.restart(1);
        }
        world.reachable = true;
        world.settle();
        assert!(!world.member(1).is_behind());
        assert_eq!(alarms(&world, 1).len(), 2, "{:?}", alarms(&world, 1));
        assert!(world.member(1).lamport() < first + 10, "{restarts}, {another_run}");
        let next = world.say(1, "four");
        world.settle();
        assert!(next.lamport > last.lamport);
        assert_eq!(world.member(0).lamport(), next.lamport, "it is ahead of nobody");
        // Once it has spoken, what it loses may stand behind that.
        let copy = world.people[1].records.clone();
        world.say(1, "five");
        world.settle();
        restore(&mut world, 1, copy);
        world.settle();
        assert!(world.member(1).lamport() > next.lamport + LAMPORT_LEAP / 2);
        everybody_reads_everybody(&mut world);
        nobody_is_accused(&world);
    }
}

#[test]
fn a_copy_of_a_state_that_had_gone_ahead_goes_ahead_of_what_that_said() {
    for restarts in [false, true] {
        let mut world = World::with(2, true);
        world.say(1, "one");
        world.settle();
        let copy = world.people[1].records.clone();
        world.say(1, "two");
        world.settle();
        restore(&mut world, 1, copy);
        world.settle();
        assert_eq!(alarms(&world, 1), [Alarm::OldState]);
        let ahead = world.people[1].records.clone();
        if restarts {
            world.restart(1);
            world.settle();
        }
        // It alone speaks, and much.
        world.people[1].group.as_mut().unwrap().lamport += 5_000;
        let last = world.say(1, "the last before");
        world.settle();
        restore(&mut world, 1, ahead);
        world.settle();
        assert_eq!(alarms(&world, 1), [Alarm::OldState; 2]);
        let next = world.say(1, "the first after");
        world.settle();
        assert!(next.lamport > last.lamport, "restarts: {restarts}");
        assert_eq!(world.member(0).lamport(), next.lamport, "it is ahead of nobody");
        everybody_reads_everybody(&mut world);
        nobody_is_accused(&world);
    }
}
