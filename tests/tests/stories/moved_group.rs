//! A group moves to a new one: after its founder by itself, after another admin by who says so.

use harness::{Node, Relay, World};
use node::api::types::{GroupState, What};

fn three(world: &World, relay: &Relay) -> [Node; 3] {
    let nodes = ["ana", "ben", "cleo"].map(|name| world.node(name).relay(relay).start());
    let [ana, others @ ..] = &nodes;
    ana.create_group("tea");
    for other in others {
        other.join(&ana.invite("tea"));
    }
    for node in &nodes {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    nodes
}

fn until_moved(node: &Node, to: &str) {
    node.until("to be in the new group", |event| match &event.what {
        What::GroupAdded if event.group.as_ref().is_some_and(|group| group.id == to) => Some(()),
        _ => None,
    });
}

#[test]
fn everybody_follows_the_founder_and_talks_on_in_the_new_group() {
    let world = World::new();
    let relay = world.relay();
    let [ana, ben, cleo] = three(&world, &relay);
    let old = ana.group("tea").summary.id;
    let new = ana.cli(&["group", "migrate", "tea"]).ok().trim().to_owned();
    assert_ne!(old, new);
    for node in [&ben, &cleo] {
        until_moved(node, &new);
        node.until_out(&old, GroupState::Migrated);
        node.cli(&["send", &old, "too late"]).refused(5);
        // By its name it is the new one.
        assert_eq!(node.group("tea").summary.id, new);
    }
    ben.send("tea", "same people");
    ana.hears("tea", "same people");
    cleo.hears("tea", "same people");
    assert!(cleo.texts(&old).is_empty());
}

#[test]
fn another_admin_is_followed_by_who_says_so() {
    let world = World::new();
    let relay = world.relay();
    let [ana, ben, cleo] = three(&world, &relay);
    ana.cli(&["group", "promote", "tea", "ben"]).ok();
    ben.until_group("tea", "ben to be an admin", |view| {
        view.people.iter().any(|it| it.me && it.role == node::api::types::Role::Admin)
    });
    let old = ben.group("tea").summary.id;
    let new = ben.cli(&["group", "migrate", "tea", "--without", "ana"]).ok().trim().to_owned();
    cleo.until("to be asked", |event| match &event.what {
        What::Moved { to, followed: false, .. } if *to == new => Some(()),
        _ => None,
    });
    cleo.send("tea", "still with ana");
    ana.hears("tea", "still with ana");
    cleo.cli(&["group", "follow", "tea"]).ok();
    assert_eq!(cleo.group(&old).summary.state, GroupState::Migrated);
    cleo.until_people(&new, &["ben", "cleo"]);
    cleo.send(&new, "to the new one");
    ben.hears("tea", "to the new one");
}
