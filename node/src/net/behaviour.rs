//! The main swarm's parts, in the order in which they are asked: the gate is first, so that nothing
//! else hears of a peer that it turns away. There is no identify: addresses travel inside channels.

use std::{io, num::NonZeroU8, time::Duration};

use libp2p::{
    Swarm, SwarmBuilder, Transport, connection_limits, core::upgrade::Version, identity::Keypair,
    noise, ping, swarm::NetworkBehaviour, tcp, yamux,
};

use super::{gate::Gate, mesh::SpawnError, silence::Watched, streams::Streams};

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) gate: Gate,
    limits: connection_limits::Behaviour,
    ping: ping::Behaviour,
    pub(super) streams: Streams,
}

/// Connections that have not yet shown a PeerId.
const PENDING_INCOMING: u32 = 128;
/// Connections at one time.
const ESTABLISHED: u32 = 4096;
/// Connections with one PeerId: two who dial each other at once, on two transports.
const PER_PEER: u32 = 4;
/// Streams on one connection, pings and refused ones among them.
const STREAMS: u32 = 16;
/// Bytes that a peer may send on a QUIC connection before they are read.
const WINDOW: u32 = 4 * 1024 * 1024;
/// How long a connection without a stream is kept.
const IDLE: Duration = Duration::from_secs(10);
/// How long after one that was answered the next ping follows.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// A ping that is not answered for this long is given up, and another follows: each is a sign of life, whatever keeps its answer
/// waiting. So nobody who is there is silent for longer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one member that are dialled at the same time.
const DIALS: NonZeroU8 = NonZeroU8::MAX;

/// Makes the swarm: TCP with Noise and yamux, and QUIC.
pub(super) fn swarm(key: Keypair) -> Result<Swarm<Behaviour>, SpawnError> {
    let yamux = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS as usize);
        config
    };
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic_config(|mut quic| {
            quic.max_concurrent_stream_limit = STREAMS;
            quic.max_stream_data = WINDOW / 2;
            quic.max_connection_data = WINDOW;
            quic
        })
        .with_other_transport(|key| {
            let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
            let watched = tcp.map(|stream, _| Watched::new(stream)).map_err(Unconnected);
            let secured = watched.upgrade(Version::V1Lazy);
            Ok(secured.authenticate(noise::Config::new(key)?).multiplex(yamux()))
        })
        .map_err(|_| SpawnError::Transport)?
        .with_behaviour(|_| Behaviour::new())
        .map_err(|_| SpawnError::Transport)?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE)
                .with_dial_concurrency_factor(DIALS)
                .with_max_negotiating_inbound_streams(STREAMS as usize)
        })
        .build();
    Ok(swarm)
}

/// What the system said of a TCP connection, as a cause: without this nothing of it can be found in
/// the error of a failed dial.
#[derive(Debug, thiserror::Error)]
#[error("no TCP connection")]
struct Unconnected(#[source] io::Error);

impl Behaviour {
    fn new() -> Self {
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_INCOMING))
            .with_max_established(Some(ESTABLISHED))
            .with_max_established_per_peer(Some(PER_PEER));
        let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
        Self {
            gate: Gate::default(),
            limits: connection_limits::Behaviour::new(limits),
            ping: ping::Behaviour::new(ping),
            streams: Streams::default(),
        }
    }
}
