//! What happens to whom, and when: a function of the seed.

use std::{collections::BTreeMap, time::Duration};

use super::cast::{ALL, SMALL};
use crate::Chance;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A process is killed without a word.
    Kill(usize),
    /// It is started again.
    Start(usize),
    /// Two machines don't reach each other.
    Cut(usize, usize),
    /// They do again.
    Mend(usize, usize),
    /// A machine reaches nobody.
    CutOff(usize),
    /// It is back.
    BringBack(usize),
    /// What a machine sends and is sent takes so many milliseconds more.
    Slow(usize, u64),
    /// A clock is set so many seconds ahead.
    Clock(usize, i64),
    /// A disk is full.
    Fill(usize),
    /// It has room.
    Free(usize),
}

/// One of them, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Since the beginning.
    pub(super) at: Duration,
    pub(super) act: Act,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    Cut,
    CutOff,
    Slow,
    Clock,
    Fill,
}

/// How often each comes, in proportion.
const KINDS: [Kind; 15] = [
    Kind::Kill,
    Kind::Kill,
    Kind::Kill,
    Kind::Kill,
    Kind::Kill,
    Kind::Cut,
    Kind::Cut,
    Kind::Cut,
    Kind::CutOff,
    Kind::CutOff,
    Kind::Slow,
    Kind::Slow,
    Kind::Clock,
    Kind::Clock,
    Kind::Fill,
];
/// Between the beginnings of two.
const PAUSE_MS: (u64, u64) = (200, 1400);
/// How long each lasts.
const LASTS_MS: (u64, u64) = (300, 9000);
/// A slow machine's delay.
const SLOW_MS: (u64, u64) = (20, 600);

/// Everything that happens within `length`. Whatever begins has its end there, and nothing befalls anybody who
/// suffers the same already.
pub(super) fn plan(seed: u64, length: Duration) -> Vec<Step> {
    let mut chance = Chance::of(seed);
    let end = u64::try_from(length.as_millis()).expect("a length");
    let mut steps = Vec::new();
    let mut until: BTreeMap<(Kind, usize, usize), u64> = BTreeMap::new();
    let mut at = 0;
    loop {
        at += chance.within(PAUSE_MS.0, PAUSE_MS.1);
        if at >= end {
            break;
        }
        let kind = chance.pick(&KINDS);
        let whom = match kind {
            Kind::Fill => chance.pick(&SMALL),
            _ => somebody(&mut chance),
        };
        let other = match kind {
            Kind::Cut => (whom + 1 + somebody_else(&mut chance)) % ALL,
            _ => whom,
        };
        let (one, other) = (whom.min(other), whom.max(other));
        let over = end.min(at + chance.within(LASTS_MS.0, LASTS_MS.1));
        let (begins, ends) = match kind {
            Kind::Kill => (Act::Kill(one), Act::Start(one)),
            Kind::Cut => (Act::Cut(one, other), Act::Mend(one, other)),
            Kind::CutOff => (Act::CutOff(one), Act::BringBack(one)),
            Kind::Slow => {
                let by = chance.within(SLOW_MS.0, SLOW_MS.1);
                (Act::Slow(one, by), Act::Slow(one, 0))
            }
            Kind::Clock => (Act::Clock(one, offset(&mut chance)), Act::Clock(one, 0)),
            Kind::Fill => (Act::Fill(one), Act::Free(one)),
        };
        let suffers = until.entry((kind, one, other)).or_default();
        if *suffers > at {
            continue;
        }
        *suffers = over;
        steps.push(Step { at: Duration::from_millis(at), act: begins });
        steps.push(Step { at: Duration::from_millis(over), act: ends });
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// Seconds by which a clock is wrong: some, some minutes, or up to 26 hours, either way.
fn offset(chance: &mut Chance) -> i64 {
    let most = chance.pick(&[60, 3600, 26 * 3600]);
    let seconds = i64::try_from(chance.within(1, most)).expect("some seconds");
    if chance.below(2) == 0 { seconds } else { -seconds }
}

fn somebody(chance: &mut Chance) -> usize {
    usize::try_from(chance.below(ALL as u64)).expect("a number")
}

fn somebody_else(chance: &mut Chance) -> usize {
    usize::try_from(chance.below(ALL as u64 - 1)).expect("a number")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(600);

    #[test]
    fn a_seed_has_one_plan() {
        assert_eq!(plan(7, LENGTH), plan(7, LENGTH));
        assert_ne!(plan(7, LENGTH), plan(8, LENGTH));
    }

    #[test]
    fn who_is_killed_runs_and_all_is_well_at_the_end() {
        let steps = plan(1, LENGTH);
        assert!(steps.len() > 600, "{} steps", steps.len());
        let (mut down, mut cut, mut full) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for step in steps {
            assert!(step.at <= LENGTH);
            assert!(match step.act {
                Act::Kill(one) => down.insert(one),
                Act::Start(one) => down.remove(&one),
                Act::Cut(one, other) => one < other && cut.insert((one, other)),
                Act::Mend(one, other) => cut.remove(&(one, other)),
                Act::CutOff(one) => cut.insert((one, one)),
                Act::BringBack(one) => cut.remove(&(one, one)),
                Act::Fill(one) => full.insert(one),
                Act::Free(one) => full.remove(&one),
                Act::Slow(..) | Act::Clock(..) => true,
            });
        }
        assert!(down.is_empty() && cut.is_empty() && full.is_empty());
    }
}
