//! One connection to a relay: a swarm with a key made for it alone, and the log service's stream.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures::{
    AsyncReadExt as _, StreamExt as _,
    future::Either,
    io::{ReadHalf, WriteHalf},
};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm,
    identity::Keypair,
    multiaddr::Protocol,
    ping, relay as circuits,
    swarm::{
        ConnectionId, DialError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use libp2p_stream::OpenStreamError;
use protocol::{
    codec,
    limits::{LOG_ANSWER_MAX, LOG_REQUEST_MAX},
    relay_log::{Answer, Challenge, PROTOCOL},
};
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _, FuturesAsyncWriteCompatExt as _},
};

use super::{
    DownReason, Proxy, ProxyFault, RelayPeer,
    ways::{CONNECT_TIMEOUT, Made, PROXY_TIMEOUT, Ways},
};
use crate::net::{address::is_web, streams::SIGN};

/// How long TCP is tried alone.
const HEAD_START: Duration = Duration::from_millis(300);
/// How long TCP and QUIC are tried before WebSocket.
const WEB_START: Duration = Duration::from_secs(3);
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a sign of life may take, and by way of a proxy.
const SIGN_TIMEOUT: Duration = Duration::from_secs(5);
const PROXY_SIGN_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection on which the relay has said hello.
pub(super) struct Link {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) reader: FramedRead<Compat<ReadHalf<libp2p::Stream>>, LengthDelimitedCodec>,
    pub(super) writer: FramedWrite<Compat<WriteHalf<libp2p::Stream>>, LengthDelimitedCodec>,
    /// How long a ping took meanwhile, there and back.
    pub(super) latency: Option<Duration>,
}

/// What a connection tells of itself.
pub(super) enum News {
    /// It is gone.
    Lost(DownReason),
    /// A ping took this long, there and back.
    Latency(Duration),
}

/// What the relay's hello says.
pub(super) struct Greeting {
    /// What proofs on this connection are bound to.
    pub(super) challenge: Challenge,
    /// Whether logs are opened under tokens only.
    pub(super) wants_token: bool,
    /// How long it says that it keeps an entry.
    pub(super) keeps: Duration,
}

/// What it speaks besides the log service.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
}

/// Connects, and waits for the relay's hello.
pub(super) async fn connect(
    relay: &RelayPeer,
    proxy: Option<Proxy>,
) -> Result<(Link, Greeting), DownReason> {
    let connected = match proxy {
        None => tokio::time::timeout(CONNECT_TIMEOUT, try_connect(relay, Ways::Plain)).await,
        Some(proxy) => tokio::time::timeout(PROXY_TIMEOUT, through(proxy, relay)).await,
    };
    connected.unwrap_or(Err(DownReason::TimedOut))
}

/// By way of the proxy and no other: what it does not lead to is not tried.
async fn through(proxy: Proxy, relay: &RelayPeer) -> Result<(Link, Greeting), DownReason> {
    let (relay, ways) = led_by(proxy, relay)?;
    let connected = try_connect(&relay, ways.clone()).await;
    connected.map_err(|reason| at_fault(&ways, reason))
}

/// The relay as far as the proxy leads to it.
fn led_by(proxy: Proxy, relay: &RelayPeer) -> Result<(RelayPeer, Ways), DownReason> {
    let mut relay = relay.clone();
    relay.addrs.retain(Proxy::leads_to);
    if relay.addrs.is_empty() {
        return Err(DownReason::Proxy(ProxyFault::NoWay));
    }
    Ok((relay, Ways::Proxy(proxy, Arc::default())))
}

fn at_fault(ways: &Ways, reason: DownReason) -> DownReason {
    match (reason, ways) {
        (DownReason::Unreachable, Ways::Proxy(_, fault)) => {
            fault.get().map_or(reason, |fault| DownReason::Proxy(*fault))
        }
        _ => reason,
    }
}

/// A swarm with this key that is connected to the relay, and makes and takes circuits there. It is one by which the
/// log is used meanwhile: TCP and QUIC are given less time where there is WebSocket, too.
pub(in crate::net) async fn reach<B: NetworkBehaviour>(
    relay: &RelayPeer,
    proxy: Option<Proxy>,
    key: &Keypair,
    behaviour: impl Fn(circuits::client::Behaviour) -> B,
) -> Result<Swarm<B>, DownReason> {
    let (relay, ways) = match proxy {
        None => (relay.clone(), Ways::Plain),
        Some(proxy) => led_by(proxy, relay)?,
    };
    let (web, plain): (Vec<_>, Vec<_>) = relay.addrs.iter().cloned().partition(is_web);
    let [web, plain] = [web, plain].map(|addrs| RelayPeer { addrs, ..relay.clone() });
    let first = if web.addrs.is_empty() { ways.patience() } else { WEB_START };
    let made = ways.plain(key.clone(), &plain.addrs);
    let direct = match called(made, &plain, first, &behaviour).await {
        Ok(swarm) => return Ok(swarm),
        Err(reason) => reason,
    };
    let made = ways.web(key.clone());
    let through_web = called(made, &web, ways.patience(), &behaviour).await;
    through_web.map_err(|web| at_fault(&ways, telling(direct, web)))
}

async fn called<B: NetworkBehaviour>(
    made: Option<Made>,
    relay: &RelayPeer,
    patience: Duration,
    behaviour: impl Fn(circuits::client::Behaviour) -> B,
) -> Result<Swarm<B>, DownReason> {
    if relay.addrs.is_empty() {
        return Err(DownReason::Unreachable);
    }
    let swarm = made.and_then(|made| made.with_circuits(behaviour));
    let mut swarm = swarm.ok_or(DownReason::Unreachable)?;
    let dialled = tokio::time::timeout(patience, dial(&mut swarm, relay)).await;
    dialled.unwrap_or(Err(DownReason::TimedOut)).map(|()| swarm)
}

/// TCP and QUIC first; WebSocket, which goes where nothing else does, after [`WEB_START`] or when
/// both have failed. The first that stands is taken.
async fn try_connect(relay: &RelayPeer, ways: Ways) -> Result<(Link, Greeting), DownReason> {
    let (web, plain): (Vec<_>, Vec<_>) = relay.addrs.iter().cloned().partition(is_web);
    let [web, plain] = [web, plain].map(|addrs| RelayPeer { addrs, ..relay.clone() });
    if web.addrs.is_empty() {
        return attempt(swarm(&plain.addrs, &ways), &plain).await;
    }
    let through_web = async { attempt(web_swarm(&ways), &web).await };
    if plain.addrs.is_empty() {
        return through_web.await;
    }
    let direct = attempt(swarm(&plain.addrs, &ways), &plain);
    tokio::pin!(direct, through_web);
    match tokio::time::timeout(WEB_START, &mut direct).await {
        Ok(Ok(link)) => return Ok(link),
        Ok(Err(reason)) => return through_web.await.map_err(|web| telling(reason, web)),
        Err(_) => {}
    }
    match futures::future::select(direct, through_web).await {
        Either::Left((Err(reason), web)) => web.await.map_err(|web| telling(reason, web)),
        Either::Right((Err(web), direct)) => direct.await.map_err(|reason| telling(reason, web)),
        Either::Left((first, _)) | Either::Right((first, _)) => first,
    }
}

/// Why there is no connection, of two reasons: whom one has met says more than that nobody answers.
fn telling(direct: DownReason, web: DownReason) -> DownReason {
    use DownReason::{Misbehaved, Refused, WrongKey};
    let has_met = |reason| matches!(reason, WrongKey | Refused | Misbehaved);
    if has_met(web) && !has_met(direct) { web } else { direct }
}

async fn attempt(
    swarm: Option<Swarm<Behaviour>>,
    relay: &RelayPeer,
) -> Result<(Link, Greeting), DownReason> {
    let mut swarm = swarm.ok_or(DownReason::Unreachable)?;
    dial(&mut swarm, relay).await?;
    let mut control = swarm.behaviour().stream.new_control();
    let open = control.open_stream(relay.peer_id, StreamProtocol::new(PROTOCOL));
    let mut latency = None;
    let stream = tokio::select! {
        stream = open => stream.map_err(|error| match error {
            OpenStreamError::UnsupportedProtocol(_) => DownReason::Refused,
            _ => DownReason::Lost,
        })?,
        reason = lost(&mut swarm, &mut latency) => return Err(reason),
    };
    let (reader, writer) = stream.split();
    let mut link = Link {
        swarm,
        reader: FramedRead::new(reader.compat(), frames(LOG_ANSWER_MAX)),
        writer: FramedWrite::new(writer.compat_write(), frames(LOG_REQUEST_MAX)),
        latency,
    };
    let hello = tokio::select! {
        frame = link.reader.next() => answer(frame, DownReason::Refused)?,
        reason = lost(&mut link.swarm, &mut link.latency) => return Err(reason),
    };
    match hello {
        Answer::Hello { nonce, wants_token, ttl_ms, .. } => {
            let challenge = Challenge::new(&relay.peer_id.to_bytes(), nonce);
            let (wants_token, keeps) = (wants_token == Some(true), Duration::from_millis(ttl_ms));
            Ok((link, Greeting { challenge, wants_token, keeps }))
        }
        _ => Err(DownReason::Misbehaved),
    }
}

/// Reads a frame as it came from the stream; an end of the stream is `at_end`.
pub(super) fn answer(
    frame: Option<std::io::Result<BytesMut>>,
    at_end: DownReason,
) -> Result<Answer, DownReason> {
    let frame = frame.ok_or(at_end)?.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => DownReason::Misbehaved,
        _ => DownReason::Lost,
    })?;
    codec::decode(&frame).map_err(|_| DownReason::Misbehaved)
}

/// Dials until one address leads to the relay: TCP at once, QUIC after [`HEAD_START`] or when TCP
/// has failed. (A relay that was killed is noticed at once over TCP, after ten seconds over QUIC.)
/// An address that leads to another key is left out.
async fn dial<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    relay: &RelayPeer,
) -> Result<(), DownReason> {
    let (mut later, first): (Vec<_>, Vec<_>) = relay.addrs.iter().cloned().partition(is_quic);
    let mut dials = Dials::default();
    dials.start(swarm, relay, first);
    let head_start = tokio::time::sleep(HEAD_START);
    tokio::pin!(head_start);
    loop {
        if dials.under_way.is_empty() {
            if later.is_empty() {
                return Err(dials.reason());
            }
            dials.start(swarm, relay, std::mem::take(&mut later));
            continue;
        }
        tokio::select! {
            () = &mut head_start, if !later.is_empty() => {
                dials.start(swarm, relay, std::mem::take(&mut later));
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { .. } => return Ok(()),
                SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                    let addrs = dials.under_way.remove(&connection_id).unwrap_or_default();
                    let rest = dials.failed(&error, addrs);
                    dials.start(swarm, relay, rest);
                }
                _ => {}
            }
        }
    }
}

/// Dials under way, each with the addresses that it tries at once.
#[derive(Default)]
struct Dials {
    under_way: HashMap<ConnectionId, Vec<Multiaddr>>,
    met_another_key: bool,
}

impl Dials {
    fn start<B: NetworkBehaviour>(
        &mut self,
        swarm: &mut Swarm<B>,
        relay: &RelayPeer,
        addrs: Vec<Multiaddr>,
    ) {
        if addrs.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(relay.peer_id)
            .condition(PeerCondition::Always)
            .addresses(addrs.clone())
            .build();
        let id = options.connection_id();
        if swarm.dial(options).is_ok() {
            self.under_way.insert(id, addrs);
        }
    }

    /// The addresses of a failed dial that are worth another.
    fn failed(&mut self, error: &DialError, addrs: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let DialError::WrongPeerId { address, .. } = error else { return Vec::new() };
        self.met_another_key = true;
        let before = addrs.len();
        let rest: Vec<_> = addrs.into_iter().filter(|addr| !is_same(addr, address)).collect();
        if rest.len() < before { rest } else { Vec::new() }
    }

    fn reason(&self) -> DownReason {
        if self.met_another_key { DownReason::WrongKey } else { DownReason::Unreachable }
    }
}

/// Drives the connection until there is something to tell of it. Dropping the wait loses nothing.
pub(super) async fn news(swarm: &mut Swarm<Behaviour>) -> News {
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionClosed { num_established: 0, .. } => {
                return News::Lost(DownReason::Lost);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => {
                return ping.result.map_or(News::Lost(DownReason::Lost), News::Latency);
            }
            _ => {}
        }
    }
}

/// Whether the relay gives a sign of life in time: whatever it answers to a protocol that nobody speaks.
pub(super) fn sign(
    swarm: &Swarm<Behaviour>,
    relay: PeerId,
    proxy: Option<Proxy>,
) -> impl Future<Output = bool> + Send + use<> {
    let patience = if proxy.is_some() { PROXY_SIGN_TIMEOUT } else { SIGN_TIMEOUT };
    let mut control = swarm.behaviour().stream.new_control();
    async move {
        let answer = tokio::time::timeout(patience, control.open_stream(relay, SIGN)).await;
        matches!(answer, Ok(Ok(_) | Err(OpenStreamError::UnsupportedProtocol(_))))
    }
}

/// Drives the connection; ends when it is lost.
async fn lost(swarm: &mut Swarm<Behaviour>, latency: &mut Option<Duration>) -> DownReason {
    loop {
        match news(swarm).await {
            News::Lost(reason) => return reason,
            News::Latency(took) => *latency = Some(took),
        }
    }
}

/// Whether two addresses are one, apart from `/p2p`.
fn is_same(one: &Multiaddr, other: &Multiaddr) -> bool {
    let place = |addr: &Multiaddr| -> Multiaddr {
        addr.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
    };
    place(one) == place(other)
}

fn is_quic(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| matches!(part, Protocol::QuicV1))
}

fn frames(max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(max).new_codec()
}

fn behaviour() -> Behaviour {
    let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
    Behaviour { ping: ping::Behaviour::new(ping), stream: libp2p_stream::Behaviour::new() }
}

/// A swarm with a fresh PeerId, for TCP and QUIC to these addresses.
fn swarm(addrs: &[Multiaddr], ways: &Ways) -> Option<Swarm<Behaviour>> {
    ways.plain(Keypair::generate_ed25519(), addrs)?.swarm(behaviour())
}

/// The same for WebSocket.
fn web_swarm(ways: &Ways) -> Option<Swarm<Behaviour>> {
    ways.web(Keypair::generate_ed25519())?.swarm(behaviour())
}
