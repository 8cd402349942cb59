//! Envelopes that come: control, messages, and the bundles that make messages readable.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use rand_core::CryptoRng;

use super::{
    Alarm, Cx, EnvelopeError, Event, Group, GroupState, Output, Received, SignedContent, Source,
    Timer,
    answering::Asked,
    classes::Classes,
    control::Said,
    gaps::Lacking,
    held::{HELD, Held},
    history::HISTORY,
    moving::MOVE,
    notices::Learnt,
    records::Key,
    wire::{BundleWire, Control, Statement},
};
use crate::{
    bundle::{self, OpenError, SLOTS_PER_PAGE, SignedHead, SlotType},
    chain::{HeadRef, ReceiveChain, ReceiveError},
    codec,
    envelope::{self, CONTROL, Header},
    evidence::Notice,
    gossip::Origin,
    ids::{ChainId, EnvelopeId, MemberId, RelayTag, Timestamp},
    limits::{BUCKETS, LAMPORT_LEAP, MESSAGE_HEADS, PARKED, PARKED_BYTES, POLICY_RELAYS},
    pair::ReceiveState,
};

/// A bundle that does not come by itself is asked for after this long, in milliseconds.
const WANT_MS: u64 = 400;
/// Relays that are remembered of one parked envelope: those of a policy, and of the one before.
const TOLD_BY: usize = 2 * POLICY_RELAYS;

#[derive(Default)]
pub(super) struct Receiving {
    pub chains: BTreeMap<ChainId, Entry>,
    pub pairs: BTreeMap<MemberId, ReceiveState>,
    pub held: BTreeMap<ChainId, Held>,
    pub parked: BTreeMap<EnvelopeId, Parked>,
    parked_bytes: usize,
    /// Bundles that were held in this run.
    pub came: u64,
    /// Bundles that are lacking.
    pub wanted: BTreeMap<ChainId, Lacking>,
}

/// A chain whose bundle was accepted.
pub(super) struct Entry {
    pub head: SignedHead,
    pub pages: Vec<Vec<u8>>,
    pub at: Timestamp,
    pub state: ChainState,
    pub classes: Classes,
}

pub(super) enum ChainState {
    /// Readable.
    Open(ReceiveChain),
    /// Sealed to a roster without this member.
    NotForMe,
    /// The slot did not open; its sender was told.
    Failed,
    /// Made here.
    Mine { count: u32 },
    /// Was readable; its keys are gone, for a newer chain stands.
    Closed { next: u32 },
}

/// An envelope whose chain is not known yet.
pub(super) struct Parked {
    pub chain: ChainId,
    pub index: u32,
    pub at: Timestamp,
    pub bytes: Vec<u8>,
    /// The relays that have told it.
    pub told_by: Vec<RelayTag>,
}

impl Receiving {
    /// Keeps an envelope until its bundle comes; answers which older ones had to go.
    pub fn park(&mut self, id: EnvelopeId, mut parked: Parked) -> Vec<EnvelopeId> {
        if let Some(old) = self.unpark(&id) {
            parked.told_by = old.told_by;
        }
        self.parked_bytes += parked.bytes.len();
        self.parked.insert(id, parked);
        let mut gone = Vec::new();
        while self.parked.len() > PARKED || self.parked_bytes > PARKED_BYTES {
            let oldest = self.parked.iter().min_by_key(|(_, parked)| parked.at);
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            self.unpark(&oldest);
            gone.push(oldest);
        }
        gone
    }

    fn unpark(&mut self, id: &EnvelopeId) -> Option<Parked> {
        let parked = self.parked.remove(id)?;
        self.parked_bytes -= parked.bytes.len();
        Some(parked)
    }

    fn parked_of(&self, chain: &ChainId) -> Vec<EnvelopeId> {
        let mut of: Vec<_> = self
            .parked
            .iter()
            .filter(|(_, parked)| parked.chain == *chain)
            .map(|(id, parked)| (parked.index, *id))
            .collect();
        of.sort_unstable();
        of.into_iter().map(|(_, id)| id).collect()
    }
}

impl Group {
    /// An envelope came. A duplicate is no error.
    pub fn on_envelope<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        from: Source,
        bytes: &[u8],
    ) -> Result<(), EnvelopeError> {
        self.take_envelope(&mut cx, from, bytes)
    }

    /// A relay has told an envelope. Where that waits for its bundle it is remembered, also over a restart, and
    /// told with [`Output::Archive`] once it is read.
    pub fn note_told(&mut self, envelope: &EnvelopeId, by: RelayTag) {
        let Some(parked) = self.receiving.parked.get_mut(envelope) else { return };
        if parked.told_by.len() < TOLD_BY && !parked.told_by.contains(&by) {
            parked.told_by.push(by);
            self.dirty.mark(Key::Parked(*envelope));
        }
    }

    pub(super) fn take_envelope<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: Source,
        bytes: &[u8],
    ) -> Result<(), EnvelopeError> {
        let id = envelope::id(bytes);
        if self.gossip.has_seen(&id) {
            self.is_told_again(bytes, from, cx.now);
            return Ok(());
        }
        if self.state != GroupState::Active && !self.listens() {
            return Err(EnvelopeError::Closed);
        }
        let origin = match from {
            Source::Member(member) => Origin::Neighbour(member),
            Source::Log(_) => Origin::Log,
        };
        let Some((topic, header)) = self.topics.peek(bytes) else {
            return if self.listens() {
                Err(EnvelopeError::Closed)
            } else {
                self.take_posted(cx, bytes)
            };
        };
        if self.listens() && header.chain != CONTROL {
            return Err(EnvelopeError::Closed);
        }
        if header.chain == CONTROL {
            if !self.take_control(cx, from, &topic, bytes)? {
                return Ok(());
            }
        } else {
            self.is_told((header.chain, header.index), from, cx.now);
            self.take_message(cx, id, header, bytes, Vec::new())?;
        }
        if self.state == GroupState::Active {
            if origin == Origin::Log && !self.relays_up {
                self.gossip.keep(bytes);
            } else {
                self.gossip.spread(bytes, origin);
            }
        }
        Ok(())
    }

    /// Takes an envelope that was asked for, and perhaps seen before.
    pub(super) fn take_served<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        giver: MemberId,
        header: Header,
        bytes: &[u8],
    ) -> Result<(), EnvelopeError> {
        if self.state != GroupState::Active {
            return Err(EnvelopeError::Closed);
        }
        if header.chain == CONTROL || !BUCKETS.contains(&bytes.len()) {
            return Err(EnvelopeError::NotOurs);
        }
        self.take_message(cx, envelope::id(bytes), header, bytes, Vec::new())?;
        self.gossip.spread(bytes, Origin::Neighbour(giver));
        Ok(())
    }

    /// Answers whether it is to be passed on.
    fn take_control<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: Source,
        topic: &[u8; 32],
        bytes: &[u8],
    ) -> Result<bool, EnvelopeError> {
        let key = self.topics.topic(topic).ok_or(EnvelopeError::NotOurs)?.control.clone();
        let opened = envelope::open(bytes, &key).map_err(|_| EnvelopeError::Forged)?;
        let control = Control::from_bytes(&opened).map_err(|_| EnvelopeError::Forged)?;
        control.verify(&self.id).map_err(|_| EnvelopeError::Forged)?;
        // A kind that this version does not know is passed on unread.
        let Ok(statement) = control.statement() else { return Ok(true) };
        if self.listens() && !matches!(statement, Statement::Ops(_)) {
            return Ok(true);
        }
        if matches!(statement, Statement::Inbox(_)) {
            self.take_inbox(cx.now, &opened);
        }
        if let (Source::Log(_), Statement::Ops(ops)) = (from, &statement) {
            self.see_on_log(control.from, ops);
        }
        // What this node said itself it knows, unless another run or a copy of it said it.
        if control.from == self.me && !matches!(statement, Statement::Bundle(_) | Statement::Ops(_))
        {
            return Ok(true);
        }
        // What is judged by its own signatures may be what makes its sender a member here, or come
        // when it has left.
        let member = self.ops.resolve().is_member(&control.from);
        if let Statement::Want(want) = &statement
            && !member
        {
            self.take_want_of_gone(cx, Said { from: control.from, topic: *topic }, want);
        }
        if !member && !self.stands_alone(&statement) {
            let news = self.note_stranger(cx.now, control.from, *topic);
            return if news { Ok(false) } else { Err(EnvelopeError::NotAMember) };
        }
        if member {
            self.count_written(control.from, bytes.len());
        }
        self.take_statement(cx, Said { from: control.from, topic: *topic }, statement);
        Ok(true)
    }

    fn take_message<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        id: EnvelopeId,
        header: Header,
        bytes: &[u8],
        told_by: Vec<RelayTag>,
    ) -> Result<(), EnvelopeError> {
        let Some(entry) = self.receiving.chains.get(&header.chain) else {
            let (chain, index, at) = (header.chain, header.index, cx.now);
            let parked = Parked { chain, index, at, bytes: bytes.into(), told_by };
            let gone = self.receiving.park(id, parked);
            for id in gone.into_iter().chain([id]) {
                self.dirty.mark(Key::Parked(id));
            }
            self.want_bundle(cx.now, header.chain);
            return Ok(());
        };
        let ChainState::Open(chain) = &entry.state else {
            self.claimed(cx.now, header.chain, header.index);
            return Ok(());
        };
        let (opened, chain) = match chain.open(&self.id, header.index, bytes) {
            Ok(opened) => opened,
            Err(ReceiveError::Replay) => return Ok(()),
            Err(ReceiveError::BeyondEnd(_) | ReceiveError::Forged) => {
                return Err(EnvelopeError::Forged);
            }
        };
        let from = entry.head.head().sender;
        let class = self.classify(header.chain, header.index);
        if let Some(entry) = self.receiving.chains.get_mut(&header.chain) {
            entry.state = ChainState::Open(chain);
        }
        self.dirty.mark(Key::Chain(header.chain));
        self.count_written(from, bytes.len());
        self.bear_witness(
            cx,
            from,
            HeadRef { chain: header.chain, index: header.index, id: opened.id },
            &opened,
        );
        self.heard_of(cx.now, from, cx.now);
        self.turns.spoke |= self.is_pair();
        let signature = opened.signature;
        let content = opened.content;
        // So far and no further at once: a leap can't use the clock up.
        let reach = self.lamport.saturating_add(LAMPORT_LEAP);
        self.lamport = self.lamport.max(content.lamport.min(reach));
        self.follow(HeadRef { chain: header.chain, index: header.index, id: opened.id });
        self.receipts.entry(header.chain).or_default().insert(header.index);
        let gathering = self.gathering_ms(cx);
        self.set_timer(Timer::Receipts, cx.now.plus_ms(gathering));
        self.dirty.mark(Key::Receipts);
        let (chain, index) = (header.chain, header.index);
        self.out.push_back(Output::Archive { chain, index, envelope: bytes.into(), told_by });
        if content.kind == MOVE {
            self.take_part(cx, from, &class, &content.payload);
        } else if content.kind == HISTORY {
            self.take_history(cx, chain, &class, &content.payload);
        } else {
            let by_admin = self.receiving.chains.get(&chain);
            let by_admin = by_admin.is_some_and(|it| self.is_by_admin(content.kind, &it.head));
            // A content has one encoding, which is what was signed.
            let signed = SignedContent { content: codec::encode(&content), signature };
            self.out.push_back(Output::Event(Event::Message(Received {
                id: opened.id,
                chain,
                index,
                from,
                kind: content.kind,
                payload: content.payload,
                at: content.at,
                lamport: content.lamport,
                class,
                by_admin,
                signed,
            })));
        }
        self.note_gaps(cx.now, from, chain, index, &content.heads);
        Ok(())
    }

    /// Remembers a message as one of the latest.
    fn follow(&mut self, head: HeadRef) {
        if self.heads.iter().any(|known| known.chain == head.chain && known.index > head.index) {
            return;
        }
        self.heads.retain(|known| known.chain != head.chain);
        self.heads.push_back(head);
        if self.heads.len() > MESSAGE_HEADS {
            self.heads.pop_front();
        }
        self.dirty.mark(Key::Meta);
    }

    /// A bundle, or part of one, came.
    pub(super) fn take_bundle<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, wire: BundleWire) {
        let Ok(head) = SignedHead::from_bytes(&wire.head) else { return };
        if head.head().group != self.id {
            return;
        }
        // One's own from an earlier membership or a lost state is a chain like any not for this node.
        let chain = head.chain();
        self.answers.remove(&Asked::Head(chain));
        if !wire.pages.is_empty() || head.pages() == 0 {
            self.answers.remove(&Asked::Bundle(chain));
        }
        let pages: Vec<Vec<u8>> = wire.pages.into_iter().map(Into::into).collect();
        if let Some(entry) = self.receiving.chains.get_mut(&chain) {
            if entry.head.pages_hash() != head.pages_hash() {
                let notice = Notice::pages(&entry.head, &head);
                self.learn(cx, notice, Learnt::Here);
                return;
            }
            if add_pages(&entry.head, &mut entry.pages, pages) {
                self.dirty.mark(Key::Bundle(chain));
            }
            return;
        }
        if !self.receiving.held.contains_key(&chain) {
            self.room_to_hold(head.head().sender);
        }
        if let Some(held) = self.receiving.held.get(&chain)
            && held.head.pages_hash() != head.pages_hash()
        {
            let notice = Notice::pages(&held.head, &head);
            self.learn(cx, notice, Learnt::Here);
        }
        let prekey = head.head().prekey;
        let sender = head.head().sender;
        self.receiving.came += 1;
        let place = self.receiving.came;
        let held = self.receiving.held.entry(chain).or_insert_with(|| Held::new(head, place));
        if add_pages(&held.head, &mut held.pages, pages) && held.again.is_some() {
            self.dirty.mark(Key::Bundle(chain));
        }
        self.people.note_prekey(sender, prekey);
        self.take_early(&chain);
        self.judge_bundle(cx, chain);
    }

    /// Takes a held bundle up, if what it needs is here.
    pub(super) fn judge_bundle<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, chain: ChainId) {
        let Some(held) = self.receiving.held.get(&chain) else { return };
        let said = held.head.head();
        let Ok(view) = self.ops.resolve_at(&said.heads) else {
            self.want_bundle(cx.now, chain);
            return;
        };
        let roster = view.roster(self.id);
        let others = roster.members().iter().filter(|member| **member != said.sender);
        let wrong = roster.hash() != said.roster
            || !roster.contains(&said.sender)
            || held.head.pages() != bundle::pages(roster.members().len() - 1);
        let position = others
            .clone()
            .position(|member| *member == self.me)
            .filter(|_| self.is_still(&self.me, &view));
        let recipients: Vec<MemberId> = others.copied().collect();
        if wrong {
            self.let_go(&chain);
            return;
        }
        // A page that the head names, and that has no slot for each, convicts the head.
        let hidden = held.pages.iter().any(|page| {
            let number = held.head.page_number(page);
            number.is_some_and(|number| !held.head.has_page(number, page, recipients.len()))
        });
        let Some(position) = position else {
            let is_own = said.sender == self.me;
            self.accept(cx, chain, ChainState::NotForMe);
            if is_own {
                self.take_own(cx, chain, &view);
            }
            return;
        };
        let sender = said.sender;
        if hidden {
            self.fail(cx, sender, chain);
            return;
        }
        let number = position / SLOTS_PER_PAGE;
        let page =
            held.pages.iter().find(|page| held.head.has_page(number, page, recipients.len()));
        let Some(page) = page else {
            self.want_bundle(cx.now, chain);
            self.let_go_of_head(&chain);
            return;
        };
        match self.open_slot(cx.me, &held.head, page, position) {
            Ok(opened) => {
                let slot = bundle::slot_type(page, position);
                self.open_after_nack(&sender, chain);
                self.confirm_first(cx.now, chain, slot);
                self.receiving.pairs.insert(sender, opened.pair);
                self.dirty.mark(Key::PairReceive(sender));
                let read = self.resume(&chain, opened.chain);
                self.accept(cx, chain, ChainState::Open(read));
                self.see_by_bundle(sender);
                self.note_slot(cx, chain);
                self.take_turn(&chain);
                let event = Event::Rotated { sender, chain, recipients };
                self.out.push_back(Output::Event(event));
                if let Some(topic) = opened.topic {
                    // Whoever asked for a topic has this one now.
                    self.answers.retain(|asked, _| !matches!(asked, Asked::Topic(_)));
                    self.learn_topic(cx, topic);
                }
                self.retire_chains(sender);
                self.take_parked(cx, chain);
                if self.receiving.held.values().any(|held| held.head.head().sender == sender) {
                    self.judge_soon(cx.now);
                }
            }
            Err(OpenError::Ciphertext) => {
                self.wait_for_ciphertext(cx.now, chain);
            }
            // What its key goes on from may be among what is still to be read: until then it waits.
            Err(OpenError::NoKey)
                if !self.is_in_touch()
                    && bundle::slot_type(page, position) == Ok(SlotType::Ratchet) => {}
            Err(OpenError::Page | OpenError::Type(_) | OpenError::NoKey | OpenError::Forged) => {
                self.fail(cx, sender, chain);
            }
        }
    }

    /// This member's slot does not open: people are told, and its sender is asked for another.
    fn fail<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, sender: MemberId, chain: ChainId) {
        self.accept(cx, chain, ChainState::Failed);
        self.note_slot(cx, chain);
        self.out.push_back(Output::Event(Event::Alarm(Alarm::SlotFailed(sender))));
        self.nack(cx, sender, chain);
    }

    pub(super) fn accept<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        chain: ChainId,
        state: ChainState,
    ) {
        let Some(Held { head, pages, .. }) = self.receiving.held.remove(&chain) else { return };
        self.receiving.wanted.remove(&chain);
        self.forget_ciphertext(&chain, &self.me.clone());
        let drop_parked = !matches!(state, ChainState::Open(_));
        let at = self.next_at(cx.now);
        self.receiving
            .chains
            .insert(chain, Entry { head, pages, at, state, classes: Classes::default() });
        self.dirty.mark(Key::Bundle(chain));
        self.dirty.mark(Key::Chain(chain));
        if drop_parked {
            for id in self.receiving.parked_of(&chain) {
                self.receiving.unpark(&id);
                self.dirty.mark(Key::Parked(id));
            }
        }
        self.evict_chains();
        self.take_up_named(cx, chain);
    }

    fn take_parked<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, chain: ChainId) {
        for id in self.receiving.parked_of(&chain) {
            if let Some(parked) = self.receiving.unpark(&id) {
                self.dirty.mark(Key::Parked(id));
                let header = Header { chain, index: parked.index };
                // It was spread when it was parked; what turns out to be forged goes no further.
                let _ = self.take_message(cx, id, header, &parked.bytes, parked.told_by);
            }
        }
    }

    pub(super) fn judge_held<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let held = self.receiving.held.iter();
        let mut held: Vec<(u64, ChainId)> =
            held.map(|(chain, held)| (held.place, *chain)).collect();
        held.sort_unstable();
        for (_, chain) in held {
            self.judge_bundle(cx, chain);
        }
    }

    pub(super) fn want_bundle(&mut self, now: Timestamp, chain: ChainId) {
        let wanted = &mut self.receiving.wanted;
        // Also where it was given up lately: who names it again and again has nobody ask for it.
        if wanted.get(&chain).is_some_and(|lacking| !lacking.is_over(now)) {
            return;
        }
        // What was lacking longest may never come.
        if wanted.len() >= HELD
            && !wanted.contains_key(&chain)
            && let Some((_, oldest)) = wanted.iter().map(|(id, lacking)| (lacking.since, *id)).min()
        {
            wanted.remove(&oldest);
        }
        wanted.insert(chain, Lacking::since(now));
        self.set_timer(Timer::Want, now.plus_ms(WANT_MS));
    }

    /// Wants the bundles of what is parked, be it for the second time.
    pub(super) fn want_parked(&mut self, now: Timestamp) {
        let parked: BTreeSet<ChainId> =
            self.receiving.parked.values().map(|parked| parked.chain).collect();
        parked.into_iter().for_each(|chain| self.want_bundle(now, chain));
    }

    /// Every index of a chain that is known to exist and was not opened.
    pub(super) fn is_lacking(&self, chain: &ChainId, index: u32) -> bool {
        match self.receiving.chains.get(chain).map(|entry| &entry.state) {
            Some(ChainState::Open(read)) => !read.has(index),
            _ => false,
        }
    }
}

fn add_pages(head: &SignedHead, known: &mut Vec<Vec<u8>>, pages: Vec<Vec<u8>>) -> bool {
    let before = known.len();
    let mut numbers: BTreeSet<usize> =
        known.iter().filter_map(|page| head.page_number(page)).collect();
    for page in pages {
        if head.page_number(&page).is_some_and(|number| numbers.insert(number)) {
            known.push(page);
        }
    }
    known.len() > before
}
