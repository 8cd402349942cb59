//! Whom to dial, and when: the clockwork of it, without any network.
//!
//! > A member without a channel is dialled at once when something new is known of it, and otherwise
//! > after a pause that doubles from 250 ms to 60 s, with chance in it so that nobody's nodes keep
//! > step.

use std::{collections::BTreeMap, time::Duration};

use protocol::ids::MemberId;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::time::Instant;

use super::{
    book::{Book, Whereabouts},
    mesh::DialFailure,
};

/// Members dialled at one time.
const AT_ONCE: usize = 32;
const FIRST_PAUSE_MS: u64 = 250;
const LONGEST_PAUSE_MS: u64 = 60_000;
/// A channel that stood this long was no failure.
const STOOD: Duration = Duration::from_secs(60);

pub(super) struct Dialer {
    members: BTreeMap<MemberId, Tries>,
    rng: ChaCha20Rng,
}

struct Tries {
    whereabouts: Whereabouts,
    failures: u32,
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
pub(super) struct GaveUp {
    pub(super) member: MemberId,
    pub(super) reason: DialFailure,
    pub(super) retry_in: Duration,
}

impl Dialer {
    pub(super) fn new(rng: ChaCha20Rng) -> Self {
        Self { members: BTreeMap::new(), rng }
    }

    /// Takes over whom to dial. What is new is due now.
    pub(super) fn set_book(&mut self, book: &Book, now: Instant) {
        self.members.retain(|member, _| book.members().contains_key(member));
        for (member, whereabouts) in book.members() {
            let tries = self.members.entry(*member).or_insert_with(|| Tries {
                whereabouts: Whereabouts::default(),
                failures: 0,
                state: State::Due(now),
            });
            if tries.whereabouts != *whereabouts {
                tries.whereabouts = whereabouts.clone();
                tries.failures = 0;
                if let State::Due(at) = &mut tries.state {
                    *at = now;
                }
            }
        }
    }

    /// The members to try now. For each of them [`Self::trying`] must follow.
    pub(super) fn due(&self, now: Instant) -> Vec<(MemberId, Whereabouts)> {
        let busy =
            self.members.values().filter(|t| matches!(t.state, State::Trying { .. })).count();
        self.ready()
            .filter(|(at, ..)| *at <= now)
            .take(AT_ONCE.saturating_sub(busy))
            .map(|(_, member, tries)| (*member, tries.whereabouts.clone()))
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
        let retry_in = tries.pause(now, &mut self.rng);
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
            tries.pause(now, &mut self.rng);
        }
    }

    /// Those who wait for their turn and have an address.
    fn ready(&self) -> impl Iterator<Item = (Instant, &MemberId, &Tries)> {
        self.members.iter().filter_map(|(member, tries)| match tries.state {
            State::Due(at) if !tries.whereabouts.addresses.is_empty() => Some((at, member, tries)),
            _ => None,
        })
    }
}

impl Tries {
    /// Makes it due after a pause, which it gives.
    fn pause(&mut self, now: Instant, rng: &mut ChaCha20Rng) -> Duration {
        let longest =
            FIRST_PAUSE_MS.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE_MS);
        let pause = Duration::from_millis(longest / 2 + rng.next_u64() % (longest / 2 + 1));
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

    fn book(peer: PeerId, port: u16) -> Book {
        let address: libp2p::Multiaddr = format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap();
        let (peers, addresses) = (vec![peer.to_bytes()], vec![address.to_vec()]);
        Book::new(vec![BookEntry { member: ADA, peers, addresses }])
    }

    fn dialer(peer: PeerId, now: Instant) -> Dialer {
        let mut dialer = Dialer::new(ChaCha20Rng::seed_from_u64(1));
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
