//! A symbolic account of who can derive what, kept while a world goes on.
//!
//! It is told of acts: which prekeys nodes make, which pairs a node moves and what its bundle shows on the
//! wire when it makes a chain, to whom it hands topics, what a Welcome brings, which ops begin topics. What
//! follows from these is computed from names ([`knowledge`]); no key is tried. Everybody is taken to have read
//! the whole wire and to have kept all it ever had, so what is not derived here nobody derives by what
//! nodes do.
//!
//! > What a disk holds follows from the account of its owner (no flow is missed, nobody has a key that it
//! > should not); and the account keeps I1, I3, I15 and I16.
//!
//! Several people together derive no more than each: what opens a slot are secrets of its recipient alone.
//!
//! What it can't see: whether the bytes say what the names say (that is for the checks that try keys), keys in
//! memory, and what hostile nodes give away on purpose.

mod disks;
mod knowledge;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    vec::Vec,
};

use self::{
    disks::Disk,
    knowledge::{How, Knowledge, Ratchet, Slot},
};
use super::{
    invariant::{Failure, Invariant},
    rules::Rule,
    world::World,
};
use crate::{
    group::{Group, Keys, SlotOnWire},
    ids::{ChainId, MemberId, PrekeyId},
};

/// Who can derive what.
#[derive(Default)]
pub(crate) struct Tracker {
    /// All that each person was ever able to derive.
    people: BTreeMap<MemberId, Knowledge>,
    /// The prekeys that each has made, by what names them in slots.
    prekeys: BTreeMap<(MemberId, PrekeyId), BTreeSet<[u8; 32]>>,
    /// The chains that were heard of, and how often each person had been out then.
    chains: BTreeMap<ChainId, Vec<u32>>,
    /// What is on the wire for each, as it came.
    slots: BTreeMap<MemberId, Vec<Slot>>,
    /// Disks as they were each time that all were looked at.
    disks: Vec<Disk>,
    /// Messages sealed in the step that is under way.
    sealed: Vec<(ChainId, u32)>,
    /// What a disk gives that it should not, told at the end: other checks may say better why.
    late: Option<Failure>,
}

impl Tracker {
    /// A message was sealed.
    pub fn note_sealed(&mut self, chain: ChainId, index: u32) {
        self.sealed.push((chain, index));
    }

    fn person(&mut self, id: MemberId) -> &mut Knowledge {
        self.people.entry(id).or_default()
    }

    fn slots(&self, to: &MemberId) -> &[Slot] {
        self.slots.get(to).map_or(&[], Vec::as_slice)
    }

    /// Who can derive a message's key.
    fn derivers(&self, chain: ChainId, index: u32) -> impl Iterator<Item = &MemberId> {
        self.people.iter().filter(move |(_, it)| it.opens(chain, index)).map(|(id, _)| id)
    }

    /// The chain whose first contact began the epoch of this number, the latest.
    fn origin(&self, from: &MemberId, to: &MemberId, epoch: u16) -> Option<ChainId> {
        let began = |slot: &&Slot| slot.from == *from && slot.how == How::First { epoch };
        self.slots(to).iter().rev().find(began).map(|slot| slot.chain)
    }

    /// A slot as the account has it: by whom it is, and which prekey it names.
    fn slot(&self, group: &Group, chain: ChainId, wire: &SlotOnWire) -> Option<Slot> {
        let head = group.chain(&chain)?.0.head();
        let (from, to) = (head.sender, wire.to);
        let told = group.prekeys_of(&to).into_iter();
        let named = told.clone().find(|told| told.id == wire.prekey).map(|told| told.public);
        let made = self.prekeys.get(&(to, wire.prekey));
        let how = match wire.kind {
            0 => How::Ratchet { origin: self.origin(&from, &to, wire.epoch), step: wire.counter },
            _ => How::First { epoch: wire.epoch },
        };
        Some(Slot {
            chain,
            from,
            to,
            prekey: named.or_else(|| made?.first().copied()),
            how,
            topic: head.topic.as_ref().map(|topic| topic.commit),
            newest: told.max_by_key(|told| told.id.0).map(|told| told.public),
        })
    }
}

impl World {
    /// Tells the account of a step that is committed: the chains whose records changed, and the members
    /// towards whom the node has moved its ratchets.
    pub(super) fn track(&mut self, at: usize, chains: &[ChainId], moved: &BTreeSet<MemberId>) {
        let (id, prekey) = (self.id(at), self.people[at].me.prekey());
        self.tracker.prekeys.entry((id, prekey.id)).or_default().insert(prekey.public);
        self.tracker.person(id).add_prekey(prekey.public);
        self.track_topics(at);
        // Which of the chains of one step a ratchet was moved for, the records don't say.
        let new = chains.iter().filter(|chain| !self.tracker.chains.contains_key(chain));
        let new: BTreeSet<ChainId> = new.copied().collect();
        let group = self.people[at].group.as_ref().unwrap();
        let shown = new.iter().flat_map(|chain| group.slots_of(chain)).map(|slot| slot.to);
        let shown: BTreeSet<MemberId> = shown.collect();
        let one = new.len() == 1;
        let unseen = moved.iter().filter(|to| one || !shown.contains(to)).copied().collect();
        for chain in new {
            let outs = self.people.iter().map(|person| person.outs).collect();
            self.tracker.chains.insert(chain, outs);
            self.track_chain(at, chain, &unseen);
        }
        for (chain, index) in core::mem::take(&mut self.tracker.sealed) {
            self.check_derivers(at, chain, index);
        }
    }

    /// Whether somebody has been out since a chain was made: what its first contact began is begun once
    /// more where its membership turns out to have lasted.
    pub(super) fn was_out_since(&self, at: usize, chain: &ChainId) -> bool {
        let outs = self.tracker.chains.get(chain).and_then(|outs| outs.get(self.original(at)));
        outs.is_some_and(|outs| *outs < self.people[at].outs)
    }

    /// A Welcome has come.
    pub(super) fn track_welcome(&mut self, host: usize, at: usize) {
        let (topics, id) = (self.member(host).topics_for_newcomers(), self.id(at));
        topics.into_iter().for_each(|topic| self.tracker.person(id).add_topic(topic));
    }

    /// I3: topics are handed to members alone.
    fn track_topics(&mut self, at: usize) {
        let person = &mut self.people[at];
        let (group, hostile) = (person.group.as_mut().unwrap(), person.hostile);
        let heard = self.watch.keeps(Rule::HearHandOvers);
        for handed in group.handed_out() {
            if heard {
                self.tracker.person(handed.to).add_topic(handed.topic);
            }
            self.watch.check(Invariant::Removal, handed.member || hostile, || {
                format!("{at} handed a topic to {:?}, who is no member by its ops", handed.to)
            });
        }
    }

    /// I1: a new chain goes to the roster of its maker's view, be it ever used or not.
    fn track_chain(&mut self, at: usize, chain: ChainId, moved: &BTreeSet<MemberId>) {
        let group = self.people[at].group.as_ref().unwrap();
        let Some((head, _, keys)) = group.chain(&chain) else { return };
        let (maker, topic) = (head.head().sender, head.head().topic.as_ref().map(|it| it.commit));
        let own = matches!(keys, Keys::Mine(_));
        let person = &self.people[at];
        let wire = group.slots_of(&chain);
        let roster: BTreeSet<MemberId> = wire.iter().map(|slot| slot.to).collect();
        let mut sealed_to = if own { moved.clone() } else { BTreeSet::new() };
        if !self.watch.keeps(Rule::SealToRosterAlone) {
            let mut all = group.op_set().iter().filter_map(crate::membership::Op::subject);
            sealed_to.extend(all.find(|id| *id != maker && !roster.contains(id)));
        }
        for wire in &wire {
            let Some(mut slot) = self.tracker.slot(group, chain, wire) else { continue };
            if !own || person.hostile || person.shaken {
                slot.newest = None;
            } else if !self.watch.keeps(Rule::SealToNewestPrekey) {
                let oldest = group.prekeys_of(&slot.to).into_iter().min_by_key(|it| it.id.0);
                slot.prekey = oldest.map(|oldest| oldest.public);
            }
            self.tracker.person(slot.to).take(&slot);
            self.tracker.slots.entry(slot.to).or_default().push(slot);
        }
        // Whoever made it, and whoever a ratchet was moved for that the bundle shows no slot of.
        for id in sealed_to.difference(&roster).chain([&maker]) {
            let knows = self.tracker.person(*id);
            knows.add_from(Ratchet::Chain(chain), 0);
            topic.into_iter().for_each(|topic| knows.add_topic(topic));
        }
        let stranger =
            self.tracker.derivers(chain, 0).find(|id| **id != maker && !roster.contains(*id));
        let honest = own && !person.hostile;
        self.watch.check(Invariant::Confinement, stranger.is_none() || !honest, || {
            format!("{stranger:?} can derive {chain:?} of {at}, and is not in its roster")
        });
    }

    /// I1 and I3: whoever can derive a message's key is a member by its author's ops.
    fn check_derivers(&mut self, at: usize, chain: ChainId, index: u32) {
        if self.people[at].hostile {
            return;
        }
        let (group, author) = (self.people[at].group.as_ref().unwrap(), self.id(at));
        let before = || group.chain(&chain)?.0.head().closing.map(|it| it.chain);
        let kept = !self.watch.keeps(Rule::LeaveOldChains);
        let chain = if kept { before().unwrap_or(chain) } else { chain };
        let view = group.op_set().resolve();
        let mut derivers = self.tracker.derivers(chain, index);
        let stranger = derivers.find(|id| **id != author && !view.is_member(id));
        let gone = stranger.is_some_and(|id| view.ended.values().any(|it| it.member == *id));
        let told = || format!("{stranger:?} can derive {index} of {chain:?}, sealed by {at}");
        self.watch.check(Invariant::Removal, !gone, told);
        self.watch.check(Invariant::Confinement, stranger.is_none() || gone, told);
    }
}
