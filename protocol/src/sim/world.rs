//! Groups in memory: several people, one relay, channels that can be cut, no clock but the test's.
//!
//! Each person's node is its group, the records that it committed, an archive, an outbox towards
//! the relay and a place in each of the relay's logs. A step is: one verb or handler, its outputs
//! and its records, all at once; [`World::lose`] is a step whose process died before it committed,
//! [`World::cut_short`] one whose process died right after.

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

use super::{
    facts::Said,
    invariant::Invariant,
    tracker::Tracker,
    watch::Watch,
    words::{self, Seen, Way},
};
use crate::{
    endpoint::Endpoint,
    group::{
        Admission, AdmitError, Cx, Event, Group, GroupState, InviteTerms, Kept, Output, Received,
        Sent, WelcomeError,
    },
    ids::{ChainId, LogId, MemberId, Timestamp},
    invite::InviteSecret,
    limits,
    membership::{AdmitMode, Policy, sign_join},
};

/// What a node has committed of a group: one value for each key.
pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One node, and what lies around its group.
pub(crate) struct Person {
    pub me: Endpoint,
    pub group: Option<Group>,
    pub records: Records,
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
    /// Whether it reaches the relay, where anybody does.
    pub reach: bool,
    /// The logs that it has been told to have read to their ends.
    pub caught_up: BTreeSet<LogId>,
    /// The messages that its store has from this membership.
    pub stored: BTreeSet<(ChainId, u32)>,
    /// And from those before: who joins anew is given what it may read, and its store has it.
    pub earlier: BTreeSet<(ChainId, u32)>,
    /// By how much its clock is wrong, in milliseconds.
    pub skew: i64,
    /// How often it has joined, or lost what it was.
    pub era: u32,
    /// How often it ceased to be a member: its pairs begin anew after that.
    pub outs: u32,
    /// Whether it was set back or copied since: its peers may have to repair slots first.
    pub shaken: bool,
    /// Whether it has done what no honest node does.
    pub hostile: bool,
    /// Whose copy it is.
    pub copy_of: Option<usize>,
    /// The first of each record that was written over, where one is to come back.
    pub overwritten: Records,
    /// What it had committed before its latest change of the roster.
    pub before: Option<Records>,
    /// What it had committed each time it ceased to be a member.
    pub shadows: Vec<Records>,
}

pub(crate) struct World {
    pub people: Vec<Person>,
    pub logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    /// Whether there is a relay, and whether it can be reached now.
    pub relay: bool,
    pub reachable: bool,
    pub links: BTreeSet<(usize, usize)>,
    /// Whose group was told that a channel to which member stands.
    pub wired: BTreeSet<(usize, MemberId)>,
    pub frames: VecDeque<(usize, usize, Vec<u8>)>,
    pub now: Timestamp,
    pub rng: ChaCha20Rng,
    /// Whether each step is checked to have committed all that it changed.
    pub strict: bool,
    /// Whether stolen disks are tried at the end.
    pub thorough: bool,
    /// Whether other words are said, of the same length.
    pub altered: bool,
    /// The kind of what is said.
    pub kind: u8,
    /// All that went out.
    pub seen: Vec<Seen>,
    /// Envelopes published and frames sent, so far.
    pub published: usize,
    pub framed: usize,
    pub watch: Watch,
    /// Who can derive what.
    pub tracker: Tracker,
    /// What was said, by its text.
    pub said: BTreeMap<String, Said>,
    /// Frames that came, and to whom.
    pub overheard: VecDeque<(usize, Vec<u8>)>,
    /// Who signed several ops under one number.
    pub forked: BTreeSet<MemberId>,
    /// Messages of which there are two.
    pub equivocated: BTreeSet<(ChainId, u32)>,
    /// Chains that are sealed to more than their rosters.
    pub hidden: BTreeSet<ChainId>,
    /// Whether a hostile node keeps what it publishes from its channels.
    pub withholding: bool,
    /// Messages that were lost with the process that sealed them.
    pub counted_lost: usize,
    /// Whether all has been put right, and is only looked at now.
    pub put_right: bool,
}

impl Person {
    pub fn new(me: Endpoint) -> Self {
        Self {
            me,
            group: None,
            records: BTreeMap::new(),
            audit: vec![],
            archive: vec![],
            outbox: vec![],
            read: BTreeMap::new(),
            late: vec![],
            events: vec![],
            online: true,
            reach: true,
            caught_up: BTreeSet::new(),
            stored: BTreeSet::new(),
            earlier: BTreeSet::new(),
            skew: 0,
            era: 0,
            outs: 0,
            shaken: false,
            hostile: false,
            copy_of: None,
            overwritten: Records::new(),
            before: None,
            shadows: vec![],
        }
    }

    /// The time by its own clock.
    pub fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_add_signed(self.skew))
    }
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
        let named = |at| Endpoint::generate(&format!("person {at}"), vec![], &mut rng);
        let mut people: Vec<_> = (0..n).map(named).map(|me| Person::new(me.unwrap())).collect();
        let now = Timestamp(1_000_000_000_000);
        for person in &mut people {
            // Nothing is due yet: the first keys get their time.
            person.me.renew(now, &mut rng);
        }
        let mut world = Self {
            people,
            logs: BTreeMap::new(),
            relay,
            reachable: true,
            links: BTreeSet::new(),
            wired: BTreeSet::new(),
            frames: VecDeque::new(),
            now,
            rng,
            strict: false,
            thorough: false,
            altered: false,
            kind: words::TEXT,
            seen: vec![],
            published: 0,
            framed: 0,
            watch: Watch::default(),
            tracker: Tracker::default(),
            said: BTreeMap::new(),
            overheard: VecDeque::new(),
            forked: BTreeSet::new(),
            equivocated: BTreeSet::new(),
            hidden: BTreeSet::new(),
            withholding: false,
            counted_lost: 0,
            put_right: false,
        };
        let policy = Policy { name: "tea".into(), relays: vec![], ..Policy::default() };
        let cx = Cx { me: &world.people[0].me, now: world.now, rng: &mut world.rng };
        world.people[0].group = Some(Group::create(cx, policy).unwrap());
        world.people[0].era = 1;
        world.drain(0);
        world
    }

    pub fn act<T>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
    ) -> T {
        let answer = self.run(at, verb);
        self.drain(at);
        answer
    }

    fn run<T>(&mut self, at: usize, verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T) -> T {
        let person = &mut self.people[at];
        let cx = Cx { me: &person.me, now: person.clock(self.now), rng: &mut self.rng };
        let group = person.group.as_mut().unwrap();
        let was = group.state();
        let answer = verb(group, cx);
        if was == GroupState::Active && group.state() != was {
            person.shadows.push(person.records.clone());
            person.outs += 1;
        }
        // Who is back reads its logs from their start, as nodes do.
        if was != GroupState::Active && group.state() == GroupState::Active {
            person.read.clear();
            person.caught_up.clear();
        }
        answer
    }

    /// A step that may be refused, and then has changed nothing.
    pub fn attempt<T, E: Debug>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut clean = true;
        let answer = self.act(at, |group, cx| {
            assert!(group.is_drained());
            let answer = verb(group, cx);
            clean = answer.is_ok() || group.poll().is_none() && group.is_drained();
            answer
        });
        if let Err(error) = &answer {
            self.refused(at);
            self.watch.check(Invariant::AllOrNothing, clean, || {
                format!("{at} was refused with {error:?}, and changed")
            });
        }
        answer
    }

    /// A step whose process dies before anything of it is committed, and starts again.
    pub fn lose<T>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
    ) -> T {
        let person = &mut self.people[at];
        let cx = Cx { me: &person.me, now: person.clock(self.now), rng: &mut self.rng };
        let answer = verb(person.group.as_mut().unwrap(), cx);
        self.restart(at);
        answer
    }

    /// A step whose process dies once it is committed, before anything of it is carried out: what
    /// was to be published is in the outbox, frames are lost.
    pub fn cut_short<T>(
        &mut self,
        at: usize,
        verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
    ) -> T {
        let answer = self.run(at, verb);
        let reach = core::mem::replace(&mut self.people[at].reach, false);
        let before = self.frames.len();
        self.drain(at);
        self.frames.truncate(before);
        self.people[at].reach = reach;
        self.restart(at);
        answer
    }

    pub fn invite(&mut self, host: usize) -> InviteSecret {
        let secret = InviteSecret::generate(&mut self.rng);
        let expires = self.people[host].clock(self.now).plus_ms(1_000_000);
        let terms = InviteTerms { max_uses: 1, expires, mode: AdmitMode::Auto, strict: true };
        self.act(host, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
        secret
    }

    pub fn admit(
        &mut self,
        host: usize,
        at: usize,
        secret: &InviteSecret,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, AdmitError> {
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
        let welcome = self.attempt(host, |group, cx| group.admit(cx, &request))?;
        // What it hands over is what there is now, whenever it comes.
        self.track_welcome(host, at);
        Ok(welcome)
    }

    pub fn join(&mut self, host: usize, at: usize) {
        let secret = self.invite(host);
        let welcome = self.admit(host, at, &secret).unwrap();
        self.welcome(host, at, &welcome);
    }

    /// Hands a Welcome to somebody, who may have heard already that it is in. Who knows of its own leaving or removal that the host has not
    /// heard of does not take it; nor does who knows that the host has left, of which a copy of the
    /// host has not heard.
    pub fn welcome(&mut self, host: usize, at: usize, welcome: &[u8]) {
        let host_id = self.id(host);
        let person = &mut self.people[at];
        if Group::known_by(welcome, host_id, |_| person.group.as_ref()).is_some() {
            self.watch.happened("welcomes to who is in");
            self.act(at, |group, cx| group.take_welcome(cx, welcome, host_id)).unwrap();
            return;
        }
        let cx = Cx { me: &person.me, now: person.clock(self.now), rng: &mut self.rng };
        let joined = Group::join(cx, welcome, host_id, |_| person.group.as_ref());
        let stale = match &joined {
            Err(WelcomeError::NotAMember) => true,
            Err(WelcomeError::NotAnAdmin) => person.group.is_some(),
            _ => false,
        };
        if stale {
            self.watch.happened("stale welcomes");
            return;
        }
        let mut group = joined.unwrap();
        if let Some(last) = person.audit.last() {
            group.resume_audit(last);
        }
        person.records.clear();
        person.outbox.clear();
        person.caught_up.clear();
        person.earlier.append(&mut person.stored);
        person.era += 1;
        person.group = Some(group);
        self.wired.retain(|(wired, _)| *wired != at);
        self.drain(at);
        self.welcomed(host, at);
    }

    pub fn id(&self, at: usize) -> MemberId {
        self.people[at].me.member()
    }

    pub fn at(&self, id: &MemberId) -> usize {
        (0..self.people.len()).find(|at| self.id(*at) == *id).unwrap()
    }

    /// Everything that a step left to do.
    pub fn drain(&mut self, at: usize) {
        while let Some(output) = self.people[at].group.as_mut().unwrap().poll() {
            match output {
                Output::Publish { envelope, logs, message } => {
                    assert!(limits::BUCKETS.contains(&envelope.len()));
                    self.published += 1;
                    self.note_published(at, &envelope, message);
                    for log in logs {
                        self.sees(at, Way::Log(log), envelope.len());
                        self.people[at].outbox.push((log, envelope.clone()));
                    }
                }
                Output::Frame { to, frame } => {
                    assert!(frame.len() <= limits::FRAME_MAX);
                    self.framed += 1;
                    self.frame(at, &to, frame);
                }
                Output::Archive { chain, index, envelope, .. } => {
                    self.people[at].archive.push((chain, index, envelope));
                }
                Output::Serve { to, messages } => self.serve(at, to, &messages),
                Output::Audit { seq, entry } => {
                    let audit = &mut self.people[at].audit;
                    assert!(seq <= audit.len() as u64, "an entry without those before it");
                    // A state that was set back has a log as short.
                    audit.truncate(usize::try_from(seq).unwrap());
                    audit.push(entry);
                }
                Output::Event(event) => self.tell(at, event),
            }
        }
        self.commit(at);
        self.append(at);
        self.meet(at);
    }

    pub(super) fn sees(&mut self, by: usize, way: Way, bytes: usize) {
        self.seen.push(Seen { at: self.now, by, way, bytes });
    }

    fn serve(&mut self, at: usize, to: MemberId, messages: &[(ChainId, Vec<u32>)]) {
        let person = &mut self.people[at];
        let wanted: BTreeSet<(ChainId, u32)> = messages
            .iter()
            .flat_map(|(chain, indexes)| indexes.iter().map(|index| (*chain, *index)))
            .collect();
        let found = person
            .archive
            .iter()
            .filter(|(chain, index, _)| wanted.contains(&(*chain, *index)))
            .map(|(chain, index, envelope)| Kept {
                chain: *chain,
                index: *index,
                envelope: envelope.clone(),
            })
            .collect();
        let cx = Cx { me: &person.me, now: person.clock(self.now), rng: &mut self.rng };
        person.group.as_mut().unwrap().serve(cx, to, found);
    }

    fn tell(&mut self, at: usize, event: Event) {
        let event = match event {
            Event::Message(received) => match self.take_message(at, received) {
                Some(received) => Event::Message(received),
                None => return,
            },
            event => event,
        };
        self.note_event(at, &event);
        if self.forgets_changes() && matches!(event, Event::Removed { .. } | Event::Joined { .. }) {
            self.people[at].before = Some(self.people[at].records.clone());
        }
        self.people[at].events.push(event);
    }

    fn take_message(&mut self, at: usize, received: Received) -> Option<Received> {
        let place = (received.chain, received.index);
        let new = self.people[at].stored.insert(place);
        self.watch.check(Invariant::Once, new, || {
            format!("{at} was given {:?} of {:?} twice", received.index, received.chain)
        });
        self.check_entitled(at, &received);
        if self.people[at].earlier.contains(&place) {
            return None;
        }
        self.hands_on(&received).then_some(received)
    }

    fn commit(&mut self, at: usize) {
        let (mut chains, mut moved) = (vec![], BTreeSet::new());
        for change in self.people[at].group.as_mut().unwrap().changes() {
            chains.extend(Group::chain_of_key(&change.key));
            moved.extend(Group::moved_towards(&change));
            self.overwrites(at, &change.key);
            let records = &mut self.people[at].records;
            match change.value {
                Some(value) => records.insert(change.key, value.to_vec()),
                None => records.remove(&change.key),
            };
        }
        self.check_keys(at, &chains);
        self.track(at, &chains, &moved);
        if self.strict {
            self.check_committed(at);
        }
    }

    /// The process dies and starts again from what was committed; the relay's logs are read again
    /// from the start.
    pub fn restart(&mut self, at: usize) {
        self.starts(at);
        let person = &mut self.people[at];
        let stored = person.me.save();
        person.me = Endpoint::load(&stored, &mut self.rng).unwrap();
        let records = person.records.clone();
        person.group = Some(Group::load(&person.me, records, person.clock(self.now)).unwrap());
        person.read.clear();
        person.caught_up.clear();
        let peers: Vec<_> =
            self.links.iter().copied().filter(|(a, b)| *a == at || *b == at).collect();
        for (a, b) in peers {
            self.cut(a, b);
            self.link(a, b);
        }
        self.drain(at);
        let chains: Vec<ChainId> = self.member(at).chain_ids().collect();
        self.check_keys(at, &chains);
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

    /// What lies on a node's disk: its own secrets, the group's records, the audit log.
    pub fn disk(&self, at: usize) -> (zeroize::Zeroizing<Vec<u8>>, Records, Vec<Vec<u8>>) {
        let person = &self.people[at];
        (person.me.save(), person.records.clone(), person.audit.clone())
    }

    pub fn member(&self, at: usize) -> &Group {
        self.people[at].group.as_ref().unwrap()
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end.max(1) as u64) as usize
    }
}
