//! Settings from flags, environment and file, as the program takes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    process::{Command, Output},
};

fn says(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn rendezvous(args: &[&str], home: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.args(args).env_clear().env("HOME", home);
    command
}

#[test]
fn a_file_is_written_once_found_again_and_overruled_by_environment_and_flags() {
    let home = tempfile::tempdir().unwrap();
    let (code, path, words) = says(&mut rendezvous(&["init"], home.path()));
    assert_eq!(code, Some(0), "{words}");
    let path = path.trim_end();
    let (code, _, words) = says(&mut rendezvous(&["init"], home.path()));
    assert_eq!(code, Some(1));
    assert!(words.contains("--force"), "{words}");

    let text = fs::read_to_string(path).unwrap();
    let (code, shown, _) = says(&mut rendezvous(&["config"], home.path()));
    assert_eq!((code, &shown), (Some(0), &text), "nothing is set yet");
    let text = text.replace("#connections = 5000", "connections = 7");
    let text = text.replace("#external = []", "external = [\"one.example:1\"]");
    fs::write(path, &text).unwrap();
    let (_, shown, _) = says(&mut rendezvous(&["config"], home.path()));
    assert_eq!(shown, text);
    let mut command = rendezvous(&["config"], home.path());
    let (_, shown, _) = says(command.env("WATTLE_RENDEZVOUS_EXTERNAL", "two.example:2"));
    assert!(shown.contains("external = [\"two.example:2\"]\n"), "{shown}");
    let (_, shown, _) = says(command.args(["--external", "three.example:3", "--no-store"]));
    assert!(shown.contains("external = [\"three.example:3\"]\n"), "{shown}");
    for (value, store) in [("1", "memory"), ("false", "disk")] {
        let mut command = rendezvous(&["config"], home.path());
        let (_, shown, words) = says(command.env("WATTLE_RENDEZVOUS_NO_STORE", value));
        assert_eq!(shown.contains("\nstore = \"memory\"\n"), store == "memory", "{words}");
    }
    assert!(shown.contains("\nstore = \"memory\"\n") && shown.contains("\nttl = \"2m\"\n"));
}

#[test]
fn what_can_not_be_followed_starts_nothing_and_is_said_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("relay.toml");
    for (text, said) in [
        ("listn = []", "has a key that is none: listn; did you mean listen?"),
        ("listen = [", "is not written as it should be"),
        ("[limits]\nttl = \"soon\"", "limits: \"soon\" is no time"),
        ("external = [\"a b\"]", "expected HOST:PORT"),
    ] {
        fs::write(&file, text).unwrap();
        let args = ["run", "--json", "--config", file.to_str().unwrap()];
        let (code, out, words) = says(&mut rendezvous(&args, home.path()));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{text}");
        assert!(words.contains(said), "{text}: {words}");
    }
}

#[test]
fn the_manual_names_each_command_and_shells_complete_them() {
    let home = tempfile::tempdir().unwrap();
    let (code, page, _) = says(&mut rendezvous(&["man"], home.path()));
    assert_eq!(code, Some(0));
    for name in ["run", "status", "init", "config", "completions"] {
        assert!(page.contains(&format!("wattle\\-rendezvous\\-{name}(1)")), "{name}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = says(&mut rendezvous(&["completions", shell], home.path()));
        assert!(code == Some(0) && script.contains("no-store"), "{shell}");
    }
}
