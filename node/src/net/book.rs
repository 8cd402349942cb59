//! Who may connect, under which PeerIds, and where to dial them.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use protocol::ids::MemberId;

use super::reach::is_local;

/// One member with whom a channel is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookEntry {
    /// Who.
    pub member: MemberId,
    /// The PeerIds that the member's card names, as bytes. Others are ignored.
    pub peers: Vec<Vec<u8>>,
    /// Where the member's node was last known to listen: multiaddrs as bytes, with or without a
    /// PeerId. Those that can't be read, or name a PeerId that isn't the member's, are ignored, but
    /// for QUIC addresses on the internet, for one that leads nowhere and for none at all: there the member's
    /// outer swarm has its name. The first 16 are used.
    pub addresses: Vec<Vec<u8>>,
}

/// Addresses dialled for one member.
pub const ADDRESSES: usize = 16;

/// PeerIds of outer swarms that one member may tell: that of its node, and in another group still the one before.
const OUTER: usize = 2;

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
    /// Under which the outer swarm of the member's node is met, and comes.
    pub(super) outer: BTreeSet<PeerId>,
    pub(super) addresses: BTreeMap<PeerId, Vec<Multiaddr>>,
}

impl Book {
    pub(super) fn new(entries: Vec<BookEntry>) -> Self {
        let members: BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.member, Whereabouts::new(&entry))).collect();
        let peers = members.values().flat_map(|member| member.all().copied()).collect();
        Self { members, peers }
    }

    /// Whether some member's card names this PeerId, or a member has told that its outer swarm has it.
    pub(super) fn knows(&self, peer: &PeerId) -> bool {
        self.peers.contains(peer)
    }

    /// Whether whoever comes under this PeerId is let in by this door.
    pub(super) fn lets_in(&self, door: Door, peer: &PeerId) -> bool {
        self.knows(peer) && self.members.values().any(|known| known.comes_by(door, peer))
    }

    /// Whether this very member's card names it.
    pub(super) fn is_on_card(&self, member: &MemberId, peer: &PeerId) -> bool {
        self.members.get(member).is_some_and(|known| known.peers.contains(peer))
    }

    /// The same, or whether its outer swarm has it.
    pub(super) fn is_of(&self, member: &MemberId, peer: &PeerId) -> bool {
        self.members.get(member).is_some_and(|known| known.has(peer))
    }

    /// The members whose it is.
    pub(super) fn members_of(&self, peer: &PeerId) -> BTreeSet<MemberId> {
        let named = self.members.iter().filter(|(_, known)| known.has(peer));
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
        let mut outer = BTreeSet::new();
        let mut left = ADDRESSES;
        for bytes in &entry.addresses {
            let Ok(address) = Multiaddr::try_from(bytes.clone()) else { continue };
            let (address, named) = split(address);
            let is_name = leads_nowhere(&address);
            if let Some(peer) = named
                && !peers.contains(&peer)
                && outer.len() < OUTER
                && (is_name || is_far_quic(&address))
            {
                outer.insert(peer);
            }
            if is_name {
                continue;
            }
            let of = named.map_or_else(|| peers.iter().copied().collect(), |peer| vec![peer]);
            let is_far = is_far_quic(&address);
            let counts = |it: &PeerId| peers.contains(it) || is_far && outer.contains(it);
            for peer in of.into_iter().filter(counts) {
                let known = addresses.entry(peer).or_default();
                if left > 0 && !known.contains(&address) {
                    known.push(address.clone());
                    left -= 1;
                }
            }
        }
        addresses.retain(|_, known| !known.is_empty());
        Self { peers, outer, addresses }
    }

    /// Whether a connection with this PeerId is the member's.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.peers.contains(peer) || self.outer.contains(peer)
    }

    /// Whether its outer swarm can be called.
    pub(super) fn is_met_outside(&self) -> bool {
        self.outer.iter().any(|peer| self.addresses.contains_key(peer))
    }

    /// Whether two differ at most in what is told of outer swarms, which follows from what relays say.
    pub(super) fn is_same_inside(&self, other: &Self) -> bool {
        self.peers == other.peers && self.inside().eq(other.inside())
    }

    fn inside(&self) -> impl Iterator<Item = (&PeerId, &Vec<Multiaddr>)> {
        self.addresses.iter().filter(|(peer, _)| self.peers.contains(peer))
    }

    fn comes_by(&self, door: Door, peer: &PeerId) -> bool {
        match door {
            Door::Main => self.peers.contains(peer),
            Door::Outer => self.outer.contains(peer),
            Door::Shut => false,
        }
    }

    fn all(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.iter().chain(&self.outer)
    }
}

/// At which of a node's swarms somebody comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Door {
    /// The main swarm: whom a card names.
    #[default]
    Main,
    /// An outer swarm: other outer swarms, by what members tell.
    Outer,
    /// An outer swarm that has given way to another: nobody.
    Shut,
}

/// Whether nobody can be there: it tells the name of an outer swarm alone, or that a NAT gives each connection
/// another port.
fn leads_nowhere(address: &Multiaddr) -> bool {
    address.is_empty()
        || address.iter().any(|part| matches!(part, Protocol::Udp(0) | Protocol::Tcp(0)))
}

/// A QUIC address that leads over the internet.
fn is_far_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1) && !is_local(address)
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
            &[
                "/ip4/0.0.0.0/udp/0/quic-v1",
                &with(ours),
                &with(other),
                "/ip4/10.0.0.1/tcp/1",
                "/ip4/10.0.0.2/tcp/2",
            ],
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
    fn two_peers_of_outer_swarms_count_and_only_by_quic_on_the_internet() {
        let card = PeerId::random();
        let [one, two, three] = std::array::from_fn(|_| PeerId::random());
        let near = format!("/ip4/10.0.0.1/udp/1/quic-v1/p2p/{one}");
        let tcp = format!("/ip4/198.51.100.1/tcp/1/p2p/{one}");
        let book = Book::new(vec![entry(&[card], &[&near, &tcp])]);
        assert!(book.knows(&card) && !book.knows(&one));
        let far = |peer| format!("/ip4/198.51.100.1/udp/1/quic-v1/p2p/{peer}");
        let book = Book::new(vec![entry(&[card], &[&near, &far(one), &far(two), &far(three)])]);
        let known = &book.members()[&MemberId([1; 32])];
        assert_eq!(known.outer, [one, two].into());
        assert!(known.addresses.keys().eq(known.outer.iter()) && known.is_met_outside());
        assert!(book.is_of(&MemberId([1; 32]), &one) && !book.knows(&three));
        assert!(!book.is_on_card(&MemberId([1; 32]), &one));
        assert_eq!(known.peers, [card].into(), "on local networks it is not looked for");
        // Also where its name was told before them.
        let name = format!("/p2p/{one}");
        let book = Book::new(vec![entry(&[card], &[&name, &near, &tcp, &far(one)])]);
        let known = &book.members()[&MemberId([1; 32])].addresses;
        let dialled: Vec<String> = known[&one].iter().map(ToString::to_string).collect();
        assert_eq!(dialled, ["/ip4/198.51.100.1/udp/1/quic-v1"]);
    }

    #[test]
    fn an_outer_swarm_is_let_in_by_its_name_alone_and_by_its_own_door() {
        let (card, outer) = (PeerId::random(), PeerId::random());
        for name in [format!("/p2p/{outer}"), format!("/ip4/0.0.0.0/udp/0/quic-v1/p2p/{outer}")] {
            let book = Book::new(vec![entry(&[card], &[&name])]);
            let known = &book.members()[&MemberId([1; 32])];
            assert!(known.addresses.is_empty() && !known.is_met_outside(), "{name}");
            assert!(book.lets_in(Door::Outer, &outer) && !book.lets_in(Door::Main, &outer));
            assert!(book.lets_in(Door::Main, &card) && !book.lets_in(Door::Outer, &card));
            assert!(![card, outer].iter().any(|it| book.lets_in(Door::Shut, it)));
        }
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
