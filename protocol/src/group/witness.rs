//! What is kept of each signed message, and what is made of others that name it.
//!
//! > Of each opened message its id, the hash of its content and its signature stay when its key is
//! > gone. Whoever names another message at that place contradicts it; asked, whoever has both signed
//! > contents proves it.
//!
//! The second content of a place can't be opened: the key is used up. But whoever read it names it,
//! by its id, in the heads of what it says next. docs/spec/consistency.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{
    Alarm, ChainState, Cx, Event, Group, Output, Timer,
    control::Said,
    notices::Learnt,
    records::Key,
    wire::{Compare, Statement},
};
use crate::{
    chain::{HeadRef, Opened},
    codec,
    evidence::{Notice, Record},
    ids::{ChainId, MemberId, MessageId, Timestamp},
    limits::{CHAIN_MESSAGES, EVIDENCE},
    sign::Signature,
    snapshot::SnapshotError,
};

/// Messages in one stored record of evidence.
const BLOCK: u32 = 16;
/// Different ids that are remembered of one that has not come.
const IDS: usize = 2;
/// Contradictions that are looked into at once.
const DOUBTS: usize = 16;
/// When they are asked for, after they were noticed, and when they are told as they are, in
/// milliseconds.
const ASK_MS: [u64; 3] = [0, 5_000, 30_000];
const TOLD_MS: u64 = 60_000;
/// One member's questions are heard this often, in milliseconds.
const HEARD_MS: u64 = 1_000;

/// Evidence, and what contradicts it.
#[derive(Default)]
pub(super) struct Witness {
    kept: BTreeMap<ChainId, BTreeMap<u32, Kept>>,
    count: usize,
    pub named: BTreeMap<(ChainId, u32), Vec<Named>>,
    doubts: BTreeMap<(ChainId, u32), Doubt>,
    told: BTreeSet<(MemberId, MemberId)>,
    heard: BTreeMap<MemberId, Timestamp>,
}

/// What is kept of a message.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub id: MessageId,
    pub content: [u8; 32],
    pub signature: Signature,
}

/// A message that somebody names, and that has not come.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Named {
    #[n(0)]
    pub id: MessageId,
    #[n(1)]
    pub by: MemberId,
}

/// A message that is named otherwise than it is kept here.
struct Doubt {
    by: MemberId,
    since: Timestamp,
    asked: usize,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    index: u32,
    #[n(1)]
    id: MessageId,
    #[cbor(n(2), with = "minicbor::bytes")]
    content: [u8; 32],
    #[n(3)]
    signature: Signature,
}

impl Kept {
    pub fn of(opened: &Opened) -> Self {
        Self { id: opened.id, content: opened.hash, signature: opened.signature }
    }

    pub fn record(&self, chain: ChainId, index: u32) -> Record {
        Record { chain, index, content: self.content, signature: self.signature }
    }
}

impl Witness {
    pub fn kept(&self, chain: &ChainId, index: u32) -> Option<&Kept> {
        self.kept.get(chain)?.get(&index)
    }

    /// The last message of a chain that is kept, at or after an index.
    pub fn last_from(&self, chain: &ChainId, index: u32) -> Option<(u32, Kept)> {
        let of = self.kept.get(chain)?;
        of.range(index..).next_back().map(|(index, kept)| (*index, *kept))
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        self.doubts.values().map(Doubt::due).min()
    }

    fn insert(&mut self, chain: ChainId, index: u32, kept: Kept) {
        if self.kept.entry(chain).or_default().insert(index, kept).is_none() {
            self.count += 1;
        }
    }

    fn forget(&mut self, chain: &ChainId) -> Vec<u8> {
        let Some(gone) = self.kept.remove(chain) else { return Vec::new() };
        self.count -= gone.len();
        let blocks: BTreeSet<u8> = gone.keys().map(|index| block(*index)).collect();
        blocks.into_iter().collect()
    }
}

impl Doubt {
    fn due(&self) -> Timestamp {
        self.since.plus_ms(ASK_MS.get(self.asked).copied().unwrap_or(TOLD_MS))
    }
}

impl Group {
    /// Keeps what a message of somebody's is known by, and compares what it says of others.
    pub(super) fn bear_witness<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: MemberId,
        at: HeadRef,
        opened: &Opened,
    ) {
        self.keep(at, Kept::of(opened));
        for named in self.witness.named.remove(&(at.chain, at.index)).unwrap_or_default() {
            self.dirty.mark(Key::Gaps(at.chain));
            self.named(cx.now, named.by, HeadRef { id: named.id, ..at });
        }
        self.check_prev(cx.now, from, at, opened.content.prev);
        for head in &opened.content.heads {
            self.named(cx.now, from, *head);
        }
        self.compare_counts(cx, at.chain, at.index);
    }

    /// Keeps what a message is known by.
    pub(super) fn keep(&mut self, at: HeadRef, kept: Kept) {
        self.witness.insert(at.chain, at.index, kept);
        self.dirty.mark(Key::Evidence(at.chain, block(at.index)));
        while self.witness.count > EVIDENCE {
            let Some(chain) = self.oldest_of_most() else { return };
            self.forget_evidence(&chain);
        }
    }

    /// Forgets what is kept of a chain's messages.
    pub(super) fn forget_evidence(&mut self, chain: &ChainId) {
        for block in self.witness.forget(chain) {
            self.dirty.mark(Key::Evidence(*chain, block));
        }
    }

    /// The oldest chain with evidence of whoever has most of it.
    fn oldest_of_most(&self) -> Option<ChainId> {
        let mut of: BTreeMap<Option<MemberId>, (usize, Timestamp, ChainId)> = BTreeMap::new();
        for (chain, kept) in &self.witness.kept {
            let entry = self.receiving.chains.get(chain);
            let at = entry.map(|entry| entry.at).unwrap_or_default();
            let most = of.entry(entry.map(|entry| entry.head.head().sender));
            let most = most.or_insert((0, at, *chain));
            let oldest = (most.1, most.2).min((at, *chain));
            *most = (most.0 + kept.len(), oldest.0, oldest.1);
        }
        of.into_values().max_by_key(|(count, _, _)| *count).map(|(_, _, chain)| chain)
    }

    /// A message must name the one before it in its chain; a chain's first one what its bundle says
    /// was the last before.
    fn check_prev(&mut self, now: Timestamp, from: MemberId, at: HeadRef, prev: Option<MessageId>) {
        let before = at.index.checked_sub(1);
        match (before, prev) {
            (Some(index), Some(id)) => self.named(now, from, HeadRef { index, id, ..at }),
            (Some(_), None) => self.contradicted(from, from),
            (None, prev) => {
                let closing =
                    self.receiving.chains.get(&at.chain).map(|entry| entry.head.head().closing);
                let last = closing.map(|closing| closing.and_then(|closing| closing.last));
                if last.is_some_and(|last| last != prev) {
                    self.contradicted(from, from);
                }
            }
        }
    }

    /// Somebody names a message by its id.
    pub(super) fn named(&mut self, now: Timestamp, by: MemberId, head: HeadRef) {
        let HeadRef { chain, index, id } = head;
        if index >= CHAIN_MESSAGES {
            return;
        }
        if let Some(kept) = self.witness.kept(&chain, index) {
            if kept.id != id {
                self.doubt(now, by, chain, index);
            }
            return;
        }
        match self.receiving.chains.get(&chain).map(|entry| &entry.state) {
            Some(ChainState::Open(read)) if read.has(index) => return,
            Some(ChainState::Mine { count }) if index >= *count => {
                self.claimed(now, chain, index);
                return;
            }
            None | Some(ChainState::Open(_)) => {}
            Some(_) => return,
        }
        if !self.witness.named.contains_key(&(chain, index)) {
            self.room_for_named(by);
        }
        let names = self.witness.named.entry((chain, index)).or_default();
        if names.len() < IDS && names.iter().all(|named| named.id != id) {
            names.push(Named { id, by });
            self.dirty.mark(Key::Gaps(chain));
        }
    }

    /// Looks into a contradiction, unless it is proven already.
    fn doubt(&mut self, now: Timestamp, by: MemberId, chain: ChainId, index: u32) {
        let about = self.receiving.chains.get(&chain).map(|entry| entry.head.head().sender);
        let Some(about) = about else { return };
        let doubts = &mut self.witness.doubts;
        let room = doubts.len() < DOUBTS && !doubts.contains_key(&(chain, index));
        if !room
            || self.notices.is_proven(&chain, index)
            || self.witness.told.contains(&(by, about))
        {
            return;
        }
        doubts.insert((chain, index), Doubt { by, since: now, asked: 0 });
        self.set_timer(Timer::View, now);
    }

    /// Asks for the other content where one was named; tells people where nobody shows it.
    pub(super) fn look_into_doubts<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let (mut records, mut vain) = (Vec::new(), Vec::new());
        for ((chain, index), doubt) in &mut self.witness.doubts {
            if doubt.due() > cx.now {
                continue;
            }
            let kept = self.witness.kept.get(chain).and_then(|of| of.get(index));
            match kept.filter(|_| doubt.asked < ASK_MS.len()) {
                Some(kept) => {
                    doubt.asked += 1;
                    records.push(kept.record(*chain, *index));
                }
                None => vain.push((*chain, *index, doubt.by)),
            }
        }
        for (chain, index, by) in vain {
            self.witness.doubts.remove(&(chain, index));
            if let Some(entry) = self.receiving.chains.get(&chain) {
                self.contradicted(by, entry.head.head().sender);
            }
        }
        if !records.is_empty() {
            let under = self.topics_to_ask_under();
            let compare = Compare { own: Vec::new(), records };
            self.publish_control(cx, &Statement::Compare(compare), &under);
        }
    }

    /// A contradiction was proven.
    pub(super) fn settle_doubt(&mut self, chain: ChainId, index: u32) {
        self.witness.doubts.remove(&(chain, index));
    }

    /// Tells once that what one says of another's messages does not fit what is here.
    fn contradicted(&mut self, by: MemberId, about: MemberId) {
        if self.witness.told.insert((by, about)) {
            let alarm = Alarm::Contradiction { by, about };
            self.out.push_back(Output::Event(Event::Alarm(alarm)));
        }
    }

    /// Somebody shows what it has at places where it was told of something else, and how far it
    /// knows its own chains.
    pub(super) fn take_compare<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        compare: Compare,
    ) {
        let heard = self.witness.heard.get(&said.from);
        if heard.is_some_and(|heard| cx.now.ms_since(*heard) < HEARD_MS) {
            return;
        }
        self.witness.heard.insert(said.from, cx.now);
        for record in compare.records.iter().take(DOUBTS) {
            self.compare(cx, record);
        }
        if !compare.own.is_empty() {
            self.answer_own(cx, said, compare.own);
        }
    }

    /// Compares a signed message with the one that is kept at its place.
    pub(super) fn compare<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, record: &Record) {
        let Some(entry) = self.receiving.chains.get(&record.chain) else { return };
        let Some(kept) = self.witness.kept(&record.chain, record.index) else { return };
        if kept.content != record.content && record.is_of(&self.id, &entry.head) {
            let kept = kept.record(record.chain, record.index);
            let notice = Notice::contents(&entry.head, kept, *record);
            self.learn(cx, notice, Learnt::Here);
        }
    }

    pub(super) fn evidence_record(&self, chain: &ChainId, block: u8) -> Option<Vec<u8>> {
        let from = u32::from(block) * BLOCK;
        let of = self.witness.kept.get(chain)?.range(from..from + BLOCK);
        let stored: Vec<_> = of
            .map(|(index, kept)| Stored {
                index: *index,
                id: kept.id,
                content: kept.content,
                signature: kept.signature,
            })
            .collect();
        (!stored.is_empty()).then(|| codec::encode(&stored))
    }

    pub(super) fn load_evidence(
        &mut self,
        chain: ChainId,
        bytes: &[u8],
    ) -> Result<(), SnapshotError> {
        let stored: Vec<Stored> = codec::decode(bytes).map_err(|_| SnapshotError::Damaged)?;
        for Stored { index, id, content, signature } in stored {
            self.witness.insert(chain, index, Kept { id, content, signature });
        }
        Ok(())
    }

    /// The records of all evidence.
    pub(super) fn mark_evidence(&mut self) {
        for (chain, of) in &self.witness.kept {
            of.keys().for_each(|index| self.dirty.mark(Key::Evidence(*chain, block(*index))));
        }
    }
}

fn block(index: u32) -> u8 {
    u8::try_from(index / BLOCK).unwrap_or(u8::MAX)
}
