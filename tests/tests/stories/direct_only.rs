//! Two machines that reach each other, and no relay anywhere.

use harness::World;
use node::api::types::Path;

#[test]
fn two_nodes_without_a_relay_join_and_talk_directly() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    let ben = world.node("ben").no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "just us");
    ben.hears("tea", "just us");
    ben.send("tea", "nobody between");
    ana.hears("tea", "nobody between");
    ben.until_status("how long ana's answers take", |status| {
        status.paths.iter().any(|path| path.latency_us.is_some())
    });
    let status = ben.status();
    assert!(status.relays.is_empty(), "{status:#?}");
    let [path] = &status.paths[..] else { panic!("one other member: {status:#?}") };
    assert_eq!(path.path, Path::Direct);
    assert!(path.address.is_some() && path.since.is_some());
    let said = ben.cli(&["status"]).ok();
    assert!(said.contains(" ms  since "), "{said}");
}

#[test]
fn without_a_relay_a_node_that_was_away_gets_what_it_missed_from_the_others() {
    let world = World::new();
    let ana = world.node("ana").no_relay().start();
    let mut ben = world.node("ben").no_relay().start();
    let cleo = world.node("cleo").no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    cleo.join(&ana.invite("tea"));
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    ben.stop();
    for turn in 0..5 {
        ana.send("tea", &format!("missed {turn}"));
        cleo.hears("tea", &format!("missed {turn}"));
    }
    ben.start_again();
    for turn in 0..5 {
        ben.hears("tea", &format!("missed {turn}"));
    }
    assert_eq!(ben.texts("tea").len(), 5);
}

#[test]
fn without_a_relay_a_node_whose_key_was_renewed_while_it_was_away_is_let_in() {
    let world = World::new();
    let mut ana = world.node("ana").no_relay().start();
    let mut ben = world.node("ben").no_relay().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "see you next month");
    ben.hears("tea", "see you next month");
    ana.until_people("tea", &["ana", "ben"]);
    let peers = [ana.ready().peer.clone(), ben.ready().peer.clone()];
    for node in [&mut ana, &mut ben] {
        node.stop();
        node.set_ahead(31);
        node.start_again();
    }
    assert!(ana.ready().peer != peers[0] && ben.ready().peer != peers[1]);
    ana.send("tea", "back again");
    ben.hears("tea", "back again");
    ben.send("tea", "so am I");
    ana.hears("tea", "so am I");
}
