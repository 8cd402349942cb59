//! Conversations of two: asked for over a group, by one person of another, and of nobody else's business.

use harness::{Node, World};
use node::api::types::TalkState;

fn state(node: &Node) -> Vec<String> {
    node.cli(&["dm"]).ok().lines().map(str::to_owned).collect()
}

fn reads(node: &Node, with: &str, text: &str) {
    let said = node.cli_until(&["history", with], |said| said.out.contains(text));
    assert_eq!(said.ok().matches(text).count(), 1);
}

fn until_open(node: &Node) {
    node.cli_until(&["dm"], |said| said.out.lines().any(|line| line.ends_with("open"))).ok();
}

#[test]
fn two_of_a_group_talk_alone_and_the_third_learns_nothing_of_it() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    let cleo = world.node("cleo").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    cleo.join(&ana.invite("tea"));
    ben.until_group("tea", "cleo is in", |group| group.people.len() == 3);

    // It waits until the other one comes, also where that one is away.
    ben.stop();
    let said = ana.cli(&["dm", "@ben", "between", "us"]);
    assert!(said.err.contains("waits until they come"), "{said:?}");
    said.ok();
    ana.cli(&["dm", "@ben"]).ok();
    assert_eq!(ana.cli(&["group", "list"]).ok().lines().count(), 2, "it is asked for once");
    assert!(state(&ana)[0].contains("has not come yet"));
    ben.start_again();
    let asked = ben.cli_until(&["dm"], |said| said.out.contains("asks you"));
    assert!(asked.ok().contains("ana"));
    assert_eq!(ben.cli(&["group", "list"]).ok().lines().count(), 1, "nobody comes unasked");

    ben.cli(&["dm", "@ana", "only", "us"]).ok();
    until_open(&ana);
    until_open(&ben);
    reads(&ben, "@ana", "between us");
    reads(&ana, "@ben", "only us");
    ana.cli(&["send", "@ben", "and so on"]).ok();
    reads(&ben, "@ana", "and so on");

    // Nobody else is ever in it, whoever founded it.
    for (node, with) in [(&ana, "@ben"), (&ben, "@ana")] {
        let refused = node.cli(&["invite", with]);
        assert!(refused.err.contains("conversation of two"), "{refused:?}");
        refused.refused(5);
    }
    assert_eq!(cleo.cli(&["group", "list"]).ok().lines().count(), 1);
    assert!(cleo.cli(&["dm"]).ok().is_empty());
    assert!(!cleo.cli(&["history", "tea"]).ok().contains("us"));
    ana.cli(&["dm", "@ana"]).refused(2);
    ana.cli(&["history", "@cleo"]).refused(6);
    ana.cli(&["dm", "@nobody"]).refused(6);

    // After a start it is still theirs.
    ben.stop();
    ana.send("@ben", "while you were away");
    ben.start_again();
    reads(&ben, "@ana", "while you were away");
}

#[test]
fn of_two_asked_for_at_once_one_stays_and_nothing_is_lost() {
    let world = World::new();
    let mut relay = world.relay();
    let ana = world.node("ana").relay(&relay).no_direct().start();
    let ben = world.node("ben").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.until_group("tea", "ben is in", |group| group.people.len() == 2);
    // Neither has heard of the other's wish when it asks.
    relay.kill9();
    for (node, with, text) in [(&ana, "@ben", "from ana"), (&ben, "@ana", "from ben")] {
        let said = node.cli(&["dm", with, text]);
        assert!(said.err.contains("waits until they come"), "{said:?}");
        said.ok();
    }
    relay.restart();
    until_open(&ana);
    until_open(&ben);
    for node in [&ana, &ben] {
        let with = if node.name() == "ana" { "@ben" } else { "@ana" };
        reads(node, with, "from ana");
        reads(node, with, "from ben");
        let talks: Vec<_> = node.ask("talks", |client| async move { client.talks().await });
        assert_eq!(talks.len(), 1);
        assert_eq!(talks[0].state, TalkState::Open);
    }
    ana.send("@ben", "on we go");
    reads(&ben, "@ana", "on we go");
}

#[test]
fn who_is_denied_or_blocked_is_told_nothing() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let mallory = world.node("mallory").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    mallory.join(&ana.invite("tea"));
    ana.until_group("tea", "all are in", |group| group.people.len() == 3);
    mallory.cli(&["dm", "@ana", "psst"]).ok();
    ana.cli_until(&["dm"], |said| said.out.contains("mallory")).ok();
    let denied = ana.cli(&["dm", "@mallory", "--deny"]);
    assert!(denied.err.contains("is told nothing"), "{denied:?}");
    denied.ok();
    assert!(state(&ana).is_empty());
    ana.cli(&["dm", "@mallory", "--deny"]).refused(6);
    assert!(state(&mallory)[0].contains("has not come yet"));
    // Of who is blocked nothing is kept.
    ben.cli(&["block", "@mallory"]).ok();
    mallory.cli(&["dm", "@ben", "psst"]).ok();
    mallory.send("tea", "hello all");
    ben.hears("tea", "hello all");
    assert!(state(&ben).is_empty());
}
