//! Schedules drawn from a seed: a world's people come together, and then things happen that have
//! some chance of meaning something in the state that the world is in.

use alloc::vec::Vec;

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{
    network::Trick,
    play::{Setup, Sim},
    step::Step,
};
use crate::group::Group;

/// What draws steps.
pub(crate) struct Draw {
    rng: ChaCha20Rng,
    temper: Temper,
}

/// What may happen in one schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Temper {
    /// Everybody is honest, and nothing is set back.
    Honest,
    /// Everybody is honest; disks are copied and set back, clocks leap.
    Shaken,
    /// Some are hostile.
    Hostile,
    /// All of it.
    Wild,
}

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

impl Draw {
    /// How a seed's world begins.
    pub fn setup(seed: u64) -> (Setup, Self) {
        let mut draw = Self { rng: ChaCha20Rng::seed_from_u64(!seed), temper: Temper::Honest };
        draw.temper = [Temper::Honest, Temper::Shaken, Temper::Hostile, Temper::Wild]
            [[0, 0, 0, 1, 1, 2, 2, 3][draw.below(8)]];
        let people = [3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 8, 12][draw.below(12)];
        let relay = draw.below(5) > 0;
        let strict = draw.below(16) == 0;
        let thorough = seed % 4 == 1;
        (Setup { seed, people, relay, thorough, altered: false, strict }, draw)
    }

    /// The first steps: most of the people join.
    pub fn gather(&mut self, people: u8) -> Vec<Step> {
        let mut steps = Vec::new();
        for who in 1..people {
            if who < 3 || self.below(4) > 0 {
                steps.push(Step::Join { host: 0, who });
            }
        }
        for whom in 1..people.min(4) {
            if self.below(3) == 0 {
                steps.push(Step::Promote { by: 0, whom });
            }
        }
        for a in 1..people {
            for b in a + 1..people {
                if self.below(2) == 0 {
                    steps.push(Step::Link { a, b });
                }
            }
        }
        steps
    }

    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end.max(1) as u64) as usize
    }

    fn any(&mut self, of: &[usize]) -> u8 {
        let nth = self.below(of.len());
        of.get(nth).map_or(0, |at| *at as u8)
    }

    fn small(&mut self, end: u8) -> u8 {
        self.below(end.into()) as u8
    }

    /// The next thing that happens.
    pub fn next(&mut self, sim: &Sim) -> Step {
        let active = sim.active();
        let (at, other) = (self.any(&active), self.any(&active));
        match self.below(1000) {
            0..230 => Step::Say { by: at },
            230..270 => self.join(sim, &active),
            270..295 => Step::Remove { by: self.admin(sim, &active), whom: other },
            295..303 => Step::Leave { by: at },
            303..325 => Step::Promote { by: self.admin(sim, &active), whom: other },
            325..335 => Step::Demote { by: self.admin(sim, &active), whom: other },
            335..355 => Step::Rotate { by: at },
            355..365 => Step::Present { by: at },
            365..368 => Step::Rename { by: at, to: self.small(100) },
            368..370 => Step::Conduct { by: at, minutes: self.small(100) % 3 },
            370..440 => Step::Link { a: at, b: other },
            440..450 => Step::Partition { side: self.below(1 << 12) as u16 },
            450..470 => Step::Mend,
            470..515 => Step::Power { who: at },
            515..535 => Step::Relay,
            535..560 => Step::Restart { who: at, reread: self.below(2) == 0 },
            560..575 => Step::CrashBefore { who: at, what: self.small(3) },
            575..590 => Step::CrashAfter { who: at, what: self.small(3) },
            590..640 => {
                let trick = [Trick::Hide, Trick::Delay, Trick::Delay, Trick::Repeat][self.below(4)];
                Step::Trick { who: at, log: self.small(3), trick }
            }
            640..643 => Step::Forget,
            643..655 => Step::LoseFrame { nth: self.small(8) },
            655..663 => Step::RepeatFrame { nth: self.small(8) },
            663..668 => Step::SwapFrames { nth: self.small(8) },
            668..740 => Step::Frame { nth: self.small(8) },
            740..800 => Step::Entry { who: at, log: self.small(3) },
            800..870 => Step::Everything,
            870..930 => self.pass(),
            _ => self.rare(sim, at, other),
        }
    }

    fn pass(&mut self) -> Step {
        let ms =
            [50, 1_000, 1_000, 20_000, 20_000, 7 * MINUTE, 7 * MINUTE, 25 * HOUR][self.below(8)];
        Step::Pass { ms: if self.below(60) == 0 { 8 * DAY } else { ms } }
    }

    fn rare(&mut self, sim: &Sim, at: u8, other: u8) -> Step {
        let (shaken, hostile) = match self.temper {
            Temper::Honest => (false, false),
            Temper::Shaken => (true, false),
            Temper::Hostile => (false, true),
            Temper::Wild => (true, true),
        };
        match self.below(2) {
            0 if shaken => match self.below(10) {
                0..4 => Step::Snapshot { who: at },
                4..7 => Step::Restore { who: self.small(sim.world.people.len() as u8) },
                7 => Step::Clone { who: at },
                _ => {
                    let ms = [1_000, 60_000, 3_600_000, 90_000_000][self.below(4)];
                    Step::Clock { who: at, ms: if self.below(2) == 0 { ms } else { -ms } }
                }
            },
            1 if hostile => self.hostile(sim, at, other),
            _ => Step::Say { by: at },
        }
    }

    fn hostile(&mut self, sim: &Sim, at: u8, other: u8) -> Step {
        // A few are hostile, and stay so.
        let by = match self.below(3) {
            0 => at,
            _ => {
                self.any(&(0..sim.world.people.len()).filter(|at| at % 3 == 1).collect::<Vec<_>>())
            }
        };
        match self.below(14) {
            0 => Step::Fork { by, ops: [2, 2, 3, 20][self.below(4)] },
            1..4 => Step::Backdate { by, whom: other, what: self.small(4) },
            4..6 => Step::Equivocate { by },
            6 => Step::OtherSeeds { by },
            7 => Step::HiddenSlot { by },
            8 => Step::WithholdBundle { by },
            9..11 => Step::Replay { by, to: other },
            11..13 => {
                let bytes = [0, 1, 40, 512, 2048, 33_000, 65_500][self.below(7)];
                Step::Garbage { by, to: other, bytes }
            }
            _ => Step::Flood { by, to: other },
        }
    }

    fn join(&mut self, sim: &Sim, active: &[usize]) -> Step {
        let people = &sim.world.people;
        let strangers: Vec<usize> = (0..people.len())
            .filter(|at| people[*at].copy_of.is_none() && !active.contains(at))
            .collect();
        Step::Join { host: self.admin(sim, active), who: self.any(&strangers) }
    }

    /// An admin, by its own ops.
    fn admin(&mut self, sim: &Sim, active: &[usize]) -> u8 {
        let is_admin = |at: &&usize| {
            let group: &Group = sim.world.member(**at);
            group.op_set().resolve().is_admin(&sim.world.id(**at))
        };
        let admins: Vec<usize> = active.iter().filter(is_admin).copied().collect();
        if self.below(8) == 0 { self.any(active) } else { self.any(&admins) }
    }
}
