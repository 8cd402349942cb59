//! Sockets for multicast DNS on one network.
//!
//! They are bound to the interface in what they send and what they hear, so that no route for multicast need be
//! there: 224.0.0.251 and ff02::fb never leave their link. Other programs of this machine may have the port, too.
//!
//! Over IPv6 there are two: what goes to ff02::fb leaves by the address of the link alone, unless the socket is bound to
//! another; and one that is hears no multicast.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    task::{Context, Poll},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::ReadBuf, net::UdpSocket};

/// Where multicast DNS is spoken.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_SIX: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
pub(super) const PORT: u16 = 5353;
const TTL: u32 = 255;

/// What hears and speaks on one network.
pub(super) struct Sockets {
    hears: UdpSocket,
    /// Over IPv6, what speaks: it is connected to the group, and so hears nobody.
    speaks: Option<UdpSocket>,
}

/// Opens what it takes from this address of this machine, on the interface of this number for one of IPv6.
pub(super) fn open(ip: IpAddr, interface: u32) -> io::Result<Sockets> {
    match ip {
        IpAddr::V4(ip) => Ok(Sockets { hears: four(ip)?, speaks: None }),
        IpAddr::V6(ip) => {
            Ok(Sockets { hears: six(interface)?, speaks: Some(from_six(ip, interface)?) })
        }
    }
}

impl Sockets {
    pub(super) fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        self.hears.poll_recv_from(cx, read)
    }

    /// Tells everybody on the network.
    pub(super) async fn tell(&self, packet: &[u8]) -> io::Result<usize> {
        match &self.speaks {
            Some(speaks) => speaks.send(packet).await,
            None => self.hears.send_to(packet, SocketAddrV4::new(GROUP, PORT)).await,
        }
    }
}

fn socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn four(ip: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV4)?;
    // Else Linux hands it what others of this machine hear on other networks.
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.join_multicast_v4(&GROUP, &ip)?;
    socket.set_multicast_if_v4(&ip)?;
    // Nodes of one machine find one another, too.
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(TTL)?;
    UdpSocket::from_std(socket.into())
}

fn six(interface: u32) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v6(false)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
    socket.join_multicast_v6(&GROUP_SIX, interface)?;
    UdpSocket::from_std(socket.into())
}

fn from_six(ip: Ipv6Addr, interface: u32) -> io::Result<UdpSocket> {
    let socket = socket(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    socket.set_multicast_if_v6(interface)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(TTL)?;
    socket.bind(&SocketAddr::from((ip, PORT)).into())?;
    socket.connect(&SocketAddrV6::new(GROUP_SIX, PORT, 0, interface).into())?;
    UdpSocket::from_std(socket.into())
}
