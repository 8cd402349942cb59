//! What members' nodes tell one another beside messages: ops, bundles, cards, presence, receipts,
//! and what they lack.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Entry, Event, Group, GroupState, Output, Timer,
    people::card_in,
    records::Key,
    wire::{BundleWire, ChainSummary, Indexes, Presence, Statement, Want},
};
use crate::{
    audit::RotationReason,
    bundle::Bundle,
    identity::SignedCard,
    ids::{ChainId, MemberId, OpId, Timestamp},
    membership::{Kind, Op, Resolution},
    topic::TopicSecret,
};

/// Answers to what others lack that wait for somebody nearer to give them.
const ANSWERS: usize = 256;
/// How long each member before this one in the roster is given to answer first, in milliseconds.
const ANSWER_STEP_MS: u64 = 250;
/// How long an author is given to tell its own messages first, in milliseconds.
const OTHERS_MS: u64 = 3_000;
/// One member's questions to everybody are heard this often, in milliseconds.
const HEARD_MS: u64 = 1_000;
/// How far a member's clock may be ahead, in milliseconds: an hour.
const AHEAD_MS: u64 = 60 * 60 * 1000;
/// Messages served to one request on a relay's log.
const SERVED: usize = 64;
/// Ops told in answer to one, and the envelopes that they fill.
const OPS_TOLD: usize = 512;
const OPS_ENVELOPES: usize = 8;
/// Bytes of ops or cards said at once.
const PART: usize = 30_000;
/// How long the newest topic may be unknown here before this node begins another, in milliseconds.
const LOST_MS: u64 = 60_000;

/// Who said a statement, and under which topic.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub from: MemberId,
    pub topic: [u8; 32],
}

/// What somebody asked everybody for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Bundle(ChainId),
    /// The head alone: the chain is not for whoever asks.
    Head(ChainId),
    Kem(ChainId, MemberId),
    Ops(MemberId),
    Topic(MemberId),
    /// Messages of others, whom they may reach no more.
    Messages(MemberId),
}

/// An answer that this node gives unless another does.
pub(super) struct Answer {
    pub due: Timestamp,
    pub topic: [u8; 32],
    /// The ops that were asked for and nobody told yet.
    ops: Vec<OpId>,
    /// The messages that were asked for and did not come since.
    messages: BTreeSet<(ChainId, u32)>,
}

impl Group {
    pub(super) fn take_statement<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        statement: Statement,
    ) {
        match statement {
            Statement::Ops(ops) => {
                let new = self.take_ops(cx, ops.iter().map(|op| op.as_slice()));
                for answer in self.answers.values_mut() {
                    answer.ops.retain(|id| !new.contains(id));
                }
            }
            Statement::Bundle(bundle) => self.take_bundle(cx, bundle),
            Statement::Card(card) => self.take_cards([card.as_slice()]),
            Statement::Presence(presence) => self.take_presence(cx.now, said.from, presence),
            Statement::Receipt(receipts) => self.take_receipts(cx.now, said.from, receipts),
            Statement::SlotNack(chain) => self.take_nack(cx, said, chain),
            Statement::Want(want) => self.take_public_want(cx, said, &want),
            // Taken with the bytes that its owner signed.
            Statement::Inbox(_) => {}
            Statement::Sealed(sealed) if sealed.to == self.me => {
                // What does not open is dropped; nobody is told.
                let _ = self.take_sealed(cx, &sealed.sealed);
            }
            Statement::Sealed(_) => {}
            Statement::HandOver(topic) => self.take_hand_over(cx, &said, topic),
            Statement::Notice(notice) => self.take_notice(cx, notice),
            Statement::Reads(reads) => self.take_reads(cx, said, reads),
            Statement::Compare(compare) => self.take_compare(cx, said, compare),
            Statement::Shown(shown) => self.take_shown(cx, shown),
            Statement::Kem(kem) => self.take_ciphertexts(cx, said.from, kem),
            Statement::Resync(answer) => self.take_resync(cx, &said, &answer),
            // Taken from inboxes, where its sender need not be a member.
            Statement::ResyncReq(_) => {}
        }
    }

    /// Draws what follows from new ops.
    pub(super) fn after_ops<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        before: &BTreeSet<MemberId>,
        new: &[OpId],
    ) {
        for id in new {
            self.dirty.mark(Key::Op(*id));
        }
        let ops: Vec<Op> = new.iter().filter_map(|id| self.ops.op(id).cloned()).collect();
        for card in ops.iter().filter_map(card_in) {
            let member = card.card().member;
            if self.people.take_card(card) {
                self.dirty.mark(Key::Card(member));
            }
        }
        self.note_ops(cx, new);
        self.compare_ops(cx, &ops);
        ops.iter().for_each(|op| self.heard_of(cx.now, op.author(), cx.now));
        let resolution = self.ops.resolve();
        let after: BTreeSet<MemberId> = resolution.members.keys().copied().collect();
        let mut events = Vec::new();
        let returned = self.returners(before, &ops);
        let joined = after.difference(before).filter(|member| !returned.contains_key(*member));
        for member in joined {
            let grant = resolution.members.get(member).map(|standing| standing.grant);
            let by = grant.and_then(|grant| self.ops.op(&grant)).map(Op::author);
            events.push(Event::Joined { member: *member, by: by.unwrap_or(*member) });
        }
        for member in before.difference(&after) {
            let ends =
                |op: &&Op| op.subject() == Some(*member) && !resolution.void.contains(&op.id());
            let removal = ops
                .iter()
                .filter(ends)
                .find(|op| matches!(op.body().kind, Kind::Remove { .. } | Kind::Retire { .. }));
            events.push(match removal {
                Some(op) if matches!(op.body().kind, Kind::Retire { .. }) => {
                    Event::Retired { member: *member }
                }
                Some(op) => Event::Removed { member: *member, by: op.author() },
                None => self.unadmitted(member, &ops).unwrap_or(Event::Left { member: *member }),
            });
        }
        if ops.iter().any(|op| matches!(op.body().kind, Kind::SetPolicy { .. })) {
            events.push(Event::Policy);
        }
        if ops.iter().any(|op| {
            matches!(op.body().kind, Kind::Refresh { topic_commit: Some(_) })
                && op.author() != self.me
        }) {
            self.sending.asked = Some(RotationReason::Refresh);
        }
        let left = ops.iter().any(|op| op.author() == self.me && op.body().kind == Kind::Leave);
        let gone = !after.contains(&self.me);
        let changed = !events.is_empty() || !returned.is_empty();
        if gone && self.state != GroupState::Active {
            return;
        }
        self.out.extend(events.into_iter().map(Output::Event));
        if gone && !left && self.is_emptied() {
            self.stop(&ops);
            return;
        }
        if gone {
            self.close(if left { GroupState::Left } else { GroupState::Removed });
            return;
        }
        if matches!(self.state, GroupState::Removed | GroupState::Left) {
            self.reopen(cx.now);
        }
        self.hold_back(cx.now, returned);
        if changed {
            self.peers.retain(|member, _| after.contains(member));
            self.heard.retain(|member, _| after.contains(member));
            self.questions.retain(|member, _| after.contains(member));
            self.nacks.keep(|member| after.contains(member));
            self.sending.repairs.keep(|member| after.contains(member));
            let gone: Vec<_> = before.difference(&after).copied().collect();
            gone.iter().for_each(|member| self.gossip.down(member));
            self.forget_inboxes();
            self.out.push_back(Output::Event(Event::Members));
        }
        self.out.push_back(Output::Event(Event::Logs));
        self.watch_classes(cx, &ops);
        self.watch_unadmitted(cx, before, &ops);
        self.watch_absence(cx.now);
        self.watch_returns(before, &ops);
        self.watch_own_ops(cx, &ops);
        self.tend_holds(cx);
        self.watch_moves(cx);
        self.judge_held(cx);
        self.watch_topics(cx);
    }

    /// Who comes back has none of its keys from before: it is sealed to anew, also where the roster
    /// is the same again.
    fn watch_returns(&mut self, before: &BTreeSet<MemberId>, new: &[Op]) {
        let resolution = self.ops.resolve();
        // An op that counts for nothing takes nobody's ratchet away.
        let counts = |op: &&Op| {
            matches!(op.body().kind, Kind::Admit { .. }) && resolution.ended(&op.id()).is_none()
        };
        let admitted = new.iter().filter(counts).filter_map(Op::subject);
        let appeared = resolution.members.keys().filter(|who| !before.contains(who)).copied();
        for member in admitted.chain(appeared).collect::<BTreeSet<_>>() {
            self.sending.pairs.remove(&member);
            self.dirty.mark(Key::PairSend(member));
        }
        let chain = self.sending.chain.as_ref().map(crate::chain::SendChain::id);
        let entry = chain.and_then(|chain| self.receiving.chains.get(&chain));
        let Some(view) = entry.and_then(|it| self.ops.resolve_at(&it.head.head().heads).ok())
        else {
            return;
        };
        if !view.members.keys().all(|member| self.is_still(member, &view)) {
            self.sending.asked = Some(RotationReason::Return);
        }
    }

    /// No member any more: nothing is kept that could open what follows.
    fn close(&mut self, state: GroupState) {
        self.state = state;
        self.dirty.mark(Key::Meta);
        // The topics of before are kept: who left has its last words to put on the logs, and who was
        // removed may hear there that the removal does not count. They open nothing that follows.
        self.turns = super::pairs::Turns::default();
        self.dirty.mark(Key::Turns);
        let closing = self.own_closing();
        let sending = core::mem::take(&mut self.sending);
        self.sending.closing = closing;
        sending.pairs.into_keys().for_each(|member| self.dirty.mark(Key::PairSend(member)));
        sending.inits.into_keys().for_each(|chain| self.dirty.mark(Key::Inits(chain)));
        self.keep_places();
        self.keep_lost();
        let mut receiving = core::mem::take(&mut self.receiving);
        receiving.pairs.into_keys().for_each(|member| self.dirty.mark(Key::PairReceive(member)));
        receiving.parked.into_keys().for_each(|id| self.dirty.mark(Key::Parked(id)));
        // Own chains open nothing: who turns out to be a member still serves its last words.
        let is_own = |entry: &mut Entry| matches!(entry.state, ChainState::Mine { .. });
        self.receiving.chains = receiving.chains.extract_if(.., |_, entry| is_own(entry)).collect();
        for chain in receiving.chains.into_keys() {
            self.dirty.mark(Key::Chain(chain));
            self.dirty.mark(Key::Bundle(chain));
            self.dirty.mark(Key::Classes(chain));
        }
        let held: Vec<MemberId> = self.holds.members().copied().collect();
        self.holds = super::holds::Holds::default();
        held.into_iter().for_each(|member| self.dirty.mark(Key::Hold(member)));
        let slots = self.slots.take_chains(&self.receiving.chains);
        slots.into_iter().for_each(|chain| self.dirty.mark(Key::Ciphertexts(chain)));
        self.nacks = super::nacks::Nacks::default();
        self.be_seen();
        self.receipts.clear();
        self.dirty.mark(Key::Receipts);
        self.close_inboxes();
        self.drain_gossip();
        self.gossip = crate::gossip::Gossip::default();
        self.peers.clear();
        self.close_view();
        self.timers.clear();
        self.answers.clear();
        self.out.push_back(Output::Event(Event::Logs));
        self.out.push_back(Output::Event(Event::Members));
    }

    /// Where no topic to write to is known here, its holders may be gone for good.
    pub(super) fn watch_lost(&mut self, now: Timestamp) {
        if self.write_topics().is_empty() && !self.timers.contains_key(&Timer::Lost) {
            self.set_timer(Timer::Lost, now.plus_ms(LOST_MS + self.turn()));
        }
    }

    pub(super) fn take_cards<'a>(&mut self, cards: impl IntoIterator<Item = &'a [u8]>) {
        let mut changed = false;
        for bytes in cards {
            let Ok(card) = SignedCard::from_bytes(bytes) else { continue };
            let member = card.card().member;
            // Only of people who came by an op: a card alone makes nobody known.
            if self.people.cards.contains_key(&member) && self.people.take_card(card) {
                self.dirty.mark(Key::Card(member));
                changed = true;
            }
        }
        if changed {
            self.out.push_back(Output::Event(Event::Members));
        }
    }

    pub(super) fn take_presence(&mut self, now: Timestamp, from: MemberId, presence: Presence) {
        if self.people.take_presence(from, presence) {
            self.heard_of(now, from, now);
            self.dirty.mark(Key::Presence(from));
            self.out.push_back(Output::Event(Event::Members));
        }
    }

    pub(super) fn take_receipts(&mut self, now: Timestamp, from: MemberId, receipts: Vec<Indexes>) {
        for Indexes { chain, mut indexes } in receipts {
            self.forget_ciphertext(&chain, &from);
            let Some(Entry { state: ChainState::Mine { count }, at, .. }) =
                self.receiving.chains.get(&chain)
            else {
                continue;
            };
            let (count, at) = (*count, *at);
            // It may be told again at any time: it proves no more than that.
            self.heard_of(now, from, at);
            let init = self.sending.inits.get_mut(&chain).and_then(|inits| inits.remove(&from));
            if let Some(epoch) = init {
                self.dirty.mark(Key::Inits(chain));
                if self.sending.pairs.get_mut(&from).is_some_and(|pair| pair.confirm(epoch)) {
                    self.dirty.mark(Key::PairSend(from));
                }
            }
            indexes.retain(|index| *index < count);
            if !indexes.is_empty() {
                let event = Event::Delivered { to: from, chain, indexes };
                self.out.push_back(Output::Event(event));
            }
        }
    }

    /// Somebody lacks something and asks under a topic: the nearest in the roster that has it
    /// answers there, unless another has.
    fn take_public_want<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, said: Said, want: &Want) {
        let heard = self.heard.get(&said.from);
        if heard.is_some_and(|heard| cx.now.ms_since(*heard) < HEARD_MS) {
            return;
        }
        // An old question that somebody repeats is not answered.
        // The asker's clock may have been ahead, and set back since.
        let last = self.questions.get(&said.from).copied();
        let last = last.filter(|last| *last <= cx.now.plus_ms(AHEAD_MS));
        if want.at.is_some() && last >= want.at {
            return;
        }
        if let Some(at) = want.at {
            self.questions.insert(said.from, at);
        }
        self.heard.insert(said.from, cx.now);
        let place = self.ops.resolve().members.keys().position(|member| *member == self.me);
        let jitter = cx.rng.next_u64() % ANSWER_STEP_MS;
        let due = cx.now.plus_ms(place.unwrap_or(0) as u64 * ANSWER_STEP_MS + jitter);
        let answer = |ops| Answer { due, topic: said.topic, ops, messages: BTreeSet::new() };
        // Whoever can't open a bundle learns from it that its chain is not for it.
        for chain in want.bundles.iter().take(64) {
            if self.may_have(&said.from, chain) {
                self.answer(Asked::Bundle(*chain), answer(Vec::new()));
            } else if self.receiving.chains.contains_key(chain) {
                self.answer(Asked::Head(*chain), answer(Vec::new()));
            }
            if self.slots.of(chain, &said.from).is_some() {
                self.answer(Asked::Kem(*chain, said.from), answer(Vec::new()));
            }
        }
        if let Some(heads) = &want.ops_after {
            let mut ops = self.ops.to_tell(heads, self.heads_named());
            ops.truncate(OPS_TOLD);
            if !ops.is_empty() {
                self.answer(Asked::Ops(said.from), answer(ops));
            }
        }
        if want.topics && self.topic_beside(&said.topic).is_some() {
            self.answer(Asked::Topic(said.from), answer(Vec::new()));
        }
        // The author answers on a log at once, the others where it does not; on channels anybody does.
        let mut room = SERVED;
        let (mut mine, mut others) = (Vec::new(), BTreeSet::new());
        for Indexes { chain, indexes } in &want.messages {
            let missing = indexes.iter().copied().take(room).collect();
            let wanted = ChainSummary { chain: *chain, next: u32::MAX, missing };
            let Some((chain, indexes)) = self.lacking(&said.from, &wanted) else { continue };
            room -= indexes.len();
            let entry = self.receiving.chains.get(&chain);
            if entry.is_some_and(|entry| matches!(entry.state, ChainState::Mine { .. })) {
                mine.push((chain, indexes));
            } else {
                others.extend(indexes.into_iter().map(|index| (chain, index)));
            }
        }
        if !mine.is_empty() {
            self.out.push_back(Output::Serve { to: said.from, messages: mine });
        }
        if !others.is_empty() {
            let due = due.plus_ms(OTHERS_MS);
            let answer = Answer { due, messages: others, ..answer(Vec::new()) };
            self.answer(Asked::Messages(said.from), answer);
        }
    }

    /// A message came, perhaps once more: nobody needs to tell it now.
    pub(super) fn is_told(&mut self, chain: ChainId, index: u32) {
        for answer in self.answers.values_mut() {
            answer.messages.remove(&(chain, index));
        }
    }

    /// The same of an envelope that is known.
    pub(super) fn is_told_again(&mut self, bytes: &[u8]) {
        if self.answers.values().any(|answer| !answer.messages.is_empty())
            && let Some((_, header)) = self.topics.peek(bytes)
        {
            self.is_told(header.chain, header.index);
        }
    }

    fn answer(&mut self, asked: Asked, answer: Answer) {
        if self.answers.len() < ANSWERS {
            let due = answer.due;
            self.answers.entry(asked).or_insert(answer);
            self.set_timer(Timer::Answers, due);
        }
    }

    pub(super) fn give_answers<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let due: Vec<Asked> = self
            .answers
            .iter()
            .filter(|(_, answer)| answer.due <= cx.now)
            .map(|(asked, _)| *asked)
            .collect();
        for asked in due {
            let Some(answer) = self.answers.remove(&asked) else { continue };
            match asked {
                Asked::Bundle(chain) => {
                    if let Some(entry) = self.receiving.chains.get(&chain) {
                        let bundle =
                            Bundle { head: entry.head.clone(), pages: entry.pages.clone() };
                        self.publish_bundle(cx, &bundle, &[answer.topic]);
                    }
                }
                Asked::Head(chain) => {
                    if let Some(entry) = self.receiving.chains.get(&chain) {
                        let head = entry.head.as_bytes().into();
                        let wire = BundleWire { head, pages: Vec::new() };
                        let statement = Statement::Bundle(wire);
                        self.publish_control(cx, &statement, &[answer.topic]);
                    }
                }
                Asked::Kem(chain, member) => {
                    for wire in self.slots.wires(&chain, Some(&member)) {
                        self.publish_control(cx, &Statement::Kem(wire), &[answer.topic]);
                    }
                }
                Asked::Ops(_) => {
                    let ops = answer.ops.iter().filter_map(|id| self.ops.op(id));
                    let ops = ops.map(|op| Vec::from(op.as_bytes()).into()).collect();
                    for ops in parts(ops).into_iter().take(OPS_ENVELOPES) {
                        self.publish_control(cx, &Statement::Ops(ops), &[answer.topic]);
                    }
                }
                Asked::Topic(member) => self.hand_over(cx, member, &answer.topic),
                Asked::Messages(to) => {
                    let mut messages: BTreeMap<ChainId, Vec<u32>> = BTreeMap::new();
                    for (chain, index) in answer.messages {
                        messages.entry(chain).or_default().push(index);
                    }
                    if !messages.is_empty() {
                        let messages = messages.into_iter().collect();
                        self.out.push_back(Output::Serve { to, messages });
                    }
                }
            }
        }
        if let Some(next) = self.answers.values().map(|answer| answer.due).min() {
            self.set_timer(Timer::Answers, next);
        }
    }

    /// Hands the topic of the moment to a member that asked for it under another one: in a new
    /// chain, and so sealed to the roster.
    fn hand_over<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, to: MemberId, under: &[u8; 32]) {
        if self.sending.repairs.is_recent(&to, cx.now) {
            return;
        }
        if let Some(topic) = self.topic_beside(under).filter(|_| self.is_member(&to)) {
            self.sending.repairs.note(to, cx.now, self.next_at(cx.now));
            self.rotate_chain(cx, RotationReason::HandOver, Some(&topic), &[*under]);
        }
    }

    /// The secret of a topic to write to that is another one than this.
    fn topic_beside(&self, known: &[u8; 32]) -> Option<TopicSecret> {
        let other = self.write_topics().into_iter().find(|commit| commit != known)?;
        self.topics.secret(&other).cloned()
    }

    /// Whether a chain is known here and sealed to that member too.
    pub(super) fn may_have(&self, member: &MemberId, chain: &ChainId) -> bool {
        self.receiving.chains.get(chain).is_some_and(|entry| {
            let grant = self.ops.grant_at(&entry.head.head().heads, member);
            matches!(grant, Ok(Some(grant)) if self.is_open(&grant))
        })
    }

    /// Whether a grant has not ended.
    fn is_open(&self, grant: &OpId) -> bool {
        let ended = self.ops.resolve().ended(grant);
        ended.is_none_or(|ended| ended.removals.is_empty() && ended.leaves.is_empty())
    }

    /// Whether somebody is in this view by a membership that has not ended since: whoever comes
    /// back reads nothing that is older than its return.
    pub(super) fn is_still(&self, member: &MemberId, view: &Resolution) -> bool {
        view.members.get(member).is_some_and(|standing| self.is_open(&standing.grant))
    }

    pub(super) fn ops_after(&self, heads: &[OpId]) -> Vec<ByteVec> {
        self.ops
            .to_tell(heads, self.heads_named())
            .iter()
            .filter_map(|id| self.ops.op(id))
            .map(|op| Vec::from(op.as_bytes()).into())
            .collect()
    }

    pub(super) fn bundle_wire(&self, chain: &ChainId) -> Option<BundleWire> {
        self.receiving.chains.get(chain).map(|entry| BundleWire {
            head: entry.head.as_bytes().into(),
            pages: entry.pages.iter().map(|page| page.clone().into()).collect(),
        })
    }
}

/// These in order, in parts that each fit an envelope and a frame.
pub(super) fn parts(items: Vec<ByteVec>) -> Vec<Vec<ByteVec>> {
    let mut parts: Vec<Vec<ByteVec>> = Vec::new();
    let mut room = 0;
    for item in items {
        // What each takes beside its bytes is generously counted.
        let bytes = item.len() + 8;
        match parts.last_mut().filter(|_| bytes <= room) {
            Some(part) => part.push(item),
            None => {
                parts.push(Vec::from([item]));
                room = PART;
            }
        }
        room = room.saturating_sub(bytes);
    }
    parts
}
