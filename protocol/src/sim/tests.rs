//! A few seeds of everything, and of everything without each of its rules. Many more are run in
//! release: `cargo run --release -p protocol --features sim --example simulate`.

use super::*;

/// Seeds of one test run; WATTLE_SEEDS asks for more, WATTLE_SEED for the first of them.
const SEEDS: u64 = 4;
const STEPS: usize = 50;
/// Seeds within which the lack of a rule is found.
const WITHIN: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let first = number("WATTLE_SEED");
    let count = number("WATTLE_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    for seed in first..first + count {
        let outcome = draw(seed, STEPS, None, |_| {});
        if let Some(failure) = outcome.failure {
            panic!("seed {seed}: {failure}\n{}", told(outcome.setup, &outcome.steps));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_also_without_what_drew_it() {
    let first = draw(6, STEPS, None, |_| {});
    let again = draw(6, STEPS, None, |_| {});
    assert_eq!(first.transcript, again.transcript);
    let replayed = replay(first.setup, &first.steps, None, |_| {});
    assert_eq!(first.transcript, replayed.transcript);
    assert_ne!(first.transcript, draw(7, STEPS, None, |_| {}).transcript);
}

/// The seeds in which the lack of a rule is found, and the check that finds it.
fn missed(rule: Rule) {
    let found = (0..WITHIN).find_map(|seed| {
        let failure = draw(seed, STEPS, Some(rule), |_| {}).failure?;
        Some((seed, failure))
    });
    let Some((seed, failure)) = found else { panic!("nobody misses {rule:?}") };
    std::println!("{rule:?}: seed {seed}: {failure}");
    assert_eq!(failure.invariant, rule.guards(), "{rule:?}, seed {seed}: {failure}");
}

#[test]
fn a_salt_used_twice_is_found_by_i4() {
    let setup = Setup { people: 3, relay: true, strict: false, ..setup(1) };
    let steps = [
        Step::Join { host: 0, who: 1 },
        Step::Join { host: 0, who: 2 },
        Step::Say { by: 0 },
        Step::Everything,
        Step::Equivocate { by: 1 },
    ];
    let broken = |rule| replay(setup, &steps, rule, |_| {}).failure.map(|it| it.invariant);
    assert_eq!(broken(None), None);
    assert_eq!(broken(Some(Rule::FreshSalt)), Some(Invariant::OnePlaintext));
}

macro_rules! mutants {
    ($($name:ident: $rule:ident,)*) => {
        $(#[test]
        fn $name() {
            missed(Rule::$rule);
        })*
    };
}

mutants! {
    a_newcomer_with_old_keys_is_found_by_i1: NoOldKeysForNewcomers,
    a_sender_behind_its_ops_is_found_by_i2: SealByLatestOps,
    keys_for_the_removed_are_found_by_i3: NoKeysForRemoved,
    a_chain_set_back_is_found_by_i5: ChainsGoForward,
    a_refused_step_that_commits_is_found_by_i6: RefusedStepsCommitNothing,
    early_ops_that_are_lost_are_found_by_i7: EarlyOpsWait,
    an_admin_without_rank_is_found_by_i8: ActOnJuniors,
    a_removed_admin_that_strikes_back_is_found_by_i9: RemovalVoidsBeside,
    a_grant_that_outlives_a_removal_is_found_by_i10: RemovalEndsBeside,
    another_seed_is_found_by_i11: CommittedSeed,
    an_accusation_without_proof_is_found_by_i12: AccuseByProof,
    a_message_that_is_kept_back_is_found_by_i13: HandOnWhatOpens,
    a_node_that_sends_nothing_is_found_by_i14: EmptyTheOutbox,
    used_keys_that_are_kept_are_found_by_i15: ForgetUsedKeys,
    prekeys_that_stay_are_found_by_i16: ReplacePrekeys,
    a_node_that_never_rests_is_found_by_i17: DropWhatIsStale,
    a_second_encoding_is_found_by_i18: CanonicalBytes,
    words_that_show_outside_are_found_by_i19: SayNothingOutside,
    an_audit_log_with_a_hole_is_found_by_i20: AppendToAudit,
    a_topic_that_nobody_gave_is_found_by_i3: HearHandOvers,
    a_chain_for_one_more_than_its_roster_is_found_by_i1: SealToRosterAlone,
    a_chain_that_outlives_a_removal_is_found_by_i3: LeaveOldChains,
    used_steps_that_are_kept_are_found_by_i15: ForgetUsedSteps,
    a_slot_to_an_older_prekey_is_found_by_i16: SealToNewestPrekey,
}
