//! Away for longer than anything is kept: who has heard of no new topic for three weeks asks the
//! members, in their inboxes, how things stand.
//!
//! > The answer goes sealed to whoever asks and is still a member. Who was removed is told the ops
//! > that say so, and nothing that came after them. Who is answered by nobody is told that.
//!
//! Until then nothing is sealed: it would go where nobody reads. docs/spec/sync.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    Cx, Event, Group, GroupState, Output, Timer,
    control::{Said, parts},
    inbox::POSTED,
    people::card_in,
    records::Key,
    wire::{HandOver, InboxAddress, Resync, ResyncReq, Statement},
};
use crate::ids::{MemberId, OpId, Timestamp};

/// A topic that nothing has followed for so long says that this node is out of touch, in
/// milliseconds: three weeks, of which each would have brought another.
const SILENCE_MS: u64 = 21 * 24 * 60 * 60 * 1000;
/// Relays are given this long to show what they have, in milliseconds.
const FIRST_MS: u64 = 15_000;
/// The next members are asked after this, in milliseconds.
const ROUND_MS: u64 = 30_000;
/// Members asked at once, and rounds before people are told.
const ASKED: usize = 3;
const ROUNDS: u32 = 6;
/// From then on, this often: six hours.
const LATER_MS: u64 = 6 * 60 * 60 * 1000;
/// Askers of whom the last question is remembered.
const ASKERS: usize = 1024;
/// One asker is answered this often at most, in milliseconds: a member, and somebody who is none.
const MEMBER_MS: u64 = ROUND_MS / 2;
const OTHER_MS: u64 = 60 * 60 * 1000;
/// People who are no members that are answered in an hour, in all.
const OTHERS: usize = 16;
/// How far an asker's clock may be ahead, in milliseconds: an hour.
const AHEAD_MS: u64 = 60 * 60 * 1000;
/// Envelopes of ops, and of cards and inboxes, in one answer.
const ENVELOPES: usize = 64;
/// Questions whose answers are still taken.
const NONCES: usize = 32;
/// What began longer ago is kept by no relay, in milliseconds: 45 days, for an epoch and a relay's
/// time.
const KEPT_MS: u64 = 45 * 24 * 60 * 60 * 1000;
/// Heads told with a question.
const HEADS: usize = 64;

/// Where a search for word of the group stands. None of it is stored: a restart begins again.
#[derive(Default)]
pub(super) struct Word {
    /// The questions of this search.
    nonces: Vec<[u8; 16]>,
    asked: BTreeSet<MemberId>,
    rounds: u32,
    /// Since when nothing was heard, while that is so.
    since: Option<Timestamp>,
    /// Whether people were told.
    told: bool,
    /// Whether this node was away, and has not asked yet for the topics of epochs between.
    was_away: bool,
    answered: Answered,
}

/// The last question of each asker that was answered.
#[derive(Default)]
struct Answered(BTreeMap<MemberId, Last>);

struct Last {
    /// When it was asked, by the asker's clock.
    asked: Timestamp,
    /// When it was answered, by this node's.
    answered: Timestamp,
    member: bool,
}

impl Answered {
    /// Whether a question that was asked `at` is answered now, which is noted.
    fn take(&mut self, from: MemberId, member: bool, at: Timestamp, now: Timestamp) -> bool {
        if at > now.plus_ms(AHEAD_MS) {
            return false;
        }
        // A clock that was set back since, here or there, silences nobody.
        let last = self.0.get(&from).filter(|last| last.answered <= now);
        let repeated = last.is_some_and(|last| {
            let pause = if member || last.member { MEMBER_MS } else { OTHER_MS };
            let known = last.asked <= now.plus_ms(AHEAD_MS);
            last.is_within(pause, now) || known && at.ms_since(last.asked) < MEMBER_MS
        });
        let others = self.0.values().filter(|last| !last.member && last.is_within(OTHER_MS, now));
        if repeated || !member && others.count() >= OTHERS {
            return false;
        }
        if self.0.len() >= ASKERS && !self.0.contains_key(&from) {
            let oldest = self.0.iter().min_by_key(|(_, last)| last.answered);
            let oldest = oldest.map(|(member, _)| *member);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        self.0.insert(from, Last { asked: at, answered: now, member });
        true
    }
}

impl Word {
    /// Whether somebody who is no member may be told so, by what was told lately.
    pub(super) fn may_tell(&self, to: &MemberId, now: Timestamp) -> bool {
        !self.answered.0.get(to).is_some_and(|last| last.is_within(OTHER_MS, now))
    }

    /// Whether it is, which is noted.
    pub(super) fn tells(&mut self, to: MemberId, now: Timestamp) -> bool {
        self.may_tell(&to, now) && self.answered.take(to, false, now, now)
    }
}

impl Last {
    fn is_within(&self, pause: u64, now: Timestamp) -> bool {
        self.answered <= now && now.ms_since(self.answered) < pause
    }
}

impl Group {
    /// Whether this node waits for word of the group before it seals anything.
    pub(super) fn is_out_of_touch(&self, now: Timestamp) -> bool {
        let alone = self.ops.resolve().members.len() <= 1;
        let met = self.peers.values().any(|peer| peer.synced);
        let silent = self.topic_learnt().is_some_and(|at| now.ms_since(at) > SILENCE_MS);
        silent && !alone && !met && !self.word.told
    }

    /// Sets when word of the group is sought; notes when it has come.
    pub(super) fn watch_word(&mut self, now: Timestamp) {
        if self.ops.resolve().members.len() <= 1 {
            self.confirm_topics(now);
        }
        let Some(learnt) = self.topic_learnt() else { return };
        let due = learnt.plus_ms(SILENCE_MS);
        if due > now {
            if let Some(since) = self.word.since.take() {
                self.out.push_back(Output::Event(Event::BackInTouch { since }));
            }
            let word = core::mem::take(&mut self.word);
            (self.word.answered, self.word.was_away) = (word.answered, word.was_away);
            let next = if word.was_away { now.plus_ms(FIRST_MS) } else { due.plus_ms(FIRST_MS) };
            self.timers.insert(Timer::Word, next);
        } else {
            self.word.was_away = true;
            self.word.since.get_or_insert(learnt);
            self.timers.entry(Timer::Word).or_insert(now.plus_ms(FIRST_MS));
        }
    }

    /// Asks a few members who were not asked yet, those who are senior first.
    pub(super) fn seek_word<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let Some(learnt) = self.topic_learnt() else { return };
        let silent = cx.now.ms_since(learnt) > SILENCE_MS;
        if self.ops.resolve().members.len() <= 1 {
            return self.watch_word(cx.now);
        }
        if !silent {
            let was_away = core::mem::take(&mut self.word.was_away);
            self.watch_word(cx.now);
            if was_away && self.lacks_between(cx.now) {
                let turn = self.next_asked();
                self.ask_how_things_stand(cx, turn);
            }
            return;
        }
        self.timers.insert(Timer::Word, cx.now.plus_ms(ROUND_MS));
        if !self.relays_up {
            return;
        }
        self.word.since = Some(learnt);
        let turn = self.next_asked();
        if turn.is_empty() || self.word.rounds >= ROUNDS {
            self.word.asked.clear();
            self.word.rounds = 0;
            self.timers.insert(Timer::Word, cx.now.plus_ms(LATER_MS));
            if !core::mem::replace(&mut self.word.told, true) {
                self.out.push_back(Output::Event(Event::NoWord { since: learnt }));
                self.out.push_back(Output::Event(Event::Ready));
            }
            return;
        }
        self.word.rounds += 1;
        self.ask_how_things_stand(cx, turn);
    }

    /// Whether an epoch began while this node was a member, whose log may still be kept, and whose
    /// secret it has not.
    fn lacks_between(&self, now: Timestamp) -> bool {
        let since = self.ops.resolve().members.get(&self.me).map(|standing| standing.grant);
        let own = since.and_then(|grant| self.ops.iter().position(|op| op.id() == grant));
        let mut later = self.ops.iter().skip(own.unwrap_or(0));
        later.any(|op| {
            let commit = op.body().kind.topic_commit();
            now.ms_since(op.body().at) < KEPT_MS
                && commit.is_some_and(|commit| self.topics.topic(&commit).is_none())
        })
    }

    fn ask_how_things_stand<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, turn: Vec<MemberId>) {
        let mut nonce = [0; 16];
        cx.rng.fill_bytes(&mut nonce);
        if self.word.nonces.len() >= NONCES {
            self.word.nonces.remove(0);
        }
        self.word.nonces.push(nonce);
        for member in turn {
            self.word.asked.insert(member);
            let request = Statement::ResyncReq(ResyncReq {
                nonce,
                at: cx.now,
                heads: self.ops.heads().into_iter().take(HEADS).collect(),
                card: cx.me.card().as_bytes().into(),
                inbox: self.own_inbox_statement(),
            });
            self.post_open(cx, member, &request);
        }
    }

    fn next_asked(&self) -> Vec<MemberId> {
        let members = &self.ops.resolve().members;
        let mut left: Vec<_> = self
            .known_inboxes()
            .filter(|member| !self.word.asked.contains(member))
            .filter_map(|member| Some((members.get(&member)?.rank, member)))
            .collect();
        left.sort_unstable();
        left.into_iter().take(ASKED).map(|(_, member)| member).collect()
    }

    /// Somebody who was away asks.
    pub(super) fn take_resync_req<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: MemberId,
        asked: &ResyncReq,
    ) {
        // Only of people who are or were members there are cards.
        if !self.people.cards.contains_key(&from) || asked.heads.len() > HEADS {
            return;
        }
        if !self.word.answered.take(from, self.is_member(&from), asked.at, cx.now) {
            return;
        }
        self.take_cards([asked.card.as_slice()]);
        if self.is_member(&from) {
            self.take_inbox(cx.now, &asked.inbox);
            self.tell_how_things_stand(cx, from, asked);
        } else if let Some(address) = self.parting_inbox(from, &asked.inbox) {
            self.tell_removal(cx, from, &address, &asked.heads);
        }
    }

    /// What a Welcome would tell, beginning where the asker stopped: ops, topics, cards, inboxes.
    fn tell_how_things_stand<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        asked: &ResyncReq,
    ) {
        for ops in parts(self.ops_after(&asked.heads)).into_iter().take(ENVELOPES) {
            self.to_inbox(cx, to, &Statement::Ops(ops));
        }
        for topic in self.topics_of(&to) {
            self.to_inbox(cx, to, &Statement::HandOver(topic));
        }
        let nonce = asked.nonce;
        for cards in parts(self.renewed_cards()).into_iter().take(ENVELOPES) {
            let part = Resync { nonce, cards, inboxes: Vec::new(), heads: None };
            self.to_inbox(cx, to, &Statement::Resync(part));
        }
        for inboxes in parts(self.inbox_statements()).into_iter().take(ENVELOPES) {
            let part = Resync { nonce, cards: Vec::new(), inboxes, heads: None };
            self.to_inbox(cx, to, &Statement::Resync(part));
        }
        let heads = Some(self.ops.heads().into_iter().take(HEADS).collect());
        let last = Resync { nonce, cards: Vec::new(), inboxes: Vec::new(), heads };
        self.to_inbox(cx, to, &Statement::Resync(last));
    }

    /// The topics known here that somebody was entitled to when they began, with their ops; none
    /// for who is on hold.
    pub(super) fn topics_of(&self, member: &MemberId) -> Vec<HandOver> {
        if !self.may_know_topics(member) {
            return Vec::new();
        }
        let order = self.topics_in_order();
        let op_of = |commit: &[u8; 32]| {
            self.ops.iter().find(|op| op.body().kind.topic_commit().as_ref() == Some(commit))
        };
        order
            .iter()
            .filter_map(|commit| {
                let (op, secret) = (op_of(commit)?, self.topics.secret(commit)?);
                let view = self.ops.resolve_at(&[op.id()]).ok()?;
                let told = HandOver { op: op.as_bytes().into(), topic: *secret.as_bytes() };
                self.is_still(member, &view).then_some(told)
            })
            .collect()
    }

    /// The cards that are newer than those in the ops.
    fn renewed_cards(&self) -> Vec<ByteVec> {
        let mut cards = self.people.cards.clone();
        for card in self.ops.iter().filter_map(card_in) {
            if cards.get(&card.card().member).is_some_and(|it| it.card().seq <= card.card().seq) {
                cards.remove(&card.card().member);
            }
        }
        cards.values().map(|card| Vec::from(card.as_bytes()).into()).collect()
    }

    /// Tells somebody who is no member any more the removal, and what was before it.
    fn tell_removal<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        to: MemberId,
        address: &InboxAddress,
        heads: &[OpId],
    ) {
        let ops = self.ops_for_gone(&to, heads);
        let ops = ops.iter().filter_map(|id| self.ops.op(id));
        let ops = ops.map(|op| Vec::from(op.as_bytes()).into()).collect();
        for ops in parts(ops).into_iter().take(ENVELOPES) {
            self.post(cx, to, Some(address), &Statement::Ops(ops));
        }
    }

    /// A member answers.
    pub(super) fn take_resync<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: &Said,
        answer: &Resync,
    ) {
        if said.topic != POSTED || !self.word.nonces.contains(&answer.nonce) {
            return;
        }
        self.take_cards(answer.cards.iter().map(|card| card.as_slice()));
        answer.inboxes.iter().for_each(|control| self.take_inbox(cx.now, control));
        let Some(heads) = &answer.heads else { return };
        self.take_handed(cx);
        // Where a part was held back, the others are asked on.
        let whole = heads.iter().all(|head| self.ops.contains(head)) && !self.lacks_topics();
        if self.state != GroupState::Active || !whole {
            return;
        }
        self.confirm_topics(cx.now);
        self.watch_epoch(cx.now);
        self.out.push_back(Output::Event(Event::Ready));
    }

    /// The topics of the moment are in use.
    fn confirm_topics(&mut self, now: Timestamp) {
        for commit in self.write_topics() {
            if self.topics.confirm(&commit, now) {
                self.dirty.mark(Key::Topic(commit));
            }
        }
    }
}
