//! Runs: a seed's schedule is drawn while it plays, and can be played again without the seed.

use alloc::{format, string::String, vec::Vec};

use super::{
    draw::Draw,
    invariant::{Failure, Invariant},
    play::{Setup, Sim},
    rules::Rule,
    step::Step,
    watch::Counts,
    words::{self, Seen},
};
use crate::hash::{Label, hash32};

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the world began.
    pub setup: Setup,
    /// What happened in it.
    pub steps: Vec<Step>,
    /// How often what was checked, and what happened.
    pub counts: Counts,
    /// What did not hold.
    pub failure: Option<Failure>,
    /// A hash of all that the run left behind: logs and records.
    pub transcript: [u8; 32],
    /// What went out, as it can be told without its bytes.
    pub seen: Vec<Seen>,
}

/// Draws a schedule of so many steps from a seed and plays it, to the end or the first failure.
/// `seen` is told of each step before it is carried out.
pub fn draw(seed: u64, steps: usize, broken: Option<Rule>, seen: impl FnMut(&Step)) -> Outcome {
    let (setup, mut draw) = Draw::setup(seed);
    let mut gather = draw.gather(setup.people).into_iter();
    let begun = gather.len();
    let mut at = 0;
    let mut outcome = play(setup, broken, words::TEXT, seen, |sim| {
        at += 1;
        gather.next().or_else(|| (at <= steps + begun).then(|| draw.next(sim)))
    });
    if seed % ALTERED == 2 && outcome.failure.is_none() {
        let (failure, by_ids) = words::compare(&outcome, broken);
        outcome.failure = failure;
        *outcome.counts.happened.entry("other orders by ids").or_default() += u64::from(by_ids);
        *outcome.counts.checked.entry(Invariant::Transcript).or_default() += 1;
    }
    outcome
}

/// Plays a schedule.
pub fn replay(
    setup: Setup,
    steps: &[Step],
    broken: Option<Rule>,
    seen: impl FnMut(&Step),
) -> Outcome {
    let mut steps = steps.iter().copied();
    play(setup, broken, words::TEXT, seen, |_| steps.next())
}

/// Plays a schedule in which all is said under this kind.
pub(super) fn replay_as(setup: Setup, steps: &[Step], broken: Option<Rule>, kind: u8) -> Outcome {
    let mut steps = steps.iter().copied();
    play(setup, broken, kind, |_| {}, |_| steps.next())
}

fn play(
    setup: Setup,
    broken: Option<Rule>,
    kind: u8,
    mut seen: impl FnMut(&Step),
    mut next: impl FnMut(&Sim) -> Option<Step>,
) -> Outcome {
    let mut sim = Sim::new(setup);
    (sim.world.watch.broken_rule, sim.world.kind) = (broken, kind);
    let mut steps = Vec::new();
    let mut result = Ok(());
    while let Some(step) = next(&sim).filter(|_| result.is_ok()) {
        seen(&step);
        steps.push(step);
        result = sim.play(&step);
    }
    let failure = result.and_then(|()| sim.conclude()).err();
    let counts = core::mem::take(&mut sim.world.watch.counts);
    let (seen, transcript) = (core::mem::take(&mut sim.world.seen), transcript(&sim));
    Outcome { setup, steps, counts, failure, transcript, seen }
}

/// A hash over every byte that the relay and the nodes have.
fn transcript(sim: &Sim) -> [u8; 32] {
    let mut hash = [0; 32];
    let mut take = |bytes: &[u8]| hash = hash32(Label::Content, &[&hash, bytes]);
    for (log, entries) in &sim.world.logs {
        take(&log.0);
        entries.iter().for_each(|entry| take(entry));
    }
    for person in &sim.world.people {
        for (key, value) in &person.records {
            take(key);
            take(value);
        }
        take(format!("{:?}", person.events).as_bytes());
    }
    hash
}

/// A schedule as a person reads it.
#[must_use]
pub fn told(setup: Setup, steps: &[Step]) -> String {
    let mut text = format!("{setup:?}\n");
    for (at, step) in steps.iter().enumerate() {
        text.push_str(&format!("{at:4} {step:?}\n"));
    }
    text
}

/// Of so many seeds one is played again with other words.
const ALTERED: u64 = 16;

/// How the world of a seed begins.
#[must_use]
pub fn setup(seed: u64) -> Setup {
    Draw::setup(seed).0
}
