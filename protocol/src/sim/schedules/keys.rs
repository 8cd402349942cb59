//! Schedules that failed once, about keys: who holds which, and for how long.

use super::*;

#[test]
fn who_joins_anew_has_no_key_again_of_what_it_had_read() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Promote { by: 0, whom: 2 },
        Step::Link { a: 1, b: 2 },
        Step::Relay,
        Step::Say { by: 2 },
        Step::Everything,
        Step::Power { who: 0 },
        Step::Relay,
        Step::Say { by: 2 },
        Step::Everything,
        Step::Restart { who: 2, reread: false },
        Step::Remove { by: 0, whom: 2 },
        Step::Remove { by: 2, whom: 1 },
        Step::Forget,
        Step::Everything,
        Step::Join { host: 2, who: 1 },
    ];
    holds(5, 150_153, true, &steps);
}

#[test]
fn a_reset_of_all_pairs_is_no_slot_for_who_has_left() {
    let steps = [
        Step::Join { host: 0, who: 6 },
        Step::Join { host: 0, who: 7 },
        Step::Join { host: 0, who: 8 },
        Step::Join { host: 0, who: 11 },
        Step::Link { a: 7, b: 8 },
        Step::Say { by: 8 },
        Step::Everything,
        Step::CrashAfter { who: 7, what: 1 },
        Step::Relay,
        Step::Leave { by: 7 },
        Step::Pass { ms: 20_000 },
        Step::Everything,
        Step::Clone { who: 8 },
        Step::Pass { ms: 420_000 },
        Step::Relay,
        Step::Everything,
        Step::Pass { ms: 420_000 },
    ];
    holds(12, 202_148, true, &steps);
}

#[test]
fn two_messages_are_not_taken_for_one_by_their_words() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Equivocate { by: 1 },
        Step::Power { who: 0 },
        Step::Power { who: 1 },
        Step::Equivocate { by: 1 },
        Step::Everything,
        Step::Forget,
        Step::Leave { by: 1 },
    ];
    heals(3, 201_553, true, &steps);
}

#[test]
fn who_opens_an_older_chain_after_a_newer_one_failed_is_sealed_to_anew() {
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 4 },
        Step::Relay,
        Step::Remove { by: 0, whom: 4 },
        Step::Power { who: 0 },
        Step::Power { who: 1 },
        Step::Power { who: 0 },
        Step::Relay,
        Step::Relay,
        Step::Relay,
        Step::Join { host: 0, who: 5 },
        Step::Say { by: 5 },
        Step::Clone { who: 1 },
        Step::Everything,
        Step::Pass { ms: 90_000_000 },
        Step::Everything,
        Step::Say { by: 5 },
    ];
    holds(8, 700_030, true, &steps);
}
