//! People join by code and talk: two, three and eight of them.

use harness::{Node, World};
use node::api::types::CreateInvite;

/// The first makes a group, the others join it with one code, and everybody says something.
fn converse(names: &[&str]) {
    let world = World::new();
    let relay = world.relay();
    let nodes: Vec<Node> =
        names.iter().map(|name| world.node(name).relay(&relay).start()).collect();
    let (first, others) = nodes.split_first().unwrap();

    first.create_group("tea");
    let uses = Some(u32::try_from(others.len()).unwrap());
    let code = first
        .invite_for("tea", CreateInvite { uses, ask: Some(false), ..CreateInvite::default() })
        .code
        .unwrap();
    for other in others {
        other.join(&code);
    }
    for node in &nodes {
        node.until_people("tea", names);
    }
    let line = |name: &str| format!("good morning from {name}");
    for node in &nodes {
        node.send("tea", &line(node.name()));
    }
    for node in &nodes {
        for other in names.iter().filter(|name| **name != node.name()) {
            let heard = node.hears("tea", &line(other));
            assert_eq!(heard.from.name, *other);
        }
        let texts = node.texts("tea");
        assert_eq!(texts.len(), names.len(), "{}: {texts:?}", node.name());
    }
    let fingerprint = first.group("tea").fingerprint;
    for other in others {
        other.until_group("tea", "everybody's fingerprint", |view| view.fingerprint == fingerprint);
    }
}

#[test]
fn two_people_join_by_code_and_converse() {
    converse(&["ana", "ben"]);
}

#[test]
fn three_people_join_by_code_and_converse() {
    converse(&["ana", "ben", "cleo"]);
}

#[test]
fn eight_people_join_by_code_and_converse() {
    converse(&["ana", "ben", "cleo", "dan", "eve", "fay", "gus", "hal"]);
}

#[test]
fn a_message_is_acknowledged_by_everybody_who_got_it() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let sent = ana.send("tea", "did you get this?");
    ben.hears("tea", "did you get this?");
    ana.until_received(&sent);
    ana.until_stored(&sent);
}
