//! Nodes for local networks alone.

use super::World;
use crate::api::types::{Path, Via, What};

#[test]
fn on_a_local_network_status_says_how_a_member_was_found_and_events_keep_no_address() {
    let mut world = World::new();
    for name in ["ada", "bob"] {
        world.lan_node(name);
    }
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.pass(1000);
    world.send("ada", "reading", "no relay anywhere");
    assert_eq!(world.texts("bob"), ["no relay anywhere"]);
    let now = world.now;
    let path = world.core("ada").status(now).unwrap().paths.remove(0);
    assert_eq!((path.path, path.via, path.lan), (Path::Direct, Some(Via::Mdns), true));
    assert!(path.address.is_some());
    let kept = world.events("ada").into_iter().find_map(|event| match event.what {
        What::Path { path } if path.path == Path::Direct => Some(path),
        _ => None,
    });
    let kept = kept.unwrap();
    assert_eq!((kept.via, kept.address), (Some(Via::Mdns), None));
}

#[test]
fn where_nothing_leads_to_a_member_status_says_what_to_look_at() {
    let mut world = World::new();
    for name in ["ada", "bob"] {
        world.lan_node(name);
    }
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.cut.insert(("ada", "bob"));
    world.settle();
    let now = world.now;
    let mut reason = |networks: &[&str], trouble: &str| {
        let networks = networks.iter().map(|it| (*it).into()).collect();
        let core = world.core("ada");
        core.on_lan(networks, trouble.into());
        let status = core.status(now).unwrap();
        assert!(status.lan.is_some_and(|lan| lan.only));
        assert_eq!(status.paths[0].path, Path::None);
        status.paths[0].reason.clone()
    };
    let silent = reason(&["10.0.0.5"], "");
    assert!(silent.contains("--lan-only") && silent.contains("multicast"), "{silent}");
    assert!(silent.contains("10.0.0.5"), "{silent}");
    assert!(reason(&[], "").contains("no local network"));
    assert!(reason(&[], "port 5353 is taken").contains("port 5353 is taken"));
}

#[test]
fn a_node_for_local_networks_uses_no_relay_of_its_groups() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.direct_node("ada", &[&relay]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.lan_node("bob");
    world.joined("bob", &code);
    world.pass(1000);
    let before = world.stored().len();
    world.send("bob", "reading", "from the LAN");
    assert_eq!(world.texts("ada"), ["from the LAN"]);
    let now = world.now;
    assert!(world.core("bob").status(now).unwrap().relays.is_empty());
    assert!(world.core("ada").status(now).unwrap().relays.len() == 1 && before > 0);
}
