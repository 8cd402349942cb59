//! Parts of a history: before a message, by its writer and by time.

use harness::World;

#[test]
fn a_history_is_shown_in_parts() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    let lines: Vec<String> = (0..130).map(|n| format!("line {n}")).collect();
    ana.cli_with(&["send", "tea", "-"], &lines.join("\n")).ok();
    let all = ana.history("tea");
    assert_eq!(all.len(), 130);
    let shown = |args: &[&str]| -> Vec<String> {
        let said = ana.cli(&[&["--json", "history", "tea"], args].concat()).ok();
        let text = |line: &str| {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            message["text"].as_str().unwrap().to_owned()
        };
        said.lines().map(text).collect()
    };
    let before = |n: usize| all[n].id[..12].to_owned();

    assert_eq!(shown(&["--before", &before(20), "-n", "5"]), lines[15..20]);
    assert_eq!(shown(&["--before", &before(120), "-n", "110"]), lines[10..120]);
    assert!(shown(&["--before", &before(0)]).is_empty());
    assert_eq!(shown(&["--from", "@ana", "-n", "125"]), lines[5..]);
    assert_eq!(shown(&["--member", "ana", "--before", &before(7)]), lines[..7]);
    assert_eq!(shown(&["--since", "1d", "-n", "3"]), lines[127..]);
    assert!(shown(&["--until", "1d"]).is_empty());
    assert_eq!(shown(&["--since", "150000w", "-n", "1"]), lines[129..]);

    let said = ana.cli(&["history", "tea", "--from", "ana", "-n", "2"]);
    assert!(said.err.contains(&format!("--before {}", &all[128].id[..8])), "{said:?}");
    assert!(ana.cli(&["history", "tea", "--until", "1d"]).err.contains("no such messages"));
    ana.cli(&["history", "tea", "--from", "zed"]).refused(6);
    ana.cli(&["history", "tea", "--before", "00"]).refused(6);
    ana.cli(&["history", "tea", "--since", "yesterday"]).refused(2);
}
