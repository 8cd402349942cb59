//! What all clients count together, and what each has seen.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::relay_log::Refusal;

use super::{histogram::Histogram, plan::Plan};

/// Counted while the load goes on.
pub(super) struct Board {
    /// When the tool began; what entries say of their time is since then.
    pub(super) base: Instant,
    /// From when an append was due to its acknowledgement.
    pub(super) ack: Histogram,
    /// From then to when a follower has it.
    pub(super) delivery: Histogram,
    pub(super) acknowledged: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Entries that a follower was told twice.
    pub(super) repeated: AtomicU64,
    /// Entries that are none of ours, or not as we wrote them.
    pub(super) strange: AtomicU64,
    /// Clients whose connection has ended.
    pub(super) cut: AtomicU64,
    /// How many appends each client has asked for.
    pub(super) turns: Vec<AtomicU32>,
    /// Why the first append was refused that was.
    pub(super) refusal: OnceLock<Refusal>,
}

impl Board {
    pub(super) fn new(clients: u32) -> Self {
        let none = || AtomicU64::new(0);
        Self {
            base: Instant::now(),
            ack: Histogram::default(),
            delivery: Histogram::default(),
            acknowledged: none(),
            delivered: none(),
            refused: none(),
            repeated: none(),
            strange: none(),
            cut: none(),
            turns: (0..clients).map(|_| AtomicU32::new(0)).collect(),
            refusal: OnceLock::new(),
        }
    }

    /// A moment as entries tell it.
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The time since a moment that an entry tells.
    pub(super) fn since(&self, begun: u64, now: Instant) -> Duration {
        Duration::from_nanos(self.nanos(now).saturating_sub(begun))
    }

    pub(super) fn asked(&self) -> u64 {
        self.turns.iter().map(|it| u64::from(it.load(Ordering::Relaxed))).sum()
    }

    pub(super) fn is_all_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed) >= self.turns.len() as u64
    }
}

pub(super) fn add(to: &AtomicU64) {
    to.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn read(from: &AtomicU64) -> u64 {
    from.load(Ordering::Relaxed)
}

/// What one client has seen when it is over.
#[derive(Default)]
pub(super) struct Seen {
    /// Which of its appends were acknowledged, by log.
    pub(super) acknowledged: BTreeMap<u32, Bits>,
    /// Which entries it was told, by log and writer.
    pub(super) delivered: BTreeMap<(u32, u32), Bits>,
    /// Whether its connection ended before.
    pub(super) is_cut: bool,
}

/// Acknowledged entries that a follower was not told.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Missing {
    /// Whose connection stood all the time: lost.
    pub(super) lost: u64,
    /// Whose connection ended: it would ask for them on its next.
    pub(super) cut_off: u64,
}

/// Holds what each follower was told against what was acknowledged to the writers.
pub(super) fn missing(plan: &Plan, seen: &[Seen]) -> Missing {
    let mut writers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for client in 0..plan.clients() {
        for log in plan.written(client) {
            writers.entry(*log).or_default().push(client);
        }
    }
    let mut all = Missing::default();
    for (client, follower) in (0..).zip(seen) {
        let count = if follower.is_cut { &mut all.cut_off } else { &mut all.lost };
        for log in plan.followed(client) {
            for writer in writers.get(log).into_iter().flatten() {
                let acknowledged = seen.get(*writer as usize);
                let acknowledged = acknowledged.and_then(|it| it.acknowledged.get(log));
                let told = follower.delivered.get(&(*log, *writer));
                *count += acknowledged.map_or(0, |it| it.not_in(told));
            }
        }
    }
    all
}

/// A set of numbers that count up from 0: a bit for each.
#[derive(Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Answers whether it was not there.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let is_new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        is_new
    }

    /// How many are here and not there.
    fn not_in(&self, other: Option<&Self>) -> u64 {
        let theirs = |at| other.and_then(|it| it.0.get(at)).copied().unwrap_or_default();
        let words = self.0.iter().enumerate();
        words.map(|(at, ours)| u64::from((ours & !theirs(at)).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(numbers: &[u32]) -> Bits {
        let mut bits = Bits::default();
        assert!(numbers.iter().all(|number| bits.insert(*number)));
        bits
    }

    #[test]
    fn a_number_is_new_once() {
        let mut bits = bits(&[0, 63, 64, 1000]);
        assert!(!bits.insert(64) && bits.insert(65));
        assert_eq!(bits.not_in(None), 5);
        assert_eq!(bits.not_in(Some(&self::bits(&[65, 1000]))), 3);
    }

    #[test]
    fn what_was_acknowledged_and_not_told_is_missing() {
        // Two writers of one log, both follow it; the second one's connection ended.
        let plan = Plan::new(2, 1, 2, 0, 512);
        let seen = |acknowledged: &[u32], told: [&[u32]; 2], is_cut| Seen {
            acknowledged: [(0, bits(acknowledged))].into(),
            delivered: [((0, 0), bits(told[0])), ((0, 1), bits(told[1]))].into(),
            is_cut,
        };
        let one = seen(&[0, 1, 2], [&[0, 1, 2], &[0]], false);
        let two = seen(&[0, 1], [&[0], &[0, 1]], true);
        assert_eq!(missing(&plan, &[one, two]), Missing { lost: 1, cut_off: 2 });
        let whole = || seen(&[0], [&[0], &[0, 1]], false);
        assert_eq!(missing(&plan, &[whole(), whole()]), Missing::default());
    }
}
