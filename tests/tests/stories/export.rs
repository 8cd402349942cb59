//! What a group has said, in files.

use std::{fs, os::unix::fs::PermissionsExt};

use harness::World;
use node::api::types::Message;

#[test]
fn a_group_is_exported_whole_and_what_others_write_stays_text() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    let lines: Vec<String> = (0..230).map(|n| format!("line {n}")).collect();
    ana.cli_with(&["send", "tea", "-"], &lines.join("\n")).ok();
    let hostile = "<script>alert(1)</script> [a](javascript:b) **c** \u{202e}d\u{1b}[2J";
    ana.cli(&["send", "tea", "tea or cofee?"]).ok();
    ana.cli(&["edit", "tea", "last", "tea or coffee?"]).ok();
    ana.cli(&["react", "tea", "last", "ack"]).ok();
    ana.cli(&["send", "tea", "--reply", "last", hostile]).ok();
    ana.cli(&["send", "tea", "what nobody should read"]).ok();
    ana.cli(&["delete", "tea", "last"]).ok();

    let all = ana.cli(&["export", "tea"]).ok();
    let read = |line: &str| serde_json::from_str::<Message>(line).unwrap();
    let all: Vec<Message> = all.lines().map(read).collect();
    assert_eq!(all, ana.history("tea"));
    assert_eq!(all.len(), 233);

    let out = world.dir().join("tea.html");
    let path = out.to_str().unwrap();
    let said = ana.cli(&["export", "tea", "--format", "html", "--out", path]);
    assert!(said.err.contains("233 messages") && said.err.contains("not encrypted"), "{said:?}");
    assert!(said.ok().is_empty());
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let page = fs::read_to_string(&out).unwrap();
    let refused = ana.cli(&["export", "tea", "--out", path]).refused(5);
    assert!(refused.contains("--force"), "{refused}");
    assert_eq!(fs::read_to_string(&out).unwrap(), page);
    ana.cli(&["export", "tea", "--format", "markdown", "--out", path, "--force"]).ok();
    let markdown = fs::read_to_string(&out).unwrap();

    for (text, name) in [(&page, "html"), (&markdown, "markdown")] {
        let at: Vec<usize> = lines.iter().map(|line| text.find(line.as_str()).unwrap()).collect();
        assert!(at.is_sorted(), "in the order of the history");
        for wanted in ["coffee?", "edited", "ack ana", "deleted by ana", "202e"] {
            assert!(text.contains(wanted), "{name} has no {wanted}: {text}");
        }
        assert!(!text.contains("cofee") && !text.contains("nobody should"));
        assert!(!text.contains("<script>") && !text.contains(['\u{1b}', '\u{202e}']));
    }
    assert!(page.contains("Content-Security-Policy") && page.contains("@media print"));
    assert!(markdown.contains("\\[a\\]\\(javascript\\:b\\)"), "{markdown}");

    assert!(ana.cli(&["export", "tea", "--until", "2020-01-01"]).ok().is_empty());
    let count = |args: &[&str]| {
        let said = ana.cli(&[&["export", "tea"], args].concat()).ok();
        said.lines().count()
    };
    assert_eq!(count(&["--since", "7d"]), 233);
    assert_eq!(count(&["--from", "@ana"]), 233);
    ana.cli(&["export", "tea", "--from", "zed"]).refused(6);
    // What one left that was killed goes, and nothing else.
    let [left, other] =
        ["aB3dE6gH", "notes"].map(|end| world.dir().join(format!(".wattle-export-{end}")));
    [&left, &other].into_iter().for_each(|file| fs::write(file, "half of it").unwrap());
    let none = world.dir().join("none.md");
    ana.cli(&["export", "tea", "--from", "zed", "--out", none.to_str().unwrap()]).refused(6);
    assert!(!none.exists(), "an empty file was left");
    assert!(!left.exists() && other.exists());
    ana.cli(&["export", "tea", "--since", "yesterday"]).refused(2);
    ana.cli(&["export", "coffee"]).refused(6);
    let said = ana.shell("wattle export tea | head -n 2");
    assert_eq!(said.out.lines().count(), 2);
    assert!(!said.err.contains("panic"), "{said:?}");
}
