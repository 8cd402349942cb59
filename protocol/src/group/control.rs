//! What members' nodes tell one another beside messages: ops, bundles, cards, presence, receipts,
//! and what they lack.

use alloc::{collections::BTreeSet, vec::Vec};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    ChainState, Cx, Entry, Event, Group, GroupState, Output, Timer,
    answering::Asked,
    people::card_in,
    records::Key,
    wire::{BundleWire, Indexes, Presence, Statement},
};
use crate::{
    audit::RotationReason,
    identity::SignedCard,
    ids::{ChainId, MemberId, OpId, Timestamp},
    membership::{Ended, Kind, Op, Resolution},
};

/// Bytes of ops or cards said at once.
pub(super) const PART: usize = 30_000;
/// How long the newest topic may be unknown here before this node begins another, in milliseconds.
const LOST_MS: u64 = 60_000;

/// Who said a statement, and under which topic.
#[derive(Clone, Copy)]
pub(super) struct Said {
    pub from: MemberId,
    pub topic: [u8; 32],
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
            Statement::Seen(spans) => self.take_seen(cx.now, said.from, spans),
            Statement::SlotNack(chain) => self.take_nack(cx, said, chain),
            Statement::Want(want) => self.take_public_want(cx, said, &want),
            // Taken with the bytes that its owner signed.
            Statement::Inbox(_) => {}
            Statement::Sealed(sealed) if sealed.to == self.me => {
                // What does not open is dropped; nobody is told.
                let _ = self.take_sealed(cx, &sealed.sealed);
            }
            // Perhaps the answer to who is out.
            Statement::Sealed(sealed) => drop(self.answers.remove(&Asked::Gone(sealed.to))),
            Statement::HandOver(topic) => self.take_hand_over(cx, &said, topic),
            Statement::Notice(notice) => self.take_notice(cx, notice),
            Statement::Reads(reads) => self.take_reads(cx, said, reads),
            Statement::Compare(compare) => self.take_compare(cx, said, compare),
            Statement::Shown(shown) => self.take_shown(cx, shown),
            Statement::Kem(kem) => self.take_ciphertexts(cx, said.from, kem),
            Statement::Resync(answer) => self.take_resync(cx, &said, &answer),
            Statement::Ping(ping) => self.take_ping(cx, &said, ping.nonce),
            Statement::Pong(pong) => self.take_pong(&said, &pong),
            Statement::Talk(talk) => self.take_talk(cx.now, &said, &talk),
            Statement::Circuit(asked) => self.take_circuit(cx.now, &said, &asked),
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
            events.push(Event::Policy { relays: self.relays_named(&ops) });
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
        let emptied = if gone && !left { self.emptied_by() } else { None };
        if let Some(by) = emptied {
            self.stop(by);
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
        self.watch_conduct();
        self.out.push_back(Output::Event(Event::Logs));
        self.watch_classes(cx, &ops);
        self.watch_unadmitted(cx, before, &ops);
        self.watch_absence(cx.now);
        self.watch_returns(before, &ops);
        self.watch_own_ops(cx, &ops);
        self.tend_holds(cx);
        self.watch_moves(cx);
        self.hold_shut();
        self.judge_held(cx);
        self.watch_topics(cx);
    }

    /// Tells of another conduct than was told of.
    fn watch_conduct(&mut self) {
        let (before, now, by) = {
            let resolution = self.ops.resolve();
            (self.conducted, resolution.conduct, resolution.conduct_by)
        };
        if before != now {
            self.conducted = now;
            self.out.push_back(Output::Event(Event::Conduct { by, before, now }));
        }
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
        // Who is a member by a grant beside its removal may have heard of that first, and lost its keys.
        let ends = |op: &OpId| new.iter().any(|it| it.id() == *op);
        let ended = resolution.ended.values();
        let ended = ended.filter(|it| it.removals.iter().chain(&it.leaves).any(ends));
        let spared = ended.map(|it| it.member).filter(|who| resolution.is_member(who));
        let appeared = resolution.members.keys().filter(|who| !before.contains(who)).copied();
        for member in admitted.chain(appeared).chain(spared).collect::<BTreeSet<_>>() {
            self.sending.pairs.remove(&member);
            self.dirty.mark(Key::PairSend(member));
        }
        let chain = self.sending.chain.as_ref().map(crate::chain::SendChain::id);
        let entry = chain.and_then(|chain| self.receiving.chains.get(&chain));
        let Some(view) = entry.and_then(|it| self.ops.resolve_at(&it.head.head().heads).ok())
        else {
            return;
        };
        if !self.is_as_it_was(&view) {
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
        let again = receiving.held.iter().filter(|(_, held)| held.again.is_some());
        let again = again.map(|(chain, _)| *chain);
        for chain in receiving.chains.into_keys().chain(again) {
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
            indexes.sort_unstable();
            indexes.dedup();
            if !indexes.is_empty() {
                let event = Event::Delivered { to: from, chain, indexes };
                self.out.push_back(Output::Event(event));
            }
        }
    }

    /// Whether a chain is known here and sealed to that member too.
    pub(super) fn may_have(&self, member: &MemberId, chain: &ChainId) -> bool {
        self.receiving.chains.get(chain).is_some_and(|entry| {
            let grant = self.ops.grant_at(&entry.head.head().heads, member);
            matches!(grant, Ok(Some(grant)) if self.ops.goes_on(&grant))
        })
    }

    /// Whether somebody is in this view by a membership that has not ended since: whoever comes
    /// back reads nothing that is older than its return.
    pub(super) fn is_still(&self, member: &MemberId, view: &Resolution) -> bool {
        view.members.get(member).is_some_and(|standing| self.ops.goes_on(&standing.grant))
    }

    /// Whether none of the grants by which this view has its members has ended since, be it beside
    /// another one that stands: its member may have heard of the end first, and lost its keys.
    pub(super) fn is_as_it_was(&self, view: &Resolution) -> bool {
        view.members.values().all(|standing| {
            let ended = self.ops.resolve().ended(&standing.grant);
            ended.is_none_or(Ended::is_void_alone)
        })
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
