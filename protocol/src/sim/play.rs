//! How steps are carried out.

use alloc::{collections::BTreeSet, format, string::String, vec, vec::Vec};

use super::{
    invariant::{Failure, Invariant},
    network::Trick,
    rules::Rule,
    step::Step,
    world::{Records, World},
};
use crate::{
    endpoint::Endpoint,
    group::{Event, Group, GroupState, InviteTerms, SendError, Sent},
    ids::{ChainId, LogId, MemberId},
    invite::InviteSecret,
    membership::{AdmitMode, Conduct, Policy},
};

/// Steps from one look at all disks to the next.
const STOCKTAKING: usize = 16;

/// A node's disk, copied.
pub(super) struct Disk {
    me: zeroize::Zeroizing<Vec<u8>>,
    records: Records,
    audit: Vec<Vec<u8>>,
    archive: Vec<(ChainId, u32, Vec<u8>)>,
    outbox: Vec<(LogId, Vec<u8>)>,
    stored: BTreeSet<(ChainId, u32)>,
    earlier: BTreeSet<(ChainId, u32)>,
    events: Vec<Event>,
}

/// A world and what is known of its people.
pub(crate) struct Sim {
    pub world: World,
    disks: alloc::collections::BTreeMap<usize, Disk>,
    played: usize,
}

/// How the people of a world come together before the first step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// What all randomness in the world comes from.
    pub seed: u64,
    /// How many there are, at least 2.
    pub people: u8,
    /// Whether there is a relay.
    pub relay: bool,
    /// Whether stolen disks are tried at the end, which takes long.
    pub thorough: bool,
    /// Whether other words of the same length are said.
    pub altered: bool,
    /// Whether every step is checked to have committed all that it changed, and not some alone.
    pub strict: bool,
}

impl Sim {
    pub fn new(setup: Setup) -> Self {
        let mut world = World::founded(setup.people.into(), setup.relay, setup.seed);
        world.strict = setup.strict;
        (world.thorough, world.altered) = (setup.thorough, setup.altered);
        Self { world, disks: alloc::collections::BTreeMap::new(), played: 0 }
    }

    /// Carries a step out; what it shows to be broken is an error.
    pub fn play(&mut self, step: &Step) -> Result<(), Failure> {
        self.carry_out(step);
        self.played += 1;
        if self.played.is_multiple_of(STOCKTAKING) {
            self.world.take_stock();
        }
        self.verdict()
    }

    pub(super) fn verdict(&mut self) -> Result<(), Failure> {
        self.world.watch.failure.take().map_or(Ok(()), Err)
    }

    /// Who has a group, copies included.
    pub fn present(&self) -> Vec<usize> {
        (0..self.world.people.len()).filter(|at| self.world.people[*at].group.is_some()).collect()
    }

    /// Who takes itself for a member, copies included.
    pub fn active(&self) -> Vec<usize> {
        let present = self.present().into_iter();
        present.filter(|at| self.world.member(*at).state() == GroupState::Active).collect()
    }

    fn is_active(&self, at: usize) -> bool {
        let group = self.world.people.get(at).and_then(|person| person.group.as_ref());
        group.is_some_and(|group| group.state() == GroupState::Active)
    }

    fn carry_out(&mut self, step: &Step) {
        match *step {
            Step::Say { by } => drop(self.say(by.into())),
            Step::Join { host, who } => self.join(host.into(), who.into()),
            Step::Remove { by, whom } => {
                self.verb(by, "removals", whom, |group, cx, whom| group.remove(cx, whom));
            }
            Step::Leave { by } => self.verb(by, "leaves", by, |group, cx, _| group.leave(cx)),
            Step::Promote { by, whom } => {
                self.verb(by, "promotions", whom, |group, cx, whom| group.promote(cx, whom));
            }
            Step::Demote { by, whom } => {
                self.verb(by, "demotions", whom, |group, cx, whom| group.demote(cx, whom));
            }
            Step::Rotate { by } => self.verb(by, "refreshes", by, |group, cx, _| group.rotate(cx)),
            Step::Present { by } => {
                if self.is_active(by.into()) {
                    self.world.act(by.into(), |group, cx| group.present(cx, vec![vec![1, 2, by]]));
                }
            }
            Step::Rename { by, to } => self.verb(by, "new names", by, |group, cx, _| {
                let policy = Policy { name: format!("tea {to}"), ..group.policy().clone() };
                group.set_policy(cx, policy)
            }),
            Step::Conduct { by, minutes } => self.verb(by, "conducts", by, |group, cx, _| {
                let expires_s = (minutes > 0).then(|| u32::from(minutes) * 60);
                let conduct = Conduct { expires_s, ..*group.conduct() };
                group.set_conduct(cx, conduct)
            }),
            Step::Link { a, b } => self.turn_link(a.into(), b.into()),
            Step::Partition { side } => self.partition(side),
            Step::Mend => self.mend(),
            Step::Power { who } => self.turn_power(who.into()),
            Step::Relay => self.turn_relay(),
            Step::Restart { who, reread } => self.restart(who.into(), reread),
            Step::CrashBefore { who, what } => self.crash(who.into(), what, false),
            Step::CrashAfter { who, what } => self.crash(who.into(), what, true),
            Step::Snapshot { who } => self.snapshot(who.into()),
            Step::Restore { who } => self.restore(who.into()),
            Step::Clone { who } => self.clone_node(who.into()),
            Step::Clock { who, ms } => self.set_clock(who.into(), ms),
            Step::Trick { who, log, trick } => self.trick(who.into(), log, Some(trick)),
            Step::Entry { who, log } => self.trick(who.into(), log, None),
            Step::Forget => {
                self.world.forget_logs();
                self.world.watch.happened("relay forgot");
            }
            Step::Frame { nth } => drop(self.world.deliver_frame(nth.into())),
            Step::LoseFrame { nth } => {
                if self.world.frames.remove(nth.into()).is_some() {
                    self.world.watch.happened("frames lost");
                }
            }
            Step::RepeatFrame { nth } => {
                if let Some(frame) = self.world.frames.get(usize::from(nth)).cloned() {
                    self.world.frames.push_back(frame);
                    self.world.watch.happened("frames repeated");
                }
            }
            Step::SwapFrames { nth } => {
                let count = self.world.frames.len();
                if usize::from(nth) + 1 < count {
                    self.world.frames.swap(nth.into(), count - 1);
                    self.world.watch.happened("frames swapped");
                }
            }
            Step::Everything => while self.world.deliver() {},
            Step::Pass { ms } => {
                self.world.now = self.world.now.plus_ms(ms);
                self.world.tick();
            }
            Step::Fork { .. }
            | Step::Backdate { .. }
            | Step::Equivocate { .. }
            | Step::OtherSeeds { .. }
            | Step::HiddenSlot { .. }
            | Step::WithholdBundle { .. }
            | Step::Replay { .. }
            | Step::Garbage { .. }
            | Step::Flood { .. } => self.misbehave(step),
        }
    }

    /// Somebody does something that may be refused.
    fn verb<E: core::fmt::Debug>(
        &mut self,
        by: u8,
        what: &'static str,
        whom: u8,
        verb: impl FnOnce(
            &mut Group,
            crate::group::Cx<'_, rand_chacha::ChaCha20Rng>,
            MemberId,
        ) -> Result<(), E>,
    ) {
        let (by, whom) = (usize::from(by), usize::from(whom));
        if self.is_active(by) && whom < self.world.people.len() {
            let whom = self.world.id(whom);
            let done = self.world.attempt(by, |group, cx| verb(group, cx, whom)).is_ok();
            self.world.watch.happened(if done { what } else { "refused verbs" });
        }
    }

    /// Says something new; I2 is put to the test.
    pub(super) fn say(&mut self, at: usize) -> Option<String> {
        if !self.is_active(at) {
            return None;
        }
        let text = self.text(at);
        let members = |group: &Group, id: MemberId| -> BTreeSet<MemberId> {
            let all = group.op_set().resolve().members.keys().copied();
            all.filter(|member| *member != id).collect()
        };
        let expected = members(self.world.member(at), self.world.id(at));
        let kind = self.world.kind;
        let before = self.world.people[at].before.clone().filter(|_| self.world.forgets_changes());
        let sent = match before {
            None => self.world.attempt(at, |group, cx| group.send(cx, kind, text.as_bytes())),
            Some(records) => self.say_by(at, records, text.as_bytes()),
        };
        let sent = sent.ok()?;
        let recipients: BTreeSet<MemberId> = sent.recipients.iter().copied().collect();
        // A member may say a bundle's ops in the same step.
        let now = members(self.world.member(at), self.world.id(at));
        let same = recipients == expected || recipients == now;
        self.world.watch.check(Invariant::Roster, same, || {
            format!("{at} sealed to {recipients:?} and not to {expected:?}")
        });
        self.world.note_said(at, text.clone(), &sent);
        Some(text)
    }

    fn say_by(&mut self, at: usize, records: Records, text: &[u8]) -> Result<Sent, SendError> {
        let person = &mut self.world.people[at];
        let mut group = Group::load(&person.me, records, self.world.now).unwrap();
        core::mem::swap(person.group.as_mut().unwrap(), &mut group);
        for log in self.world.member(at).log_ids().collect::<Vec<_>>() {
            self.world.act(at, |group, cx| group.on_caught_up(cx, log));
        }
        let kind = self.world.kind;
        let sent = self.world.act(at, |group, cx| group.send(cx, kind, text));
        core::mem::swap(self.world.people[at].group.as_mut().unwrap(), &mut group);
        sent
    }

    fn text(&mut self, at: usize) -> String {
        let count = self.world.said.len() + self.world.counted_lost;
        if !self.world.altered {
            format!("{count:05} by {at:02}")
        } else if self.world.watch.keeps(Rule::SayNothingOutside) {
            format!("{count:05} BY {at:02}")
        } else {
            format!("{count:05} BY {at:02}{:600}", "")
        }
    }

    fn join(&mut self, host: usize, at: usize) {
        let world = &mut self.world;
        let newcomer = world.people.get(at).is_some_and(|it| it.copy_of.is_none());
        if !self.is_active(host) || !newcomer || self.is_active(at) {
            return;
        }
        let world = &mut self.world;
        let secret = InviteSecret::generate(&mut world.rng);
        let expires = world.people[host].clock(world.now).plus_ms(1_000_000);
        let terms = InviteTerms { max_uses: 1, expires, mode: AdmitMode::Auto, strict: true };
        if world.attempt(host, |group, cx| group.invite(cx, &secret.record(), terms)).is_err() {
            world.watch.happened("refused verbs");
            return;
        }
        if let Ok(welcome) = world.admit(host, at, &secret) {
            world.watch.happened(if world.people[at].era > 0 { "returns" } else { "joins" });
            world.people[at].online = true;
            world.people[at].read.clear();
            world.people[at].late.clear();
            // Who was there before may hear from others that it is in before the Welcome comes.
            if world.people[at].group.is_some() {
                let ms = [0, 50, 1_000, 20_000][world.below(4)];
                world.pass(ms);
            }
            world.welcome(host, at, &welcome);
            if world.people[host].online {
                if world.is_linked(host, at) {
                    world.cut(host, at);
                }
                world.link(host, at);
            }
        }
    }

    fn turn_link(&mut self, a: usize, b: usize) {
        let world = &mut self.world;
        let up = |at: usize| {
            let person = world.people.get(at);
            person.is_some_and(|person| person.online && person.group.is_some())
        };
        if a == b || !up(a) || !up(b) || world.id(a) == world.id(b) {
            return;
        }
        if world.is_linked(a, b) {
            world.cut(a, b);
        } else {
            world.link(a, b);
        }
    }

    fn partition(&mut self, side: u16) {
        let inside = |at: usize| side >> at.min(15) & 1 == 1;
        let links: Vec<_> = self.world.links.iter().copied().collect();
        for (a, b) in links {
            if inside(a) != inside(b) {
                self.world.cut(a, b);
            }
        }
        for at in self.present() {
            self.world.people[at].reach = inside(at);
            if !inside(at) {
                self.world.lose_relay(at);
            }
        }
        self.world.watch.happened("partitions");
    }

    fn mend(&mut self) {
        for person in &mut self.world.people {
            person.reach = true;
        }
    }

    pub(super) fn turn_power(&mut self, at: usize) {
        if self.world.people.get(at).is_none_or(|person| person.group.is_none()) {
            return;
        }
        if self.world.people[at].online {
            for other in self.present() {
                if self.world.is_linked(at, other) {
                    self.world.cut(at, other);
                }
            }
            self.world.people[at].online = false;
            self.world.lose_relay(at);
        } else {
            self.world.people[at].online = true;
        }
    }

    fn turn_relay(&mut self) {
        self.world.reachable = !self.world.reachable;
        if !self.world.reachable {
            for at in self.present() {
                self.world.lose_relay(at);
            }
        }
    }

    fn restart(&mut self, at: usize, reread: bool) {
        if self.world.people.get(at).is_none_or(|person| person.group.is_none()) {
            return;
        }
        self.world.watch.happened("restarts");
        self.starting(at, reread, |world| world.restart(at));
    }

    /// A start after which the place in the logs is kept, or not.
    fn starting<T>(&mut self, at: usize, reread: bool, start: impl FnOnce(&mut World) -> T) -> T {
        let place = (self.world.people[at].read.clone(), self.world.people[at].late.clone());
        let answer = start(&mut self.world);
        if !reread {
            (self.world.people[at].read, self.world.people[at].late) = place;
        }
        answer
    }

    fn crash(&mut self, at: usize, what: u8, after: bool) {
        if !self.is_active(at) {
            return;
        }
        let (text, kind) = (self.text(at), self.world.kind);
        let verb =
            |group: &mut Group, cx: crate::group::Cx<'_, rand_chacha::ChaCha20Rng>| match what {
                0 => group.send(cx, kind, text.as_bytes()).ok(),
                1 => {
                    // Refused or not, it dies.
                    let _ = group.rotate(cx);
                    None
                }
                _ => {
                    group.on_deadline(cx);
                    None
                }
            };
        if after {
            self.world.watch.happened("crashes after commit");
            let members = self.world.member(at).op_set().resolve().members.clone();
            let sent = self.starting(at, false, |world| world.cut_short(at, verb));
            if let Some(sent) = sent.filter(|sent| sent.recipients.len() + 1 == members.len()) {
                self.world.note_said(at, text, &sent);
            }
        } else {
            self.world.watch.happened("crashes before commit");
            self.world.counted_lost += 1;
            self.starting(at, false, |world| world.lose(at, verb));
        }
    }

    fn snapshot(&mut self, at: usize) {
        let Some(person) = self.world.people.get(at).filter(|it| it.group.is_some()) else {
            return;
        };
        if person.copy_of.is_none() {
            let disk = Disk {
                me: person.me.save(),
                records: person.records.clone(),
                audit: person.audit.clone(),
                archive: person.archive.clone(),
                outbox: person.outbox.clone(),
                stored: person.stored.clone(),
                earlier: person.earlier.clone(),
                events: person.events.clone(),
            };
            self.disks.insert(at, disk);
        }
    }

    fn restore(&mut self, at: usize) {
        let Some(disk) = self.disks.remove(&at) else { return };
        let world = &mut self.world;
        world.watch.happened("snapshots restored");
        let person = &mut world.people[at];
        person.me = Endpoint::load(&disk.me, &mut world.rng).unwrap();
        person.records = disk.records;
        person.audit = disk.audit;
        person.archive = disk.archive;
        person.outbox = disk.outbox;
        person.stored = disk.stored;
        person.earlier = disk.earlier;
        person.events = disk.events;
        person.late.clear();
        person.era += 1;
        person.shaken = true;
        world.restart(at);
    }

    /// A second machine from a node's disk; or its end.
    fn clone_node(&mut self, at: usize) {
        let copy = (0..self.world.people.len()).find(|copy| {
            let person = &self.world.people[*copy];
            person.copy_of == Some(at) && person.group.is_some()
        });
        if let Some(copy) = copy {
            self.end_copy(copy);
            return;
        }
        if !self.is_active(at) || self.world.people[at].copy_of.is_some() {
            return;
        }
        self.world.watch.happened("clones");
        let world = &mut self.world;
        let disk = world.people[at].me.save();
        let mut person = super::world::Person::new(Endpoint::load(&disk, &mut world.rng).unwrap());
        let now = person.clock(world.now);
        person.records = world.people[at].records.clone();
        person.archive = world.people[at].archive.clone();
        person.audit = world.people[at].audit.clone();
        person.stored = world.people[at].stored.clone();
        person.earlier = world.people[at].earlier.clone();
        person.group = Some(Group::load(&person.me, person.records.clone(), now).unwrap());
        person.copy_of = Some(at);
        person.era = world.people[at].era;
        person.outs = world.people[at].outs;
        world.people[at].shaken = true;
        world.people.push(person);
        world.drain(world.people.len() - 1);
    }

    pub(super) fn end_copy(&mut self, copy: usize) {
        if self.world.people[copy].online {
            self.turn_power(copy);
        }
        self.world.people[copy].group = None;
    }

    fn set_clock(&mut self, at: usize, ms: i64) {
        if at < self.world.people.len() {
            self.world.set_clock(at, ms);
            let what = if ms < 0 { "clocks set back" } else { "clocks set ahead" };
            self.world.watch.happened(what);
        }
    }

    fn trick(&mut self, at: usize, log: u8, trick: Option<Trick>) {
        if self.world.people.get(at).is_none_or(|person| person.group.is_none()) {
            return;
        }
        let logs = self.world.followed(at);
        if let Some(log) = logs.get(usize::from(log))
            && self.world.read(at, *log, trick)
        {
            self.world.watch.happened(match trick {
                Some(Trick::Hide) => "entries hidden",
                Some(Trick::Delay) => "entries delayed",
                Some(Trick::Repeat) => "entries repeated",
                None => "entries",
            });
        }
    }
}
