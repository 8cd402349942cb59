//! A relay whose operator says who uses it: a group has a token, and its guests need nothing.

use std::fs;

use harness::{Forms, Node, Token, World, absent};
use node::api::types::{RelayState, What};

/// Waits until a node has said that the relay of a group does not take its token, or none; gives what
/// is to be done.
fn until_closed(node: &Node, after: u64, group: &str, words: &str) -> String {
    node.until_after(after, &format!("{group}: {words:?}"), |event| match &event.what {
        What::RelayClosed { reason, hint, .. }
            if reason.contains(words)
                && event.group.as_ref().is_some_and(|it| it.name == group) =>
        {
            Some(hint.clone())
        }
        _ => None,
    })
}

fn until_up(node: &Node, group: &str) {
    node.until_group(group, "its relay to be up", |group| {
        group.summary.relay_states.iter().all(|relay| relay.state == RelayState::Up)
    });
}

/// Makes a group with a token, as a script would.
fn create(node: &Node, group: &str, token: &Token) {
    let args = ["group", "create", group, "--relay-token-file", "-"];
    let said = node.cli_with(&args, &format!("{}\n", token.text));
    assert!(!said.err.contains("wtt1") && !said.out.contains("wtt1"), "a secret: {said:?}");
    said.ok();
}

#[test]
fn guests_at_a_closed_relay_need_nothing_but_the_code() {
    let world = World::new();
    let relay = world.closed_relay();
    let token = relay.token("ana");
    let mut ana = world.node("ana").relay(&relay).no_direct().start();
    let mut ben = world.node("ben").no_relay().no_direct().start();
    ana.until("to hear that the relay wants a token", |event| match &event.what {
        What::Relay { relay } if relay.reason.contains("wants a token") => Some(()),
        _ => None,
    });
    create(&ana, "tea", &token);
    ben.join(&ana.invite("tea"));
    ana.send("tea", "the kettle is on");
    ben.hears("tea", "the kettle is on");

    ben.stop();
    let kept = ana.send("tea", "while you were away");
    ana.until_stored(&kept);
    ana.stop();
    ben.start_again();
    ben.hears("tea", "while you were away");
    let kept = ben.send("tea", "and now you are");
    ben.until_stored(&kept);
    ana.start_again();
    ana.hears("tea", "and now you are");

    // Somebody with neither is told why, and what to do.
    let cleo = world.node("cleo").relay(&relay).no_direct().start();
    cleo.create_group("coffee");
    let hint = until_closed(&cleo, 0, "coffee", "wants a token");
    assert!(hint.contains("--relay-token-file"), "{hint}");
    let status = cleo.cli(&["status"]).ok();
    assert!(status.contains("the relay wants a token"), "{status}");
    let shown = cleo.cli(&["group", "show", "coffee"]).ok();
    assert!(shown.contains("--relay-token-file"), "{shown}");
    let secrets = [Forms::text("the token", &token.text)];
    for node in [&ana, &ben] {
        absent(&secrets, "a log", &fs::read(node.log_file()).unwrap());
        let said = format!("{:?} {:?} {:?}", node.events(), node.status(), node.group("tea"));
        absent(&secrets, "what a node says", said.as_bytes());
    }
    absent(&secrets, "the relay's log", &fs::read(relay.log_file()).unwrap());
}

#[test]
fn a_token_that_is_taken_back_is_told_and_another_one_heals() {
    let world = World::new();
    let relay = world.closed_relay();
    let (token, other) = (relay.token("tea"), relay.token("coffee"));
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").no_relay().start();
    create(&ana, "tea", &token);
    create(&ana, "coffee", &other);
    ben.join(&ana.invite("tea"));
    ana.send("tea", "hello");
    ben.hears("tea", "hello");

    relay.revoke(&token);
    let hint = until_closed(&ana, 0, "tea", "does not take the token");
    assert!(hint.contains("ask its operator for a new one"), "{hint}");
    let hint = until_closed(&ben, 0, "tea", "does not take the token");
    assert!(hint.contains("an admin of the group"), "{hint}");
    // The other group there goes on.
    until_up(&ana, "coffee");
    let kept = ana.send("coffee", "to myself");
    ana.until_stored(&kept);

    let give =
        |text: &str| ana.cli_with(&["group", "policy", "tea", "--relay-token-file", "-"], text);
    let mistyped = give(&token.text.replace("wtt1q", "wtt1p")).refused(2);
    assert!(mistyped.contains("mistyped"), "{mistyped}");
    let said = ana.cli(&["group", "policy", "tea", "--relay-token-file", &token.text]).refused(2);
    assert!(said.contains("argument") && !said.contains(&token.text), "{said}");
    let refused = give(&token.text).refused(5);
    assert!(refused.contains("does not take") && refused.contains("operator"), "{refused}");

    let before = [ana.latest_event(), ben.latest_event()];
    give(&relay.token("tea again").text).ok();
    for (node, before) in [&ana, &ben].into_iter().zip(before) {
        node.until_after(before, "the relay to take the new token", |event| match &event.what {
            What::RelayOpened { .. } => Some(()),
            _ => None,
        });
        until_up(node, "tea");
    }
    let kept = ben.send("tea", "we are back");
    ben.until_stored(&kept);
    ana.hears("tea", "we are back");
}

#[test]
fn a_token_is_replaced_before_it_is_taken_back_and_nobody_is_shut_out() {
    let world = World::new();
    let relay = world.closed_relay();
    let token = relay.token("old");
    let ana = world.node("ana").relay(&relay).no_direct().start();
    let ben = world.node("ben").no_relay().no_direct().start();
    create(&ana, "tea", &token);
    ben.join(&ana.invite("tea"));
    ana.send("tea", "hello");
    ben.hears("tea", "hello");

    let new = relay.token("new");
    ana.cli_with(&["group", "policy", "tea", "--relay-token-file", "-"], &new.text).ok();
    ana.send("tea", "with a new token");
    ben.hears("tea", "with a new token");
    // A relay that has not noticed the new one yet may have refused it before; from here on, none does.
    for node in [&ana, &ben] {
        let kept = node.send("tea", "it is stored under the new one");
        node.until_stored(&kept);
    }
    let before = [ana.latest_event(), ben.latest_event()];
    relay.revoke(&token);
    relay.until_refuses(&token);
    ana.send("tea", "the old one is gone");
    ben.hears("tea", "the old one is gone");
    ben.send("tea", "so it is");
    ana.hears("tea", "so it is");
    for (node, before) in [&ana, &ben].into_iter().zip(before) {
        until_up(node, "tea");
        let mut later = node.events().into_iter().filter(|event| event.seq > before);
        assert!(!later.any(|event| matches!(event.what, What::RelayClosed { .. })));
    }
}

#[test]
fn who_was_away_while_the_token_was_replaced_has_it_from_a_new_code() {
    let world = World::new();
    let relay = world.closed_relay();
    let token = relay.token("old");
    let ana = world.node("ana").relay(&relay).no_direct().start();
    let mut ben = world.node("ben").no_relay().no_direct().start();
    create(&ana, "tea", &token);
    ben.join(&ana.invite("tea"));
    ana.send("tea", "hello");
    ben.hears("tea", "hello");
    ben.stop();
    let new = relay.token("new");
    ana.cli_with(&["group", "policy", "tea", "--relay-token-file", "-"], &new.text).ok();
    relay.revoke(&token);
    let kept = ana.send("tea", "are you there?");
    ana.until_stored(&kept);
    relay.until_refuses(&token);

    ben.start_again();
    let hint = until_closed(&ben, 0, "tea", "does not take the token");
    assert!(hint.contains("wattle join"), "{hint}");
    let code = ana.invite("tea");
    let said = ben.cli_with(&["join"], &code).ok();
    assert!(said.contains("joined tea"), "{said}");
    ben.hears("tea", "are you there?");
    until_up(&ben, "tea");
    // By now the policy has it; and the code is there for whom it was made.
    ben.stop();
    ben.start_again();
    until_up(&ben, "tea");
    let cleo = world.node("cleo").no_relay().no_direct().start();
    cleo.join(&code);
}

#[test]
fn a_token_in_the_environment_is_shown_to_no_relay_that_it_is_not_for() {
    let world = World::new();
    let (own, other) = (world.relay_named("own"), world.closed_relay());
    let token = other.token("ana");
    let ana = world.node("ana").relay(&own).no_direct().start();
    let create = |group: &str, args: &str| {
        let line = format!("wattle group create {group} --relay {} {args}", other.address());
        let said = ana.shell(&format!("WATTLE_RELAY_TOKEN={} {line}", token.text));
        assert!(!said.err.contains("wtt1") && !said.out.contains("wtt1"), "a secret: {said:?}");
        assert_eq!(said.code, Some(0), "{said:?}");
        said.err
    };
    let tokens = |group: &'static str| {
        let policy = ana.ask("a policy", |client| async move { client.policy(group).await });
        policy.relay_tokens.len()
    };
    let words = create("tea", "");
    assert!(words.contains("--relay-token-for"), "{words}");
    assert_eq!(tokens("tea"), 0);
    until_closed(&ana, 0, "tea", "wants a token");
    create("coffee", &format!("--relay-token-for {}", other.address()));
    assert_eq!(tokens("coffee"), 1);
    until_up(&ana, "coffee");
}

#[test]
fn what_is_said_of_a_token_is_said_by_the_relay_that_it_is_for() {
    let world = World::new();
    let (mut own, other) = (world.relay_named("own"), world.closed_relay());
    let token = other.token("ana");
    let ana = world.node("ana").relay(&own).no_direct().start();
    let create = |args: &[&str]| {
        let all = [&["group", "create"], args, &["--relay-token-file", "-"]].concat();
        let said = ana.cli_with(&all, &token.text);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.err
    };
    let words = create(&["tea"]);
    assert!(words.contains("this relay asks for no token"), "{words}");
    own.kill9();
    let (own, other) = (own.address(), other.address());
    let words = create(&["coffee", "--relay", own, "--relay", other, "--relay-token-for", other]);
    assert!(words.contains("the relay takes the token"), "the other one is away: {words}");
}
