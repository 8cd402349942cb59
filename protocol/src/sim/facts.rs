//! What was said and to whom, and what follows from it for whoever reads.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
};

use super::{
    invariant::Invariant,
    rules::Rule,
    world::{Person, World},
};
use crate::{
    group::{Alarm, Class, Event, Group, Keys, Received},
    ids::{ChainId, MessageId, OpId},
    membership::Resolution,
};

/// A message that somebody sealed.
pub(crate) struct Said {
    pub from: usize,
    /// In which of its eras.
    pub era: u32,
    pub chain: ChainId,
    pub index: u32,
    /// To whom it was sealed, in which of their eras its chain began, and by which grant its sender took them for
    /// members. Whom it knew no card of it could not seal to.
    pub to: BTreeMap<usize, (u32, OpId)>,
    /// Who was removed, by the sender's ops.
    pub removed: BTreeSet<usize>,
    /// Whether its sender's ratchets were as they should be.
    pub sound: bool,
}

impl World {
    /// Who is a person in its own right, for a copy.
    pub fn original(&self, at: usize) -> usize {
        self.people[at].copy_of.unwrap_or(at)
    }

    /// Notes what was sealed just now.
    pub fn note_said(&mut self, from: usize, text: String, sent: &crate::group::Sent) {
        let view = self.member(from).op_set().resolve();
        let removed = removed_by(view).map(|id| self.at(&id)).collect();
        // A chain's keys come with its bundle: whoever joined anew since has lost them.
        let then = self.watch.eras.get(&sent.chain);
        let to = sent.recipients.iter().filter_map(|id| {
            let to = self.at(id);
            let era = then.and_then(|eras| eras.get(to)).copied();
            let era = era.unwrap_or(Some(self.people[to].era))?;
            Some((to, (era, view.members.get(id)?.grant)))
        });
        let person = &self.people[from];
        let said = Said {
            from: self.original(from),
            era: person.era,
            chain: sent.chain,
            index: sent.index,
            to: to.collect(),
            removed,
            sound: !person.shaken && !person.hostile && person.copy_of.is_none(),
        };
        self.said.insert(text, said);
        self.watch.happened("messages");
    }

    /// I1 and I3, of one message that was opened.
    pub(super) fn check_entitled(&mut self, at: usize, received: &Received) {
        self.watch.happened("messages read");
        let text = String::from_utf8_lossy(&received.payload);
        self.check_opened(at, &text);
    }

    pub(super) fn check_opened(&mut self, at: usize, text: &str) {
        let at = self.original(at);
        let Some(said) = self.said.get(text) else {
            // What hostile nodes say is not kept count of.
            return;
        };
        let (removed, sealed) = (said.removed.contains(&at), said.to.contains_key(&at));
        self.watch.check(Invariant::Removal, !removed || sealed, || {
            format!("{at} opened {text:?}, whose sender knew that it was removed")
        });
        self.watch.check(Invariant::Confinement, sealed || removed, || {
            format!("{at} opened {text:?}, which was not sealed to it")
        });
    }

    /// I4, of one envelope.
    pub(super) fn note_published(
        &mut self,
        at: usize,
        envelope: &[u8],
        message: Option<MessageId>,
    ) {
        let Some(id) = message else { return };
        let Some((chain, index)) = self.member(at).message_of(envelope) else { return };
        self.tracker.note_sealed(chain, index);
        let mut salt = [0; 16];
        salt.copy_from_slice(&envelope[1..17]);
        if !self.watch.keeps(Rule::FreshSalt)
            && let Some(((_, _, used), _)) = self
                .watch
                .salts
                .range((chain, index, [0; 16])..=(chain, index, [255; 16]))
                .find(|(_, other)| **other != id)
        {
            salt = *used;
        }
        let other = *self.watch.salts.entry((chain, index, salt)).or_insert(id);
        self.watch.check(Invariant::OnePlaintext, other == id, || {
            format!("{at} sealed two messages at {index} of {chain:?} under one key and salt")
        });
    }

    /// I11, of chains that changed.
    pub(super) fn check_keys(&mut self, at: usize, chains: &[ChainId]) {
        for chain in chains {
            let Some((_, _, Keys::Open(next, key))) = self.member(at).chain(chain) else {
                continue;
            };
            let known = *self.watch.keys.entry((*chain, next)).or_insert(key);
            self.watch.check(Invariant::OneSeed, known == key, || {
                format!("{at} holds another key of {chain:?} at {next} than others")
            });
        }
    }

    /// I18, of a frame on its way.
    pub(super) fn check_frame(&mut self, frame: &[u8]) {
        if !self.framed.is_multiple_of(16) || !Group::reads_frame(frame) {
            return;
        }
        let canonical = self.watch.keeps(Rule::CanonicalBytes);
        let reads = if canonical { Group::reads_frame } else { Group::reads_frame_loosely };
        let refused = other_encodings(frame).iter().all(|other| !reads(other));
        self.watch.check(Invariant::Codec, refused, || "two encodings of one frame".into());
    }

    pub(super) fn note_event(&mut self, at: usize, event: &Event) {
        match event {
            Event::Message(received) => match &received.class {
                Class::Ok => {}
                Class::StaleView(_) => self.watch.happened("stale views"),
                Class::PostCut => self.watch.happened("after the cut"),
                #[expect(unreachable_patterns, reason = "others may follow")]
                _ => {}
            },
            Event::Rotated { sender, chain, .. } if *sender == self.id(at) => {
                let sender = self.member(at);
                let known = |person: &Person| {
                    sender.card(&person.me.member()).is_some().then_some(person.era)
                };
                let eras = self.people.iter().map(known).collect();
                self.watch.eras.insert(*chain, eras);
                self.watch.happened("chains");
            }
            Event::Gap { .. } => self.watch.happened("gaps"),
            Event::Healed { .. } => self.watch.happened("gaps healed"),
            Event::Alarm(Alarm::SlotFailed(_)) => self.watch.happened("slots failed"),
            Event::Alarm(Alarm::KeysMissing(_)) => self.watch.happened("keys missing"),
            Event::Alarm(Alarm::Equivocation(_)) => self.watch.happened("forks seen"),
            Event::Alarm(Alarm::Clone(_)) => self.watch.happened("copies seen"),
            Event::Alarm(Alarm::Restored(_)) => self.watch.happened("old states told of"),
            Event::Alarm(Alarm::OldState | Alarm::Copied) => self.watch.happened("old states"),
            Event::Alarm(Alarm::Returned { .. }) => self.watch.happened("returns by void removals"),
            Event::CaughtUp => self.watch.happened("old states caught up"),
            Event::Reclassed { .. } => self.watch.happened("classed anew"),
            Event::Undeliverable { .. } => self.watch.happened("undeliverable"),
            _ => {}
        }
    }
}

impl World {
    /// Whether somebody is, or was, a member again after it had heard of its own removal, which turned
    /// out void or beside which a grant stands.
    pub fn came_back(&self, at: usize) -> bool {
        let own = self.id(at);
        let back = |event: &Event| match event {
            Event::Alarm(Alarm::Returned { member, .. }) | Event::Removed { member, .. } => {
                *member == own
            }
            _ => false,
        };
        self.people[at].events.iter().any(back)
    }
}

/// Who was removed, and is no member by any other grant.
pub(crate) fn removed_by(view: &Resolution) -> impl Iterator<Item = crate::ids::MemberId> + '_ {
    view.ended
        .values()
        .filter(|ended| !ended.removals.is_empty() && !view.is_member(&ended.member))
        .map(|ended| ended.member)
}

/// The same value in bytes that the codec never writes, if `bytes` begin with a short array.
pub(crate) fn other_encodings(bytes: &[u8]) -> alloc::vec::Vec<alloc::vec::Vec<u8>> {
    let mut others = alloc::vec![[bytes, &[0]].concat()];
    if let Some((first @ 0x80..=0x97, rest)) = bytes.split_first() {
        others.push([&[0x98, first - 0x80], rest].concat());
    }
    others
}
