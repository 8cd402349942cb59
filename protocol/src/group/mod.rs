//! One group, as one member's node holds it: the state machine that ties membership, chains,
//! envelopes, gossip and sync together.
//!
//! Methods are of four kinds: *verbs*, asked by people ([`Group::send`], [`Group::remove`] …);
//! *handlers*, told by the network ([`Group::on_envelope`], [`Group::on_frame`] …); *deadlines*
//! ([`Group::deadline`], [`Group::on_deadline`]); and *polls* ([`Group::poll`],
//! [`Group::changes`]). The order for each step is: one verb or handler; [`Group::poll`] until it
//! is empty; [`Group::changes`]; commit all of it in one transaction; only then carry the outputs
//! out. A step whose commit fails is undone by [`Group::load`].
//!
//! > What is due is due by the caller's clock. Whoever's clock was set back takes the group up again
//! > by [`Group::load`] with the new time, or what waits waits until the old time is reached again.

mod absence;
#[cfg(any(test, feature = "sim"))]
mod account;
mod adopted;
mod again;
mod answering;
mod asleep;
mod audit;
mod backup;
mod chains;
mod circuits;
mod classes;
mod control;
mod desync;
mod emptied;
mod epochs;
mod error;
mod former;
mod gaps;
mod gathered;
mod gone;
mod held;
mod history;
mod holds;
mod inbox;
mod joining;
mod losses;
#[cfg(any(test, feature = "sim"))]
mod malice;
mod moving;
mod nacks;
mod notices;
mod output;
mod owed;
mod pageless;
mod pairs;
mod people;
mod persons;
mod pings;
mod places;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod probe;
mod queue;
mod reads;
mod receiving;
mod records;
mod resync;
mod retiring;
mod seal;
mod seen;
mod sending;
mod serving;
mod shares;
mod shut;
#[cfg(any(test, feature = "sim"))]
mod sight;
mod slots;
mod strangers;
mod syncing;
mod taking;
mod talks;
mod told;
mod topics;
mod typing;
mod unseen;
mod verbs;
mod view;
mod welcome;
mod wire;
mod witness;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};
use rand_core::CryptoRng;

use self::{
    absence::Absence,
    again::ToldAgain,
    answering::{Answer, Asked},
    audit::Audit,
    circuits::Circuits,
    classes::Classing,
    desync::Own,
    epochs::Epoch,
    gaps::{Missing, Stuck},
    holds::Holds,
    inbox::Inboxes,
    losses::Losses,
    moving::Moving,
    nacks::Nacks,
    notices::Notices,
    pairs::Turns,
    people::People,
    pings::Pings,
    places::Places,
    receiving::{ChainState, Entry, Receiving},
    records::Dirty,
    resync::Word,
    sending::Sending,
    slots::Ciphertexts,
    strangers::Strangers,
    syncing::Peer,
    talks::Talks,
    topics::KnownTopics,
    unseen::Unseen,
    witness::Witness,
};
#[cfg(any(test, feature = "sim"))]
pub(crate) use self::{account::SlotOnWire, sight::Keys};
pub use self::{
    adopted::Adopted,
    audit::Anchor,
    circuits::{Circuit, CircuitKey},
    classes::class_of,
    error::*,
    history::{HISTORY, ShareError, Shared, SignedRecord},
    holds::Hold,
    moving::{MOVE, Moved, Successor},
    output::*,
    owed::Due,
    pairs::the_one_that_stays,
    persons::Person,
    seen::NotTold,
    talks::TalkCode,
};
#[cfg(test)]
use crate::sim::world;
use crate::{
    chain::HeadRef,
    endpoint::Endpoint,
    fingerprint,
    gossip::Gossip,
    identity::SignedCard,
    ids::{ChainId, GroupId, InviteId, LogId, MemberId, OpId, Timestamp},
    membership::{self, Conduct, OpSet, Policy},
    sign::Signature,
};

/// What each step is lent: this node's secrets, the time, randomness.
pub struct Cx<'a, R: CryptoRng> {
    /// This node's secrets.
    pub me: &'a Endpoint,
    /// The time.
    pub now: Timestamp,
    /// Randomness.
    pub rng: &'a mut R,
}

/// A joiner's request, as [`crate::join`] proved it.
pub struct Admission<'a> {
    /// The invite that was shown.
    pub invite: InviteId,
    /// The joiner's card, signed.
    pub card: &'a crate::identity::SignedCard,
    /// The invite key's signature over group, invite, joiner, card and handshake.
    pub proof: Signature,
    /// The handshake's hash that the proof covers.
    pub handshake: [u8; 32],
}

/// One group.
pub struct Group {
    id: GroupId,
    me: MemberId,
    state: GroupState,
    ops: OpSet,
    people: People,
    topics: KnownTopics,
    sending: Sending,
    receiving: Receiving,
    gossip: Gossip,
    peers: BTreeMap<MemberId, Peer>,
    receipts: BTreeMap<ChainId, BTreeSet<u32>>,
    gaps: BTreeMap<(ChainId, u32), Missing>,
    witness: Witness,
    notices: Notices,
    own: Own,
    /// This member's grants that go on, as they were last seen.
    going_on: BTreeSet<OpId>,
    heads: VecDeque<HeadRef>,
    lamport: u64,
    relays_up: bool,
    fresh_until: Timestamp,
    classing: Classing,
    /// Who welcomed this node's member, until somebody else has told what is new.
    welcomed_by: Option<MemberId>,
    holds: Holds,
    moving: Moving,
    timers: BTreeMap<Timer, Timestamp>,
    answers: BTreeMap<Asked, Answer>,
    again: ToldAgain,
    /// When each member's questions to everybody were last heard.
    heard: BTreeMap<MemberId, Timestamp>,
    /// When each member asked last, by its own clock.
    questions: BTreeMap<MemberId, Timestamp>,
    stuck: Stuck,
    /// Who was asked for messages last, and whether everybody was.
    asking: (Vec<MemberId>, bool),
    strangers: Strangers,
    unseen: Unseen,
    places: Places,
    inboxes: Inboxes,
    audit: Audit,
    epoch: Epoch,
    absence: Absence,
    losses: Losses,
    turns: Turns,
    slots: Ciphertexts,
    nacks: Nacks,
    word: Word,
    /// The conduct that was told of last.
    conducted: Conduct,
    pings: Pings,
    talks: Talks,
    circuits: Circuits,
    out: VecDeque<Output>,
    dirty: Dirty,
}

/// What may be due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Receipts,
    Want,
    Refresh,
    Lost,
    Hello,
    Resync,
    Serve,
    Answers,
    Inbox,
    HandOver,
    Absence,
    Losses,
    Classes,
    Weekly,
    Full,
    View,
    Unadmitted,
    Holds,
    Nacks,
    Word,
    Strangers,
    Unseen,
    Shut,
}

impl Group {
    /// When [`Self::on_deadline`] wants to be called, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.values().copied().chain(self.gossip.deadline()).min()
    }

    /// Does what is due.
    pub fn on_deadline<R: CryptoRng>(&mut self, mut cx: Cx<'_, R>) {
        if self.state != GroupState::Active {
            self.timers.clear();
            return;
        }
        self.excuse_sleep(cx.now);
        self.gossip.on_deadline(cx.now);
        let due: Vec<Timer> =
            self.timers.iter().filter(|(_, at)| **at <= cx.now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            match timer {
                Timer::Receipts => self.flush_receipts(&mut cx),
                Timer::Want => self.ask(&mut cx),
                Timer::Refresh => self.refresh(&mut cx),
                Timer::Lost => self.find_lost(&mut cx),
                Timer::Hello => self.hello(),
                Timer::Resync => self.resync(&mut cx),
                Timer::Serve => self.serve_more(cx.now),
                Timer::Answers => self.give_answers(&mut cx),
                Timer::Inbox => self.tend_inboxes(&mut cx),
                Timer::HandOver => self.take_handed(&mut cx),
                Timer::Absence => self.find_absent(&mut cx),
                Timer::Losses => self.find_losses(cx.now),
                Timer::Classes => self.class_some(cx.now),
                Timer::Weekly => self.renew_weekly(&mut cx),
                Timer::Full => self.renew_full(&mut cx),
                Timer::View => self.tend_view(&mut cx),
                Timer::Unadmitted => self.renew_after_unadmitted(&mut cx),
                Timer::Holds => self.tend_holds(&mut cx),
                Timer::Nacks => self.on_nacks_due(&mut cx),
                Timer::Word => self.seek_word(&mut cx),
                Timer::Strangers => self.ask_strangers(&mut cx),
                Timer::Unseen => self.post_admission(&mut cx),
                Timer::Shut => self.judge_held(&mut cx),
            }
        }
    }

    /// The next piece of work, in order.
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() {
            self.drain_gossip();
        }
        self.out.pop_front()
    }

    /// The group's id.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// Its name and relays.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.ops.resolve().policy
    }

    /// What its admins ask of everybody's nodes.
    #[must_use]
    pub fn conduct(&self) -> &Conduct {
        &self.ops.resolve().conduct
    }

    /// This node's standing.
    #[must_use]
    pub fn state(&self) -> GroupState {
        match self.state {
            GroupState::Active if self.moving.gone.is_some() => GroupState::Migrated,
            state => state,
        }
    }

    /// Its logical clock: the greatest that this node has written, or read and followed.
    #[must_use]
    pub fn lamport(&self) -> u64 {
        self.lamport
    }

    /// The members, most senior first.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let mut standings: Vec<_> = self.ops.resolve().members.iter().collect();
        standings.sort_by_key(|(_, standing)| standing.rank);
        standings
            .into_iter()
            .filter_map(|(id, standing)| {
                let role = match (standing.founder, standing.admin) {
                    (true, _) => Role::Founder,
                    (false, Some(_)) => Role::Admin,
                    (false, None) => Role::Member,
                };
                let card = self.people.cards.get(id)?.clone();
                let told = self.people.presences.get(id).map(|it| it.at).unwrap_or_default();
                Some(Member { id: *id, card, role, addresses: self.people.addresses(id), told })
            })
            .collect()
    }

    /// How many members there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ops.resolve().members.len()
    }

    /// Whether somebody is a member now.
    #[must_use]
    pub fn is_member(&self, who: &MemberId) -> bool {
        self.ops.resolve().is_member(who)
    }

    /// The newest card of anybody who is or was a member.
    #[must_use]
    pub fn card(&self, member: &MemberId) -> Option<&SignedCard> {
        self.people.cards.get(member)
    }

    /// An op that this node keeps.
    #[must_use]
    pub fn op(&self, id: &OpId) -> Option<&crate::membership::Op> {
        self.ops.op(id)
    }

    /// The invites that the ops know.
    #[must_use]
    pub fn invites(&self) -> Vec<Invite> {
        let invites = &self.ops.resolve().invites;
        invites
            .iter()
            .map(|(id, state)| Invite {
                id: *id,
                creator: state.creator,
                terms: InviteTerms {
                    max_uses: state.max_uses,
                    expires: state.expires,
                    mode: state.mode,
                    strict: state.strict,
                },
                used: state.used,
                revoked: state.revoked,
                served: self.serves(state),
            })
            .collect()
    }

    /// The ops by which a joiner can tell that this node's member is an admin of this group; empty
    /// if it is none.
    #[must_use]
    pub fn admin_path(&self) -> Vec<Vec<u8>> {
        membership::admin_path(&self.ops, &self.me)
    }

    /// 40 digits that members with the same view see alike (docs/spec/identity.md).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let roster = self.ops.resolve().roster(self.id).hash();
        fingerprint::of_view(&self.id, &roster, &self.ops.heads())
    }

    /// The logs to follow, oldest first, those to write to, and this node's own inboxes. Of a group that was left,
    /// the logs of its last words. Other members' inboxes are asked for by [`Self::inbox`], when
    /// something waits to go there.
    #[must_use]
    pub fn logs(&self) -> Vec<GroupLog> {
        let write = &self.ops.resolve().topics().write;
        let role = |commit| if write.contains(&commit) { LogRole::Write } else { LogRole::Follow };
        let topics = self.topics_in_order().into_iter();
        let topics = topics.filter_map(|commit| {
            let keys = self.topics.secret(&commit)?.log_keys(&self.id);
            Some(GroupLog { keys, role: role(commit) })
        });
        topics.chain(self.inbox_logs()).collect()
    }

    /// The log to which an envelope of this group goes, where that is one that is written to now.
    #[must_use]
    pub fn log_of(&self, envelope: &[u8]) -> Option<LogId> {
        let (commit, _) = self.topics.peek(envelope)?;
        let is_current = self.ops.resolve().topics().write.contains(&commit);
        self.topics.topic(&commit).filter(|_| is_current).map(|topic| topic.log)
    }

    fn drain_gossip(&mut self) {
        while let Some((to, frame)) = self.gossip.poll() {
            self.frame(to, &frame.into());
        }
    }

    fn set_timer(&mut self, timer: Timer, due: Timestamp) {
        let at = self.timers.entry(timer).or_insert(due);
        *at = due.min(*at);
    }

    /// Sets what is due after a load.
    fn take_stock(&mut self, now: Timestamp) {
        if self.state != GroupState::Active {
            let known: Vec<_> = self.topics.commits().collect();
            for commit in self.topics.prune(&known, &[], now) {
                self.dirty.mark(records::Key::Topic(commit));
            }
            return;
        }
        if !self.receipts.is_empty() {
            self.set_timer(Timer::Receipts, now.plus_ms(1_000));
        }
        self.class_all();
        self.set_timer(Timer::Classes, now);
        if !self.holds.is_empty() {
            self.set_timer(Timer::Holds, now);
        }
        self.recall_shut(now);
        self.want_parked(now);
        self.watch_epoch(now);
        self.take_stock_of_view(now);
        self.watch_lost(now);
        self.watch_absence(now);
        self.watch_handed(now);
        self.recall_nacks(now);
        self.set_timer(Timer::Want, now.plus_ms(2_000));
    }
}

#[cfg(test)]
mod away;
#[cfg(test)]
mod back;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod forks;
#[cfg(test)]
mod further;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod late;
#[cfg(test)]
mod onward;
#[cfg(test)]
mod posts;
#[cfg(test)]
mod restores;
#[cfg(test)]
mod retold;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turning;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod weeks;
#[cfg(test)]
mod welcomed;
#[cfg(test)]
mod written;
