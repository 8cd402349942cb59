//! What is missing of one writer is told at once, and given up at once.
//!
//! > A burst of which every other message is missing shows that one by one. Each is asked for when it is due; told is
//! > the sum.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{
    Group,
    gaps::{GIVE_UP_MS, Missing, PATIENCE_MS},
};
use crate::ids::{ChainId, MemberId, Timestamp};

/// What is found to be missing this long after the first of it is told with it, in milliseconds.
const TOGETHER_MS: u64 = 10_000;

/// Of whom something is told now.
pub(super) struct Gathered {
    told: BTreeSet<MemberId>,
    /// Of whom some is given up, and since when the last of that is lacking.
    over: BTreeMap<MemberId, Timestamp>,
}

impl Group {
    /// Of whom what is lacking is told now, and given up.
    pub(super) fn gathered(&self, now: Timestamp) -> Gathered {
        // Of each writer, whether more may be found any moment, and for how long the first has waited.
        let mut untold: BTreeMap<MemberId, (bool, u64)> = BTreeMap::new();
        let mut over: BTreeMap<MemberId, Timestamp> = BTreeMap::new();
        for ((chain, _), gap) in &self.gaps {
            let Some(from) = self.writer(chain) else { continue };
            let since = gap.lacking.since;
            let age = now.ms_since(since);
            if !gap.lacking.told {
                let of = untold.entry(from).or_default();
                *of = (of.0 || age < PATIENCE_MS, of.1.max(age));
            } else if !gap.given_up && age >= GIVE_UP_MS && gap.lacking.is_due(now) {
                over.entry(from).and_modify(|last| *last = since.max(*last)).or_insert(since);
            }
        }
        let is_told = |(_, (more, age)): &(MemberId, (bool, u64))| !more || *age >= TOGETHER_MS;
        Gathered { told: untold.into_iter().filter(is_told).map(|(from, _)| from).collect(), over }
    }

    pub(super) fn writer(&self, chain: &ChainId) -> Option<MemberId> {
        Some(self.receiving.chains.get(chain)?.head.head().sender)
    }
}

impl Gathered {
    /// Whether this is told now.
    pub(super) fn tells(&self, from: &MemberId, gap: &Missing, now: Timestamp) -> bool {
        let is_late = now.ms_since(gap.lacking.since) >= PATIENCE_MS;
        !gap.lacking.told && is_late && self.told.contains(from)
    }

    /// Whether this is given up now.
    pub(super) fn ends(&self, from: &MemberId, gap: &Missing) -> bool {
        let last = self.over.get(from).filter(|_| gap.lacking.told && !gap.given_up);
        last.is_some_and(|last| gap.lacking.since <= last.plus_ms(TOGETHER_MS))
    }
}
