//! Somebody leaves: the others know, and go on without them.

use harness::World;
use node::api::types::{GroupState, What};

#[test]
fn who_leaves_hears_no_more_and_the_others_know() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let cleo = world.node("cleo").relay(&relay).start();
    for group in ["tea", "cake"] {
        ana.create_group(group);
        ben.join(&ana.invite(group));
        cleo.join(&ana.invite(group));
        for node in [&ana, &ben, &cleo] {
            node.until_people(group, &["ana", "ben", "cleo"]);
        }
    }
    cleo.leave("tea");
    cleo.until_out("tea", GroupState::Left);
    for node in [&ana, &ben] {
        node.until("cleo to have left", |event| match &event.what {
            What::MemberLeft { member } if member.name == "cleo" => Some(()),
            _ => None,
        });
        node.until_people("tea", &["ana", "ben"]);
    }
    ana.send("tea", "she is gone");
    ben.hears("tea", "she is gone");

    // What comes after it on the same ways shows that it had its time.
    ana.send("cake", "still here");
    cleo.hears("cake", "still here");
    assert!(!cleo.texts("tea").contains(&"she is gone".to_owned()));
    cleo.cli(&["send", "tea", "one more thing"]).refused(5);
}

#[test]
fn who_left_comes_back_with_a_new_invite() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ben.leave("tea");
    ana.until_people("tea", &["ana"]);
    ben.join(&ana.invite("tea"));
    ana.until_people("tea", &["ana", "ben"]);
    ana.send("tea", "welcome back");
    ben.hears("tea", "welcome back");
}
