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

/// Who looks so much later than it wanted to was held up: what has come meanwhile may not be seen yet, and is for so long.
const LATE: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(1);

/// What comes so soon after it was asked may have lain in the buffers.
const BUFFERED: Duration = Duration::from_secs(1);

/// A sign of life that is waited for.
#[derive(Clone, Copy)]
pub(super) struct Sign {
    /// From which connection.
    pub(super) of: ConnectionId,
    asked: Instant,
    /// Until when.
    by: Instant,
}

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
            if self.signs.values().all(|sign| sign.of != id) {
                let ticket = self.number();
                self.signs.insert(ticket, Sign { of: id, asked: now, by: now + SIGN });
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
        self.signs.values().map(|sign| sign.by).min()
    }

    /// This connection has given one.
    pub(super) fn has_given_sign(&mut self, id: ConnectionId) {
        self.signs.retain(|_, sign| sign.of != id);
    }

    /// Ends the connections that have given none in time. What comes on a channel is one, too.
    pub(super) fn end_silent(&mut self, now: Instant) {
        for sign in self.signs.values_mut().filter(|sign| sign.by + LATE < now) {
            sign.by = now + GRACE;
        }
        let over = self.signs.values().filter(|sign| sign.by <= now).copied();
        for Sign { of: id, asked, .. } in over.collect::<Vec<_>>() {
            let heard = self.connections.get(&id).map(|known| known.beat.read());
            if heard.is_some_and(|at| at >= asked + BUFFERED) {
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

    #[tokio::test]
    async fn who_was_held_up_looks_at_what_has_come_before_it_takes_anybody_for_dead() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(6);
        let [speaks, is_gone] = [1, 2].map(ConnectionId::new_unchecked);
        for id in [speaks, is_gone] {
            run.on_connected(id, PeerId::random(), Multiaddr::empty(), On::Main);
        }
        run.on_change(&Change::default());
        let late = run.next_sign().unwrap() + 2 * LATE;
        run.end_silent(late);
        assert_eq!((run.connections.len(), run.next_sign()), (2, Some(late + GRACE)));
        // The answer lay in the swarm.
        run.has_given_sign(speaks);
        run.end_silent(late + GRACE);
        assert!(run.connections.keys().eq([&speaks]));
    }
}
