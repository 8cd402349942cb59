//! How this machine looks from outside: each relay that is connected is asked that, then and when the network has
//! changed, and once more where no answer comes. Over IPv6, where nothing is translated, the system is asked instead,
//! and what it says is told to all groups: relays hear and say nothing of it.
//!
//! > What a relay says is told to its own groups alone. That it is not so any more is told at once, and what is so
//! > instead no sooner than [`REST`] after that: whatever a relay says, it has its clients tell members two things
//! > in that time.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand_core::Rng as _;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{MeshReport, Seen, run::Run};
use crate::net::{
    Outside,
    change::{Change, SPREAD},
    channel, outside,
    relay::RelayPeer,
    six,
};

/// Where it is known, within so long a relay is asked again: it may have been away, with all of its clients.
const AGAIN: Duration = Duration::from_secs(10);
/// After how long a relay that gave no answer is asked again, the first time, the second, and from then on. A
/// handshake may have been lost.
const MISSED: [Duration; 3] =
    [Duration::from_secs(60), Duration::from_secs(5 * 60), Duration::from_secs(30 * 60)];
/// What a relay says is not believed to change more often, but for a network that did.
const REST: Duration = Duration::from_secs(300);
/// Relays that are asked.
const ASKED: usize = 32;
/// How often the system is asked which addresses of IPv6 it calls from: one may have run out.
const SIX: Duration = Duration::from_secs(60);
/// How long ports and addresses must stand still before they are told.
const SETTLE: Duration = Duration::from_millis(100);

/// What a relay has answered: its number, and what it says.
pub(super) type Answer = (PeerId, u64, Option<Outside>);

/// What is known of how this machine looks from outside.
pub(super) struct Outlook {
    asked: BTreeMap<PeerId, Asked>,
    answers: mpsc::Sender<Answer>,
    numbers: u64,
    told: Option<Told>,
    /// This machine's own addresses of the internet over IPv6, when that was asked last, and when it is asked again.
    six: Vec<Ipv6Addr>,
    six_at: Instant,
    /// When ports and addresses have stood still for long enough to be told.
    settled: Option<Instant>,
    /// Whether there may be something else to tell.
    pub(super) is_stale: bool,
}

/// What was told last: the name, if there is one, what relays say, and where this machine is met over IPv6.
type Told = (Option<Multiaddr>, BTreeMap<PeerId, Seen>, Vec<Multiaddr>);

struct Asked {
    relay: RelayPeer,
    /// What is told of what it says.
    seen: Option<Outside>,
    /// When that became another.
    changed: Option<Instant>,
    /// What it says now, and is told later.
    held: Option<Outside>,
    look: Option<Look>,
    /// Whether to ask once more, if nothing comes of that: it was connected anew meanwhile.
    again: bool,
    /// Looks in a row to which no answer came, and when to ask again.
    misses: usize,
    next: Option<Instant>,
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
        let outlook = Self {
            asked: BTreeMap::new(),
            answers,
            numbers: 0,
            told: None,
            six: Vec::new(),
            six_at: Instant::now(),
            settled: None,
            is_stale: true,
        };
        (outlook, taken)
    }

    /// A port is known, or this machine has other addresses than before: of these more may follow at once.
    pub(super) fn has_changed(&mut self, now: Instant) {
        self.six_at = *self.settled.get_or_insert(now + SETTLE);
        self.is_stale = true;
    }

    /// The system calls from these addresses over IPv6.
    fn calls_from(&mut self, six: Vec<Ipv6Addr>, now: Instant) {
        self.six_at = now + SIX;
        if self.six != six {
            self.six = six;
            self.is_stale = true;
        }
    }

    /// Asks, or sees to it that this is done once the question under way has come to nothing. Of more relays than
    /// [`ASKED`] the first ones are asked.
    fn look(&mut self, relay: RelayPeer) {
        let key = relay.peer_id;
        if self.asked.len() >= ASKED && !self.asked.contains_key(&key) {
            return;
        }
        let asked = self.asked.entry(key).or_insert_with(|| Asked::new(relay.clone()));
        asked.relay = relay;
        if asked.look.is_some() {
            asked.again = true;
            return;
        }
        let within = if asked.seen.is_some() { AGAIN } else { Duration::ZERO };
        self.ask(key, within);
    }

    fn ask(&mut self, key: PeerId, within: Duration) {
        let Some(asked) = self.asked.get_mut(&key) else { return };
        self.numbers += 1;
        let (number, relay, answers) = (self.numbers, asked.relay.clone(), self.answers.clone());
        let part = channel::rng().map_or(0, |mut rng| rng.next_u32());
        let wait = within.mul_f64(f64::from(part) / f64::from(u32::MAX));
        let task = tokio::spawn(async move {
            sleep(wait).await;
            // Where the swarm is gone, so is everybody who would want to know.
            let _ = answers.send((key, number, outside::look(relay).await)).await;
        });
        (asked.look, asked.next) = (Some(Look { number, task }), None);
    }

    /// Takes an answer; whether it is to the last question.
    fn answered(&mut self, (relay, number, said): Answer, now: Instant) -> bool {
        let Some(asked) = self.asked.get_mut(&relay) else { return false };
        if asked.look.as_ref().is_none_or(|look| look.number != number) {
            return false;
        }
        asked.look = None;
        self.is_stale = true;
        let again = std::mem::take(&mut asked.again) && said.is_none();
        match said {
            // A relay on the same network sees nothing of what is outside.
            Some(seen) => asked.take(Some(seen).filter(|seen| seen.is_far()), now),
            None => asked.miss(now),
        }
        if again {
            self.ask(relay, SPREAD);
        }
        true
    }

    /// Does what is due.
    fn due(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (key, asked) in &mut self.asked {
            if asked.rested().is_some_and(|at| at <= now) {
                (asked.seen, asked.changed) = (asked.held.take(), Some(now));
                self.is_stale = true;
            }
            if asked.next.is_some_and(|at| at <= now) && asked.look.is_none() {
                late.push(*key);
            }
        }
        late.into_iter().for_each(|key| self.ask(key, Duration::ZERO));
    }

    /// When that is.
    fn next(&self) -> Option<Instant> {
        self.asked.values().flat_map(|asked| [asked.rested(), asked.next]).flatten().min()
    }

    /// Whether something is known, or nothing will be soon.
    fn is_clear(&self) -> bool {
        let mut asked = self.asked.values();
        asked.clone().any(|it| it.seen.is_some()) || asked.all(|it| it.look.is_none())
    }
}

impl Asked {
    fn new(relay: RelayPeer) -> Self {
        Self {
            relay,
            seen: None,
            changed: None,
            held: None,
            look: None,
            again: false,
            misses: 0,
            next: None,
        }
    }

    fn take(&mut self, said: Option<Outside>, now: Instant) {
        (self.misses, self.next, self.held) = (0, None, None);
        if said == self.seen {
            return;
        }
        if self.changed.is_none_or(|at| now.duration_since(at) >= REST) {
            (self.seen, self.changed) = (said, Some(now));
            return;
        }
        if self.seen.take().is_some() {
            self.changed = Some(now);
        }
        self.held = said;
    }

    /// No answer came. One may get lost; after the second nothing is known.
    fn miss(&mut self, now: Instant) {
        let wait = MISSED[self.misses.min(MISSED.len() - 1)];
        let misses = self.misses.saturating_add(1);
        if misses > 1 {
            self.take(None, now);
        }
        (self.misses, self.next) = (misses, Some(now + wait));
    }

    /// When what is held may be told.
    fn rested(&self) -> Option<Instant> {
        self.held.and(self.changed).map(|at| at + REST)
    }
}

impl Run {
    /// Asks this relay, which is connected.
    pub(super) fn look_outside(&mut self, relay: RelayPeer) {
        if self.outers.are_wanted() {
            self.outlook.look(relay);
        }
    }

    /// A relay is left: it is not asked any more, and what it said is not told.
    pub(super) fn leave_outside(&mut self, relay: &PeerId) {
        self.outlook.asked.remove(relay);
        self.outlook.is_stale = true;
    }

    /// The network has changed: what was seen before may not be so any more. Where this machine has another address
    /// than before, nobody is to know this node by its outer swarm again; one that comes back at the same leaves that
    /// as it is. Relays are asked by who knows which are connected.
    pub(super) fn renew_outside(&mut self, change: &Change, now: Instant) {
        self.outlook.asked.clear();
        // Whoever hears it has forgotten it: what is still so is told again.
        self.outlook.told = None;
        self.outlook.has_changed(now);
        if change.moved || change.slept {
            self.renew_outer(now);
        }
    }

    pub(super) fn on_outside(&mut self, answer: Answer) {
        self.touched |= self.outlook.answered(answer, Instant::now());
    }

    /// When something is to be done next for the time's sake.
    pub(super) fn next_outside(&self) -> Option<Instant> {
        let renewed = self.outers.renewed();
        let six = renewed.map(|_| self.outlook.six_at);
        self.outlook.next().into_iter().chain(renewed).chain(six).chain(self.outlook.settled).min()
    }

    /// Does what is due, and tells what is news.
    pub(super) fn outside_due(&mut self, now: Instant) {
        if self.outers.renewed().is_some_and(|at| at <= now) {
            self.renew_outer(now);
        }
        self.end_outers();
        self.outlook.due(now);
        if self.outers.are_wanted() && self.outlook.six_at <= now {
            self.outlook.calls_from(six::own(), now);
        }
        self.outlook.settled = self.outlook.settled.filter(|at| *at > now);
        if self.outlook.is_stale && self.outlook.settled.is_none() {
            self.tell_outside();
        }
    }

    fn tell_outside(&mut self) {
        // One that has no port yet will soon; where the system gives none, nobody is met.
        let is_none = self.outers.are_wanted() && self.outers.newest().is_none();
        let named = self.outers.name();
        if named.is_none() && !is_none || !self.outlook.is_clear() {
            return;
        }
        self.outlook.is_stale = false;
        let named = named.map(|(me, ports)| (Multiaddr::empty().with(Protocol::P2p(me)), ports));
        let known = self.outlook.asked.iter();
        let seen: BTreeMap<PeerId, Seen> = known
            .filter_map(|(relay, asked)| {
                let outside = asked.seen?;
                let met = match &named {
                    Some((name, ports)) => Some(under(outside.at(ports.four?), name)),
                    None => None,
                };
                Some((*relay, self.seen(outside, met)))
            })
            .collect();
        let own = self.outlook.six.iter();
        let six: Vec<Multiaddr> = own
            .filter_map(|ip| {
                let (name, ports) = named.as_ref()?;
                Some(under(outside::quic_at(IpAddr::from(*ip), ports.six?), name))
            })
            .collect();
        let news = (named.map(|(name, _)| name), seen, six);
        if self.outlook.told.as_ref() != Some(&news) {
            self.outlook.told = Some(news.clone());
            let (name, seen, six) = news;
            self.report(MeshReport::Outside { name, seen, six });
        }
    }

    fn seen(&self, outside: Outside, met: Option<Multiaddr>) -> Seen {
        let own = Protocol::Ip4(outside.ip);
        let is_own = |address: &Multiaddr| address.iter().next() == Some(own.clone());
        let is_behind_nat = !self.listening.iter().any(is_own);
        Seen { outside, is_behind_nat, met: met.filter(|_| is_behind_nat) }
    }
}

/// An address with the PeerId under which this machine is met there.
fn under(at: Multiaddr, name: &Multiaddr) -> Multiaddr {
    at.iter().chain(name.iter()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use libp2p::{core::transport::ListenerId, swarm::SwarmEvent};

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

    /// Asks, and gives the question's number.
    fn ask(outlook: &mut Outlook, relay: &RelayPeer) -> u64 {
        outlook.asked.entry(relay.peer_id).or_insert_with(|| Asked::new(relay.clone()));
        outlook.ask(relay.peer_id, Duration::from_secs(999));
        outlook.numbers
    }

    /// Asks, and has this for an answer.
    fn answer(outlook: &mut Outlook, relay: &RelayPeer, said: Option<Outside>, now: Instant) {
        let number = ask(outlook, relay);
        assert!(outlook.answered((relay.peer_id, number, said), now));
    }

    /// What no router of the internet carries: a relay that sees nothing of what is outside.
    const NEAR: Outside = Outside { ip: Ipv4Addr::new(100, 64, 0, 1), keeps_ports: true };

    #[tokio::test]
    async fn what_a_relay_says_once_is_told_at_once_and_what_else_it_says_after_a_rest() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, now) = (relay(), Instant::now());
        answer(&mut outlook, &relay, Some(at(1)), now);
        assert_eq!(seen(&outlook, &relay), Some(at(1)));
        // The old address may be somebody else's by now.
        let soon = now + REST / 2;
        answer(&mut outlook, &relay, Some(at(2)), soon);
        assert_eq!(seen(&outlook, &relay), None);
        assert_eq!(outlook.next(), Some(soon + REST));
        outlook.due(soon + REST - Duration::from_secs(1));
        assert_eq!(seen(&outlook, &relay), None);
        outlook.is_stale = false;
        outlook.due(soon + REST);
        assert_eq!((seen(&outlook, &relay), outlook.is_stale), (Some(at(2)), true));
        // After a rest nothing waits.
        answer(&mut outlook, &relay, Some(at(3)), soon + 2 * REST);
        assert_eq!(seen(&outlook, &relay), Some(at(3)));
        // Each relay by itself.
        let other = self::relay();
        answer(&mut outlook, &other, Some(at(7)), now);
        assert_eq!(seen(&outlook, &other), Some(at(7)));
    }

    #[tokio::test]
    async fn a_relay_that_takes_back_what_it_says_and_says_it_again_has_it_told_twice_a_rest() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, now) = (relay(), Instant::now());
        for others in [[Some(NEAR), Some(at(1))], [Some(at(2)), Some(at(1))], [None, Some(at(1))]] {
            outlook.asked.clear();
            let (mut told, mut changes) = (None, 0);
            for n in 0..100 {
                let now = now + n * REST / 50;
                outlook.due(now);
                answer(&mut outlook, &relay, others[n as usize % 2], now);
                let seen = seen(&outlook, &relay);
                changes += usize::from(seen != told);
                told = seen;
            }
            assert!((1..=5).contains(&changes), "{changes} changes in two rests: {others:?}");
        }
    }

    #[tokio::test]
    async fn a_look_that_is_lost_is_made_again_and_the_second_takes_back_what_was_known() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, mut now) = (relay(), Instant::now());
        answer(&mut outlook, &relay, Some(at(1)), now);
        for (misses, wait) in [1, 5, 30, 30].into_iter().enumerate() {
            now += REST;
            answer(&mut outlook, &relay, None, now);
            assert_eq!(seen(&outlook, &relay).is_some(), misses == 0);
            assert_eq!(outlook.next(), Some(now + Duration::from_secs(60 * wait)), "{misses}");
            let asked = outlook.numbers;
            outlook.due(now + Duration::from_secs(60 * wait - 1));
            assert_eq!(outlook.numbers, asked);
            outlook.due(now + Duration::from_secs(60 * wait));
            assert_eq!(outlook.numbers, asked + 1, "it is asked");
            assert_eq!(outlook.next(), None, "and waited for");
        }
        let number = outlook.numbers;
        assert!(outlook.answered((relay.peer_id, number, Some(at(1))), now + REST));
        assert_eq!((seen(&outlook, &relay), outlook.next()), (Some(at(1)), None));
    }

    #[tokio::test]
    async fn where_it_is_over_ipv6_is_told_with_the_port_there_and_asked_again_each_minute() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(4);
        let now = Instant::now();
        let on = run.outers.newest().unwrap();
        for here in ["/ip4/127.0.0.1/udp/4/quic-v1", "/ip6/::1/udp/6/quic-v1"] {
            let (listener_id, address) = (ListenerId::next(), here.parse().unwrap());
            run.on_outer(on, SwarmEvent::NewListenAddr { listener_id, address });
        }
        let (me, ports) = run.outers.name().unwrap();
        assert_eq!((ports.four, ports.six), (Some(4), Some(6)));
        assert!(run.outlook.settled.is_some_and(|at| at > now), "more may follow");
        let own: Ipv6Addr = "2a00:79::7".parse().unwrap();
        run.outlook.settled = None;
        run.outlook.calls_from(vec![own], now);
        assert_eq!(run.outlook.six_at, now + SIX);
        run.outlook.is_stale = true;
        run.tell_outside();
        let six = format!("/ip6/{own}/udp/6/quic-v1/p2p/{me}");
        let news = run.outlook.told.clone().unwrap();
        assert_eq!(news.2, [six.parse::<Multiaddr>().unwrap()]);
        assert!(news.1.is_empty() && !run.outlook.is_stale);
        run.outlook.calls_from(vec![own], now);
        assert!(!run.outlook.is_stale, "nothing new");
        run.outlook.calls_from(Vec::new(), now);
        assert!(run.outlook.is_stale);
        assert!(run.next_outside().is_some_and(|at| at <= now + SIX));
    }

    #[tokio::test]
    async fn after_a_change_of_the_network_what_is_still_so_is_told_again() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(5);
        let on = run.outers.newest().unwrap();
        for here in ["/ip4/127.0.0.1/udp/4/quic-v1", "/ip6/::1/udp/6/quic-v1"] {
            let (listener_id, address) = (ListenerId::next(), here.parse().unwrap());
            run.on_outer(on, SwarmEvent::NewListenAddr { listener_id, address });
        }
        let relay = relay();
        let say = |run: &mut Run| {
            run.outlook.settled = None;
            run.look_outside(relay.clone());
            run.tell_outside();
            let number = run.outlook.numbers;
            run.on_outside((relay.peer_id, number, Some(at(1))));
            let before = run.waiting.len();
            run.tell_outside();
            run.waiting.len() - before
        };
        assert_eq!(say(&mut run), 1);
        assert_eq!(say(&mut run), 0, "nothing is news");
        run.on_change(&Change::default());
        assert_eq!(say(&mut run), 1);
    }

    #[tokio::test]
    async fn where_the_system_gives_no_other_outer_swarm_the_shut_ones_addresses_are_told_no_more()
    {
        let (mut run, _inboxes, _reports) = super::super::tests::run(6);
        let (on, now) = (run.outers.newest().unwrap(), Instant::now());
        for here in ["/ip4/127.0.0.1/udp/4/quic-v1", "/ip6/::1/udp/6/quic-v1"] {
            let (listener_id, address) = (ListenerId::next(), here.parse().unwrap());
            run.on_outer(on, SwarmEvent::NewListenAddr { listener_id, address });
        }
        let relay = relay();
        run.outlook.settled = None;
        run.outlook.calls_from(vec!["2a00:79::7".parse().unwrap()], now);
        run.look_outside(relay.clone());
        run.on_outside((relay.peer_id, run.outlook.numbers, Some(at(1))));
        run.tell_outside();
        let (name, seen, six) = run.outlook.told.clone().unwrap();
        assert!(name.is_some() && seen[&relay.peer_id].met.is_some() && six.len() == 1);
        run.outers.take(None, now);
        run.outlook.is_stale = true;
        run.outside_due(now);
        let (name, seen, six) = run.outlook.told.clone().unwrap();
        assert_eq!((name, six), (None, Vec::new()));
        let seen = &seen[&relay.peer_id];
        assert_eq!(
            (seen.outside, &seen.met),
            (at(1), &None),
            "what relays say is known all the same"
        );
    }

    #[tokio::test]
    async fn what_comes_late_and_what_is_no_address_of_the_internet_counts_for_nothing() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, now) = (relay(), Instant::now());
        let number = ask(&mut outlook, &relay);
        assert!(!outlook.is_clear());
        let late = (relay.peer_id, number, Some(at(1)));
        outlook.asked.clear();
        assert!(outlook.is_clear());
        assert!(!outlook.answered(late, now), "the network is another");
        ask(&mut outlook, &relay);
        assert!(!outlook.answered(late, now));
        answer(&mut outlook, &relay, Some(NEAR), now);
        assert_eq!(seen(&outlook, &relay), None);
        assert!(outlook.is_clear() && outlook.next().is_none());
    }

    #[tokio::test]
    async fn so_many_relays_are_asked_and_one_that_is_connected_anew_once_more() {
        let (mut outlook, _answers) = Outlook::new();
        let (relay, now) = (relay(), Instant::now());
        outlook.look(relay.clone());
        outlook.look(relay.clone());
        assert_eq!(outlook.numbers, 1);
        assert!(outlook.answered((relay.peer_id, 1, None), now));
        assert_eq!(outlook.numbers, 2, "at once, for the one of the connection before");
        (1..2 * ASKED).for_each(|_| outlook.look(self::relay()));
        assert_eq!((outlook.asked.len(), outlook.numbers), (ASKED, ASKED as u64 + 1));
    }

    #[tokio::test]
    async fn a_relay_that_is_left_is_not_asked_and_what_it_said_is_told_no_more() {
        let (mut run, _inboxes, _reports) = super::super::tests::run(2);
        let relay = relay();
        run.look_outside(relay.clone());
        let number = run.outlook.numbers;
        run.on_outside((relay.peer_id, number, Some(at(1))));
        assert_eq!(seen(&run.outlook, &relay), Some(at(1)));
        run.outlook.is_stale = false;
        run.look_outside(relay.clone());
        run.leave_outside(&relay.peer_id);
        assert!(run.outlook.asked.is_empty() && run.outlook.is_stale);
        let number = run.outlook.numbers;
        run.on_outside((relay.peer_id, number, Some(at(1))));
        assert!(run.outlook.asked.is_empty(), "what was under way counts for nothing");
    }
}
