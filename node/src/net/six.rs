//! This machine's own addresses of the internet over IPv6, by which packets of its own leave.
//!
//! A firewall lets in what answers: to the address and the port from which the one behind it has called. Of an interface's
//! many addresses (one for good, some for a day each, some that run out, of one provider and another) the
//! system chooses one by where a packet goes, and that one alone is of use to whoever is to answer.
//!
//! > Nobody is asked but the system, and nothing is sent.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

/// Places all over the internet: what the system would call them from may differ.
const FAR: [Ipv6Addr; 6] =
    [at(0x2001, 0x200), at(0x2400, 0), at(0x2600, 0), at(0x2800, 0), at(0x2a00, 0), at(0x2c00, 0)];
/// A port, since there has to be one.
const PORT: u16 = 9;
/// Addresses that are told: two providers', each in the middle of a change.
const MOST: usize = 4;

const fn at(first: u16, second: u16) -> Ipv6Addr {
    Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 1)
}

/// The addresses from which packets leave for the internet, where some do.
pub(super) fn own() -> Vec<Ipv6Addr> {
    chosen(FAR.into_iter().filter_map(towards))
}

/// The address from which a packet would go there: to connect a UDP socket sends none.
fn towards(there: Ipv6Addr) -> Option<Ipv6Addr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((there, PORT)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V6(own) => Some(*own.ip()),
        SocketAddr::V4(_) => None,
    }
}

/// Those of the internet, each once, in an order that stays.
fn chosen(all: impl Iterator<Item = Ipv6Addr>) -> Vec<Ipv6Addr> {
    let mut all: Vec<Ipv6Addr> = all.filter(|ip| is_global(*ip)).collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(MOST);
    all
}

/// Whether it is one of those that are given out (2000::/3).
pub(super) fn is_global(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0x2000..=0x3fff, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_router_of_the_internet_carries_is_not_told_and_nothing_twice() {
        let all = ["2a00:79::7", "fd00::1", "2a00:79::7", "fe80::1", "::1", "2001:db8::1"];
        let all = all.iter().map(|text| text.parse().unwrap());
        let expected: Vec<Ipv6Addr> =
            ["2001:db8::1", "2a00:79::7"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(chosen(all), expected);
        let many = (0..9).map(|n| Ipv6Addr::new(0x2a00, n, 0, 0, 0, 0, 0, 1));
        assert_eq!(chosen(many).len(), MOST);
        assert!(FAR.into_iter().all(is_global));
    }

    #[test]
    fn the_system_is_asked_from_where_it_would_call() {
        // A machine may have no IPv6 at all.
        let has_six = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
        assert_eq!(towards(Ipv6Addr::LOCALHOST), has_six.then_some(Ipv6Addr::LOCALHOST));
    }
}
