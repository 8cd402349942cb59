//! Two people behind walls: nothing but the relay between them.

use std::time::Duration;

use harness::World;
use node::api::types::Path;

#[test]
fn without_direct_paths_everything_goes_through_the_relay() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).no_direct().start();
    let ben = world.node("ben").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    for turn in 0..10 {
        ana.send("tea", &format!("question {turn}"));
        ben.hears("tea", &format!("question {turn}"));
        ben.send("tea", &format!("answer {turn}"));
        ana.hears("tea", &format!("answer {turn}"));
    }
    for node in [&ana, &ben] {
        node.until_status("how long the relay's answers take", |status| {
            status.paths.iter().any(|path| path.latency_us.is_some())
                && status.relays.iter().all(|relay| relay.latency_us.is_some())
        });
        let status = node.status();
        assert!(!status.direct, "{status:#?}");
        assert_eq!(status.listen, Vec::<String>::new());
        let [path] = &status.paths[..] else { panic!("one other member: {status:#?}") };
        assert_eq!(path.path, Path::Relay);
        assert!(!path.reason.is_empty(), "it says why it is not direct");
    }
}

#[test]
fn what_is_said_while_the_way_to_the_relay_is_cut_arrives_when_it_is_mended() {
    let world = World::new();
    let relay = world.relay();
    let link = world.link(&relay);
    let ana = world.node("ana").relay_over(&link).no_direct().start();
    let ben = world.node("ben").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "before");
    ben.hears("tea", "before");

    link.cut();
    for turn in 0..5 {
        ana.send("tea", &format!("while cut {turn}"));
    }
    ben.send("tea", "are you there?");
    link.mend();
    ana.hears("tea", "are you there?");
    for turn in 0..5 {
        ben.hears("tea", &format!("while cut {turn}"));
    }
    let from_ana: Vec<String> =
        ben.history("tea").into_iter().filter(|m| !m.mine).map(|m| m.text).collect();
    let expected: Vec<String> = std::iter::once("before".to_owned())
        .chain((0..5).map(|turn| format!("while cut {turn}")))
        .collect();
    assert_eq!(from_ana, expected, "in order, nothing twice");
}

#[test]
fn a_slow_way_to_the_relay_loses_nothing() {
    let world = World::new();
    let relay = world.relay();
    let link = world.link(&relay);
    link.delay(Duration::from_millis(60));
    let ana = world.node("ana").relay_over(&link).no_direct().start();
    let ben = world.node("ben").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "slowly");
    ben.hears("tea", "slowly");
    ben.send("tea", "but surely");
    ana.hears("tea", "but surely");
}
