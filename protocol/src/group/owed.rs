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

impl Group {
    /// Whether the messages of an own chain are due to a member to whom it was sealed: not to one whose
    /// membership of then has ended. Of a chain that is forgotten they are due to all who are members.
    #[must_use]
    pub fn is_owed(&self, member: &MemberId, chain: &ChainId) -> bool {
        if self.receiving.chains.contains_key(chain) {
            self.may_have(member, chain)
        } else {
            self.is_member(member)
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

    fn own_newest(&self) -> BTreeSet<ChainId> {
        let chains = self.receiving.chains.iter();
        let own = chains.filter(|(_, entry)| matches!(entry.state, ChainState::Mine { .. }));
        let mut own: Vec<(Timestamp, ChainId)> = own.map(|(id, entry)| (entry.at, *id)).collect();
        own.sort_unstable();
        own.into_iter().rev().take(NEWEST).map(|(_, chain)| chain).collect()
    }
}
