//! Of what comes to whom, and of what is asked for in vain.

use super::*;

#[test]
fn a_head_that_whoever_joined_anew_hands_on_without_its_pages_is_not_kept_for_ever() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Promote { by: 0, whom: 3 },
        Step::Leave { by: 2 },
        Step::Everything,
        Step::Say { by: 0 },
        Step::Say { by: 0 },
        Step::Pass { ms: 420_000 },
        Step::Forget,
        Step::Say { by: 4 },
        Step::Join { host: 3, who: 2 },
        Step::Link { a: 3, b: 4 },
        Step::Power { who: 0 },
        Step::Everything,
        Step::Say { by: 4 },
        Step::Clock { who: 2, ms: 3_600_000 },
        Step::Pass { ms: 1000 },
        Step::Remove { by: 3, whom: 4 },
        Step::Everything,
        Step::Join { host: 3, who: 4 },
        Step::Remove { by: 0, whom: 3 },
        Step::CrashBefore { who: 3, what: 2 },
        Step::Pass { ms: 420_000 },
    ];
    holds(5, 200062, true, &steps);
}

#[test]
fn nobody_is_owed_what_lay_with_its_author_alone_when_that_joined_anew() {
    let steps = [
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 8 },
        Step::Join { host: 0, who: 10 },
        Step::Promote { by: 0, whom: 3 },
        Step::Link { a: 3, b: 10 },
        Step::Link { a: 4, b: 8 },
        Step::Link { a: 7, b: 10 },
        Step::Everything,
        Step::Power { who: 0 },
        Step::Say { by: 8 },
        Step::Pass { ms: 420_000 },
        Step::Relay,
        Step::Everything,
        Step::Say { by: 8 },
        Step::Pass { ms: 90_000_000 },
        Step::Link { a: 4, b: 7 },
        Step::Say { by: 8 },
        Step::Leave { by: 8 },
        Step::Everything,
        Step::Join { host: 3, who: 8 },
    ];
    holds(12, 202697, true, &steps);
}

#[test]
fn who_was_promoted_beside_its_void_removal_is_told_that_it_is_back() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 6 },
        Step::Promote { by: 0, whom: 6 },
        Step::Power { who: 0 },
        Step::Say { by: 2 },
        Step::Promote { by: 0, whom: 1 },
        Step::Power { who: 2 },
        Step::Everything,
        Step::Forget,
        Step::Pass { ms: 1000 },
        Step::Entry { who: 6, log: 0 },
        Step::Remove { by: 6, whom: 1 },
        Step::Demote { by: 0, whom: 6 },
        Step::Power { who: 2 },
        Step::Everything,
        Step::Say { by: 2 },
    ];
    holds(8, 202726, true, &steps);
}

#[test]
fn whose_newest_topic_nobody_has_any_more_begins_another_when_it_has_caught_up() {
    let steps = [
        Step::Join { host: 0, who: 3 },
        Step::Rotate { by: 0 },
        Step::Join { host: 0, who: 1 },
        Step::Leave { by: 3 },
        Step::Leave { by: 0 },
        Step::Backdate { by: 1, whom: 2, what: 3 },
        Step::CrashBefore { who: 1, what: 0 },
    ];
    holds(4, 150269, true, &steps);
}

#[test]
fn what_a_copy_took_up_in_a_members_name_is_told_to_be_unreadable() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Relay,
        Step::Partition { side: 577 },
        Step::Clone { who: 0 },
        Step::Rotate { by: 1 },
        Step::Mend,
        Step::Link { a: 3, b: 1 },
        Step::Relay,
        Step::Entry { who: 1, log: 0 },
        Step::Forget,
        Step::Everything,
        Step::Link { a: 0, b: 1 },
        Step::Pass { ms: 420_000 },
        Step::Link { a: 0, b: 1 },
        Step::Power { who: 3 },
        Step::Say { by: 1 },
        Step::Relay,
        Step::Relay,
        Step::Everything,
    ];
    holds(3, 500547, true, &steps);
}
