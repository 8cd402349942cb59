//! Where to listen, and which of the addresses to tell others.

use std::{
    collections::BTreeSet,
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use libp2p::{Multiaddr, PeerId, Swarm, TransportError, multiaddr::Protocol};

use super::{behaviour::Behaviour, book, mesh::SpawnError, reach::Reach};

/// Not an address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address to listen on: give IP:PORT, [IPv6]:PORT or a multiaddr")]
pub struct ListenSyntax;

/// Reads `IP:PORT`, which means TCP and QUIC on the same number, or one multiaddr.
pub fn listen_addresses(text: &str) -> Result<Vec<Multiaddr>, ListenSyntax> {
    match (text.parse::<SocketAddr>(), text.parse::<Multiaddr>()) {
        (Ok(socket), _) => Ok(both(socket.ip(), socket.port())),
        (_, Ok(address)) if address.iter().count() > 1 => Ok(vec![address]),
        _ => Err(ListenSyntax),
    }
}

/// Listens on all of `addresses`, or, where there are none, on every interface. `port` is tried
/// where any would do.
pub(super) fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
    port: Option<u16>,
) -> Result<(), SpawnError> {
    let port = port.or_else(free_port);
    if addresses.is_empty() {
        on(swarm, &both(Ipv4Addr::UNSPECIFIED.into(), 0), port)?;
        // A machine without IPv6 is no failure.
        let _ = on(swarm, &both(Ipv6Addr::UNSPECIFIED.into(), 0), port);
        return Ok(());
    }
    on(swarm, addresses, port)
}

/// What to tell others of all the addresses listened on, each with the PeerId.
pub(super) fn announced(
    addresses: &BTreeSet<Multiaddr>,
    me: PeerId,
    reach: Reach,
) -> Vec<Multiaddr> {
    let within = addresses.iter().filter(|address| reach.allows(address)).cloned();
    let chosen = reachable(within, book::ADDRESSES);
    chosen.into_iter().map(|address| address.with(Protocol::P2p(me))).collect()
}

/// Of a node's addresses the first `most` that lead there from elsewhere, IPv4 before IPv6: those of
/// this machine alone only where there is nothing else, and none that need a scope.
pub(crate) fn reachable(
    addresses: impl IntoIterator<Item = Multiaddr>,
    most: usize,
) -> Vec<Multiaddr> {
    let (lo, mut wide): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .filter_map(|address| Some((ip(&address)?, address)))
        .filter(|(ip, _)| !is_link_local(*ip))
        .partition(|(ip, _)| ip.is_loopback());
    if wide.is_empty() {
        wide = lo;
    }
    wide.sort_by_key(|(ip, _)| ip.is_ipv6());
    wide.into_iter().map(|(_, address)| address).take(most).collect()
}

fn on(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
    port: Option<u16>,
) -> Result<(), SpawnError> {
    for address in addresses {
        let shared = port.and_then(|port| with_port(address, port));
        let tried = match shared {
            Some(shared) => swarm.listen_on(shared).or_else(|_| swarm.listen_on(address.clone())),
            None => swarm.listen_on(address.clone()),
        };
        tried.map_err(|error| SpawnError::Listen {
            address: address.clone(),
            reason: match error {
                TransportError::Other(reason) => innermost(reason),
                TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
            },
        })?;
    }
    Ok(())
}

/// What the system said, out of the errors that libraries have put around it.
fn innermost(outer: io::Error) -> io::Error {
    let mut said = None;
    let mut cause = outer.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        said = io.and_then(io::Error::raw_os_error).or(said);
        let inner = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn Error + 'static));
        cause = inner.or_else(|| error.source());
    }
    said.map_or(outer, io::Error::from_raw_os_error)
}

/// A port number that is free for TCP and for UDP just now.
pub(crate) fn free_port() -> Option<u16> {
    (0..8).find_map(|_| bound(0))
}

/// Whether this one is.
pub(crate) fn is_free(port: u16) -> bool {
    port != 0 && bound(port).is_some()
}

fn bound(port: u16) -> Option<u16> {
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
    let port = tcp.local_addr().ok()?.port();
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok().map(|_| port)
}

/// The address with this port in place of "any", which is 0; none where it names another.
fn with_port(address: &Multiaddr, port: u16) -> Option<Multiaddr> {
    let mut any = false;
    let with = address
        .iter()
        .map(|part| match part {
            Protocol::Tcp(0) => {
                any = true;
                Protocol::Tcp(port)
            }
            Protocol::Udp(0) => {
                any = true;
                Protocol::Udp(port)
            }
            part => part,
        })
        .collect();
    any.then_some(with)
}

fn both(ip: IpAddr, port: u16) -> Vec<Multiaddr> {
    let at = || Multiaddr::from(ip);
    vec![at().with(Protocol::Tcp(port)), at().with(Protocol::Udp(port)).with(Protocol::QuicV1)]
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(addresses: Vec<Multiaddr>) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ip_and_a_port_mean_tcp_and_quic() {
        let read = |input| listen_addresses(input).map(text);
        assert_eq!(
            read("10.0.0.1:4001").unwrap(),
            ["/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.1/udp/4001/quic-v1"]
        );
        assert_eq!(read("[::]:0").unwrap(), ["/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"]);
        assert_eq!(read("/ip4/10.0.0.1/tcp/1").unwrap(), ["/ip4/10.0.0.1/tcp/1"]);
        for wrong in ["", "4001", "example.org:4001", "10.0.0.1", "/", "/ip4/10.0.0.1"] {
            assert_eq!(read(wrong), Err(ListenSyntax), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_only_where_there_is_nothing_else() {
        let me = PeerId::random();
        let parse = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect::<BTreeSet<_>>();
        let of = |all: &[&str]| text(announced(&parse(all), me, Reach::Anywhere));
        let lo = "/ip4/127.0.0.1/tcp/1";
        assert_eq!(of(&[lo]), [format!("{lo}/p2p/{me}")]);
        let all = [lo, "/ip6/::1/tcp/1", "/ip6/fe80::1/tcp/1", "/ip4/10.0.0.1/tcp/1"];
        assert_eq!(of(&all), [format!("/ip4/10.0.0.1/tcp/1/p2p/{me}")]);
        let all = ["/ip4/198.51.100.1/tcp/1", "/ip4/10.0.0.1/tcp/1"];
        let near = text(announced(&parse(&all), me, Reach::Local));
        assert_eq!(near, [format!("/ip4/10.0.0.1/tcp/1/p2p/{me}")]);
    }
}
