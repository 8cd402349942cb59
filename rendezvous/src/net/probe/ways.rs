//! One connection by one way.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _, TransportError,
    core::upgrade::Version,
    dns,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{DialError, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, websocket, yamux,
};

use super::{Finding, PATIENCE, Trial};

/// What a looker speaks.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) ping: ping::Behaviour,
    pub(super) stream: libp2p_stream::Behaviour,
    pub(super) relay: relay::client::Behaviour,
}

/// Why a way leads nowhere.
pub(super) enum Failure {
    /// Nothing answers, or says no.
    Unreachable(String),
    /// Something answers too late.
    TimedOut,
    /// Somebody else is there.
    OtherKey(PeerId),
}

impl Failure {
    pub(super) fn finding(self, trial: Trial) -> Finding {
        const TCP: &str = "Is the relay running, and TCP open for its port in each firewall and \
                           passed on by the router?";
        const QUIC: &str = "Nodes use TCP instead. For QUIC open the same port for UDP, and have the \
                            router pass it on.";
        const WEB: &str = "Nodes need it only where TCP doesn't get through. A reverse proxy must pass \
                           Upgrade on (docs/operations.md).";
        let advice = match (&self, trial) {
            (Self::OtherKey(_), _) => {
                "Another relay answers at this address, or one with a new key. Whoever knows the old \
                 one won't use it: restore the relay's data directory, or name the new key to all."
            }
            (_, Trial::Quic) => QUIC,
            (_, Trial::WebSocket) => WEB,
            _ => TCP,
        };
        let seen = match self {
            Self::Unreachable(why) => why,
            Self::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
            Self::OtherKey(key) => format!("somebody with the key {key} answers"),
        };
        Finding::fails(trial, seen, advice)
    }
}

pub(super) fn trial(addr: &Multiaddr) -> Trial {
    let has = |find: fn(&Protocol<'_>) -> bool| addr.iter().any(|part| find(&part));
    if has(|it| matches!(it, Protocol::Ws(_) | Protocol::Wss(_))) {
        Trial::WebSocket
    } else if has(|it| matches!(it, Protocol::QuicV1)) {
        Trial::Quic
    } else {
        Trial::Tcp
    }
}

/// Connects once; answers whom it met and how long it took.
pub(super) async fn connect(
    addr: &Multiaddr,
    expected: Option<PeerId>,
) -> Result<(PeerId, Duration), Failure> {
    let mut swarm = swarm(addr).ok_or_else(|| Failure::Unreachable("no such transport".into()))?;
    let dial = match expected {
        Some(peer) => DialOpts::peer_id(peer).addresses(vec![addr.clone()]).build(),
        None => DialOpts::unknown_peer_id().address(addr.clone()).build(),
    };
    let start = Instant::now();
    swarm.dial(dial).map_err(|error| failure(&error))?;
    let connected = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => return Ok(peer_id),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(failure(&error)),
                _ => {}
            }
        }
    };
    let peer = tokio::time::timeout(PATIENCE, connected).await.unwrap_or(Err(Failure::TimedOut))?;
    Ok((peer, start.elapsed()))
}

fn failure(error: &DialError) -> Failure {
    match error {
        DialError::WrongPeerId { obtained, .. } => Failure::OtherKey(*obtained),
        DialError::Transport(errors) => {
            let last = errors.last().map(|(_, error)| error);
            Failure::Unreachable(match last {
                Some(TransportError::Other(error)) => innermost(error),
                Some(TransportError::MultiaddrNotSupported(_)) => "no such transport".into(),
                None => "no address".into(),
            })
        }
        error => Failure::Unreachable(error.to_string()),
    }
}

/// What lies below the layers that repeat it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(below) = at.source() {
        at = below;
    }
    at.to_string()
}

/// A swarm with a PeerId made for it, which speaks what the address needs.
pub(super) fn swarm(addr: &Multiaddr) -> Option<Swarm<Behaviour>> {
    let behaviour = |relay| Behaviour {
        ping: ping::Behaviour::default(),
        stream: libp2p_stream::Behaviour::new(),
        relay,
    };
    let idle = |config: libp2p::swarm::Config| config.with_idle_connection_timeout(PATIENCE);
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    if trial(addr) == Trial::WebSocket {
        // Names are resolved below it: a proxy is asked for the right one.
        let web = builder.with_other_transport(|key| {
            let tcp = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true));
            let mut web = websocket::Config::new(dns::tokio::Transport::system(tcp)?);
            web.set_max_redirects(0);
            Ok(web
                .upgrade(Version::V1Lazy)
                .authenticate(noise::Config::new(key)?)
                .multiplex(yamux::Config::default()))
        });
        let web = web.ok()?.with_relay_client(noise::Config::new, yamux::Config::default).ok()?;
        return Some(
            web.with_behaviour(|_, relay| behaviour(relay)).ok()?.with_swarm_config(idle).build(),
        );
    }
    let plain = builder
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
        .ok()?
        .with_quic()
        .with_dns()
        .ok()?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .ok()?;
    Some(plain.with_behaviour(|_, relay| behaviour(relay)).ok()?.with_swarm_config(idle).build())
}
