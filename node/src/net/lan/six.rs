//! This machine's own addresses of IPv6 on its local networks, each with the number of its interface.
//!
//! An interface has many: one of its link alone, and of each network one for good and some that last a day. Of a network
//! one is enough to ask and answer from. Those of the link alone are left out: they mean something only with the interface
//! that they are of (their zone), and libp2p dials no address with a zone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv6Addr},
};

use if_watch::{IpNet, Ipv6Net};

/// An address that the system says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    ip: Ipv6Addr,
    interface: u32,
    flags: u32,
}

/// The system's table of its addresses, on Linux. Where there is none, nothing is asked over IPv6.
const TABLE: &str = "/proc/net/if_inet6";
/// Flags there: it lasts a day; another node has it; it runs out, and nothing new is to use it; whether another has it
/// is not known yet.
const TEMPORARY: u32 = 0x01;
const TAKEN: u32 = 0x08;
const DEPRECATED: u32 = 0x20;
const TENTATIVE: u32 = 0x40;

/// Asks the system.
pub(super) fn own() -> Vec<Own> {
    read(&fs::read_to_string(TABLE).unwrap_or_default())
}

/// Lines of an address, an interface, a length, a scope, flags, in hexadecimal, and a name.
fn read(table: &str) -> Vec<Own> {
    let own = |line: &str| {
        let mut words = line.split_whitespace();
        let ip = u128::from_str_radix(words.next()?, 16).ok()?.into();
        let interface = u32::from_str_radix(words.next()?, 16).ok()?;
        let flags = u32::from_str_radix(words.nth(2)?, 16).ok()?;
        Some(Own { ip, interface, flags })
    };
    table.lines().filter_map(own).collect()
}

/// Whether what is bound to it is heard now.
fn is_usable(own: &Own) -> bool {
    own.flags & (TAKEN | DEPRECATED | TENTATIVE) == 0
}

/// Whether one of them may be usable soon.
pub(super) fn is_waited_for(own: &[Own]) -> bool {
    let mut beyond = own.iter().filter(|own| !is_of_link(own.ip));
    beyond.any(|own| own.flags & (TAKEN | TENTATIVE) == TENTATIVE)
}

/// Of each network of IPv6 the address to ask and answer from, with its interface: one for good, if there is one. Only
/// addresses at which this node listens are of use.
pub(super) fn places(
    nets: &BTreeSet<IpNet>,
    listens: impl Fn(&IpAddr) -> bool,
    own: &[Own],
) -> Vec<(IpNet, u32)> {
    let mut places: BTreeMap<(IpNet, u32), (bool, IpNet)> = BTreeMap::new();
    for net in nets {
        let IpAddr::V6(ip) = net.addr() else { continue };
        let net = &network(*net, ip);
        if ip.is_loopback() || is_of_link(ip) || !listens(&ip.into()) {
            continue;
        }
        for own in own.iter().filter(|own| own.ip == ip && is_usable(own)) {
            let place = (own.flags & TEMPORARY != 0, *net);
            let known = places.entry((net.trunc(), own.interface)).or_insert(place);
            *known = place.min(*known);
        }
    }
    places.into_iter().map(|((_, interface), (_, net))| (net, interface)).collect()
}

/// The network of an address. One that DHCPv6 gives comes without (RFC 8415, 21.6); links have 64 bits (RFC 4291, 2.5.1).
fn network(net: IpNet, ip: Ipv6Addr) -> IpNet {
    match net.prefix_len() {
        128 => Ipv6Net::new(ip, 64).map_or(net, IpNet::from),
        _ => net,
    }
}

/// Whether it means something on its link alone.
pub(super) fn is_of_link(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
fe8000000000000000fc00fffe000001 02 40 20 80     e0
fd000078000000000000000000000007 02 40 00 80     e0
fd000078000000000000000000000005 02 40 00 01     e0
fd000079000000000000000000000009 03 40 00 01     e1
fd000079000000000000000000000008 03 40 00 21     e1
2a000078000000000000000000000007 02 40 00 c0     e0
00000000000000000000000000000001 01 80 10 80       lo
not an address
";

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn of_each_network_one_address_is_taken_that_lasts_if_there_is_one() {
        let own = read(LINES);
        assert_eq!(own.len(), 7);
        assert!(is_waited_for(&own) && !is_waited_for(&own[..5]));
        let nets = BTreeSet::from(
            [
                "10.0.0.7/24",
                "::1/128",
                "fe80::fc:ff:fe00:1/64",
                "fd00:78::7/64",
                "fd00:78::5/64",
                "fd00:79::9/64",
                "fd00:79::8/64",
                "2a00:78::7/64",
            ]
            .map(net),
        );
        let expected = vec![(net("fd00:78::7/64"), 2), (net("fd00:79::9/64"), 3)];
        assert_eq!(places(&nets, |_| true, &own), expected);
        assert_eq!(places(&nets, |_| false, &own), []);
        // By DHCPv6 alone.
        let given = BTreeSet::from([net("fd00:78::7/128")]);
        assert_eq!(places(&given, |_| true, &own), [(net("fd00:78::7/64"), 2)]);
        let only = |ip: &IpAddr| ip.to_string() == "fd00:78::5";
        assert_eq!(places(&nets, only, &own), [(net("fd00:78::5/64"), 2)]);
    }
}
