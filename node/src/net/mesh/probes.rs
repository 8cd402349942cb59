//! Ways to a member that a person asks about: each is dialled by itself, pinged once and left.
//!
//! > At most [`AT_ONCE`] are tried at one time, each for [`PATIENCE`]: the other side keeps few connections with
//! > one PeerId, and the channel that may stand is one of them. Only addresses of the book and of the local
//! > networks are dialled, under PeerIds that the member's card names.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use protocol::ids::MemberId;
use tokio::time::Instant;

use super::{
    DialFailure, MeshReport, ProbeAnswer, Via,
    run::{Dial, Run, Wanted},
};

/// Ways that are tried, and those whose turn comes.
#[derive(Default)]
pub(super) struct Probes {
    waiting: VecDeque<Way>,
    /// By number.
    tried: BTreeMap<u64, Tried>,
}

struct Way {
    ticket: u64,
    member: MemberId,
    peer: PeerId,
    address: Multiaddr,
    via: Via,
}

struct Tried {
    way: Way,
    since: Instant,
    /// The connection that stands, and how long it took to make.
    standing: Option<(ConnectionId, Duration)>,
}

/// Ways tried at one time.
const AT_ONCE: usize = 2;
/// How long each is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// Ways that may wait for their turn; of a further question none is tried.
const WAITING: usize = 128;

impl Run {
    /// Tries all ways to a member, one after another, whatever stands.
    pub(super) fn probe(&mut self, ticket: u64, member: MemberId) {
        let known = self.dialer.ways(&member);
        let ways: Vec<Way> = known
            .into_iter()
            .flat_map(|(peer, addresses)| addresses.into_iter().map(move |at| (peer, at)))
            .map(|(peer, address)| {
                let is_found = self.dialer.is_found(&member, &address);
                let via = if is_found { Via::Found } else { Via::Told };
                Way { ticket, member, peer, address, via }
            })
            .collect();
        let is_crowded = self.probes.waiting.len() + ways.len() > WAITING;
        if ways.is_empty() || is_crowded {
            return self.report(MeshReport::ProbesOver { ticket, is_crowded });
        }
        self.probes.waiting.extend(ways);
        self.probe_on();
    }

    /// Begins with those whose turn it is.
    fn probe_on(&mut self) {
        while self.probes.tried.len() < AT_ONCE
            && let Some(way) = self.probes.waiting.pop_front()
        {
            let number = self.number();
            let dial = Dial::new(Wanted::Probe(number), way.peer, vec![way.address.clone()]);
            let tried = Tried { way, since: Instant::now(), standing: None };
            self.probes.tried.insert(number, tried);
            self.start_dial(dial);
        }
    }

    /// A way has led to the member's node. Now its first ping is waited for.
    pub(super) fn probe_connected(&mut self, number: u64, id: ConnectionId) {
        match self.probes.tried.get_mut(&number) {
            Some(tried) => tried.standing = Some((id, tried.since.elapsed())),
            None => self.close_if_unused(id),
        }
    }

    /// A ping came back.
    pub(super) fn probe_answered(&mut self, id: ConnectionId, took: Duration) {
        let found = self.probes.on(id);
        if let Some((number, connected)) = found {
            self.probe_over(number, Ok(ProbeAnswer { connected, took }));
        }
    }

    /// A connection is gone.
    pub(super) fn probe_lost(&mut self, id: ConnectionId) {
        if let Some((number, _)) = self.probes.on(id) {
            self.probe_over(number, Err(DialFailure::Refused));
        }
    }

    /// Nothing came of a way.
    pub(super) fn probe_failed(&mut self, number: u64, reason: DialFailure) {
        self.probe_over(number, Err(reason));
    }

    /// Ends those that have taken too long.
    pub(super) fn probes_due(&mut self, now: Instant) {
        let late = self.probes.tried.iter().filter(|(_, tried)| tried.since + PATIENCE <= now);
        for number in late.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.dials.retain(|_, dial| dial.wanted != Wanted::Probe(number));
            self.probe_over(number, Err(DialFailure::TimedOut));
        }
    }

    fn probe_over(&mut self, number: u64, outcome: Result<ProbeAnswer, DialFailure>) {
        let Some(tried) = self.probes.tried.remove(&number) else { return };
        if let Some((id, _)) = tried.standing {
            self.close_if_unused(id);
        }
        let Way { ticket, address, via, .. } = tried.way;
        self.report(MeshReport::Probed { ticket, address, via, outcome });
        self.tell_over(ticket);
        self.probe_on();
    }

    fn tell_over(&mut self, ticket: u64) {
        let of = |way: &Way| way.ticket == ticket;
        let Probes { waiting, tried } = &self.probes;
        if !waiting.iter().any(of) && !tried.values().any(|tried| of(&tried.way)) {
            self.report(MeshReport::ProbesOver { ticket, is_crowded: false });
        }
    }
}

impl Probes {
    /// When the next one has taken too long.
    pub(super) fn next(&self) -> Option<Instant> {
        self.tried.values().map(|tried| tried.since + PATIENCE).min()
    }

    /// To whom a way is tried.
    pub(super) fn member(&self, number: u64) -> Option<MemberId> {
        self.tried.get(&number).map(|tried| tried.way.member)
    }

    /// The one that waits on a connection, and how long that took to make.
    fn on(&self, id: ConnectionId) -> Option<(u64, Duration)> {
        self.tried.iter().find_map(|(number, tried)| {
            tried.standing.filter(|(on, _)| *on == id).map(|(_, connected)| (*number, connected))
        })
    }
}
