//! Fair shares of the tables that others fill by what they say is lacking.
//!
//! > A table that is full loses the oldest of whoever fills most of it, never what others said. So no
//! > member can hide a gap behind many that don't exist.
//!
//! A gap is charged to who claims it: for a gap before a message or below a closing count that is the
//! chain's sender. docs/spec/consistency.md.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Event, GapCause, Group, Output, records::Key};
use crate::ids::{ChainId, MemberId};

/// Gaps, and messages that others name, remembered at once.
const GAPS: usize = 4096;
const NAMED: usize = 4096;
/// So many go at once.
const AT_ONCE: usize = 256;

/// What goes where `more` of `by` come: of whoever has most then, what is first in order.
fn to_drop<K: Copy, O: Ord>(
    entries: impl Iterator<Item = (K, MemberId, O)>,
    by: MemberId,
    more: usize,
) -> Vec<K> {
    let mut of: BTreeMap<MemberId, Vec<(O, K)>> = BTreeMap::new();
    for (key, charged, order) in entries {
        of.entry(charged).or_default().push((order, key));
    }
    let count =
        |(who, theirs): &(MemberId, Vec<(O, K)>)| theirs.len() + if *who == by { more } else { 0 };
    let Some((_, mut most)) = of.into_iter().max_by_key(count) else { return Vec::new() };
    most.sort_by(|(a, _), (b, _)| a.cmp(b));
    most.into_iter().take(AT_ONCE).map(|(_, key)| key).collect()
}

impl Group {
    /// Makes room for so many more gaps in a chain, where there is none; answers for how many there is.
    pub(super) fn room_for_gaps(&mut self, chain: &ChainId, cause: GapCause, more: usize) -> usize {
        if self.gaps.len() + more > GAPS
            && let Some(by) = self.charged(chain, cause)
        {
            let charged = self.gaps.iter().filter_map(|(key, gap)| {
                let order = (!gap.given_up, gap.lacking.since);
                Some((*key, self.charged(&key.0, gap.cause)?, order))
            });
            for (chain, index) in to_drop(charged, by, more) {
                let told = self
                    .gaps
                    .get(&(chain, index))
                    .is_some_and(|it| it.lacking.told && !it.given_up);
                if let Some(entry) = self.receiving.chains.get(&chain).filter(|_| told) {
                    let from = entry.head.head().sender;
                    self.out.push_back(Output::Event(Event::Undeliverable { from, chain, index }));
                }
                self.drop_gap(chain, index);
            }
        }
        GAPS.saturating_sub(self.gaps.len())
    }

    /// Whose word a gap is.
    fn charged(&self, chain: &ChainId, cause: GapCause) -> Option<MemberId> {
        match cause {
            GapCause::Named(by) | GapCause::Read(by) => Some(by),
            GapCause::Skipped | GapCause::Closed => {
                self.receiving.chains.get(chain).map(|entry| entry.head.head().sender)
            }
        }
    }

    /// Makes room for one more message that somebody names, where there is none.
    pub(super) fn room_for_named(&mut self, by: MemberId) {
        if self.witness.named.len() < NAMED {
            return;
        }
        let charged = self.witness.named.iter();
        let charged = charged.filter_map(|(key, names)| Some((*key, names.first()?.by, ())));
        for (chain, index) in to_drop(charged, by, 1) {
            self.witness.named.remove(&(chain, index));
            self.dirty.mark(Key::Gaps(chain));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn whoever_has_most_loses_its_oldest_and_nobody_else_loses_anything() {
        let [loud, quiet] = [MemberId([1; 32]), MemberId([2; 32])];
        let of = |who, count: usize, first: usize| (0..count).map(move |n| (first + n, who, n));
        let entries = || of(loud, 300, 0).chain(of(quiet, 290, 1_000));
        assert_eq!(to_drop(entries(), loud, 1), (0..256).collect::<Vec<_>>());
        assert_eq!(to_drop(entries(), quiet, 1), (0..256).collect::<Vec<_>>());
        // Who would have most with what comes pays for it itself.
        assert_eq!(to_drop(entries(), quiet, 11)[0], 1_000);
        assert_eq!(to_drop(of(loud, 2, 0), quiet, 9), vec![0, 1]);
    }
}
