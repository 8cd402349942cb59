//! Groups in memory: several members, one relay, channels that can be cut, no clock but the test's.

use alloc::{collections::BTreeMap, format, string::ToString, vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::super::*;
use crate::{ids::LogId, invite::InviteSecret, membership::sign_join};

pub(super) struct Person {
    pub(super) me: Endpoint,
    pub(super) group: Option<Group>,
    pub(super) records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) archive: Vec<(ChainId, u32, Vec<u8>)>,
    pub(super) read: BTreeMap<LogId, usize>,
    pub(super) events: Vec<Event>,
    pub(super) online: bool,
}

pub(super) struct World {
    pub(super) people: Vec<Person>,
    pub(super) logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    pub(super) relay: bool,
    pub(super) links: BTreeSet<(usize, usize)>,
    pub(super) frames: VecDeque<(usize, usize, Vec<u8>)>,
    pub(super) now: Timestamp,
    pub(super) rng: ChaCha20Rng,
}

impl World {
    /// `n` people of whom the first has founded a group that the others joined by invite.
    pub(super) fn with(n: usize, relay: bool) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
        let people = (0..n)
            .map(|at| Person {
                me: Endpoint::generate(&format!("person {at}"), vec![], &mut rng).unwrap(),
                group: None,
                records: BTreeMap::new(),
                archive: vec![],
                read: BTreeMap::new(),
                events: vec![],
                online: true,
            })
            .collect();
        let mut world = Self {
            people,
            logs: BTreeMap::new(),
            relay,
            links: BTreeSet::new(),
            frames: VecDeque::new(),
            now: Timestamp(1_000_000),
            rng,
        };
        let policy = Policy { name: "tea".into(), relays: vec![] };
        let cx = Cx { me: &world.people[0].me, now: world.now, rng: &mut world.rng };
        world.people[0].group = Some(Group::create(cx, policy).unwrap());
        world.drain(0);
        for at in 1..n {
            world.join(0, at);
        }
        world.settle();
        world
    }

    pub(super) fn act<T>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
    ) -> T {
        let person = &mut self.people[at];
        let cx = Cx { me: &person.me, now: self.now, rng: &mut self.rng };
        let answer = verb(person.group.as_mut().unwrap(), cx);
        self.drain(at);
        answer
    }

    pub(super) fn invite(&mut self, host: usize) -> InviteSecret {
        let secret = InviteSecret::generate(&mut self.rng);
        let terms = InviteTerms { max_uses: 1, expires: self.now.plus_ms(1_000_000) };
        self.act(host, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
        secret
    }

    pub(super) fn admit(
        &mut self,
        host: usize,
        at: usize,
        secret: &InviteSecret,
    ) -> Result<Vec<u8>, AdmitError> {
        let card = self.people[at].me.card().clone();
        let group = self.people[host].group.as_ref().unwrap().id();
        let handshake = [at as u8; 32];
        let proof = sign_join(
            &secret.signing(),
            group,
            secret.id(),
            card.card().member,
            card.as_bytes(),
            &handshake,
        );
        let request = Admission { invite: secret.id(), card: &card, proof, handshake };
        self.act(host, |group, cx| group.admit(cx, &request))
    }

    pub(super) fn join(&mut self, host: usize, at: usize) {
        let secret = self.invite(host);
        let welcome = self.admit(host, at, &secret).unwrap();
        let host = self.id(host);
        let cx = Cx { me: &self.people[at].me, now: self.now, rng: &mut self.rng };
        let group = Group::join(cx, &welcome, host).unwrap();
        self.people[at].records.clear();
        self.people[at].group = Some(group);
        self.drain(at);
    }

    pub(super) fn id(&self, at: usize) -> MemberId {
        self.people[at].me.member()
    }

    pub(super) fn link(&mut self, a: usize, b: usize) {
        self.links.insert((a.min(b), a.max(b)));
        let (ida, idb) = (self.id(a), self.id(b));
        self.act(a, |group, cx| group.on_channel_up(cx, idb));
        self.act(b, |group, cx| group.on_channel_up(cx, ida));
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.links.remove(&(a.min(b), a.max(b)));
        let (ida, idb) = (self.id(a), self.id(b));
        self.act(a, |group, cx| group.on_channel_down(cx, idb));
        self.act(b, |group, cx| group.on_channel_down(cx, ida));
    }

    /// Everything that a step left to do.
    pub(super) fn drain(&mut self, at: usize) {
        while let Some(output) = self.people[at].group.as_mut().unwrap().poll() {
            match output {
                Output::Publish { envelope, logs, .. } => {
                    assert!(crate::limits::BUCKETS.contains(&envelope.len()));
                    for log in logs.into_iter().filter(|_| self.relay) {
                        let entries = self.logs.entry(log).or_default();
                        if !entries.contains(&envelope) {
                            entries.push(envelope.clone());
                        }
                    }
                }
                Output::Frame { to, frame } => {
                    let to = (0..self.people.len()).find(|other| self.id(*other) == to).unwrap();
                    self.frames.push_back((at, to, frame));
                }
                Output::Archive { chain, index, envelope } => {
                    self.people[at].archive.push((chain, index, envelope));
                }
                Output::Serve { to, messages } => {
                    let person = &mut self.people[at];
                    let found = person
                        .archive
                        .iter()
                        .filter(|(chain, index, _)| {
                            messages.iter().any(|(c, i)| c == chain && i.contains(index))
                        })
                        .map(|(_, _, envelope)| envelope.clone())
                        .collect();
                    let cx = Cx { me: &person.me, now: self.now, rng: &mut self.rng };
                    person.group.as_mut().unwrap().serve(cx, to, found);
                }
                Output::Event(event) => self.people[at].events.push(event),
            }
        }
        let person = &mut self.people[at];
        for change in person.group.as_mut().unwrap().changes() {
            match change.value {
                Some(value) => person.records.insert(change.key, value.to_vec()),
                None => person.records.remove(&change.key),
            };
        }
    }

    /// Lets time pass until nobody has anything to do for a while.
    pub(super) fn settle(&mut self) {
        for _ in 0..400 {
            while self.deliver() {}
            self.now = self.now.plus_ms(50);
            for at in 0..self.people.len() {
                let due = self.people[at].group.as_ref().and_then(Group::deadline);
                if self.people[at].online && due.is_some_and(|due| due <= self.now) {
                    self.act(at, |group, cx| group.on_deadline(cx));
                }
            }
        }
    }

    pub(super) fn deliver(&mut self) -> bool {
        let mut busy = false;
        while let Some((from, to, frame)) = self.frames.pop_front() {
            let up = self.links.contains(&(from.min(to), from.max(to)));
            if up && self.people[to].online && self.people[from].online {
                let from = self.id(from);
                // A peer that is no member is refused; the test's assertions see what follows.
                let _ = self.act(to, |group, cx| group.on_frame(cx, from, &frame));
                busy = true;
            }
        }
        for at in 0..self.people.len() {
            if !self.people[at].online || self.people[at].group.is_none() || !self.relay {
                continue;
            }
            let logs: Vec<LogId> = self.people[at]
                .group
                .as_ref()
                .unwrap()
                .logs()
                .iter()
                .map(|log| log.keys.id())
                .collect();
            for log in logs {
                loop {
                    let read = *self.people[at].read.entry(log).or_default();
                    let Some(entry) = self.logs.get(&log).and_then(|log| log.get(read)).cloned()
                    else {
                        break;
                    };
                    *self.people[at].read.entry(log).or_default() += 1;
                    // Own entries and those of a topic that is gone are refused quietly.
                    let _ =
                        self.act(at, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
                    busy = true;
                }
                self.act(at, |group, cx| group.on_caught_up(cx, log));
            }
        }
        busy
    }

    pub(super) fn say(&mut self, at: usize, text: &str) -> Sent {
        self.act(at, |group, cx| group.send(cx, 0, text.as_bytes())).unwrap()
    }

    pub(super) fn heard(&self, at: usize) -> Vec<String> {
        self.people[at]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Message(received) => {
                    Some(String::from_utf8_lossy(&received.payload).to_string())
                }
                _ => None,
            })
            .collect()
    }

    /// The process dies and starts again from what was committed.
    pub(super) fn restart(&mut self, at: usize) {
        let stored = self.people[at].me.save();
        self.people[at].me = Endpoint::load(&stored, &mut self.rng).unwrap();
        let records = self.people[at].records.clone();
        let group = Group::load(&self.people[at].me, records, self.now).unwrap();
        self.people[at].group = Some(group);
        self.people[at].read.clear();
        let peers: Vec<_> =
            self.links.iter().copied().filter(|(a, b)| *a == at || *b == at).collect();
        for (a, b) in peers {
            self.cut(a, b);
            self.link(a, b);
        }
        self.drain(at);
    }

    pub(super) fn member(&self, at: usize) -> &Group {
        self.people[at].group.as_ref().unwrap()
    }
}
