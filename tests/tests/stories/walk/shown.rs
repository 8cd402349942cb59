//! What people are shown to type: in the documents' blocks of shell, and below the help of each command.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use harness::World;

/// Commands that no list shows, with examples all the same.
const HIDDEN: &[&str] = &["wattle relay"];

/// Each command line once, with where it stands.
pub fn shown(world: &World) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let place = path.strip_prefix(repository()).unwrap().display().to_string();
        all.extend(blocks(&text).into_iter().map(|line| (line, place.clone())));
    }
    let programs = ["wattle", "wattle-rendezvous"].into_iter().chain(HIDDEN.iter().copied());
    for program in programs {
        below(world, program, &mut all);
    }
    all
}

/// The folder of the workspace.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn documents() -> Vec<PathBuf> {
    let mut all = vec![repository().join("README.md"), repository().join("CONTRIBUTING.md")];
    let mut folders = vec![repository().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|end| end == "md") => all.push(path),
                false => {}
            }
        }
    }
    all
}

/// The commands of a document's blocks: without comments, and with what goes on behind a backslash as one.
fn blocks(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let (mut is_shell, mut begun) = (false, String::new());
    for line in text.lines().map(str::trim) {
        if let Some(language) = line.strip_prefix("```") {
            is_shell = !is_shell && ["sh", "console", "bash", "shell"].contains(&language);
            continue;
        }
        let line = line.split(" # ").next().unwrap_or_default().trim();
        if !is_shell || line.is_empty() || line.starts_with('#') {
            continue;
        }
        begun.push_str(line.trim_end_matches('\\'));
        if !line.ends_with('\\') {
            commands.push(std::mem::take(&mut begun));
        }
    }
    commands
}

/// The examples in the help of a command, and of those below it.
fn below(world: &World, command: &str, all: &mut BTreeMap<String, String>) {
    let help = world.shell("nobody", &format!("{command} --help")).ok();
    let place = format!("{command} --help");
    all.extend(examples(&help).into_iter().map(|example| (example, place.clone())));
    let lists = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in lists.take_while(|line| !line.is_empty()) {
        match line.split_whitespace().next() {
            Some("help") | None => {}
            Some(name) => below(world, &format!("{command} {name}"), all),
        }
    }
}

/// Those in a list of their own, and those at the end of a line of words.
fn examples(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty()).map(|line| line.trim().to_owned());
    let said = help.lines().filter(|line| !line.starts_with(' ') && !line.starts_with("Usage: "));
    let said = said.filter_map(|line| Some(format!("wattle{}", line.split_once(": wattle")?.1)));
    listed.chain(said).collect()
}

#[test]
fn blocks_of_shell_are_read_without_comments() {
    let text = "```sh\na --b   # why\n# words\n\nana$ c | \\\n  d\n```\n```toml\ne = 1\n```\n   ```sh\n   f\n   ```\n";
    assert_eq!(blocks(text), ["a --b", "ana$ c | d", "f"]);
}
