//! A socket for multicast DNS on one network.
//!
//! It is bound to the interface in what it sends and what it hears, so that no route for multicast need be
//! there: 224.0.0.251 never leaves its link. Other programs of this machine may have the port, too.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Where multicast DNS is spoken.
pub(super) const GROUP: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), PORT));
pub(super) const PORT: u16 = 5353;

/// Opens one on the interface that has this address.
pub(super) fn open(ip: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Else Linux hands it what others of this machine hear on other networks.
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &ip)?;
    socket.set_multicast_if_v4(&ip)?;
    // Nodes of one machine find one another, too.
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    UdpSocket::from_std(socket.into())
}
