//! Circuits through a relay, by outside clients of libp2p.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{io, time::Duration};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use rendezvous::{Config, Limits, Relay};
use tokio::{sync::oneshot, task::JoinHandle};

const ECHO: StreamProtocol = StreamProtocol::new("/echo");
/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::client::Behaviour,
    identify: identify::Behaviour,
    stream: libp2p_stream::Behaviour,
}

fn client() -> Swarm<Behaviour> {
    client_of(Keypair::generate_ed25519())
}

fn client_of(key: Keypair) -> Swarm<Behaviour> {
    SwarmBuilder::with_existing_identity(key)
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

fn drive(mut swarm: Swarm<Behaviour>) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    })
}

/// Somebody who can be reached by a circuit alone, and says back what it is told; answers where.
async fn reachable(relay: &Multiaddr) -> (PeerId, Multiaddr) {
    reachable_until(relay, client()).await.1
}

/// The same, until the task is aborted.
async fn reachable_until(
    relay: &Multiaddr,
    mut swarm: Swarm<Behaviour>,
) -> (JoinHandle<()>, (PeerId, Multiaddr)) {
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
    let there_until = tokio::spawn(async move {
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
    let addr = tokio::time::timeout(PATIENCE, there).await.unwrap().unwrap();
    (there_until, (me, addr))
}

/// A circuit, which stands until this is dropped.
struct Circuit {
    stream: Stream,
    client: JoinHandle<()>,
}

impl Circuit {
    async fn new(to: &(PeerId, Multiaddr)) -> io::Result<Self> {
        let mut swarm = client();
        let mut control = swarm.behaviour().stream.new_control();
        swarm.dial(to.1.clone()).unwrap();
        // First: a stream that is asked for just as the connection stands is forgotten by libp2p-stream.
        let connected = async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == to.0 => {
                        return Ok(());
                    }
                    SwarmEvent::OutgoingConnectionError { error, .. } => {
                        return Err(io::Error::other(error));
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, connected).await??;
        let client = drive(swarm);
        match tokio::time::timeout(PATIENCE, control.open_stream(to.0, ECHO)).await? {
            Ok(stream) => Ok(Self { stream, client }),
            Err(error) => {
                client.abort();
                Err(io::Error::other(error))
            }
        }
    }

    /// As soon as it is granted.
    async fn granted(to: &(PeerId, Multiaddr)) -> Self {
        let granted = async {
            loop {
                if let Ok(circuit) = Self::new(to).await {
                    return circuit;
                }
            }
        };
        tokio::time::timeout(PATIENCE, granted).await.unwrap()
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        self.client.abort();
    }
}

/// Sends so many bytes by a circuit; answers how many come back.
async fn echoed(to: &(PeerId, Multiaddr), bytes: usize) -> io::Result<usize> {
    let mut circuit = Circuit::new(to).await?;
    let (mut reader, mut writer) = (&mut circuit.stream).split();
    let sending = async {
        let _ = writer.write_all(&vec![7; bytes]).await;
        let _ = writer.close().await;
        std::future::pending::<()>().await
    };
    let mut back = Vec::new();
    // A circuit that has carried what it may ends in the middle.
    let reading = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut back));
    tokio::select! {
        () = sending => {}
        read = reading => { let _ = read?; }
    }
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

/// Circuits of which one address has eight, however fast they are asked for.
fn few() -> Limits {
    Limits { circuits: 100, circuits_per_min: 6000, ..Limits::live() }
}

async fn eight(to: &(PeerId, Multiaddr)) -> Vec<Circuit> {
    let mut held = Vec::new();
    while held.len() < 8 {
        held.push(Circuit::granted(to).await);
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_from_one_address_have_a_part_of_the_circuits_that_stand() {
    let relay = start(few()).await;
    let to = reachable(&relay.addrs()[0]).await;
    for _ in 0..12 {
        Circuit::granted(&to).await;
    }
    let mut held = eight(&to).await;
    assert!(Circuit::new(&to).await.is_err());
    held.pop();
    Circuit::granted(&to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn circuits_whose_far_side_has_gone_stand_no_more() {
    let relay = start(few()).await;
    let (far, to) = reachable_until(&relay.addrs()[0], client()).await;
    let _held = eight(&to).await;
    let other = reachable(&relay.addrs()[0]).await;
    assert!(Circuit::new(&other).await.is_err());
    far.abort();
    // Each end is counted once, though libp2p tells it twice.
    let _again = eight(&other).await;
    assert!(Circuit::new(&other).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_circuits_to_nobody_has_nobody_else_refused() {
    let relay = start(few()).await;
    let relay_addr = &relay.addrs()[0];
    let to = reachable(relay_addr).await;
    let mut swarm = client();
    for _ in 0..30 {
        let nobody = Protocol::P2p(PeerId::random());
        refused(&mut swarm, relay_addr.clone().with(Protocol::P2pCircuit).with(nobody)).await;
    }
    assert_eq!(echoed(&to, 1).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_circuits_to_itself_has_nobody_else_refused() {
    let relay = start(few()).await;
    let relay_addr = &relay.addrs()[0];
    let to = reachable(relay_addr).await;
    let key = Keypair::generate_ed25519();
    let (_itself, (_, there)) = reachable_until(relay_addr, client_of(key.clone())).await;
    // From another connection; the circuit is made, and ended by who finds itself at its end.
    let mut again = client_of(key);
    for _ in 0..12 {
        refused(&mut again, there.clone()).await;
    }
    assert_eq!(echoed(&to, 1).await.unwrap(), 1);
}

/// Waits until a dial has failed.
async fn refused(swarm: &mut Swarm<Behaviour>, to: Multiaddr) {
    swarm.dial(to).unwrap();
    let refused = async {
        loop {
            let event = swarm.select_next_some().await;
            if matches!(event, SwarmEvent::OutgoingConnectionError { .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_circuits_are_refused_and_none_are_made_where_there_shall_be_none() {
    let relay = start(Limits { circuits: 1, ..Limits::live() }).await;
    let to = reachable(&relay.addrs()[0]).await;
    let _held = Circuit::new(&to).await.unwrap();
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
