//! Whom it is counted to what an address uses.
//!
//! > An IPv6 /64 is one machine's, a /48 one customer's: both are counted, so that a household with many
//! > of the one kind has not as many times what an address may.

use std::net::{IpAddr, Ipv6Addr};

use crate::limits::WIDE_BLOCK;

/// Addresses that count as one, by the first bits that they share.
pub(crate) type Block = (IpAddr, u8);

/// The address that all of an IPv6 /64 count as; an IPv4 address in IPv6 is itself.
pub(crate) fn narrow(ip: Ipv6Addr) -> IpAddr {
    ip.to_ipv4_mapped().map_or_else(|| first_bits(ip, 64).into(), IpAddr::from)
}

/// The blocks that an address counts for, and how many times what an address may each of them may.
pub(crate) fn blocks(from: Option<IpAddr>) -> impl Iterator<Item = (Block, u32)> {
    let narrow = from.map(|ip| ((ip, if ip.is_ipv4() { 32 } else { 64 }), 1));
    let wide = match from {
        Some(IpAddr::V6(ip)) => Some(((first_bits(ip, 48).into(), 48), WIDE_BLOCK)),
        _ => None,
    };
    narrow.into_iter().chain(wide)
}

fn first_bits(ip: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() >> (128 - bits) << (128 - bits))
}
