//! What the node of a hostile member can say, for the simulator.
//!
//! > None of it is in the code that ships, and none of it breaks a rule for the one who says it:
//! > what is signed here anybody can sign with keys of its own.

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{
    Cx, Group,
    wire::{BundleWire, ChainSummary, Frame, Statement, Summary, Want},
};
use crate::{
    bundle::{self, Recipient, Terms},
    codec,
    ids::{ChainId, MemberId, OpId},
    membership::{Body, Kind, Op},
    pair::SendState,
};

impl Group {
    /// Signs so many ops side by side, under one number, and publishes them.
    pub(crate) fn fork<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>, ops: u64) -> usize {
        let forked = (0..ops).map_while(|n| {
            let kind = Kind::Refresh { topic_commit: None };
            let body = self.ops.next(self.me, kind, cx.now.plus_ms(n)).ok()?;
            Some(Vec::from(Op::sign(body, cx.me.identity()).as_bytes()).into())
        });
        let forked: Vec<_> = forked.collect();
        let count = forked.len();
        let under = self.topics_to_ask_under();
        self.publish_control(&mut cx, &Statement::Ops(forked), &under);
        count
    }

    /// Signs an op by the latest grant that fits, as if nothing had followed that grant, and
    /// publishes it.
    pub(crate) fn backdate<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>, kind: Kind) -> Option<Op> {
        let op = self.backdated(&cx, kind)?;
        let under = self.topics_to_ask_under();
        let ops = Vec::from([Vec::from(op.as_bytes()).into()]);
        self.publish_control(&mut cx, &Statement::Ops(ops), &under);
        Some(op)
    }

    fn backdated<R: CryptoRng>(&self, cx: &Cx<'_, R>, kind: Kind) -> Option<Op> {
        let admin = !matches!(kind, Kind::Refresh { .. } | Kind::Leave);
        let grant = self.ops.iter().filter(|op| op.subject() == Some(self.me)).filter(|op| {
            let gives_admin = matches!(op.body().kind, Kind::Genesis { .. } | Kind::Promote { .. });
            gives_admin || !admin && matches!(op.body().kind, Kind::Admit { .. })
        });
        let grant: OpId = grant.last()?.id();
        let body = Body {
            group: Some(self.id),
            author: self.me,
            seq: 1,
            deps: Vec::from([grant]),
            cap: Some(grant),
            at: cx.now,
            kind,
            incarnation: None,
        };
        Op::from_bytes(Op::sign(body, cx.me.identity()).as_bytes()).ok()
    }

    /// Seals a bundle to its roster and one more, and publishes it.
    pub(crate) fn seal_to_one_more<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        hidden: MemberId,
    ) -> Option<ChainId> {
        let mut members = self.others();
        members.push(hidden);
        members.sort_unstable();
        let sealed = self.sealed_to(&mut cx, &members)?;
        self.publish_sealed(&mut cx, sealed)
    }

    /// Seals a bundle that opens for every second member alone, and publishes it.
    pub(crate) fn seal_to_some<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>) -> Option<ChainId> {
        let members = self.others();
        let one = self.sealed_to(&mut cx, &members)?;
        let other = self.sealed_to(&mut cx, &members)?;
        let mixed = bundle::mixed(&one, &other, cx.me);
        self.publish_sealed(&mut cx, mixed)
    }

    fn others(&self) -> Vec<MemberId> {
        let members = self.ops.resolve().members.keys();
        members.filter(|member| **member != self.me).copied().collect()
    }

    fn sealed_to<R: CryptoRng>(
        &self,
        cx: &mut Cx<'_, R>,
        members: &[MemberId],
    ) -> Option<bundle::Bundle> {
        let mut pairs: Vec<SendState> = members.iter().map(|_| SendState::default()).collect();
        let mut recipients: Vec<Recipient<'_>> = members
            .iter()
            .zip(&mut pairs)
            .filter_map(|(member, pair)| {
                let card = self.people.cards.get(member)?.card();
                let prekey = self.people.prekey(card);
                Some(Recipient { member: *member, prekey, kk: card.kk.as_ref(), pair })
            })
            .collect();
        let terms = Terms {
            group: self.id,
            heads: self.ops.heads().into_iter().take(crate::limits::OP_DEPS).collect(),
            roster: self.ops.resolve().roster(self.id).hash(),
            closing: self.sending.closing_now(),
            topic: None,
            audit_head: self.audit.log.head16(),
            now: cx.now,
        };
        (!recipients.is_empty()).then(|| bundle::seal(cx.me, terms, &mut recipients, cx.rng).bundle)
    }

    fn publish_sealed<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        sealed: bundle::Bundle,
    ) -> Option<ChainId> {
        let under = self.write_topics();
        let wire = BundleWire {
            head: sealed.head.as_bytes().into(),
            pages: sealed.pages.iter().map(|page| page.clone().into()).collect(),
        };
        self.publish_control(cx, &Statement::Bundle(wire), &under);
        (!under.is_empty()).then(|| sealed.head.chain())
    }

    /// Frames each of which costs much more to answer than to ask.
    pub(crate) fn costly_frames(&self) -> Vec<Vec<u8>> {
        let chain = |chain: &ChainId| ChainSummary { chain: *chain, next: 0, missing: Vec::new() };
        let chains: Vec<_> = self.receiving.chains.keys().take(40).map(chain).collect();
        let summary = Summary { heads: Vec::new(), chains, cards: Vec::new(), last: true };
        let want = Want { ops_after: Some(Vec::new()), topics: true, ..Want::default() };
        [Frame::Hello, Frame::Summary(summary), Frame::Want(want)]
            .iter()
            .map(codec::encode)
            .collect()
    }
}
