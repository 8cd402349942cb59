//! What members have of this node's own messages, beside what their receipts say, and to whom nothing of
//! them is due any more (docs/spec/consistency.md, *Delivery and view*).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{ChainState, Event, Group, Output, wire::ChainSummary};
use crate::{
    ids::{ChainId, MemberId, Timestamp},
    limits::CHAIN_MESSAGES,
};

/// Own chains, the newest, of which a neighbour's summary is believed. A member may have let go of the
/// keys of an older one before it had read all of it, and then names nothing as missing.
const NEWEST: usize = 64;

/// What is due of an own chain to a member to whom it was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Its messages.
    Owed,
    /// Nothing: the member's membership of then has ended.
    Ended,
    /// Nothing more is heard of it: this node's own membership of then has ended, or the chain is not
    /// known here any more. Whoever was let in anew begins without those of before.
    Unheard,
}

impl Group {
    /// What is due of an own chain to a member to whom it was sealed.
    #[must_use]
    pub fn due(&self, member: &MemberId, chain: &ChainId) -> Due {
        let known = self.receiving.chains.contains_key(chain);
        let ended = if known { !self.may_have(member, chain) } else { !self.is_member(member) };
        match ended {
            true => Due::Ended,
            false if self.may_have(&self.me, chain) => Due::Owed,
            false => Due::Unheard,
        }
    }

    /// Since when somebody who was a member is none, by the clock of whoever ended it; `None` for a
    /// member.
    #[must_use]
    pub fn out_since(&self, member: &MemberId) -> Option<Timestamp> {
        let ended = self.ops.ended_by(member).into_iter();
        ended.filter_map(|id| self.ops.op(&id)).map(|op| op.body().at).min()
    }

    /// A neighbour's summary names own chains: a receipt may have been lost on its way.
    pub(super) fn hear_had(&mut self, from: MemberId, chains: &[ChainSummary]) {
        let own = |chain: &ChainId| match self.receiving.chains.get(chain).map(|it| &it.state) {
            Some(ChainState::Mine { count }) => Some(*count),
            _ => None,
        };
        // Once each, whatever a page says twice.
        let told: BTreeMap<ChainId, (&ChainSummary, u32)> = chains
            .iter()
            .filter_map(|theirs| Some((theirs.chain, (theirs, own(&theirs.chain)?))))
            .collect();
        if told.is_empty() {
            return;
        }
        let newest = self.own_newest();
        for (chain, (theirs, count)) in told {
            // All of a chain and nothing missing is what it says of one that it can't open, too.
            let opened = theirs.next < CHAIN_MESSAGES || !theirs.missing.is_empty();
            if !opened || theirs.next > count || !newest.contains(&chain) {
                continue;
            }
            let missing: BTreeSet<u32> = theirs.missing.iter().copied().collect();
            let indexes: Vec<u32> =
                (0..theirs.next).filter(|index| !missing.contains(index)).collect();
            if indexes.is_empty() || !self.may_have(&from, &chain) {
                continue;
            }
            let Some(peer) = self.peers.get_mut(&from) else { return };
            peer.had.retain(|chain, _| newest.contains(chain));
            let had = peer.had.entry(chain).or_default();
            // Less than before is no news: who says more and less in turns would have all told each time.
            if *had < indexes.len() {
                *had = indexes.len();
                self.out.push_back(Output::Event(Event::Delivered { to: from, chain, indexes }));
            }
        }
    }

    /// The newest of this node's own chains.
    pub(super) fn own_newest(&self) -> BTreeSet<ChainId> {
        let chains = self.receiving.chains.iter();
        let own = chains.filter(|(_, entry)| matches!(entry.state, ChainState::Mine { .. }));
        let mut own: Vec<(Timestamp, ChainId)> = own.map(|(id, entry)| (entry.at, *id)).collect();
        own.sort_unstable();
        own.into_iter().rev().take(NEWEST).map(|(_, chain)| chain).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::{
        super::{wire::Indexes, world::World},
        *,
    };

    /// Four messages of person 0, which person 1 has.
    fn four() -> (World, ChainId, MemberId) {
        let mut world = World::with(2, false);
        world.link(0, 1);
        world.settle();
        let said = ["one", "two", "three", "four"].map(|text| world.say(0, text));
        world.settle();
        let from = world.id(1);
        (world, said[0].chain, from)
    }

    /// What person 0 is told by a step to be with members.
    fn told(world: &mut World, step: impl FnOnce(&mut Group)) -> Vec<Vec<u32>> {
        world.people[0].events.clear();
        world.act(0, |group, _| step(group));
        let events = world.people[0].events.iter();
        let told = events.filter_map(|event| match event {
            Event::Delivered { indexes, .. } => Some(indexes.clone()),
            _ => None,
        });
        told.collect()
    }

    #[test]
    fn what_a_summary_repeats_or_takes_back_is_no_news() {
        let (mut world, chain, from) = four();
        let page = |next, missing: &[u32]| {
            let one = || ChainSummary { chain, next, missing: missing.to_vec() };
            vec![one(), one()]
        };
        let mut hear = |page: &[ChainSummary]| told(&mut world, |group| group.hear_had(from, page));
        assert_eq!(hear(&page(2, &[])), [[0, 1]], "once, whatever it says twice");
        assert!(hear(&page(2, &[])).is_empty(), "it was known");
        assert!(hear(&page(4, &[0, 1, 2])).is_empty(), "less than before");
        assert!(hear(&page(2, &[])).is_empty(), "and no more than before");
        assert_eq!(hear(&page(4, &[])), [[0, 1, 2, 3]]);
    }

    #[test]
    fn what_a_receipt_repeats_is_told_once() {
        let (mut world, chain, from) = four();
        let now = world.now;
        let receipt = vec![Indexes { chain, indexes: vec![1, 0, 1, 9, 1, 0] }];
        let told = told(&mut world, |group| group.take_receipts(now, from, receipt));
        assert_eq!(told, [[0, 1]]);
    }
}
