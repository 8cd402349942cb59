//! Whether members answer, way by way.

use std::time::Duration;

use super::World;
use crate::{
    api::types::{PingView, Via, Way},
    core::VerbError,
    net::mesh::{ProbeAnswer, ProbesEnd},
};

/// Two in a group, by way of a relay alone or directly alone.
fn two(has_relay: bool) -> World {
    let mut world = World::new();
    let relay = has_relay.then(|| world.relay(1));
    for name in ["ada", "bob"] {
        match &relay {
            Some(relay) => world.node(name, &[relay]),
            None => world.direct_node(name, &[]),
        }
    }
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.pass(5_000);
    world
}

fn ways(view: &PingView) -> Vec<(Way, bool)> {
    view.ways.iter().map(|tried| (tried.way, tried.reason.is_empty())).collect()
}

#[test]
fn by_way_of_the_relay_a_members_node_answers_sealed() {
    let mut world = two(true);
    let (now, before) = (world.now, world.stored().len());
    let asked = world.core("ada").ping(None, "@bob", now).unwrap();
    assert_eq!((asked.member.name.as_str(), asked.done), ("bob", false));
    assert_eq!(ways(&asked), [(Way::Direct, false)], "turned off here");
    world.settle();
    assert_eq!(world.stored().len(), before + 2, "a question and an answer");
    let view = world.core("ada").ping_state(&asked.id, now).unwrap();
    assert!(view.done);
    let answer = view.ways.last().unwrap();
    assert_eq!((answer.way, answer.latency_us, answer.ahead_ms), (Way::Relay, Some(0), Some(0)));
    assert!(answer.address.is_none() && answer.reason.is_empty());
}

#[test]
fn who_does_not_answer_is_waited_for_ten_seconds_and_asked_once_meanwhile() {
    let mut world = two(true);
    world.stop("bob");
    let now = world.now;
    let asked = world.core("ada").ping(Some("reading"), "bob", now).unwrap();
    let again = world.core("ada").ping(None, "bob", now).unwrap();
    assert_eq!(again.id, asked.id);
    world.settle();
    let core = world.core("ada");
    assert!(!core.ping_state(&asked.id, now.plus_ms(9_999)).unwrap().done);
    let view = core.ping_state(&asked.id, now.plus_ms(10_000)).unwrap();
    assert!(view.done && view.ways.last().unwrap().reason.contains("no answer in 10 s"));
    let next = core.ping(None, "bob", now.plus_ms(10_000)).unwrap();
    assert_ne!(next.id, asked.id);
}

#[test]
fn each_direct_way_is_told_as_it_was_tried() {
    let mut world = two(false);
    let now = world.now;
    let core = world.core("ada");
    let asked = core.ping(None, "bob", now).unwrap();
    assert_eq!(ways(&asked), [(Way::Channel, true), (Way::Relay, false)]);
    let ticket = asked.id.parse().unwrap();
    let (connected, took) = (Duration::from_millis(3), Duration::from_micros(450));
    let answer = ProbeAnswer { connected, took };
    core.on_probed(ticket, "/ip4/10.0.0.7/tcp/1".into(), Via::Told, Ok(answer));
    core.on_probed(ticket, "/ip4/10.0.0.8/tcp/1".into(), Via::Mdns, Err("no answer".into()));
    core.on_probed(ticket + 1, "/ip4/10.0.0.9/tcp/1".into(), Via::Told, Ok(answer));
    core.on_probes_over(ticket, ProbesEnd::Tried);
    let view = core.ping_state(&asked.id, now).unwrap();
    assert!(view.done);
    let direct: Vec<_> = view.ways.iter().filter(|tried| tried.way == Way::Direct).collect();
    let [one, other] = direct[..] else { panic!("{direct:?}") };
    assert_eq!((one.latency_us, one.connected_us), (Some(450), Some(3_000)));
    assert_eq!((other.via, other.reason.as_str()), (Some(Via::Mdns), "no answer"));
    core.on_probed(ticket, "/ip4/10.0.0.9/tcp/1".into(), Via::Told, Ok(answer));
    assert_eq!(core.ping_state(&asked.id, now).unwrap().ways.len(), view.ways.len());

    let crowded = core.ping(None, "bob", now).unwrap();
    core.on_probes_over(crowded.id.parse().unwrap(), ProbesEnd::Crowded);
    let said = core.ping_state(&crowded.id, now).unwrap().ways.pop().unwrap().reason;
    assert!(said.contains("too many"), "{said}");
    let late = core.ping(None, "bob", now).unwrap();
    let number = late.id.parse().unwrap();
    core.on_probed(number, "/ip4/10.0.0.7/tcp/1".into(), Via::Told, Ok(answer));
    // Who tries the ways judges how long that may take.
    assert!(!core.ping_state(&late.id, now.plus_ms(90_000)).unwrap().done);
    core.on_probes_over(number, ProbesEnd::Late);
    let view = core.ping_state(&late.id, now.plus_ms(90_000)).unwrap();
    assert!(view.done && view.ways.last().unwrap().reason.contains("in time"));
}

#[test]
fn only_members_are_asked() {
    let mut world = two(false);
    let now = world.now;
    let core = world.core("ada");
    let refused = |asked: Result<PingView, VerbError>| asked.unwrap_err().code();
    assert_eq!(refused(core.ping(None, "eve", now)), "no-such-member");
    assert_eq!(refused(core.ping(None, "ada", now)), "ping-self");
    assert_eq!(refused(core.ping(Some("tea"), "bob", now)), "no-such-group");
    assert_eq!(core.ping_state("77", now).unwrap_err().code(), "no-such-ping");
    world.remove("ada", "reading", "bob");
    let core = world.core("ada");
    assert_eq!(refused(core.ping(None, "bob", now)), "no-such-member");
}
