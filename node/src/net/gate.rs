//! The gate: the first behaviour of a swarm for members, which turns away whom the book doesn't name.
//!
//! > A PeerId that no member's card names gets no stream, no address and no answer. While an
//! > invite may be redeemed here, at most [`STRANGERS`] unknown PeerIds are let in, for the join
//! > protocol alone. By an outer swarm's gate come other outer swarms, and nobody else.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure,
        NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};

use super::{
    book::{Book, Door},
    reach::Reach,
};

/// Connections of unknown PeerIds at one time.
pub(super) const STRANGERS: usize = 32;

#[derive(Default)]
pub(super) struct Gate {
    door: Door,
    book: Arc<Book>,
    joins: Joins,
    reach: Reach,
    strangers: BTreeMap<ConnectionId, PeerId>,
}

/// Whether unknown PeerIds are let in to redeem an invite.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Joins {
    #[default]
    Closed,
    Open,
}

/// Why a connection was turned away. Stays here: the peer sees the connection close.
#[derive(Debug, thiserror::Error)]
#[error("no member's card names this peer")]
struct Unknown;

/// The same.
#[derive(Debug, thiserror::Error)]
#[error("this peer is on no local network")]
struct Far;

impl Gate {
    /// Makes it that of an outer swarm.
    pub(super) fn set_outer(&mut self) {
        self.door = Door::Outer;
    }

    /// From now on nobody is let in. What stands stays.
    pub(super) fn shut(&mut self) {
        self.door = Door::Shut;
    }

    #[cfg(test)]
    pub(super) fn is_shut(&self) -> bool {
        self.door == Door::Shut
    }

    /// Takes over a book; gives the one before it.
    pub(super) fn set_book(&mut self, book: Arc<Book>) -> Arc<Book> {
        self.strangers.retain(|_, peer| !book.lets_in(self.door, peer));
        std::mem::replace(&mut self.book, book)
    }

    pub(super) fn set_joins(&mut self, joins: Joins) {
        self.joins = joins;
    }

    pub(super) fn set_reach(&mut self, reach: Reach) {
        self.reach = reach;
    }

    pub(super) fn joins(&self) -> Joins {
        self.joins
    }

    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    pub(super) fn shared(&self) -> Arc<Book> {
        Arc::clone(&self.book)
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if self.reach.allows(from) { Ok(()) } else { Err(ConnectionDenied::new(Far)) }
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.book.lets_in(self.door, &peer) {
            if self.joins == Joins::Closed || self.strangers.len() >= STRANGERS {
                return Err(ConnectionDenied::new(Unknown));
            }
            self.strangers.insert(connection, peer);
        }
        Ok(dummy::ConnectionHandler)
    }

    /// Whom this node dials, it chose itself.
    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.strangers.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::MemberId;

    use super::*;
    use crate::net::BookEntry;

    fn lets_in(gate: &mut Gate, n: usize, peer: PeerId) -> bool {
        let any = Multiaddr::empty();
        gate.handle_established_inbound_connection(ConnectionId::new_unchecked(n), peer, &any, &any)
            .is_ok()
    }

    #[test]
    fn strangers_come_in_only_while_joins_are_open_and_no_more_than_the_limit() {
        let mut gate = Gate::default();
        assert!(!lets_in(&mut gate, 0, PeerId::random()));
        gate.set_joins(Joins::Open);
        for n in 0..STRANGERS {
            assert!(lets_in(&mut gate, n, PeerId::random()));
        }
        assert!(!lets_in(&mut gate, STRANGERS, PeerId::random()));
        gate.strangers.remove(&ConnectionId::new_unchecked(3));
        assert!(lets_in(&mut gate, STRANGERS, PeerId::random()));
        gate.set_joins(Joins::Closed);
        gate.strangers.clear();
        assert!(!lets_in(&mut gate, 0, PeerId::random()));
    }

    #[test]
    fn by_an_outer_gate_come_outer_swarms_alone() {
        let (card, outer) = (PeerId::random(), PeerId::random());
        let name = format!("/p2p/{outer}").parse::<Multiaddr>().unwrap().to_vec();
        let (member, peers) = (MemberId([1; 32]), vec![card.to_bytes()]);
        let book = Arc::new(Book::new(vec![BookEntry { member, peers, addresses: vec![name] }]));
        let [mut main, mut outside] = [Gate::default(), Gate::default()];
        outside.set_outer();
        for gate in [&mut main, &mut outside] {
            gate.set_book(Arc::clone(&book));
        }
        assert!(lets_in(&mut main, 1, card) && !lets_in(&mut main, 2, outer));
        assert!(lets_in(&mut outside, 3, outer) && !lets_in(&mut outside, 4, card));
    }

    #[test]
    fn nobody_comes_from_afar_to_a_node_that_is_for_local_networks() {
        let mut gate = Gate::default();
        let here = Multiaddr::empty();
        let mut comes = |reach, from: &str| {
            gate.set_reach(reach);
            let (id, from) = (ConnectionId::new_unchecked(1), from.parse().unwrap());
            gate.handle_pending_inbound_connection(id, &here, &from).is_ok()
        };
        let (near, far) = ("/ip4/192.168.1.7/tcp/1", "/ip4/198.51.100.1/udp/1/quic-v1");
        assert!(comes(Reach::Local, near) && !comes(Reach::Local, far));
        assert!(comes(Reach::Anywhere, near) && comes(Reach::Anywhere, far));
    }

    #[test]
    fn a_member_comes_in_whatever_the_number_of_strangers() {
        let mut gate = Gate::default();
        gate.set_joins(Joins::Open);
        for n in 0..=STRANGERS {
            lets_in(&mut gate, n, PeerId::random());
        }
        let ada = PeerId::random();
        let peers = vec![ada.to_bytes()];
        let entry = BookEntry { member: MemberId([1; 32]), peers, addresses: Vec::new() };
        gate.set_book(Arc::new(Book::new(vec![entry])));
        assert!(lets_in(&mut gate, 99, ada));
    }
}
