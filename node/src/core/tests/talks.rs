//! Conversations of two among people who do as they like.

use protocol::ids::GroupId;

use super::{World, stories::group_of};
use crate::{
    api::types::{JoinState, Talk, TalkState},
    core::VerbError,
};

fn talk(world: &mut World, name: &'static str, with: &str) -> Talk {
    let now = world.now;
    let talk = world.core(name).talk(with, now).unwrap();
    world.settle();
    talk
}

fn states(world: &mut World, name: &str) -> Vec<(String, TalkState)> {
    let talks = world.core(name).talks().unwrap();
    talks.into_iter().map(|talk| (talk.member.name, talk.state)).collect()
}

/// The code that a member was told.
fn told(world: &mut World, name: &str, by: &str) -> String {
    let by = world.member(by);
    let row = world.core(name).store.read(|tx| tx.talk(by, false)).unwrap().unwrap();
    row.code.unwrap().to_string()
}

#[test]
fn the_code_lets_in_whom_it_was_made_for_and_nobody_who_was_given_it() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    let asked = talk(&mut world, "ada", "bob");
    assert_eq!(asked.state, TalkState::Asked);
    let code = told(&mut world, "bob", "ada");
    let join = world.join("carol", &code);
    assert_eq!((join.state, join.exit), (JoinState::Failed, Some(5)), "{}", join.detail);
    assert_eq!(states(&mut world, "carol"), []);
    // It is not used up by that.
    talk(&mut world, "bob", "ada");
    for (name, with) in [("ada", "bob"), ("bob", "ada")] {
        assert_eq!(states(&mut world, name), [(with.into(), TalkState::Open)]);
    }
    let now = world.now;
    let again = world.core("ada").talk("bob", now).unwrap();
    assert_eq!((again.state, again.group), (TalkState::Open, asked.group));
}

#[test]
fn a_wish_that_leads_elsewhere_opens_nothing_and_takes_nobody_out_of_a_group() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    let code = world.invite("ada", "reading");
    let (bob, now) = (world.member("bob"), world.now);
    let reading = world.core("ada").find_group("reading").unwrap();
    for group in [reading, GroupId([9; 32])] {
        let core = world.core("ada");
        let told = core.step(reading, now, |of, step| {
            Ok::<_, VerbError>(of.ask_to_talk(step.cx(), bob, group, &code))
        });
        assert!(told.unwrap());
        core.finish(now);
        world.settle();
    }
    // It says where it leads, or is passed over; and whoever comes is where they were.
    assert!(states(&mut world, "bob").is_empty(), "a group that bob is in is no conversation");
    assert!(world.core("bob").find_group("@ada").is_err());
    assert!(world.core("bob").deny_talk("ada").is_err());
    let now = world.now;
    world.core("bob").send("reading", "still here", now).unwrap();
    world.settle();
    assert!(world.texts("carol").contains(&"still here".into()));
}

#[test]
fn who_asks_again_after_the_code_is_over_makes_another_for_the_same_group() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let (mut world, _) = group_of(&["ada", "bob"]);
    let first = talk(&mut world, "ada", "bob");
    let old = told(&mut world, "bob", "ada");
    talk(&mut world, "ada", "bob");
    assert_eq!(told(&mut world, "bob", "ada"), old, "it is good, and no other is made");
    for _ in 0..31 {
        world.pass(DAY);
    }
    let again = talk(&mut world, "ada", "bob");
    assert_eq!((again.state, &again.group), (TalkState::Asked, &first.group));
    assert_ne!(told(&mut world, "bob", "ada"), old);
    world.stop("ada");
    world.start("ada");
    talk(&mut world, "bob", "ada");
    assert_eq!(states(&mut world, "ada"), [("bob".into(), TalkState::Open)]);
    let (id, now) = (first.group.unwrap(), world.now);
    assert_eq!(world.core("bob").group("@ada", now).unwrap().summary.id, id);
}
