//! Random DAGs of up to ten ops by four identities, with invites, and with any past that an op
//! could claim.

use alloc::vec::Vec;

use proptest::{collection::vec, prelude::*};

use super::{
    dag::{Dag, Do, PEOPLE, Step},
    laws::{assert_one_outcome, assert_same_to_older_nodes, check},
    oracle::Rule,
};

/// Raw choices from which one op is made of what is there.
type Choice = (u8, u16, u8, u8, u8);

fn dag() -> impl Strategy<Value = Dag> {
    let choice = (any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>(), any::<u8>());
    (vec(choice, 1..=10), Just(()).prop_perturb(|(), mut rng| rng.random::<u64>())).prop_map(
        |(choices, ids)| {
            let mut dag = Dag::new();
            choices.iter().for_each(|choice| push(&mut dag, *choice));
            dag.shuffle_ids(ids);
            dag
        },
    )
}

/// Adds a formed op, if these choices make one: of an author who is granted something in the past
/// chosen, so that most ops count for something.
fn push(dag: &mut Dag, (grant, past, kind, who, use_no): Choice) {
    let count = dag.steps().len();
    let all = (1_u16 << count) - 1;
    // Mostly all but a few ops; closed by taking what is missing, the Genesis at least.
    let mut past = (past | past >> 4 | 1) & all;
    for at in (0..count).rev().filter(|at| past >> at & 1 == 1).collect::<Vec<_>>() {
        past |= dag.steps()[at].past;
    }
    let held: Vec<usize> =
        (0..count).filter(|at| past >> at & 1 == 1 && dag.grants(*at).is_some()).collect();
    let cap = held[usize::from(grant) % held.len()];
    let Some(author) = dag.grants(cap) else { return };
    let who = who % PEOPLE;
    let invites: Vec<usize> = (0..count)
        .filter(|at| past >> at & 1 == 1 && matches!(dag.steps()[*at].act, Do::Invite(_)))
        .collect();
    let act = match kind % 16 {
        0 => Do::Leave,
        1 => {
            if use_no % 2 == 0 {
                Do::Refresh
            } else {
                Do::Retire
            }
        }
        2 | 3 => Do::Admit(who),
        4..=6 => Do::Promote(who),
        7..=9 => Do::Remove(who),
        10 | 11 => Do::Demote(who),
        12 if use_no % 2 == 0 => Do::Conduct,
        12 => Do::Invite(use_no % 3),
        13 => Do::Revoke,
        _ => match invites.as_slice() {
            [] => Do::Promote(who),
            [..] => {
                let invite = invites[usize::from(use_no) % invites.len()];
                Do::Redeem(who, u8::try_from(invite).unwrap())
            }
        },
    };
    if !dag.is_admin_grant(cap)
        && !matches!(act, Do::Leave | Do::Refresh | Do::Retire | Do::Conduct)
    {
        return;
    }
    let cap = (act != Do::Leave).then(|| u8::try_from(cap).unwrap());
    let height = dag.height(past);
    dag.push(Step { height, author, past, cap, act, id: 0, order: 0 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16_384))]

    #[test]
    fn a_random_dag_keeps_the_laws_and_has_one_outcome(dag in dag()) {
        let oracle = check(&dag, Rule::AsItIs)
            .unwrap_or_else(|broken| panic!("{broken:?}: {:?}", dag.steps()));
        let first: Vec<usize> = (0..dag.steps().len()).collect();
        assert_one_outcome(&dag, &oracle, &[first, dag.last_order()]);
        assert_same_to_older_nodes(&dag);
    }
}
