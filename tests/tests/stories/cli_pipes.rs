//! The command line in a shell's pipes.

use std::fs;

use harness::World;
use node::core::TEXT_MAX;
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
fn a_dash_is_standard_input_and_a_block_of_it_is_one_message() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    ana.cli_with(&["send", "tea", "-"], "one\ntwo\n").ok();
    assert_eq!(ana.texts("tea"), ["one", "two"]);
    ana.cli_with(&["send", "tea", "--block", "-"], "three\n\n  four\n").ok();
    assert_eq!(ana.texts("tea")[2..], ["three\n\n  four"]);
    let said = ana.cli(&["send", "tea", "--block", "five"]).refused(2);
    assert!(said.contains("--block"), "{said}");

    let long: Vec<String> = (0..10_000).map(|n| format!("line {n}")).collect();
    ana.cli_with(&["send", "tea", "--block"], &long.join("\n")).ok();
    let texts = &ana.texts("tea")[3..];
    assert!(texts.len() > 2 && texts.iter().all(|text| text.len() <= TEXT_MAX));
    let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    assert!(lines == long, "no line is lost, cut or out of its place");
}

#[test]
fn what_comes_after_a_pause_is_another_message() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    let go = world.dir().join("go");
    let line = format!(
        "(printf 'one\\ntwo\\n'; until [ -e {} ]; do sleep 0.1; done; echo three) | \
         wattle send tea --block",
        go.display()
    );
    std::thread::scope(|scope| {
        let said = scope.spawn(|| world.shell("ana", &line));
        // The message is there before its writer has ended.
        ana.until_group("tea", "a message", |_| !ana.texts("tea").is_empty());
        fs::write(&go, "").unwrap();
        said.join().unwrap().ok();
    });
    assert_eq!(ana.texts("tea"), ["one\ntwo", "three"]);
}

#[test]
fn lines_that_go_on_are_waited_for_while_they_come() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    ana.create_group("tea");
    let lines: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    let args = ["send", "tea", "--wait", "stored", "--timeout", "2m"];
    let said = ana.cli_with(&args, &lines.join("\n"));
    assert!(said.err.contains("200 messages sent, and kept"), "{said:?}");
    said.ok();
    assert_eq!(ana.texts("tea"), lines);
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
