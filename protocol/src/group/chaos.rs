//! Random schedules: people who speak, join, remove, leave, lose power and lines, at a relay that
//! hides, delays and repeats. Each is made from one seed, which a failure prints.
//!
//! After a schedule everything is put right, time passes, and then: members agree (I7); each reads
//! everybody's next message once (I5, I14); nobody ever opened what was not sealed to it, also not
//! with a database from before its removal and the relay's whole store (I1 to I3); whatever was
//! sealed to somebody who stayed has come to it (I13); no (chain, index) carried two texts (I4); a
//! refused step changed nothing (I6), which [`World::attempt`] checks; nothing has grown beyond its
//! bound, and nobody talks for ever (I17).

mod laws;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec,
    vec::Vec,
};

use super::{
    world::{Trick, World},
    *,
};
use crate::{
    ids::{LogId, OpId},
    limits,
    membership::AdmitMode,
};

/// Schedules of one test run; WATTLE_SEEDS asks for more, WATTLE_SEED for the first of them.
const SEEDS: u64 = 40;
const STEPS: usize = 60;

struct Chaos {
    world: World,
    /// How often each person has joined.
    joined: Vec<u32>,
    said: Vec<Said>,
    /// What each (chain, index) carried, also where it was lost before it left.
    carried: BTreeMap<(ChainId, u32), String>,
    trace: Vec<String>,
}

struct Said {
    text: String,
    from: usize,
    /// In which of its memberships.
    joined: u32,
    chain: ChainId,
    index: u32,
    /// To whom it was sealed, and which membership of theirs that was: how often they had joined,
    /// and by which grant its sender took them for members.
    to: BTreeMap<usize, (u32, OpId)>,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut world = World::founded(6, !seed.is_multiple_of(4), seed);
        world.strict = seed.is_multiple_of(8);
        let mut chaos = Self {
            world,
            joined: vec![1, 0, 0, 0, 0, 0],
            said: vec![],
            carried: BTreeMap::new(),
            trace: vec![],
        };
        chaos.world.link_all();
        chaos.join(0, 1);
        chaos.join(0, 2);
        if seed.is_multiple_of(3) {
            let first = chaos.world.id(1);
            // Refused where it is no admin's to do.
            let _ = chaos.world.attempt(0, |group, cx| group.promote(cx, first));
        }
        chaos
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.put_right();
        self.check();
    }

    fn present(&self) -> Vec<usize> {
        (0..self.world.people.len()).filter(|at| self.world.people[*at].group.is_some()).collect()
    }

    /// Who takes itself for a member.
    fn active(&self) -> Vec<usize> {
        let present = self.present().into_iter();
        present.filter(|at| self.world.member(*at).state() == GroupState::Active).collect()
    }

    fn any(&mut self, of: &[usize]) -> Option<usize> {
        let nth = self.world.below(of.len());
        of.get(nth).copied()
    }

    fn note(&mut self, what: String) {
        self.trace.push(what);
    }

    fn step(&mut self) {
        let active = self.active();
        let (Some(at), Some(other)) = (self.any(&active), self.any(&active)) else { return };
        let other_id = self.world.id(other);
        let online = self.world.people[at].online;
        match self.world.below(100) {
            0..25 => self.say(at),
            25..30 => {
                let strangers: Vec<usize> =
                    (0..self.world.people.len()).filter(|at| !active.contains(at)).collect();
                if let Some(newcomer) = self.any(&strangers).filter(|_| online) {
                    self.join(at, newcomer);
                }
            }
            30..34 => {
                self.note(format!("{at} removes {other}"));
                let _ = self.world.attempt(at, |group, cx| group.remove(cx, other_id));
            }
            34..35 => {
                self.note(format!("{at} leaves"));
                let _ = self.world.attempt(at, Group::leave);
            }
            35..38 => {
                self.note(format!("{at} promotes {other}"));
                let _ = self.world.attempt(at, |group, cx| group.promote(cx, other_id));
            }
            38..39 => {
                self.note(format!("{at} demotes {other}"));
                let _ = self.world.attempt(at, |group, cx| group.demote(cx, other_id));
            }
            39..42 => {
                self.note(format!("{at} rotates"));
                let _ = self.world.attempt(at, Group::rotate);
            }
            42..44 => {
                self.note(format!("{at} presents"));
                self.world.act(at, |group, cx| group.present(cx, vec![vec![1, 2, 3]]));
            }
            44..52 => self.turn_link(at, other),
            52..57 => self.turn_power(at),
            57..60 => self.turn_relay(),
            60..63 => self.restart(at),
            63..66 => self.crash(at),
            66..72 => self.trick(at),
            72..84 => {
                for _ in 0..=self.world.below(8) {
                    self.deliver_one();
                }
            }
            84..92 => {
                self.note("everything comes".into());
                while self.world.deliver() {}
            }
            _ => {
                let step = [50, 1_000, 20_000, 400_000, 90_000_000][self.world.below(5)];
                self.note(format!("{step} ms pass"));
                self.world.now = self.world.now.plus_ms(step);
                self.world.tick();
            }
        }
    }

    fn say(&mut self, at: usize) {
        let text = format!("{} by {at}", self.carried.len());
        self.note(format!("{at} says {text:?}"));
        let sealed = self.world.attempt(at, |group, cx| {
            let members: BTreeSet<MemberId> =
                group.ops.resolve().members.keys().filter(|id| **id != group.me).copied().collect();
            let sent = group.send(cx, 0, text.as_bytes())?;
            let recipients: BTreeSet<MemberId> = sent.recipients.iter().copied().collect();
            assert_eq!(recipients, members, "I2: the roster is what the ops come to");
            Ok::<_, SendError>(sent)
        });
        if let Ok(sent) = sealed {
            self.carry(&sent, &text);
            let to = sent.recipients.iter().map(|id| self.world.at(id));
            let members = &self.world.member(at).ops.resolve().members;
            let to =
                to.map(|to| (to, (self.joined[to], members[&self.world.id(to)].grant))).collect();
            let (chain, index) = (sent.chain, sent.index);
            self.said.push(Said { text, from: at, joined: self.joined[at], chain, index, to });
        }
    }

    fn carry(&mut self, sent: &Sent, text: &str) {
        let before = self.carried.insert((sent.chain, sent.index), text.into());
        assert_eq!(before, None, "I4: a chain's index carries one text");
    }

    fn join(&mut self, host: usize, at: usize) {
        self.note(format!("{host} admits {at}"));
        let secret = crate::invite::InviteSecret::generate(&mut self.world.rng);
        let terms = InviteTerms {
            max_uses: 1,
            expires: self.world.now.plus_ms(1_000_000),
            mode: AdmitMode::Auto,
            strict: true,
        };
        let invited =
            self.world.attempt(host, |group, cx| group.invite(cx, &secret.record(), terms));
        if invited.is_err() {
            return;
        }
        if let Ok(welcome) = self.world.admit(host, at, &secret) {
            self.joined[at] += 1;
            self.world.people[at].online = true;
            self.world.people[at].read.clear();
            self.world.people[at].late.clear();
            self.world.welcome(host, at, &welcome);
            if self.world.below(2) == 0 && host != at {
                self.world.cut_if(host, at);
                self.world.link(host, at);
            }
        }
    }

    fn turn_link(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        if self.world.is_linked(a, b) {
            self.note(format!("{a} and {b} lose one another"));
            self.world.cut(a, b);
        } else if self.world.people[a].online && self.world.people[b].online {
            self.note(format!("{a} and {b} meet"));
            self.world.link(a, b);
        }
    }

    fn turn_power(&mut self, at: usize) {
        if self.world.people[at].online {
            self.note(format!("{at} goes offline"));
            for other in self.present() {
                if self.world.is_linked(at, other) {
                    self.world.cut(at, other);
                }
            }
            self.world.people[at].online = false;
            self.world.act(at, |group, cx| group.on_relays_down(cx));
        } else {
            self.note(format!("{at} comes online"));
            self.world.people[at].online = true;
        }
    }

    fn turn_relay(&mut self) {
        self.world.reachable = !self.world.reachable;
        self.note(format!("relay: {}", self.world.reachable));
        if !self.world.reachable {
            for at in self.present() {
                self.world.act(at, |group, cx| group.on_relays_down(cx));
            }
        }
    }

    fn restart(&mut self, at: usize) {
        self.note(format!("{at} starts anew"));
        let (read, late) = (self.world.people[at].read.clone(), self.world.people[at].late.clone());
        self.world.restart(at);
        if self.world.below(2) == 0 {
            // The place in the logs is kept, too.
            self.world.people[at].read = read;
            self.world.people[at].late = late;
        }
    }

    /// Something is done and its process dies before it is committed.
    fn crash(&mut self, at: usize) {
        self.note(format!("{at} dies in the middle"));
        let (read, late) = (self.world.people[at].read.clone(), self.world.people[at].late.clone());
        let text = format!("{} lost by {at}", self.carried.len());
        match self.world.below(3) {
            0 => {
                let sent = self.world.lose(at, |group, cx| group.send(cx, 0, text.as_bytes()));
                if let Ok(sent) = sent {
                    self.carry(&sent, &text);
                }
            }
            1 => drop(self.world.lose(at, Group::rotate)),
            _ => self.world.lose(at, |group, cx| group.on_deadline(cx)),
        }
        self.world.people[at].read = read;
        self.world.people[at].late = late;
    }

    fn trick(&mut self, at: usize) {
        let trick = [Trick::Hide, Trick::Delay, Trick::Delay, Trick::Repeat][self.world.below(4)];
        let logs = self.world.followed(at);
        let nth = self.world.below(logs.len());
        if let Some(log) = logs.get(nth) {
            self.note(format!("the relay plays {trick:?} on {at}"));
            self.world.read(at, *log, Some(trick));
        }
    }

    /// A frame of any channel, or an entry of any log, comes.
    fn deliver_one(&mut self) {
        let mut ways: Vec<(usize, LogId)> = vec![];
        for at in self.present() {
            ways.extend(self.world.followed(at).into_iter().map(|log| (at, log)));
        }
        let way = self.world.below(self.world.frames.len().min(8) + ways.len());
        match way.checked_sub(self.world.frames.len().min(8)) {
            None => drop(self.world.deliver_frame(way)),
            Some(way) => {
                if let Some((at, log)) = ways.get(way) {
                    self.world.read(*at, *log, None);
                }
            }
        }
    }

    /// Everybody is online, all lines stand, the relay serves, and time passes.
    fn put_right(&mut self) {
        self.note("all is well".into());
        self.world.reachable = true;
        for person in &mut self.world.people {
            person.online = true;
        }
        self.world.link_all();
        self.world.pass(70 * 60_000);
    }

    /// Who is a member, as those who are agree.
    fn members(&self) -> Vec<usize> {
        let truth = self.truth();
        let active = self.active().into_iter();
        active.filter(|at| truth.resolve().is_member(&self.world.id(*at))).collect()
    }

    /// Whether each takes each of the others for a member. Without a relay, whoever is gone may have
    /// been the only one to know of both.
    fn are_acquainted(&self, members: &[usize]) -> bool {
        members.iter().all(|at| {
            let group = self.world.member(*at);
            members.iter().all(|other| group.is_member(&self.world.id(*other)))
        })
    }

    /// All ops that anybody who was ever a member knows.
    fn truth(&self) -> OpSet {
        let mut truth = self.world.member(0).ops.clone();
        for at in self.active() {
            for op in self.world.member(at).ops.iter() {
                // All of it fits.
                let _ = truth.insert(op.clone());
            }
        }
        truth
    }
}

impl World {
    fn cut_if(&mut self, a: usize, b: usize) {
        if self.is_linked(a, b) {
            self.cut(a, b);
        }
    }

    /// Every two who are in the group meet, whether they met before or not.
    fn link_all(&mut self) {
        let present: Vec<usize> =
            (0..self.people.len()).filter(|at| self.people[*at].group.is_some()).collect();
        for a in &present {
            for b in &present {
                if a < b {
                    self.cut_if(*a, *b);
                    self.link(*a, *b);
                }
            }
        }
    }
}

/// Prints what happened if the schedule fails.
struct Told<'a>(&'a mut Chaos, u64);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("seed {}:\n  {}", self.1, self.0.trace.join("\n  "));
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_members_end_up_agreeing_and_strangers_know_nothing() {
    let first = number("WATTLE_SEED");
    let count = number("WATTLE_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let seeds = first.unwrap_or(0)..first.unwrap_or(0) + count;
    for seed in seeds {
        let mut chaos = Chaos::new(seed);
        let told = Told(&mut chaos, seed);
        told.0.run();
    }
}

#[test]
fn the_same_seed_gives_the_same_chaos() {
    let run = |seed| {
        let mut chaos = Chaos::new(seed);
        chaos.run();
        let people = chaos.world.people.into_iter();
        (chaos.world.logs, people.map(|person| person.records).collect::<Vec<_>>())
    };
    assert!(run(6) == run(6));
}
