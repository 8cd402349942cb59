//! Groups as pipes: scripts that are killed and go on, with named cursors.

use harness::{Node, Talk, World};
use serde_json::Value;

const READ: [&str; 5] = ["--json", "tail", "tea", "--cursor", "ship"];
const ACKED: [&str; 6] = ["--json", "tail", "tea", "--cursor", "ship", "--ack"];

fn seq(line: &str) -> u64 {
    let line: Value = serde_json::from_str(line).expect("each line is JSON");
    line["seq"].as_u64().expect("each line has a number")
}

/// The events of the group up to one.
fn all(node: &Node, until: u64) -> Vec<u64> {
    let all = node.cli(&["--json", "tail", "tea", "--from-start", "--no-follow"]).ok();
    all.lines().map(seq).filter(|seq| *seq <= until).collect()
}

/// A node with a cursor before some messages; the number of the last one's event.
fn with_messages(world: &World) -> (Node, u64) {
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    ana.cli(&["cursor", "set", "ship", "tea", "--from-start"]).ok();
    for n in 0..12 {
        ana.send("tea", &format!("line {n}"));
    }
    let last = ana.cli(&["--json", "tail", "tea", "-n", "1", "--no-follow"]).ok();
    (ana, seq(&last))
}

fn is_held(node: &Node) -> bool {
    let cursors = node.cli(&["--json", "cursor", "list"]).ok();
    cursors.contains("\"held\":true")
}

fn takes(node: &Node, cursor: &[&str]) -> Talk {
    let talk = node.talk(cursor);
    node.until_group("tea", "the cursor is held", |_| is_held(node));
    talk
}

/// Waits until the cursor is after an event.
fn until_after(node: &Node, seq: u64) {
    let after = format!("\"after\":{seq},");
    node.until_group("tea", "the cursor is moved", |_| {
        node.cli(&["--json", "cursor", "list"]).ok().contains(&after)
    });
}

#[test]
fn who_reads_by_a_cursor_and_is_killed_at_any_line_misses_none_and_is_told_at_most_that_one_again()
{
    let world = World::new();
    let (ana, last) = with_messages(&world);
    let mut read: Vec<u64> = Vec::new();
    for lines in [1, 2, 3].into_iter().cycle().take(60) {
        if read.last().is_some_and(|read| *read >= last) {
            break;
        }
        let tail = ana.talk(&READ);
        let mut told: Vec<u64> = Vec::new();
        // How many are left depends on what was heard before the kills.
        while told.len() < lines && told.last().is_none_or(|told| *told < last) {
            let Some(line) = tail.line() else { break };
            told.push(seq(&line));
        }
        told.extend(tail.kill9().iter().map(|line| seq(line)));
        assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
        if read.last() == told.first() {
            read.pop();
        }
        read.extend(told);
    }
    assert_eq!(read, all(&ana, *read.last().unwrap()));
    assert!(*read.last().unwrap() >= last);
}

#[test]
fn who_acknowledges_and_notes_what_is_done_loses_nothing_and_does_nothing_twice() {
    let world = World::new();
    let (ana, last) = with_messages(&world);
    let mut done: Vec<u64> = Vec::new();
    let mut again = 0;
    for run in 0.. {
        if done.last().is_some_and(|done| *done >= last) {
            break;
        }
        assert!(run < 100, "{done:?}");
        let (mut tail, mut said) = (ana.talk(&ACKED), None);
        for _ in 0..=run % 3 {
            let Some(line) = tail.line() else { break };
            let seq = seq(&line);
            said = Some(seq);
            if done.last().is_none_or(|done| *done < seq) {
                done.push(seq);
            } else {
                again += 1;
            }
            tail.say(&seq.to_string());
            // How many are left depends on what was heard before the kills.
            if seq >= last {
                break;
            }
        }
        // Else it may be killed each time before the node has heard anything.
        if let Some(said) = said.filter(|_| run % 2 == 1) {
            until_after(&ana, said);
        }
        tail.kill9();
    }
    assert_eq!(done, all(&ana, *done.last().unwrap()));
    println!("{again} lines were told again, whose acknowledgement had not come to the node");

    // What was shown and is not acknowledged is shown again, whole.
    ana.cli(&["cursor", "set", "ship", "tea", "--from-start"]).ok();
    let mut tail = ana.talk(&ACKED);
    let told: Vec<u64> = (0..6).map_while(|_| tail.line()).map(|line| seq(&line)).collect();
    tail.say(&told[2].to_string());
    until_after(&ana, told[2]);
    tail.kill9();
    let mut tail = ana.talk(&ACKED);
    assert_eq!(tail.line().map(|line| seq(&line)), Some(told[3]));
    // Twice is once; what was not shown can't be done with.
    tail.say(&told[1].to_string());
    tail.say("4000000000");
    assert_eq!(tail.ended(), Some(2));
    let mut tail = ana.talk(&ACKED);
    assert_eq!(tail.line().map(|line| seq(&line)), Some(told[3]));
    tail.say("frog");
    assert_eq!(tail.ended(), Some(2));
    // Whoever ends without a word has done nothing of it.
    assert_eq!(ana.talk(&ACKED).ended(), Some(0));
}

#[test]
fn two_do_not_read_by_one_cursor() {
    let world = World::new();
    let (ana, _) = with_messages(&world);
    let tail = takes(&ana, &READ);
    let said = ana.cli(&READ).refused(5);
    assert!(said.contains("somebody else reads"), "{said}");
    ana.cli(&["cursor", "drop", "ship"]).refused(5);
    ana.cli(&["cursor", "set", "ship", "tea"]).refused(5);
    ana.cli(&["--json", "tail", "tea", "--cursor", "other", "--no-follow"]).ok();
    assert!(ana.cli(&["cursor"]).ok().contains("read by somebody now"));
    tail.kill9();
    // Nobody has to wait longer than the node takes to see it.
    ana.cli(&["tail", "tea", "--cursor", "ship", "--no-follow"]).ok();
    ana.until_group("tea", "the cursor is free", |_| !is_held(&ana));
    ana.cli(&["cursor", "drop", "ship"]).ok();
    ana.cli(&["cursor", "drop", "ship"]).refused(6);
}

#[test]
fn a_cursor_is_of_one_group_and_one_count_of_events() {
    let world = World::new();
    let (mut ana, last) = with_messages(&world);
    ana.create_group("coffee");
    ana.cli(&["tail", "coffee", "--cursor", "ship", "--no-follow"]).refused(2);
    ana.cli(&["tail", "tea", "--cursor", "../x", "--no-follow"]).refused(2);
    ana.cli(&["tail", "tea", "--cursor", "ship", "--ack", "--no-follow"]).refused(2);
    ana.cli(&["tail", "tea", "--ack"]).refused(2);
    let ahead = ana.cli(&["tail", "tea", "--since", "4000000000", "--no-follow"]).refused(10);
    assert!(ahead.contains("restored"), "{ahead}");
    ana.cli(&["cursor", "set", "ship", "tea", "--to", "4000000000"]).refused(10);
    let since = (last - 1).to_string();
    let told = ana.cli(&["--json", "tail", "tea", "--since", &since, "--no-follow"]).ok();
    assert_eq!(told.lines().next().map(seq), Some(last));
    let told = ana.cli(&["--json", "tail", "tea", "-n", "3", "--no-follow"]).ok();
    assert_eq!(told.matches("\"event\":\"message\"").count(), 3, "{told}");
    assert_eq!(told.lines().count(), 3);

    // A new one begins with what comes, and what comes is told when it is taken up again.
    ana.cli(&["tail", "tea", "--cursor", "new", "--no-follow"]).ok();
    ana.send("tea", "since");
    let told = ana.cli(&["tail", "tea", "--cursor", "new", "--no-follow"]).ok();
    assert!(told.contains("since") && !told.contains("line 11"), "{told}");
    assert!(ana.cli(&["tail", "tea", "--cursor", "new", "--no-follow"]).ok().is_empty());

    let file = world.dir().join("ana.backup");
    let passphrase = world.dir().join("passphrase");
    std::fs::write(&passphrase, "six words that nobody has guessed yet").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&passphrase, mode).unwrap();
    let [at, from] = [&file, &passphrase].map(|path| path.to_str().unwrap());
    ana.cli(&["backup", "create", at, "--backup-passphrase-file", from]).ok();
    ana.stop();
    std::fs::remove_dir_all(ana.data_dir()).unwrap();
    let home = ana.data_dir();
    let home = home.file_name().unwrap().to_str().unwrap();
    world.cli(home, &["backup", "restore", at, "--backup-passphrase-file", from]).ok();
    ana.start_again();
    let said = ana.cli(&["tail", "tea", "--cursor", "ship", "--no-follow"]).refused(10);
    assert!(said.contains("restored backup") && said.contains("cursor set"), "{said}");
    assert!(ana.cli(&["cursor", "list"]).ok().contains("set it anew"));
    ana.cli(&["cursor", "set", "ship", "tea"]).ok();
    ana.cli(&["tail", "tea", "--cursor", "ship", "--no-follow"]).ok();
}
