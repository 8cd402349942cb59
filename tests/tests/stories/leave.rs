//! Somebody leaves: the others know, and go on without them.

use std::fs;

use harness::{Node, World};
use node::api::types::{CreateInvite, GroupState, JoinState, Role, What};

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
    let (ana, ben) = world.pair(&relay);
    ben.leave("tea");
    ana.until_people("tea", &["ana"]);
    ben.join(&ana.invite("tea"));
    ana.until_people("tea", &["ana", "ben"]);
    ana.send("tea", "welcome back");
    ben.hears("tea", "welcome back");
}

/// Asks by a code, and is not let in; the words.
fn refused(node: &Node, code: &str) -> String {
    let join = node.join_later(code);
    node.until("the join to fail", |event| match &event.what {
        What::Join { join: now } if now.id == join.id && now.state == JoinState::Failed => {
            Some(now.detail.clone())
        }
        _ => None,
    })
}

#[test]
fn who_left_comes_back_by_an_admin_who_has_not_heard_of_it_only_once_they_have() {
    let world = World::new();
    let mut relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    let cleo = world.node("cleo").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.cli(&["group", "promote", "tea", "ben"]).ok();
    ben.until_group("tea", "ben to be an admin", |view| {
        view.people.iter().any(|person| person.me && person.role == Role::Admin)
    });
    let terms = CreateInvite { uses: Some(2), ask: Some(false), ..CreateInvite::default() };
    let code = ben.invite_for("tea", terms).code.unwrap();
    cleo.join(&code);
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }

    // Ben is off while cleo leaves, and the relay forgets it: only ana has heard.
    ben.stop();
    relay.kill9();
    let kept = world.dir().join("relay-kept");
    harness::copy_dir(&relay.data_dir(), &kept);
    relay.restart();
    cleo.leave("tea");
    ana.until_people("tea", &["ana", "ben"]);
    ana.stop();
    relay.kill9();
    fs::remove_dir_all(relay.data_dir()).unwrap();
    harness::copy_dir(&kept, &relay.data_dir());
    relay.restart();
    ben.start_again();

    // To ben she is a member; the Welcome that he gives her again by the code of then she does not take.
    for code in [code, ben.invite("tea")] {
        let why = refused(&cleo, &code);
        assert!(why.contains("does not know yet that you left"), "{why}");
    }
    assert_eq!(ben.people("tea"), ["ana", "ben", "cleo"]);
    cleo.until_out("tea", GroupState::Left);

    ana.start_again();
    ben.until_people("tea", &["ana", "ben"]);
    cleo.join(&ben.invite("tea"));
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    cleo.send("tea", "here I am again");
    ana.hears("tea", "here I am again");
    ben.hears("tea", "here I am again");
}
