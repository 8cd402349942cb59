//! Messages that disappear.

use harness::{Node, World, files_below, unseal};
use node::api::types::{Event, What};

const WORDS: &str = "the xylophone is under the stairs";

#[test]
fn what_is_to_be_kept_for_a_minute_is_gone_at_all_nodes_also_at_one_that_was_away() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    let mut cleo = world.node("cleo").relay(&relay).start();
    cleo.join(&ana.invite("tea"));
    ana.send("tea", "kept for ever");
    [&ben, &cleo].into_iter().for_each(|node| drop(node.hears("tea", "kept for ever")));

    ben.cli(&["group", "conduct", "tea", "--disappear", "1m"]).refused(5);
    ana.cli(&["group", "conduct", "tea", "--disappear", "59s"]).refused(2);
    let set = ana.cli(&["group", "conduct", "tea", "--disappear", "1m"]).ok();
    assert!(set.contains("after 1m") && set.contains("can't make them"), "{set}");
    for node in [&ana, &ben, &cleo] {
        node.until("for how long", |event| match &event.what {
            What::Conduct { by: Some(by), disappear: Some(60) } => (by.name == "ana").then_some(()),
            _ => None,
        });
    }
    let told = ben.cli(&["tail", "tea", "--from-start", "--no-follow"]).ok();
    assert!(told.contains("ana: from now on messages disappear after 1m"), "{told}");
    ben.send("tea", WORDS);
    [&ana, &cleo].into_iter().for_each(|node| drop(node.hears("tea", WORDS)));
    cleo.stop();

    let is_over = |event: &Event| match &event.what {
        What::Expired { message } => message.more.expired.then_some(()),
        _ => None,
    };
    for node in [&ana, &ben] {
        node.until("that it is over", is_over);
        is_gone(node);
    }
    cleo.start_again();
    // Not at once: her clock may have been set meanwhile.
    assert_eq!(cleo.texts("tea"), ["kept for ever", WORDS]);
    cleo.until("that it is over", is_over);
    is_gone(&cleo);
    let shown = cleo.cli(&["history", "tea"]).ok();
    assert!(shown.contains("ben: (expired)") && !shown.contains("deleted"), "{shown}");

    ana.cli(&["group", "conduct", "tea", "--disappear", "never"]).ok();
    cleo.stop();
    unseal(&cleo.data_dir());
    for file in files_below(&cleo.data_dir()) {
        let bytes = std::fs::read(&file).unwrap();
        let has = |words: &[u8]| bytes.windows(words.len()).any(|at| at == words);
        assert!(!has(b"xylophone"), "{}", file.display());
    }
}

fn is_gone(node: &Node) {
    assert_eq!(node.texts("tea"), ["kept for ever", ""], "{}", node.name());
    assert!(node.cli(&["search", "xylophone"]).ok().is_empty());
    assert!(!node.cli(&["tail", "tea", "--from-start", "--no-follow"]).ok().contains("xylophone"));
}
