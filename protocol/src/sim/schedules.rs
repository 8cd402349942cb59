//! Schedules that failed once, as they were shrunk: seeds draw others when steps change, these stay.

mod delivery;
mod keys;
mod views;

use super::*;

/// Plays a schedule.
fn holds(people: u8, seed: u64, relay: bool, steps: &[Step]) {
    let setup = Setup { seed, people, relay, thorough: false, altered: false, strict: false };
    let failure = replay(setup, steps, None, |_| {}).failure;
    assert!(failure.is_none(), "{failure:?}");
}

/// The same, with a disk that is stolen at the end.
fn heals(people: u8, seed: u64, relay: bool, steps: &[Step]) {
    let setup = Setup { seed, people, relay, thorough: true, altered: false, strict: false };
    let failure = replay(setup, steps, None, |_| {}).failure;
    assert!(failure.is_none(), "{failure:?}");
}

#[test]
fn what_somebody_said_before_it_left_comes_also_where_its_leave_was_first() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 8 },
        Step::Say { by: 1 },
        Step::Everything,
        Step::Pass { ms: 420_000 },
        Step::Everything,
        Step::Say { by: 1 },
        Step::Leave { by: 1 },
    ];
    holds(12, 1016, true, &steps);
}

#[test]
fn a_first_contact_from_before_a_return_that_comes_late_takes_no_place() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Power { who: 0 },
        Step::Remove { by: 0, whom: 3 },
        Step::Say { by: 3 },
        Step::Everything,
        Step::Forget,
        Step::Power { who: 0 },
        Step::Everything,
        Step::Join { host: 0, who: 3 },
        Step::Say { by: 3 },
        Step::Everything,
        Step::Pass { ms: 90_000_000 },
        Step::Everything,
        Step::Say { by: 3 },
    ];
    holds(6, 1011, true, &steps);
}

#[test]
fn nobody_lacks_what_was_said_after_a_removal_and_named_by_who_had_not_heard_of_it() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Everything,
        Step::Rotate { by: 1 },
        Step::Join { host: 0, who: 4 },
        Step::Everything,
        Step::Say { by: 2 },
        Step::Power { who: 0 },
        Step::Remove { by: 0, whom: 2 },
        Step::Link { a: 4, b: 2 },
        Step::Everything,
        Step::Pass { ms: 90_000_000 },
        Step::Say { by: 4 },
    ];
    holds(5, 76, false, &steps);
}

#[test]
fn a_bundle_that_nobody_can_take_up_is_not_asked_for_and_sent_for_ever() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 3 },
        Step::Remove { by: 0, whom: 3 },
        Step::Everything,
        Step::HiddenSlot { by: 1 },
        Step::CrashAfter { who: 1, what: 1 },
    ];
    holds(4, 1001, true, &steps);
}

#[test]
fn who_left_unheard_and_joins_anew_is_no_liar() {
    let steps = [
        Step::Join { host: 0, who: 3 },
        Step::Remove { by: 0, whom: 3 },
        Step::Leave { by: 3 },
        Step::Join { host: 0, who: 3 },
        Step::Rotate { by: 3 },
    ];
    holds(5, 7105, true, &steps);
}

#[test]
fn who_joins_anew_is_not_behind_what_it_said_before() {
    let steps = [
        Step::Join { host: 0, who: 9 },
        Step::Join { host: 0, who: 10 },
        Step::Say { by: 9 },
        Step::Everything,
        Step::Remove { by: 0, whom: 9 },
        Step::Leave { by: 9 },
        Step::Join { host: 0, who: 9 },
    ];
    holds(12, 1000, false, &steps);
}

#[test]
fn a_founder_who_was_set_back_and_is_alone_begins_a_clean_topic() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Snapshot { who: 0 },
        Step::Remove { by: 0, whom: 3 },
        Step::Leave { by: 2 },
        Step::Restore { who: 0 },
    ];
    holds(4, 20_002, true, &steps);
}

#[test]
fn what_a_returner_said_before_its_removal_makes_its_state_no_old_one() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 4 },
        Step::Promote { by: 0, whom: 2 },
        Step::Everything,
        Step::Remove { by: 2, whom: 4 },
        Step::Demote { by: 0, whom: 2 },
        Step::Partition { side: 715 },
        Step::Rotate { by: 4 },
        Step::Mend,
        Step::Everything,
    ];
    holds(6, 30_202, true, &steps);
}

#[test]
fn who_stays_hands_on_what_came_under_a_topic_that_it_does_not_know() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Link { a: 1, b: 4 },
        Step::Power { who: 0 },
        Step::Rotate { by: 1 },
        Step::Power { who: 0 },
        Step::Link { a: 0, b: 1 },
        Step::Everything,
        Step::Say { by: 1 },
        Step::Leave { by: 0 },
        Step::Pass { ms: 420_000 },
        Step::Everything,
        Step::Leave { by: 1 },
    ];
    holds(5, 30_268, false, &steps);
}

#[test]
fn the_last_words_of_who_has_left_are_told_by_who_has_them() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 4 },
        Step::Join { host: 0, who: 5 },
        Step::CrashAfter { who: 1, what: 1 },
        Step::Everything,
        Step::CrashBefore { who: 5, what: 2 },
        Step::Say { by: 0 },
        Step::Remove { by: 0, whom: 1 },
        Step::Everything,
        Step::Leave { by: 0 },
    ];
    holds(6, 20_475, true, &steps);
}

#[test]
fn a_first_contact_is_handed_on_to_others_whole() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Promote { by: 0, whom: 3 },
        Step::Link { a: 1, b: 3 },
        Step::Everything,
        Step::Say { by: 4 },
        Step::Snapshot { who: 1 },
        Step::Link { a: 4, b: 1 },
        Step::Restore { who: 1 },
        Step::Power { who: 0 },
        Step::Everything,
        Step::Pass { ms: 1000 },
        Step::Everything,
        Step::Remove { by: 3, whom: 4 },
        Step::Remove { by: 0, whom: 1 },
    ];
    holds(5, 20_430, false, &steps);
}

#[test]
fn who_is_back_from_a_void_removal_still_has_its_last_words() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 5 },
        Step::Promote { by: 0, whom: 2 },
        Step::Link { a: 2, b: 5 },
        Step::Everything,
        Step::Partition { side: 2267 },
        Step::Remove { by: 0, whom: 2 },
        Step::Say { by: 5 },
        Step::Everything,
        Step::Relay,
        Step::Pass { ms: 1000 },
        Step::Mend,
        Step::Remove { by: 2, whom: 5 },
        Step::Link { a: 0, b: 5 },
        Step::Everything,
        Step::Relay,
        Step::Pass { ms: 420_000 },
        Step::Forget,
    ];
    holds(7, 20_225, true, &steps);
}

#[test]
fn who_set_its_clock_back_has_new_prekeys_in_time() {
    let steps = [
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 3 },
        Step::Say { by: 3 },
        Step::Everything,
        Step::Join { host: 3, who: 2 },
        Step::Promote { by: 0, whom: 0 },
        Step::Clock { who: 2, ms: -90000000 },
        Step::Pass { ms: 1000 },
        Step::Rotate { by: 2 },
    ];
    heals(7, 30_445, true, &steps);
}

#[test]
fn what_nobody_has_any_more_is_asked_for_no_longer_than_an_hour() {
    let steps = [
        Step::Join { host: 0, who: 3 },
        Step::Say { by: 3 },
        Step::Snapshot { who: 3 },
        Step::Forget,
        Step::Leave { by: 3 },
        Step::Restart { who: 0, reread: false },
        Step::Everything,
        Step::Join { host: 0, who: 3 },
        Step::Partition { side: 1550 },
        Step::Restore { who: 3 },
        Step::Everything,
    ];
    holds(5, 30_683, true, &steps);
}

#[test]
fn ciphertexts_that_are_withheld_are_waited_for_no_longer_than_an_hour_each() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 6 },
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 8 },
        Step::Join { host: 0, who: 9 },
        Step::Link { a: 1, b: 2 },
        Step::Link { a: 1, b: 6 },
        Step::Link { a: 1, b: 7 },
        Step::Link { a: 1, b: 8 },
        Step::Power { who: 9 },
        Step::CrashAfter { who: 0, what: 0 },
        Step::Say { by: 1 },
        Step::Everything,
        Step::Say { by: 8 },
        Step::Link { a: 1, b: 3 },
        Step::Join { host: 0, who: 11 },
        Step::Everything,
        Step::OtherSeeds { by: 11 },
        Step::Everything,
    ];
    holds(12, 30_450, false, &steps);
}

#[test]
fn a_message_whose_bundle_no_member_has_may_stay_parked() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 5 },
        Step::Join { host: 0, who: 10 },
        Step::Promote { by: 0, whom: 1 },
        Step::Everything,
        Step::Say { by: 5 },
        Step::Join { host: 0, who: 6 },
        Step::Link { a: 1, b: 0 },
        Step::Power { who: 5 },
        Step::Remove { by: 1, whom: 5 },
        Step::Remove { by: 1, whom: 10 },
        Step::Everything,
    ];
    holds(12, 70_085, false, &steps);
}

#[test]
fn a_flood_of_questions_where_much_is_known_costs_a_bounded_answer() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Join { host: 0, who: 5 },
        Step::Join { host: 0, who: 6 },
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 8 },
        Step::Join { host: 0, who: 9 },
        Step::Join { host: 0, who: 10 },
        Step::Join { host: 0, who: 11 },
        Step::Promote { by: 0, whom: 1 },
        Step::Link { a: 9, b: 10 },
        Step::Fork { by: 1, ops: 20 },
        Step::Everything,
        Step::Say { by: 9 },
        Step::Flood { by: 10, to: 9 },
    ];
    holds(12, 70_323, true, &steps);
}

#[test]
fn what_a_returner_names_and_nobody_has_is_given_up() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 4 },
        Step::Promote { by: 0, whom: 1 },
        Step::Everything,
        Step::Power { who: 1 },
        Step::Say { by: 0 },
        Step::Relay,
        Step::Power { who: 4 },
        Step::Power { who: 1 },
        Step::Power { who: 0 },
        Step::Power { who: 1 },
        Step::Power { who: 0 },
        Step::Remove { by: 0, whom: 1 },
        Step::Power { who: 4 },
        Step::Power { who: 1 },
        Step::Remove { by: 1, whom: 4 },
        Step::Power { who: 4 },
        Step::Power { who: 4 },
        Step::Power { who: 0 },
        Step::Join { host: 0, who: 3 },
        Step::Leave { by: 0 },
        Step::Relay,
        Step::Everything,
    ];
    holds(5, 70_583, true, &steps);
}

#[test]
fn newcomers_of_two_admins_who_both_left_unheard_are_no_group() {
    let steps = [
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 3 },
        Step::Everything,
        Step::Join { host: 3, who: 4 },
        Step::Join { host: 0, who: 1 },
        Step::Leave { by: 0 },
        Step::Remove { by: 3, whom: 4 },
        Step::Join { host: 3, who: 2 },
        Step::Leave { by: 3 },
    ];
    holds(5, 20_442, true, &steps);
}

#[test]
fn who_came_back_by_an_admin_that_left_unheard_is_unknown_to_what_another_one_left() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 3 },
        Step::Promote { by: 0, whom: 3 },
        Step::Power { who: 0 },
        Step::Everything,
        Step::Power { who: 0 },
        Step::Remove { by: 3, whom: 1 },
        Step::Join { host: 3, who: 4 },
        Step::Everything,
        Step::Join { host: 0, who: 1 },
        Step::Leave { by: 0 },
        Step::Remove { by: 3, whom: 4 },
        Step::Join { host: 3, who: 2 },
        Step::Leave { by: 3 },
    ];
    holds(5, 20_442, true, &steps);
}

#[test]
fn who_is_back_by_a_void_removal_is_told_what_a_void_newcomer_signs_later() {
    let steps = [
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 3 },
        Step::Join { host: 0, who: 4 },
        Step::Join { host: 0, who: 5 },
        Step::Promote { by: 0, whom: 3 },
        Step::Everything,
        Step::Power { who: 4 },
        Step::Leave { by: 4 },
        Step::Power { who: 3 },
        Step::Remove { by: 0, whom: 5 },
        Step::Power { who: 0 },
        Step::Relay,
        Step::Remove { by: 0, whom: 3 },
        Step::Power { who: 3 },
        Step::Relay,
        Step::Everything,
        Step::Power { who: 3 },
        Step::Relay,
        Step::Remove { by: 3, whom: 2 },
        Step::Power { who: 3 },
        Step::Join { host: 3, who: 5 },
        Step::Relay,
        Step::Everything,
    ];
    holds(6, 30_459, true, &steps);
}

#[test]
fn who_never_saw_its_void_removal_is_told_what_a_void_newcomer_signs_later() {
    let steps = [
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 9 },
        Step::Join { host: 0, who: 5 },
        Step::Partition { side: 2223 },
        Step::Promote { by: 0, whom: 9 },
        Step::Everything,
        Step::Relay,
        Step::Partition { side: 3677 },
        Step::Link { a: 7, b: 9 },
        Step::Remove { by: 0, whom: 7 },
        Step::Everything,
        Step::Remove { by: 0, whom: 9 },
        Step::Mend,
        Step::Relay,
        Step::Join { host: 9, who: 3 },
        Step::Remove { by: 9, whom: 5 },
        Step::Everything,
    ];
    holds(12, 30_652, true, &steps);
}

#[test]
fn who_was_let_in_by_a_hostile_admin_has_the_topics_of_before() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Promote { by: 0, whom: 1 },
        Step::Everything,
        Step::Join { host: 1, who: 5 },
        Step::Leave { by: 0 },
        Step::Backdate { by: 1, whom: 3, what: 0 },
        Step::Remove { by: 1, whom: 5 },
        Step::Join { host: 1, who: 4 },
        Step::Backdate { by: 4, whom: 4, what: 0 },
        Step::Remove { by: 1, whom: 4 },
    ];
    holds(6, 30_359, true, &steps);
}

#[test]
fn who_joined_anew_reads_what_is_sealed_to_its_old_grant_that_stands_again() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 8 },
        Step::Join { host: 0, who: 9 },
        Step::Promote { by: 0, whom: 2 },
        Step::Everything,
        Step::Relay,
        Step::Join { host: 2, who: 11 },
        Step::Promote { by: 2, whom: 1 },
        Step::Relay,
        Step::Link { a: 7, b: 9 },
        Step::Pass { ms: 90_000_000 },
        Step::Everything,
        Step::Partition { side: 1798 },
        Step::Remove { by: 2, whom: 8 },
        Step::Everything,
        Step::Join { host: 1, who: 8 },
        Step::Link { a: 11, b: 7 },
        Step::Remove { by: 0, whom: 2 },
        Step::Everything,
        Step::Link { a: 11, b: 8 },
        Step::Say { by: 11 },
        Step::Everything,
    ];
    holds(12, 120_222, true, &steps);
}
