//! How long answers take, as status shows it.

use std::time::Duration;

use super::World;
use crate::{
    api::types::{Path, What},
    core::Core,
    net::relay::{DownReason, RelayPeer, RelayReport},
};

fn shown(core: &mut Core, now: protocol::ids::Timestamp) -> (Path, Option<u64>) {
    let path = core.status(now).unwrap().paths.remove(0);
    (path.path, path.latency_us)
}

#[test]
fn a_direct_path_shows_the_members_answer_and_a_relayed_one_the_relays() {
    let mut world = World::new();
    let relay = world.relay(1);
    for name in ["ada", "bob"] {
        world.direct_node(name, &[&relay]);
    }
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.pass(1000);
    let (now, bob) = (world.now, world.member("bob"));
    let key = relay.parse::<RelayPeer>().unwrap().peer_id;
    let core = world.core("ada");
    assert_eq!(shown(core, now), (Path::Direct, None), "none is known at first");
    core.on_latency(bob, Duration::from_micros(450));
    let took = Duration::from_millis(23);
    core.on_relay(&key, RelayReport::Latency { took }, now).unwrap();
    assert_eq!(shown(core, now), (Path::Direct, Some(450)));
    assert_eq!(core.status(now).unwrap().relays[0].latency_us, Some(23_000));

    let seen = world.events("ada").len();
    world.cut.insert(("ada", "bob"));
    world.settle();
    let core = world.core("ada");
    assert_eq!(shown(core, now), (Path::Relay, Some(23_000)));
    core.on_latency(bob, Duration::from_micros(1));
    assert_eq!(shown(core, now), (Path::Relay, Some(23_000)), "of a channel that is gone");
    let told: Vec<_> = world.events("ada").into_iter().skip(seen).collect();
    let told = told.into_iter().find_map(|event| match event.what {
        What::Path { path } => Some((path.path, path.latency_us, path.since.is_some())),
        _ => None,
    });
    assert_eq!(told, Some((Path::Relay, Some(23_000), true)), "an event says so");

    let (reason, retry_in) = (DownReason::Lost, Duration::from_secs(9));
    let core = world.core("ada");
    core.on_relay(&key, RelayReport::Down { reason, retry_in }, now).unwrap();
    assert_eq!(shown(core, now), (Path::None, None));
    core.on_relay(&key, RelayReport::Up { wants_token: false, keeps: Duration::ZERO }, now)
        .unwrap();
    assert_eq!(shown(core, now), (Path::Relay, None), "it is measured anew");
}
