//! The command line in a shell's pipes.

use harness::World;
use serde_json::Value;

#[test]
fn lines_go_in_and_come_out() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let group = ana.cli(&["group", "create", "tea"]);
    assert!(!group.err.trim().is_empty(), "it names the next step: {group:?}");
    group.ok();
    let code = ana.cli(&["invite", "tea"]).ok();
    assert_eq!(code.trim().lines().count(), 1, "the code stands alone: {code:?}");
    ben.cli_with(&["join"], &code).ok();

    ana.cli_with(&["send", "tea"], "one\ntwo\nthree\n").ok();
    ben.hears("tea", "three");
    ana.cli(&["send", "tea", "four", "words", "in", "one"]).ok();
    ben.hears("tea", "four words in one");

    let history = ben.cli(&["--json", "history", "tea"]).ok();
    let texts: Vec<String> = history
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"))
        .map(|line| line["text"].as_str().or(line["message"]["text"].as_str()).unwrap().to_owned())
        .collect();
    assert_eq!(texts, ["one", "two", "three", "four words in one"]);

    let tail = ben.cli(&["--json", "tail", "tea", "--from-start", "--no-follow"]).ok();
    assert!(tail.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{tail}");
    assert!(tail.contains("four words in one"));
}

#[test]
fn a_reader_that_goes_away_ends_tail_without_a_word() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    for n in 0..10 {
        ana.send("tea", &format!("line {n}"));
    }
    let said = ana.shell("wattle --json tail tea --from-start | head -n 2");
    assert_eq!(said.out.lines().count(), 2, "{said:?}");
    assert!(!said.err.contains("panic"), "{said:?}");
}

#[test]
fn what_is_not_there_has_its_exit_code() {
    let world = World::new();
    let mut ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    ana.cli(&["send", "coffee", "hello"]).refused(6);
    ana.cli(&["group", "show", "coffee"]).refused(6);
    ana.cli(&["remove-everything"]).refused(2);
    ana.stop();
    ana.cli(&["send", "tea", "hello"]).refused(3);
}
