//! All DAGs of up to four ops after the Genesis, by a founder and two others: every kind, every
//! target, every past, every grant that fits.
//!
//! Left out is only what equals another DAG: the same ops numbered otherwise
//! ([`Dag::is_numbered`]), and the two others changed for one another.

use alloc::{collections::BTreeSet, vec::Vec};
use std::println;

use super::{
    dag::{Dag, Do, Step},
    laws::{Broken, assert_one_outcome, check},
    oracle::Rule,
};

const PEOPLE: u8 = 3;

/// Every formed op that can come after `dag` in the numbering.
fn continuations(dag: &Dag, out: &mut Vec<Step>) {
    let count = dag.steps().len();
    for past in (1_u16..1 << count).step_by(2).filter(|past| dag.is_closed(*past)) {
        let height = dag.height(past);
        if height < dag.steps()[count - 1].height {
            continue;
        }
        for author in 0..PEOPLE {
            let mut add =
                |cap, act| out.push(Step { height, author, past, cap, act, id: 0, order: 0 });
            add(None, Do::Leave);
            let held = (0..count).filter(|g| past >> g & 1 == 1 && dag.grants(*g) == Some(author));
            for grant in held {
                let cap = u8::try_from(grant).ok();
                add(cap, Do::Refresh);
                add(cap, Do::Retire);
                if dag.is_admin_grant(grant) {
                    for who in 0..PEOPLE {
                        add(cap, Do::Admit(who));
                        add(cap, Do::Promote(who));
                        add(cap, Do::Remove(who));
                        add(cap, Do::Demote(who));
                    }
                }
            }
        }
    }
    out.retain_mut(|step| {
        step.number(count);
        let mut longer = *dag;
        longer.push(*step);
        count == 1 || longer.is_numbered(count - 1)
    });
}

/// Visits every DAG that begins with `dag` and has at most `ops` more. Of two longest ones that
/// differ in who is who, one is enough.
fn walk(dag: &Dag, ops: usize, visit: &mut impl FnMut(&Dag)) {
    if ops == 0 && dag.mirrored(1, 2).steps() < dag.steps() {
        return;
    }
    visit(dag);
    if ops > 0 {
        let mut next = Vec::new();
        continuations(dag, &mut next);
        for step in next {
            let mut longer = *dag;
            longer.push(step);
            walk(&longer, ops - 1, visit);
        }
    }
}

#[test]
fn every_dag_of_four_ops_keeps_the_laws_and_has_one_outcome() {
    let mut dags = [0_usize; 4];
    walk(&Dag::new(), 3, &mut |dag| {
        let ops = dag.steps().len() - 1;
        dags[ops] += 1;
        let oracle = check(dag, Rule::AsItIs)
            .unwrap_or_else(|broken| panic!("{broken:?}: {:?}", dag.steps()));
        let mut orders = Vec::new();
        match ops {
            3 => orders.push(dag.last_order()),
            _ => dag.orders(&mut Vec::new(), &mut orders),
        }
        assert_one_outcome(dag, &oracle, &orders);
    });
    println!("DAGs checked, by number of ops: {dags:?}");
    assert_eq!(dags, [1, 17, 505, 12_985]);
}

/// The founder has promoted somebody.
fn promoted() -> Dag {
    let mut dag = Dag::new();
    let mut first = Vec::new();
    continuations(&dag, &mut first);
    let promotes = first.iter().find(|step| step.act == Do::Promote(1));
    promotes.into_iter().for_each(|step| dag.push(*step));
    dag
}

#[test]
fn each_part_of_the_rule_is_there_for_a_law() {
    for (rule, ops, expected) in [
        (Rule::Rankless, 1, Broken::Cycle),
        (Rule::Upward, 2, Broken::Founder),
        (Rule::Sideways, 3, Broken::JuniorHarm),
        (Rule::BesideCounts, 3, Broken::Retaliation),
        (Rule::RevokedForEver, 3, Broken::NoWayBack),
        (Rule::LeaveVoids, 3, Broken::LeaveHarm),
        (Rule::RemovedForEver, 3, Broken::NoWayBack),
        (Rule::BesideSurvives, 3, Broken::Reentry),
        (Rule::RetireSpares, 3, Broken::Thief),
        (Rule::RetireLasts, 4, Broken::Retaliation),
        (Rule::RetireUpward, 3, Broken::JuniorHarm),
        (Rule::RetireFails, 3, Broken::NotRetired),
        (Rule::RetireVoidsRetire, 2, Broken::Cycle),
    ] {
        let mut broken = BTreeSet::new();
        let begun = if ops == 4 { promoted() } else { Dag::new() };
        let ops = ops + 1 - begun.steps().len();
        walk(&begun, ops, &mut |dag| broken.extend(check(dag, rule).err()));
        println!("{rule:?}: {broken:?}");
        assert!(broken.contains(&expected), "{rule:?}: {broken:?}");
    }
}
