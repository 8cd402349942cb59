//! Answers, edits, deletions, reactions and pins, from the command line.

use harness::{Node, World};
use node::api::types::What;

/// What a history shows, a message a line, without times and ids.
fn lines(history: &str) -> Vec<&str> {
    let lines = history.lines().filter(|line| !line.starts_with("--"));
    lines.map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default()).collect()
}

/// The digits by which somebody names the message that shows so.
fn named(node: &Node, text: &str) -> String {
    let history = node.cli(&["history", "tea", "--ids"]).ok();
    let line = history.lines().find(|line| line.ends_with(text));
    line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("{history}")).to_owned()
}

fn shows(node: &Node, expected: &[&str]) {
    node.until(&format!("{expected:?}"), |event| {
        if !matches!(event.what, What::Message { .. } | What::Changed { .. }) {
            return None;
        }
        let history = node.cli(&["history", "tea", "--ids"]).ok();
        (lines(&history) == expected).then_some(())
    });
}

#[test]
fn what_is_said_of_messages_is_shown_by_all_and_what_is_deleted_is_gone_from_the_disk() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    let code = ana.cli(&["invite", "tea"]).ok();
    ben.cli_with(&["join"], &code).ok();
    ana.cli(&["send", "tea", "--wait", "all", "tea or cofee?"]).ok();

    ana.cli(&["edit", "tea", "last", "tea", "or", "coffee?"]).ok();
    shows(&ben, &["ana: tea or coffee? (edited)"]);
    let question = named(&ben, "(edited)");
    ben.cli(&["send", "tea", "--reply", &question, "--mention", "@ana", "tea"]).ok();
    ben.cli(&["react", "tea", &question, "👍"]).ok();
    let answer = "ben (to ana: “tea or coffee?”): tea";
    shows(&ana, &["ana: tea or coffee? (edited) [👍 ben]", answer]);
    ana.cli(&["pin", "tea", &named(&ana, "[👍 ben]")]).ok();
    shows(&ben, &["ana: tea or coffee? (edited) [👍 ben] (pinned by ana)", answer]);
    let refused = ben.cli(&["edit", "tea", &question, "mine"]).refused(5);
    assert!(refused.contains("only who wrote"), "{refused}");
    ben.cli(&["pin", "tea", "last"]).refused(5);
    ben.cli(&["delete", "tea", "00000000"]).refused(6);

    ana.cli(&["send", "tea", "--wait", "all", "what nobody should have read"]).ok();
    ana.cli(&["delete", "tea", "last"]).ok();
    shows(
        &ben,
        &["ana: tea or coffee? (edited) [👍 ben] (pinned by ana)", answer, "ana: (deleted by ana)"],
    );
    for node in [&ana, &ben] {
        let tail = node.cli(&["--json", "tail", "tea", "--from-start", "--no-follow"]).ok();
        assert!(!tail.contains("nobody should"), "{tail}");
        assert!(tail.contains("\"event\":\"changed\"") && tail.contains("\"change\":\"delete\""));
    }
    let tail = ben.cli(&["tail", "tea", "--from-start", "--no-follow"]).ok();
    assert!(tail.contains("* ana edited the message of"), "{tail}");
    assert!(tail.contains("* ana deleted the message of"), "{tail}");
}
