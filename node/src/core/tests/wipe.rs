//! Groups that are erased from a machine.

use super::world::World;
use crate::{
    api::types::{JoinState, What},
    core::VerbError,
};

/// Bob erases the group that he is out of.
fn wipe(world: &mut World, unheard: bool) -> Result<(), VerbError> {
    let now = world.now;
    let doomed = world.core("bob").doomed("reading", unheard)?;
    world.core("bob").wipe(doomed.group, now)?;
    world.settle();
    Ok(())
}

fn leave(world: &mut World) {
    let now = world.now;
    world.core("bob").leave("reading", now).unwrap();
    world.settle();
}

/// How much there is of any group at Bob's.
fn left(world: &mut World) -> usize {
    let reader = world.core("bob").reader().unwrap();
    let messages = reader.came_after(None, 0, 10_000).unwrap().len();
    let now = world.now;
    let events = world.events("bob");
    let events = events.iter().filter(|event| event.group.is_some()).count();
    let core = world.core("bob");
    messages
        + events
        + core.groups(now).unwrap().len()
        + core.store.read(|tx| tx.groups()).unwrap().len()
}

#[test]
fn who_is_out_of_a_group_erases_it_and_comes_back_as_a_newcomer() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.pair(&[&relay]);
    world.send("ada", "reading", "what bob should not keep");
    assert!(matches!(wipe(&mut world, true), Err(VerbError::StillAMember)));
    leave(&mut world);
    wipe(&mut world, false).unwrap();
    world.pass(1_000);
    assert_eq!(left(&mut world), 0);
    assert!(matches!(world.events("bob").last().unwrap().what, What::GroupWiped));
    let names = world.core("bob").store.read(|tx| {
        let ada = tx.member(protocol::ids::MemberId([0; 32]))?;
        Ok::<_, crate::store::StoreError>(ada.name)
    });
    assert_eq!(names.unwrap(), "");
    let logs = world.core("bob").store.read(|tx| tx.logs_read()).unwrap();
    assert!(logs.is_empty(), "of topics and of the code's mailbox");

    world.stop("bob");
    world.start("bob");
    assert_eq!(left(&mut world), 0);
    world.send("ada", "reading", "said while he was out");
    assert_eq!(left(&mut world), 0);
    let code = world.invite("ada", "reading");
    assert_eq!(world.join("bob", &code).state, JoinState::Joined);
    world.send("ada", "reading", "welcome back");
    assert_eq!(world.texts("bob"), ["welcome back"]);
}

#[test]
fn while_nobody_has_heard_that_one_left_it_takes_a_word_more() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    world.joined("bob", &code);
    world.relay_stands(&relay, false);
    leave(&mut world);
    assert!(matches!(wipe(&mut world, false), Err(VerbError::Unheard)));
    wipe(&mut world, true).unwrap();
    world.pass(1_000);
    assert_eq!(left(&mut world), 0);
}

#[test]
fn a_restart_goes_on_with_what_is_being_erased() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.pair(&[&relay]);
    for n in 0..205 {
        world.send("ada", "reading", &n.to_string());
    }
    leave(&mut world);
    let doomed = world.core("bob").doomed("reading", false).unwrap();
    let now = world.now;
    world.core("bob").wipe(doomed.group, now).unwrap();
    assert!(world.core("bob").is_being_erased(doomed.group));
    world.stop("bob");
    world.start("bob");
    assert!(world.core("bob").is_being_erased(doomed.group));
    assert!(matches!(wipe(&mut world, false), Err(VerbError::NoSuchGroup { .. })));
    world.pass(10_000);
    assert!(!world.core("bob").is_being_erased(doomed.group));
    assert_eq!(left(&mut world), 0);
}
