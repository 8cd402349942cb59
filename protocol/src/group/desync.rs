//! A state that is older than what others have seen of it: a restored backup, or a copy.
//!
//! > What this member signed and this state does not know shows that the state is old. From then on
//! > it reads and does not send, until it has caught up; then it goes on with a new chain after the
//! > newest that is known, sealed to everybody anew.
//!
//! Nobody's word is believed for it: only bundles, ops and messages that this member's own keys signed
//! count. At each start the others are asked for what they have beyond what is known here.
//! docs/spec/storage.md.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{
    Alarm, ChainState, Cx, Event, Group, Output, Timer,
    control::Said,
    records::Key,
    topics::Topic,
    wire::{ChainSummary, Compare, Counted, Shown, Statement},
};
use crate::{
    audit::{Fact, RotationReason},
    bundle::{Closing, Head, SignedHead},
    codec,
    evidence::{Record, follows},
    ids::{ChainId, Incarnation, MemberId, OpId, Timestamp},
    limits::{CHAIN_MESSAGES, LAMPORT_LEAP},
    membership::{Op, Resolution},
    snapshot::SnapshotError,
};

/// Own chains told in a question; the newest.
const TOLD: usize = 8;
/// Heads and messages in one answer.
const HEADS: usize = 4;
const RECORDS: usize = 8;
/// Own chains that were lost, and own chains that were forgotten, remembered at most.
const LOST: usize = 64;
const FORGOTTEN: usize = 4096;
/// Runs of this member that are remembered where the clock has gone ahead, at most.
const RUNS: usize = 1024;
/// By how much the logical clock goes ahead where own messages were lost: more than were said since any copy that is gone
/// back to, and so far as all follow the next message at once, those too who have yet to read the last 65,536.
const LOST_LAMPORT: u64 = LAMPORT_LEAP - (1 << 16);
/// Questions of others that wait to be answered.
const ANSWERS: usize = 64;
/// How long nothing more may have come of what was lost, in milliseconds, until a state counts as
/// caught up.
const QUIET_MS: u64 = 3_000;
/// How soon the others are asked once more, in milliseconds.
const AGAIN_MS: u64 = 1_200;
/// How long sending waits for the proof of what somebody claims, in milliseconds.
const CLAIM_MS: u64 = 2_000;
/// How long it waits for what somebody unknown has to show, who is asked after 2 s, in milliseconds.
const STRANGER_MS: u64 = 4_000;
/// How long each member before this one in the roster is given to answer first, in milliseconds.
const STEP_MS: u64 = 250;

/// What is known of this member's own chains beyond its state.
#[derive(Default)]
pub(super) struct Own {
    /// The grants by which this state joined. Whatever it made itself knows them.
    joined: Vec<OpId>,
    /// Chains that this member made and its state did not know, and how many messages of each
    /// are known.
    lost: BTreeMap<ChainId, u32>,
    /// Own chains that are known no more, because there were too many.
    forgotten: BTreeSet<ChainId>,
    behind: Option<Behind>,
    /// Where the clock has gone ahead, and nothing was said since: the runs of this member that were known then. What
    /// more is found lost of theirs was said before. Another one may be of a state that had gone ahead as well, if this
    /// one is a copy of that, and have said more since.
    ahead: Option<BTreeSet<Incarnation>>,
    /// Whether this run was behind before, or has asked the others.
    recovered: bool,
    asked: bool,
    /// Until when sending waits for the proof of a claim; who made one in this run.
    held: Option<Timestamp>,
    claims: BTreeSet<ChainId>,
    /// Whether somebody who is nobody here held sending up in this run.
    stranger: bool,
    answers: BTreeMap<MemberId, Answer>,
}

#[derive(Clone, Copy)]
struct Behind {
    /// When something of it came last.
    last: Timestamp,
    /// When the others are asked once more: they hear each member once a second.
    again: Option<Timestamp>,
}

struct Answer {
    due: Timestamp,
    topic: [u8; 32],
    known: Vec<Counted>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    behind: bool,
    #[n(1)]
    lost: Vec<Counted>,
    #[n(2)]
    forgotten: Vec<ChainId>,
    #[n(3)]
    joined: Option<Vec<OpId>>,
    #[n(4)]
    ahead: Option<bool>,
    #[n(5)]
    runs: Option<Vec<Incarnation>>,
}

impl Own {
    /// What stays of it when the membership ends: should it go on, it is the same one.
    pub fn of_another_membership(self) -> Self {
        let Self { joined, forgotten, ahead, .. } = self;
        Self { joined, forgotten, ahead, ..Self::default() }
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        let again = self.behind.and_then(|behind| behind.again);
        let behind = self.behind.map(|behind| behind.last.plus_ms(QUIET_MS));
        let answers = self.answers.values().map(|answer| answer.due);
        answers.chain(behind).chain(again).chain(self.held).min()
    }

    pub fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    pub fn is_held(&self, now: Timestamp) -> bool {
        self.held.is_some_and(|held| now < held)
    }
}

impl Group {
    /// Whether this state is older than what others have seen of it: it reads and does not send until
    /// it has caught up.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.own.is_behind()
    }

    /// Notes by which grants this state joined: what this member did before is no part of it.
    pub(super) fn note_joined(&mut self) {
        self.own.joined = self.ops.resolve().grants.get(&self.me).cloned().unwrap_or_default();
        self.dirty.mark(Key::Own);
    }

    /// Whether what was made with these heads is of the membership that this state knows.
    fn is_of_this_membership(&self, heads: &[OpId]) -> bool {
        let past = self.ops.past(heads);
        past.is_ok_and(|past| self.own.joined.iter().all(|grant| past.contains(grant)))
    }

    /// Asks the others, once in each run, what they have of this member beyond what is known here.
    pub(super) fn ask_of_own<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        if !core::mem::replace(&mut self.own.asked, true) {
            self.ask_of_own_now(cx);
        }
    }

    fn ask_of_own_now<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let own = self.newest_own(TOLD);
        let under = self.topics_to_ask_under();
        if !own.is_empty() && !under.is_empty() {
            let compare = Compare { own, records: Vec::new() };
            self.publish_control(cx, &Statement::Compare(compare), &under);
        }
    }

    /// The newest chains that this member made, and how many messages of each are known.
    fn newest_own(&self, most: usize) -> Vec<Counted> {
        let own = self.receiving.chains.iter();
        let own = own.filter(|(_, entry)| entry.head.head().sender == self.me);
        let mut newest: Vec<_> = own.map(|(chain, entry)| (entry.at, *chain)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let chains = newest.into_iter().take(most);
        chains.map(|(_, chain)| Counted { chain, count: self.own_count(&chain) }).collect()
    }

    fn own_count(&self, chain: &ChainId) -> u32 {
        let made = match self.receiving.chains.get(chain).map(|entry| &entry.state) {
            Some(ChainState::Mine { count }) => *count,
            _ => 0,
        };
        made.max(self.own.lost.get(chain).copied().unwrap_or(0))
    }

    /// A bundle that this member signed and this state does not know was taken up.
    pub(super) fn take_own<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        chain: ChainId,
        view: &Resolution,
    ) {
        if self.is_no_loss(chain, view) {
            return;
        }
        self.doubt_clock(chain);
        self.note_lost(chain, 0);
        self.fall_behind(cx);
    }

    /// An own chain of an earlier membership, or one that was forgotten.
    fn is_no_loss(&self, chain: ChainId, view: &Resolution) -> bool {
        let entry = self.receiving.chains.get(&chain);
        !self.is_still(&self.me, view)
            || self.own.forgotten.contains(&chain)
            || entry.is_some_and(|it| !self.is_of_this_membership(&it.head.head().heads))
    }

    /// Ops came; some of them may be this member's own, of another run.
    pub(super) fn watch_own_ops<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, new: &[Op]) {
        let run: Option<Incarnation> = Some(cx.me.incarnation());
        // What was done by a grant that has ended belongs to an earlier membership.
        let grants = self.ops.resolve().grants.get(&self.me);
        let counts = |op: &&Op| {
            op.body().cap.is_none_or(|cap| grants.is_some_and(|grants| grants.contains(&cap)))
        };
        let own = |op: &&Op| op.author() == self.me && op.body().incarnation != run;
        let here = |op: &Op| self.is_of_this_membership(&[op.id()]);
        if new.iter().filter(counts).any(|op| own(&op) && here(op)) {
            self.fall_behind(cx);
        }
    }

    /// An own chain left the table.
    pub(super) fn forget_own(&mut self, chain: ChainId) {
        if self.own.forgotten.len() < FORGOTTEN {
            self.own.forgotten.insert(chain);
            self.dirty.mark(Key::Own);
        }
    }

    /// Own chains that this state did not make are about to leave the table with the membership:
    /// should it go on, they are no loss.
    pub(super) fn keep_lost(&mut self) {
        let chains: Vec<ChainId> = self.own.lost.keys().copied().collect();
        chains.into_iter().for_each(|chain| self.forget_own(chain));
    }

    /// How the newest of this member's chains ends now, lost or not.
    pub(super) fn own_closing(&self) -> Option<Closing> {
        self.newest_closing().or(self.sending.closing_now())
    }

    fn fall_behind<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        self.dirty.mark(Key::Own);
        let again = Some(cx.now.plus_ms(AGAIN_MS));
        let news = self.own.behind.is_none();
        let behind = self.own.behind.get_or_insert(Behind { last: cx.now, again });
        behind.last = cx.now;
        self.set_timer(Timer::View, cx.now.plus_ms(AGAIN_MS));
        if news {
            self.note(cx, Fact::Rollback);
            let alarm = if self.own.recovered { Alarm::Copied } else { Alarm::OldState };
            self.out.push_back(Output::Event(Event::Alarm(alarm)));
            self.own.asked = true;
            self.ask_of_own_now(cx);
        }
    }

    /// Somebody says that it has a message of an own chain that is not known here. Sending waits a
    /// little for the proof; once for each chain, for it may be a lie.
    pub(super) fn claimed(&mut self, now: Timestamp, chain: ChainId, index: u32) {
        let mine = self.receiving.chains.get(&chain).map(|entry| &entry.state);
        let Some(ChainState::Mine { .. }) = mine else { return };
        let known = self.own_count(&chain) > index || index >= CHAIN_MESSAGES;
        if known || self.own.claims.len() >= LOST || !self.own.claims.insert(chain) {
            return;
        }
        self.own.held = self.own.held.max(Some(now.plus_ms(CLAIM_MS)));
        self.own.asked = false;
        self.set_timer(Timer::View, now);
    }

    /// Somebody who is nobody here holds a topic: this state may be older than an admission that it made
    /// itself. Sending waits a little for the proof; once in each run, for whoever has the topic can
    /// be as many as it likes.
    pub(super) fn hold_for_stranger(&mut self, now: Timestamp) {
        if core::mem::replace(&mut self.own.stranger, true) {
            return;
        }
        self.own.held = self.own.held.max(Some(now.plus_ms(STRANGER_MS)));
        self.own.asked = false;
        self.set_timer(Timer::View, now);
    }

    /// A neighbour's summary tells how far it has read own chains.
    pub(super) fn hear_of_own(&mut self, now: Timestamp, chains: &[ChainSummary]) {
        for theirs in chains {
            // Who can't read a chain tells its end.
            if theirs.next < CHAIN_MESSAGES
                && let Some(index) = theirs.next.checked_sub(1)
            {
                self.claimed(now, theirs.chain, index);
            }
        }
    }

    /// What is due of all this.
    pub(super) fn tend_own<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let alone = self.ops.resolve().members.len() <= 1;
        let met = alone || self.is_in_touch();
        if !self.own.asked && (met || !self.peers.is_empty()) {
            self.ask_of_own(cx);
        }
        if self.own.held.is_some_and(|held| held <= cx.now) {
            self.own.held = None;
            self.out.push_back(Output::Event(Event::Ready));
        }
        let again = |behind: &mut Behind| behind.again.take_if(|again| *again <= cx.now);
        if self.own.behind.as_mut().and_then(again).is_some() {
            self.ask_of_own_now(cx);
        }
        let quiet = self.own.behind.is_some_and(|it| it.last.plus_ms(QUIET_MS) <= cx.now);
        if quiet && met {
            self.recover(cx);
        } else if quiet {
            self.own.behind = Some(Behind { last: cx.now, again: None });
        }
        self.answer_owners(cx);
    }

    /// A topic to write to was asked for in vain, in which more of this member's may have been said:
    /// nobody is there who has it, if the others hear this node under one that it has read.
    pub(super) fn recover_under<R: CryptoRng>(&mut self, cx: &Cx<'_, R>, topics: &[[u8; 32]]) {
        let read = |commit: &[u8; 32]| self.topics.topic(commit).is_some_and(Topic::is_read);
        if self.is_behind() && topics.iter().any(read) {
            self.recover(cx);
        }
    }

    /// Goes on after what is known of this member now, in a new chain that is sealed to everybody
    /// as at first.
    fn recover<R: CryptoRng>(&mut self, cx: &Cx<'_, R>) {
        self.own.behind = None;
        self.own.recovered = true;
        self.dirty.mark(Key::Own);
        self.sending.closing = self.own_closing();
        self.sending.chain = None;
        self.sending.asked = Some(RotationReason::Restart);
        self.dirty.mark(Key::Meta);
        for (member, pair) in &mut self.sending.pairs {
            pair.reset();
            self.dirty.mark(Key::PairSend(*member));
        }
        // What it said and has lost stands before what it says from now on. Once more, and nobody would follow.
        if self.own.ahead.is_none() {
            self.lamport = self.lamport.saturating_add(LOST_LAMPORT);
            self.own.ahead = Some(self.runs_but(cx.me.incarnation()));
        }
        self.out.push_back(Output::Event(Event::CaughtUp));
        self.out.push_back(Output::Event(Event::Ready));
    }

    /// This member has said something: what it loses from now on may stand behind that.
    pub(super) fn has_spoken(&mut self) {
        if self.own.ahead.take().is_some() {
            self.dirty.mark(Key::Own);
        }
    }

    /// The runs of this member that are known, but the present one: what that says, it has yet to say.
    fn runs_but(&self, present: Incarnation) -> BTreeSet<Incarnation> {
        let heads = self.receiving.chains.values().map(|entry| entry.head.head());
        let chains = heads.filter(|head| head.sender == self.me).map(|head| head.incarnation);
        let ops = self.ops.iter().filter(|op| op.author() == self.me);
        let runs = chains.chain(ops.filter_map(|op| op.body().incarnation));
        let mut known = BTreeSet::new();
        for run in runs.filter(|run| *run != present) {
            if known.len() < RUNS {
                known.insert(run);
            }
        }
        known
    }

    /// How the newest of this member's chains ended, as far as it is known, where that is one that was
    /// lost. Which message was its last is not.
    fn newest_closing(&self) -> Option<Closing> {
        let own = self.receiving.chains.values();
        let own = own.filter(|entry| entry.head.head().sender == self.me);
        let followed: BTreeSet<ChainId> =
            own.clone().filter_map(|entry| follows(&entry.head)).collect();
        let tips = own.filter(|entry| !followed.contains(&entry.head.chain()));
        let tip = tips.max_by_key(|entry| entry.at)?;
        let chain = tip.head.chain();
        let count = self.own.lost.get(&chain).copied()?;
        let before = tip.head.head().closing.and_then(|closing| closing.last);
        Some(Closing { chain, count, last: if count == 0 { before } else { None } })
    }

    /// A member asks what is known of its own chains beyond what it tells.
    pub(super) fn answer_own<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        said: Said,
        mut known: Vec<Counted>,
    ) {
        known.truncate(TOLD);
        if self.own.answers.len() >= ANSWERS || self.beyond(said.from, &known).is_none() {
            return;
        }
        let members = &self.ops.resolve().members;
        let place = members.keys().position(|member| *member == self.me).unwrap_or(0) as u64;
        let due = cx.now.plus_ms(place * STEP_MS + cx.rng.next_u64() % STEP_MS);
        self.own.answers.insert(said.from, Answer { due, topic: said.topic, known });
        self.set_timer(Timer::View, due);
    }

    fn answer_owners<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let due = self.own.answers.iter().filter(|(_, answer)| answer.due <= cx.now);
        let due: Vec<MemberId> = due.map(|(member, _)| *member).collect();
        for member in due {
            let Some(answer) = self.own.answers.remove(&member) else { continue };
            if let Some(shown) = self.beyond(member, &answer.known) {
                self.publish_control(cx, &Statement::Shown(shown), &[answer.topic]);
            }
        }
    }

    /// What is known here of a member's chains beyond what it knows of them itself.
    fn beyond(&self, of: MemberId, known: &[Counted]) -> Option<Shown> {
        let chains = self.receiving.chains.iter();
        let theirs = chains.filter(|(_, entry)| entry.head.head().sender == of);
        let is_told = |chain: &ChainId| known.iter().any(|told| told.chain == *chain);
        let newest = theirs.clone().filter(|(chain, _)| is_told(chain)).map(|(_, it)| it.at).max();
        let mut unknown: Vec<_> = theirs
            .filter(|(chain, entry)| !is_told(chain) && newest.is_none_or(|at| entry.at > at))
            .map(|(chain, entry)| (entry.at, *chain))
            .collect();
        unknown.sort_unstable_by(|a, b| b.cmp(a));
        let unknown: Vec<ChainId> =
            unknown.into_iter().take(HEADS).map(|(_, chain)| chain).collect();
        let heads = unknown.iter().filter_map(|chain| self.receiving.chains.get(chain));
        let heads: Vec<_> = heads.map(|it| Vec::from(it.head.as_bytes()).into()).collect();
        let unknown = unknown.iter().map(|chain| (*chain, 0));
        let told = known.iter().map(|told| (told.chain, told.count));
        let is_theirs = |chain: &ChainId| {
            self.receiving.chains.get(chain).is_some_and(|it| it.head.head().sender == of)
        };
        let records: Vec<Record> = unknown
            .chain(told)
            .filter(|(chain, _)| is_theirs(chain))
            .filter_map(|(chain, count)| {
                let (index, kept) = self.witness.last_from(&chain, count)?;
                Some(kept.record(chain, index))
            })
            .take(RECORDS)
            .collect();
        let empty = heads.is_empty() && records.is_empty();
        (!empty).then_some(Shown { to: of, heads, records })
    }

    /// Somebody shows what a member signed beyond what it said it knows.
    pub(super) fn take_shown<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, shown: Shown) {
        if shown.to != self.me {
            if self.own.answers.get(&shown.to).is_some_and(|answer| self.covers(&shown, answer)) {
                self.own.answers.remove(&shown.to);
            }
            for record in shown.records.iter().take(RECORDS) {
                self.compare(cx, record);
            }
            return;
        }
        for head in shown.heads.into_iter().take(HEADS) {
            let is_own =
                SignedHead::from_bytes(&head).is_ok_and(|head| head.head().sender == self.me);
            if is_own {
                let pages = Vec::new();
                self.take_bundle(cx, super::wire::BundleWire { head: head.into(), pages });
            }
        }
        for record in shown.records.iter().take(RECORDS) {
            self.take_own_message(cx, record);
        }
    }

    /// Whether somebody else's answer leaves nothing to say.
    fn covers(&self, shown: &Shown, answer: &Answer) -> bool {
        let Some(own) = self.beyond(shown.to, &answer.known) else { return true };
        let heads = own.heads.iter().all(|head| shown.heads.contains(head));
        let reaches = |record: &Record| {
            shown.records.iter().any(|it| it.chain == record.chain && it.index >= record.index)
        };
        heads && own.records.iter().all(reaches)
    }

    /// A message that this member signed, and perhaps its state does not know.
    fn take_own_message<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, record: &Record) {
        let Some(entry) = self.receiving.chains.get(&record.chain) else { return };
        let signed = entry.head.head().sender == self.me && record.is_of(&self.id, &entry.head);
        if !signed {
            return;
        }
        if record.index < self.own_count(&record.chain) {
            self.compare(cx, record);
            return;
        }
        let view = self.ops.resolve_at(&entry.head.head().heads);
        if view.is_ok_and(|view| self.is_no_loss(record.chain, &view)) {
            return;
        }
        self.doubt_clock(record.chain);
        self.note_lost(record.chain, record.index + 1);
        self.fall_behind(cx);
    }

    /// More is found lost. Where a state may have said it that had gone ahead already, the clock goes ahead anew.
    fn doubt_clock(&mut self, chain: ChainId) {
        let head = self.receiving.chains.get(&chain).map(|entry| entry.head.head());
        let (Some(runs), Some(head)) = (&self.own.ahead, head) else { return };
        if !runs.contains(&head.incarnation) && !self.is_of_a_whole_state(head) {
            self.own.ahead = None;
        }
    }

    /// Whether who made a chain has lost nothing of the one before, of which this state has: it names the last message.
    fn is_of_a_whole_state(&self, head: &Head) -> bool {
        let (Some(own), Some(theirs)) = (self.sending.closing, head.closing) else { return false };
        let has_lost = own.count > 0 && own.last.is_none();
        has_lost && own.chain == theirs.chain && theirs.last.is_some()
    }

    /// Remembers how many messages an own chain has that this state did not know.
    fn note_lost(&mut self, chain: ChainId, count: u32) {
        let lost = &mut self.own.lost;
        if lost.len() >= LOST && !lost.contains_key(&chain) {
            let at = |chain: &ChainId| self.receiving.chains.get(chain).map(|entry| entry.at);
            if let Some(oldest) = lost.keys().min_by_key(|chain| at(chain)).copied() {
                lost.remove(&oldest);
            }
        }
        let known = lost.entry(chain).or_insert(0);
        *known = count.max(*known);
    }

    pub(super) fn own_record(&self) -> Option<Vec<u8>> {
        let own = &self.own;
        let empty = own.behind.is_none() && own.lost.is_empty() && own.forgotten.is_empty();
        let empty = empty && own.joined.is_empty() && own.ahead.is_none();
        let lost = own.lost.iter();
        (!empty).then(|| {
            codec::encode(&Stored {
                behind: own.behind.is_some(),
                lost: lost.map(|(chain, count)| Counted { chain: *chain, count: *count }).collect(),
                forgotten: own.forgotten.iter().copied().collect(),
                joined: (!own.joined.is_empty()).then(|| own.joined.clone()),
                ahead: own.ahead.as_ref().map(|_| true),
                runs: own.ahead.as_ref().map(|runs| runs.iter().copied().collect()),
            })
        })
    }

    pub(super) fn load_own(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let stored: Stored = codec::decode(bytes).map_err(|_| SnapshotError::Damaged)?;
        let again = Some(Timestamp(0));
        self.own.behind = stored.behind.then_some(Behind { last: Timestamp(0), again });
        self.own.lost = stored.lost.into_iter().map(|it| (it.chain, it.count)).collect();
        self.own.forgotten = stored.forgotten.into_iter().collect();
        self.own.joined = stored.joined.unwrap_or_default();
        let ahead = stored.ahead.unwrap_or_default();
        self.own.ahead = ahead.then(|| stored.runs.into_iter().flatten().collect());
        Ok(())
    }
}
