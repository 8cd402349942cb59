//! Does somebody's node answer, and by which way?

use harness::{Node, Said, World};

/// What `wattle ping` says of each way, once these have answers: each has some seconds for that.
fn ways(node: &Node, who: &str, of: &[&str]) -> Vec<String> {
    let answers = |said: &Said, way: &&str| {
        said.out.lines().any(|line| line.starts_with(way) && line.contains(" ms"))
    };
    let said = node.cli_until(&["ping", who], |said| of.iter().all(|way| answers(said, way)));
    said.ok().lines().map(Into::into).collect()
}

#[test]
fn each_way_to_a_member_is_tried_and_said() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    ana.send("tea", "kettle on");
    ben.hears("tea", "kettle on");
    ana.until_status("a direct path", |status| {
        status.paths.iter().any(|path| path.address.is_some())
    });
    let said = ways(&ana, "@ben", &["channel", "relay", "direct"]);
    let of = |way: &str| said.iter().filter(|line| line.starts_with(way)).count();
    assert!(of("channel") == 1 && of("relay") == 1 && of("direct") == 1, "{said:#?}");
    let answered = |line: &&String| line.contains(" ms");
    let mut relayed = said.iter().filter(|line| line.starts_with("relay"));
    assert!(relayed.all(|line| line.contains(" ms")), "{said:#?}");
    let direct = said.iter().filter(|line| line.starts_with("direct")).filter(answered);
    assert_eq!(direct.count(), 1, "{said:#?}");
    assert_eq!(ben.texts("tea").len(), 1, "nobody is disturbed by it");

    ben.stop();
    let refused = ana.cli(&["ping", "ben", "--group", "tea"]).refused(4);
    assert!(refused.contains("next:"), "{refused}");
    ana.cli(&["ping", "cleo"]).refused(6);
}

#[test]
fn who_hides_is_asked_by_way_of_the_relay_alone() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "kettle on");
    ben.hears("tea", "kettle on");
    let said = ways(&ana, "ben", &["relay"]);
    assert!(!said.iter().any(|line| line.contains("/ip")), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("relay") && line.contains(" ms")), "{said:#?}");
    let said = ways(&ben, "ana", &["relay"]);
    assert!(said.iter().any(|line| line.contains("turned off here")), "{said:#?}");
}
