//! Circuits through a relay, by outside clients of libp2p.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{io, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use rendezvous::{Config, Limits, Relay};
use tokio::sync::oneshot;

const ECHO: StreamProtocol = StreamProtocol::new("/echo");
/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::client::Behaviour,
    identify: identify::Behaviour,
    stream: libp2p_stream::Behaviour,
}

fn client() -> Swarm<Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key, relay| Behaviour {
            relay,
            identify: identify::Behaviour::new(identify::Config::new("/a".into(), key.public())),
            stream: libp2p_stream::Behaviour::new(),
        })
        .unwrap()
        .build()
}

async fn start(limits: Limits) -> Relay {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap()
}

fn drive(mut swarm: Swarm<Behaviour>) {
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
}

/// Somebody who can be reached by a circuit alone, and says back what it is told; answers where.
async fn reachable(relay: &Multiaddr) -> (PeerId, Multiaddr) {
    let mut swarm = client();
    let me = *swarm.local_peer_id();
    let mut streams = swarm.behaviour().stream.new_control().accept(ECHO).unwrap();
    tokio::spawn(async move {
        while let Some((_, stream)) = streams.next().await {
            tokio::spawn(async move {
                let (reader, mut writer) = stream.split();
                let _ = futures::io::copy(reader, &mut writer).await;
                let _ = writer.close().await;
            });
        }
    });
    swarm.listen_on(relay.clone().with(Protocol::P2pCircuit)).unwrap();
    let (reserved, there) = oneshot::channel();
    tokio::spawn(async move {
        let mut reserved = Some(reserved);
        loop {
            // These clients speak TCP alone.
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await
                && address.iter().nth(2).is_some_and(|part| matches!(part, Protocol::P2p(_)))
                && let Some(reserved) = reserved.take()
            {
                reserved.send(address).unwrap();
            }
        }
    });
    (me, tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap())
}

/// Sends so many bytes by a circuit; answers how many come back.
async fn echoed(to: &(PeerId, Multiaddr), bytes: usize) -> io::Result<usize> {
    let mut swarm = client();
    let mut control = swarm.behaviour().stream.new_control();
    swarm.dial(to.1.clone()).unwrap();
    drive(swarm);
    let stream = tokio::time::timeout(PATIENCE, control.open_stream(to.0, ECHO)).await?;
    let (mut reader, mut writer) = stream.map_err(io::Error::other)?.split();
    let sent = tokio::spawn(async move {
        let _ = writer.write_all(&vec![7; bytes]).await;
        let _ = writer.close().await;
    });
    let mut back = Vec::new();
    // A circuit that has carried what it may ends in the middle.
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut back)).await?;
    sent.abort();
    Ok(back.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_know_only_the_relay_reach_each_other_through_it() {
    let relay = start(Limits { circuits: 9, ..Limits::live() }).await;
    let to = reachable(&relay.addrs()[0]).await;
    assert_eq!(echoed(&to, 1 << 20).await.unwrap(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_carries_what_the_operator_says_and_no_more() {
    let relay = start(Limits { circuits: 9, circuit_bytes: 64 << 10, ..Limits::live() }).await;
    let to = reachable(&relay.addrs()[0]).await;
    assert_eq!(echoed(&to, 16 << 10).await.unwrap(), 16 << 10);
    assert!(echoed(&to, 1 << 20).await.unwrap() < 64 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_from_one_address_are_granted_a_part_of_all_circuits() {
    let relay = start(Limits { circuits: 100, ..Limits::live() }).await;
    let to = reachable(&relay.addrs()[0]).await;
    for _ in 0..8 {
        assert_eq!(echoed(&to, 1).await.unwrap(), 1);
    }
    assert!(echoed(&to, 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_circuits_are_refused_and_none_are_made_where_there_shall_be_none() {
    let relay = start(Limits { circuits: 1, ..Limits::live() }).await;
    let to = reachable(&relay.addrs()[0]).await;
    let mut first = client();
    let mut control = first.behaviour().stream.new_control();
    first.dial(to.1.clone()).unwrap();
    drive(first);
    let _held = tokio::time::timeout(PATIENCE, control.open_stream(to.0, ECHO)).await.unwrap();
    assert!(echoed(&to, 1).await.is_err());

    let relay = start(Limits::live()).await;
    let mut swarm = client();
    let there = relay.addrs()[0].clone().with(Protocol::P2pCircuit);
    let listener = swarm.listen_on(there).unwrap();
    let closed = async {
        loop {
            if let SwarmEvent::ListenerClosed { listener_id, .. } = swarm.select_next_some().await {
                return listener_id;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, closed).await.unwrap(), listener);
}
