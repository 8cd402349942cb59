//! I1 to I3 put to the test: old databases with the relay's whole store and all archives.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use super::Sim;
use crate::{
    group::{Cx, Event, Group, Output, Source},
    ids::LogId,
    sim::{
        invariant::Invariant,
        rules::{Rule, open_chains, topics},
        world::Records,
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

    /// What somebody opens with these records and all envelopes, and the topics it comes to know.
    fn try_records(
        &mut self,
        at: usize,
        records: Records,
    ) -> (BTreeSet<String>, BTreeSet<[u8; 32]>) {
        let everything = self.everything();
        let world = &mut self.world;
        let me = &world.people[at].me;
        let now = world.people[at].clock(world.now);
        let mut group = Group::load(me, records, now).unwrap();
        let mut heard = BTreeSet::new();
        for _ in 0..2 {
            for entry in &everything {
                let cx = Cx { me: &world.people[at].me, now, rng: &mut world.rng };
                // Most of it it can't read.
                let _ = group.on_envelope(cx, Source::Log(LogId([0; 20])), entry);
                while let Some(output) = group.poll() {
                    if let Output::Event(Event::Message(received)) = output {
                        heard.insert(String::from_utf8_lossy(&received.payload).into_owned());
                    }
                }
            }
        }
        (heard, group.topic_commits())
    }

    /// Whoever kept its database of when it was a member opens nothing more by it, and learns no
    /// topic that came after.
    pub(super) fn check_shadows(&mut self) {
        let truth = self.truth();
        let removed = self.removed();
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
                self.world.watch.happened("old databases tried");
                let (heard, topics) = self.try_records(at, shadow);
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
                    let later = truth.iter().any(|grant| {
                        grant.subject() == Some(id)
                            && !truth.past(&[op.id()]).unwrap().contains(&grant.id())
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
