//! Proofs of equivocation and suspicions of a clone: found, told, kept.
//!
//! > Each notice is checked by whoever gets it, told to people once, and kept: at most
//! > [`NOTICES_OF_ONE`] of each kind about one member.
//!
//! docs/spec/consistency.md.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{
    Alarm, Cx, Event, Group, Output, Timer,
    records::Key,
    wire::{Frame, Statement},
};
use crate::{
    audit::Fact,
    bundle::SignedHead,
    chain::HeadRef,
    evidence::{EquivocationProof, Finding, Notice, PATH, Subject, Verdict, follows, is_return},
    ids::{ChainId, MemberId, Timestamp},
    limits::{NOTICE_BYTES, NOTICES, NOTICES_OF_ONE},
    membership::{Kind, Op},
    snapshot::SnapshotError,
};

/// How long each member before this one in the roster is given to tell first, in milliseconds.
const STEP_MS: u64 = 250;
/// Notices told to a neighbour at once.
const AT_ONCE: usize = 16;

/// The notices that are known, and those to be told.
#[derive(Default)]
pub(super) struct Notices {
    known: BTreeMap<Subject, (Finding, Notice)>,
    to_tell: BTreeMap<Subject, Timestamp>,
}

/// Where a notice comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Learnt {
    /// It was found here: the others may not know it.
    Here,
    /// A neighbour told it, from what it keeps.
    Beside,
    /// Somebody told everybody.
    Told,
}

impl Notices {
    /// Whether two contents of this place are proven.
    pub fn is_proven(&self, chain: &ChainId, index: u32) -> bool {
        self.known.values().any(|(_, notice)| place(notice) == Some((*chain, index)))
    }

    pub fn deadline(&self) -> Option<Timestamp> {
        self.to_tell.values().copied().min()
    }

    fn has_room(&self, finding: &Finding) -> bool {
        let alike =
            |known: &Finding| known.accused == finding.accused && known.verdict == finding.verdict;
        let of_one = self.known.values().filter(|(known, _)| alike(known)).count();
        self.known.len() < NOTICES && of_one < NOTICES_OF_ONE
    }
}

fn place(notice: &Notice) -> Option<(ChainId, u32)> {
    match notice {
        Notice::Equivocation(EquivocationProof::Contents(_, both)) => {
            Some((both[0].chain, both[0].index))
        }
        _ => None,
    }
}

impl Group {
    /// What is known of members who signed what does not go together, with the proof.
    pub fn notices(&self) -> impl Iterator<Item = (&Finding, &Notice)> {
        self.notices.known.values().map(|(finding, notice)| (finding, notice))
    }

    /// Takes a notice in, if it shows something new.
    pub(super) fn learn<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        notice: Notice,
        learnt: Learnt,
    ) {
        let Ok(finding) = notice.verify(&self.id) else { return };
        if self.notices.known.contains_key(&finding.subject) {
            if learnt == Learnt::Told {
                self.notices.to_tell.remove(&finding.subject);
            }
            return;
        }
        if !self.people.cards.contains_key(&finding.accused) || !self.notices.has_room(&finding) {
            return;
        }
        if let Some((chain, index)) = place(&notice) {
            self.settle_doubt(chain, index);
        }
        if learnt == Learnt::Here && notice.to_bytes().len() <= NOTICE_BYTES {
            let members = &self.ops.resolve().members;
            let place = members.keys().position(|member| *member == self.me).unwrap_or(0) as u64;
            let due = cx.now.plus_ms(place * STEP_MS + cx.rng.next_u64() % STEP_MS);
            self.notices.to_tell.insert(finding.subject, due);
            self.set_timer(Timer::View, due);
        }
        self.notices.known.insert(finding.subject, (finding, notice));
        self.dirty.mark(Key::Notice(finding.subject));
        let who = finding.accused;
        let (alarm, fact) = match finding.verdict {
            Verdict::Equivocation => (Alarm::Equivocation(who), Fact::Equivocation(who)),
            Verdict::Clone => (Alarm::Clone(who), Fact::Clone(who)),
        };
        self.note(cx, fact);
        self.out.push_back(Output::Event(Event::Alarm(alarm)));
    }

    /// A notice came.
    pub(super) fn take_notice<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, notice: Notice) {
        self.learn(cx, notice, Learnt::Told);
    }

    /// A neighbour tells the notices that it knows.
    pub(super) fn take_notices<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, notices: &[ByteVec]) {
        for notice in notices.iter().take(AT_ONCE) {
            if let Ok(notice) = Notice::from_bytes(notice) {
                self.learn(cx, notice, Learnt::Beside);
            }
        }
    }

    /// Tells a neighbour what is known of members.
    pub(super) fn tell_notices(&mut self, to: MemberId) {
        let current = |(finding, _): &&(Finding, Notice)| self.is_member(&finding.accused);
        let known = self.notices.known.values().filter(current).take(AT_ONCE);
        let notices: Vec<ByteVec> = known.map(|(_, notice)| notice.to_bytes().into()).collect();
        for part in super::control::parts(notices) {
            self.frame(to, &Frame::Notices(part));
        }
    }

    /// Tells everybody what was found here and nobody else has told yet.
    pub(super) fn tell_findings<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        let due = self.notices.to_tell.iter().filter(|(_, due)| **due <= cx.now);
        let due: Vec<Subject> = due.map(|(subject, _)| *subject).collect();
        for subject in due {
            self.notices.to_tell.remove(&subject);
            let known = self.notices.known.get(&subject).map(|(_, notice)| notice.clone());
            if let Some(notice) = known {
                let under = self.topics_to_ask_under();
                self.publish_control(cx, &Statement::Notice(notice), &under);
            }
        }
    }

    /// Compares a chain that was taken up with what else its sender signed.
    pub(super) fn compare_chain<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, chain: ChainId) {
        let Some(head) = self.receiving.chains.get(&chain).map(|entry| entry.head.clone()) else {
            return;
        };
        let sender = head.head().sender;
        if sender == self.me {
            return;
        }
        let others = self.receiving.chains.values().map(|entry| &entry.head);
        let others = others.filter(|other| other.head().sender == sender && other.chain() != chain);
        let twin = others.clone().find(|other| follows(other) == follows(&head)).cloned();
        let after: Vec<SignedHead> =
            others.filter(|other| follows(other) == Some(chain)).cloned().collect();
        if let Some(twin) = twin.filter(|_| follows(&head).is_some()) {
            self.learn(cx, Notice::successors(&head, &twin), Learnt::Here);
        }
        for head in after.iter().chain([&head]) {
            if let Some(path) = self.path_back(head) {
                self.learn(cx, Notice::returned(path.iter()), Learnt::Here);
            }
        }
        let Some(closing) = head.head().closing else { return };
        if closing.count > 0 {
            match closing.last {
                Some(id) => {
                    let index = closing.count - 1;
                    self.named(cx.now, sender, HeadRef { chain: closing.chain, index, id });
                }
                None => {
                    let alarm = Alarm::Restored(sender);
                    self.out.push_back(Output::Event(Event::Alarm(alarm)));
                }
            }
        }
        self.compare_count(cx, &head);
    }

    /// Compares a message with what its sender's next bundles count.
    pub(super) fn compare_counts<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        chain: ChainId,
        index: u32,
    ) {
        let mut heads = self.receiving.chains.values().map(|entry| &entry.head);
        let short = |head: &&SignedHead| {
            let closing = head.head().closing;
            closing.is_some_and(|closing| closing.chain == chain && closing.count <= index)
        };
        if let Some(next) = heads.find(short).cloned() {
            self.compare_count(cx, &next);
        }
    }

    fn compare_count<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, next: &SignedHead) {
        let Some(closing) = next.head().closing else { return };
        let Some(entry) = self.receiving.chains.get(&closing.chain) else { return };
        let same = entry.head.head().sender == next.head().sender;
        let beyond = self.witness.last_from(&closing.chain, closing.count);
        if let Some((index, kept)) = beyond.filter(|_| same) {
            let record = kept.record(closing.chain, index);
            let notice = Notice::beyond(&entry.head, record, next);
            self.learn(cx, notice, Learnt::Here);
        }
    }

    /// The bundles back to one of the same run, where one of another lies between.
    fn path_back(&self, head: &SignedHead) -> Option<Vec<SignedHead>> {
        let mut path = Vec::from([head.clone()]);
        while path.len() < PATH {
            let before = follows(&path[0])?;
            path.insert(0, self.receiving.chains.get(&before)?.head.clone());
            if is_return(&path) {
                return Some(path);
            }
        }
        None
    }

    /// Tells of ops with one number.
    pub(super) fn compare_ops<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>, new: &[Op]) {
        let mut found = Vec::new();
        // A Retire is not made by its author's machine.
        let own = |op: &Op| !matches!(op.body().kind, Kind::Retire { .. });
        for op in new.iter().filter(|op| own(op)) {
            let mut numbered = self.ops.numbered(op.author(), op.body().seq);
            let twin = numbered.find(|other| other.id() != op.id() && own(other));
            found.extend(twin.map(|twin| Notice::ops(op, twin)));
        }
        for notice in found {
            self.learn(cx, notice, Learnt::Here);
        }
    }

    pub(super) fn notice_record(&self, subject: &Subject) -> Option<Vec<u8>> {
        self.notices.known.get(subject).map(|(_, notice)| notice.to_bytes())
    }

    pub(super) fn load_notice(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let notice = crate::codec::decode::<Notice>(bytes).map_err(|_| SnapshotError::Damaged)?;
        if let Ok(finding) = notice.verify(&self.id) {
            self.notices.known.insert(finding.subject, (finding, notice));
        }
        Ok(())
    }

    /// The records of all notices.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn mark_notices(&mut self) {
        self.notices.known.keys().for_each(|subject| self.dirty.mark(Key::Notice(*subject)));
    }
}
