//! Opens listeners: TCP and QUIC on one port number, so that one address is one number to forward.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, Swarm, TransportError, core::transport::ListenerId, multiaddr::Protocol,
    swarm::SwarmEvent,
};

use super::{Event, ListenError, behaviour::Behaviour};
use crate::config::{both, web};

/// How often another port is tried where the system may choose.
const TRIES: usize = 16;

/// A listener on every interface learns its addresses one by one; after this much silence it is
/// taken to know them.
const SETTLED: Duration = Duration::from_millis(30);

/// How long QUIC connections may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// Opens all, or says which can't be. IPv6 on every interface is left out where there is no IPv6
/// and something else stands. Answers the addresses, loopback last, and TCP's listeners; what else
/// happens goes into `early`.
pub(super) async fn on_all(
    swarm: &mut Swarm<Behaviour>,
    wanted: &[SocketAddr],
    early: &mut Vec<Event>,
) -> Result<(Vec<Multiaddr>, Vec<ListenerId>), ListenError> {
    let (mut addrs, mut listeners) = (Vec::new(), Vec::new());
    for addr in wanted {
        match pair(swarm, *addr, early).await {
            Ok((found, opened)) => {
                addrs.extend(found);
                listeners.push(opened);
            }
            Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && !addrs.is_empty() => {
                tracing::warn!(%error, "listening without IPv6");
            }
            Err(error) => {
                let source = plainly(*addr, error);
                return Err(ListenError::Bind { addr: *addr, source });
            }
        }
    }
    addrs.retain(is_reachable);
    let webs: Vec<_> = addrs.iter().filter_map(web).collect();
    addrs.extend(webs);
    addrs.sort_by_key(is_loopback);
    Ok((addrs, listeners))
}

async fn pair(
    swarm: &mut Swarm<Behaviour>,
    addr: SocketAddr,
    early: &mut Vec<Event>,
) -> io::Result<(Vec<Multiaddr>, ListenerId)> {
    let mut tries = TRIES;
    loop {
        let [tcp, _] = addresses(addr, addr.port());
        let tcp = swarm.listen_on(tcp).map_err(cause)?;
        let mut found = opened(swarm, tcp, addr, early).await?;
        let port = found.iter().find_map(tcp_port).unwrap_or(addr.port());
        let [_, quic] = addresses(addr, port);
        match swarm.listen_on(quic) {
            Ok(quic) => {
                found.extend(opened(swarm, quic, addr, early).await?);
                return Ok((found, tcp));
            }
            Err(_) if addr.port() == 0 && tries > 0 => {
                tries -= 1;
                swarm.remove_listener(tcp);
            }
            Err(error) => return Err(cause(error)),
        }
    }
}

/// The addresses of a listener, as soon as they are known.
async fn opened(
    swarm: &mut Swarm<Behaviour>,
    listener: ListenerId,
    addr: SocketAddr,
    early: &mut Vec<Event>,
) -> io::Result<Vec<Multiaddr>> {
    let mut addrs = Vec::new();
    loop {
        let next = swarm.select_next_some();
        let event = if addrs.is_empty() {
            next.await
        } else if addr.ip().is_unspecified() {
            match tokio::time::timeout(SETTLED, next).await {
                Ok(event) => event,
                Err(_) => return Ok(addrs),
            }
        } else {
            return Ok(addrs);
        };
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } if listener_id == listener => {
                addrs.push(address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } if listener_id == listener => {
                return Err(reason.err().unwrap_or_else(|| io::ErrorKind::NotConnected.into()));
            }
            SwarmEvent::ListenerClosed { .. } => {}
            event => early.push(event),
        }
    }
}

/// Waits until the UDP sockets of a dropped swarm are closed: they live on until each QUIC
/// connection has said goodbye, and nobody else says when that is.
pub(super) async fn released(addrs: &[Multiaddr]) {
    let is_free = |addr: &SocketAddr| UdpSocket::bind(addr).is_ok();
    let sockets: Vec<_> = addrs.iter().filter_map(udp_socket).collect();
    let all_free = async {
        while !sockets.iter().all(is_free) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(GOODBYE, all_free).await.is_err() {
        tracing::warn!("a QUIC port was not released in time");
    }
}

fn udp_socket(addr: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = addr.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Udp(port) => Some((ip, port).into()),
        _ => None,
    }
}

fn addresses(addr: SocketAddr, port: u16) -> [Multiaddr; 2] {
    let mut pair = both(addr.ip().into(), port).into_iter();
    [(); 2].map(|()| pair.next().unwrap_or_else(Multiaddr::empty))
}

fn tcp_port(addr: &Multiaddr) -> Option<u16> {
    addr.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}

fn is_loopback(addr: &Multiaddr) -> bool {
    addr.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

/// A link-local IPv6 address means nothing without the name of an interface.
fn is_reachable(addr: &Multiaddr) -> bool {
    !addr.iter().any(|part| matches!(part, Protocol::Ip6(ip) if ip.is_unicast_link_local()))
}

/// What the system says to this address when asked by nobody else: libraries wrap its word so that
/// it can't be got out again.
fn plainly(addr: SocketAddr, wrapped: io::Error) -> io::Error {
    let tcp = TcpListener::bind(addr).err();
    tcp.or_else(|| UdpSocket::bind(addr).err()).unwrap_or(wrapped)
}

fn cause(error: TransportError<io::Error>) -> io::Error {
    match error {
        TransportError::Other(error) => error,
        TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
    }
}
