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

#[test]
fn who_stays_by_a_grant_beside_its_removal_reads_who_never_missed_it() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 5 },
        Step::Join { host: 0, who: 9 },
        Step::Join { host: 0, who: 11 },
        Step::Promote { by: 0, whom: 1 },
        Step::Promote { by: 0, whom: 3 },
        Step::Everything,
        Step::Remove { by: 3, whom: 2 },
        Step::Promote { by: 0, whom: 9 },
        Step::Remove { by: 1, whom: 5 },
        Step::Partition { side: 913 },
        Step::Mend,
        Step::Everything,
        Step::Link { a: 11, b: 0 },
        Step::Pass { ms: 691_200_000 },
        Step::Promote { by: 1, whom: 11 },
        Step::Remove { by: 9, whom: 11 },
        Step::Everything,
        Step::Say { by: 3 },
    ];
    holds(12, 400571, true, &steps);
}

#[test]
fn nobody_is_owed_what_only_somebody_had_who_forgot_it_while_it_was_out() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Relay,
        Step::Promote { by: 0, whom: 3 },
        Step::Relay,
        Step::Power { who: 0 },
        Step::Everything,
        Step::Remove { by: 0, whom: 3 },
        Step::Say { by: 1 },
        Step::Everything,
        Step::Power { who: 4 },
        Step::Power { who: 3 },
        Step::Relay,
        Step::Forget,
        Step::Leave { by: 1 },
        Step::Power { who: 4 },
        Step::Relay,
        Step::Power { who: 3 },
        Step::Remove { by: 3, whom: 4 },
        Step::Everything,
    ];
    holds(6, 400774, true, &steps);
}

#[test]
fn who_hears_of_a_bundle_by_one_that_gave_its_ciphertext_up_waits_an_hour_too() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 4 },
        Step::Join { host: 0, who: 6 },
        Step::Promote { by: 0, whom: 1 },
        Step::Link { a: 2, b: 6 },
        Step::Leave { by: 0 },
        Step::Relay,
        Step::CrashBefore { who: 6, what: 2 },
        Step::Power { who: 1 },
        Step::Relay,
        Step::Everything,
        Step::Say { by: 6 },
        Step::Power { who: 1 },
        Step::Frame { nth: 2 },
        Step::Partition { side: 951 },
        Step::Forget,
        Step::Relay,
        Step::Mend,
        Step::Leave { by: 6 },
        Step::Relay,
        Step::Everything,
        Step::Pass { ms: 420_000 },
        Step::Trick { who: 4, log: 0, trick: super::super::network::Trick::Repeat },
        Step::Pass { ms: 420_000 },
        Step::Everything,
        Step::Join { host: 1, who: 6 },
    ];
    holds(8, 500833, true, &steps);
}

#[test]
fn who_stays_by_a_promotion_beside_its_removal_misses_nothing_of_before() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 1 },
        Step::Promote { by: 0, whom: 2 },
        Step::Link { a: 1, b: 2 },
        Step::Link { a: 0, b: 1 },
        Step::Link { a: 0, b: 1 },
        Step::Link { a: 1, b: 2 },
        Step::Everything,
        Step::Link { a: 0, b: 2 },
        Step::Promote { by: 1, whom: 3 },
        Step::Forget,
        Step::Power { who: 3 },
        Step::Say { by: 0 },
        Step::Everything,
        Step::Say { by: 0 },
        Step::Remove { by: 2, whom: 3 },
        Step::Everything,
    ];
    holds(4, 1412, true, &steps);
}

#[test]
fn an_old_state_whose_clock_is_set_back_speaks_again() {
    let steps = [
        Step::Power { who: 0 },
        Step::Clone { who: 0 },
        Step::Say { by: 3 },
        Step::Power { who: 0 },
        Step::Relay,
        Step::Relay,
        Step::Everything,
        Step::Clock { who: 0, ms: -90_000_000 },
    ];
    holds(3, 601_383, true, &steps);
}

#[test]
fn the_ciphertext_of_who_has_left_is_waited_for_as_others_have_it() {
    let steps = [
        Step::Join { host: 0, who: 4 },
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 8 },
        Step::Join { host: 0, who: 11 },
        Step::Link { a: 4, b: 8 },
        Step::Link { a: 4, b: 11 },
        Step::Link { a: 8, b: 11 },
        Step::Everything,
        Step::Pass { ms: 420_000 },
        Step::Partition { side: 682 },
        Step::Link { a: 11, b: 7 },
        Step::Everything,
        Step::Say { by: 11 },
        Step::Say { by: 7 },
        Step::Everything,
        Step::Leave { by: 7 },
        Step::Restart { who: 8, reread: true },
        Step::Link { a: 11, b: 4 },
        Step::Pass { ms: 420_000 },
        Step::Everything,
        Step::Pass { ms: 20_000 },
        Step::Pass { ms: 20_000 },
        Step::Pass { ms: 20_000 },
    ];
    holds(12, 710_478, false, &steps);
}
