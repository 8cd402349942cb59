//! Schedules after which some did not see the others, or took the group for another one.

use super::*;

#[test]
fn members_who_learn_of_each_other_while_their_channel_stands_meet_on_it() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 1 },
        Step::Leave { by: 3 },
        Step::Everything,
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 1, who: 2 },
        Step::Power { who: 2 },
        Step::Leave { by: 0 },
        Step::Power { who: 2 },
        Step::Leave { by: 1 },
        Step::Restart { who: 2, reread: true },
        Step::Rotate { by: 3 },
        Step::Pass { ms: 90_000_000 },
    ];
    holds(4, 200_852, true, &steps);
}

#[test]
fn who_heard_of_a_removal_and_of_the_return_on_two_ways_meets_who_came_back() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Promote { by: 0, whom: 1 },
        Step::Everything,
        Step::Power { who: 0 },
        Step::Join { host: 0, who: 5 },
        Step::Remove { by: 1, whom: 2 },
        Step::Everything,
        Step::Leave { by: 0 },
        Step::Join { host: 1, who: 2 },
        Step::Leave { by: 1 },
    ];
    holds(6, 202_214, true, &steps);
}

#[test]
fn who_was_let_in_by_somebody_removed_beside_it_is_told_so_and_nobody_is_blamed() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 4 },
        Step::Promote { by: 0, whom: 2 },
        Step::Power { who: 0 },
        Step::Remove { by: 0, whom: 2 },
        Step::Leave { by: 4 },
        Step::Leave { by: 0 },
        Step::Everything,
        Step::Join { host: 2, who: 4 },
    ];
    holds(6, 200_283, true, &steps);
}

#[test]
fn who_hears_of_its_removal_alone_is_told_what_was_before_it() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 1 },
        Step::Link { a: 1, b: 3 },
        Step::Power { who: 0 },
        Step::Everything,
        Step::Relay,
        Step::Relay,
        Step::Backdate { by: 1, whom: 1, what: 1 },
        Step::Join { host: 1, who: 4 },
        Step::Frame { nth: 1 },
        Step::Pass { ms: 420_000 },
        Step::Forget,
        Step::Remove { by: 1, whom: 2 },
        Step::Backdate { by: 1, whom: 1, what: 1 },
        Step::Remove { by: 1, whom: 3 },
    ];
    holds(5, 202_178, true, &steps);
}

#[test]
fn who_is_left_alone_by_a_promotion_that_was_taken_back_begins_a_topic_that_it_knows() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 1 },
        Step::Promote { by: 0, whom: 2 },
        Step::Everything,
        Step::Promote { by: 1, whom: 3 },
        Step::Leave { by: 0 },
        Step::Remove { by: 2, whom: 3 },
        Step::Demote { by: 1, whom: 3 },
        Step::Leave { by: 1 },
        Step::Leave { by: 2 },
    ];
    holds(4, 300_680, true, &steps);
}

#[test]
fn nothing_is_claimed_of_two_who_were_removed_by_whoever_left_last_and_can_not_hear_of_it() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Remove { by: 0, whom: 1 },
        Step::CrashAfter { who: 1, what: 1 },
        Step::Forget,
        Step::Remove { by: 0, whom: 2 },
        Step::Leave { by: 0 },
    ];
    holds(3, 1194, true, &steps);
}

#[test]
fn who_knows_that_its_host_has_left_takes_no_welcome_of_a_copy_that_does_not() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Leave { by: 2 },
        Step::Relay,
        Step::Everything,
        Step::Clone { who: 0 },
        Step::Leave { by: 0 },
        Step::Partition { side: 1327 },
        Step::Relay,
        Step::Everything,
        Step::Join { host: 12, who: 2 },
    ];
    holds(12, 11_322, true, &steps);
}
