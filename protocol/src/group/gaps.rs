//! Messages that are known to exist and have not come.
//!
//! A message names the ones before it: in its own chain by index, in others by the heads that its
//! sender had. A closing count says how many a finished chain carried. Whatever of these this
//! member is entitled to and lacks is a gap: asked for, then reported, then healed.
//! docs/spec/protocol.md 3.10.

use alloc::{collections::BTreeMap, vec::Vec};

use rand_core::CryptoRng;

use super::{
    Alarm, ChainState, Cx, Event, Group, Output, Timer,
    wire::{Frame, Indexes, Statement, Want},
};
use crate::{
    bundle::Closing,
    chain::HeadRef,
    ids::{ChainId, MemberId, Timestamp},
    limits::CHAIN_MESSAGES,
};

/// Gaps remembered at once.
const GAPS: usize = 4096;
/// How long a message may be on its way before it is asked for, in milliseconds.
const PATIENCE_MS: u64 = 1_500;
/// How often what is lacking is asked for, in milliseconds.
const AGAIN_MS: u64 = 30_000;
/// How long what is lacking is asked for, in milliseconds: an hour.
const GIVE_UP_MS: u64 = 60 * 60 * 1000;
/// Messages asked for at once.
const ASKED: usize = 256;
/// How long keys may be missing before a person is told, in milliseconds.
const KEYS_MS: u64 = 60_000;

/// A message that has not come.
pub(super) struct Gap {
    pub since: Timestamp,
    pub told: bool,
}

impl Group {
    /// Notes what a message shows to be lacking, and what it heals.
    pub(super) fn note_gaps(
        &mut self,
        now: Timestamp,
        from: MemberId,
        chain: ChainId,
        index: u32,
        heads: &[HeadRef],
    ) {
        if self.gaps.remove(&(chain, index)).is_some_and(|gap| gap.told) {
            self.out.push_back(Output::Event(Event::Healed { from, chain, index }));
        }
        self.note_until(now, chain, index);
        for head in heads {
            self.note_until(now, head.chain, head.index.saturating_add(1));
        }
    }

    /// Notes what a finished chain still lacks.
    pub(super) fn note_closing(&mut self, now: Timestamp, from: MemberId, closing: &Closing) {
        let sender =
            self.receiving.chains.get(&closing.chain).map(|entry| entry.head.head().sender);
        if sender == Some(from) {
            self.note_until(now, closing.chain, closing.count);
        }
    }

    fn note_until(&mut self, now: Timestamp, chain: ChainId, end: u32) {
        let Some(ChainState::Open(read)) =
            self.receiving.chains.get(&chain).map(|entry| &entry.state)
        else {
            return;
        };
        let end = end.min(CHAIN_MESSAGES);
        let lacking: Vec<u32> = (0..end).filter(|index| !read.has(*index)).collect();
        if lacking.is_empty() {
            return;
        }
        for index in lacking {
            if self.gaps.len() < GAPS {
                let gap = self.gap(now);
                self.gaps.entry((chain, index)).or_insert(gap);
            }
        }
        self.set_timer(Timer::Want, now.plus_ms(PATIENCE_MS));
    }

    /// Asks for what has been lacking for a while; reports it the first time.
    pub(super) fn ask<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let now = cx.now;
        let mut messages: BTreeMap<ChainId, Vec<u32>> = BTreeMap::new();
        let keys: Vec<(ChainId, u32)> = self.gaps.keys().copied().collect();
        for (chain, index) in keys.into_iter() {
            if !self.is_lacking(&chain, index) {
                self.gaps.remove(&(chain, index));
                continue;
            }
            let sender = self.receiving.chains.get(&chain).map(|entry| entry.head.head().sender);
            let (Some(gap), Some(from)) = (self.gaps.get_mut(&(chain, index)), sender) else {
                continue;
            };
            if now.ms_since(gap.since) < PATIENCE_MS {
                continue;
            }
            if !gap.told {
                gap.told = true;
                self.out.push_back(Output::Event(Event::Gap { from, chain, index }));
            }
            if now.ms_since(gap.since) < GIVE_UP_MS {
                messages.entry(chain).or_default().push(index);
            }
        }
        let messages: Vec<_> = messages
            .into_iter()
            .map(|(chain, indexes)| Indexes { chain, indexes })
            .take(ASKED)
            .collect();
        let late: Vec<ChainId> = self
            .receiving
            .wanted
            .iter()
            .filter(|(_, since)| now.ms_since(**since) > KEYS_MS)
            .map(|(chain, _)| *chain)
            .collect();
        for chain in late {
            self.receiving.wanted.remove(&chain);
            if !self.receiving.chains.contains_key(&chain) {
                self.out.push_back(Output::Event(Event::Alarm(Alarm::KeysMissing(chain))));
            }
        }
        let bundles: Vec<ChainId> = self.receiving.wanted.keys().copied().take(64).collect();
        let ops_after = (!self.ops.missing().is_empty() || self.lacks_ops())
            .then(|| self.ops.heads())
            .filter(|heads| heads.len() <= 64);
        let topics = self.lacks_topics();
        let want = Want { ops_after, bundles, messages, topics };
        let nothing = want.ops_after.is_none()
            && want.bundles.is_empty()
            && want.messages.is_empty()
            && !want.topics;
        if nothing {
            return;
        }
        self.set_timer(Timer::Want, now.plus_ms(AGAIN_MS.min(self.patience())));
        let neighbours: Vec<MemberId> = self.gossip.neighbours().take(3).copied().collect();
        for member in &neighbours {
            self.frame(*member, &Frame::Want(want.clone()));
        }
        if neighbours.is_empty() || self.peers.values().all(|peer| !peer.synced) {
            let under = self.topics_to_ask_under();
            self.publish_control(cx, &Statement::Want(want), &under);
        }
    }

    fn patience(&self) -> u64 {
        if self.receiving.wanted.is_empty() { AGAIN_MS } else { 5_000 }
    }

    /// Whether a held bundle names ops that are not here.
    fn lacks_ops(&self) -> bool {
        !self.receiving.held.is_empty()
    }

    /// Whether a topic to write to is not known here.
    pub(super) fn lacks_topics(&self) -> bool {
        let write = &self.ops.resolve().topics().write;
        write.iter().any(|commit| self.topics.topic(commit).is_none())
    }

    /// The topics under which the others can read this node now: the newest it has.
    fn topics_to_ask_under(&self) -> Vec<[u8; 32]> {
        let write = self.write_topics();
        if write.is_empty() { self.topics.newest() } else { write }
    }
}
