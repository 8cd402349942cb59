//! How far everybody has read, in groups too large for a receipt of each message: told in summaries,
//! in pages, and only what changed. docs/spec/consistency.md.

use alloc::{collections::BTreeSet, vec::Vec};

use rand_core::CryptoRng;

use super::{
    ChainState, Cx, GapCause, Group,
    control::Said,
    records::Key,
    wire::{Indexes, ReadTo, Statement},
};
use crate::{
    chain::HeadRef,
    ids::{ChainId, MemberId},
    limits::{CHAIN_MESSAGES, RECEIPT_MEMBERS},
};

/// Chains on one page.
const PER_PAGE: usize = 64;
/// Receipts are gathered this long, in milliseconds; summaries so long, and longer by so much for
/// each member.
pub(super) const RECEIPTS_MS: u64 = 120;
const SUMMARY_MS: u64 = 30_000;
const MEMBER_MS: u64 = 250;

impl Group {
    /// Whether each message is receipted.
    pub(super) fn gives_receipts(&self) -> bool {
        self.ops.resolve().members.len() <= RECEIPT_MEMBERS
    }

    /// How long what was read is gathered before it is told, in milliseconds.
    pub(super) fn gathering_ms<R: CryptoRng>(&self, cx: &mut Cx<'_, R>) -> u64 {
        if self.gives_receipts() {
            return RECEIPTS_MS;
        }
        let members = self.ops.resolve().members.len() as u64;
        let all = SUMMARY_MS.max(members * MEMBER_MS);
        all + cx.rng.next_u64() % all
    }

    /// Tells what was read, in the way of this group's size.
    pub(super) fn flush_receipts<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let topics = self.write_topics();
        if topics.is_empty() {
            return;
        }
        let receipts = core::mem::take(&mut self.receipts);
        self.dirty.mark(Key::Receipts);
        let statements: Vec<_> = receipts
            .into_iter()
            .map(|(chain, indexes)| Indexes { chain, indexes: indexes.into_iter().collect() })
            .collect();
        if !self.gives_receipts() {
            self.tell_reads(cx, &statements, &topics);
            return;
        }
        for receipts in statements.chunks(32) {
            self.publish_control(cx, &Statement::Receipt(receipts.into()), &topics);
        }
    }

    /// Tells how far chains were read that were read further.
    pub(super) fn tell_reads<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        changed: &[Indexes],
        under: &[[u8; 32]],
    ) {
        let reads: Vec<ReadTo> = changed.iter().filter_map(|it| self.read_to(it)).collect();
        for page in reads.chunks(PER_PAGE) {
            self.publish_control(cx, &Statement::Reads(page.into()), under);
        }
    }

    fn read_to(&self, changed: &Indexes) -> Option<ReadTo> {
        let chain = changed.chain;
        let first = *changed.indexes.iter().min()?;
        let (next, missing): (u32, Vec<u32>) = match &self.receiving.chains.get(&chain)?.state {
            ChainState::Open(read) => (read.next(), read.missing().collect()),
            ChainState::Closed { next } => (*next, Vec::new()),
            _ => return None,
        };
        let missing = missing.into_iter().filter(|index| *index >= first).collect();
        let last = next.checked_sub(1).and_then(|last| self.witness.kept(&chain, last));
        Some(ReadTo { chain, first, next, last: last.map(|kept| kept.id), missing })
    }

    /// Somebody tells how far it has read.
    pub(super) fn take_reads<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        reads: Vec<ReadTo>,
    ) {
        let mut receipts = Vec::new();
        for read in reads.into_iter().take(PER_PAGE) {
            let next = read.next.min(CHAIN_MESSAGES);
            let missing: BTreeSet<u32> = read.missing.iter().copied().collect();
            if let (Some(id), Some(index)) = (read.last, next.checked_sub(1)) {
                self.named(cx.now, said.from, HeadRef { chain: read.chain, index, id });
            }
            let has = (read.first..next).filter(|index| !missing.contains(index));
            let indexes: Vec<u32> = has.collect();
            if self.is_mine(&read.chain) {
                receipts.push(Indexes { chain: read.chain, indexes });
            } else {
                self.note_read(cx.now, said.from, read.chain, &indexes);
            }
        }
        self.take_receipts(cx.now, said.from, receipts);
    }

    fn is_mine(&self, chain: &ChainId) -> bool {
        let entry = self.receiving.chains.get(chain);
        entry.is_some_and(|entry| matches!(entry.state, ChainState::Mine { .. }))
    }

    fn note_read(
        &mut self,
        now: crate::ids::Timestamp,
        by: MemberId,
        chain: ChainId,
        indexes: &[u32],
    ) {
        if indexes.is_empty() {
            return;
        }
        if self.receiving.chains.contains_key(&chain) {
            self.note_lacking(now, chain, indexes.iter().copied(), GapCause::Read(by));
        } else {
            self.want_bundle(now, chain);
        }
    }
}
