//! I19: whether what goes out depends on what is said.
//!
//! A schedule is played once more with other words of the same length, and all that went out is
//! compared: when, by whom, on which log or channel, and how long. Words change ids, which are
//! hashes, and here and there the order of ids decides what comes first: who asks for two envelopes
//! asks for the one with the smaller id. Nobody can tell words by it who doesn't know all else that
//! is hashed. So order within an instant is not compared, and where two runs part, the same words
//! are said under other ids: if such a run parts there or earlier too, it was the ids; if none does,
//! it was the words.

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
    let setup = Setup { altered: true, ..outcome.setup };
    let other = replay_as(setup, &outcome.steps, broken, TEXT);
    let Some(parting) = parting(&outcome.seen, &other.seen) else { return (None, false) };
    let by_ids = OTHER_KINDS.into_iter().any(|kind| {
        let control = replay_as(outcome.setup, &outcome.steps, broken, kind);
        self::parting(&outcome.seen, &control.seen).is_some_and(|it| it.at <= parting.at)
    });
    let what = || format!("with other words said this is one too many or too few: {parting:?}");
    let failure = || Failure { invariant: Invariant::Transcript, what: what() };
    ((!by_ids).then(failure), by_ids)
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
}
