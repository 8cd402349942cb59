//! What others write, on a terminal: nothing of it steers one, hides or turns what is shown.

use std::fs;

use harness::{Node, Said, World};
use node::api::types::{CreateInvite, JoinState, What};
use protocol::hidden::is_hidden;

/// A name as hostile as one on a card may be: of two directions, with a joiner and marks.
const EVE: &str = "ev\u{200d}e\u{301}\u{5e2}\u{5d1}\u{5e8}";

/// A new title, a cleared screen, a bell, a line written over, a link: in words of C0 and of C1, then each
/// character that is not seen.
fn nasty() -> String {
    let escapes =
        "\u{1b}]0;title\u{7}\u{1b}[2J\u{9b}31m\u{9d}8;;http://example.org\u{9c}\rana: yes";
    let controls = (0..0xa0u8).map(char::from).filter(|c| c.is_control() && *c != '\n');
    let hidden = ('\u{a0}'..=char::MAX).filter(|c| is_hidden(*c));
    escapes.chars().chain(controls).chain(hidden).chain("\n12:00 ana: no".chars()).collect()
}

/// Neither stream has what a terminal obeys, or what a person doesn't see.
fn is_clean(args: &[&str], said: &Said) {
    for text in [&said.out, &said.err] {
        let bad = text.chars().find(|c| (c.is_control() && !"\n\t".contains(*c)) || is_hidden(*c));
        assert_eq!(bad, None, "{args:?}: {text:?}");
    }
}

fn shows_nothing_raw(node: &Node, args: &[&str]) -> Said {
    let said = node.cli(args);
    is_clean(args, &said);
    let json = node.cli(&[&["--json"], args].concat());
    is_clean(args, &json);
    said
}

#[test]
fn what_a_member_writes_steers_nobodys_terminal() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    let eve = world.node(EVE).no_relay().start();
    let nasty = nasty();
    let typed: String = nasty.chars().filter(|c| *c != '\0').take(30).collect();
    for refused in [typed.as_str(), "te\u{202e}a", "te\u{ad}a", "\u{1b}[2J"] {
        let args = ["group", "create", refused];
        let said = eve.cli(&args);
        is_clean(&args, &said);
        said.refused(2);
    }
    ana.create_group("tea");
    let asks = CreateInvite { ask: Some(true), ..CreateInvite::default() };
    let code = ana.invite_for("tea", asks).code.unwrap();
    eve.join_later(&code);
    ana.until_group("tea", "somebody to wait", |_| {
        !ana.ask("requests", |client| async move { client.requests("tea").await }).is_empty()
    });
    let waits = shows_nothing_raw(&ana, &["invite", "list", "tea"]).ok();
    assert!(waits.contains(EVE), "{waits}");
    ana.ask("approve", |client| async move { client.approve("tea", EVE).await });
    eve.until("to be let in", |event| match &event.what {
        What::Join { join } if join.state == JoinState::Joined => Some(()),
        _ => None,
    });
    ana.until_people("tea", &["ana", EVE]);

    eve.send("tea", &nasty);
    let bad_name: String = nasty.chars().filter(|c| !"\0/".contains(*c)).take(60).collect();
    for name in [bad_name.as_str(), "--help", ".bashrc"] {
        let path = world.dir().join(name);
        fs::write(&path, "a file").unwrap();
        let args = ["file", "send", "tea", path.to_str().unwrap()];
        let said = eve.cli(&args);
        is_clean(&args, &said);
        said.ok();
    }
    eve.send("tea", "the end");
    let end = ana.hears("tea", "the end");
    let answer = ana.send("tea", "seen");
    eve.hears("tea", "seen");
    ana.until_received(&answer);

    for args in [
        &["status"][..],
        &["doctor"],
        &["group", "list"],
        &["group", "show", "tea"],
        &["group", "policy", "tea"],
        &["invite", "list", "tea"],
        &["history", "tea"],
        &["tail", "tea", "-n", "50", "--no-follow"],
        &["tail", "tea", "--from-start", "--no-follow"],
        &["delivery", "tea"],
        &["delivery", "tea", &end.id],
        &["file", "list", "tea"],
        &["verify", "tea"],
        &["audit", "tea"],
        &["audit", "verify", "tea"],
        &["audit", "export", "tea"],
        &["machine", "list"],
        &["ping", EVE],
        // What is not there is said as it was typed, but for what steers.
        &["history", &typed],
        &["file", "get", "tea", &typed],
        &["delivery", "tea", &typed],
        &["group", "remove", "tea", &typed],
    ] {
        shows_nothing_raw(&ana, args);
    }
    let history = ana.cli(&["history", "tea"]).ok();
    assert!(history.contains("\\u{1b}]0;title\\u{7}\\u{1b}[2J\\u{9b}31m"), "{history}");
    assert!(
        history.contains("\n      12:00 ana: no"),
        "no line of a message poses as one: {history}"
    );

    // Saved, a name is no option and no hidden file.
    for (name, saved) in [("--help", "_--help"), (".bashrc", "_.bashrc")] {
        let path = ana.cli(&["file", "get", "tea", "--", name]).ok();
        assert!(path.trim().ends_with(&format!("/{saved}")), "{path}");
        assert_eq!(fs::read(path.trim()).unwrap(), b"a file");
    }
}
