//! I19: whether what goes out depends on what is said.
//!
//! A schedule is played once more with other words of the same length, and all that went out is
//! compared: when, by whom, on which log or channel, and how long. Words change ids, which are
//! hashes, and here and there the order of ids decides what comes first: who asks for two envelopes
//! asks for the one with the smaller id. Nobody can tell words by it who doesn't know all else that
//! is hashed. So order within an instant is not compared, and where two runs part, the same words
//! are said under other ids: if such a run parts there or earlier too, it was the ids. Where none
//! does, the order may be a rare one, so both are said under those ids: what words do, they do under
//! most.

use alloc::{format, vec::Vec};

use super::{
    invariant::{Failure, Invariant},
    play::Setup,
    rules::Rule,
    run::{Outcome, replay_as},
};
use crate::ids::{LogId, Timestamp};

/// Something that went out, as whoever sees the lines and the relay can tell it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// By which node.
    pub by: usize,
    /// Where.
    pub way: Way,
    /// How many bytes.
    pub bytes: usize,
}

/// Where something goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Way {
    /// A log at the relay.
    Log(LogId),
    /// A channel to this node.
    Channel(usize),
}

/// The kind of what is said, and those under which the same words are said again for other ids: they
/// mean nothing to a group, and take as many bytes.
pub(super) const TEXT: u8 = 0;
const OTHER_KINDS: core::ops::RangeInclusive<u8> = 8..=23;

/// Plays a run's schedule with other words; the failure, if they show, and whether ids alone made a
/// difference.
pub(super) fn compare(outcome: &Outcome, broken: Option<Rule>) -> (Option<Failure>, bool) {
    let play = |altered: bool, kind: u8| {
        let setup = Setup { altered, ..outcome.setup };
        replay_as(setup, &outcome.steps, broken, kind).seen
    };
    let Some(first) = parting(&outcome.seen, &play(true, TEXT)) else { return (None, false) };
    let mut controls = Vec::new();
    for kind in OTHER_KINDS {
        let control = play(false, kind);
        if is_by_then(parting(&outcome.seen, &control), first) {
            return (None, true);
        }
        controls.push((kind, control));
    }
    let mut partings = controls.iter().map(|(kind, control)| parting(control, &play(true, *kind)));
    if !are_by_words(first, controls.len(), &mut partings) {
        return (None, true);
    }
    let what = format!("with other words said this is one too many or too few: {first:?}");
    (Some(Failure { invariant: Invariant::Transcript, what }), false)
}

/// Whether two runs had parted when others did.
fn is_by_then(parting: Option<Seen>, first: Seen) -> bool {
    parting.is_some_and(|it| it.at <= first.at)
}

/// Whether most of so many pairs of runs, each with these words and with the others under the same
/// ids, part when the first pair did.
fn are_by_words(
    first: Seen,
    pairs: usize,
    partings: &mut impl Iterator<Item = Option<Seen>>,
) -> bool {
    let most = pairs / 2;
    partings.filter(|it| is_by_then(*it, first)).nth(most).is_some()
}

/// The first that went out in one of two runs alone, or in one of them more often.
fn parting(one: &[Seen], other: &[Seen]) -> Option<Seen> {
    let sorted = |seen: &[Seen]| {
        let mut seen = Vec::from(seen);
        seen.sort_unstable();
        seen
    };
    let (one, other) = (sorted(one), sorted(other));
    let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    one.get(same).into_iter().chain(other.get(same)).min().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_part_where_one_has_more_than_the_other_and_not_where_an_instant_goes_otherwise() {
        let seen = |at, bytes| Seen { at: Timestamp(at), by: 0, way: Way::Channel(1), bytes };
        let one = [seen(1, 2), seen(1, 1), seen(2, 1)];
        assert_eq!(parting(&one, &one), None);
        assert_eq!(parting(&one, &[seen(1, 1), seen(1, 2), seen(2, 1)]), None);
        assert_eq!(parting(&one, &one[..2]), Some(seen(2, 1)));
        assert_eq!(parting(&one[1..], &one), Some(seen(1, 2)));
        assert_eq!(parting(&[seen(1, 3)], &one[1..2]), Some(seen(1, 1)));
    }

    #[test]
    fn words_make_runs_part_that_do_so_under_most_ids() {
        let seen = |at| Seen { at: Timestamp(at), by: 0, way: Way::Channel(1), bytes: 1 };
        let (early, late) = (Some(seen(4)), Some(seen(6)));
        let by_words = |partings: [Option<Seen>; 4]| {
            are_by_words(seen(5), partings.len(), &mut partings.into_iter())
        };
        assert!(by_words([early; 4]) && by_words([early, Some(seen(5)), late, early]));
        assert!(!by_words([early, early, late, None]), "a rare order of ids");
        assert!(!by_words([None; 4]) && !by_words([late; 4]));
    }
}
