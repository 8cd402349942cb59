//! Ways to a member that a person asks about: each is dialled by itself, pinged once and left.
//!
//! > At most [`AT_ONCE`] are tried at one time, each for [`PATIENCE`]: the other side keeps few connections with
//! > one PeerId, and the channel that may stand is one of them. Questions take turns, and none takes longer than
//! > [`WHOLE`]. Only addresses of the book and of the local networks are dialled, each by the swarm that dials
//! > there for channels, too.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use protocol::ids::MemberId;
use tokio::time::Instant;

use super::{DialFailure, MeshReport, ProbeAnswer, ProbesEnd, Via, dials::Wanted, run::Run};

/// Questions that are not answered yet, and the ways that are tried.
#[derive(Default)]
pub(super) struct Probes {
    /// In the order of their turns.
    questions: VecDeque<Question>,
    /// By number.
    tried: BTreeMap<u64, Tried>,
}

struct Question {
    ticket: u64,
    member: MemberId,
    /// What of it waits then is not tried.
    until: Instant,
    waiting: VecDeque<Way>,
    end: ProbesEnd,
}

struct Way {
    peer: PeerId,
    address: Multiaddr,
    via: Via,
}

struct Tried {
    ticket: u64,
    member: MemberId,
    way: Way,
    since: Instant,
    /// The connection that stands, and how long it took to make.
    standing: Option<(ConnectionId, Duration)>,
}

/// Ways tried at one time.
const AT_ONCE: usize = 2;
/// How long each is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long those of one question are.
const WHOLE: Duration = Duration::from_secs(60);
/// Ways that may wait for their turn; of a further question none is tried.
const WAITING: usize = 128;

impl Run {
    /// Tries all ways to a member, one after another, whatever stands.
    pub(super) fn probe(&mut self, ticket: u64, member: MemberId) {
        let waiting = self.ways_to(&member);
        let all: usize = self.probes.questions.iter().map(|it| it.waiting.len()).sum();
        let end = match all + waiting.len() > WAITING {
            true => ProbesEnd::Crowded,
            false => ProbesEnd::Tried,
        };
        if waiting.is_empty() || end == ProbesEnd::Crowded {
            return self.report(MeshReport::ProbesOver { ticket, end });
        }
        let until = Instant::now() + WHOLE;
        self.probes.questions.push_back(Question { ticket, member, until, waiting, end });
        self.probe_on();
    }

    /// Those that this node dials.
    fn ways_to(&self, member: &MemberId) -> VecDeque<Way> {
        let known = self.dialer.ways(member);
        let dialled = |peer: &PeerId| known.peers.contains(peer) || self.outers.newest().is_some();
        let mut ways = VecDeque::new();
        for (peer, addresses) in known.addresses.iter().filter(|(peer, _)| dialled(peer)) {
            for address in addresses {
                let is_found = self.dialer.is_found(member, address);
                let via = if is_found { Via::Found } else { Via::Told };
                ways.push_back(Way { peer: *peer, address: address.clone(), via });
            }
        }
        ways
    }

    /// Begins with those whose turn it is.
    fn probe_on(&mut self) {
        while self.probes.tried.len() < AT_ONCE
            && let Some((ticket, member, way)) = self.probes.turn()
        {
            let number = self.number();
            let (wanted, addresses) = (Wanted::Probe(number), vec![way.address.clone()]);
            let dial = self.way(wanted, &self.dialer.ways(&member), way.peer, addresses);
            let tried = Tried { ticket, member, way, since: Instant::now(), standing: None };
            self.probes.tried.insert(number, tried);
            match dial {
                Some(dial) => self.start_dial(dial),
                None => self.probe_failed(number, DialFailure::Unreachable),
            }
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
        let mut left = Vec::new();
        for question in self.probes.questions.iter_mut().filter(|it| it.until <= now) {
            if !question.waiting.is_empty() {
                question.waiting.clear();
                question.end = ProbesEnd::Late;
                left.push(question.ticket);
            }
        }
        left.into_iter().for_each(|ticket| self.tell_over(ticket));
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
        let (ticket, Way { address, via, .. }) = (tried.ticket, tried.way);
        self.report(MeshReport::Probed { ticket, address, via, outcome });
        self.tell_over(ticket);
        self.probe_on();
    }

    fn tell_over(&mut self, ticket: u64) {
        let Probes { questions, tried } = &mut self.probes;
        if tried.values().any(|tried| tried.ticket == ticket) {
            return;
        }
        let over = |it: &Question| it.ticket == ticket && it.waiting.is_empty();
        let at = questions.iter().position(over);
        if let Some(Question { end, .. }) = at.and_then(|at| questions.remove(at)) {
            self.report(MeshReport::ProbesOver { ticket, end });
        }
    }
}

impl Probes {
    /// The next way of the question whose turn it is, which then waits for all others'.
    fn turn(&mut self) -> Option<(u64, MemberId, Way)> {
        let at = self.questions.iter().position(|it| !it.waiting.is_empty())?;
        let mut question = self.questions.remove(at)?;
        let (ticket, member, way) =
            (question.ticket, question.member, question.waiting.pop_front());
        self.questions.push_back(question);
        way.map(|way| (ticket, member, way))
    }

    /// When the next one has taken too long.
    pub(super) fn next(&self) -> Option<Instant> {
        let waiting = self.questions.iter().filter(|it| !it.waiting.is_empty());
        let tried = self.tried.values().map(|tried| tried.since + PATIENCE);
        tried.chain(waiting.map(|it| it.until)).min()
    }

    /// To whom a way is tried.
    pub(super) fn member(&self, number: u64) -> Option<MemberId> {
        self.tried.get(&number).map(|tried| tried.member)
    }

    /// The one that waits on a connection, and how long that took to make.
    fn on(&self, id: ConnectionId) -> Option<(u64, Duration)> {
        self.tried.iter().find_map(|(number, tried)| {
            tried.standing.filter(|(on, _)| *on == id).map(|(_, connected)| (*number, connected))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(ticket: u64, ways: usize) -> Question {
        let way = |n| Way {
            peer: PeerId::random(),
            address: format!("/ip4/10.0.0.1/tcp/{n}").parse().unwrap(),
            via: Via::Told,
        };
        Question {
            ticket,
            member: MemberId([1; 32]),
            until: Instant::now(),
            waiting: (1..=ways).map(way).collect(),
            end: ProbesEnd::Tried,
        }
    }

    #[test]
    fn questions_take_turns() {
        let mut probes = Probes::default();
        probes.questions.extend([question(1, 3), question(2, 1), question(3, 2)]);
        let turns = std::iter::from_fn(|| probes.turn()).map(|(ticket, ..)| ticket);
        assert_eq!(turns.collect::<Vec<_>>(), [1, 2, 3, 1, 3, 1]);
    }
}
