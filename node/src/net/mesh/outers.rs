//! The outer swarms, on which members that are behind NATs or firewalls meet.
//!
//! Each of two members that tell where their outer swarms are calls the other's at one moment, so that each NAT
//! lets in whom the one behind it has just called; over IPv6, where firewalls stand for NATs, it is the same. One outer
//! swarm calls and is called; one that channels still stand on stays beside it until they end, lets nobody in any
//! more, and goes once there are too many.
//!
//! > A relay says where this machine is, and may lie: who dials there shows its PeerId to whoever answers. So an
//! > outer swarm has a key of its own, for a day at most and for one network, whatever others do meanwhile, and lets
//! > in nobody but the outer swarms that members have told: no relay sees the PeerId of a card.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    identity::Keypair,
    swarm::{ConnectionId, DialError, SwarmEvent},
};
use tokio::time::Instant;

use super::run::Run;
use crate::net::{
    behaviour::{self, Behaviour, BehaviourEvent},
    book::{self, Book},
    outside,
    reach::Reach,
};

/// Outer swarms at one time: where there would be more, the oldest ends, with the channels on it.
const OUTERS: usize = 4;
/// How long one calls and is called.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// After how long the next one is tried to be made where the system gave none.
const AGAIN: Duration = Duration::from_secs(60);

/// The swarm that a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum On {
    Main,
    /// The outer swarm of this number.
    Outer(u64),
}

/// The ports of one here, as soon as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports {
    /// Over IPv4.
    pub(super) four: Option<u16>,
    /// Over IPv6.
    pub(super) six: Option<u16>,
}

/// A swarm with a key made for it alone, at QUIC ports of its own.
struct Outer {
    number: u64,
    swarm: Swarm<Behaviour>,
    ports: Ports,
    /// Whether its time is over: it calls nobody, and lets nobody in.
    is_shut: bool,
}

/// The outer swarms, the newest last.
#[derive(Default)]
pub(super) struct Outers {
    all: Vec<Outer>,
    /// When the newest gives way to another; none where there are to be none.
    renewed: Option<Instant>,
    numbers: u64,
    /// Which of them is asked first for its next event: each in turn.
    turn: usize,
}

impl Ports {
    /// It listens here, too.
    fn note(&mut self, address: &Multiaddr) {
        match outside::quic(address) {
            Some((IpAddr::V4(_), port)) => self.four = Some(port),
            Some((IpAddr::V6(_), port)) => self.six = Some(port),
            None => {}
        }
    }
}

impl Outers {
    /// For a node that listens everywhere and goes anywhere; who chose where to listen is heard there alone, and
    /// who goes to relays by way of a proxy goes nowhere that relays say.
    pub(super) fn new(meets: bool, reach: Reach, listen: &[Multiaddr], now: Instant) -> Self {
        let mut outers = Self::default();
        if meets && reach == Reach::Anywhere && listen.is_empty() {
            outers.add(now);
        }
        outers
    }

    fn add(&mut self, now: Instant) {
        self.take(outer(), now);
    }

    /// Has this one call and be called from now on. Where there is none, nobody does until the next one is made: the
    /// time of those before is over all the same.
    pub(super) fn take(&mut self, made: Option<Swarm<Behaviour>>, now: Instant) {
        for old in &mut self.all {
            // To close its port would end its connections.
            old.swarm.behaviour_mut().gate.shut();
            old.is_shut = true;
        }
        self.renewed = Some(now + if made.is_some() { DAY } else { AGAIN });
        if let Some(swarm) = made {
            self.numbers += 1;
            self.all.push(Outer {
                number: self.numbers,
                swarm,
                ports: Ports::default(),
                is_shut: false,
            });
        }
    }

    /// Whether there are any, or will be as soon as the system gives one.
    pub(super) fn are_wanted(&self) -> bool {
        self.renewed.is_some()
    }

    /// The one that calls and is called.
    pub(super) fn newest(&self) -> Option<On> {
        self.calling().map(|outer| On::Outer(outer.number))
    }

    /// Its PeerId, and its ports here once one is known.
    pub(super) fn name(&self) -> Option<(PeerId, Ports)> {
        let outer = self.calling()?;
        let is_known = outer.ports != Ports::default();
        is_known.then(|| (*outer.swarm.local_peer_id(), outer.ports))
    }

    fn calling(&self) -> Option<&Outer> {
        self.all.last().filter(|outer| !outer.is_shut)
    }

    /// When the newest gives way to another.
    pub(super) fn renewed(&self) -> Option<Instant> {
        self.renewed
    }

    pub(super) fn get(&mut self, on: On) -> Option<&mut Swarm<Behaviour>> {
        let all = self.all.iter_mut();
        all.map(|outer| (On::Outer(outer.number), &mut outer.swarm))
            .find_map(|(known, swarm)| (known == on).then_some(swarm))
    }

    pub(super) fn set_book(&mut self, book: &Arc<Book>) {
        for outer in &mut self.all {
            outer.swarm.behaviour_mut().gate.set_book(Arc::clone(book));
        }
    }

    /// Their next event.
    pub(super) async fn next(&mut self) -> (On, SwarmEvent<BehaviourEvent>) {
        poll_fn(|cx| {
            let (first, all) = (self.turn, self.all.len());
            for at in (first..all).chain(0..first.min(all)) {
                let outer = &mut self.all[at];
                if let Poll::Ready(Some(event)) = outer.swarm.poll_next_unpin(cx) {
                    self.turn = at + 1;
                    return Poll::Ready((On::Outer(outer.number), event));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn close(&mut self, id: ConnectionId) {
        self.all.iter_mut().for_each(|outer| {
            outer.swarm.close_connection(id);
        });
    }

    /// Which of them are done with: all but the one that calls, and those that these channels stand on, the oldest of
    /// which go where there are too many.
    fn over(&self, standing: &BTreeSet<On>) -> Vec<On> {
        let shut = self.all.iter().filter(|outer| outer.is_shut);
        let mut older: Vec<On> = shut.map(|outer| On::Outer(outer.number)).collect();
        let kept: Vec<On> = older
            .iter()
            .rev()
            .filter(|on| standing.contains(on))
            .take(OUTERS - 1)
            .copied()
            .collect();
        older.retain(|on| !kept.contains(on));
        older
    }
}

/// A new one with a port of its own over IPv4 and one over IPv6, of which the system may have one alone.
fn outer() -> Option<Swarm<Behaviour>> {
    let mut swarm = behaviour::swarm(Keypair::generate_ed25519()).ok()?;
    let both = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    let listens = both.map(|any| swarm.listen_on(outside::quic_at(any, 0)).is_ok());
    if !listens.contains(&true) {
        return None;
    }
    swarm.behaviour_mut().gate.set_outer();
    Some(swarm)
}

impl Run {
    /// Has another outer swarm from now on, where there are any.
    pub(super) fn renew_outer(&mut self, now: Instant) {
        if !self.outers.are_wanted() {
            return;
        }
        self.outlook.is_stale = true;
        self.outers.add(now);
        let book = self.swarm.behaviour().gate.shared();
        self.outers.set_book(&book);
        self.end_outers();
    }

    /// Ends the outer swarms that are done with, whoever keeps connections to them.
    pub(super) fn end_outers(&mut self) {
        if self.outers.all.iter().all(|outer| !outer.is_shut) {
            return;
        }
        let standing = self.channels.values().map(|channel| channel.connection);
        let standing = standing.filter_map(|id| self.connections.get(&id)).map(|known| known.on);
        let over = self.outers.over(&standing.collect());
        if over.is_empty() {
            return;
        }
        let known = self.connections.iter().filter(|(_, known)| over.contains(&known.on));
        for id in known.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.abandon(id);
        }
        let dials = self.dials.iter().filter(|(_, dial)| over.contains(&dial.on));
        for id in dials.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.on_dial_error(id, &DialError::Aborted);
        }
        self.outers.all.retain(|outer| !over.contains(&On::Outer(outer.number)));
    }

    /// What an outer swarm does. Where it listens is told nobody as it is.
    pub(super) fn on_outer(&mut self, on: On, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                let all = self.outers.all.iter_mut();
                for outer in all.filter(|outer| On::Outer(outer.number) == on) {
                    outer.ports.note(&address);
                }
                self.outlook.has_changed(Instant::now());
                self.touched = true;
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.touched = true;
                let (address, _) = book::split(endpoint.get_remote_address().clone());
                self.on_connected(connection_id, peer_id, address, on);
            }
            SwarmEvent::ExpiredListenAddr { .. } => {
                self.outlook.has_changed(Instant::now());
                self.touched = true;
            }
            event => self.on_swarm(event),
        }
    }

    /// Closes a connection, whichever swarm it is on.
    pub(super) fn close(&mut self, id: ConnectionId) {
        if !self.swarm.close_connection(id) {
            self.outers.close(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::change::Change;

    #[tokio::test]
    async fn an_outer_swarm_has_a_key_of_its_own_for_a_day() {
        let now = Instant::now();
        let mut outers = Outers::new(true, Reach::Anywhere, &[], now);
        let name = |outers: &Outers| *outers.all.last().unwrap().swarm.local_peer_id();
        let (one, first) = (outers.newest(), name(&outers));
        assert_eq!(outers.renewed, Some(now + DAY));
        outers.add(now + DAY);
        assert!(outers.newest() != one && name(&outers) != first);
        assert_eq!(outers.renewed, Some(now + 2 * DAY));

        let here: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
        for (meets, reach, listen) in [
            (false, Reach::Anywhere, &[][..]),
            (true, Reach::Local, &[][..]),
            (true, Reach::Anywhere, std::slice::from_ref(&here)),
        ] {
            assert_eq!(Outers::new(meets, reach, listen, now).newest(), None);
        }
    }

    #[tokio::test]
    async fn an_older_one_stays_for_its_channels_and_of_too_many_the_oldest_ends() {
        let now = Instant::now();
        let mut outers = Outers::new(true, Reach::Anywhere, &[], now);
        (0..OUTERS).for_each(|_| outers.add(now));
        let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(On::Outer);
        assert_eq!(outers.newest(), Some(five));
        assert_eq!(outers.over(&BTreeSet::new()), [one, two, three, four]);
        assert_eq!(outers.over(&BTreeSet::from([two, On::Main])), [one, three, four]);
        // Channels on each of them keep three beside the newest.
        assert_eq!(outers.over(&BTreeSet::from([one, two, three, four, five])), [one]);
    }

    #[tokio::test]
    async fn a_node_has_another_name_outside_each_day_and_on_each_network_whatever_stands() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(1);
        let mut names = BTreeSet::new();
        let mut now = run.outers.renewed.unwrap() - DAY;
        for _ in 0..2 * OUTERS {
            assert!(names.insert(*run.outers.all.last().unwrap().swarm.local_peer_id()));
            // Somebody keeps a connection to it, on which no channel stands.
            let peer = PeerId::random();
            let on = run.outers.newest().unwrap();
            run.on_connected(
                ConnectionId::new_unchecked(names.len()),
                peer,
                Multiaddr::empty(),
                on,
            );
            run.outside_due(now + DAY - Duration::from_secs(1));
            assert_eq!(run.outers.newest(), Some(on), "the day is not over");
            now += DAY;
            assert!(run.next_outside().is_some_and(|at| at <= now));
            run.outside_due(now);
            assert_eq!((run.outers.all.len(), run.connections.len()), (1, 0));
        }
        let on = run.outers.newest();
        run.on_change(&Change::default());
        assert_eq!(run.outers.newest(), on, "the same addresses again");
        run.on_change(&Change { moved: true, ..Change::default() });
        assert_ne!(run.outers.newest(), on);
    }

    #[tokio::test]
    async fn a_key_whose_time_is_over_calls_nobody_though_the_system_gives_no_other() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(3);
        let now = run.outers.renewed.unwrap();
        let before = run.outers.newest();
        run.outers.take(None, now);
        run.end_outers();
        assert_eq!((run.outers.newest(), run.outers.name(), run.outers.all.len()), (None, None, 0));
        assert!(run.next_outside().is_some_and(|at| at <= now + AGAIN), "it is tried again");
        run.outside_due(now + AGAIN);
        assert!(run.outers.newest().is_some_and(|on| Some(on) != before));
        assert_eq!(run.outers.renewed, Some(now + AGAIN + DAY));
    }

    #[tokio::test]
    async fn one_that_channels_stand_on_is_shut_though_there_is_no_other() {
        let now = Instant::now();
        let mut outers = Outers::new(true, Reach::Anywhere, &[], now);
        let on = outers.newest().unwrap();
        outers.take(None, now);
        assert!(outers.all[0].swarm.behaviour().gate.is_shut() && outers.newest().is_none());
        assert_eq!(outers.over(&BTreeSet::from([on])), []);
        assert_eq!(outers.over(&BTreeSet::new()), [on]);
    }

    #[tokio::test]
    async fn a_busy_one_of_before_holds_back_no_other() {
        let now = Instant::now();
        let mut outers = Outers::new(true, Reach::Anywhere, &[], now);
        outers.add(now);
        let here: Multiaddr = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
        for outer in &mut outers.all {
            for _ in 0..16 {
                outer.swarm.listen_on(here.clone()).unwrap();
            }
        }
        let mut heard = BTreeSet::new();
        for _ in 0..4 {
            heard.insert(outers.next().await.0);
        }
        assert_eq!(heard.len(), 2, "each has sixteen things to tell");
    }

    #[tokio::test]
    async fn one_that_gave_way_lets_nobody_in() {
        let now = Instant::now();
        let mut outers = Outers::new(true, Reach::Anywhere, &[], now);
        outers.add(now);
        let is_shut = |outer: &Outer| outer.swarm.behaviour().gate.is_shut();
        assert!(outers.all.iter().map(is_shut).eq([true, false]));
    }
}
