//! The command line without a node: what it says, and how it ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program on a data directory, with `input` on standard input.
fn wattle(dir: &Path, args: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wattle"))
        .args(args)
        .env_clear()
        .env("WATTLE_DATA_DIR", dir)
        .env("WATTLE_CONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read it is no error.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn nowhere(args: &[&str], input: &str) -> Said {
    let dir = tempfile::tempdir().unwrap();
    let said = wattle(dir.path(), args, input);
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "{args:?} left something behind");
    said
}

const COMMANDS: [&[&str]; 21] = [
    &[],
    &["init"],
    &["up"],
    &["down"],
    &["status"],
    &["ping"],
    &["doctor"],
    &["group"],
    &["group", "create"],
    &["group", "list"],
    &["group", "show"],
    &["group", "remove"],
    &["group", "leave"],
    &["group", "rotate"],
    &["invite"],
    &["join"],
    &["send"],
    &["tail"],
    &["history"],
    &["demo"],
    &["bench"],
];

const CODE: &str = "wattle1qyqqq2z6tfd95kj6tfd95kj6tfd95kj6tfd95knnd9u8get9dcsxy7t5v4ejqmmtkt3f54";

#[test]
fn the_help_of_every_command_says_what_exit_codes_mean() {
    for command in COMMANDS {
        let said = nowhere(&[command, &["--help"]].concat(), "");
        assert_eq!(said.code, Some(0), "{command:?}");
        assert!(said.out.contains("3 node not running"), "{command:?}: {}", said.out);
        assert!(said.err.is_empty());
    }
}

#[test]
fn the_manual_and_the_completions_are_printed_without_a_node() {
    let manual = nowhere(&["man"], "");
    assert_eq!(manual.code, Some(0), "{}", manual.err);
    assert!(manual.out.contains(".TH wattle 1") && manual.err.is_empty(), "{}", manual.err);
    assert!(manual.out.contains("wattle\\-group\\-create"), "those below groups too");
    assert!(!manual.out.contains("wattle\\-relay"), "what is hidden stays so");
    for (shell, says) in [
        ("bash", "__complete"),
        ("zsh", "__complete"),
        ("fish", "__complete"),
        ("elvish", "share-history"),
    ] {
        let said = nowhere(&["completions", shell], "");
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.contains(says) && said.err.is_empty(), "{shell}");
    }
    assert_eq!(nowhere(&["completions", "csh"], "").code, Some(2));
}

#[test]
fn the_version_is_printed() {
    let said = nowhere(&["--version"], "");
    assert_eq!((said.code, said.out.as_str()), (Some(0), concat!("wattle ", "0.1.0", "\n")));
}

#[test]
fn what_is_no_command_is_a_usage_error() {
    for args in [&["frobnicate"][..], &["group"], &["send"], &["invite", "ops", "--uses", "0"]] {
        let said = nowhere(args, "");
        assert_eq!(said.code, Some(2), "{args:?}");
        assert!(said.out.is_empty() && said.err.contains("--help"), "{}", said.err);
    }
}

#[test]
fn without_a_node_each_command_says_how_to_start_one() {
    let commands: [&[&str]; 15] = [
        &["status"],
        &["down"],
        &["group", "create", "ops"],
        &["group", "list"],
        &["group", "show", "ops"],
        &["group", "remove", "ops", "ben"],
        &["group", "leave", "ops"],
        &["group", "rotate", "ops"],
        &["invite", "ops"],
        &["join"],
        &["send", "ops", "hello"],
        &["tail", "ops"],
        &["--json", "history", "ops"],
        &["verify", "ops"],
        &["verify", "@ben", "--mark"],
    ];
    for args in commands {
        let said = nowhere(args, CODE);
        assert_eq!(said.code, Some(3), "{args:?}: {}", said.err);
        let last = said.err.lines().last();
        assert_eq!(last, Some("hint: start it with: wattle up"), "{args:?}");
        assert!(said.out.is_empty(), "{args:?}: {}", said.out);
    }
}

#[test]
fn a_code_in_an_argument_is_refused_and_not_repeated() {
    for args in [&["join", CODE][..], &["join", "wattle1qyqq", "q2z6tf"]] {
        let said = nowhere(args, "");
        assert_eq!(said.code, Some(2));
        assert!(said.err.contains("--code-file") && said.err.contains("history"), "{}", said.err);
        assert!(!said.err.contains("qyqq"), "{}", said.err);
    }
}

#[test]
fn damaged_codes_get_messages_of_their_own_before_a_node_is_asked() {
    let mut messages = Vec::new();
    let mistyped = CODE.replace("xy7t", "xyt7");
    for input in [mistyped.as_str(), &CODE[..50], "https://example.org", "", "\n\n"] {
        let said = nowhere(&["join", "-"], input);
        assert_eq!(said.code, Some(2), "{input:?}: {}", said.err);
        assert!(said.out.is_empty());
        messages.push(said.err);
    }
    assert!(messages[0].contains("mistyped"), "{}", messages[0]);
    assert!(messages[1].contains("50 of 77"), "{}", messages[1]);
    assert!(messages[2].contains("no invite code"), "{}", messages[2]);
    assert_eq!(messages[3], messages[4]);
}

#[test]
fn a_code_is_read_from_a_file_or_the_environment_as_people_paste_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("code");
    fs::write(&file, format!("  {}\n {}\n", &CODE[..40], CODE[40..].to_uppercase())).unwrap();
    let said = wattle(dir.path(), &["join", "--code-file", file.to_str().unwrap()], "");
    assert_eq!(said.code, Some(3), "{}", said.err);
    let said = wattle(dir.path(), &["join", "--code-file", "/nowhere"], "");
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("/nowhere"), "{}", said.err);
}

#[test]
fn a_data_directory_that_can_not_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let said = wattle(&file, &["init", "--name", "ana"], "");
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains(file.to_str().unwrap()), "{}", said.err);
}

/// Libraries look at whether they write to a terminal, too.
#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_it_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("{} --data-dir {}", env!("CARGO_BIN_EXE_wattle"), dir.path().display());
    let output = Command::new("script")
        .args(["-qec", &format!("{line} status"), "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("hint: start it with: wattle up"), "{said}");
}

#[test]
fn an_empty_passphrase_locks_nothing_and_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty");
    fs::write(&file, "\n").unwrap();
    let said = nowhere(&["init", "--passphrase-file", file.to_str().unwrap()], "");
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(said.err.contains("passphrase is empty"), "{}", said.err);
}

#[test]
fn what_is_compared_and_marked_is_a_member_and_in_one_way() {
    for args in [&["--mark"][..], &["--unmark"], &["--accept"], &["--compare", "12345", "67890"]] {
        let said = nowhere(&[&["verify", "ops"], args].concat(), "");
        assert_eq!(said.code, Some(2), "{args:?}: {}", said.err);
        assert!(said.err.contains("wattle verify @ops"), "{}", said.err);
    }
    let both = nowhere(&["verify", "@ben", "--mark", "--compare", "12345"], "");
    assert_eq!(both.code, Some(2), "{}", both.err);
}

#[test]
fn an_empty_name_of_a_group_is_refused_before_anything_is_asked() {
    for command in [&["group", "show", ""][..], &["send", "", "hi"], &["tail", ""]] {
        let said = nowhere(command, "");
        assert_eq!(said.code, Some(2), "{command:?}: {}", said.err);
    }
}
