//! Who is let into a group, and by whom: asked about, by another admin, by two at once, by letter.

use harness::{Node, Relay, World};
use node::api::types::{CreateInvite, GroupState, JoinState, JoinView, Role, What};

fn any_admin() -> CreateInvite {
    CreateInvite { any_admin: Some(true), ..CreateInvite::default() }
}

/// Waits for a join to be in a state.
fn until(node: &Node, join: &JoinView, state: JoinState) -> JoinView {
    node.until(&format!("the join to be {state:?}"), |event| match &event.what {
        What::Join { join: now } if now.id == join.id && now.state == state => Some(now.clone()),
        _ => None,
    })
}

fn promote(founder: &Node, group: &'static str, member: &Node) {
    let name = member.name().to_owned();
    founder.ask("promote", |client| async move { client.promote(group, &name).await });
    member.until_group(group, "to be an admin", |view| {
        view.people.iter().any(|person| person.me && person.role == Role::Admin)
    });
}

fn asks(node: &Node, name: &str) {
    node.until(&format!("{name} to ask"), |event| match &event.what {
        What::JoinRequested { request } if request.member.name == name => Some(()),
        _ => None,
    });
}

#[test]
fn a_person_is_asked_about_everybody_who_wants_in() {
    let world = World::new();
    let relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    let eve = world.node("eve").relay(&relay).start();
    ana.create_group("tea");
    let code = ana.cli(&["invite", "create", "tea", "--uses", "2", "--expires", "1h"]).ok();

    let (bens, eves) = (ben.join_later(code.trim()), eve.join_later(code.trim()));
    let waiting = until(&ben, &bens, JoinState::WaitingForApproval);
    assert!(waiting.detail.contains("waiting for approval"), "{}", waiting.detail);
    until(&eve, &eves, JoinState::WaitingForApproval);
    asks(&ana, "ben");
    asks(&ana, "eve");

    // Both sides start anew, and nobody has forgotten anything.
    ben.kill9();
    ana.kill9();
    ana.start_again();
    let listed = ana.cli(&["invite", "list", "tea"]).ok();
    let line = listed.lines().find(|line| line.starts_with("ben waits")).unwrap();
    let asked = ana.ask("list", |client| async move { client.requests("tea").await });
    // Whose request came first is anybody's guess.
    let bens_own = asked.iter().find(|request| request.member.name == "ben").unwrap();
    assert!(line.contains(&bens_own.fingerprint), "{line}");
    ana.cli(&["invite", "approve", "tea", "ben"]).ok();
    ana.cli(&["--json", "invite", "deny", "tea", "@eve"]).ok();
    ana.cli(&["invite", "approve", "tea", "eve"]).refused(6);
    let denied = until(&eve, &eves, JoinState::Failed);
    assert_eq!(denied.detail, "the request was denied");
    ben.start_again();
    until(&ben, &bens, JoinState::Joined);
    ana.until_people("tea", &["ana", "ben"]);
    ana.send("tea", "welcome");
    ben.hears("tea", "welcome");
}

#[test]
fn an_admin_other_than_the_maker_serves_an_invite() {
    let world = World::new();
    let relay = world.relay();
    let (mut ana, ben) = world.pair(&relay);
    let cleo = world.node("cleo").relay(&relay).start();
    promote(&ana, "tea", &ben);
    let code = ana.cli(&["invite", "create", "tea", "--any-admin", "--ask"]).ok();
    // What follows the invite shows that it has come.
    ana.send("tea", "I am off");
    ben.hears("tea", "I am off");
    ana.stop();

    let join = cleo.join_later(code.trim());
    asks(&ben, "cleo");
    ben.cli(&["invite", "approve", "tea", "cleo"]).ok();
    until(&cleo, &join, JoinState::Joined);
    // Ben could have been removed meanwhile; the group's log says that he wasn't.
    cleo.until("the view to be confirmed", |event| match &event.what {
        What::ViewConfirmed => Some(()),
        _ => None,
    });
    cleo.send("tea", "hello");
    ben.hears("tea", "hello");
    ana.start_again();
    ana.hears("tea", "hello");
}

/// A group of two admins who use two relays, at each of which one of them is alone at times.
fn apart(world: &World, relays: [&Relay; 2]) -> [Node; 4] {
    let [ana, ben, cleo, dan] = ["ana", "ben", "cleo", "dan"].map(|name| {
        let node = world.node(name).no_direct();
        relays.iter().fold(node, |node, relay| node.relay(relay)).start()
    });
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    promote(&ana, "tea", &ben);
    [ana, ben, cleo, dan]
}

#[test]
fn of_two_who_redeem_one_invite_at_once_by_two_admins_one_is_in_and_the_other_is_told() {
    let world = World::new();
    let (mut one, mut two) = (world.relay_named("one"), world.relay_named("two"));
    let [mut ana, mut ben, mut cleo, dan] = apart(&world, [&one, &two]);
    let code = ana.invite_for("tea", any_admin()).code.unwrap();
    ana.send("tea", "one seat is left");
    ben.hears("tea", "one seat is left");

    ben.stop();
    two.kill9();
    cleo.join(&code);
    cleo.stop();
    ana.stop();
    one.kill9();
    two.restart();
    ben.start_again();
    let join = dan.join_later(&code);
    until(&dan, &join, JoinState::Joined);
    one.restart();
    ana.start_again();
    cleo.start_again();

    let lost = until(&dan, &join, JoinState::Failed);
    assert_eq!(lost.detail, "the invite was used by somebody else at the same moment");
    dan.until_out("tea", GroupState::Removed);
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    ben.send("tea", "sorry, dan");
    for node in [&ana, &cleo] {
        node.hears("tea", "sorry, dan");
    }
    assert!(!dan.texts("tea").contains(&"sorry, dan".to_owned()));
    dan.cli(&["send", "tea", "am I in?"]).refused(5);
    // The next invite lets dan in like anybody.
    dan.join(&ana.invite("tea"));
    ana.until_people("tea", &["ana", "ben", "cleo", "dan"]);
}

#[test]
fn joiner_and_admin_who_are_never_there_together_meet_by_letter() {
    let world = World::new();
    let relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    let code = ana.invite("tea");
    ana.stop();

    let join = ben.join_later(&code);
    ben.until("the request to lie at the relay", |event| match &event.what {
        What::Join { join } if join.detail.contains("lies at the relay") => Some(()),
        _ => None,
    });
    ben.stop();
    ana.start_again();
    ana.until_people("tea", &["ana", "ben"]);
    let welcome = ana.send("tea", "come in, ben");
    ana.until_stored(&welcome);
    ana.stop();
    ben.start_again();
    until(&ben, &join, JoinState::Joined);
    ben.hears("tea", "come in, ben");
}
