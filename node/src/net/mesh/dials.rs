//! Dials: which swarm makes each, and what became of it.
//!
//! > Who dials shows the PeerId of its swarm to whoever answers. The main swarm's is on the card: with it a node
//! > dials addresses that members, codes and local networks tell of cards' PeerIds. Where a member is outside a
//! > relay says: there an outer swarm dials, or nobody.

use std::{error::Error, io};

use libp2p::{
    Multiaddr, PeerId, TransportError,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use protocol::ids::MemberId;
use tokio::time::{Duration, Instant};

use super::{DialFailure, outers::On, run::Run};
use crate::net::book::{self, Whereabouts};

/// A dial under way.
pub(super) struct Dial {
    pub(super) wanted: Wanted,
    pub(super) peer: PeerId,
    addresses: Vec<Multiaddr>,
    since: Instant,
    /// Whether it was begun again, under another PeerId of the member's.
    renewed: bool,
    /// By which swarm.
    pub(super) on: On,
}

/// What a connection or stream is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Channel(MemberId),
    Join(u64),
    /// Only on connections that stand.
    File(u64),
    /// To see how long it takes, and for nothing else.
    Probe(u64),
}

/// A dial that fails only after this had no answer: QUIC waits 5 s, TCP 10 s.
const SILENT: Duration = Duration::from_millis(4_900);

impl Dial {
    fn new(wanted: Wanted, peer: PeerId, addresses: Vec<Multiaddr>, on: On) -> Self {
        Self { wanted, peer, addresses, since: Instant::now(), renewed: false, on }
    }

    /// To the inviter that a code names, or that was found.
    pub(super) fn join(number: u64, peer: PeerId, addresses: Vec<Multiaddr>) -> Self {
        Self::new(Wanted::Join(number), peer, addresses, On::Main)
    }
}

impl Run {
    /// A dial to a member's node under one of its PeerIds, by the swarm that dials there. There may be none: then
    /// this node does not.
    pub(super) fn way(
        &self,
        wanted: Wanted,
        whereabouts: &Whereabouts,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
    ) -> Option<Dial> {
        let on = by(whereabouts, &peer, self.outers.newest())?;
        Some(Dial::new(wanted, peer, addresses, on))
    }

    /// Dials from a port of its own: two that dial each other by TCP from their listening ports would
    /// meet in the middle, each a dialler. By QUIC each is met by the other as well, and where NATs are between
    /// that port alone is known outside.
    pub(super) fn start_dial(&mut self, dial: Dial) {
        let options = DialOpts::peer_id(dial.peer)
            .condition(PeerCondition::Always)
            .addresses(dial.addresses.clone());
        let options = match dial.on {
            On::Main => options.allocate_new_port().build(),
            On::Outer(_) => options.build(),
        };
        let id = options.connection_id();
        let on = dial.on;
        self.dials.insert(id, dial);
        let begun = match self.outers.get(on) {
            Some(outer) => outer.dial(options),
            None if on == On::Main => self.swarm.dial(options),
            None => Err(DialError::Aborted),
        };
        if let Err(error) = begun {
            self.on_dial_error(id, &error);
        }
    }

    pub(super) fn on_dial_error(&mut self, id: ConnectionId, error: &DialError) {
        let Some(mut dial) = self.dials.remove(&id) else { return };
        let member = match dial.wanted {
            Wanted::Channel(member) => Some(member),
            Wanted::Probe(number) => self.probes.member(number),
            Wanted::Join(_) | Wanted::File(_) => None,
        };
        // The member has renewed its node's key since it told the address.
        if let (DialError::WrongPeerId { obtained, address }, Some(member)) = (error, member)
            && !dial.renewed
            && dial.on == On::Main
            && self.swarm.behaviour().gate.book().is_on_card(&member, obtained)
        {
            let (address, _) = book::split(address.clone());
            (dial.peer, dial.addresses, dial.renewed) = (*obtained, vec![address], true);
            return self.start_dial(dial);
        }
        // An address of another network may lead to another node here: go on without it.
        if let DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } = error {
            let (wrong, _) = book::split(address.clone());
            let before = dial.addresses.len();
            dial.addresses.retain(|address| *address != wrong);
            if !dial.addresses.is_empty() && dial.addresses.len() < before {
                return self.start_dial(dial);
            }
        }
        let reason = failure(error, dial.since.elapsed());
        match dial.wanted {
            Wanted::Channel(member) => self.way_failed(&member, reason),
            Wanted::Join(number) => self.join_lost(number),
            Wanted::Probe(number) => self.probe_failed(number, reason),
            Wanted::File(_) => {}
        }
    }
}

/// The swarm that dials a member under one of its PeerIds, where there is this outer one.
fn by(whereabouts: &Whereabouts, peer: &PeerId, outer: Option<On>) -> Option<On> {
    if whereabouts.peers.contains(peer) { Some(On::Main) } else { outer }
}

/// What a dial that took so long tells when it fails: of several addresses, what came furthest.
fn failure(error: &DialError, took: Duration) -> DialFailure {
    match error {
        DialError::WrongPeerId { .. } | DialError::LocalPeerId { .. } => DialFailure::WrongPeer,
        DialError::Transport(errors) => {
            let furthest = errors.iter().map(|(_, error)| way(error)).max();
            let silent =
                if took >= SILENT { DialFailure::TimedOut } else { DialFailure::Unreachable };
            furthest.unwrap_or(DialFailure::Unreachable).max(silent)
        }
        DialError::NoAddresses => DialFailure::Unreachable,
        // Whom this node dials its gate does not turn away: there is no room.
        DialError::Denied { .. } => DialFailure::Full,
        _ => DialFailure::Refused,
    }
}

fn way(error: &TransportError<io::Error>) -> DialFailure {
    let TransportError::Other(error) = error else { return DialFailure::Unreachable };
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset) => {
                return DialFailure::Refused;
            }
            Some(io::ErrorKind::TimedOut) => return DialFailure::TimedOut,
            _ => {}
        }
        let inner = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn Error + 'static));
        cause = inner.or_else(|| error.source());
    }
    DialFailure::Unreachable
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::ConnectionDenied;

    use super::*;
    use crate::net::{BookEntry, book::Book};

    #[test]
    fn where_a_relay_says_that_a_member_is_no_card_is_shown() {
        let (card, outer, member) = (PeerId::random(), PeerId::random(), MemberId([1; 32]));
        let addresses = [
            "/ip4/198.51.100.1/tcp/1".to_owned(),
            format!("/ip4/203.0.113.9/udp/1/quic-v1/p2p/{outer}"),
        ];
        let addresses =
            addresses.iter().map(|text| text.parse::<Multiaddr>().unwrap().to_vec()).collect();
        let entry = BookEntry { member, peers: vec![card.to_bytes()], addresses };
        let book = Book::new(vec![entry]);
        let known = &book.members()[&member];
        assert_eq!(known.addresses.len(), 2);
        let newest = Some(On::Outer(3));
        assert_eq!(by(known, &card, newest), Some(On::Main));
        assert_eq!(by(known, &outer, newest), newest);
        // By way of a proxy there is no outer swarm, and nobody dials there.
        assert_eq!(by(known, &outer, None), None);
        assert_eq!(by(known, &card, None), Some(On::Main));
    }

    #[test]
    fn who_is_left_for_want_of_room_has_refused_nothing() {
        let cause = ConnectionDenied::new(io::Error::other("too many"));
        assert_eq!(failure(&DialError::Denied { cause }, Duration::ZERO), DialFailure::Full);
        assert_eq!(failure(&DialError::Aborted, Duration::ZERO), DialFailure::Refused);
    }
}
