//! Which networks a node speaks on.

use std::net::IpAddr;

use libp2p::{Multiaddr, multiaddr::Protocol};

/// How far a node goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Wherever an address leads.
    #[default]
    Anywhere,
    /// To addresses of local networks alone, and from them.
    Local,
}

impl Reach {
    /// Whether an address is within.
    #[must_use]
    pub fn allows(self, address: &Multiaddr) -> bool {
        self == Self::Anywhere || is_local(address)
    }

    /// The same of an address as bytes; what can't be read is not.
    pub(super) fn allows_bytes(self, address: &[u8]) -> bool {
        Multiaddr::try_from(address.to_vec()).is_ok_and(|address| self.allows(&address))
    }
}

/// Whether an address is of a kind that no router of the internet carries.
#[must_use]
pub fn is_local(address: &Multiaddr) -> bool {
    let ip: IpAddr = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return false,
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_is_what_no_router_of_the_internet_carries() {
        let local = |text: &str| is_local(&text.parse().unwrap());
        for near in [
            "/ip4/10.0.0.1/tcp/1",
            "/ip4/192.168.1.7/udp/1/quic-v1",
            "/ip4/172.31.0.1/tcp/1",
            "/ip4/169.254.7.7/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/::ffff:10.0.0.1/tcp/1",
        ] {
            assert!(local(near), "{near}");
        }
        for far in [
            "/ip4/198.51.100.1/tcp/1",
            "/ip4/172.32.0.1/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip6/2001:db8::1/tcp/1",
            "/ip6/::ffff:198.51.100.1/tcp/1",
            "/dns4/localhost/tcp/1",
        ] {
            assert!(!local(far), "{far}");
        }
        assert!(Reach::Anywhere.allows(&"/dns4/example.org/tcp/1".parse().unwrap()));
        assert!(!Reach::Local.allows_bytes(&[0xff; 9]));
    }
}
