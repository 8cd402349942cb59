//! I12 to I14: what comes to whom, and what is reported.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use super::{MINUTE, Sim};
use crate::{
    group::{Alarm, Class, Event, Group, Keys, class_of},
    ids::{ChainId, MemberId},
    membership::{Ended, OpSet},
    sim::{facts::Said, invariant::Invariant, world::Person},
};

/// Rounds of probes, where slots have to be repaired first.
const ROUNDS: usize = 4;
/// Slots of this type and above need an ML-KEM ciphertext.
const FIRST_WITH_KEM: u8 = 2;

/// Whether what `to` opens its first contact in a chain by is nobody's to give: its maker is gone.
pub(super) fn is_without_ciphertext(
    people: &[Person],
    members: &[usize],
    chain: &ChainId,
    to: &MemberId,
) -> bool {
    let mut groups = members.iter().filter_map(|at| people[*at].group.as_ref());
    let slot = groups.clone().find_map(|group| group.slot_type(chain, to));
    slot.is_some_and(|slot| slot >= FIRST_WITH_KEM)
        && !groups.any(|group| group.has_ciphertext(chain, to))
}

impl Sim {
    /// How often somebody's store has each text.
    fn heard(&self, at: usize) -> BTreeMap<String, usize> {
        let mut heard = BTreeMap::new();
        for text in self.world.heard(at) {
            *heard.entry(text).or_default() += 1;
        }
        heard
    }

    /// Whether a message counts: what a removed member said beyond its removal's cut is kept apart
    /// by whomever it reaches, and owed to nobody.
    fn counts(&self, truth: &OpSet, said: &Said) -> bool {
        let ended = truth.resolve().ended.values();
        let id = self.world.id(said.from);
        if !ended.clone().any(|it| it.member == id && (it.void || !it.removals.is_empty())) {
            return true;
        }
        let groups = self.present().into_iter().map(|at| self.world.member(at));
        let head = groups.filter_map(|group| Some(group.chain(&said.chain)?.0)).next();
        head.is_none_or(|head| class_of(truth, head, said.index) != Class::PostCut)
    }

    /// I13: whatever was sealed to somebody who stayed has come to it, if anybody has it.
    pub(super) fn check_delivery(&mut self, members: &[usize]) {
        let truth = self.truth();
        let now = truth.resolve();
        let ids: Vec<MemberId> = (0..self.world.people.len()).map(|at| self.world.id(at)).collect();
        let heard: Vec<_> = (0..self.world.people.len()).map(|at| self.heard(at)).collect();
        let owed: Vec<bool> =
            self.world.said.values().map(|said| self.counts(&truth, said)).collect();
        let back: Vec<bool> =
            (0..self.world.people.len()).map(|at| self.world.came_back(at)).collect();
        let copies: Vec<usize> =
            (0..self.world.people.len()).map(|at| self.world.original(at)).collect();
        // Who is a member by a grant beside its removal was never out.
        let spared = |ended: &Ended| {
            let ends = || ended.removals.iter().chain(&ended.leaves);
            let mut standing = now.grants.get(&ended.member).into_iter().flatten();
            standing.any(|grant| {
                let past = truth.past(&[*grant]).unwrap();
                !ends().any(|end| past.contains(end))
            })
        };
        let (said, watch) = (&self.world.said, &mut self.world.watch);
        for ((text, said), owed) in said.iter().zip(owed) {
            let people = &self.world.people;
            // What somebody has of an earlier membership its node has in store, and hands to nobody.
            let place = (said.chain, said.index);
            // Nor does who was out for a while, of what it forgot then.
            let keeps = |at: usize| {
                let group = people[at].group.as_ref();
                let known = group.and_then(|group| group.chain(&said.chain));
                known.is_some_and(|it| !matches!(it.2, Keys::NotForMe | Keys::Failed))
            };
            let has = |at: &&usize| people[**at].stored.contains(&place);
            let known = members.iter().filter(has).any(|at| !back[*at] || keeps(*at))
                || members.contains(&said.from) && people[said.from].era == said.era;
            for (to, (era, grant)) in &said.to {
                let times = heard[*to].get(text).copied().unwrap_or(0);
                let ended = now.ended(grant);
                // Whose keys were set back, or lost as it joined anew or was out for a while, can't
                // open what is sealed under those, until its sender has heard so; and says it. Nor
                // what a sender has sealed anew since it was set back: its keys are in no state.
                let alarm = Event::Alarm(Alarm::SlotFailed(ids[said.from]));
                let failed = |group: &Group| {
                    group.chain(&said.chain).is_some_and(|it| matches!(it.2, Keys::Failed))
                };
                let missing = Event::Alarm(Alarm::KeysMissing(said.chain));
                let waited = back[*to] || people[*to].shaken;
                let told = |event: &Event| *event == alarm || waited && *event == missing;
                let lost = (people[*to].shaken
                    || people[*to].era > 1
                    || back[*to]
                    || people[said.from].shaken)
                    && people[*to].events.iter().any(told)
                    && people[*to].group.as_ref().is_some_and(failed);
                // What nobody is left to give: the ciphertext of a first contact whose maker is gone, or
                // has lost it as it joined anew.
                let shut = |group: &Group| {
                    !group.chain(&said.chain).is_some_and(|it| matches!(it.2, Keys::Open(..)))
                };
                let stays = members.contains(&said.from) && people[said.from].era == said.era;
                let orphaned = !stays
                    && people[*to].group.as_ref().is_some_and(shut)
                    && is_without_ciphertext(people, members, &said.chain, &ids[*to]);
                // A copied disk's other copy has confirmed it in this member's name.
                let taken = copies
                    .iter()
                    .enumerate()
                    .any(|(at, of)| of == to && at != *to && heard[at].contains_key(text));
                let excused = lost || orphaned || taken && times == 0;
                let stayed = members.contains(to)
                    && !excused
                    && people[*to].era == *era
                    && !people[*to].hostile
                    && ended.is_none_or(|it| it.is_void_alone() || spared(it));
                if stayed && known && owed && said.sound {
                    watch.check(Invariant::Gaps, times == 1, || {
                        let others: Vec<_> =
                            members.iter().filter(|at| heard[**at].contains_key(text)).collect();
                        format!(
                            "{to} did not hear {text:?} ({:?}, {}); {others:?} did, of {members:?}",
                            said.chain, said.index,
                        )
                    });
                }
            }
        }
    }

    /// I13: nobody is told of a gap that is none of its business.
    pub(super) fn check_reports(&mut self) {
        let mut places: BTreeMap<(ChainId, u32), BTreeSet<usize>> = BTreeMap::new();
        for said in self.world.said.values() {
            places.insert((said.chain, said.index), said.to.keys().copied().collect());
        }
        for at in 0..self.world.people.len() {
            let original = self.world.original(at);
            for event in &self.world.people[at].events {
                let Event::Gap { chain, index, .. } = event else { continue };
                let due = places.get(&(*chain, *index)).is_none_or(|to| to.contains(&original));
                self.world.watch.check(Invariant::Gaps, due, || {
                    format!("{at} was told of a gap at {index} of {chain:?}, not sealed to it")
                });
            }
        }
    }

    /// I14: everybody can speak, and is heard by everybody.
    pub(super) fn check_liveness(&mut self, members: &[usize]) {
        let rounds = if self.is_calm() { 1 } else { ROUNDS };
        let mut lost = Vec::new();
        for _ in 0..rounds {
            lost.clear();
            let mut texts = Vec::new();
            for at in members {
                let sent = self.say(*at);
                // Who is alone without a relay may wait for somebody who left unheard.
                let may = members.len() > 1 || self.world.relay;
                self.world.watch.check(Invariant::Liveness, sent.is_some() || !may, || {
                    let why =
                        self.world.people[*at].group.as_ref().map(|it| it.ready(self.world.now));
                    format!("{at} can't speak: {why:?}")
                });
                texts.extend(sent.map(|text| (*at, text)));
            }
            self.world.pass(10 * MINUTE);
            for (from, text) in texts {
                for to in members.iter().filter(|to| **to != from) {
                    let came = self.world.heard(*to).iter().rev().any(|it| *it == text);
                    if !came {
                        lost.push((from, *to));
                    }
                }
            }
            if lost.is_empty() {
                break;
            }
        }
        self.world.watch.check(Invariant::Liveness, lost.is_empty(), || {
            format!("(from, to) where nothing is read: {lost:?}, of {members:?}")
        });
    }

    /// Whether somebody signed two things for one, was set back or copied, or is hostile.
    fn may_be_accused(&self, who: &MemberId) -> bool {
        let person = &self.world.people[self.world.at(who)];
        self.world.forked.contains(who) || person.shaken || person.hostile
    }

    /// I12: who signed two ops under one number is found out, and nobody else is accused.
    pub(super) fn check_accusations(&mut self) {
        for at in 0..self.world.people.len() {
            self.world.accuses(at);
        }
        let calm = self.is_calm();
        let mut accused: BTreeSet<MemberId> = BTreeSet::new();
        for at in 0..self.world.people.len() {
            for event in &self.world.people[at].events {
                let Event::Alarm(alarm) = event else { continue };
                match alarm {
                    // Who names may lie as well as who wrote.
                    Alarm::Contradiction { by, about } => {
                        let deserved = self.may_be_accused(by) || self.may_be_accused(about);
                        self.world.watch.check(Invariant::Equivocation, deserved, || {
                            format!("{at} finds that two don't fit who did nothing: {alarm:?}")
                        });
                    }
                    Alarm::Equivocation(who) | Alarm::Clone(who) | Alarm::Restored(who) => {
                        accused.insert(*who);
                        let (author, deserved) = (self.world.at(who), self.may_be_accused(who));
                        self.world.watch.check(Invariant::Equivocation, deserved, || {
                            format!("{at} accuses {author}, who did nothing: {alarm:?}")
                        });
                    }
                    Alarm::KeysMissing(_) | Alarm::Returned { .. } => {}
                    // Who joined anew, or is back from a removal that turned out void, has lost the
                    // keys of before, to which others may still seal. It accuses nobody, and I14 sees it mended.
                    Alarm::SlotFailed(_)
                        if self.world.people[at].era > 1 || self.world.came_back(at) => {}
                    alarm => self.world.watch.check(Invariant::Equivocation, !calm, || {
                        format!("{at} raised {alarm:?}, though all are honest")
                    }),
                }
            }
        }
        let set_back = self.world.people.iter().any(|person| person.shaken);
        if set_back {
            return;
        }
        // Of two whose past only whoever signed them has kept, neither counts, and nobody takes them in.
        let honest = |at: &usize| !self.world.people[*at].hostile;
        let truth = self.ops_of(self.active().into_iter().filter(honest));
        for (one, _) in truth.equivocations() {
            let author = truth.op(&one).unwrap().author();
            let at = self.world.at(&author);
            self.world.watch.check(Invariant::Equivocation, accused.contains(&author), || {
                format!("{at} signed two ops under one number unnoticed")
            });
        }
    }
}
