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

/// What comes so soon after it was asked may have lain in the buffers.
const BUFFERED: Duration = Duration::from_secs(1);

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
        self.renew_outside(change, now);
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

    /// Ends the connections that have given none in time. What comes on a channel is one, too.
    pub(super) fn end_silent(&mut self, now: Instant) {
        let late = self.signs.values().filter(|(_, by)| *by <= now).copied();
        for (id, by) in late.collect::<Vec<_>>() {
            let since = by - SIGN + BUFFERED;
            let heard = self.connections.get(&id).map(|known| known.beat.read());
            if heard.is_some_and(|at| at >= since) {
                self.has_given_sign(id);
            } else {
                self.abandon(id);
            }
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

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;
    use crate::net::mesh::outers::On;

    #[tokio::test]
    async fn what_comes_on_a_channel_is_a_sign_of_life_but_for_what_lay_in_the_buffers() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(5);
        let [speaks, is_gone] = [1, 2].map(ConnectionId::new_unchecked);
        for id in [speaks, is_gone] {
            run.on_connected(id, PeerId::random(), Multiaddr::empty(), On::Main);
        }
        run.on_change(&Change::default());
        let by = run.next_sign().unwrap();
        let note = |id, at| run.connections[&id].beat.note_read(at);
        note(is_gone, by - SIGN + BUFFERED / 2);
        note(speaks, by - SIGN + 2 * BUFFERED);
        run.end_silent(by);
        assert!(run.connections.keys().eq([&speaks]));
        assert_eq!(run.next_sign(), None);
    }
}
