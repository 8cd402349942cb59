//! What clients may hold of a relay, and send, before they are hung up on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, Transport as _,
    core::upgrade::Version,
    multiaddr::Protocol,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, websocket, yamux,
};
use libp2p_stream::Control;
use protocol::{codec, relay_log::Request};
use rendezvous::{Config, Limits, Relay};
use tokio::{
    io::{AsyncReadExt as _, copy, split},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

const LOG: StreamProtocol = StreamProtocol::new("/wattle/log/1");
/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
}

fn client() -> (Swarm<Behaviour>, Control) {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| Behaviour {
            ping: ping::Behaviour::default(),
            stream: libp2p_stream::Behaviour::new(),
        })
        .unwrap()
        .build();
    let control = swarm.behaviour().stream.new_control();
    (swarm, control)
}

async fn start(limits: Limits) -> Relay {
    let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap()
}

/// Dials, and waits until the connection stands: a stream that is asked for just then is forgotten by
/// libp2p-stream.
async fn connected<B: NetworkBehaviour>(swarm: &mut Swarm<B>, addr: Multiaddr) {
    swarm.dial(addr).unwrap();
    let connected = async {
        while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    };
    tokio::time::timeout(PATIENCE, connected).await.unwrap();
}

async fn ended(mut swarm: Swarm<Behaviour>) {
    let closed = async {
        while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {}
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_short_frames_are_not_read_ends() {
    let relay = start(Limits {
        requests_per_s: 1,
        requests_burst: 1,
        idle: Duration::from_hours(1),
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_secs(1),
        ..Limits::live()
    })
    .await;
    let (mut swarm, mut control) = client();
    let peer = relay.peer_id();
    connected(&mut swarm, relay.addrs()[0].clone()).await;
    let sending = tokio::spawn(async move {
        let mut stream = control.open_stream(peer, LOG).await.unwrap();
        // Close, of a handle that is not open: no answer.
        let request = codec::encode(&Request::Close { handle: 1 });
        let len = u32::try_from(request.len()).unwrap();
        let close = [&len.to_be_bytes()[..], &request].concat();
        for byte in close.iter().cycle().take(200_000) {
            if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    });
    ended(swarm).await;
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_one_stream_after_the_other_is_hung_up_on() {
    let relay = start(Limits::live()).await;
    let peer = relay.peer_id();
    for way in 0..2 {
        let (mut swarm, mut control) = client();
        connected(&mut swarm, relay.addrs()[way].clone()).await;
        let opening = tokio::spawn(async move {
            // The connection ends with the first; the others are reset.
            let _first = control.open_stream(peer, LOG).await.unwrap();
            for opened in 1..5000 {
                if control.open_stream(peer, LOG).await.is_err() {
                    return opened;
                }
            }
            std::future::pending().await
        });
        ended(swarm).await;
        let opened = tokio::time::timeout(PATIENCE, opening).await.unwrap().unwrap();
        assert!(opened > 24, "{opened} streams of way {way}");
    }
}

/// A client with its stream open, and what ends with its connection.
async fn join(relay: &Relay, ip: &str) -> (libp2p::Stream, JoinHandle<()>) {
    let (mut swarm, mut control) = client();
    let addrs = relay.addrs();
    let addr = addrs.iter().find(|addr| addr.to_string().starts_with(&format!("/{ip}/tcp")));
    connected(&mut swarm, addr.unwrap().clone()).await;
    let there = tokio::spawn(ended(swarm));
    (control.open_stream(relay.peer_id(), LOG).await.unwrap(), there)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_finds_a_place_where_one_address_has_them_all() {
    let idle = Duration::from_hours(1);
    let relay = start(Limits { connections: 4, idle, ..Limits::live() }).await;
    let (mut streams, mut all) = (Vec::new(), JoinSet::new());
    for _ in 0..4 {
        let (stream, there) = join(&relay, "ip4/127.0.0.1").await;
        streams.push(stream);
        all.spawn(there);
    }
    let (_stream, there) = join(&relay, "ip6/::1").await;
    all.join_next().await.unwrap().unwrap().unwrap();
    assert!(!there.is_finished());
    assert_eq!(all.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_at_a_pace() {
    let relay = start(Limits::live()).await;
    // By a client that sends none of its own.
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .build();
    let mut control = swarm.behaviour().new_control();
    connected(&mut swarm, relay.addrs()[0].clone()).await;
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let since = Instant::now();
    let mut stream = control.open_stream(relay.peer_id(), ping::PROTOCOL_NAME).await.unwrap();
    let sent: Vec<u8> = (0..12 * 32).map(|at: usize| at.to_le_bytes()[0]).collect();
    stream.write_all(&sent).await.unwrap();
    stream.flush().await.unwrap();
    let mut back = vec![0; sent.len()];
    let answered = futures::AsyncReadExt::read_exact(&mut stream, &mut back);
    tokio::time::timeout(PATIENCE, answered).await.unwrap().unwrap();
    assert_eq!(back, sent);
    assert!(since.elapsed() > Duration::from_secs(3), "{:?}", since.elapsed());
}

/// A way to a relay that at some time loses all that is sent, each way.
struct Lossy {
    addr: Multiaddr,
    lose: oneshot::Sender<()>,
    /// Ends when the relay hangs up after that.
    hung_up: JoinHandle<()>,
}

impl Lossy {
    async fn new(relay: &Relay) -> Self {
        let port = relay.addrs()[0].iter().find_map(|part| match part {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        });
        let there = ("127.0.0.1", port.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (lose, lost) = oneshot::channel();
        let hung_up = tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let relay = TcpStream::connect(there).await.unwrap();
            let ((mut of_client, mut to_client), (mut of_relay, mut to_relay)) =
                (split(client), split(relay));
            tokio::select! {
                _ = copy(&mut of_client, &mut to_relay) => {}
                _ = copy(&mut of_relay, &mut to_client) => {}
                lost = lost => lost.unwrap(),
            }
            while of_relay.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        });
        let addr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        Self { addr, lose, hung_up }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_no_pings_and_is_not_heard_any_more_gives_its_place_back() {
    let relay = start(Limits {
        idle: Duration::from_hours(1),
        ping_interval: Duration::from_secs(1),
        ping_timeout: Duration::from_secs(1),
        ..Limits::live()
    })
    .await;
    for by_web in [false, true] {
        let Lossy { addr, lose, hung_up } = Lossy::new(&relay).await;
        // It speaks no ping: the relay is told so, and tries no more.
        let builder = SwarmBuilder::with_new_identity().with_tokio();
        let behaviour = |_: &_| libp2p_stream::Behaviour::new();
        let tcp = tcp::tokio::Transport::new(tcp::Config::new());
        let mut swarm = builder
            .with_other_transport(|key| {
                let noise = noise::Config::new(key).unwrap();
                let yamux = yamux::Config::default();
                if by_web {
                    let web = websocket::Config::new(tcp).upgrade(Version::V1Lazy);
                    web.authenticate(noise).multiplex(yamux).boxed()
                } else {
                    tcp.upgrade(Version::V1Lazy).authenticate(noise).multiplex(yamux).boxed()
                }
            })
            .unwrap()
            .with_behaviour(behaviour)
            .unwrap()
            .build();
        let mut control = swarm.behaviour().new_control();
        let addr = if by_web { addr.with(Protocol::Ws("/".into())) } else { addr };
        let addr = addr.with(Protocol::P2p(relay.peer_id()));
        connected(&mut swarm, addr).await;
        let driven = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let _stream = control.open_stream(relay.peer_id(), LOG).await.unwrap();
        assert!(!hung_up.is_finished());
        lose.send(()).unwrap();
        tokio::time::timeout(PATIENCE, hung_up).await.unwrap().unwrap();
        driven.abort();
    }
}
