//! What must hold once everything has come to rest.

use super::*;

impl Chaos {
    pub(super) fn check(&mut self) {
        let members = self.members();
        self.check_confinement();
        if !self.world.relay && !self.are_acquainted(&members) {
            return;
        }
        self.check_agreement(&members);
        self.check_delivery(&members);
        self.check_bounds(&members);
        let before = self.said.len();
        for at in &members {
            self.say(*at);
        }
        // Who is alone without a relay may wait for somebody who left unheard.
        if members.len() > 1 || self.world.relay {
            assert_eq!(self.said.len(), before + members.len(), "I14: everybody can speak");
        }
        self.world.pass(10 * 60_000);
        self.check_delivery(&members);
        self.check_quiet();
        self.check_alarms();
        self.check_shadows();
    }

    fn check_agreement(&self, members: &[usize]) {
        let views: BTreeSet<_> = members
            .iter()
            .map(|at| {
                let group = self.world.member(*at);
                let ids: Vec<_> = group.members().iter().map(|member| member.id).collect();
                (group.fingerprint(), ids, group.ops.resolve().topics().write.clone())
            })
            .collect();
        assert!(views.len() <= 1, "I7: members agree: {views:?}");
        for at in members {
            let group = self.world.member(*at);
            assert!(!group.lacks_topics(), "{at} lacks a topic");
            assert!(!group.ops.resolve().topics().needs_refresh(), "a clean topic");
        }
    }

    /// How often somebody heard each text.
    fn heard(&self, at: usize) -> BTreeMap<String, usize> {
        let mut heard = BTreeMap::new();
        for text in self.world.heard(at) {
            *heard.entry(text).or_default() += 1;
        }
        heard
    }

    fn check_delivery(&self, members: &[usize]) {
        let truth = self.truth();
        let heard: Vec<_> = (0..self.world.people.len()).map(|at| self.heard(at)).collect();
        for said in &self.said {
            for (to, (joined, grant)) in &said.to {
                let times = heard[*to].get(&said.text).copied().unwrap_or(0);
                assert!(times <= 1, "I5: {to} heard {:?} {times} times", said.text);
                let ended = truth.resolve().ended(grant);
                let stayed = members.contains(to)
                    && self.joined[*to] == *joined
                    && ended.is_none_or(|it| it.removals.is_empty() && it.leaves.is_empty());
                let entitled = stayed
                    && (members.contains(&said.from) && self.joined[said.from] == said.joined
                        || members.iter().any(|at| heard[*at].contains_key(&said.text)));
                assert!(
                    times == 1 || !entitled,
                    "I13: {to} did not hear {:?} ({:?}, {}); {:?} did; members {members:?}",
                    said.text,
                    said.chain,
                    said.index,
                    members.iter().filter(|at| heard[**at].contains_key(&said.text)),
                );
            }
        }
    }

    /// Honest people raise no alarm, but that somebody who could tell was away.
    fn check_alarms(&self) {
        for at in 0..self.world.people.len() {
            for event in &self.world.people[at].events {
                let Event::Alarm(alarm) = event else { continue };
                let honest = matches!(alarm, Alarm::KeysMissing(_) | Alarm::Returned { .. });
                assert!(honest, "{at} raised {alarm:?}");
            }
        }
    }

    fn check_confinement(&self) {
        for at in 0..self.world.people.len() {
            self.check_heard(at, &self.heard(at));
        }
    }

    fn check_heard(&self, at: usize, heard: &BTreeMap<String, usize>) {
        for text in heard.keys() {
            let said = self.said.iter().find(|said| said.text == *text);
            let sealed = said.is_some_and(|said| said.to.contains_key(&at));
            assert!(sealed, "I1: {at} heard {text:?}, which was not sealed to it");
        }
    }

    /// Whoever kept its database of when it was a member opens nothing more by it, and learns no
    /// topic that came after.
    fn check_shadows(&mut self) {
        let mut everything: Vec<Vec<u8>> = self.world.logs.values().flatten().cloned().collect();
        for person in &self.world.people {
            everything.extend(person.archive.iter().map(|(_, _, envelope)| envelope.clone()));
        }
        let truth = self.truth();
        for at in 0..self.world.people.len() {
            for shadow in core::mem::take(&mut self.world.people[at].shadows) {
                let me = &self.world.people[at].me;
                let mut group = Group::load(me, shadow, self.world.now).unwrap();
                let (mut heard, mut topics) = (BTreeMap::new(), BTreeSet::new());
                for _ in 0..2 {
                    for entry in &everything {
                        let rng = &mut self.world.rng;
                        let cx = Cx { me: &self.world.people[at].me, now: self.world.now, rng };
                        // Most of it it can't read.
                        let _ = group.on_envelope(cx, Source::Log(LogId([0; 20])), entry);
                        while let Some(output) = group.poll() {
                            if let Output::Event(Event::Message(received)) = output {
                                let text = String::from_utf8(received.payload).unwrap();
                                *heard.entry(text).or_default() += 1;
                            }
                        }
                        topics.extend(group.topics.commits());
                    }
                }
                self.check_heard(at, &heard);
                let id = self.world.id(at);
                for op in truth.iter() {
                    let commit = op.body().kind.topic_commit();
                    if commit.is_some_and(|commit| topics.contains(&commit)) {
                        let then = truth.resolve_at(&[op.id()]).unwrap();
                        let later = truth.iter().any(|grant| {
                            grant.subject() == Some(id)
                                && !truth.past(&[op.id()]).unwrap().contains(&grant.id())
                        });
                        assert!(then.is_member(&id) || later, "{at} learnt a topic not its own");
                    }
                }
            }
        }
    }

    fn check_bounds(&self, members: &[usize]) {
        for at in members {
            let group = self.world.member(*at);
            let id = self.world.id(*at);
            // Its ciphertext was lost: nobody has it any more.
            let hopeless = |chain: &ChainId| {
                let others = members.iter().map(|other| self.world.member(*other));
                let hybrid = others.clone().any(|other| {
                    let entry = other.receiving.chains.get(chain);
                    entry.is_some_and(|entry| entry.head.head().ciphertexts.is_some())
                });
                hybrid && others.clone().all(|other| other.slots.of(chain, &id).is_none())
            };
            assert!(group.receiving.held.keys().all(hopeless), "{at} holds bundles");
            assert!(group.receiving.parked.len() <= limits::PARKED);
            let parked = group.receiving.parked.values();
            for parked in parked.filter(|parked| !hopeless(&parked.chain)) {
                let known = members.iter().find(|other| {
                    self.world.member(**other).receiving.chains.contains_key(&parked.chain)
                });
                assert_eq!(known, None, "{at} has parked what somebody has the keys for");
            }
            assert!(group.receiving.wanted.keys().all(hopeless), "{at} wants bundles");
            for (chain, index) in group.gaps.keys() {
                let kept = members.iter().find(|other| {
                    let mut archive = self.world.people[**other].archive.iter();
                    archive.any(|(c, i, _)| (c, i) == (chain, index))
                });
                assert_eq!(kept, None, "{at} lacks what somebody has");
            }
            assert!(group.out.is_empty());
        }
    }

    /// With nothing to say, next to nothing is said.
    pub(super) fn check_quiet(&mut self) {
        self.world.pass(60_000);
        let (published, framed) = (self.world.published, self.world.framed);
        self.world.pass(60 * 60_000);
        assert_eq!(self.world.published, published, "nobody publishes without a reason");
        let channels = self.world.links.len() * 2;
        let summaries = channels * 13 * 4;
        assert!(self.world.framed - framed <= summaries, "{}", self.world.framed - framed);
    }
}
