//! What is watched while a world goes on: the first thing that does not hold, how often each
//! invariant was put to the test, and how often each kind of thing happened.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use super::{
    invariant::{Failure, Invariant},
    rules::Rule,
};
use crate::ids::{ChainId, MessageId};

/// How often what happened.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// How often each invariant was put to the test.
    pub checked: BTreeMap<Invariant, u64>,
    /// How often each kind of thing happened.
    pub happened: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (invariant, times) in &other.checked {
            *self.checked.entry(*invariant).or_default() += times;
        }
        for (what, times) in &other.happened {
            *self.happened.entry(what).or_default() += times;
        }
    }

    /// What never happened, of the invariants and of [`EXPECTED`].
    #[must_use]
    pub fn lacking(&self) -> Vec<String> {
        let unchecked = Invariant::ALL.iter().filter(|it| !self.checked.contains_key(it));
        let unseen = EXPECTED.iter().filter(|it| !self.happened.contains_key(*it));
        unchecked
            .map(|it| alloc::format!("{it}"))
            .chain(unseen.map(|it| String::from(*it)))
            .collect()
    }
}

/// What has to happen in 2,000 seeds: a check that is never exercised is a defect.
pub const EXPECTED: &[&str] = &[
    "messages",
    "messages read",
    "chains",
    "removals",
    "void removals",
    "leaves",
    "joins",
    "returns",
    "welcomes to who is in",
    "promotions",
    "demotions",
    "refreshes",
    "refused verbs",
    "topics at once",
    "stale views",
    "after the cut",
    "gaps",
    "gaps healed",
    "frames lost",
    "frames repeated",
    "frames swapped",
    "entries hidden",
    "entries delayed",
    "entries repeated",
    "relay forgot",
    "partitions",
    "restarts",
    "crashes before commit",
    "crashes after commit",
    "snapshots restored",
    "clones",
    "clocks set back",
    "clocks set ahead",
    "slots failed",
    "keys missing",
    "ops forked",
    "forks seen",
    "ops back-dated",
    "messages equivocated",
    "bundles with other seeds",
    "bundles with a hidden slot",
    "bundles withheld",
    "replays",
    "garbage",
    "floods",
    "old databases tried",
    "read messages in reach of first contacts",
];

/// What a world is watched by.
#[derive(Default)]
pub(crate) struct Watch {
    /// In which of their eras everybody was when a chain was made, of whom its sender knew a card.
    pub eras: BTreeMap<ChainId, Vec<Option<u32>>>,
    /// The rule that is switched off.
    pub broken_rule: Option<Rule>,
    /// The first failure.
    pub failure: Option<Failure>,
    pub counts: Counts,
    /// What each key and salt encrypted, by chain and index.
    pub salts: BTreeMap<(ChainId, u32, [u8; 16]), MessageId>,
    /// Each chain's key at each step, whoever holds it.
    pub keys: BTreeMap<(ChainId, u32), [u8; 32]>,
}

impl Watch {
    /// Whether this world keeps a rule.
    pub fn keeps(&self, rule: Rule) -> bool {
        self.broken_rule != Some(rule)
    }

    pub fn happened(&mut self, what: &'static str) {
        self.happened_times(what, 1);
    }

    pub fn happened_times(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.counts.happened.entry(what).or_default() += times;
        }
    }

    /// Puts an invariant to the test.
    pub fn check(&mut self, invariant: Invariant, holds: bool, what: impl FnOnce() -> String) {
        *self.counts.checked.entry(invariant).or_default() += 1;
        if !holds && self.failure.is_none() {
            self.failure = Some(Failure { invariant, what: what() });
        }
    }
}
