//! Groups in memory: several people, one relay, channels that can be cut, no clock but the test's.
//!
//! Each person's node is its group, the records that it committed, an archive, an outbox towards
//! the relay and a place in each of the relay's logs. A step is: one verb or handler, its outputs
//! and its records, all at once; [`World::lose`] is a step whose process died before it committed.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::fmt::Debug;

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    endpoint::Endpoint,
    group::{
        Admission, AdmitError, Cx, Event, Group, GroupState, InviteTerms, Output, Sent, Source,
    },
    ids::{ChainId, LogId, MemberId, Timestamp},
    invite::InviteSecret,
    limits,
    membership::{AdmitMode, Policy, sign_join},
};

pub(crate) struct Person {
    pub me: Endpoint,
    pub group: Option<Group>,
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The audit log, entry by entry.
    pub audit: Vec<Vec<u8>>,
    pub archive: Vec<(ChainId, u32, Vec<u8>)>,
    /// Entries that no relay has yet.
    pub outbox: Vec<(LogId, Vec<u8>)>,
    pub read: BTreeMap<LogId, usize>,
    /// Entries that the relay held back.
    pub late: Vec<(LogId, usize)>,
    pub events: Vec<Event>,
    pub online: bool,
    /// What it had committed each time it ceased to be a member.
    pub shadows: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
}

pub(crate) struct World {
    pub people: Vec<Person>,
    pub logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    /// Whether there is a relay, and whether it can be reached now.
    pub relay: bool,
    pub reachable: bool,
    pub links: BTreeSet<(usize, usize)>,
    pub frames: VecDeque<(usize, usize, Vec<u8>)>,
    pub now: Timestamp,
    pub rng: ChaCha20Rng,
    /// Whether each step is checked to have committed all that it changed.
    pub strict: bool,
    /// Envelopes published and frames sent, so far.
    pub published: usize,
    pub framed: usize,
}

/// What a relay may do with an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    Hide,
    Delay,
    Repeat,
}

impl World {
    /// `n` people of whom the first has founded a group that the others joined by invite.
    pub fn with(n: usize, relay: bool) -> Self {
        let mut world = Self::founded(n, relay, n as u64);
        for at in 1..n {
            world.join(0, at);
        }
        world.settle();
        world
    }

    /// `n` people of whom the first has founded a group.
    pub fn founded(n: usize, relay: bool, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let people = (0..n)
            .map(|at| Person {
                me: Endpoint::generate(&format!("person {at}"), vec![], &mut rng).unwrap(),
                group: None,
                records: BTreeMap::new(),
                audit: vec![],
                archive: vec![],
                outbox: vec![],
                read: BTreeMap::new(),
                late: vec![],
                events: vec![],
                online: true,
                shadows: vec![],
            })
            .collect();
        let mut world = Self {
            people,
            logs: BTreeMap::new(),
            relay,
            reachable: true,
            links: BTreeSet::new(),
            frames: VecDeque::new(),
            now: Timestamp(1_000_000),
            rng,
            strict: false,
            published: 0,
            framed: 0,
        };
        let policy = Policy { name: "tea".into(), relays: vec![], ..Policy::default() };
        let cx = Cx { me: &world.people[0].me, now: world.now, rng: &mut world.rng };
        world.people[0].group = Some(Group::create(cx, policy).unwrap());
        world.drain(0);
        world
    }

    pub fn act<T>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
    ) -> T {
        let person = &mut self.people[at];
        let cx = Cx { me: &person.me, now: self.now, rng: &mut self.rng };
        let group = person.group.as_mut().unwrap();
        let was = group.state();
        let answer = verb(group, cx);
        if was == GroupState::Active && group.state() != was {
            person.shadows.push(person.records.clone());
        }
        self.drain(at);
        answer
    }

    /// A step that may be refused, and then has changed nothing.
    pub fn attempt<T, E: Debug>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.act(at, |group, cx| {
            assert!(group.is_drained());
            let answer = verb(group, cx);
            if let Err(error) = &answer {
                assert!(group.poll().is_none(), "refused with {error:?}, and something to do");
                assert!(group.is_drained(), "refused with {error:?}, and changed");
            }
            answer
        })
    }

    /// A step whose process dies before anything of it is committed, and starts again.
    pub fn lose<T>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
    ) -> T {
        let person = &mut self.people[at];
        let cx = Cx { me: &person.me, now: self.now, rng: &mut self.rng };
        let answer = verb(person.group.as_mut().unwrap(), cx);
        self.restart(at);
        answer
    }

    pub fn invite(&mut self, host: usize) -> InviteSecret {
        let secret = InviteSecret::generate(&mut self.rng);
        let terms = InviteTerms {
            max_uses: 1,
            expires: self.now.plus_ms(1_000_000),
            mode: AdmitMode::Auto,
            strict: true,
        };
        self.act(host, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
        secret
    }

    pub fn admit(
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
        self.attempt(host, |group, cx| group.admit(cx, &request))
    }

    pub fn join(&mut self, host: usize, at: usize) {
        let secret = self.invite(host);
        let welcome = self.admit(host, at, &secret).unwrap();
        self.welcome(host, at, &welcome);
    }

    pub fn welcome(&mut self, host: usize, at: usize, welcome: &[u8]) {
        let host = self.id(host);
        let cx = Cx { me: &self.people[at].me, now: self.now, rng: &mut self.rng };
        let mut group = Group::join(cx, welcome, host).unwrap();
        if let Some(last) = self.people[at].audit.last() {
            group.resume_audit(last);
        }
        self.people[at].records.clear();
        self.people[at].outbox.clear();
        self.people[at].group = Some(group);
        self.drain(at);
    }

    pub fn id(&self, at: usize) -> MemberId {
        self.people[at].me.member()
    }

    pub fn at(&self, id: &MemberId) -> usize {
        (0..self.people.len()).find(|at| self.id(*at) == *id).unwrap()
    }

    pub fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links.contains(&(a.min(b), a.max(b)))
    }

    pub fn link(&mut self, a: usize, b: usize) {
        self.links.insert((a.min(b), a.max(b)));
        let (ida, idb) = (self.id(a), self.id(b));
        self.act(a, |group, cx| group.on_channel_up(cx, idb));
        self.act(b, |group, cx| group.on_channel_up(cx, ida));
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        self.links.remove(&(a.min(b), a.max(b)));
        self.frames.retain(|(from, to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
        let (ida, idb) = (self.id(a), self.id(b));
        self.act(a, |group, cx| group.on_channel_down(cx, idb));
        self.act(b, |group, cx| group.on_channel_down(cx, ida));
    }

    /// Everything that a step left to do.
    pub fn drain(&mut self, at: usize) {
        while let Some(output) = self.people[at].group.as_mut().unwrap().poll() {
            match output {
                Output::Publish { envelope, logs, .. } => {
                    assert!(limits::BUCKETS.contains(&envelope.len()));
                    self.published += 1;
                    for log in logs {
                        self.people[at].outbox.push((log, envelope.clone()));
                    }
                }
                Output::Frame { to, frame } => {
                    assert!(frame.len() <= limits::FRAME_MAX);
                    self.framed += 1;
                    let to = self.at(&to);
                    if self.is_linked(at, to) {
                        self.frames.push_back((at, to, frame));
                    }
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
                Output::Audit { seq, entry } => {
                    let audit = &mut self.people[at].audit;
                    assert!(seq <= audit.len() as u64, "an entry without those before it");
                    // A state that was set back has a log as short.
                    audit.truncate(usize::try_from(seq).unwrap());
                    audit.push(entry);
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
        if self.strict {
            let live = person.group.as_mut().unwrap().all_records();
            for (key, value) in &live {
                assert!(person.records.get(key) == Some(value), "{key:02x?} was not committed");
            }
            for key in person.records.keys() {
                assert!(live.contains_key(key), "{key:02x?} was not deleted");
            }
        }
        self.append(at);
    }

    /// Hands the outbox to the relay.
    pub fn append(&mut self, at: usize) {
        let person = &mut self.people[at];
        if !self.relay {
            person.outbox.clear();
        }
        if !self.reachable || !person.online {
            return;
        }
        for (log, envelope) in person.outbox.drain(..) {
            let entries = self.logs.entry(log).or_default();
            if !entries.contains(&envelope) {
                entries.push(envelope);
            }
        }
    }

    /// Lets twenty seconds pass.
    pub fn settle(&mut self) {
        self.pass(20_000);
    }

    /// Lets this much time pass, from one thing to do to the next.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        loop {
            while self.deliver() {}
            match self.deadline().filter(|due| *due <= end) {
                Some(due) => self.now = self.now.max(due),
                None => break,
            }
            self.tick();
        }
        self.now = end;
    }

    /// Everybody online does what is due.
    pub fn tick(&mut self) {
        for at in 0..self.people.len() {
            let due = self.people[at].group.as_ref().and_then(Group::deadline);
            if self.people[at].online && due.is_some_and(|due| due <= self.now) {
                self.act(at, |group, cx| group.on_deadline(cx));
            }
        }
    }

    /// The next thing that anybody online has to do.
    pub fn deadline(&self) -> Option<Timestamp> {
        let online = self.people.iter().filter(|person| person.online);
        online.filter_map(|person| person.group.as_ref()?.deadline()).min()
    }

    pub fn deliver(&mut self) -> bool {
        let mut busy = false;
        while self.deliver_frame(0) {
            busy = true;
        }
        for at in 0..self.people.len() {
            for log in self.followed(at) {
                while self.read(at, log, None) {
                    busy = true;
                }
                self.act(at, |group, cx| group.on_caught_up(cx, log));
            }
        }
        busy
    }

    /// Delivers the oldest frame on the channel and in the direction of the nth in flight.
    pub fn deliver_frame(&mut self, nth: usize) -> bool {
        let Some((from, to, _)) = self.frames.get(nth) else { return false };
        let (from, to) = (*from, *to);
        let first = self.frames.iter().position(|(f, t, _)| (*f, *t) == (from, to));
        let Some((_, _, frame)) = first.and_then(|at| self.frames.remove(at)) else { return false };
        if self.is_linked(from, to) && self.people[to].online && self.people[from].online {
            let from = self.id(from);
            // A peer that is no member is refused; the test's assertions see what follows.
            let _ = self.attempt(to, |group, cx| group.on_frame(cx, from, &frame));
        }
        true
    }

    /// The logs that somebody follows at the relay, where it can be reached.
    pub fn followed(&mut self, at: usize) -> Vec<LogId> {
        self.append(at);
        let person = &self.people[at];
        let group = person.group.as_ref().filter(|_| person.online && self.relay && self.reachable);
        group.map_or_else(Vec::new, |group| group.logs().iter().map(|log| log.keys.id()).collect())
    }

    /// Reads one entry of a log that came earlier than the relay showed it, or the next one.
    pub fn read(&mut self, at: usize, log: LogId, trick: Option<Trick>) -> bool {
        let late = self.people[at].late.iter().position(|(of, _)| *of == log);
        if let Some(late) = late.filter(|_| trick.is_none()) {
            let (_, entry) = self.people[at].late.remove(late);
            self.take(at, log, entry);
            return true;
        }
        let next = *self.people[at].read.entry(log).or_default();
        if self.logs.get(&log).is_none_or(|log| log.len() <= next) {
            return false;
        }
        self.people[at].read.insert(log, next + 1);
        match trick {
            Some(Trick::Hide) => {}
            Some(Trick::Delay) => self.people[at].late.push((log, next)),
            Some(Trick::Repeat) => {
                self.take(at, log, next);
                self.take(at, log, next);
            }
            None => self.take(at, log, next),
        }
        true
    }

    fn take(&mut self, at: usize, log: LogId, entry: usize) {
        let Some(entry) = self.logs.get(&log).and_then(|log| log.get(entry)).cloned() else {
            return;
        };
        // Those of a topic that is gone are refused quietly.
        let _ = self.attempt(at, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
    }

    pub fn say(&mut self, at: usize, text: &str) -> Sent {
        self.act(at, |group, cx| group.send(cx, 0, text.as_bytes())).unwrap()
    }

    pub fn heard(&self, at: usize) -> Vec<String> {
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

    /// The process dies and starts again from what was committed; the relay's logs are read again
    /// from the start.
    pub fn restart(&mut self, at: usize) {
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

    pub fn member(&self, at: usize) -> &Group {
        self.people[at].group.as_ref().unwrap()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end.max(1) as u64) as usize
    }
}
