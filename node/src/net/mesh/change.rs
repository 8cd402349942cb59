//! What follows here when the machine's network is another: what stands is tried, who waits is dialled.
//!
//! > A connection that led by way of a network that is gone ends at once: the other side can't know, and
//! > silence would tell it late. Any other is asked for a sign of life, and has [`SIGN`] for it.

use std::{net::IpAddr, time::Duration};

use libp2p::{Multiaddr, multiaddr::Protocol, swarm::ConnectionId};
use tokio::time::Instant;

use super::{ChannelEnd, run::Run};
use crate::net::{change::Change, streams::Purpose};

/// How long a sign of life may take: several times round the world, and a packet lost.
const SIGN: Duration = Duration::from_secs(5);

impl Run {
    pub(super) fn on_change(&mut self, change: &Change) {
        let now = Instant::now();
        let is_gone = |address: &Multiaddr| {
            ip(address).is_some_and(|ip| change.left.iter().any(|net| net.contains(&ip)))
        };
        self.dialer.forget(is_gone);
        self.forget_inviters(is_gone);
        let (gone, others): (Vec<_>, Vec<_>) =
            self.connections.iter().partition(|(_, known)| is_gone(&known.address));
        let gone: Vec<ConnectionId> = gone.into_iter().map(|(id, _)| *id).collect();
        let others: Vec<_> = others.into_iter().map(|(id, known)| (*id, known.peer)).collect();
        for (id, peer) in others {
            if self.signs.values().all(|(on, _)| *on != id) {
                let ticket = self.number();
                self.signs.insert(ticket, (id, now + SIGN));
                self.open_on(id, peer, Purpose::Sign, ticket);
            }
        }
        gone.into_iter().for_each(|id| self.abandon(id));
        self.renew_outside(now);
        self.dialer.hurry(now);
    }

    /// Whatever a connection answers to what is asked for a sign, it answers.
    pub(super) fn is_sign(&mut self, ticket: u64) -> bool {
        self.signs.remove(&ticket).is_some()
    }

    /// When the next connection has to have given a sign.
    pub(super) fn next_sign(&self) -> Option<Instant> {
        self.signs.values().map(|(_, by)| *by).min()
    }

    /// This connection has given one.
    pub(super) fn has_given_sign(&mut self, id: ConnectionId) {
        self.signs.retain(|_, (on, _)| *on != id);
    }

    /// Ends the connections that have given none in time.
    pub(super) fn end_silent(&mut self, now: Instant) {
        let silent = self.signs.values().filter(|(_, by)| *by <= now);
        for id in silent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.abandon(id);
        }
    }

    /// Ends a connection that is dead, and does not wait for what the system still wants to write on it.
    pub(super) fn abandon(&mut self, id: ConnectionId) {
        for member in self.channels_on(id) {
            self.end(member, ChannelEnd::Closed);
        }
        self.on_closed(id);
        self.close(id);
    }
}

fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}
