//! Members who come back because a removal turned out to be void (docs/spec/membership.md).
//!
//! > Whoever returned is sealed to only after an admin's answer, or ten minutes. A chain's roster is
//! > that of the view it names, so there is no chain for the others meanwhile: nothing is sealed at
//! > all, and what is written waits.
//!
//! The hold is each sender's own: it is no part of any view, and nobody else can tell it. It holds
//! for whom this node saw removed and then come back, by a grant of before; that needs a senior's
//! op each time, so that nobody who was removed can silence a group.
//!
//! On the other side, whoever was removed keeps the ops and the old topics, and listens: an op there
//! may show that the removal is void.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{
    Alarm, Cx, Event, Group, GroupState, Output, Timer, VerbError,
    records::Key,
    wire::{Data, Frame, Summary},
};
use crate::{
    audit::RotationReason,
    identity::SignedCard,
    ids::{MemberId, OpId, Timestamp},
    limits::TOPICS,
    membership::{Kind, Op},
    sign::Signature,
    topic::TopicSecret,
};

/// How long a returner is not sealed to without an answer, in milliseconds: ten minutes.
const HOLD_MS: u64 = 10 * 60 * 1000;

/// Members who came back and are not sealed to yet.
#[derive(Default)]
pub(super) struct Holds {
    held: BTreeMap<MemberId, Hold>,
    /// Topics begun meanwhile that no bundle has handed over yet, and under which it would.
    owed: Vec<(TopicSecret, Vec<[u8; 32]>)>,
}

/// A member who came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Hold {
    /// The removal that does not count.
    #[n(0)]
    pub removal: OpId,
    /// Its author.
    #[n(1)]
    pub by: MemberId,
    /// Until when the member is not sealed to, without an admin's answer.
    #[n(2)]
    pub until: Timestamp,
}

impl Holds {
    pub fn put(&mut self, member: MemberId, hold: Hold) {
        self.held.insert(member, hold);
    }

    pub fn hold(&self, member: &MemberId) -> Option<&Hold> {
        self.held.get(member)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.held.keys()
    }

    /// Keeps a topic that is to be handed over in the first bundle that may be made.
    pub fn owe(&mut self, topic: Option<&TopicSecret>, under: &[[u8; 32]]) {
        let Some(topic) = topic else { return };
        self.owed.retain(|(known, _)| known.commit() != topic.commit());
        if self.owed.len() >= TOPICS {
            self.owed.remove(0);
        }
        self.owed.push((topic.clone(), under.into()));
    }
}

impl Group {
    /// Who came back by a removal that does not count, and is not sealed to yet.
    pub fn held(&self) -> impl Iterator<Item = (MemberId, Hold)> + '_ {
        self.holds.held.iter().map(|(member, hold)| (*member, *hold))
    }

    /// The ops that do not count, in the order in which this node has them.
    pub fn void_ops(&self) -> impl Iterator<Item = &Op> {
        let void = &self.ops.resolve().void;
        self.ops.iter().filter(|op| void.contains(&op.id()))
    }

    /// Whose memberships were ended by their recovery keys, and who are no members now.
    #[must_use]
    pub fn retired(&self) -> Vec<MemberId> {
        let retires = self.ops.iter().filter(|op| matches!(op.body().kind, Kind::Retire { .. }));
        let gone: BTreeSet<MemberId> = retires.map(Op::author).collect();
        gone.into_iter().filter(|member| !self.is_member(member)).collect()
    }

    /// Everybody who is or was a member, by the newest card.
    pub fn known_people(&self) -> impl Iterator<Item = &SignedCard> {
        self.people.cards.values()
    }

    /// Makes somebody a member by this node's own grant: who came back by a void removal, and is
    /// sealed to from then on; or who was a member once. To have the removal again is
    /// [`Self::remove`].
    pub fn readmit<R: CryptoRng>(
        &mut self,
        mut cx: Cx<'_, R>,
        who: MemberId,
    ) -> Result<(), VerbError> {
        let card = self.people.cards.get(&who).ok_or(VerbError::NoSuchMember(who))?;
        let kind = Kind::Admit {
            card: card.as_bytes().into(),
            invite: None,
            proof: Signature([0; 64]),
            handshake: [0; 32],
            use_no: 0,
        };
        self.act(&mut cx, kind).map(|_| ())
    }

    /// Whether a member who was not one before is back by grants of before.
    pub(super) fn returned(&self, member: &MemberId, new: &[OpId]) -> Option<Hold> {
        let grants = self.ops.resolve().grants.get(member)?;
        if grants.iter().all(|grant| new.contains(grant)) {
            return None;
        }
        // A new grant that follows the removal answers it; one beside it knows nothing of it.
        let removal = self.ops.voided_removal(member)?;
        let by = self.ops.op(&removal)?.author();
        Some(Hold { removal, by, until: Timestamp(0) })
    }

    /// Holds these returners back, and tells people of them.
    pub(super) fn hold_back(&mut self, now: Timestamp, returned: BTreeMap<MemberId, Hold>) {
        for (member, Hold { removal, by, .. }) in returned {
            let alarm = Alarm::Returned { member, removal, by };
            self.out.push_back(Output::Event(Event::Alarm(alarm)));
            // Its keys of before are gone, and what is sealed to it begins anew.
            self.sending.pairs.remove(&member);
            self.dirty.mark(Key::PairSend(member));
            if member != self.me {
                let until = now.plus_ms(HOLD_MS);
                self.holds.put(member, Hold { removal, by, until });
                self.dirty.mark(Key::Hold(member));
                self.set_timer(Timer::Holds, until);
            }
        }
    }

    /// Ends the holds that an op has answered, or that are over.
    pub(super) fn tend_holds<R: CryptoRng>(&mut self, cx: &mut Cx<'_, R>) {
        if self.holds.is_empty() {
            return;
        }
        let now = self.ops.resolve();
        let over: Vec<MemberId> = self
            .held()
            .filter(|(member, hold)| {
                let answered = now.grants.get(member).is_none_or(|grants| {
                    let past = |grant: &OpId| self.ops.past(&[*grant]);
                    grants.iter().any(|it| past(it).is_ok_and(|past| past.contains(&hold.removal)))
                });
                // One that ends later than it can was begun before the clock was set back.
                let late = hold.until.ms_since(cx.now) > HOLD_MS;
                answered || hold.until <= cx.now || late
            })
            .map(|(member, _)| member)
            .collect();
        for member in &over {
            self.holds.held.remove(member);
            self.dirty.mark(Key::Hold(*member));
        }
        if let Some(next) = self.holds.held.values().map(|hold| hold.until).min() {
            self.set_timer(Timer::Holds, next);
            return;
        }
        for (topic, under) in core::mem::take(&mut self.holds.owed) {
            self.rotate_chain(cx, RotationReason::Return, Some(&topic), &under);
        }
        self.watch_topics(cx);
        self.out.push_back(Output::Event(Event::Ready));
        self.out.push_back(Output::Event(Event::Members));
    }

    /// A member again, on a node that had closed the group. Whoever is out hears neither that its relays
    /// are gone nor what they have; and a Welcome of before says nothing of what came since.
    pub(super) fn reopen(&mut self, now: Timestamp) {
        self.state = GroupState::Active;
        (self.relays_up, self.fresh_until) = (false, Timestamp(0));
        self.dirty.mark(Key::Meta);
        self.take_stock(now);
        self.ask_anew(now);
        self.set_timer(Timer::Inbox, now);
    }

    /// Whether this node is out of the group and listens for an op that lets it back in.
    #[must_use]
    pub fn listens(&self) -> bool {
        matches!(self.state, GroupState::Removed | GroupState::Left) && !self.topics.is_empty()
    }

    /// A frame came from somebody who is a member of the group that this node's member is out of: it
    /// is told of the ops that it lacks, perhaps those by which the member is out, and what it tells
    /// of ops is taken.
    pub(super) fn take_outside<R: CryptoRng>(
        &mut self,
        cx: &mut Cx<'_, R>,
        from: MemberId,
        frame: Frame,
    ) {
        match frame {
            Frame::Summary(summary) if summary.last => {
                let ops = self.ops_after(&summary.heads);
                self.send_parts(from, ops, |ops| Data { ops, ..Data::default() });
                let heads = self.ops.heads();
                if summary.heads != heads {
                    let nothing =
                        Summary { heads, chains: Vec::new(), cards: Vec::new(), last: true };
                    self.frame(from, &Frame::Summary(nothing));
                }
            }
            Frame::Data(Data { ops, .. }) => {
                self.take_ops(cx, ops.iter().map(|op| op.as_slice()));
            }
            _ => {}
        }
    }

    /// Members that were sealed to, those on hold left out.
    pub(super) fn may_know_topics(&self, member: &MemberId) -> bool {
        self.holds.hold(member).is_none()
    }

    /// Which of these members are back by old grants, and not by an admin's new one.
    pub(super) fn returners(
        &self,
        before: &BTreeSet<MemberId>,
        new: &[Op],
    ) -> BTreeMap<MemberId, Hold> {
        let new: Vec<OpId> = new.iter().map(Op::id).collect();
        let after = self.ops.resolve().members.keys();
        after
            .filter(|member| !before.contains(member))
            .filter_map(|member| Some((*member, self.returned(member, &new)?)))
            .collect()
    }
}
