//! I1 to I3 put to the test: old databases with the relay's whole store and all archives.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use rand_chacha::ChaCha20Rng;

use super::Sim;
use crate::{
    endpoint::Endpoint,
    group::{Cx, Event, Group, Output, Source},
    ids::{LogId, MemberId, Timestamp},
    membership::{Kind, Op},
    sim::{
        invariant::Invariant,
        rules::{Rule, open_chains, topics},
    },
};

impl Sim {
    /// Every envelope that was ever kept anywhere.
    pub(super) fn everything(&self) -> Vec<Vec<u8>> {
        let mut all: BTreeSet<&Vec<u8>> = self.world.logs.values().flatten().collect();
        for person in &self.world.people {
            all.extend(person.archive.iter().map(|(_, _, envelope)| envelope));
        }
        all.into_iter().cloned().collect()
    }

    /// Whoever kept its database of when it was a member opens nothing more by it, and learns no
    /// topic that came after.
    pub(super) fn check_shadows(&mut self) {
        // Who was let in by somebody that was removed beside may be gone with it before any member hears.
        let truth = self.all_told();
        let everything = self.ops_of(self.present());
        let (now, removed) = (truth.resolve(), self.removed());
        for at in 0..self.world.people.len() {
            let shadows = core::mem::take(&mut self.world.people[at].shadows);
            for mut shadow in shadows {
                if !self.world.watch.keeps(Rule::NoKeysForRemoved)
                    && removed.contains(&at)
                    && let Some(member) = self.members().first()
                {
                    let records = &self.world.people[*member].records;
                    let (keys, topics) = (open_chains(records), topics(records));
                    shadow.extend(keys);
                    shadow.extend(topics);
                }
                let me = self.world.people[at].me.save();
                let me = Endpoint::load(&me, &mut self.world.rng).unwrap();
                let (heard, topics) = self.try_records(&me, shadow);
                for text in &heard {
                    self.world.check_opened(at, text);
                }
                let id = self.world.id(at);
                for op in truth.iter() {
                    let commit = op.body().kind.topic_commit();
                    if commit.is_none_or(|commit| !topics.contains(&commit)) {
                        continue;
                    }
                    let then = truth.resolve_at(&[op.id()]).unwrap();
                    let past = truth.past(&[op.id()]).unwrap();
                    let grants = |op: &&Op| makes_a_member(op, &id);
                    let later =
                        truth.iter().filter(grants).any(|grant| !past.contains(&grant.id()));
                    // Whose removal is void is told of the topics that were begun meanwhile.
                    let standing = now.members.get(&id);
                    let later = later || standing.is_some_and(|it| past.contains(&it.grant));
                    // Where a hostile admin let it in and nobody honest heard of that, the topics that
                    // this one knew of are what it was given.
                    let later = later
                        || everything.iter().filter(grants).any(|grant| {
                            everything.past(&[grant.id()]).unwrap().contains(&op.id())
                        });
                    let own = then.is_member(&id) || later || op.author() == id;
                    self.world.watch.check(Invariant::Removal, own, || {
                        format!("{at} learnt a topic of after its removal")
                    });
                }
            }
        }
    }
}

fn makes_a_member(op: &Op, member: &MemberId) -> bool {
    let grant =
        matches!(op.body().kind, Kind::Genesis { .. } | Kind::Admit { .. } | Kind::Promote { .. });
    grant && op.subject() == Some(*member)
}

/// What somebody opens of these envelopes, given twice.
pub(super) fn heard(
    group: &mut Group,
    me: &Endpoint,
    now: Timestamp,
    rng: &mut ChaCha20Rng,
    everything: &[Vec<u8>],
) -> BTreeSet<String> {
    let mut heard = BTreeSet::new();
    for entry in everything.iter().chain(everything) {
        // Most of it it can't read.
        let _ = group.on_envelope(Cx { me, now, rng }, Source::Log(LogId([0; 20])), entry);
        while let Some(output) = group.poll() {
            if let Output::Event(Event::Message(received)) = output {
                heard.insert(String::from_utf8_lossy(&received.payload).into_owned());
            }
        }
    }
    heard
}
