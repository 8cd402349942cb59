//! Whole swarms on the loopback interface.

mod change;
mod files;
mod outside;
mod silence;
mod way;

use std::{io::ErrorKind, net::Ipv4Addr, time::SystemTime};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, identity::Keypair, multiaddr::Protocol, swarm::SwarmEvent};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::*;
use crate::net::{
    behaviour::{self, BehaviourEvent},
    streams::{Purpose, StreamEvent},
};

/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

/// A member with a swarm.
struct Node {
    me: Arc<Endpoint>,
    peer: PeerId,
    mesh: Mesh,
    addresses: Vec<Multiaddr>,
    fetchers: mpsc::Receiver<FileStream>,
}

fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis().try_into().unwrap())
}

fn identity(seed: u64) -> (Keypair, Arc<Endpoint>) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let key = Keypair::ed25519_from_bytes([seed as u8; 32]).unwrap();
    let peers = vec![key.public().to_peer_id().to_bytes()];
    (key, Arc::new(Endpoint::generate("Ada", peers, &mut rng).unwrap()))
}

async fn node(seed: u64) -> Node {
    let (key, me) = identity(seed);
    let peer = key.public().to_peer_id();
    let listen = vec![
        "/ip4/127.0.0.1/tcp/0".parse().unwrap(),
        "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap(),
    ];
    let (fetched, fetchers) = mpsc::channel(2);
    let config = Config { listen, fetchers: fetched, ..config(seed, Arc::clone(&me)) };
    let mut mesh = spawn(config).unwrap();
    let addresses = loop {
        match next(&mut mesh).await {
            MeshReport::Listening(addresses) if addresses.len() == 2 => break addresses,
            // The second one came late.
            MeshReport::Listening(_) => {}
            other => panic!("{other:?}"),
        }
    };
    Node { me, peer, mesh, addresses, fetchers }
}

fn config(seed: u64, me: Arc<Endpoint>) -> Config {
    Config {
        seed: Zeroizing::new([seed as u8; 32]),
        listen: Vec::new(),
        port: None,
        reach: Reach::Anywhere,
        mdns: false,
        meets: true,
        me,
        clock,
        fetchers: mpsc::channel(1).0,
    }
}

/// A swarm's state, whose loop does not run.
pub(super) fn run(seed: u64) -> (run::Run, run::Inboxes, mpsc::Receiver<MeshReport>) {
    run::Run::new(config(seed, identity(seed).1)).unwrap()
}

/// The next report; those of pings come in between whenever they like.
async fn next(mesh: &mut Mesh) -> MeshReport {
    loop {
        let report = timeout(PATIENCE, mesh.reports.recv()).await;
        match report.expect("a report in time").expect("a swarm") {
            MeshReport::Latency { .. } => {}
            report => return report,
        }
    }
}

impl Node {
    fn member(&self) -> MemberId {
        self.me.member()
    }

    /// How others note this node, with those of its addresses that `keep` wants.
    fn entry(&self, keep: impl Fn(&Multiaddr) -> bool) -> BookEntry {
        let addresses = self.addresses.iter().filter(|a| keep(a)).map(|a| a.to_vec()).collect();
        BookEntry { member: self.member(), peers: vec![self.peer.to_bytes()], addresses }
    }

    async fn tell(&self, command: MeshCommand) {
        timeout(PATIENCE, self.mesh.commands.send(command)).await.unwrap().unwrap();
    }

    async fn book(&self, entries: Vec<BookEntry>) {
        self.tell(MeshCommand::Book(entries)).await;
    }

    async fn next(&mut self) -> MeshReport {
        next(&mut self.mesh).await
    }

    /// Waits for a channel; dials may fail before.
    async fn up(&mut self) -> (MemberId, Multiaddr) {
        loop {
            match self.next().await {
                MeshReport::ChannelUp { peer, address, .. } => return (peer.member, address),
                MeshReport::DialFailed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn send(&self, to: &Node, text: &[u8]) {
        self.tell(MeshCommand::Channel { to: to.member(), frame: text.to_vec() }).await;
    }

    async fn receives(&mut self, from: &Node, text: &[u8]) {
        match self.next().await {
            MeshReport::Frame { member, frame } => {
                assert_eq!((member, frame.as_slice()), (from.member(), text));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn all(_: &Multiaddr) -> bool {
    true
}

fn nowhere(_: &Multiaddr) -> bool {
    false
}

/// One channel, by the addresses of B that A is told.
async fn connect(a: &mut Node, b: &mut Node, keep: fn(&Multiaddr) -> bool) -> Multiaddr {
    b.book(vec![a.entry(nowhere)]).await;
    a.book(vec![b.entry(keep)]).await;
    let (member, address) = a.up().await;
    assert_eq!(member, b.member());
    assert_eq!(b.up().await.0, a.member());
    address
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_exchange_frames_over_tcp_and_over_quic() {
    for keep in [is_quic, |a: &Multiaddr| !is_quic(a)] {
        let (mut a, mut b) = (node(1).await, node(2).await);
        let address = connect(&mut a, &mut b, keep).await;
        assert!(keep(&address), "{address}");
        let longest = vec![7; protocol::limits::FRAME_MAX];
        for text in [b"hello".as_slice(), &longest, b""] {
            a.send(&b, text).await;
            b.receives(&a, text).await;
            b.send(&a, text).await;
            a.receives(&b, text).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_an_answer_takes_is_told_of_each_channel() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    b.book(vec![a.entry(nowhere)]).await;
    a.book(vec![b.entry(all)]).await;
    for (node, other) in [(&mut a, b.member()), (&mut b, identity(1).1.member())] {
        let told = async {
            loop {
                if let Some(MeshReport::Latency { member, took }) = node.mesh.reports.recv().await {
                    return (member, took);
                }
            }
        };
        let (member, took) = timeout(PATIENCE, told).await.unwrap();
        assert!(member == other && took < PATIENCE, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_a_member_is_tried_by_itself_and_the_channel_stands() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let nobody = "/ip4/127.0.0.1/tcp/1".parse::<Multiaddr>().unwrap();
    let mut entry = b.entry(all);
    entry.addresses.push(nobody.to_vec());
    b.book(vec![a.entry(nowhere)]).await;
    a.book(vec![entry]).await;
    a.up().await;
    b.up().await;
    let mut ways = Vec::new();
    for ticket in 10.. {
        a.tell(MeshCommand::Probe { ticket, member: b.member() }).await;
        loop {
            match a.next().await {
                MeshReport::Probed { ticket: of, address, via: Via::Told, outcome } => {
                    assert_eq!(of, ticket);
                    ways.push((address, outcome.map(|answer| answer.took < PATIENCE)));
                }
                MeshReport::ProbesOver { ticket: of, end: ProbesEnd::Tried } => {
                    break assert_eq!(of, ticket);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ways.len(), 3, "{ways:?}");
        // A way has five seconds: a machine that is held up for longer tries again.
        let is_late = |(_, outcome): &(_, _)| *outcome == Err(DialFailure::TimedOut);
        if ticket == 20 || !ways.iter().any(is_late) {
            break;
        }
        ways.clear();
    }
    for (address, outcome) in &ways {
        let expected = if *address == nobody { Err(DialFailure::Refused) } else { Ok(true) };
        assert_eq!(*outcome, expected, "{address}");
    }
    a.send(&b, b"still here").await;
    b.receives(&a, b"still here").await;

    // Of whom nothing is known, nothing is tried.
    a.tell(MeshCommand::Probe { ticket: 8, member: a.member() }).await;
    assert!(matches!(a.next().await, MeshReport::ProbesOver { ticket: 8, .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_and_quic_share_a_port_number() {
    let node = node(1).await;
    let ports: std::collections::BTreeSet<u16> = node
        .addresses
        .iter()
        .flat_map(|address| address.iter().collect::<Vec<_>>())
        .filter_map(|part| match part {
            Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
            _ => None,
        })
        .collect();
    assert_eq!((node.addresses.len(), ports.len()), (2, 1), "{:?}", node.addresses);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_where_to_listen_is_met_there_and_nowhere_else() {
    let [here, elsewhere] = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let listen = vec![format!("/ip4/{here}/tcp/0").parse().unwrap()];
    let mut mesh = spawn(Config { listen, ..config(1, identity(1).1) }).unwrap();
    let MeshReport::Listening(addresses) = next(&mut mesh).await else { panic!("no address") };
    let [address] = &addresses[..] else { panic!("{addresses:?}") };
    let mut parts = address.iter();
    let (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) = (parts.next(), parts.next()) else {
        panic!("{address}")
    };
    assert_eq!(ip, here);
    TcpStream::connect((here, port)).await.unwrap();
    let refused = TcpStream::connect((elsewhere, port)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_dial_each_other_at_once_end_with_one_channel() {
    for round in 0..10 {
        let (mut a, mut b) = (node(2 * round + 1).await, node(2 * round + 2).await);
        let (of_a, of_b) = (a.entry(all), b.entry(all));
        tokio::join!(a.book(vec![of_b]), b.book(vec![of_a]));
        assert_eq!(a.up().await.0, b.member());
        assert_eq!(b.up().await.0, a.member());
        for n in 0..20_u8 {
            a.send(&b, &[n]).await;
            b.send(&a, &[n]).await;
        }
        for n in 0..20_u8 {
            // A second channel would show here as ChannelDown or ChannelUp.
            b.receives(&a, &[n]).await;
            a.receives(&b, &[n]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_no_card_names_is_refused() {
    let (mut a, b) = (node(1).await, node(2).await);
    a.book(vec![b.entry(all)]).await;
    for _ in 0..2 {
        match a.next().await {
            MeshReport::DialFailed { member, reason, .. } => {
                assert_eq!((member, reason), (b.member(), DialFailure::Refused));
            }
            other => panic!("{other:?}"),
        }
    }
    // While an invite may be redeemed it gets in, and still has no channel.
    b.tell(MeshCommand::OpenForJoins(true)).await;
    for _ in 0..2 {
        assert!(matches!(a.next().await, MeshReport::DialFailed { .. }));
    }
    assert!(b.mesh.reports.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_another_members_card_names_has_no_channel() {
    let (mut a, b) = (node(1).await, node(2).await);
    let impostor = BookEntry { member: MemberId([9; 32]), ..b.entry(all) };
    b.book(vec![a.entry(nowhere)]).await;
    a.book(vec![impostor]).await;
    match a.next().await {
        MeshReport::DialFailed { reason, .. } => assert_eq!(reason, DialFailure::WrongPeer),
        other => panic!("{other:?}"),
    }
    assert!(b.mesh.reports.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_that_anothers_peer_is_its_own_disturbs_no_channel() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    connect(&mut a, &mut b, all).await;
    let liar = MemberId([9; 32]);
    a.book(vec![BookEntry { member: liar, ..b.entry(all) }, b.entry(all)]).await;
    for _ in 0..3 {
        // A second channel would show here as ChannelDown or ChannelUp.
        match a.next().await {
            MeshReport::DialFailed { member, reason, .. } => {
                assert_eq!((member, reason), (liar, DialFailure::WrongPeer));
            }
            other => panic!("{other:?}"),
        }
    }
    a.send(&b, b"here").await;
    b.receives(&a, b"here").await;
    b.send(&a, b"and here").await;
    loop {
        match a.next().await {
            MeshReport::DialFailed { member, .. } => assert_eq!(member, liar),
            MeshReport::Frame { frame, .. } => break assert_eq!(frame, b"and here"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failed_dial_says_why() {
    let (mut a, b) = (node(1).await, node(2).await);
    // Bound, so that it is nobody else's, and not listened at.
    let kept = TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = format!("/ip4/127.0.0.1/tcp/{}", kept.local_addr().unwrap().port());
    let (_, stranger) = (identity(3).1, PeerId::random());
    let cases: [(Vec<u8>, Multiaddr, DialFailure); 3] = [
        (b.peer.to_bytes(), refused.parse().unwrap(), DialFailure::Refused),
        (
            stranger.to_bytes(),
            crate::net::book::split(b.addresses[0].clone()).0,
            DialFailure::WrongPeer,
        ),
        (b.peer.to_bytes(), "/dns4/example.org/tcp/1".parse().unwrap(), DialFailure::Unreachable),
    ];
    for (n, (peer, address, expected)) in cases.into_iter().enumerate() {
        let member = MemberId([n as u8 + 1; 32]);
        a.book(vec![BookEntry { member, peers: vec![peer], addresses: vec![address.to_vec()] }])
            .await;
        // Who was to be reached before may be tried again until this is heard.
        let (reason, retry_in) = loop {
            match a.next().await {
                MeshReport::DialFailed { member: who, reason, retry_in } if who == member => {
                    break (reason, retry_in);
                }
                MeshReport::DialFailed { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reason, expected);
        assert!(retry_in <= Duration::from_millis(250));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_book_loses_the_channel() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    connect(&mut a, &mut b, all).await;
    b.book(Vec::new()).await;
    assert!(matches!(b.next().await, MeshReport::ChannelDown { reason: ChannelEnd::Removed, .. }));
    assert!(matches!(a.next().await, MeshReport::ChannelDown { reason: ChannelEnd::Closed, .. }));
    assert!(matches!(a.next().await, MeshReport::DialFailed { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_elsewhere_is_met_again() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    connect(&mut a, &mut b, all).await;
    drop(b.mesh.commands);
    timeout(PATIENCE, b.mesh.task).await.unwrap().unwrap();
    assert!(matches!(a.next().await, MeshReport::ChannelDown { reason: ChannelEnd::Closed, .. }));
    let mut b = node(2).await;
    connect(&mut a, &mut b, all).await;
    a.send(&b, b"again").await;
    b.receives(&a, b"again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_stops_reading_is_dropped_and_others_go_on() {
    let (mut a, mut b, mut c) = (node(1).await, node(2).await, node(3).await);
    for other in [&b, &c] {
        other.book(vec![a.entry(nowhere)]).await;
    }
    a.book(vec![b.entry(all), c.entry(all)]).await;
    let ups = [a.up().await.0, a.up().await.0];
    assert!(ups.contains(&b.member()) && ups.contains(&c.member()));
    b.up().await;
    c.up().await;
    // From here on nobody takes B's reports.
    let frame = vec![1; 60_000];
    for sent in 0.. {
        assert!(sent < 5_000, "B is never dropped");
        a.send(&b, &frame).await;
        a.send(&c, &[2]).await;
        c.receives(&a, &[2]).await;
        match a.mesh.reports.try_recv() {
            Ok(MeshReport::ChannelDown { member, reason: ChannelEnd::Slow }) => {
                assert_eq!(member, b.member());
                break;
            }
            Ok(MeshReport::Latency { .. }) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
    a.send(&c, b"still there").await;
    c.receives(&a, b"still there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_stream_carries_frames_and_ends_for_both() {
    let (mut host, mut joiner) = (node(1).await, node(2).await);
    let dial = |host: &Node| MeshCommand::JoinDial {
        stream: 5,
        addresses: host.addresses.iter().map(|address| address.to_vec()).collect(),
    };
    // No invite, no way in.
    joiner.tell(dial(&host)).await;
    assert!(matches!(joiner.next().await, MeshReport::JoinClosed { stream: 5 }));

    host.tell(MeshCommand::OpenForJoins(true)).await;
    let inbound = loop {
        joiner.tell(dial(&host)).await;
        match joiner.next().await {
            MeshReport::JoinOpened { stream: 5 } => {}
            MeshReport::JoinClosed { stream: 5 } => continue,
            other => panic!("{other:?}"),
        }
        match host.next().await {
            MeshReport::JoinOpened { stream } => break stream,
            other => panic!("{other:?}"),
        }
    };
    assert!(inbound >= INBOUND);
    for frame in [vec![1], vec![2; 65_535]] {
        joiner.tell(MeshCommand::JoinSend { stream: 5, frame: frame.clone() }).await;
        match host.next().await {
            MeshReport::JoinFrame { stream, frame: came } => {
                assert!(stream == inbound && came == frame);
            }
            other => panic!("{other:?}"),
        }
        host.tell(MeshCommand::JoinSend { stream: inbound, frame: frame.clone() }).await;
    }
    // What was sent before the end still arrives.
    host.tell(MeshCommand::JoinClose { stream: inbound }).await;
    for frame in [vec![1], vec![2; 65_535]] {
        match joiner.next().await {
            MeshReport::JoinFrame { stream: 5, frame: came } => assert!(came == frame),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(joiner.next().await, MeshReport::JoinClosed { stream: 5 }));
    assert!(matches!(host.next().await, MeshReport::JoinClosed { stream } if stream == inbound));
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_port_harms_nobody() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let port = a.addresses[0].iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    let at = ("127.0.0.1", port.unwrap());
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    for len in [0, 1, 2, 19, 64, 1200, 65_537] {
        let mut bytes = vec![0; len];
        rand_core::Rng::fill_bytes(&mut rng, &mut bytes);
        let mut tcp = TcpStream::connect(at).await.unwrap();
        // It may be closed before all is written.
        let _ = tcp.write_all(&bytes).await;
        let _ = udp.send_to(&bytes[..len.min(1400)], at).await;
    }
    connect(&mut a, &mut b, all).await;
}

/// A peer in A's book that speaks libp2p and then what it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_breaks_the_protocol_ends_its_stream_and_nothing_else() {
    let (mut a, mut b) = (node(1).await, node(2).await);
    let (key, eve) = identity(3);
    let peers = vec![key.public().to_peer_id().to_bytes()];
    let entry = BookEntry { member: eve.member(), peers, addresses: Vec::new() };
    a.book(vec![entry, b.entry(nowhere)]).await;
    let mut swarm = behaviour::swarm(key).unwrap();
    let huge = u32::MAX.to_be_bytes();
    let one_byte = [0, 0, 0, 1, 9];
    let noise = [&[0, 0, 1, 0][..], &[1; 256]].concat();
    for bytes in [&huge[..], &one_byte, &noise, &[0; 4]] {
        swarm.dial(a.addresses[0].clone()).unwrap();
        let stream = timeout(PATIENCE, async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => swarm
                        .behaviour_mut()
                        .streams
                        .open(peer_id, connection_id, Purpose::Channel, 1),
                    SwarmEvent::Behaviour(BehaviourEvent::Streams(StreamEvent::Opened {
                        stream,
                        ..
                    })) => return stream.unwrap(),
                    _ => {}
                }
            }
        });
        let mut stream = stream.await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(PATIENCE, async {
            tokio::select! {
                end = stream.read_to_end(&mut answer) => end,
                () = async { loop { swarm.select_next_some().await; } } => unreachable!(),
            }
        });
        // Closed or reset, but without a word.
        let _ = closed.await.expect("the stream ends");
        assert!(answer.is_empty());
    }
    drop(swarm);
    b.book(vec![a.entry(all)]).await;
    assert_eq!(b.up().await.0, a.member());
    assert_eq!(a.up().await.0, b.member());
}
