//! What lies on disks, held against the account: at each of many moments, of everybody.

use alloc::format;

use super::{
    Tracker,
    knowledge::{How, Knowledge, Ratchet, Slot},
};
use crate::{
    group::Group,
    ids::{MemberId, PrekeyId},
    sim::{
        invariant::{Failure, Invariant},
        rules::Rule,
        world::World,
    },
};

/// What somebody had at some time.
pub(super) struct Disk {
    of: usize,
    holds: Knowledge,
    /// How many slots were on the wire for it.
    before: usize,
}

impl Tracker {
    /// What lies on a node's disk.
    fn disk(
        &self,
        group: &Group,
        id: MemberId,
        prekeys: impl Iterator<Item = PrekeyId>,
    ) -> Knowledge {
        let mut holds = Knowledge::default();
        let made = prekeys.filter_map(|prekey| self.prekeys.get(&(id, prekey))).flatten();
        made.for_each(|public| holds.add_prekey(*public));
        group.topic_commits().into_iter().for_each(|topic| holds.add_topic(topic));
        for (chain, next, missing) in group.readable() {
            holds.add_from(Ratchet::Chain(chain), next);
            missing.into_iter().for_each(|index| holds.add_single(Ratchet::Chain(chain), index));
        }
        for (from, epoch, counter, on) in group.pair_steps() {
            let origin = self.origin(&from, &id, epoch);
            let pair = origin.map(|origin| Ratchet::Pair(origin, id));
            let pair = pair.unwrap_or(Ratchet::Unheard(from, epoch));
            match on {
                true => drop(holds.add_from(pair, counter.into())),
                false => holds.add_single(pair, counter.into()),
            }
        }
        holds
    }
}

impl World {
    /// Looks at every disk: what it holds follows from its owner's account, and what was read does not
    /// follow from it.
    pub(in crate::sim) fn take_stock(&mut self) {
        for at in 0..self.people.len() {
            let person = &self.people[at];
            let Some(group) = &person.group else { continue };
            let (id, tracker) = (person.me.member(), &mut self.tracker);
            for op in group.op_set().iter() {
                let begun = op.body().kind.topic_commit().into_iter();
                begun.for_each(|topic| tracker.person(op.author()).add_topic(topic));
            }
            let mut account = core::mem::take(tracker.person(id));
            account.close(tracker.slots(&id).iter());
            let holds = tracker.disk(group, id, person.me.prekeys_kept());
            let lacks = account.lacks(&holds);
            let sort = match account.lacks_topic(&holds) {
                true => Invariant::Removal,
                false => Invariant::Confinement,
            };
            self.watch.check(sort, lacks.is_none(), || {
                format!("{at} has {}, which nobody gave it", lacks.unwrap_or_default())
            });
            *tracker.person(id) = account;
            self.check_used(at, &holds);
            let before = self.tracker.slots(&id).len();
            self.tracker.disks.push(Disk { of: at, holds, before });
        }
    }

    /// I15: a disk with all that is on the wire but first contacts gives no message that was read.
    fn check_used(&mut self, at: usize, holds: &Knowledge) {
        let person = &self.people[at];
        let slots = self.tracker.slots(&person.me.member()).iter();
        let mut thief = holds.clone();
        if !self.watch.keeps(Rule::ForgetUsedSteps) {
            thief.rewind();
        }
        // Who was out for a while has let its pairs go. What first contacts of before began it has begun
        // once more, where its membership turned out to have lasted.
        thief.forget(|origin| self.was_out_since(at, origin));
        let later = |slot: &&Slot| !matches!(slot.how, How::First { .. });
        thief.close(slots.clone().filter(later));
        let read = person.stored.iter().chain(&person.earlier);
        let given = read.clone().find(|(chain, index)| thief.opens(*chain, *index));
        if self.put_right {
            let mut recorder = holds.clone();
            recorder.close(slots);
            let given = read.filter(|(chain, index)| recorder.opens(*chain, *index)).count();
            self.watch.happened_times("read messages in reach of first contacts", given as u64);
        }
        *self.watch.counts.checked.entry(Invariant::ForwardSecrecy).or_default() += 1;
        if let Some((chain, index)) = given.filter(|_| self.tracker.late.is_none()) {
            let what = format!("{at}'s disk gives {index} of {chain:?}, which was read");
            self.tracker.late = Some(Failure { invariant: Invariant::ForwardSecrecy, what });
        }
    }

    /// I15 and I16, of all disks: once somebody has been told a prekey that is not on a disk, what it
    /// seals is not in that disk's reach.
    pub(in crate::sim) fn check_disks(&mut self) {
        if let Some(late) = self.tracker.late.take() {
            self.watch.check(late.invariant, false, || late.what);
        }
        for disk in core::mem::take(&mut self.tracker.disks) {
            let person = &self.people[disk.of];
            let slots = self.tracker.slots(&person.me.member());
            let healed = |slot: &&Slot| {
                let newest = slot.newest.filter(|_| !person.shaken && person.copy_of.is_none());
                newest.is_some_and(|newest| !disk.holds.has_prekey(&newest))
            };
            let (mut thief, later) = (disk.holds.clone(), &slots[disk.before..]);
            if !later.iter().any(|slot| healed(&slot)) {
                continue;
            }
            thief.close(slots.iter());
            let given = later.iter().filter(healed).find(|slot| thief.opens(slot.chain, 0));
            self.watch.check(Invariant::Healing, given.is_none(), || {
                let given = given.map(|slot| (slot.chain, slot.from));
                format!(
                    "an old disk of {} gives {given:?}, though a newer prekey was known",
                    disk.of
                )
            });
        }
    }
}
