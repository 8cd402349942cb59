//! A circuit through a relay, for one stream of a file with one member: two swarms that are thrown away after it.
//!
//! ```text
//! who waits                         relay                          who comes
//! connects, reserves ──────────────▶  ◀──────────────────── connects, asks for a circuit
//!   ◀───────────────────── Noise, Yamux: by keys that both were told ─────────▶
//!   ◀───────────────────── the handshake of a channel ────────────────────────
//!   a stream for a file ──────────────────────────────────────────────────────▶
//! ```
//!
//! > Towards the relay each side has a key made for this alone, and neither is told an address. Who waits takes one
//! > PeerId and nobody else; who comes takes nobody in. No stream for a file is opened before both have shown who they
//! > are, as on any channel.

use std::{error::Error, io, sync::Arc, time::Duration};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, connection_limits,
    identity::Keypair,
    multiaddr::Protocol,
    ping,
    relay::{client, outbound::hop::ReserveError},
    swarm::{
        ConnectionId, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use protocol::{
    endpoint::Endpoint,
    ids::{MemberId, Timestamp},
    noise::NoiseKey,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    BookEntry,
    beat::Beat,
    book::Book,
    channel::{self, Local, Side},
    file::{FileEnd, FileStream, Files, STREAMS},
    gate::Gate,
    node_key, peer_of,
    relay::{self, DownReason, Proxy, RelayPeer},
    streams::{Purpose, StreamEvent, Streams},
};

/// Who this node is on circuits, and how it reaches relays.
#[derive(Clone)]
pub struct Circuits {
    /// This member.
    pub me: Arc<Endpoint>,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// By way of what relays are reached, if not directly.
    pub proxy: Option<Proxy>,
}

/// A place at a relay, where a member may come. The relay keeps it until this is dropped.
pub struct Place {
    swarm: Swarm<Behaviour>,
    key: [u8; 32],
}

/// A circuit that stands, until this is dropped.
pub struct Circuit {
    _files: Files,
    /// The other side waits for nothing more on it.
    _channel: Stream,
    /// Drives the swarm.
    _driver: JoinSet<()>,
}

/// Why there is no circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CircuitFault {
    /// The relay is not connected, or not any more.
    #[error("{0}")]
    Relay(DownReason),
    /// The relay makes none.
    #[error("the relay makes no circuits")]
    None,
    /// It makes some, and none for this node just now.
    #[error("the relay has no circuit free just now")]
    Full,
    /// Nobody came in time.
    #[error("who may have it was asked to come to the relay, and did not")]
    Absent,
    /// Nobody waits there, or whoever does takes nobody.
    #[error("nobody waits there any more")]
    Gone,
    /// Whoever is at the other end has not shown that it is the member.
    #[error("whoever came did not show who it is")]
    Unproven,
    /// The system gives no randomness.
    #[error("the system refuses")]
    System,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    gate: Gate,
    limits: connection_limits::Behaviour,
    relay: client::Behaviour,
    /// The relay asks whether this side is there.
    ping: ping::Behaviour,
    streams: Streams,
}

/// How long who was asked may take to come, and by way of a proxy.
const WAIT: Duration = Duration::from_secs(20);
const PROXY_WAIT: Duration = Duration::from_secs(60);
/// How long a circuit stands on which files are given, at most.
const LIFE: Duration = Duration::from_secs(2 * 60 * 60);
/// Connections that the relay says somebody makes, and that have not shown a PeerId yet.
const PENDING: u32 = 4;

impl Circuits {
    /// Reserves a place at a relay, under a key made for it alone.
    pub async fn reserve(&self, relay: &RelayPeer) -> Result<Place, CircuitFault> {
        let key = Keypair::generate_ed25519();
        let public = key.public().try_into_ed25519().map_err(|_| CircuitFault::System)?;
        let mut swarm = self.swarm(relay, &key).await?;
        let there = by_way_of(relay).ok_or(CircuitFault::Relay(DownReason::Unreachable))?;
        swarm.listen_on(there).map_err(|_| CircuitFault::None)?;
        let reserved = timeout(self.wait(), reserved(&mut swarm)).await;
        reserved.unwrap_or(Err(CircuitFault::Relay(DownReason::TimedOut)))?;
        Ok(Place { swarm, key: public.to_bytes() })
    }

    /// Waits at a place until a member comes with the key of this seed; gives the circuit with it, and the stream for a file on it.
    pub async fn meet(
        &self,
        mut place: Place,
        member: MemberId,
        seed: &[u8; 32],
    ) -> Result<(Circuit, FileStream), CircuitFault> {
        let key = node_key(seed).ok_or(CircuitFault::System)?;
        let comer = key.public().to_peer_id();
        let entry = BookEntry { member, peers: vec![comer.to_bytes()], addresses: Vec::new() };
        let book = Arc::new(Book::new(vec![entry]));
        place.swarm.behaviour_mut().gate.set_book(book);
        let local = self.local()?;
        let met = timeout(self.wait(), met(&mut place.swarm, comer, &local, member)).await;
        let (channel, stream) = met.unwrap_or(Err(CircuitFault::Absent))?;
        let (files, beat) = (Files::new(), Arc::new(Beat::new(Instant::now())));
        let stream = files.stream(FileEnd::Fetcher, member, &beat, stream);
        let stream = stream.ok_or(CircuitFault::System)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            loop {
                place.swarm.select_next_some().await;
            }
        });
        Ok((Circuit { _files: files, _channel: channel, _driver: driver }, stream))
    }

    /// Goes with the key of this seed to the place where a member waits, and gives `fetchers` the streams that it opens there for files. Ends
    /// with the circuit.
    pub async fn come(
        &self,
        relay: &RelayPeer,
        place: &[u8; 32],
        member: MemberId,
        seed: &[u8; 32],
        fetchers: &mpsc::Sender<FileStream>,
    ) -> Result<(), CircuitFault> {
        let key = node_key(seed).ok_or(CircuitFault::System)?;
        let there = by_way_of(relay).ok_or(CircuitFault::Relay(DownReason::Unreachable))?;
        let place = peer_of(place).ok_or(CircuitFault::Gone)?;
        let local = self.local()?;
        let mut swarm = self.swarm(relay, &key).await?;
        let (id, stream) = timeout(self.wait(), called(&mut swarm, there, place))
            .await
            .unwrap_or(Err(CircuitFault::Gone))?;
        let giving = Giving { id, member, local, fetchers };
        // Whoever is still given something then asks for another.
        timeout(LIFE, giving.run(swarm, stream)).await.unwrap_or(Ok(()))
    }

    async fn swarm(
        &self,
        relay: &RelayPeer,
        key: &Keypair,
    ) -> Result<Swarm<Behaviour>, CircuitFault> {
        relay::reach(relay, self.proxy, key, Behaviour::new).await.map_err(CircuitFault::Relay)
    }

    fn local(&self) -> Result<Local, CircuitFault> {
        let mut rng = channel::rng().ok_or(CircuitFault::System)?;
        let key = NoiseKey::generate(&self.me, (self.clock)(), &mut rng);
        Ok(Local { endpoint: Arc::clone(&self.me), key, clock: self.clock })
    }

    const fn wait(&self) -> Duration {
        if self.proxy.is_some() { PROXY_WAIT } else { WAIT }
    }
}

impl Place {
    /// The key under which this node waits there.
    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

impl Behaviour {
    /// Its gate lets nobody in as long as nobody is expected.
    fn new(relay: client::Behaviour) -> Self {
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING))
            .with_max_established_incoming(Some(1));
        Self {
            gate: Gate::default(),
            limits: connection_limits::Behaviour::new(limits),
            relay,
            ping: ping::Behaviour::default(),
            streams: Streams::default(),
        }
    }
}

/// Who gives files on a circuit.
struct Giving<'a> {
    id: ConnectionId,
    member: MemberId,
    local: Local,
    fetchers: &'a mpsc::Sender<FileStream>,
}

impl Giving<'_> {
    /// Shows who this is, and then gives streams until the connection closes: by itself, once there is none on it.
    async fn run(self, mut swarm: Swarm<Behaviour>, stream: Stream) -> Result<(), CircuitFault> {
        let Self { id, member, local, fetchers } = self;
        let (files, beat) = (Files::new(), Arc::new(Beat::new(Instant::now())));
        let give = |stream| {
            if let Some(stream) = files.stream(FileEnd::Giver, member, &beat, stream) {
                // Where more wait than are taken, this one ends: who fetches asks again.
                let _ = fetchers.try_send(stream);
            }
        };
        let proving = async move {
            let mut stream = stream;
            channel::prove(&mut stream, Side::Opener, &local, member).await
        };
        tokio::pin!(proving);
        let (mut is_proven, mut early) = (false, Vec::new());
        loop {
            tokio::select! {
                biased;
                proven = &mut proving, if !is_proven => {
                    proven.map_err(|_| CircuitFault::Unproven)?;
                    is_proven = true;
                    early.drain(..).for_each(give);
                }
                event = swarm.select_next_some() => match event {
                    SwarmEvent::Behaviour(BehaviourEvent::Streams(StreamEvent::Inbound {
                        connection,
                        purpose: Purpose::File,
                        stream,
                    })) if connection == id => match is_proven {
                        true => give(stream),
                        // The other side has what it needs, and this one not yet.
                        false if early.len() < STREAMS => early.push(stream),
                        false => {}
                    },
                    SwarmEvent::ConnectionClosed { connection_id, .. } if connection_id == id => {
                        return if is_proven { Ok(()) } else { Err(CircuitFault::Unproven) };
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Waits for the relay's answer.
async fn reserved(swarm: &mut Swarm<Behaviour>) -> Result<(), CircuitFault> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Relay(
                client::Event::ReservationReqAccepted { .. },
            )) => return Ok(()),
            SwarmEvent::ListenerClosed { reason, .. } => return Err(refused(reason)),
            SwarmEvent::ConnectionClosed { num_established: 0, .. } => {
                return Err(CircuitFault::Relay(DownReason::Lost));
            }
            _ => {}
        }
    }
}

/// Why a relay gives no place.
fn refused(reason: io::Result<()>) -> CircuitFault {
    let Err(error) = reason else { return CircuitFault::Relay(DownReason::Lost) };
    match cause(&error) {
        Some(ReserveError::Unsupported) => CircuitFault::None,
        Some(ReserveError::Refused | ReserveError::ResourceLimitExceeded) => CircuitFault::Full,
        Some(ReserveError::Protocol(_)) => CircuitFault::Relay(DownReason::Misbehaved),
        Some(ReserveError::Io(_)) | None => CircuitFault::Relay(DownReason::Lost),
    }
}

fn cause(error: &io::Error) -> Option<&ReserveError> {
    let mut at: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        at = io.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Waits for who is to come, and shows it who this is; gives the channel's stream, and one for a file.
async fn met(
    swarm: &mut Swarm<Behaviour>,
    comer: PeerId,
    local: &Local,
    member: MemberId,
) -> Result<(Stream, Stream), CircuitFault> {
    let mut here = None;
    let (id, mut channel) = loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. }
                if peer_id == comer =>
            {
                here = Some(connection_id);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Streams(StreamEvent::Inbound {
                connection,
                purpose: Purpose::Channel,
                stream,
            })) if here == Some(connection) => break (connection, stream),
            SwarmEvent::ConnectionClosed { peer_id, .. } if peer_id == comer => here = None,
            SwarmEvent::ConnectionClosed { num_established: 0, .. }
            | SwarmEvent::ListenerClosed { .. } => {
                return Err(CircuitFault::Relay(DownReason::Lost));
            }
            _ => {}
        }
    };
    {
        let proving = channel::prove(&mut channel, Side::Accepter, local, member);
        tokio::pin!(proving);
        loop {
            tokio::select! {
                proven = &mut proving => {
                    proven.map_err(|_| CircuitFault::Unproven)?;
                    break;
                }
                _ = swarm.select_next_some() => {}
            }
        }
    }
    swarm.behaviour_mut().streams.open(comer, id, Purpose::File, 0);
    Ok((channel, opened(swarm, id).await?))
}

/// Has the relay make a circuit to a place, and opens the channel's stream on it.
async fn called(
    swarm: &mut Swarm<Behaviour>,
    there: Multiaddr,
    place: PeerId,
) -> Result<(ConnectionId, Stream), CircuitFault> {
    let dial = DialOpts::peer_id(place)
        .condition(PeerCondition::Always)
        .addresses(vec![there.with(Protocol::P2p(place))])
        .build();
    let id = dial.connection_id();
    swarm.dial(dial).map_err(|_| CircuitFault::Gone)?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { connection_id, .. } if connection_id == id => {
                break;
            }
            SwarmEvent::OutgoingConnectionError { connection_id, .. } if connection_id == id => {
                return Err(CircuitFault::Gone);
            }
            _ => {}
        }
    }
    swarm.behaviour_mut().streams.open(place, id, Purpose::Channel, 0);
    Ok((id, opened(swarm, id).await?))
}

/// The stream that is being opened on this connection.
async fn opened(swarm: &mut Swarm<Behaviour>, id: ConnectionId) -> Result<Stream, CircuitFault> {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(StreamEvent::Opened {
                stream, ..
            })) => return stream.ok_or(CircuitFault::Gone),
            SwarmEvent::ConnectionClosed { connection_id, .. } if connection_id == id => {
                return Err(CircuitFault::Gone);
            }
            _ => {}
        }
    }
}

/// The address by which circuits of a relay go that is connected.
fn by_way_of(relay: &RelayPeer) -> Option<Multiaddr> {
    let address = relay.addrs.first()?.clone();
    Some(address.with(Protocol::P2p(relay.peer_id)).with(Protocol::P2pCircuit))
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use rendezvous::{Config, Limits, Relay};

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn clock() -> Timestamp {
        Timestamp(1_800_000_000_000)
    }

    fn person(number: u8) -> Circuits {
        let mut rng = ChaCha20Rng::from_seed([number; 32]);
        let me = Endpoint::generate("somebody", Vec::new(), &mut rng).unwrap();
        Circuits { me: Arc::new(me), clock, proxy: None }
    }

    async fn start(limits: Limits) -> (Relay, RelayPeer) {
        let listen = vec![([127, 0, 0, 1], 0).into()];
        let relay = Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap();
        let peer = RelayPeer::from_addrs(&relay.addrs()).unwrap();
        (relay, peer)
    }

    fn some() -> Limits {
        Limits { circuits: 9, ..Limits::live() }
    }

    /// The relay by this way alone.
    fn by(peer: &RelayPeer, way: &str) -> RelayPeer {
        let mut peer = peer.clone();
        peer.addrs.retain(|address| match way {
            "/tcp" => !address.to_string().contains("/ws") && !address.to_string().contains("/udp"),
            _ => address.to_string().contains(way),
        });
        assert!(!peer.addrs.is_empty(), "{way}");
        peer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_meet_at_a_relay_by_whatever_way_and_say_something_on_a_files_stream() {
        let (_relay, peer) = start(some()).await;
        let (ada, bob) = (person(1), person(2));
        for (here, there) in [("/tcp", "/quic-v1"), ("/ws", "/tcp"), ("/quic-v1", "/ws")] {
            let (fetchers, mut streams) = mpsc::channel(4);
            let place = ada.reserve(&by(&peer, here)).await.unwrap();
            let (at, peer) = (*place.key(), by(&peer, there));
            let comes = bob.come(&peer, &at, ada.me.member(), &KEY, &fetchers);
            let meets = async {
                let (circuit, stream) = ada.meet(place, bob.me.member(), &KEY).await.unwrap();
                assert_eq!(stream.member(), bob.me.member());
                let (mut reader, mut writer) = stream.split();
                writer.write(b"may I have it").await.unwrap();
                let given = streams.recv().await.unwrap();
                assert_eq!(given.member(), ada.me.member());
                let (mut asked, mut answer) = given.split();
                assert_eq!(asked.read(FileEnd::Giver).await.unwrap(), b"may I have it");
                let chunk = vec![9; protocol::limits::FILE_CHUNK];
                answer.write(&chunk).await.unwrap();
                assert_eq!(reader.read(FileEnd::Fetcher).await.unwrap(), chunk);
                drop(circuit);
                assert!(asked.read(FileEnd::Giver).await.is_none(), "it has ended");
            };
            let (ended, ()) = tokio::join!(comes, meets);
            assert_eq!(ended, Ok(()), "{here} {there}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_keeps_a_circuit_and_asks_for_nothing_on_it_is_left() {
        let (_relay, peer) = start(some()).await;
        let (ada, bob) = (person(1), person(2));
        let (fetchers, mut streams) = mpsc::channel(4);
        let place = ada.reserve(&peer).await.unwrap();
        let at = *place.key();
        let comes = bob.come(&peer, &at, ada.me.member(), &KEY, &fetchers);
        let meets = async {
            let (circuit, stream) = ada.meet(place, bob.me.member(), &KEY).await.unwrap();
            let (reader, mut writer) = stream.split();
            writer.write(b"may I have it").await.unwrap();
            drop((reader, writer, streams.recv().await.unwrap()));
            circuit
        };
        let (ended, _circuit) = tokio::join!(comes, meets);
        assert_eq!(ended, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_said_that_a_relay_makes_none_or_none_just_now() {
        let ada = person(1);
        let (_relay, peer) = start(Limits::live()).await;
        assert_eq!(ada.reserve(&peer).await.err(), Some(CircuitFault::None));
        let (_relay, peer) = start(Limits { reservations: 1, ..some() }).await;
        let place = ada.reserve(&peer).await.unwrap();
        assert_eq!(ada.reserve(&peer).await.err(), Some(CircuitFault::Full));
        drop(place);
        let other = RelayPeer { peer_id: PeerId::random(), ..peer };
        let fault = CircuitFault::Relay(DownReason::WrongKey);
        assert_eq!(ada.reserve(&other).await.err(), Some(fault));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_takes_nobody_but_who_has_the_key_whatever_the_relay_brings() {
        let (_relay, peer) = start(some()).await;
        let (ada, bob) = (person(1), person(2));
        let (fetchers, mut streams) = mpsc::channel(4);
        let place = ada.reserve(&peer).await.unwrap();
        let at = *place.key();
        let member = ada.me.member();
        let come = |key: [u8; 32]| {
            let (bob, peer, fetchers) = (bob.clone(), peer.clone(), fetchers.clone());
            async move { bob.come(&peer, &at, member, &key, &fetchers).await }
        };
        let comes = async {
            assert!(come([8; 32]).await.is_err());
            come(KEY).await
        };
        let meets = async {
            let met = ada.meet(place, bob.me.member(), &KEY).await.unwrap();
            drop((met, streams.recv().await.unwrap()));
        };
        let (ended, ()) = tokio::join!(comes, meets);
        assert_eq!(ended, Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_has_the_key_and_is_another_member_gets_no_stream() {
        let (_relay, peer) = start(some()).await;
        let (ada, bob, eve) = (person(1), person(2), person(3));
        let (fetchers, mut streams) = mpsc::channel(4);
        // Who comes is not who was asked; who waits is not who asked.
        for (expects, comes_for) in [(&bob, &ada), (&eve, &bob)] {
            let place = ada.reserve(&peer).await.unwrap();
            let at = *place.key();
            let comes = eve.come(&peer, &at, comes_for.me.member(), &KEY, &fetchers);
            let meets = ada.meet(place, expects.me.member(), &KEY);
            let (come, met) = tokio::join!(comes, meets);
            assert!(come.is_err());
            assert_eq!(met.err(), Some(CircuitFault::Unproven));
        }
        assert!(streams.try_recv().is_err());
    }
}
