//! Who is connected or about to be, counted: in all, by PeerId, and by address.
//!
//! > Nothing is kept of who is gone. The source of a QUIC handshake can be forged until it is done, so that it
//! > is counted to nobody before, and takes no place of those who come by TCP.

use std::{collections::HashMap, net::IpAddr};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};

use super::places::{Holder, Places};
use crate::{
    blocks::{Block, blocks, narrow},
    limits::{LEAVING, Limits},
};

/// All connections of a relay.
pub(super) struct Crowd {
    bounds: Bounds,
    callers: HashMap<ConnectionId, Caller>,
    blocks: HashMap<Block, Count>,
    peers: HashMap<PeerId, u32>,
    /// That stand.
    made: u32,
    /// Of these, those that are not to go.
    places: Places,
    /// Those that are to go, and were not told yet.
    leaving: Vec<(PeerId, ConnectionId)>,
    /// Handshakes under way, by TCP and by QUIC.
    making: [u32; 2],
}

/// What a connection was refused for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum TooMany {
    /// In all, or of one PeerId.
    #[error("too many connections")]
    InAll,
    /// From one address, or the block around it.
    #[error("too many connections from this address")]
    OfAddress,
}

/// Where a connection's place comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It was free.
    Free,
    /// Another goes for it.
    Cleared,
}

struct Bounds {
    made: u32,
    making: u32,
    per_peer: u32,
    per_ip: u32,
    making_per_ip: u32,
}

struct Caller {
    from: Option<IpAddr>,
    way: Way,
    /// Once it has shown who it is.
    peer: Option<PeerId>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tcp,
    Quic,
}

/// Connections of one block, and how many of them are still being made.
#[derive(Clone, Copy, Default)]
struct Count {
    all: u32,
    making: u32,
}

impl Crowd {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bounds: Bounds::of(limits),
            callers: HashMap::new(),
            blocks: HashMap::new(),
            peers: HashMap::new(),
            made: 0,
            places: Places::default(),
            leaving: Vec::new(),
            making: [0; 2],
        }
    }

    /// Goes by other limits from now on; who is there stays.
    pub(super) fn set(&mut self, limits: &Limits) {
        self.bounds = Bounds::of(limits);
    }

    /// A handshake begins.
    pub(super) fn begins(&mut self, id: ConnectionId, from: &Multiaddr) -> Result<(), TooMany> {
        let is_quic = from.iter().any(|part| matches!(part, Protocol::QuicV1 | Protocol::Udp(_)));
        let way = if is_quic { Way::Quic } else { Way::Tcp };
        if self.making[way as usize] >= self.bounds.making {
            return Err(TooMany::InAll);
        }
        let from = address(from);
        if way == Way::Tcp {
            self.has_room(from, true)?;
            self.count(from, |count| {
                count.all += 1;
                count.making += 1;
            });
        }
        self.making[way as usize] += 1;
        self.callers.insert(id, Caller { from, way, peer: None });
        Ok(())
    }

    /// The handshake is done. Whoever is refused is still to be forgotten.
    pub(super) fn made(&mut self, id: ConnectionId, peer: PeerId) -> Result<Place, TooMany> {
        let of_peer = self.peers.get(&peer).copied().unwrap_or(0);
        let Some(Caller { from, way, peer: None }) = self.callers.get(&id) else {
            return Ok(Place::Free);
        };
        let (from, way) = (*from, *way);
        if of_peer >= self.bounds.per_peer {
            return Err(TooMany::InAll);
        }
        if way == Way::Quic {
            self.has_room(from, false)?;
        }
        let place = self.place(id, from)?;
        self.count(from, |count| match way {
            Way::Tcp => count.making -= 1,
            Way::Quic => count.all += 1,
        });
        self.making[way as usize] -= 1;
        self.made += 1;
        self.peers.insert(peer, of_peer + 1);
        if let Some(caller) = self.callers.get_mut(&id) {
            caller.peer = Some(peer);
        }
        Ok(place)
    }

    /// The connection is gone, or was never made.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        let Some(Caller { from, way, peer }) = self.callers.remove(&id) else { return };
        match (peer, way) {
            (Some(peer), _) => {
                self.made -= 1;
                self.places.give(id, holder(from));
                self.count(from, |count| count.all -= 1);
                if let Some(count) = self.peers.get_mut(&peer) {
                    *count -= 1;
                    if *count == 0 {
                        self.peers.remove(&peer);
                    }
                }
            }
            (None, Way::Tcp) => {
                self.making[Way::Tcp as usize] -= 1;
                self.count(from, |count| {
                    count.all -= 1;
                    count.making -= 1;
                });
            }
            (None, Way::Quic) => self.making[Way::Quic as usize] -= 1,
        }
    }

    /// From which address a connection comes, or which block counts as one.
    pub(super) fn from(&self, id: ConnectionId) -> Option<IpAddr> {
        self.callers.get(&id)?.from
    }

    /// Has so many connections go, of those who have most.
    pub(super) fn shed(&mut self, count: u32) -> u32 {
        for shed in 0..count {
            let Some(id) = self.places.clear() else { return shed };
            self.leaves(id);
        }
        count
    }

    /// Who is to be told to go.
    pub(super) fn leaving(&mut self) -> Option<(PeerId, ConnectionId)> {
        self.leaving.pop()
    }

    /// Finds a place, or takes one from those who have most.
    fn place(&mut self, id: ConnectionId, from: Option<IpAddr>) -> Result<Place, TooMany> {
        let holder = holder(from);
        let is_full = self.places.taken() >= self.bounds.made;
        if is_full {
            let has_room = self.made < self.bounds.made.saturating_add(LEAVING);
            let goes = has_room.then(|| self.places.clear_for(holder)).flatten();
            self.leaves(goes.ok_or(TooMany::InAll)?);
        }
        self.places.take(id, holder);
        Ok(if is_full { Place::Cleared } else { Place::Free })
    }

    fn leaves(&mut self, id: ConnectionId) {
        if let Some(peer) = self.callers.get(&id).and_then(|caller| caller.peer) {
            self.leaving.push((peer, id));
        }
    }

    fn has_room(&self, from: Option<IpAddr>, is_beginning: bool) -> Result<(), TooMany> {
        let left = self.bounds.making.saturating_sub(self.making[Way::Tcp as usize]);
        for (block, times) in blocks(from) {
            let count = self.blocks.get(&block).copied().unwrap_or_default();
            let is_full = count.all >= self.bounds.per_ip.saturating_mul(times);
            let is_busy = count.making >= self.bounds.making_per_ip.saturating_mul(times).min(left);
            if is_full || is_beginning && is_busy {
                return Err(TooMany::OfAddress);
            }
        }
        Ok(())
    }

    fn count(&mut self, from: Option<IpAddr>, change: impl Fn(&mut Count)) {
        for (block, _) in blocks(from) {
            let count = self.blocks.entry(block).or_default();
            change(count);
            if count.all == 0 {
                self.blocks.remove(&block);
            }
        }
    }
}

impl Bounds {
    fn of(limits: &Limits) -> Self {
        Self {
            made: limits.connections,
            making: limits.handshakes,
            per_peer: limits.per_peer,
            per_ip: limits.per_ip,
            making_per_ip: limits.handshakes_per_ip,
        }
    }
}

/// To which block a place is counted: the widest.
fn holder(from: Option<IpAddr>) -> Holder {
    blocks(from).last().map(|(block, _)| block)
}

/// Whom a connection is counted to: an IPv4 address, or the /64 of an IPv6 one.
pub(super) fn address(addr: &Multiaddr) -> Option<IpAddr> {
    addr.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(narrow(ip)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            connections: 100,
            handshakes: 40,
            per_peer: 2,
            per_ip: 8,
            handshakes_per_ip: 4,
            ..Limits::default()
        }
    }

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    /// How many connections one after the other may be made from these addresses.
    fn most(crowd: &mut Crowd, from: impl Iterator<Item = String>) -> usize {
        from.enumerate()
            .take_while(|(at, from)| {
                let id = id(1000 + at);
                crowd
                    .begins(id, &addr(from))
                    .and_then(|()| crowd.made(id, PeerId::random()))
                    .is_ok()
            })
            .count()
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let mut crowd = Crowd::new(&limits());
        for round in 0..1000 {
            for (at, way) in ["tcp/9", "udp/9/quic-v1"].into_iter().enumerate() {
                let (one, two) = (id(4 * round + 2 * at), id(4 * round + 2 * at + 1));
                let from = addr(&format!("/ip6/2001:db8:{round:x}::1/{way}"));
                crowd.begins(one, &from).unwrap();
                crowd.begins(two, &from).unwrap();
                crowd.made(one, PeerId::random()).unwrap();
                crowd.forget(one);
                crowd.forget(two);
                crowd.forget(two);
            }
        }
        assert!(crowd.callers.is_empty() && crowd.blocks.is_empty() && crowd.peers.is_empty());
        assert_eq!(crowd.places, Places::default());
        assert_eq!((crowd.made, crowd.making), (0, [0; 2]));
    }

    #[test]
    fn an_address_a_network_and_a_peer_have_their_bounds() {
        let mut crowd = Crowd::new(&limits());
        let one = |_| "/ip4/192.0.2.1/tcp/9".to_owned();
        assert_eq!(most(&mut crowd, (0..50).map(one)), 8);
        // Each from a /64 of its own, all of one /48.
        let mut crowd = Crowd::new(&limits());
        let many = |at| format!("/ip6/2001:db8:1:{at:x}::1/udp/9/quic-v1");
        assert_eq!(most(&mut crowd, (0..90).map(many)), 32);
        let mut crowd = Crowd::new(&limits());
        let mapped = |at| format!("/ip6/::ffff:192.0.2.{}/tcp/9", at / 100);
        assert_eq!(most(&mut crowd, (0..50).map(mapped)), 8);

        let (mut crowd, peer) = (Crowd::new(&limits()), PeerId::random());
        for at in 0..3 {
            let from = addr(&format!("/ip4/192.0.2.{at}/tcp/9"));
            crowd.begins(id(at), &from).unwrap();
            let made = crowd.made(id(at), peer);
            assert_eq!(made.is_err(), at == 2);
        }
        crowd.forget(id(2));
        crowd.forget(id(0));
        crowd.begins(id(4), &addr("/ip4/192.0.2.9/tcp/9")).unwrap();
        crowd.made(id(4), peer).unwrap();
    }

    /// One more connection from there; answers who has to go for it.
    fn joins(crowd: &mut Crowd, number: usize, from: &str) -> Result<Option<usize>, TooMany> {
        let made = crowd
            .begins(id(number), &addr(from))
            .and_then(|()| crowd.made(id(number), PeerId::random()));
        if let Err(error) = made {
            crowd.forget(id(number));
            return Err(error);
        }
        let goes = crowd.leaving().map(|(_, goes)| goes);
        assert!(crowd.leaving().is_none());
        Ok(goes.map(|goes| (0..number).find(|it| id(*it) == goes).unwrap()))
    }

    #[test]
    fn who_has_few_gets_a_place_of_those_who_have_most() {
        let mut crowd = Crowd::new(&Limits { connections: 10, per_ip: 99, ..limits() });
        // Six of an address, four of a /48.
        for at in 0..6 {
            assert_eq!(joins(&mut crowd, at, "/ip4/192.0.2.1/tcp/9"), Ok(None));
        }
        for at in 6..10 {
            let from = format!("/ip6/2001:db8:1:{at}::1/udp/9/quic-v1");
            assert_eq!(joins(&mut crowd, at, &from), Ok(None));
        }
        assert_eq!(joins(&mut crowd, 10, "/ip4/192.0.2.1/tcp/9"), Err(TooMany::InAll));
        assert_eq!(joins(&mut crowd, 11, "/ip4/192.0.2.2/tcp/9"), Ok(Some(5)), "the newest");
        crowd.forget(id(5));
        assert_eq!(joins(&mut crowd, 12, "/ip4/192.0.2.2/tcp/9"), Ok(Some(4)));
        // Four, four and two: who would have four takes none, who would have three neither.
        let of_48 = "/ip6/2001:db8:1:99::1/tcp/9";
        assert_eq!(joins(&mut crowd, 13, of_48), Err(TooMany::InAll));
        assert_eq!(joins(&mut crowd, 14, "/ip4/192.0.2.2/tcp/9"), Err(TooMany::InAll));
        assert_eq!(joins(&mut crowd, 15, "/ip4/192.0.2.3/tcp/9"), Ok(Some(9)));
        assert_eq!((crowd.places.taken(), crowd.made), (10, 12));
        for at in 0..16 {
            crowd.forget(id(at));
        }
        assert_eq!((crowd.places, crowd.made), (Places::default(), 0));
    }

    #[test]
    fn those_that_are_being_closed_are_bounded() {
        let mut crowd = Crowd::new(&Limits { connections: 400, per_ip: 999, ..limits() });
        for at in 0..400 {
            joins(&mut crowd, at, "/ip4/192.0.2.1/tcp/9").unwrap();
        }
        let others = (400..600).take_while(|at| {
            let from = format!("/ip4/198.51.100.{}/tcp/9", at - 400);
            joins(&mut crowd, *at, &from).is_ok()
        });
        assert_eq!(others.count(), 64);
        assert_eq!((crowd.places.taken(), crowd.made), (400, 464));
        crowd.forget(id(399));
        joins(&mut crowd, 700, "/ip4/203.0.113.1/tcp/9").unwrap();
    }

    #[test]
    fn some_are_shed_of_those_who_have_most() {
        let mut crowd = Crowd::new(&limits());
        for at in 0..8 {
            let from = if at < 6 { "/ip4/192.0.2.1/tcp/9" } else { "/ip4/192.0.2.2/tcp/9" };
            joins(&mut crowd, at, from).unwrap();
        }
        assert_eq!(crowd.shed(4), 4);
        let mut shed: Vec<_> = std::iter::from_fn(|| crowd.leaving()).map(|(_, id)| id).collect();
        shed.sort_unstable();
        assert_eq!(shed, [2, 3, 4, 5].map(id));
        assert_eq!(crowd.shed(9), 4, "there are no more");
    }

    #[test]
    fn many_who_finish_no_handshake_leave_room_for_one_more() {
        let mut crowd = Crowd::new(&Limits { handshakes_per_ip: 40, ..limits() });
        let greedy = |at: usize| addr(&format!("/ip4/192.0.2.{}/tcp/9", at % 8));
        let mut waiting = std::collections::VecDeque::new();
        // The last place that fell free is long taken.
        for at in 0..3999 {
            if crowd.begins(id(at), &greedy(at)).is_ok() {
                waiting.push_back(id(at));
            }
            // Each is given up after a while.
            if at % 20 == 19 {
                crowd.forget(waiting.pop_front().unwrap());
            }
        }
        assert!(waiting.len() > 30);
        crowd.begins(id(5000), &addr("/ip4/198.51.100.1/tcp/9")).unwrap();
    }

    #[test]
    fn forged_quic_takes_no_place_of_tcp_nor_of_an_address() {
        let mut crowd = Crowd::new(&limits());
        let victim = addr("/ip4/192.0.2.1/udp/9/quic-v1");
        let forged = (0..99).take_while(|at| crowd.begins(id(*at), &victim).is_ok()).count();
        assert_eq!(forged, 40);
        let by_tcp = addr("/ip4/192.0.2.1/tcp/9");
        crowd.begins(id(200), &by_tcp).unwrap();
        crowd.made(id(200), PeerId::random()).unwrap();
        // Four of one address wait by TCP, and one more is too many; others still come.
        let silent = (0..9).take_while(|at| crowd.begins(id(300 + at), &by_tcp).is_ok()).count();
        assert_eq!(silent, 4);
        crowd.begins(id(400), &addr("/ip4/192.0.2.2/tcp/9")).unwrap();
    }
}
