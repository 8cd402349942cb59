//! What hostile people do. Whoever does any of it is hostile from then on: nobody is promised
//! anything of what it says.

use alloc::{collections::BTreeSet, format, vec, vec::Vec};

use rand_chacha::rand_core::Rng;

use super::{invariant::Invariant, play::Sim, step::Step, world::Person};
use crate::{
    endpoint::Endpoint,
    group::{Group, GroupState, Output, Source},
    membership::{Kind, RemoveReason},
};

/// Frames that a member may be made to send by one flood: what goes to one neighbour at once.
const FLOOD_ANSWERS: usize = 256;

impl Sim {
    pub(super) fn misbehave(&mut self, step: &Step) {
        match *step {
            Step::Fork { by, ops } => {
                let forked = self.hostile(by, |group, cx| group.fork(cx, ops.into()));
                if forked.is_some_and(|ops| ops > 1) {
                    self.world.watch.happened("ops forked");
                    self.world.forked.insert(self.world.id(by.into()));
                }
            }
            Step::Backdate { by, whom, what } => self.backdate(by.into(), whom.into(), what),
            Step::Equivocate { by } => self.equivocate(by.into()),
            Step::OtherSeeds { by } => {
                let sealed = self.hostile(by, |group, cx| group.seal_to_some(cx)).flatten();
                let times = u64::from(sealed.is_some());
                self.world.watch.happened_times("bundles with other seeds", times);
            }
            Step::HiddenSlot { by } => {
                let strangers = self.present();
                let stranger = strangers.into_iter().find(|at| {
                    self.world.people[*at].copy_of.is_none()
                        && self.world.member(*at).state() != GroupState::Active
                });
                let Some(stranger) = stranger.map(|at| self.world.id(at)) else { return };
                let sealed = self.hostile(by, |group, cx| group.seal_to_one_more(cx, stranger));
                if let Some(chain) = sealed.flatten() {
                    self.world.watch.happened("bundles with a hidden slot");
                    self.world.hidden.insert(chain);
                }
            }
            Step::WithholdBundle { by } => self.withhold(by.into()),
            Step::Replay { by, to } => self.replay(by.into(), to.into()),
            Step::Garbage { by, to, bytes } => self.garbage(by.into(), to.into(), bytes.into()),
            Step::Flood { by, to } => self.flood(by.into(), to.into()),
            _ => {}
        }
    }

    /// Lets a member's node do what no honest one does.
    fn hostile<T>(
        &mut self,
        by: u8,
        act: impl FnOnce(&mut Group, crate::group::Cx<'_, rand_chacha::ChaCha20Rng>) -> T,
    ) -> Option<T> {
        let by = usize::from(by);
        let group = self.world.people.get(by)?.group.as_ref()?;
        if group.state() != GroupState::Active {
            return None;
        }
        self.world.people[by].hostile = true;
        Some(self.world.act(by, act))
    }

    /// Somebody signs an op as if it knew nothing; who was removed does so by its old database, on
    /// the logs that it knew.
    fn backdate(&mut self, by: usize, whom: usize, what: u8) {
        if by >= self.world.people.len() || whom >= self.world.people.len() {
            return;
        }
        let mut topic_commit = [0; 32];
        self.world.rng.fill_bytes(&mut topic_commit);
        let member = self.world.id(whom);
        let reason = RemoveReason::Unsaid;
        let kind = match what {
            0 => Kind::Remove { member, cut: vec![], reason, topic_commit },
            1 => Kind::Promote { member },
            2 => Kind::Demote { member },
            _ => Kind::Refresh { topic_commit: Some(topic_commit) },
        };
        let world = &mut self.world;
        let person = &mut world.people[by];
        let Some(state) = person.group.as_ref().map(Group::state) else { return };
        let op = if state == GroupState::Active {
            person.hostile = true;
            world.act(by, |group, cx| group.backdate(cx, kind))
        } else {
            let Some(shadow) = person.shadows.last().cloned() else { return };
            person.hostile = true;
            let now = person.clock(world.now);
            let mut group = Group::load(&person.me, shadow, now).unwrap();
            let cx = crate::group::Cx { me: &person.me, now, rng: &mut world.rng };
            let op = group.backdate(cx, kind);
            while let Some(output) = group.poll() {
                if let Output::Publish { envelope, logs, .. } = output
                    && world.relay
                {
                    for log in logs {
                        world.logs.entry(log).or_default().push(envelope.clone());
                    }
                }
            }
            op
        };
        if op.is_some() {
            self.world.watch.happened("ops back-dated");
            self.world.forked.insert(self.world.id(by));
        }
    }

    /// Two runs of one node with the same randomness: the same chain, and two messages in it.
    fn equivocate(&mut self, by: usize) {
        let Some(person) = self.world.people.get(by) else { return };
        let active = person.group.as_ref().is_some_and(|it| it.state() == GroupState::Active);
        if !active || person.copy_of.is_some() {
            return;
        }
        let world = &mut self.world;
        world.people[by].hostile = true;
        let linked: Vec<usize> =
            (0..world.people.len()).filter(|at| world.is_linked(by, *at)).collect();
        linked.iter().for_each(|at| world.cut(by, *at));
        let (disk, records, audit) = world.disk(by);
        let start = world.rng.clone();
        world.restart(by);
        let mut twin = Person::new(Endpoint::load(&disk, &mut start.clone()).unwrap());
        twin.skew = world.people[by].skew;
        let now = twin.clock(world.now);
        twin.group = Some(Group::load(&twin.me, records.clone(), now).unwrap());
        twin.records = records;
        twin.audit = audit;
        twin.online = false;
        let twin_at = world.people.len();
        world.people.push(twin);
        world.drain(twin_at);
        let logs: Vec<_> = world.member(by).log_ids().collect();
        for at in [by, twin_at] {
            for log in &logs {
                world.act(at, |group, cx| group.on_caught_up(cx, *log));
            }
        }
        let random = world.rng.clone();
        // No two messages have the same words.
        let [one, other] = ["one", "two"].map(|it| format!("twin {it} {}", world.published));
        let first = world.attempt(by, |group, cx| group.send(cx, 0, one.as_bytes()));
        world.rng = random;
        let second = world.attempt(twin_at, |group, cx| group.send(cx, 0, other.as_bytes()));
        let envelopes: BTreeSet<Vec<u8>> =
            world.people[twin_at].outbox.drain(..).map(|(_, envelope)| envelope).collect();
        world.people.truncate(twin_at);
        linked.iter().for_each(|at| world.link(by, *at));
        let (Ok(first), Ok(second)) = (first, second) else { return };
        if (first.chain, first.index) != (second.chain, second.index) {
            return;
        }
        world.watch.happened("messages equivocated");
        let author = world.id(by);
        world.equivocated.insert((first.chain, first.index));
        for to in (1..twin_at).step_by(2).filter(|to| *to != by) {
            if world.people[to].group.is_none() || !world.people[to].online {
                continue;
            }
            for envelope in &envelopes {
                let from = Source::Member(author);
                // Who can't read it yet has not heard it.
                let _ = world.attempt(to, |group, cx| group.on_envelope(cx, from, envelope));
            }
        }
    }

    /// Somebody says something in a new chain, whose bundle goes to nobody by itself.
    fn withhold(&mut self, by: usize) {
        let text = format!("withheld {}", self.world.said.len());
        let Some(person) = self.world.people.get_mut(by) else { return };
        if person.group.as_ref().is_none_or(|it| it.state() != GroupState::Active) {
            return;
        }
        person.hostile = true;
        self.world.restart(by);
        let before = self.world.frames.len();
        let reach = core::mem::replace(&mut self.world.people[by].reach, false);
        let kept = self.world.people[by].outbox.len();
        self.world.withholding = true;
        // Who may not speak withholds nothing.
        let sent = self.world.attempt(by, |group, cx| group.send(cx, 0, text.as_bytes()));
        self.world.withholding = false;
        self.world.frames.truncate(before);
        self.world.people[by].reach = reach;
        if sent.is_ok() {
            self.world.watch.happened("bundles withheld");
            let outbox = &mut self.world.people[by].outbox;
            let message = outbox.pop();
            outbox.truncate(kept);
            outbox.extend(message);
        }
    }

    fn replay(&mut self, by: usize, to: usize) {
        let world = &mut self.world;
        if by < world.people.len() && to < world.people.len() && world.is_linked(by, to) {
            let heard: Vec<_> = world.overheard.iter().filter(|(at, _)| *at == by).collect();
            if let Some((_, frame)) = heard.first() {
                let frame = frame.clone();
                world.people[by].hostile = true;
                world.frames.push_back((by, to, frame));
                world.watch.happened("replays");
            }
        }
    }

    fn garbage(&mut self, by: usize, to: usize, bytes: usize) {
        let world = &mut self.world;
        let mut noise = vec![0; bytes];
        world.rng.fill_bytes(&mut noise);
        let Some(group) = world.people.get(by).and_then(|it| it.group.as_ref()) else { return };
        if world.relay
            && let Some(log) = group.log_ids().next()
        {
            world.logs.entry(log).or_default().push(noise.clone());
        }
        world.people[by].hostile = true;
        world.watch.happened("garbage");
        if to < world.people.len() && world.is_linked(by, to) {
            world.frames.push_back((by, to, noise));
        }
    }

    /// I17: what one member asks costs a bounded answer.
    fn flood(&mut self, by: usize, to: usize) {
        let world = &mut self.world;
        if by >= world.people.len() || to >= world.people.len() || !world.is_linked(by, to) {
            return;
        }
        let Some(group) = world.people[by].group.as_ref() else { return };
        let frames = group.costly_frames();
        world.people[by].hostile = true;
        world.watch.happened("floods");
        let (from, before) = (world.id(by), world.framed);
        if world.people[to].group.is_none() {
            return;
        }
        for _ in 0..30 {
            for frame in &frames {
                // Whoever is no member is refused.
                let _ = world.attempt(to, |group, cx| group.on_frame(cx, from, frame));
            }
        }
        let answers = world.framed - before;
        world.watch.check(Invariant::Bounds, answers <= FLOOD_ANSWERS + 30, || {
            format!("{to} answered a flood with {answers} frames")
        });
    }
}
