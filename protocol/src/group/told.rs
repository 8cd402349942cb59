//! What one neighbour was sent because its summaries lacked it.
//!
//! > What a summary lacks is sent at once, and again after 5, 10, 20 … minutes, at most six hours
//! > apart, as long as it is still lacking.
//!
//! It may never be taken up: a bundle with a slot too many, whose page nobody accepts; a chain of
//! which a neighbour does not tell, because it was not sealed to both; messages that open for some
//! alone. Whoever lacks something and knows its name asks for it besides. docs/spec/sync.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::ids::{ChainId, Timestamp};

/// The first pause and the longest, in milliseconds.
const PAUSE_MS: u64 = 5 * 60 * 1000 - 10_000;
const LONGEST_MS: u64 = 6 * 60 * 60 * 1000;

/// What a neighbour was sent of each chain that it lacks something of.
#[derive(Default)]
pub(super) struct Told {
    chains: BTreeMap<ChainId, Sent>,
    /// How many chains its last summary named.
    named: usize,
}

struct Sent {
    bundle: bool,
    indexes: BTreeSet<u32>,
    due: Timestamp,
    pause: u64,
}

impl Told {
    /// A summary that names so many chains lacks something of these and of no others.
    pub fn hear(&mut self, named: usize, lacks: impl Fn(&ChainId) -> bool) {
        if named < self.named {
            // It lost what it had.
            self.chains.clear();
        }
        self.named = named;
        self.chains.retain(|chain, _| lacks(chain));
    }

    /// Those of these messages that are to be sent now.
    pub fn due(&self, chain: &ChainId, mut indexes: Vec<u32>, now: Timestamp) -> Vec<u32> {
        if let Some(sent) = self.chains.get(chain).filter(|sent| !sent.is_due(now)) {
            indexes.retain(|index| !sent.indexes.contains(index));
        }
        indexes
    }

    /// Whether a bundle, which is lacking, is sent now.
    pub fn take_bundle(&mut self, chain: ChainId, now: Timestamp) -> bool {
        let sent = self.chains.entry(chain).or_insert_with(|| Sent::new(now));
        let due = !sent.bundle || sent.is_due(now);
        if due {
            sent.bundle = true;
            sent.wait(now);
        }
        due
    }

    /// These messages are sent now.
    pub fn send(&mut self, chain: ChainId, indexes: &[u32], now: Timestamp) {
        let sent = self.chains.entry(chain).or_insert_with(|| Sent::new(now));
        sent.indexes.extend(indexes);
        sent.wait(now);
    }
}

impl Sent {
    fn new(now: Timestamp) -> Self {
        Self { bundle: false, indexes: BTreeSet::new(), due: now, pause: PAUSE_MS }
    }

    /// A clock that was set back silences nothing for long.
    fn is_due(&self, now: Timestamp) -> bool {
        self.due <= now || now.plus_ms(self.pause) < self.due
    }

    /// What is sent in one go counts once.
    fn wait(&mut self, now: Timestamp) {
        if self.is_due(now) {
            self.due = now.plus_ms(self.pause);
            self.pause = LONGEST_MS.min(2 * self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    const CHAIN: ChainId = ChainId([1; 16]);
    const NOW: Timestamp = Timestamp(10_000_000_000);

    #[test]
    fn what_is_lacking_for_ever_is_sent_ever_more_rarely() {
        let (mut told, mut sent) = (Told::default(), vec![]);
        for round in 0..600_u64 {
            let now = NOW.plus_ms(round * 5 * 60 * 1000);
            told.hear(1, |_| true);
            let messages = told.due(&CHAIN, vec![0, 7], now);
            if told.take_bundle(CHAIN, now) {
                assert_eq!(messages, [0, 7]);
                told.send(CHAIN, &messages, now.plus_ms(100));
                sent.push(round);
            } else {
                assert_eq!(messages, []);
            }
        }
        assert_eq!(sent[..6], [0, 1, 3, 7, 15, 31]);
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] <= 72), "at most six hours apart");
    }

    #[test]
    fn what_is_new_and_what_was_lost_is_sent_at_once() {
        let mut told = Told::default();
        told.hear(2, |_| true);
        told.send(CHAIN, &[0, 7], NOW);
        assert_eq!(told.due(&CHAIN, vec![0, 7, 8], NOW), [8]);
        assert!(told.take_bundle(CHAIN, NOW));
        told.hear(1, |_| true);
        assert_eq!(told.due(&CHAIN, vec![0, 7], NOW), [0, 7]);
        told.send(CHAIN, &[0, 7], NOW);
        told.hear(1, |_| false);
        assert_eq!(told.due(&CHAIN, vec![0], NOW), [0], "it had it in between");
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing() {
        let mut told = Told::default();
        assert!(told.take_bundle(CHAIN, NOW));
        assert!(!told.take_bundle(CHAIN, NOW));
        assert!(told.take_bundle(CHAIN, Timestamp(1_000_000)));
    }
}
