//! A way to a relay from outside: by what it is reached, and one connection, with a PeerId made for it.

use std::{error::Error, io, sync::Arc, time::Duration};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _, TransportError,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    dns,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{DialError, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, websocket, yamux,
};

use super::metered::{Metered, Wire};

/// How long a connection without a stream is kept.
const IDLE: Duration = Duration::from_secs(10);

/// By what a relay is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// TCP.
    Tcp,
    /// QUIC.
    Quic,
    /// WebSocket, with or without TLS.
    WebSocket,
}

impl Way {
    /// The way that an address goes.
    #[must_use]
    pub fn of(addr: &Multiaddr) -> Self {
        let has = |find: fn(&Protocol<'_>) -> bool| addr.iter().any(|part| find(&part));
        if has(|it| matches!(it, Protocol::Ws(_) | Protocol::Wss(_))) {
            Self::WebSocket
        } else if has(|it| matches!(it, Protocol::QuicV1)) {
            Self::Quic
        } else {
            Self::Tcp
        }
    }
}

/// Why a way leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// Nothing answers, or says no.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody else is there.
    #[error("somebody with the key {0} answers")]
    OtherKey(PeerId),
}

/// What a client speaks.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) ping: ping::Behaviour,
    pub(super) stream: libp2p_stream::Behaviour,
    pub(super) relay: relay::client::Behaviour,
}

/// Connects once; answers whom it met. Waits as long as the system does.
pub(super) async fn meet(
    swarm: &mut Swarm<Behaviour>,
    addr: &Multiaddr,
    expected: Option<PeerId>,
) -> Result<PeerId, Unreached> {
    let dial = match expected {
        Some(peer) => DialOpts::peer_id(peer).addresses(vec![addr.clone()]).build(),
        None => DialOpts::unknown_peer_id().address(addr.clone()).build(),
    };
    swarm.dial(dial).map_err(|error| unreached(&error))?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(unreached(&error)),
            _ => {}
        }
    }
}

/// A swarm with a PeerId made for it, which speaks what the address needs. What goes through its
/// sockets is counted, but for QUIC's.
pub(super) fn swarm(addr: &Multiaddr, wire: &Arc<Wire>) -> Option<Swarm<Behaviour>> {
    let behaviour = |relay| Behaviour {
        ping: ping::Behaviour::default(),
        stream: libp2p_stream::Behaviour::new(),
        relay,
    };
    let idle = |config: libp2p::swarm::Config| config.with_idle_connection_timeout(IDLE);
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let transport = match Way::of(addr) {
        Way::Tcp => plain,
        Way::WebSocket => web,
        Way::Quic => {
            let quic = builder.with_quic().with_dns().ok()?;
            let quic = quic.with_relay_client(noise::Config::new, yamux::Config::default).ok()?;
            let quic = quic.with_behaviour(|_, relay| behaviour(relay)).ok()?;
            return Some(quic.with_swarm_config(idle).build());
        }
    };
    let made = builder.with_other_transport(|key| transport(key, wire)).ok()?;
    let made = made.with_relay_client(noise::Config::new, yamux::Config::default).ok()?;
    let made = made.with_behaviour(|_, relay| behaviour(relay)).ok()?;
    Some(made.with_swarm_config(idle).build())
}

type Made = Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn Error + Send + Sync>>;

fn plain(key: &Keypair, wire: &Arc<Wire>) -> Made {
    let secured = sockets(wire)?.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?);
    Ok(secured.multiplex(yamux::Config::default()).boxed())
}

fn web(key: &Keypair, wire: &Arc<Wire>) -> Made {
    // Names are resolved below it: a proxy is asked for the right one.
    let mut web = websocket::Config::new(sockets(wire)?);
    web.set_max_redirects(0);
    let secured = web.upgrade(Version::V1Lazy).authenticate(noise::Config::new(key)?);
    Ok(secured.multiplex(yamux::Config::default()).boxed())
}

fn sockets(wire: &Arc<Wire>) -> io::Result<Boxed<Metered<tcp::tokio::TcpStream>>> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
    let wire = Arc::clone(wire);
    let counted = move |socket, _| Metered::new(socket, Arc::clone(&wire));
    Ok(dns::tokio::Transport::system(tcp)?.map(counted).boxed())
}

fn unreached(error: &DialError) -> Unreached {
    match error {
        DialError::WrongPeerId { obtained, .. } => Unreached::OtherKey(*obtained),
        DialError::Transport(errors) => {
            let last = errors.last().map(|(_, error)| error);
            Unreached::Unreachable(match last {
                Some(TransportError::Other(error)) => innermost(error),
                Some(TransportError::MultiaddrNotSupported(_)) => "no such transport".into(),
                None => "no address".into(),
            })
        }
        error => Unreached::Unreachable(error.to_string()),
    }
}

/// What lies below the layers that repeat it.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut at = error;
    while let Some(below) = at.source() {
        at = below;
    }
    at.to_string()
}
