//! Whom to dial, and when: the clockwork of it, without any network.
//!
//! > A member without a channel is dialled at once when something new is known of it, and otherwise
//! > after a pause that doubles from 250 ms to 60 s, with chance in it so that nobody's nodes keep
//! > step.
//!
//! But for two behind NATs: each lets in whom it has called, so the two have to call each other at one moment. A
//! member that is behind one, and tells where it is met outside, is dialled, once the pauses are long, at the pair's
//! own moment of each minute, which both know by the clock of the day and by who they are.

use std::{collections::BTreeMap, time::Duration};

use libp2p::{Multiaddr, PeerId};
use protocol::ids::{MemberId, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::time::Instant;

use super::{
    book::{Book, Whereabouts},
    change::SPREAD,
    mesh::DialFailure,
};

/// Members dialled at one time.
const AT_ONCE: usize = 32;
/// Addresses on local networks that are remembered of one node, the newest.
pub(super) const FOUND: usize = 4;
const FIRST_PAUSE_MS: u64 = 250;
const LONGEST_PAUSE_MS: u64 = 60_000;
/// From here on pauses end at the moment at which the other side dials, too.
const LONG_PAUSE_MS: u64 = 16_000;
/// How often that comes.
const MEETING_MS: u64 = 60_000;
/// It is not this near: a dial takes a while to fail.
const SOONEST_MEETING_MS: u64 = 10_000;
/// What a relay says to members may send others to an address: so often that makes anybody hurry.
const OUTER_NEWS: Duration = Duration::from_secs(600);
/// A channel that stood this long was no failure.
const STOOD: Duration = Duration::from_secs(60);

pub(super) struct Dialer {
    me: MemberId,
    clock: fn() -> Timestamp,
    members: BTreeMap<MemberId, Tries>,
    rng: ChaCha20Rng,
}

struct Tries {
    whereabouts: Whereabouts,
    /// Where the member's nodes have answered on a local network since the last dial failed.
    found: BTreeMap<PeerId, Vec<Multiaddr>>,
    failures: u32,
    /// When news of its outer swarm alone last made it due.
    outer_news: Option<Instant>,
    state: State,
}

enum State {
    /// To be tried then.
    Due(Instant),
    /// This many ways are being tried, and the best reason so far why none worked.
    Trying { left: usize, reason: DialFailure },
    /// A channel stands since then.
    Up(Instant),
}

/// Nothing leads to a member for now.
#[derive(Debug)]
pub(super) struct GaveUp {
    pub(super) member: MemberId,
    pub(super) reason: DialFailure,
    pub(super) retry_in: Duration,
}

impl Dialer {
    pub(super) fn new(me: MemberId, clock: fn() -> Timestamp, rng: ChaCha20Rng) -> Self {
        Self { me, clock, members: BTreeMap::new(), rng }
    }

    /// Takes over whom to dial. What is new is due now.
    pub(super) fn set_book(&mut self, book: &Book, now: Instant) {
        self.members.retain(|member, _| book.members().contains_key(member));
        for (member, whereabouts) in book.members() {
            let tries = self.members.entry(*member).or_insert_with(|| Tries {
                whereabouts: Whereabouts::default(),
                found: BTreeMap::new(),
                failures: 0,
                outer_news: None,
                state: State::Due(now),
            });
            tries.found.retain(|peer, _| whereabouts.peers.contains(peer));
            if tries.whereabouts != *whereabouts {
                let before = std::mem::replace(&mut tries.whereabouts, whereabouts.clone());
                tries.news(!before.is_same_inside(whereabouts), now);
            }
        }
    }

    /// A node answers on a local network at these addresses. Whoever's it is is tried now, if that is new;
    /// who is being tried already, elsewhere, is given back: for each of these one way more is tried.
    pub(super) fn found(
        &mut self,
        peer: PeerId,
        addresses: &[Multiaddr],
        now: Instant,
    ) -> Vec<MemberId> {
        let mut more = Vec::new();
        if addresses.is_empty() {
            return more;
        }
        for (member, tries) in &mut self.members {
            if !tries.whereabouts.peers.contains(&peer)
                || !remember(tries.found.entry(peer).or_default(), addresses)
            {
                continue;
            }
            tries.failures = 0;
            match &mut tries.state {
                State::Due(at) => *at = now.min(*at),
                State::Trying { left, .. } => {
                    *left += 1;
                    more.push(*member);
                }
                State::Up(_) => {}
            }
        }
        more
    }

    /// Whether one of the member's nodes answered at this address on a local network.
    pub(super) fn is_found(&self, member: &MemberId, address: &Multiaddr) -> bool {
        let found = self.members.get(member).into_iter().flat_map(|tries| tries.found.values());
        found.flatten().any(|known| known == address)
    }

    /// Where a member may be dialled now, under which PeerIds.
    pub(super) fn ways(&self, member: &MemberId) -> Whereabouts {
        self.members.get(member).map(Tries::ways).unwrap_or_default()
    }

    /// Forgets what was found at such addresses.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&Multiaddr) -> bool) {
        for tries in self.members.values_mut() {
            tries.found.values_mut().for_each(|known| known.retain(|address| !is_gone(address)));
            tries.found.retain(|_, known| !known.is_empty());
        }
    }

    /// There is a new network: whoever waits for a turn has it within [`SPREAD`], and what failed before
    /// makes nobody wait.
    pub(super) fn hurry(&mut self, now: Instant) {
        let spread = u64::try_from(SPREAD.as_millis()).unwrap_or(u64::MAX);
        for tries in self.members.values_mut() {
            tries.failures = 0;
            tries.hurry(now + Duration::from_millis(self.rng.next_u64() % spread));
        }
    }

    /// The nodes of the members who have no channel.
    pub(super) fn sought(&self) -> impl Iterator<Item = PeerId> {
        let apart = self.members.values().filter(|tries| !matches!(tries.state, State::Up(_)));
        apart.flat_map(|tries| tries.whereabouts.peers.iter().copied())
    }

    /// The members to try now. For each of them [`Self::trying`] must follow.
    pub(super) fn due(&self, now: Instant) -> Vec<(MemberId, Whereabouts)> {
        let busy =
            self.members.values().filter(|t| matches!(t.state, State::Trying { .. })).count();
        self.ready()
            .filter(|(at, ..)| *at <= now)
            .take(AT_ONCE.saturating_sub(busy))
            .map(|(_, member, tries)| (*member, tries.ways()))
            .collect()
    }

    /// When [`Self::due`] next has something.
    pub(super) fn next(&self) -> Option<Instant> {
        let busy =
            self.members.values().filter(|t| matches!(t.state, State::Trying { .. })).count();
        if busy >= AT_ONCE { None } else { self.ready().map(|(at, ..)| at).min() }
    }

    /// This many ways to a member are being tried; each that fails ends in [`Self::failed`].
    pub(super) fn trying(&mut self, member: &MemberId, ways: usize) {
        if let Some(tries) = self.members.get_mut(member) {
            tries.state = State::Trying { left: ways.max(1), reason: DialFailure::Unreachable };
        }
    }

    /// One way did not lead to a channel. Tells when it was the last.
    pub(super) fn failed(
        &mut self,
        member: &MemberId,
        why: DialFailure,
        now: Instant,
    ) -> Option<GaveUp> {
        let tries = self.members.get_mut(member)?;
        let State::Trying { left, reason } = &mut tries.state else { return None };
        *left = left.saturating_sub(1);
        *reason = why.max(*reason);
        if *left > 0 {
            return None;
        }
        let reason = *reason;
        // Somebody else may have such an address by the next time: it has to be found again.
        tries.found.clear();
        let meeting = until_meeting(&self.me, member, (self.clock)());
        let retry_in = tries.pause(now, meeting, &mut self.rng);
        Some(GaveUp { member: *member, reason, retry_in })
    }

    /// A channel stands with the member.
    pub(super) fn up(&mut self, member: &MemberId, now: Instant) {
        if let Some(tries) = self.members.get_mut(member) {
            tries.state = State::Up(now);
        }
    }

    /// It doesn't any more.
    pub(super) fn down(&mut self, member: &MemberId, now: Instant) {
        let Some(tries) = self.members.get_mut(member) else { return };
        if let State::Up(since) = tries.state {
            if now.duration_since(since) >= STOOD {
                tries.failures = 0;
            }
            let meeting = until_meeting(&self.me, member, (self.clock)());
            tries.pause(now, meeting, &mut self.rng);
        }
    }

    /// Those who wait for their turn and have an address.
    fn ready(&self) -> impl Iterator<Item = (Instant, &MemberId, &Tries)> {
        self.members.iter().filter_map(|(member, tries)| match tries.state {
            State::Due(at) if tries.has_ways() => Some((at, member, tries)),
            _ => None,
        })
    }
}

/// How long until two members dial each other at one moment.
fn until_meeting(one: &MemberId, other: &MemberId, now: Timestamp) -> Duration {
    let number =
        |id: &MemberId| id.0.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let moment = (number(one) ^ number(other)) % MEETING_MS;
    let since = now.plus_ms(SOONEST_MEETING_MS + MEETING_MS - moment).0 % MEETING_MS;
    Duration::from_millis(SOONEST_MEETING_MS + (MEETING_MS - since) % MEETING_MS)
}

/// Puts addresses that are new before the others, of which the oldest go; whether any is new.
pub(super) fn remember(known: &mut Vec<Multiaddr>, addresses: &[Multiaddr]) -> bool {
    let fresh: Vec<Multiaddr> =
        addresses.iter().filter(|address| !known.contains(address)).cloned().collect();
    let is_new = !fresh.is_empty();
    known.splice(0..0, fresh);
    known.truncate(FOUND);
    is_new
}

impl Tries {
    fn has_ways(&self) -> bool {
        !(self.whereabouts.addresses.is_empty() && self.found.is_empty())
    }

    /// Where to dial: what was found before what was told.
    fn ways(&self) -> Whereabouts {
        let mut all = self.whereabouts.clone();
        for (peer, found) in &self.found {
            let told = all.addresses.entry(*peer).or_default();
            told.retain(|address| !found.contains(address));
            told.splice(0..0, found.iter().cloned());
        }
        all
    }

    fn hurry(&mut self, now: Instant) {
        if let State::Due(at) = &mut self.state {
            *at = now.min(*at);
        }
    }

    /// Where to dial is not what it was, inside or by what relays say alone.
    fn news(&mut self, is_inside: bool, now: Instant) {
        if !is_inside {
            let last = self.outer_news;
            if last.is_some_and(|last| now.duration_since(last) < OUTER_NEWS) {
                return;
            }
            self.outer_news = Some(now);
        }
        self.failures = 0;
        self.hurry(now);
    }

    /// Whether it is behind a NAT that lets in whom it has called.
    fn may_meet(&self) -> bool {
        self.whereabouts.is_met_outside()
    }

    /// Makes it due after a pause, which it gives; where they meet then, in so long.
    fn pause(&mut self, now: Instant, meeting: Duration, rng: &mut ChaCha20Rng) -> Duration {
        let longest =
            FIRST_PAUSE_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE_MS);
        let pause = match longest >= LONG_PAUSE_MS && self.may_meet() {
            true => meeting,
            false => Duration::from_millis(longest / 2 + rng.next_u64() % (longest / 2 + 1)),
        };
        self.failures = self.failures.saturating_add(1);
        self.state = State::Due(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::net::BookEntry;

    const ADA: MemberId = MemberId([1; 32]);

    fn clock() -> Timestamp {
        Timestamp(1_800_000_012_345)
    }

    fn book(peer: PeerId, port: u16) -> Book {
        let address: libp2p::Multiaddr = format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap();
        let (peers, addresses) = (vec![peer.to_bytes()], vec![address.to_vec()]);
        Book::new(vec![BookEntry { member: ADA, peers, addresses }])
    }

    fn dialer(peer: PeerId, now: Instant) -> Dialer {
        let mut dialer = Dialer::new(MemberId([9; 32]), clock, ChaCha20Rng::seed_from_u64(1));
        dialer.set_book(&book(peer, 1), now);
        dialer
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let mut now = Instant::now();
        let mut dialer = dialer(PeerId::random(), now);
        for n in 0..20 {
            assert_eq!(dialer.due(now).len(), 1, "try {n}");
            dialer.trying(&ADA, 1);
            assert!(dialer.due(now + Duration::from_secs(99)).is_empty());
            let gave_up = dialer.failed(&ADA, DialFailure::Refused, now).unwrap();
            let longest = Duration::from_millis((250 << n.min(8)).min(60_000));
            assert!(gave_up.retry_in <= longest && gave_up.retry_in >= longest / 2, "try {n}");
            assert_eq!(dialer.next(), Some(now + gave_up.retry_in));
            assert!(dialer.due(now).is_empty());
            now += gave_up.retry_in;
        }
    }

    #[test]
    fn two_behind_nats_dial_each_other_at_one_moment_however_often_each_has_tried() {
        const BEN: MemberId = MemberId([7; 32]);
        let now = Instant::now();
        let far = |member| BookEntry {
            member,
            peers: vec![PeerId::random().to_bytes()],
            addresses: vec![
                "/ip4/192.168.1.7/udp/1/quic-v1".parse::<Multiaddr>().unwrap().to_vec(),
                format!("/ip4/198.51.100.1/udp/1/quic-v1/p2p/{}", PeerId::random())
                    .parse::<Multiaddr>()
                    .unwrap()
                    .to_vec(),
            ],
        };
        let next = |me, other, tries| {
            let mut dialer = Dialer::new(me, clock, ChaCha20Rng::seed_from_u64(tries));
            dialer.set_book(&Book::new(vec![far(other)]), now);
            let failed = |_| {
                dialer.trying(&other, 1);
                dialer.failed(&other, DialFailure::TimedOut, now).unwrap().retry_in
            };
            (0..tries).map(failed).last().unwrap()
        };
        let moment = next(ADA, BEN, 9);
        assert_eq!(next(BEN, ADA, 30), moment);
        assert!(
            moment >= Duration::from_secs(10) && moment < Duration::from_secs(70),
            "{moment:?}"
        );
        assert_ne!(next(BEN, MemberId([3; 32]), 9), moment, "each pair has its own");
        assert!(next(ADA, BEN, 6) < Duration::from_secs(10), "at first they don't wait for it");
        // A minute later it is the same moment.
        let later = clock().plus_ms(u64::try_from(moment.as_millis()).unwrap());
        assert_eq!(until_meeting(&ADA, &BEN, later), Duration::from_secs(60));
    }

    #[test]
    fn a_new_address_is_tried_at_once() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut dialer = dialer(peer, now);
        for _ in 0..9 {
            dialer.trying(&ADA, 1);
            dialer.failed(&ADA, DialFailure::Refused, now);
        }
        assert!(dialer.due(now).is_empty());
        dialer.set_book(&book(peer, 1), now);
        assert!(dialer.due(now).is_empty(), "nothing new is known");
        dialer.set_book(&book(peer, 2), now);
        assert_eq!(dialer.due(now).len(), 1);
    }

    #[test]
    fn news_of_an_outer_swarm_make_nobody_hurry_twice_in_ten_minutes() {
        let (mut now, card) = (Instant::now(), PeerId::random());
        let mut dialer = Dialer::new(MemberId([9; 32]), clock, ChaCha20Rng::seed_from_u64(1));
        let outside = |n: u8| {
            let outer = format!("/ip4/198.51.100.{n}/udp/1/quic-v1/p2p/{}", PeerId::random());
            let inside = "/ip4/192.168.1.7/udp/1/quic-v1".to_owned();
            let addresses =
                [inside, outer].map(|text| text.parse::<Multiaddr>().unwrap().to_vec()).to_vec();
            Book::new(vec![BookEntry { member: ADA, peers: vec![card.to_bytes()], addresses }])
        };
        dialer.set_book(&outside(1), now);
        for n in 2..=9 {
            for _ in 0..9 {
                dialer.trying(&ADA, 1);
                dialer.failed(&ADA, DialFailure::TimedOut, now);
            }
            dialer.set_book(&outside(n), now);
            assert_eq!(dialer.due(now).len(), usize::from(n == 2), "{n}");
            assert!(dialer.ways(&ADA).addresses.values().flatten().any(|address| {
                address.to_string().starts_with(&format!("/ip4/198.51.100.{n}/"))
            }));
        }
        let fail = |dialer: &mut Dialer, now| {
            dialer.trying(&ADA, 1);
            dialer.failed(&ADA, DialFailure::TimedOut, now);
            assert!(dialer.due(now).is_empty());
        };
        now += OUTER_NEWS;
        fail(&mut dialer, now);
        dialer.set_book(&outside(1), now);
        assert_eq!(dialer.due(now).len(), 1);
        fail(&mut dialer, now);
        dialer.set_book(&book(card, 2), now);
        assert_eq!(dialer.due(now).len(), 1, "what it tells of itself is another matter");
    }

    #[test]
    fn what_is_found_is_tried_at_once_until_it_fails() {
        let (now, peer) = (Instant::now(), PeerId::random());
        let mut dialer = Dialer::new(MemberId([9; 32]), clock, ChaCha20Rng::seed_from_u64(1));
        let nowhere = BookEntry { member: ADA, peers: vec![peer.to_bytes()], addresses: vec![] };
        dialer.set_book(&Book::new(vec![nowhere]), now);
        assert!(dialer.due(now).is_empty());
        assert_eq!(dialer.sought().collect::<Vec<_>>(), [peer]);

        let at = |n: usize| format!("/ip4/10.0.0.{n}/tcp/1").parse::<Multiaddr>().unwrap();
        dialer.found(PeerId::random(), &[at(1)], now);
        assert!(dialer.due(now).is_empty(), "no member's");
        for n in 1..=9 {
            dialer.found(peer, &[at(n)], now);
        }
        let ways = dialer.due(now).remove(0).1;
        assert_eq!(ways.addresses[&peer], [at(9), at(8), at(7), at(6)]);
        assert!(dialer.is_found(&ADA, &at(9)) && !dialer.is_found(&ADA, &at(1)));
        dialer.forget(|address| *address == at(9));
        assert!(!dialer.is_found(&ADA, &at(9)));

        dialer.trying(&ADA, 1);
        assert!(dialer.found(peer, &[at(8)], now).is_empty(), "nothing new");
        assert_eq!(dialer.found(peer, &[at(5)], now), [ADA], "at once, whatever else is tried");
        assert!(dialer.failed(&ADA, DialFailure::TimedOut, now).is_none());
        let gave_up = dialer.failed(&ADA, DialFailure::TimedOut, now).unwrap();
        assert!(dialer.due(now + gave_up.retry_in).is_empty(), "it has to be found again");
        assert!(dialer.found(peer, &[at(8)], now).is_empty());
        assert_eq!(dialer.due(now).len(), 1);
        dialer.trying(&ADA, 1);
        dialer.up(&ADA, now);
        assert_eq!(dialer.sought().count(), 0);
    }

    #[test]
    fn on_a_new_network_nobody_waits_and_not_all_are_dialled_at_one_moment() {
        let now = Instant::now();
        let entries = (0..200).map(|n| BookEntry {
            member: MemberId([n; 32]),
            peers: vec![PeerId::random().to_bytes()],
            addresses: vec!["/ip4/10.0.0.1/tcp/1".parse::<Multiaddr>().unwrap().to_vec()],
        });
        let mut dialer = Dialer::new(MemberId([9; 32]), clock, ChaCha20Rng::seed_from_u64(1));
        dialer.set_book(&Book::new(entries.collect()), now);
        for _ in 0..9 {
            for n in 0..200 {
                dialer.trying(&MemberId([n; 32]), 1);
                dialer.failed(&MemberId([n; 32]), DialFailure::Refused, now);
            }
        }
        // One is being tried on the network that is gone.
        dialer.trying(&MemberId([0; 32]), 1);
        assert!(dialer.due(now + Duration::from_secs(20)).is_empty());
        dialer.hurry(now);
        let at = |dialer: &Dialer, at| dialer.ready().filter(|(due, ..)| *due <= now + at).count();
        assert!(at(&dialer, SPREAD / 2) > 50 && at(&dialer, SPREAD / 2) < 150);
        assert_eq!(at(&dialer, SPREAD), 199);
        assert_eq!(dialer.due(now + SPREAD).len(), AT_ONCE - 1);
        let gave_up = dialer.failed(&MemberId([0; 32]), DialFailure::TimedOut, now).unwrap();
        assert!(gave_up.retry_in <= Duration::from_millis(FIRST_PAUSE_MS), "{gave_up:?}");
    }

    #[test]
    fn it_gives_up_when_the_last_way_failed_and_for_the_best_reason() {
        let now = Instant::now();
        let mut dialer = dialer(PeerId::random(), now);
        dialer.trying(&ADA, 3);
        assert!(dialer.failed(&ADA, DialFailure::Unreachable, now).is_none());
        assert!(dialer.failed(&ADA, DialFailure::Refused, now).is_none());
        let gave_up = dialer.failed(&ADA, DialFailure::TimedOut, now).unwrap();
        assert_eq!(gave_up.reason, DialFailure::Refused);
    }

    #[test]
    fn nobody_is_dialled_who_has_a_channel_or_no_address() {
        let now = Instant::now();
        let mut dialer = dialer(PeerId::random(), now);
        dialer.up(&ADA, now);
        assert!(dialer.due(now).is_empty() && dialer.next().is_none());
        dialer.down(&ADA, now);
        assert!(dialer.next().is_some());
        dialer.set_book(&Book::new(Vec::new()), now);
        assert!(dialer.next().is_none());
        let nowhere = BookEntry { member: ADA, peers: Vec::new(), addresses: Vec::new() };
        dialer.set_book(&Book::new(vec![nowhere]), now);
        assert!(dialer.due(now).is_empty());
    }
}
