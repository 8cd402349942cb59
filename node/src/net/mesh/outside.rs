//! The outer swarms, on which members that are behind NATs meet, and how this machine looks from outside: each
//! relay that is connected is asked that, then and when the network has changed.
//!
//! Each of two members that tell where their outer swarms are calls the other's at one moment, so that each NAT
//! lets in whom the one behind it has just called. One outer swarm calls and is called; one that channels still
//! stand on stays beside it until they end.
//!
//! > A relay says where this machine is, and may lie: who dials there shows its PeerId to whoever answers. So an
//! > outer swarm has a key of its own, for a day at most and for one network, and lets in nobody but the outer
//! > swarms that members have told: no relay sees the PeerId of a card.
//!
//! > What a relay says is told to its own groups alone, and what it changes its mind about once in [`REST`].

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{ConnectionId, SwarmEvent},
};
use rand_core::Rng as _;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{MeshReport, Seen, run::Run};
use crate::net::{
    Outside,
    behaviour::{self, Behaviour, BehaviourEvent},
    book::{self, Book},
    change::SPREAD,
    channel, outside,
    reach::Reach,
    relay::RelayPeer,
};

/// Where it is known, within so long a relay is asked again: it may have been away, with all of its clients.
const AGAIN: Duration = Duration::from_secs(10);
/// What a relay says is not believed to change more often, but for a network that did.
const REST: Duration = Duration::from_secs(300);
/// Relays that are asked.
const ASKED: usize = 32;
/// Outer swarms at one time: no further one is made before one of these is done with.
const OUTERS: usize = 4;
/// How long one calls and is called.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a relay has answered: its number, and what it says.
pub(super) type Answer = (PeerId, u64, Option<Outside>);

/// What is known of how this machine looks from outside.
pub(super) struct Outlook {
    asked: BTreeMap<PeerId, Asked>,
    answers: mpsc::Sender<Answer>,
    numbers: u64,
    told: Option<(Multiaddr, BTreeMap<PeerId, Seen>)>,
    /// Whether there may be something else to tell.
    pub(super) is_stale: bool,
}

#[derive(Default)]
struct Asked {
    seen: Option<Outside>,
    /// What it said last, and when that was news.
    last: Option<(Outside, Instant)>,
    /// News that came too soon after it.
    held: Option<Outside>,
    look: Option<Look>,
    /// To be asked once more, if nothing comes of that: it was connected anew meanwhile.
    again: Option<RelayPeer>,
}

/// A question under way.
struct Look {
    number: u64,
    task: JoinHandle<()>,
}

impl Drop for Look {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Outlook {
    pub(super) fn new() -> (Self, mpsc::Receiver<Answer>) {
        let (answers, taken) = mpsc::channel(ASKED);
        let asked = BTreeMap::new();
        (Self { asked, answers, numbers: 0, told: None, is_stale: true }, taken)
    }

    fn ask(&mut self, relay: RelayPeer, within: Duration) {
        self.numbers += 1;
        let (number, key, answers) = (self.numbers, relay.peer_id, self.answers.clone());
        let part = channel::rng().map_or(0, |mut rng| rng.next_u32());
        let wait = within.mul_f64(f64::from(part) / f64::from(u32::MAX));
        let task = tokio::spawn(async move {
            sleep(wait).await;
            // Where the swarm is gone, so is everybody who would want to know.
            let _ = answers.send((key, number, outside::look(relay).await)).await;
        });
        self.asked.entry(key).or_default().look = Some(Look { number, task });
    }

    /// Takes an answer; whether it is to the last question.
    fn answered(&mut self, (relay, number, said): Answer, now: Instant) -> bool {
        let Some(asked) = self.asked.get_mut(&relay) else { return false };
        if asked.look.as_ref().is_none_or(|look| look.number != number) {
            return false;
        }
        asked.look = None;
        self.is_stale = true;
        // A relay on the same network sees nothing of what is outside.
        asked.take(said.filter(|seen| seen.is_far()), now);
        if let Some(relay) = asked.again.take()
            && asked.seen.is_none()
        {
            self.ask(relay, SPREAD);
        }
        true
    }

    /// Whether something is known, or nothing will be soon.
    fn is_clear(&self) -> bool {
        let mut asked = self.asked.values();
        asked.clone().any(|it| it.seen.is_some()) || asked.all(|it| it.look.is_none())
    }
}

impl Asked {
    fn take(&mut self, said: Option<Outside>, now: Instant) {
        self.held = None;
        let Some(seen) = said else {
            self.seen = None;
            return;
        };
        match self.last {
            Some((last, _)) if last == seen => self.seen = Some(seen),
            Some((_, at)) if now.duration_since(at) < REST => self.held = Some(seen),
            _ => (self.seen, self.last) = (Some(seen), Some((seen, now))),
        }
    }

    /// When what is held may be taken.
    fn due(&self) -> Option<Instant> {
        self.held.and(self.last).map(|(_, at)| at + REST)
    }
}

/// The swarm that a connection is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum On {
    Main,
    /// The outer swarm of this number.
    Outer(u64),
}

/// A swarm with a key made for it alone, at a QUIC port of its own.
struct Outer {
    number: u64,
    swarm: Swarm<Behaviour>,
    port: Option<u16>,
}

/// The outer swarms, the newest last.
#[derive(Default)]
pub(super) struct Outers {
    all: Vec<Outer>,
    /// When the newest gives way to another.
    renewed: Option<Instant>,
    numbers: u64,
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
        let any = Multiaddr::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let any = any.with(Protocol::Udp(0)).with(Protocol::QuicV1);
        self.renewed = Some(now + DAY);
        let Ok(mut swarm) = behaviour::swarm(Keypair::generate_ed25519()) else { return };
        if swarm.listen_on(any).is_ok() {
            swarm.behaviour_mut().gate.set_outer();
            self.numbers += 1;
            self.all.push(Outer { number: self.numbers, swarm, port: None });
        }
    }

    /// The one that calls and is called.
    pub(super) fn newest(&self) -> Option<On> {
        self.all.last().map(|outer| On::Outer(outer.number))
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
            for outer in &mut self.all {
                if let Poll::Ready(Some(event)) = outer.swarm.poll_next_unpin(cx) {
                    return Poll::Ready((On::Outer(outer.number), event));
                }
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn close(&mut self, id: ConnectionId) {
        self.all.iter_mut().for_each(|outer| {
            outer.swarm.close_connection(id);
        });
    }
}

impl Run {
    /// Asks this relay, which is connected.
    pub(super) fn look_outside(&mut self, relay: RelayPeer) {
        let asked = &mut self.outlook.asked;
        let is_new = !asked.contains_key(&relay.peer_id);
        if self.outers.newest().is_none() || is_new && asked.len() >= ASKED {
            return;
        }
        let asked = asked.entry(relay.peer_id).or_default();
        if asked.look.is_some() {
            asked.again = Some(relay);
            return;
        }
        let within = if asked.seen.is_some() { AGAIN } else { Duration::ZERO };
        self.outlook.ask(relay, within);
    }

    /// A relay is left: it is not asked any more, and what it said is not told.
    pub(super) fn leave_outside(&mut self, relay: &PeerId) {
        self.outlook.asked.remove(relay);
        self.outlook.is_stale = true;
    }

    /// The network is another: what was seen before is not so any more, and there nobody is to know this node
    /// by its outer swarm again. Relays are asked by who knows which are connected.
    pub(super) fn renew_outside(&mut self, now: Instant) {
        self.outlook.asked.clear();
        self.renew_outer(now);
    }

    /// Has another outer swarm from now on.
    fn renew_outer(&mut self, now: Instant) {
        self.outlook.is_stale = true;
        self.end_outers();
        if self.outers.all.is_empty() || self.outers.all.len() >= OUTERS {
            self.outers.renewed = self.outers.renewed.map(|_| now + DAY);
            return;
        }
        self.outers.add(now);
        let book = self.swarm.behaviour().gate.shared();
        self.outers.set_book(&book);
    }

    /// Ends the outer swarms that only what is over was on.
    fn end_outers(&mut self) {
        if self.outers.all.len() <= 1 {
            return;
        }
        let standing = self.connections.values().map(|known| known.on);
        let wanted: BTreeSet<On> = standing
            .chain(self.dials.values().map(|dial| dial.on))
            .chain(self.outers.newest())
            .collect();
        self.outers.all.retain(|outer| wanted.contains(&On::Outer(outer.number)));
    }

    pub(super) fn on_outside(&mut self, answer: Answer) {
        self.touched |= self.outlook.answered(answer, Instant::now());
    }

    /// When something is to be done next for the time's sake.
    pub(super) fn next_outside(&self) -> Option<Instant> {
        let held = self.outlook.asked.values().filter_map(Asked::due);
        held.chain(self.outers.renewed).min()
    }

    /// Does what is due, and tells what is news.
    pub(super) fn outside_due(&mut self, now: Instant) {
        if self.outers.renewed.is_some_and(|at| at <= now) {
            self.renew_outer(now);
        }
        self.end_outers();
        for asked in self.outlook.asked.values_mut() {
            if asked.due().is_some_and(|at| at <= now)
                && let Some(seen) = asked.held.take()
            {
                (asked.seen, asked.last) = (Some(seen), Some((seen, now)));
                self.outlook.is_stale = true;
            }
        }
        if self.outlook.is_stale {
            self.tell_outside();
        }
    }

    fn tell_outside(&mut self) {
        let Some(Outer { swarm, port: Some(port), .. }) = self.outers.all.last() else { return };
        let (me, port) = (*swarm.local_peer_id(), *port);
        if !self.outlook.is_clear() {
            return;
        }
        self.outlook.is_stale = false;
        let name = Multiaddr::empty().with(Protocol::P2p(me));
        let known = self.outlook.asked.iter();
        let seen: BTreeMap<PeerId, Seen> = known
            .filter_map(|(relay, asked)| Some((*relay, self.seen(asked.seen?, port, &name))))
            .collect();
        let news = (name, seen);
        if self.outlook.told.as_ref() != Some(&news) {
            self.outlook.told = Some(news.clone());
            self.report(MeshReport::Outside { name: news.0, seen: news.1 });
        }
    }

    fn seen(&self, outside: Outside, port: u16, name: &Multiaddr) -> Seen {
        let own = Protocol::Ip4(outside.ip);
        let is_own = |address: &Multiaddr| address.iter().next() == Some(own.clone());
        let is_behind_nat = !self.listening.iter().any(is_own);
        let at = outside.at(port);
        let met = is_behind_nat.then(|| at.iter().chain(name.iter()).collect());
        Seen { outside, is_behind_nat, met }
    }

    /// What an outer swarm does. Where it listens is told nobody as it is.
    pub(super) fn on_outer(&mut self, on: On, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                let port = outside::socket(&address).map(|(_, port)| port);
                let all = self.outers.all.iter_mut();
                for outer in all.filter(|outer| On::Outer(outer.number) == on) {
                    outer.port = outer.port.or(port);
                }
                (self.touched, self.outlook.is_stale) = (true, true);
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.touched = true;
                let (address, _) = book::split(endpoint.get_remote_address().clone());
                self.on_connected(connection_id, peer_id, address, on);
            }
            SwarmEvent::ExpiredListenAddr { .. } => {}
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

    fn relay() -> RelayPeer {
        RelayPeer { peer_id: PeerId::random(), addrs: Vec::new() }
    }

    fn at(number: u8) -> Outside {
        Outside { ip: Ipv4Addr::new(198, 51, 100, number), keeps_ports: true }
    }

    fn seen(outlook: &Outlook, relay: &RelayPeer) -> Option<Outside> {
        outlook.asked.get(&relay.peer_id).and_then(|asked| asked.seen)
    }

    /// Asks, and has this for an answer.
    fn answer(outlook: &mut Outlook, relay: &RelayPeer, said: Option<Outside>, now: Instant) {
        outlook.ask(relay.clone(), Duration::from_secs(999));
        assert!(outlook.answered((relay.peer_id, outlook.numbers, said), now));
    }

    #[tokio::test]
    async fn what_a_relay_changes_its_mind_about_is_believed_once_in_five_minutes() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, now) = (relay(), Instant::now());
        answer(&mut outlook, &relay, Some(at(1)), now);
        assert_eq!(seen(&outlook, &relay), Some(at(1)));
        for n in 2..9 {
            answer(&mut outlook, &relay, Some(at(n)), now + REST / 2);
            assert_eq!(seen(&outlook, &relay), Some(at(1)));
            answer(&mut outlook, &relay, None, now + REST / 2);
            assert_eq!(seen(&outlook, &relay), None, "it does not say any more");
            answer(&mut outlook, &relay, Some(at(n)), now + REST / 2);
            assert_eq!(seen(&outlook, &relay), None);
            answer(&mut outlook, &relay, Some(at(1)), now + REST / 2);
            assert_eq!(seen(&outlook, &relay), Some(at(1)), "what it said before is no news");
        }
        answer(&mut outlook, &relay, Some(at(9)), now + REST / 2);
        assert_eq!(outlook.asked[&relay.peer_id].due(), Some(now + REST));
        answer(&mut outlook, &relay, Some(at(9)), now + REST);
        assert_eq!(seen(&outlook, &relay), Some(at(9)));
        // Each relay by itself.
        let other = self::relay();
        answer(&mut outlook, &other, Some(at(7)), now);
        assert_eq!(seen(&outlook, &other), Some(at(7)));
    }

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
    async fn what_comes_late_and_what_is_no_address_of_the_internet_counts_for_nothing() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, now) = (relay(), Instant::now());
        outlook.ask(relay.clone(), Duration::from_secs(999));
        assert!(!outlook.is_clear());
        let late = (relay.peer_id, outlook.numbers, Some(at(1)));
        outlook.asked.clear();
        assert!(outlook.is_clear());
        assert!(!outlook.answered(late, now), "the network is another");
        outlook.ask(relay.clone(), Duration::from_secs(999));
        assert!(!outlook.answered(late, now));
        let near = Outside { ip: Ipv4Addr::new(100, 64, 0, 1), keeps_ports: true };
        answer(&mut outlook, &relay, Some(near), now);
        assert_eq!(seen(&outlook, &relay), None);
        assert!(outlook.is_clear());
    }
}
