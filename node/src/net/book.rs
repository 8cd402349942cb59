//! Who may connect, under which PeerIds, and where to dial them.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use protocol::ids::MemberId;

/// One member with whom a channel is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookEntry {
    /// Who.
    pub member: MemberId,
    /// The PeerIds that the member's card names, as bytes. Others are ignored.
    pub peers: Vec<Vec<u8>>,
    /// Where the member's node was last known to listen: multiaddrs as bytes, with or without a
    /// PeerId. Those that can't be read, or name a PeerId that isn't the member's, are ignored; of
    /// the others the first 16 are used.
    pub addresses: Vec<Vec<u8>>,
}

/// Addresses dialled for one member.
pub const ADDRESSES: usize = 16;

/// The entries, parsed.
#[derive(Default)]
pub(super) struct Book {
    members: BTreeMap<MemberId, Whereabouts>,
    peers: BTreeSet<PeerId>,
}

/// A member's PeerIds, and the addresses to try under each.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Whereabouts {
    pub(super) peers: BTreeSet<PeerId>,
    pub(super) addresses: BTreeMap<PeerId, Vec<Multiaddr>>,
}

impl Book {
    pub(super) fn new(entries: Vec<BookEntry>) -> Self {
        let members: BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.member, Whereabouts::new(&entry))).collect();
        let peers = members.values().flat_map(|member| member.peers.iter().copied()).collect();
        Self { members, peers }
    }

    /// Whether some member's card names this PeerId.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.peers.contains(peer)
    }

    /// Whether this very member's card names it.
    pub(super) fn is_of(&self, member: &MemberId, peer: &PeerId) -> bool {
        self.members.get(member).is_some_and(|known| known.peers.contains(peer))
    }

    /// The members whose cards name it.
    pub(super) fn members_of(&self, peer: &PeerId) -> BTreeSet<MemberId> {
        let named = self.members.iter().filter(|(_, known)| known.peers.contains(peer));
        named.map(|(member, _)| *member).collect()
    }

    pub(super) fn members(&self) -> &BTreeMap<MemberId, Whereabouts> {
        &self.members
    }
}

impl Whereabouts {
    fn new(entry: &BookEntry) -> Self {
        let peers: BTreeSet<PeerId> =
            entry.peers.iter().filter_map(|bytes| PeerId::from_bytes(bytes).ok()).collect();
        let mut addresses: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        let mut left = ADDRESSES;
        for bytes in &entry.addresses {
            let Ok(address) = Multiaddr::try_from(bytes.clone()) else { continue };
            let (address, named) = split(address);
            let of = named.map_or_else(|| peers.iter().copied().collect(), |peer| vec![peer]);
            for peer in of.into_iter().filter(|peer| peers.contains(peer)) {
                let known = addresses.entry(peer).or_default();
                if left > 0 && !known.contains(&address) {
                    known.push(address.clone());
                    left -= 1;
                }
            }
        }
        addresses.retain(|_, known| !known.is_empty());
        Self { peers, addresses }
    }
}

/// An address without the PeerId at its end, and that PeerId.
pub(super) fn split(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(Protocol::P2p(peer)) => (address, Some(peer)),
        Some(last) => (address.with(last), None),
        None => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(peers: &[PeerId], addresses: &[&str]) -> BookEntry {
        BookEntry {
            member: MemberId([1; 32]),
            peers: peers.iter().map(|peer| peer.to_bytes()).collect(),
            addresses: addresses.iter().map(|a| a.parse::<Multiaddr>().unwrap().to_vec()).collect(),
        }
    }

    #[test]
    fn an_address_counts_only_under_a_peer_that_the_card_names() {
        let (ours, other) = (PeerId::random(), PeerId::random());
        let with = |peer| format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}");
        let mut entry = entry(
            &[ours],
            &[&with(ours), &with(other), "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/2"],
        );
        entry.addresses.push(vec![0xff; 9]);
        entry.peers.push(vec![7; 3]);
        let book = Book::new(vec![entry]);
        assert!(book.knows(&ours) && !book.knows(&other));
        assert!(book.is_of(&MemberId([1; 32]), &ours));
        assert!(!book.is_of(&MemberId([2; 32]), &ours));
        let known = &book.members()[&MemberId([1; 32])].addresses;
        assert_eq!(known.keys().collect::<Vec<_>>(), [&ours]);
        let addresses: Vec<String> = known[&ours].iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/2"]);
    }

    #[test]
    fn a_member_with_a_thousand_addresses_costs_no_more_than_sixteen_dials() {
        let peer = PeerId::random();
        let many: Vec<String> = (1..=1000).map(|n| format!("/ip4/10.0.0.1/tcp/{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let book = Book::new(vec![entry(&[peer], &many)]);
        assert_eq!(book.members()[&MemberId([1; 32])].addresses[&peer].len(), ADDRESSES);
    }
}
