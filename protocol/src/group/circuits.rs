//! A circuit through a relay: who wants a file of a member, and has no direct path to it, waits at a relay and says so,
//! sealed to that member in its inbox.
//!
//! > Members alone are asked, and only members are heard: each so often in an hour, each time later by its clock than
//! > before. How many of them are gone to, and which, is for who goes. The key with which the other side comes follows
//! > from what was said under seal: nobody else can come.
//!
//! Nothing of it is stored: what was asked just before a restart may be heard once more after it.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Cx, Event, Group, GroupState, Output, control::Said, inbox::POSTED, wire::Statement};
use crate::{
    hash::{Label, kdf32},
    ids::{FileId, GroupId, MemberId, Timestamp},
    limits::{CIRCUITS_AN_HOUR, RELAY_TOKEN_KEY},
};

/// Where somebody waits, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// The PeerId of the relay, at most 64 bytes.
    pub relay: Vec<u8>,
    /// The Ed25519 public key of who waits there, made for this alone.
    pub place: [u8; 32],
    /// The file that is wanted.
    pub file: FileId,
}

/// The seed of the Ed25519 key with which who was asked comes, made for this alone.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct CircuitKey([u8; 32]);

/// Who wants a file waits at a relay.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct CircuitAsked {
    /// When, by the asker's clock; of one asker, only a later one is heard.
    #[n(0)]
    pub at: Timestamp,
    /// The PeerId of the relay.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub relay: Vec<u8>,
    /// The key under which the asker waits there.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub place: [u8; 32],
    /// The key of who comes follows from it.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub seed: [u8; 32],
    /// The file that is wanted.
    #[n(4)]
    pub file: FileId,
}

impl Drop for CircuitAsked {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

/// Who has asked.
#[derive(Default)]
pub(super) struct Circuits {
    askers: BTreeMap<MemberId, Asker>,
    /// When this node asked last.
    asked: Timestamp,
}

struct Asker {
    /// When it asked last, by its own clock.
    last: Timestamp,
    /// Since when it is counted, and how often it asked since.
    since: Timestamp,
    count: u32,
}

const HOUR_MS: u64 = 60 * 60 * 1000;

impl Group {
    /// Tells a member, through its inbox alone, that this node waits for it at a relay; gives the key with which it
    /// comes. `None`: its inbox is not known, or this node is in the group no more.
    pub fn ask_circuit<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        to: MemberId,
        circuit: &Circuit,
    ) -> Option<CircuitKey> {
        if !self.may_ask_circuit(&to) || circuit.relay.len() > RELAY_TOKEN_KEY {
            return None;
        }
        let mut seed = [0; 32];
        cx.rng.fill_bytes(&mut seed);
        let Circuit { relay, place, file } = circuit.clone();
        let at = self.circuits.next(cx.now);
        let asked = CircuitAsked { at, relay, place, seed, file };
        seed.zeroize();
        let key = asked.key(&self.id, &self.me, &to);
        self.post_sealed(&mut cx, to, &Statement::Circuit(asked)).then_some(key)
    }

    /// Whether a member can be told where this node waits for it.
    #[must_use]
    pub fn may_ask_circuit(&self, to: &MemberId) -> bool {
        self.state == GroupState::Active
            && self.is_member(to)
            && self.known_inboxes().any(|known| known == *to)
    }

    pub(super) fn take_circuit(&mut self, now: Timestamp, said: &Said, asked: &CircuitAsked) {
        let is_heard = said.topic == POSTED
            && self.state == GroupState::Active
            && asked.relay.len() <= RELAY_TOKEN_KEY;
        if is_heard && self.circuits.take(said.from, asked.at, now) {
            let CircuitAsked { relay, place, file, .. } = asked;
            let circuit = Circuit { relay: relay.clone(), place: *place, file: *file };
            let key = asked.key(&self.id, &said.from, &self.me);
            self.out.push_back(Output::Event(Event::Circuit { from: said.from, circuit, key }));
        }
    }
}

impl CircuitAsked {
    pub(super) fn key(&self, group: &GroupId, asker: &MemberId, asked: &MemberId) -> CircuitKey {
        let at = self.at.0.to_be_bytes();
        CircuitKey(kdf32(&self.seed, Label::Circuit, &[&group.0, &asker.0, &asked.0, &at]))
    }
}

impl CircuitKey {
    /// Its bytes.
    #[must_use]
    pub const fn seed(&self) -> &[u8; 32] {
        &self.0
    }
}

impl core::fmt::Debug for CircuitKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CircuitKey")
    }
}

impl Circuits {
    /// As when something is asked now: two in one moment are two all the same, and so they are after the clock was set back. By
    /// more than an hour nobody has heard what was asked before.
    fn next(&mut self, now: Timestamp) -> Timestamp {
        let before = self.asked.plus_ms(1);
        self.asked = if before > now.plus_ms(HOUR_MS) { now } else { before.max(now) };
        self.asked
    }

    /// Whether to hear who asked at this moment of its own clock; notes that it was heard.
    fn take(&mut self, from: MemberId, at: Timestamp, now: Timestamp) -> bool {
        // What is older than that is not heard in any case.
        self.askers.retain(|_, asker| {
            now.ms_since(asker.last) < 2 * HOUR_MS || now.ms_since(asker.since) < HOUR_MS
        });
        if at.0.abs_diff(now.0) > HOUR_MS {
            return false;
        }
        let new = || Asker { last: Timestamp(0), since: now, count: 0 };
        let asker = self.askers.entry(from).or_insert_with(new);
        if now.0.abs_diff(asker.since.0) >= HOUR_MS {
            (asker.since, asker.count) = (now, 0);
        }
        if at <= asker.last || asker.count >= CIRCUITS_AN_HOUR {
            return false;
        }
        (asker.last, asker.count) = (at, asker.count + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::{super::LogRole, *};
    use crate::sim::world::World;

    fn circuit() -> Circuit {
        Circuit { relay: vec![9; 38], place: [7; 32], file: FileId([5; 16]) }
    }

    fn heard(world: &World, at: usize) -> Vec<(MemberId, Circuit, CircuitKey)> {
        let events = world.people[at].events.iter();
        let heard = |event: &Event| match event {
            Event::Circuit { from, circuit, key } => Some((*from, circuit.clone(), key.clone())),
            _ => None,
        };
        events.filter_map(heard).collect()
    }

    /// Entries of a member's inbox.
    fn posted(world: &World, at: usize) -> usize {
        let inboxes = world.member(at).logs().into_iter();
        let inboxes = inboxes.filter(|log| log.role == LogRole::Inbox);
        inboxes.filter_map(|log| world.logs.get(&log.keys.id())).map(Vec::len).sum()
    }

    #[test]
    fn both_have_the_key_of_who_is_to_come_and_nobody_else_hears_of_it() {
        let mut world = World::with(3, true);
        world.strict = true;
        let (from, to) = (world.id(0), world.id(1));
        let before = [0, 1, 2].map(|at| posted(&world, at));
        let key = world.act(0, |group, cx| group.ask_circuit(cx, to, &circuit())).unwrap();
        world.settle();
        assert_eq!(heard(&world, 1), [(from, circuit(), key.clone())]);
        assert!(heard(&world, 0).is_empty() && heard(&world, 2).is_empty());
        let after = [0, 1, 2].map(|at| posted(&world, at));
        assert_eq!(after, [before[0], before[1] + 1, before[2]], "one entry, and no answer");
        let next = world.act(0, |group, cx| group.ask_circuit(cx, to, &circuit())).unwrap();
        assert!(next != key, "each has its own");
        world.settle();
        assert_eq!(heard(&world, 1).len(), 2, "also two of one moment");
        let long = Circuit { relay: vec![9; 65], ..circuit() };
        assert!(world.act(0, |group, cx| group.ask_circuit(cx, to, &long)).is_none());
    }

    #[test]
    fn one_seed_makes_another_key_for_each_group_pair_and_moment() {
        let asked = |at| CircuitAsked {
            at: Timestamp(at),
            relay: vec![9; 38],
            place: [7; 32],
            seed: [1; 32],
            file: FileId([5; 16]),
        };
        let (group, ada, bob) = (GroupId([3; 32]), MemberId([1; 32]), MemberId([2; 32]));
        let keys = [
            asked(1).key(&group, &ada, &bob),
            asked(2).key(&group, &ada, &bob),
            asked(1).key(&group, &bob, &ada),
            asked(1).key(&group, &ada, &ada),
            asked(1).key(&GroupId([4; 32]), &ada, &bob),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
    }

    #[test]
    fn who_asks_without_end_is_heard_so_often_in_an_hour_and_others_as_ever() {
        let (mut circuits, start) = (Circuits::default(), Timestamp(1_000_000_000));
        let (ada, bob) = (MemberId([1; 32]), MemberId([2; 32]));
        let at = |n: u64| start.plus_ms(n * 1_000);
        let taken = (1..=1_000).filter(|n| circuits.take(ada, at(*n), at(*n)));
        assert_eq!(taken.count(), CIRCUITS_AN_HOUR as usize);
        assert!(circuits.take(bob, at(1_000), at(1_000)));
        let later = start.plus_ms(HOUR_MS + 1_000);
        assert!(!circuits.take(ada, at(2), later), "that one again");
        assert!(circuits.take(ada, later, later));
        circuits.take(bob, later.plus_ms(9 * HOUR_MS), later.plus_ms(9 * HOUR_MS));
        assert_eq!(circuits.askers.len(), 1, "who has not asked for long is forgotten");
    }

    #[test]
    fn of_what_was_asked_while_one_was_away_the_last_is_heard_too() {
        let (mut circuits, now) = (Circuits::default(), Timestamp(1_000_000_000));
        let (ada, bob) = (MemberId([1; 32]), MemberId([2; 32]));
        for minutes in (0..60).rev() {
            let at = Timestamp(now.0 - minutes * 60_000);
            assert!(circuits.take(ada, at, now) && circuits.take(bob, at, now), "{minutes} ago");
        }
    }

    #[test]
    fn what_is_old_or_comes_again_is_not_heard() {
        let (mut circuits, now) = (Circuits::default(), Timestamp(1_000_000_000));
        let ada = MemberId([1; 32]);
        for at in [Timestamp(now.0 - HOUR_MS - 1), now.plus_ms(HOUR_MS + 1), Timestamp(0)] {
            assert!(!circuits.take(ada, at, now));
        }
        // A clock that is ahead.
        let ahead = now.plus_ms(HOUR_MS);
        assert!(circuits.take(ada, ahead, now));
        // The relay tells it once more, as long as that is not too old.
        for later in (0..=2 * HOUR_MS).step_by(60_000) {
            assert!(!circuits.take(ada, ahead, now.plus_ms(later)), "after {later} ms");
        }
    }

    #[test]
    fn what_was_asked_while_the_clock_was_far_ahead_deafens_nobody() {
        let mut world = World::with(2, true);
        let to = world.id(1);
        let now = world.now;
        for (at, is_heard) in [(2 * HOUR_MS, 0), (0, 1), (0, 2), (HOUR_MS / 2, 3), (0, 4)] {
            world.now = now.plus_ms(at);
            assert!(world.act(0, |group, cx| group.ask_circuit(cx, to, &circuit())).is_some());
            world.now = now;
            world.settle();
            assert_eq!(heard(&world, 1).len(), is_heard, "asked {at} ms ahead");
        }
    }

    #[test]
    fn who_is_no_member_is_neither_asked_nor_heard() {
        let mut world = World::with(2, true);
        let stranger = crate::endpoint::Endpoint::generate("eve", Vec::new(), &mut world.rng);
        let stranger = stranger.unwrap().member();
        assert!(world.act(0, |group, cx| group.ask_circuit(cx, stranger, &circuit())).is_none());
        let member = world.member(0);
        assert!(member.may_ask_circuit(&world.id(1)) && !member.may_ask_circuit(&stranger));
        let gone = world.id(1);
        world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
        assert!(world.act(0, |group, cx| group.ask_circuit(cx, gone, &circuit())).is_none());
        // Before it hears of that, who was removed asks.
        let to = world.id(0);
        assert!(world.act(1, |group, cx| group.ask_circuit(cx, to, &circuit())).is_some());
        world.settle();
        assert!(heard(&world, 0).is_empty());
    }
}
