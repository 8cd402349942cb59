//! What a shell proposes: commands, and the groups and members that the node knows, in real shells.

use std::process::Command;

use harness::{Node, World, available};

/// A name that a shell would run, or take apart.
const EVIL: &str = "te $(touch evil)";

/// Runs a script of this shell beside the completions for it, in the file `c`.
fn says(node: &Node, shell: &str, options: &str, script: &str) -> Option<String> {
    let there = Command::new(shell).arg("--version").output().map(drop);
    available(there.map_err(|_| format!("no {shell} here: install the package {shell}")))?;
    let folder = node.data_dir().join("shells");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(shell), script).unwrap();
    let line = format!(
        "cd {} && wattle completions {shell} > c && {shell} {options} {shell}",
        folder.display()
    );
    let said = node.shell(&line).ok();
    assert!(!folder.join("evil").exists(), "{shell} ran a group's name");
    Some(said)
}

#[test]
fn shells_propose_commands_groups_and_members_and_run_no_name() {
    let world = World::new();
    let relay = world.relay();
    let (ana, _ben) = world.pair(&relay);
    ana.create_group(EVIL);
    let id = ana.group(EVIL).summary.id[..8].to_owned();

    // Readline calls it so.
    let bash = r#"
        source ./c
        compopt() { echo "files"; }
        try() { COMP_LINE=$1 COMP_POINT=${#1}; _wattle; echo "${COMPREPLY[@]}"; }
        try 'wattle gr'
        try 'wattle send '
        try 'wattle group remove tea b'
        try 'wattle group remove tea @b'
        try 'wattle send tea --mention=b'
        try 'wattle send tea --file '
    "#;
    if let Some(said) = says(&ana, "bash", "--norc", bash) {
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..2], ["group", &format!("{id} tea")], "{said}");
        assert_eq!(lines[2..], ["ben", "ben", "ben", "files", ""], "{said}");
    }
    // As the line editor does, but for its screen.
    let zsh = r#"
        compdef() { }
        _describe() { print -r -- ${(P)4} }
        _files() { print files }
        source ./c
        try() { words=("${(@)argv}"); CURRENT=$#; PREFIX=$argv[-1]; _wattle }
        try wattle gr
        try wattle send ''
        try wattle group remove tea @b
        try wattle send tea --mention=b
        try wattle send tea --file ''
    "#;
    if let Some(said) = says(&ana, "zsh", "-f", zsh) {
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("group:Make"), "{said}");
        assert!(lines[1].contains(&format!("{id}:te $(touch evil) tea:")), "{said}");
        assert!(lines[2].starts_with("@ben:") && lines[3].starts_with("--mention=ben:"), "{said}");
        assert_eq!(lines[4], "files", "{said}");
    }
    let fish = "
        source ./c
        complete -C 'wattle gr'
        complete -C 'wattle send '
        complete -C 'wattle group remove tea @b'
        complete -C 'wattle send tea --file ./c'
    ";
    if let Some(said) = says(&ana, "fish", "--no-config", fish) {
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("group\t"), "{said}");
        assert_eq!(lines[1], format!("{id}\t{EVIL}"), "{said}");
        assert!(lines[2].starts_with("tea\t") && lines[3].starts_with("@ben\t"), "{said}");
        assert!(lines[4].contains("./c"), "{said}");
    }
    // Who has no node gets no names, and no words.
    let said = world.shell("nobody", "wattle __complete send ''");
    assert!(said.out.is_empty() && said.err.is_empty(), "{said:?}");
    let said = world.shell("nobody", "WATTLE_CONFIG=/nowhere wattle __complete group ''");
    assert!(said.out.is_empty() && said.err.is_empty(), "{said:?}");
}
