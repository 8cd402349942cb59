//! What was said is found by its words, and what was deleted is not.

use harness::{Node, World};
use node::api::types::{Hit, Mark};

#[test]
fn words_are_found_in_all_groups_until_their_message_is_deleted() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    ana.create_group("ops");
    for group in ["tea", "ops"] {
        ben.join(&ana.invite(group));
    }
    let noon = ana.send("ops", "we deploy at noon");
    ana.cli(&["send", "tea", "the pot is d\u{e9}ploy\u{e9}"]).ok();
    ben.cli(&["send", "ops", "--wait", "all", "and who cleans up?"]).ok();
    ben.hears("ops", "we deploy at noon");
    ben.hears("tea", "the pot is d\u{e9}ploy\u{e9}");

    let hits = |ben: &Node, args: &[&str]| -> Vec<Hit> {
        let said = ben.cli(&[&["--json", "search"], args].concat()).ok();
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let texts = |args: &[&str]| -> Vec<String> {
        let mut texts: Vec<String> =
            hits(&ben, args).into_iter().map(|hit| hit.message.text).collect();
        texts.sort();
        texts
    };
    assert_eq!(texts(&["deploy"]), ["the pot is d\u{e9}ploy\u{e9}", "we deploy at noon"]);
    assert_eq!(texts(&["--group", "ops", "deploy"]), ["we deploy at noon"]);
    assert_eq!(texts(&["--from", "@ben", "deploy"]), [""; 0]);
    assert_eq!(texts(&["--from", "@ben", "who"]), ["and who cleans up?"]);
    assert_eq!(texts(&["--since", "1h", "\"at noon\""]), ["we deploy at noon"]);
    assert_eq!(texts(&["--until", "2020-01-01", "noon"]), [""; 0]);
    let hit = &hits(&ben, &["deploy", "NOON"])[0];
    assert_eq!(hit.marks, [Mark { from: 3, to: 9 }, Mark { from: 13, to: 17 }]);
    let shown = ben.cli(&["search", "noon"]).ok();
    assert!(shown.contains("  ops  ") && shown.contains("ana: we deploy at noon"), "{shown}");
    let nothing = ben.cli(&["search", "OR"]);
    assert!(nothing.err.contains("no message has these words"), "{nothing:?}");
    ben.cli(&["search", "?!"]).refused(2);
    ben.cli(&["search", "--group", "nowhere", "noon"]).refused(6);
    ben.cli(&["search", "--from", "@nobody", "noon"]).refused(6);

    ana.cli(&["delete", "ops", &noon[..8]]).ok();
    let gone = ben.cli_until(&["search", "noon"], |said| said.out.is_empty());
    assert!(gone.ok().is_empty());
    ben.stop();
    ben.start_again();
    assert!(ben.cli(&["search", "noon"]).ok().is_empty());
    assert!(ben.cli(&["search", "cleans"]).ok().contains("who cleans up?"));
}
