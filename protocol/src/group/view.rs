//! What holds a member's view of what was said together: evidence, notices, gaps, its own chains.

use alloc::{collections::BTreeSet, vec::Vec};

use rand_core::CryptoRng;

use super::{ChainState, Cx, Group, Timer, records::Key, witness::Witness};
use crate::ids::{ChainId, Timestamp};

impl Group {
    /// Does what is due of doubts, notices and own chains.
    pub(super) fn tend_view<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        self.look_into_doubts(cx);
        self.tell_findings(cx);
        self.tend_own(cx);
        let due = [self.witness.deadline(), self.notices.deadline(), self.own.deadline()];
        if let Some(next) = due.into_iter().flatten().min() {
            self.set_timer(Timer::View, next);
        }
    }

    /// Sets what is due after a load.
    pub(super) fn take_stock_of_view(&mut self, now: Timestamp) {
        let chains: Vec<ChainId> = self.receiving.chains.keys().copied().collect();
        for chain in chains {
            self.note_known(now, chain);
        }
        let named: BTreeSet<ChainId> = self.witness.named.keys().map(|(chain, _)| *chain).collect();
        let unknown = named.into_iter().filter(|it| !self.receiving.chains.contains_key(it));
        unknown.collect::<Vec<_>>().into_iter().for_each(|chain| self.want_bundle(now, chain));
        if self.own.is_behind() {
            self.set_timer(Timer::View, now);
        }
    }

    /// A chain was taken up: what was named of it before is a gap, or was never for this node.
    pub(super) fn take_up_named<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, chain: ChainId) {
        self.compare_chain(cx, chain);
        self.note_known(cx.now, chain);
        let entry = self.receiving.chains.get(&chain);
        if entry.is_none_or(|entry| !matches!(entry.state, ChainState::Open(_))) {
            self.forget_named(&chain);
        }
    }

    pub(super) fn forget_named(&mut self, chain: &ChainId) {
        let before = self.witness.named.len();
        self.witness.named.retain(|(of, _), _| of != chain);
        if self.witness.named.len() < before {
            self.dirty.mark(Key::Gaps(*chain));
        }
    }

    /// A chain left the table.
    pub(super) fn forget_chain(&mut self, chain: ChainId, is_own: bool) {
        self.forget_evidence(&chain);
        if is_own {
            self.forget_own(chain);
        }
    }

    /// No member any more: only the notices stay.
    pub(super) fn close_view(&mut self) {
        let named = self.witness.named.keys().map(|(chain, _)| *chain);
        let chains: BTreeSet<ChainId> =
            self.gaps.keys().map(|(chain, _)| *chain).chain(named).collect();
        chains.into_iter().for_each(|chain| self.dirty.mark(Key::Gaps(chain)));
        self.gaps.clear();
        self.mark_evidence();
        self.witness = Witness::default();
        self.own = core::mem::take(&mut self.own).of_another_membership();
        self.dirty.mark(Key::Own);
    }

    /// The records of all of it.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn mark_view(&mut self) {
        self.mark_evidence();
        self.mark_notices();
        self.dirty.mark(Key::Own);
        let named = self.witness.named.keys().chain(self.gaps.keys()).map(|(chain, _)| *chain);
        let chains: BTreeSet<ChainId> = named.collect();
        chains.into_iter().for_each(|chain| self.dirty.mark(Key::Gaps(chain)));
    }
}
