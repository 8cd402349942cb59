//! How this machine looks from outside: by which address, and whether its ports are left as they are.
//!
//! A swarm that is thrown away after it, with a key made for it alone, calls a relay by QUIC from a port of its
//! own, and is told by libp2p's Identify from where it came. Nobody can call it meanwhile, and it tells nothing.
//!
//! > What a relay says of this is believed as far as it goes: it is an address of the internet, to which members
//! > may send the packets of a QUIC handshake.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, connection_limits, identify,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};

use super::relay::RelayPeer;

/// This machine as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// By this address.
    pub ip: Ipv4Addr,
    /// Whether a port outside is the one here; else what is between changes them.
    pub keeps_ports: bool,
}

/// How long a look may take.
const LOOK: Duration = Duration::from_secs(10);

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
}

/// Asks a relay; none where it does not say.
pub(super) async fn look(relay: RelayPeer) -> Option<Outside> {
    let addresses = by_quic(&relay);
    let mut swarm = swarm(&addresses)?;
    tokio::time::timeout(LOOK, ask(&mut swarm, relay.peer_id, addresses)).await.ok()?
}

async fn ask(
    swarm: &mut Swarm<Behaviour>,
    relay: PeerId,
    addresses: Vec<Multiaddr>,
) -> Option<Outside> {
    swarm.listen_on(quic_at(Ipv4Addr::UNSPECIFIED.into(), 0)).ok()?;
    let mut here = None;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } if here.is_none() => {
                here = Some(socket(&address)?.1);
                // From the port that it listens on, which is what libp2p does unless told otherwise.
                let dial = DialOpts::peer_id(relay).addresses(addresses.clone()).build();
                swarm.dial(dial).ok()?;
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                info,
                ..
            })) => {
                let (ip, port) = socket(&info.observed_addr)?;
                return Some(Outside { ip, keeps_ports: Some(port) == here });
            }
            SwarmEvent::OutgoingConnectionError { .. } => return None,
            _ => {}
        }
    }
}

/// Names are resolved only where there are some.
fn swarm(addresses: &[Multiaddr]) -> Option<Swarm<Behaviour>> {
    let builder = SwarmBuilder::with_new_identity().with_tokio().with_quic();
    let is_named = |address: &Multiaddr| matches!(address.iter().next(), Some(Protocol::Dns4(_)));
    let swarm = if addresses.iter().any(is_named) {
        builder.with_dns().ok()?.with_behaviour(behaviour).ok()?.build()
    } else {
        builder.with_behaviour(behaviour).ok()?.build()
    };
    Some(swarm)
}

fn behaviour(key: &Keypair) -> Behaviour {
    let nobody = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(0))
        .with_max_established_incoming(Some(0));
    let identify = identify::Config::new("/wattle/1".into(), key.public())
        .with_agent_version("wattle".into())
        .with_hide_listen_addrs(true)
        .with_push_listen_addr_updates(false)
        .with_cache_size(0);
    Behaviour {
        limits: connection_limits::Behaviour::new(nobody),
        identify: identify::Behaviour::new(identify),
    }
}

/// Where a relay listens by QUIC over IPv4: its port is the same for all that it speaks.
fn by_quic(relay: &RelayPeer) -> Vec<Multiaddr> {
    let mut all: Vec<Multiaddr> = Vec::new();
    for address in &relay.addrs {
        let mut parts = address.iter();
        let host = match parts.next() {
            Some(Protocol::Ip4(ip)) => Protocol::Ip4(ip),
            Some(Protocol::Dns(name) | Protocol::Dns4(name)) => Protocol::Dns4(name),
            _ => continue,
        };
        let Some(Protocol::Tcp(port) | Protocol::Udp(port)) = parts.next() else { continue };
        let quic = Multiaddr::empty().with(host).with(Protocol::Udp(port));
        let quic = quic.with(Protocol::QuicV1);
        if !all.contains(&quic) {
            all.push(quic);
        }
    }
    all
}

/// The IPv4 address and the UDP port of a QUIC address.
fn socket(address: &Multiaddr) -> Option<(Ipv4Addr, u16)> {
    match quic(address)? {
        (IpAddr::V4(ip), port) => Some((ip, port)),
        (IpAddr::V6(_), _) => None,
    }
}

/// The IP address and the UDP port of a QUIC address.
pub(super) fn quic(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Udp(port), Protocol::QuicV1) => Some((ip.into(), port)),
        (Protocol::Ip6(ip), Protocol::Udp(port), Protocol::QuicV1) => Some((ip.into(), port)),
        _ => None,
    }
}

/// The QUIC address of a port at an IP address.
pub(super) fn quic_at(ip: IpAddr, port: u16) -> Multiaddr {
    Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1)
}

/// An address at which nobody is: who tells it has a NAT before it that gives each connection another port.
pub(super) fn nowhere() -> Multiaddr {
    quic_at(Ipv4Addr::UNSPECIFIED.into(), 0)
}

impl Outside {
    /// Where a QUIC port of this machine is met from outside, by what members are told.
    pub(super) fn at(self, port: u16) -> Multiaddr {
        if !self.keeps_ports {
            return nowhere();
        }
        quic_at(self.ip.into(), port)
    }

    /// Whether a router of the internet would carry it.
    pub(super) fn is_far(self) -> bool {
        is_far(self.ip)
    }
}

/// Whether a router of the internet carries what is for this address.
pub(super) fn is_far(ip: Ipv4Addr) -> bool {
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_broadcast()
        // What carriers use between their NATs and their customers' (RFC 6598).
        || matches!(ip.octets(), [100, 64..=127, ..]))
}

#[cfg(test)]
mod tests {
    use rendezvous::{Config, Relay};

    use super::*;

    fn all(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn outside(ip: &str, keeps_ports: bool) -> Outside {
        Outside { ip: ip.parse().unwrap(), keeps_ports }
    }

    /// What a relay says; it has five seconds for a handshake, and a machine that is held up looks again.
    async fn looked(peer: &RelayPeer) -> Option<Outside> {
        for _ in 0..4 {
            if let Some(seen) = look(peer.clone()).await {
                return Some(seen);
            }
        }
        look(peer.clone()).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_relay_says_from_where_it_is_called() {
        let listen = vec![([127, 0, 0, 1], 0).into()];
        let relay = Relay::start(Config { listen, ..Config::live() }).await.unwrap();
        let mut peer = RelayPeer::from_addrs(&relay.addrs()).unwrap();
        // As codes have it.
        peer.addrs.retain(|address| address.to_string().contains("/tcp/"));
        assert_eq!(looked(&peer).await, Some(outside("127.0.0.1", true)));
        // As people have it: a relay with a name.
        peer.addrs = peer.addrs.iter().map(named).collect();
        assert!(peer.addrs[0].to_string().starts_with("/dns/localhost/tcp/"), "{peer:?}");
        assert_eq!(looked(&peer).await, Some(outside("127.0.0.1", true)));
    }

    fn named(address: &Multiaddr) -> Multiaddr {
        let rest = address.iter().skip(1);
        std::iter::once(Protocol::Dns("localhost".into())).chain(rest).collect()
    }

    #[test]
    fn where_ports_change_no_port_is_told() {
        let seen = outside("198.51.100.1", true);
        assert_eq!(seen.at(7).to_string(), "/ip4/198.51.100.1/udp/7/quic-v1");
        assert_eq!(outside("198.51.100.1", false).at(7), nowhere());
    }

    #[test]
    fn what_no_router_of_the_internet_carries_is_not_outside() {
        for near in ["10.0.0.1", "0.0.0.0", "127.0.0.1", "224.0.0.251", "169.254.1.1", "100.64.0.1"]
        {
            assert!(!outside(near, true).is_far(), "{near}");
        }
        assert!(outside("198.51.100.1", true).is_far());
    }

    #[test]
    fn a_relays_quic_has_the_port_of_its_tcp() {
        let addrs = all(&[
            "/ip4/198.51.100.1/tcp/4407",
            "/ip4/198.51.100.1/udp/4407/quic-v1",
            "/ip4/198.51.100.1/tcp/4407/ws",
            "/dns/relay.example.org/tcp/4407",
            "/dns4/relay.example.org/tcp/4407/ws",
            "/dns6/relay.example.org/tcp/4407",
            "/ip6/2001:db8::1/tcp/4407",
        ]);
        let relay = RelayPeer { peer_id: PeerId::random(), addrs };
        let expected =
            ["/ip4/198.51.100.1/udp/4407/quic-v1", "/dns4/relay.example.org/udp/4407/quic-v1"];
        assert_eq!(by_quic(&relay), all(&expected));
    }
}
