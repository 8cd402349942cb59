//! Multiaddrs as text, as people see them, and as bytes, as members and codes carry them.

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::{book, outside, reach, relay::RelayPeer, six};

/// A PeerId in words; `None` for bytes that are none.
#[must_use]
pub fn peer_text(bytes: &[u8]) -> Option<String> {
    libp2p::PeerId::from_bytes(bytes).ok().map(|peer| peer.to_string())
}

/// The bytes of an address.
#[must_use]
pub fn to_bytes(text: &str) -> Option<Vec<u8>> {
    text.parse::<Multiaddr>().ok().map(|address| address.to_vec())
}

/// The text of an address.
#[must_use]
pub fn to_text(bytes: &[u8]) -> Option<String> {
    Multiaddr::try_from(bytes.to_vec()).ok().map(|address| address.to_string())
}

/// Where an address that a member tells leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To the member's node, over the internet.
    Far,
    /// To the NAT before it, behind which its outer swarm is.
    Outside,
    /// Nowhere: it says that the NAT before it changes ports.
    Nowhere,
    /// To its node on a local network; or it has no place, or can't be read.
    Near,
}

/// The same of an address as bytes, where the member's card names these PeerIds.
#[must_use]
pub fn leads(address: &[u8], card: &[Vec<u8>]) -> Leads {
    let Ok(address) = Multiaddr::try_from(address.to_vec()) else { return Leads::Near };
    let (place, peer) = book::split(address);
    if place.iter().any(|part| part == Protocol::Udp(0)) {
        return Leads::Nowhere;
    }
    let is_far = match place.iter().next() {
        Some(Protocol::Ip4(ip)) => outside::is_far(ip),
        Some(_) => !reach::is_local(&place),
        None => false,
    };
    let is_on_card = |peer: PeerId| card.contains(&peer.to_bytes());
    match (is_far, peer.is_none_or(is_on_card)) {
        (false, _) => Leads::Near,
        (true, true) => Leads::Far,
        (true, false) => Leads::Outside,
    }
}

/// Whether an address as bytes is one of IPv6 that leads over the internet.
#[must_use]
pub fn leads_by_six(address: &[u8]) -> bool {
    Multiaddr::try_from(address.to_vec()).is_ok_and(|address| is_six(&address))
}

/// The same of one as text.
#[must_use]
pub fn is_global_six(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok_and(|address| is_six(&address))
}

fn is_six(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if six::is_global(ip))
}

/// The IP address that an address begins with.
#[must_use]
pub fn ip_text(text: &str) -> Option<String> {
    match text.parse::<Multiaddr>().ok()?.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.to_string()),
        Protocol::Ip6(ip) => Some(ip.to_string()),
        _ => None,
    }
}

/// The relays that these addresses name, each once, in order; what names none is left out.
#[must_use]
pub fn relays<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<RelayPeer> {
    let mut relays: Vec<RelayPeer> = Vec::new();
    for relay in texts.into_iter().filter_map(|text| text.parse::<RelayPeer>().ok()) {
        match relays.iter_mut().find(|known| known.peer_id == relay.peer_id) {
            Some(known) => merge(known, &relay),
            None => relays.push(relay),
        }
    }
    relays
}

/// The first of these that names no relay.
pub fn no_relay(texts: &[String]) -> Option<&str> {
    texts.iter().map(String::as_str).find(|text| text.parse::<RelayPeer>().is_err())
}

/// Adds the addresses that `relay` has and `known` has not.
pub fn merge(known: &mut RelayPeer, relay: &RelayPeer) {
    for address in &relay.addrs {
        if !known.addrs.contains(address) {
            known.addrs.push(address.clone());
        }
    }
}

/// A relay's addresses as people write them, each with its key.
#[must_use]
pub fn texts(relay: &RelayPeer) -> Vec<String> {
    let whole =
        |address: &Multiaddr| address.clone().with(Protocol::P2p(relay.peer_id)).to_string();
    relay.addrs.iter().map(whole).collect()
}

/// Whether an address leads only to this very machine.
#[must_use]
pub fn is_loopback(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok_and(|address| {
        address.iter().any(|part| match part {
            Protocol::Ip4(ip) => ip.is_loopback(),
            Protocol::Ip6(ip) => ip.is_loopback(),
            _ => false,
        })
    })
}

/// Whether an address is of a kind that no router of the internet carries.
#[must_use]
pub fn is_local(text: &str) -> bool {
    text.parse::<Multiaddr>().is_ok_and(|address| super::reach::is_local(&address))
}

/// Whether an address is spoken to through WebSocket.
pub(crate) fn is_web(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Ws(_) | Protocol::Wss(_)))
}

/// The bytes of those addresses that a stranger should try first: without QUIC where there is TCP,
/// to keep a code short. The others come with the group's policy and with presence.
pub fn first_to_try<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<Vec<u8>> {
    let all: Vec<Multiaddr> = texts.into_iter().filter_map(|text| text.parse().ok()).collect();
    let is_tcp = |address: &&Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    let tcp: Vec<Vec<u8>> = all.iter().filter(is_tcp).map(Multiaddr::to_vec).collect();
    if tcp.is_empty() { all.iter().map(Multiaddr::to_vec).collect() } else { tcp }
}

/// The PeerId, as bytes, of the node with this Ed25519 public key.
#[must_use]
pub fn peer_id(public: &[u8; 32]) -> Option<Vec<u8>> {
    super::peer_of(public).map(|peer| peer.to_bytes())
}
