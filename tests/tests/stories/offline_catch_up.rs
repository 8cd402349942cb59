//! A node that was away reads everything afterwards, in order, also what was said after somebody
//! was removed meanwhile.

use harness::{Node, World};

/// Says the lines `from..to`; returns the last one's id.
fn say(node: &Node, from: usize, to: usize) -> String {
    let ids: Vec<String> = (from..to).map(|n| node.send("tea", &format!("line {n}"))).collect();
    ids.last().unwrap().clone()
}

#[test]
fn a_node_that_was_away_reads_everything_in_order_also_across_a_removal() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    let eve = world.node("eve").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    eve.join(&ana.invite("tea"));
    for node in [&ana, &ben, &eve] {
        node.until_people("tea", &["ana", "ben", "eve"]);
    }
    ana.send("tea", "before");
    ben.hears("tea", "before");

    ben.stop();
    say(&ana, 0, 20);
    ana.remove("tea", "eve");
    let last = say(&ana, 20, 40);
    ana.until_stored(&last);

    ben.start_again();
    ben.hears("tea", "line 39");
    let expected: Vec<String> =
        std::iter::once("before".to_owned()).chain((0..40).map(|n| format!("line {n}"))).collect();
    ben.until_texts("tea", &expected.iter().map(String::as_str).collect());
    assert_eq!(ben.texts("tea"), expected, "in order, nothing lost, nothing twice");
    ben.until_people("tea", &["ana", "ben"]);
    ben.send("tea", "I am back");
    ana.hears("tea", "I am back");
}

#[test]
fn two_nodes_that_are_never_there_together_still_talk_through_the_relay() {
    let world = World::new();
    let relay = world.relay();
    let (mut ana, mut ben) = world.pair(&relay);
    let first = ben.send("tea", "hello");
    ana.hears("tea", "hello");
    ben.until_stored(&first);

    ben.stop();
    let sent = ana.send("tea", "a letter");
    ana.until_stored(&sent);
    ana.stop();

    ben.start_again();
    ben.hears("tea", "a letter");
    let answer = ben.send("tea", "and its answer");
    ben.until_stored(&answer);
    ben.stop();

    ana.start_again();
    ana.hears("tea", "and its answer");
}
