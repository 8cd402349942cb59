//! Sets of secrets by name, and what follows from them and what is on the wire (Dolev, Yao 1983).
//!
//! ```text
//! slot of c to r, first contact   prekey                          ⊢ seed of c, pair(c, r) from 0 on
//! slot of c to r, ratchet         prekey, step n of pair(o, r)    ⊢ seed of c
//! seed of c                       ⊢ chain c from 0 on; the topic in c's box
//! ratchet from i on               ⊢ each of its keys from i on, and none before
//! ```
//!
//! ML-KEM is left out: whoever has the prekey is taken to have that key as well, so what is not derived
//! here is not derived with it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};

use crate::ids::{ChainId, MemberId};

/// A one-way ratchet: a chain, or the steps of a pair by the chain whose first contact began them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::sim) enum Ratchet {
    Chain(ChainId),
    Pair(ChainId, MemberId),
    /// Those of an epoch that nobody was heard to begin.
    Unheard(MemberId, u16),
}

/// The keys of a ratchet that somebody has.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Steps {
    /// From this one on, all.
    from: Option<u32>,
    /// Single ones.
    single: BTreeSet<u32>,
}

/// The secrets that somebody has.
#[derive(Clone, Default)]
pub(in crate::sim) struct Knowledge {
    prekeys: BTreeSet<[u8; 32]>,
    topics: BTreeSet<[u8; 32]>,
    ratchets: BTreeMap<Ratchet, Steps>,
}

/// How a slot is sealed beside its prekey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sim) enum How {
    /// Under nothing else: it begins an epoch of the pair.
    First { epoch: u16 },
    /// Under a step of the epoch that this chain's first contact began.
    Ratchet { origin: Option<ChainId>, step: u16 },
}

/// A slot on the wire.
pub(in crate::sim) struct Slot {
    pub chain: ChainId,
    pub from: MemberId,
    pub to: MemberId,
    /// The public half of the prekey that it is sealed to.
    pub prekey: Option<[u8; 32]>,
    pub how: How,
    /// What the chain's bundle hands over to whoever has its seed.
    pub topic: Option<[u8; 32]>,
    /// The newest prekey that its sender had been told, where it is honest.
    pub newest: Option<[u8; 32]>,
}

impl Knowledge {
    pub fn add_prekey(&mut self, public: [u8; 32]) {
        self.prekeys.insert(public);
    }

    pub fn add_topic(&mut self, commit: [u8; 32]) {
        self.topics.insert(commit);
    }

    /// One key of a ratchet.
    pub fn add_single(&mut self, ratchet: Ratchet, at: u32) {
        self.ratchets.entry(ratchet).or_default().single.insert(at);
    }

    /// A ratchet's key from which all later ones follow; answers whether anything is new.
    pub fn add_from(&mut self, ratchet: Ratchet, at: u32) -> bool {
        let steps = self.ratchets.entry(ratchet).or_default();
        let new = steps.from.is_none_or(|from| at < from);
        if new {
            steps.from = Some(at);
        }
        new
    }

    pub fn has_prekey(&self, public: &[u8; 32]) -> bool {
        self.prekeys.contains(public)
    }

    /// Whether a ratchet's key follows.
    pub fn has(&self, ratchet: Ratchet, at: u32) -> bool {
        let steps = self.ratchets.get(&ratchet);
        steps.is_some_and(|it| it.from.is_some_and(|from| from <= at) || it.single.contains(&at))
    }

    /// The message key at an index of a chain.
    pub fn opens(&self, chain: ChainId, index: u32) -> bool {
        self.has(Ratchet::Chain(chain), index)
    }

    /// As if no step of a pair were forgotten.
    pub fn rewind(&mut self) {
        let pairs = self.ratchets.iter_mut().filter(|(it, _)| matches!(it, Ratchet::Pair(..)));
        pairs.for_each(|(_, steps)| steps.from = steps.from.and(Some(0)));
    }

    /// Without the steps of these pairs.
    pub fn forget(&mut self, pair: impl Fn(&ChainId) -> bool) {
        let kept = |ratchet: &Ratchet| !matches!(ratchet, Ratchet::Pair(origin, _) if pair(origin));
        self.ratchets.retain(|ratchet, _| kept(ratchet));
    }

    /// What this slot gives; answers whether anything is new.
    pub fn take(&mut self, slot: &Slot) -> bool {
        if !slot.prekey.is_some_and(|prekey| self.prekeys.contains(&prekey)) {
            return false;
        }
        let mut new = false;
        match slot.how {
            How::First { .. } => new |= self.add_from(Ratchet::Pair(slot.chain, slot.to), 0),
            How::Ratchet { origin, step } => {
                let pair = origin.map(|origin| Ratchet::Pair(origin, slot.to));
                if !pair.is_some_and(|pair| self.has(pair, step.into())) {
                    return false;
                }
            }
        }
        new |= slot.topic.is_some_and(|topic| self.topics.insert(topic));
        self.add_from(Ratchet::Chain(slot.chain), 0) || new
    }

    /// All that follows with these slots.
    pub fn close<'a>(&mut self, slots: impl Iterator<Item = &'a Slot> + Clone) {
        let mut new = true;
        while core::mem::take(&mut new) {
            slots.clone().for_each(|slot| new |= self.take(slot));
        }
    }

    /// What of `held` does not follow from this.
    pub fn lacks(&self, held: &Self) -> Option<String> {
        let topic = held.topics.difference(&self.topics).next();
        let ratchet = held.ratchets.iter().find_map(|(ratchet, steps)| {
            let all = steps.from.iter().chain(&steps.single);
            all.copied().find(|at| !self.has(*ratchet, *at)).map(|at| (ratchet, at))
        });
        match (topic, ratchet) {
            (Some(topic), _) => Some(format!("topic {:02x?}", &topic[..4])),
            (None, Some((ratchet, at))) => Some(format!("{ratchet:?} at {at}")),
            (None, None) => None,
        }
    }

    /// Whether a topic is what [`Self::lacks`] finds.
    pub fn lacks_topic(&self, held: &Self) -> bool {
        !held.topics.is_subset(&self.topics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: MemberId = MemberId([1; 32]);
    const BEN: MemberId = MemberId([2; 32]);

    fn chain(n: u8) -> ChainId {
        ChainId([n; 16])
    }

    fn slot(n: u8, prekey: u8, how: How) -> Slot {
        let prekey = Some([prekey; 32]);
        Slot {
            chain: chain(n),
            from: ANA,
            to: BEN,
            prekey,
            how,
            topic: Some([n; 32]),
            newest: None,
        }
    }

    fn wire() -> [Slot; 3] {
        let ratchet = |step| How::Ratchet { origin: Some(chain(1)), step };
        [slot(1, 7, How::First { epoch: 1 }), slot(2, 7, ratchet(0)), slot(3, 8, ratchet(1))]
    }

    fn derived(knows: Knowledge) -> [bool; 3] {
        let (mut knows, wire) = (knows, wire());
        knows.close(wire.iter().rev());
        [1, 2, 3].map(|n| {
            assert_eq!(knows.opens(chain(n), 0), knows.topics.contains(&[n; 32]));
            knows.opens(chain(n), 9)
        })
    }

    #[test]
    fn a_first_contact_gives_its_epoch_as_far_as_the_prekeys_go() {
        let mut knows = Knowledge::default();
        knows.add_prekey([7; 32]);
        assert_eq!(derived(knows.clone()), [true, true, false]);
        knows.add_prekey([8; 32]);
        assert_eq!(derived(knows), [true, true, true]);
    }

    #[test]
    fn a_step_gives_those_that_follow_and_none_before() {
        let mut knows = Knowledge::default();
        knows.add_prekey([8; 32]);
        assert_eq!(derived(knows.clone()), [false; 3]);
        knows.add_from(Ratchet::Pair(chain(1), BEN), 2);
        assert_eq!(derived(knows.clone()), [false; 3]);
        knows.add_from(Ratchet::Pair(chain(1), BEN), 1);
        assert_eq!(derived(knows), [false, false, true]);
    }

    #[test]
    fn a_chain_key_gives_no_earlier_message_and_no_topic() {
        let mut knows = Knowledge::default();
        knows.add_from(Ratchet::Chain(chain(1)), 4);
        knows.add_single(Ratchet::Chain(chain(1)), 2);
        let opened = [1, 2, 3, 4, 5].map(|index| knows.opens(chain(1), index));
        assert_eq!(opened, [false, true, false, true, true]);
        assert!(knows.topics.is_empty());
    }

    #[test]
    fn what_is_held_must_follow() {
        let (mut knows, mut held) = (Knowledge::default(), Knowledge::default());
        held.add_from(Ratchet::Chain(chain(1)), 4);
        assert!(knows.lacks(&held).is_some());
        knows.add_from(Ratchet::Chain(chain(1)), 5);
        assert!(knows.lacks(&held).is_some());
        knows.add_from(Ratchet::Chain(chain(1)), 0);
        assert!(knows.lacks(&held).is_none());
        held.add_topic([1; 32]);
        assert!(knows.lacks_topic(&held));
    }
}
