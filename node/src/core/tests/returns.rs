//! Who was out of a group, listened, and is back.

use super::world::World;
use crate::api::types::GroupState;

fn state(world: &mut World, name: &str) -> GroupState {
    let now = world.now;
    world.core(name).groups(now).unwrap().remove(0).state
}

#[test]
fn who_is_back_by_an_op_reads_what_came_while_it_was_out() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one, &two]);
    for name in ["bob", "cyd", "dan"] {
        world.node(name, &[]);
    }
    world.settle();
    world.create("ada", "reading");
    for name in ["bob", "cyd", "dan"] {
        let code = world.invite("ada", "reading");
        world.joined(name, &code);
    }
    let now = world.now;
    for name in ["bob", "cyd"] {
        world.core("ada").promote("reading", name, now).unwrap();
        world.settle();
    }
    world.pass(10_000);
    // Bob does not hear that Cyd removes Dan, who does.
    world.stop("bob");
    world.relay_stands(&two, false);
    world.remove("cyd", "reading", "dan");
    world.pass(10_000);
    assert_eq!(state(&mut world, "dan"), GroupState::Removed);
    world.stop("ada");
    world.stop("cyd");
    world.relay_stands(&one, false);
    world.relay_stands(&two, true);
    world.start("bob");
    world.pass(60_000);
    world.send("bob", "reading", "are you there?");
    world.pass(10_000);
    assert_eq!(state(&mut world, "dan"), GroupState::Removed);
    assert!(world.texts("dan").is_empty());
    // By a grant that the removal does not revoke Dan is a member all the same.
    let now = world.now;
    world.core("bob").promote("reading", "dan", now).unwrap();
    world.pass(10_000);
    assert_ne!(state(&mut world, "dan"), GroupState::Removed);
    assert_eq!(world.texts("dan"), ["are you there?"]);
}
