//! Who must have what, and who must not: by what each writer's node says to have done, in its own order.
//!
//! > A line is owed to whoever it was sealed to and who is a member without a break from then to the end, as its
//! > writer is. It is kept from whoever its writer knew to be gone when it was sealed.

use std::collections::{BTreeMap, BTreeSet};

use super::people::STAYS;

/// What one node has done and seen since the beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whether it is a member at the end.
    pub(super) is_member: bool,
    /// The lines that it shows, by their numbers, in its order, with what each answers.
    pub(super) shown: Vec<(usize, Option<usize>)>,
    /// What happened to it.
    pub(super) life: Vec<Life>,
}

/// One thing that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It sealed a line of its own, to these others.
    Sealed(usize, BTreeSet<usize>),
    /// Somebody became a member.
    Joined(usize),
    /// Somebody is no member any more.
    Gone(usize),
    /// It became a member itself, once more.
    Entered,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Pairs of a line and a reader to whom it is owed.
    pub(super) owed: usize,
    /// Pairs of a line and somebody who is not to have it.
    pub(super) kept_from: usize,
    /// Pairs of a line and what it answers, at one reader.
    pub(super) answers: usize,
}

impl Seen {
    fn shows(&self) -> BTreeSet<usize> {
        self.shown.iter().map(|(line, _)| *line).collect()
    }

    fn entered(&self) -> usize {
        self.life.iter().filter(|it| **it == Life::Entered).count()
    }
}

/// What is wrong with what `all` have; `written` are the lines that were acknowledged, with their writers.
pub(super) fn judge(
    all: &[Seen],
    written: &[(usize, usize)],
    names: &[&str],
) -> (Vec<String>, Extent) {
    let (mut wrong, mut extent) = (Vec::new(), Extent::default());
    let shows: Vec<BTreeSet<usize>> = all.iter().map(Seen::shows).collect();
    let mut sealed: BTreeMap<usize, usize> = BTreeMap::new();
    for (writer, seen) in all.iter().enumerate() {
        for (at, happened) in seen.life.iter().enumerate() {
            let Life::Sealed(line, to) = happened else { continue };
            sealed.insert(*line, writer);
            let (before, after) = (&seen.life[..at], &seen.life[at + 1..]);
            for (reader, of) in all.iter().enumerate().filter(|(reader, _)| *reader != writer) {
                if is_gone(reader, before) {
                    extent.kept_from += 1;
                    if to.contains(&reader) || shows[reader].contains(line) {
                        let (who, by) = (names[reader], names[writer]);
                        wrong.push(format!(
                            "{who} has line {line}, which {by} sealed without {who}"
                        ));
                    }
                }
                if seen.is_member
                    && !after.contains(&Life::Entered)
                    && reader < STAYS
                    && !to.contains(&reader)
                {
                    wrong.push(format!("line {line} is not sealed to {}", names[reader]));
                }
                if is_owed((seen, before, after), (reader, of), to) {
                    extent.owed += 1;
                    if !shows[reader].contains(line) {
                        wrong.push(format!(
                            "{} lacks line {line} of {}",
                            names[reader], names[writer]
                        ));
                    }
                }
            }
        }
        let mut once = BTreeSet::new();
        for (line, answers) in &seen.shown {
            if !once.insert(line) {
                wrong.push(format!("{} has line {line} twice", names[writer]));
            }
            extent.answers += usize::from(answers.is_some_and(|it| shows[writer].contains(&it)));
        }
    }
    for (line, by) in written {
        if !shows[*by].contains(line) {
            wrong.push(format!("{} lost its own line {line}", names[*by]));
        }
        if !sealed.contains_key(line) && all[*by].is_member && all[*by].entered() == 0 {
            wrong.push(format!("line {line} of {} still waits to be sealed", names[*by]));
        }
    }
    (wrong, extent)
}

/// Whether the last that a node heard of somebody is that they are gone. Who else is there when it becomes a member
/// itself, it is not told one by one.
fn is_gone(who: usize, life: &[Life]) -> bool {
    let of = |it: &&Life| match it {
        Life::Joined(one) | Life::Gone(one) => *one == who,
        Life::Entered => true,
        Life::Sealed(..) => false,
    };
    life.iter().rev().find(of).is_some_and(|it| *it == Life::Gone(who))
}

fn is_owed(
    (writer, before, after): (&Seen, &[Life], &[Life]),
    (reader, of): (usize, &Seen),
    to: &BTreeSet<usize>,
) -> bool {
    let stays = |life: &[Life]| !life.contains(&Life::Entered);
    // To whom it was sealed as the member that they are now, and not as the one of before.
    let known = before.iter().filter(|it| **it == Life::Joined(reader)).count();
    let same = known == of.entered() && (stays(before) || of.entered() == 0);
    writer.is_member
        && of.is_member
        && stays(after)
        && to.contains(&reader)
        && !after.contains(&Life::Gone(reader))
        && same
}

/// Lines that are shown above what they answer, and pairs of nodes that show lines in different orders.
pub(super) fn out_of_order(all: &[Seen]) -> (usize, usize) {
    let place = |seen: &Seen| -> BTreeMap<usize, usize> {
        seen.shown.iter().enumerate().map(|(at, (line, _))| (*line, at)).collect()
    };
    let mut above = 0;
    for seen in all {
        let places = place(seen);
        let is_above = |(line, answers): &&(usize, Option<usize>)| {
            answers.and_then(|it| places.get(&it)).is_some_and(|it| *it > places[line])
        };
        above += seen.shown.iter().filter(is_above).count();
    }
    let mut differ = 0;
    for (number, one) in all.iter().enumerate() {
        for other in &all[number + 1..] {
            let (here, there) = (one.shows(), other.shows());
            let common = |seen: &Seen, others: &BTreeSet<usize>| -> Vec<usize> {
                seen.shown.iter().map(|it| it.0).filter(|it| others.contains(it)).collect()
            };
            differ += usize::from(common(one, &there) != common(other, &here));
        }
    }
    (above, differ)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = ["ana", "ben", "cleo", "dan", "eve", "finn"];

    fn seen(shown: &[usize], life: &[Life]) -> Seen {
        let shown = shown.iter().map(|line| (*line, None)).collect();
        Seen { is_member: true, shown, life: life.to_vec() }
    }

    fn sealed(line: usize, to: &[usize]) -> Life {
        Life::Sealed(line, to.iter().copied().collect())
    }

    fn wrong(all: &[Seen]) -> Vec<String> {
        judge(all, &[], &NAMES).0
    }

    /// Ana's line 7 to all, seen by all; finn was removed before it.
    fn well() -> Vec<Seen> {
        let ana = seen(&[7], &[Life::Gone(5), sealed(7, &[1, 2, 3, 4])]);
        let finn = Seen { is_member: false, ..seen(&[], &[]) };
        let others = || seen(&[7], &[]);
        vec![ana, others(), others(), others(), others(), finn]
    }

    #[test]
    fn nothing_is_wrong_where_all_have_what_is_theirs() {
        let (wrong, extent) = judge(&well(), &[(7, 0)], &NAMES);
        assert_eq!((wrong, extent.owed, extent.kept_from), (Vec::new(), 4, 1));
    }

    #[test]
    fn what_is_lost_or_there_twice_is_found() {
        let mut all = well();
        all[1].shown.clear();
        all[2].shown.push((7, None));
        assert_eq!(wrong(&all), ["ben lacks line 7 of ana", "cleo has line 7 twice"]);
        all[0].shown.clear();
        let (found, _) = judge(&all, &[(7, 0), (8, 0)], &NAMES);
        assert!(found.contains(&"ana lost its own line 7".into()), "{found:?}");
        assert!(found.contains(&"line 8 of ana still waits to be sealed".into()), "{found:?}");
    }

    #[test]
    fn what_a_removed_member_reads_is_found() {
        let mut all = well();
        all[5].shown.push((7, None));
        assert_eq!(wrong(&all), ["finn has line 7, which ana sealed without finn"]);
        // As a member again: what was sealed without them is still not theirs.
        all[5].is_member = true;
        all[5].life.push(Life::Entered);
        all[0].life.push(Life::Joined(5));
        assert_eq!(wrong(&all).len(), 1);
    }

    #[test]
    fn who_comes_back_may_find_those_there_whom_it_saw_go() {
        let mut all = well();
        all[0].life = vec![Life::Gone(5), Life::Entered, sealed(7, &[1, 2, 3, 4, 5])];
        all[5] = seen(&[7], &[Life::Entered]);
        assert!(wrong(&all).is_empty());
    }

    #[test]
    fn who_came_back_is_owed_what_was_sealed_to_them_since() {
        let mut all = well();
        all[5] = seen(&[], &[Life::Entered]);
        all[0].life.extend([Life::Joined(5), sealed(8, &[1, 2, 3, 4, 5])]);
        for one in [0, 1, 2, 3, 4] {
            all[one].shown.push((8, None));
        }
        assert_eq!(wrong(&all), ["finn lacks line 8 of ana"]);
        // But not by who has not heard that they were away.
        all[0].life.retain(|it| !matches!(it, Life::Joined(_) | Life::Gone(_)));
        assert!(wrong(&all).is_empty());
    }

    #[test]
    fn who_is_never_gone_is_sealed_to() {
        let mut all = well();
        all[0].life[1] = sealed(7, &[1, 2, 4]);
        assert_eq!(wrong(&all), ["line 7 is not sealed to dan"]);
    }

    #[test]
    fn an_answer_above_what_it_answers_and_another_order_are_found() {
        let mut all = [seen(&[1, 2, 3], &[]), seen(&[1, 3], &[])];
        assert_eq!(out_of_order(&all), (0, 0));
        all[0].shown[0].1 = Some(2);
        assert_eq!(out_of_order(&all), (1, 0));
        all[1].shown.reverse();
        assert_eq!(out_of_order(&all), (1, 1));
    }
}
