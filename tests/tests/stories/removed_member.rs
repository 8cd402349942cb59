//! Somebody is locked out: nothing that follows can be read there, whatever was kept.

use harness::{Node, Relay, World, copy_dir};
use node::api::types::{GroupState, What};

/// Ana, ben and eve, all in "tea". All are in "cake" too: what eve hears there afterwards shows
/// that her node had its time, by the same ways.
fn three(world: &World, relay: &Relay) -> [Node; 3] {
    let nodes = ["ana", "ben", "eve"].map(|name| world.node(name).relay(relay).start());
    let [ana, others @ ..] = &nodes;
    for group in ["tea", "cake"] {
        ana.create_group(group);
        for other in others {
            other.join(&ana.invite(group));
        }
        for node in &nodes {
            node.until_people(group, &["ana", "ben", "eve"]);
        }
        for node in &nodes {
            node.send(group, &format!("{} is here", node.name()));
        }
        for node in &nodes {
            for other in nodes.iter().filter(|other| other.name() != node.name()) {
                node.hears(group, &format!("{} is here", other.name()));
            }
        }
    }
    nodes
}

fn has_nothing_of(eve: &Node, secret: &str) {
    let texts = eve.texts("tea");
    assert!(!texts.iter().any(|text| text.contains(secret)), "{texts:?}");
    let told = format!("{:?}", eve.events());
    assert!(!told.contains(secret), "an event tells {secret:?}");
}

#[test]
fn a_removed_member_can_open_nothing_that_follows() {
    let world = World::new();
    let relay = world.relay();
    let [ana, ben, mut eve] = three(&world, &relay);
    let dan = world.node("dan").relay(&relay).start();

    ana.remove("tea", "eve");
    eve.until_out("tea", GroupState::Removed);
    ben.until_people("tea", &["ana", "ben"]);
    ana.send("tea", "the secret is kettle");
    ben.hears("tea", "the secret is kettle");
    let log = ana.cli(&["audit", "tea"]).ok();
    assert!(log.contains("removed eve (") && log.contains(" -eve ("), "{log}");
    ben.send("tea", "the secret is saucer");
    ana.hears("tea", "the secret is saucer");
    // Neither names nor ops after it: who joins now is nobody that eve hears of.
    dan.join(&ana.invite("tea"));
    ben.until_people("tea", &["ana", "ben", "dan"]);
    dan.send("tea", "the secret is spoon");
    ben.hears("tea", "the secret is spoon");

    ana.send("cake", "first fence");
    eve.hears("cake", "first fence");
    has_nothing_of(&eve, "the secret");
    has_nothing_of(&eve, "dan");
    eve.cli(&["send", "tea", "let me in"]).refused(5);

    // The same after she connects again with everything that she had.
    eve.kill9();
    eve.start_again();
    ana.send("cake", "second fence");
    eve.hears("cake", "second fence");
    has_nothing_of(&eve, "the secret");
    assert!(!eve.people("tea").contains(&"dan".to_owned()));

    // And of the keys made anew, none was sealed to her.
    for node in [&ana, &ben, &dan] {
        let removal = node.events().into_iter().find_map(|event| match event.what {
            What::MemberRemoved { .. } => Some(event.seq),
            _ => None,
        });
        for event in node.events() {
            if event.group.as_ref().is_some_and(|group| group.name == "tea")
                && removal.is_none_or(|seq| event.seq > seq)
                && let What::Rotated { to, .. } = event.what
            {
                assert!(to.iter().all(|member| member.name != "eve"), "sealed to her: {to:?}");
            }
        }
    }
}

#[test]
fn a_database_from_before_the_removal_opens_nothing_that_follows() {
    let world = World::new();
    let relay = world.relay();
    let [ana, ben, mut eve] = three(&world, &relay);
    eve.stop();
    let kept = world.dir().join("eve-kept");
    copy_dir(&eve.data_dir(), &kept);

    ana.remove("tea", "eve");
    ben.until_people("tea", &["ana", "ben"]);
    ana.send("tea", "the secret is kettle");
    ben.hears("tea", "the secret is kettle");
    let last = ben.send("tea", "the secret is saucer");
    ben.until_stored(&last);
    ana.hears("tea", "the secret is saucer");

    let eve = world.node("eve").living_in(kept).relay(&relay).start();
    eve.until_out("tea", GroupState::Removed);
    ana.send("cake", "fence");
    eve.hears("cake", "fence");
    has_nothing_of(&eve, "the secret");
}

#[test]
fn who_was_removed_and_is_invited_again_reads_on_from_there_only() {
    let world = World::new();
    let relay = world.relay();
    let [ana, ben, eve] = three(&world, &relay);
    ana.remove("tea", "eve");
    eve.until_out("tea", GroupState::Removed);
    ana.send("tea", "between ourselves");
    ben.hears("tea", "between ourselves");
    eve.join(&ana.invite("tea"));
    ana.until_people("tea", &["ana", "ben", "eve"]);
    ana.send("tea", "all together again");
    eve.hears("tea", "all together again");
    has_nothing_of(&eve, "between ourselves");
}
