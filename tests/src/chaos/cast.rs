//! Who takes part: eight nodes and two relays, each a process on a machine with a clock of its own, some of them on
//! a small disk.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use node::api::types::Ready;

use super::{clock::Clock, disk::Disk, plan::Act};
use crate::{Machine, Nets, Network, Weather, World, available, binaries, process::Process};

/// How many nodes there are; relays come after them.
pub(super) const NODES: usize = 8;
/// And how many are there in all.
pub(super) const ALL: usize = 10;
/// What they are called.
pub(super) const NAMES: [&str; ALL] =
    ["ana", "ben", "cleo", "dan", "eve", "finn", "gus", "hana", "north", "south"];
/// Whose disk is a small one.
pub(super) const SMALL: [usize; 3] = [3, 5, 9];

/// How packets fare where nothing is wrong.
const WEATHER: Weather =
    Weather { delay: Duration::from_millis(5), jitter: Duration::from_millis(10), loss: 0.002 };
/// How soon whoever ended by itself is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// All of them, and where they are.
pub(super) struct Cast {
    actors: Vec<Actor>,
    cuts: BTreeSet<(usize, usize)>,
    network: Network,
    nets: Nets,
    world: World,
}

struct Actor {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    machine: Machine,
    data_dir: PathBuf,
    log: PathBuf,
    clock: Clock,
    process: Option<Process>,
    disk: Option<Disk>,
    /// Whether it is to run.
    wanted: bool,
    /// Whether its disk was full while this process ran.
    starved: bool,
    again: Instant,
}

impl Cast {
    /// All of them, running, if that can be had here; else says that it is skipped, and why.
    pub(super) fn new() -> Option<Self> {
        let library = available(Clock::library())?;
        let nets = Nets::new()?;
        let world = World::new();
        let network = nets.slow_network("wire", WEATHER);
        let mut cast = Self { actors: Vec::new(), cuts: BTreeSet::new(), network, nets, world };
        for number in 0..ALL {
            let actor = cast.actor(number, &library);
            cast.actors.push(available(actor)?);
        }
        let mut relays = Vec::new();
        for number in NODES..ALL {
            relays.push(cast.actors[number].begin_as_relay(&ip(number)));
        }
        for node in &mut cast.actors[..NODES] {
            node.begin_as_node(&relays);
        }
        Some(cast)
    }

    fn actor(&self, number: usize, library: &Path) -> Result<Actor, String> {
        let name = NAMES[number];
        let is_node = number < NODES;
        let machine = self.nets.machine(name);
        machine.plug(&self.network, "e0", &format!("{}/24", ip(number)));
        let data_dir = self.world.dir().join(name);
        // A relay's store writes its journal in large pieces.
        let size = if is_node { "64m" } else { "300m" };
        let disk = SMALL.contains(&number).then(|| Disk::new(&data_dir, size)).transpose()?;
        Ok(Actor {
            name,
            program: if is_node { binaries::wattle() } else { binaries::rendezvous() },
            args: Vec::new(),
            machine,
            data_dir,
            log: self.world.log_file(name),
            clock: Clock::new(self.world.dir().join(format!("{name}.clock")), library),
            process: None,
            disk,
            wanted: true,
            starved: false,
            again: Instant::now(),
        })
    }

    /// The world that all is in.
    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// Where each node keeps everything.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.actors[..NODES].iter().map(|actor| actor.data_dir.clone()).collect()
    }

    /// Where each process writes what it says, with its name.
    pub(super) fn logs(&self) -> Vec<(&'static str, PathBuf)> {
        self.actors.iter().map(|actor| (actor.name, actor.log.clone())).collect()
    }

    /// Has one thing happen.
    pub(super) fn carry_out(&mut self, act: Act) {
        match act {
            Act::Kill(one) => self.actors[one].kill(),
            Act::Start(one) => self.actors[one].start(),
            Act::Cut(one, other) => self.part(&[(one, other)]),
            Act::Mend(one, other) => self.join(&[(one, other)]),
            Act::CutOff(one) => self.part(&all_of(one)),
            Act::BringBack(one) => self.join(&all_of(one)),
            Act::Slow(one, by) => self.network.slow(one, Duration::from_millis(by)),
            Act::Clock(one, seconds) => self.actors[one].clock.set(seconds),
            Act::Fill(one) => self.actors[one].fill(),
            Act::Free(one) => self.actors[one].free(),
        }
    }

    /// Starts again who ended by itself; tells of each who had no reason to.
    pub(super) fn look_after(&mut self) -> Vec<String> {
        self.actors.iter_mut().filter_map(Actor::look_after).collect()
    }

    /// Whether all run that are to.
    pub(super) fn all_run(&self) -> bool {
        self.actors.iter().all(|actor| actor.process.is_some())
    }

    /// A pair may be parted twice: by itself, and because one of the two is cut off. A tie of both is undone
    /// when the first ends.
    fn part(&mut self, pairs: &[(usize, usize)]) {
        for (one, other) in pairs {
            if self.cuts.insert((*one, *other)) {
                self.network.cut(*one, *other);
            }
        }
    }

    fn join(&mut self, pairs: &[(usize, usize)]) {
        for (one, other) in pairs {
            if self.cuts.remove(&(*one, *other)) {
                self.network.mend(*one, *other);
            }
        }
    }
}

/// Each pair with `one` in it.
fn all_of(one: usize) -> Vec<(usize, usize)> {
    (0..ALL).filter(|it| *it != one).map(|other| (one.min(other), one.max(other))).collect()
}

fn ip(number: usize) -> String {
    format!("10.79.0.{}", number + 1)
}

impl Actor {
    /// Starts a relay for the first time; gives its address.
    fn begin_as_relay(&mut self, ip: &str) -> String {
        let dir = self.data_dir.display().to_string();
        let listen = format!("{ip}:4407");
        let args = ["run", "--data-dir", &dir, "--listen", &listen, "--watch", ""];
        self.args = args.map(str::to_owned).into();
        self.start();
        let begins = format!("/ip4/{ip}/tcp/4407/p2p/");
        let process = self.process.as_ref().expect("it runs");
        process.line("the relay's address", |line| {
            line.starts_with(&begins).then(|| line.trim().to_owned())
        })
    }

    /// Starts a node for the first time; returns when it is ready.
    fn begin_as_node(&mut self, relays: &[String]) {
        let dir = self.data_dir.display().to_string();
        let args = ["--data-dir", &dir, "--json", "up", "--name", self.name];
        self.args = args.map(str::to_owned).into();
        for relay in relays {
            self.args.extend(["--relay".into(), relay.clone()]);
        }
        self.start();
        let process = self.process.as_ref().expect("it runs");
        process.line("the ready line", |line| {
            let ready: Option<Ready> = serde_json::from_str(line).ok();
            ready.filter(|ready| ready.event == "ready").map(drop)
        });
    }

    fn start(&mut self) {
        let mut command = self.machine.command("env");
        command.args(self.clock.vars()).args(["RUST_BACKTRACE=1", "WATTLE_CONFIG=/dev/null"]);
        command.arg(&self.program).args(&self.args);
        self.starved = self.disk.as_ref().is_some_and(Disk::is_full);
        self.wanted = true;
        self.process = Some(Process::start(self.name, &mut command, &self.log));
    }

    fn kill(&mut self) {
        self.wanted = false;
        if let Some(process) = self.process.take() {
            let id = process.id();
            process.kill9();
            Clock::forget(id);
        }
    }

    fn fill(&mut self) {
        if let Some(disk) = &self.disk {
            disk.fill();
            self.starved = true;
        }
    }

    fn free(&mut self) {
        if let Some(disk) = &self.disk {
            disk.free();
        }
    }

    fn look_after(&mut self) -> Option<String> {
        if !self.wanted {
            return None;
        }
        let Some(process) = &mut self.process else {
            if Instant::now() >= self.again {
                self.start();
            }
            return None;
        };
        let status = process.end()?;
        Clock::forget(process.id());
        self.process = None;
        self.again = Instant::now() + AGAIN;
        (!self.starved).then(|| format!("{} ended by itself: {status}", self.name))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.kill();
    }
}
