//! All DAGs of up to a number of ops after the Genesis, by a founder and two others: every kind that
//! touches grants, every target, every past, every grant that fits.
//!
//! Left out is only what equals another DAG: the same ops numbered otherwise
//! ([`Dag::is_numbered`]), and the two others changed for one another.
//!
//! `cargo test` checks up to three ops. `WATTLE_OPS=5 cargo test --release -p protocol --features
//! endpoint --lib exhaustive -- --nocapture` checks up to five.

use alloc::{collections::BTreeSet, vec, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::{env, println, sync::Mutex, thread};

use super::{
    dag::{Dag, Do, Step},
    laws::{Broken, assert_one_outcome, assert_same_to_older_nodes, check},
    oracle::Rule,
};

const PEOPLE: u8 = 3;

/// DAGs checked, by number of ops.
const DAGS: [usize; 6] = [1, 12, 297, 12_985, 940_924, 107_202_610];

/// DAGs about invites checked, by number of ops, the first of which promotes the second admin.
const ABOUT_INVITES: [usize; 7] = [0, 1, 11, 173, 3_961, 131_016, 6_221_405];

/// DAGs about conducts checked, the same.
const ABOUT_CONDUCTS: [usize; 7] = [0, 1, 16, 363, 11_684, 526_230, 32_845_584];

/// How many ops `cargo test` takes, and the most that anybody can ask for.
const USUAL: usize = 3;

/// DAGs of this many ops are shared out among threads.
const SHARED: usize = 2;

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
    number(dag, out);
}

/// The ops on invites that can come after `dag`, by two admins, for two others; and those that end
/// the second admin.
fn invitations(dag: &Dag, out: &mut Vec<Step>) {
    let count = dag.steps().len();
    for past in (1_u16..1 << count).step_by(2).filter(|past| dag.is_closed(*past)) {
        let height = dag.height(past);
        if height < dag.steps()[count - 1].height {
            continue;
        }
        let before = |at: &usize| past >> at & 1 == 1;
        for grant in (0..count).filter(before).filter(|grant| dag.is_admin_grant(*grant)) {
            let Some(author) = dag.grants(grant) else { continue };
            let cap = u8::try_from(grant).ok();
            let mut add = |act| out.push(Step { height, author, past, cap, act, id: 0, order: 0 });
            add(Do::Invite(1));
            add(Do::Revoke);
            let made = |at: &usize| matches!(dag.steps()[*at].act, Do::Invite(_));
            for invite in (0..count).filter(before).filter(made) {
                let invite = u8::try_from(invite).unwrap();
                add(Do::Redeem(2, invite));
                add(Do::Redeem(3, invite));
            }
            if author == 0 {
                add(Do::Remove(1));
                add(Do::Demote(1));
            } else {
                add(Do::Retire);
            }
        }
    }
    number(dag, out);
}

/// Conducts by each grant and by none that can come after `dag`, of a founder, a second admin and a member; and what makes and ends
/// the two.
fn conducts(dag: &Dag, out: &mut Vec<Step>) {
    let count = dag.steps().len();
    for past in (1_u16..1 << count).step_by(2).filter(|past| dag.is_closed(*past)) {
        let height = dag.height(past);
        if height < dag.steps()[count - 1].height {
            continue;
        }
        for author in 0..PEOPLE {
            let mut add =
                |cap, act| out.push(Step { height, author, past, cap, act, id: 0, order: 0 });
            let held = (0..count).filter(|g| past >> g & 1 == 1 && dag.grants(*g) == Some(author));
            let held: Vec<usize> = held.collect();
            if held.is_empty() {
                continue;
            }
            add(None, Do::Conduct);
            if author == 1 {
                add(None, Do::Leave);
            }
            for grant in held {
                let cap = u8::try_from(grant).ok();
                add(cap, Do::Conduct);
                if author == 1 {
                    add(cap, Do::Retire);
                }
                if dag.is_admin_grant(grant) {
                    add(cap, Do::Admit(2));
                }
                if author == 0 {
                    add(cap, Do::Promote(1));
                    add(cap, Do::Remove(1));
                    add(cap, Do::Demote(1));
                }
            }
        }
    }
    number(dag, out);
}

/// Numbers these, and keeps those that come next in the numbering.
fn number(dag: &Dag, out: &mut Vec<Step>) {
    let count = dag.steps().len();
    out.retain_mut(|step| {
        step.number(count);
        let mut longer = *dag;
        longer.push(*step);
        count == 1 || longer.is_numbered(count - 1)
    });
}

/// Visits every DAG that begins with `dag` and has at most `ops` more.
fn walk(dag: &Dag, ops: usize, next: &impl Fn(&Dag, &mut Vec<Step>), visit: &mut impl FnMut(&Dag)) {
    visit(dag);
    if ops > 0 {
        let mut steps = Vec::new();
        next(dag, &mut steps);
        for step in steps {
            let mut longer = *dag;
            longer.push(step);
            walk(&longer, ops - 1, next, visit);
        }
    }
}

/// Walks all DAGs that begin with `begin` on all cores; how many `check` took, by their ops.
fn walk_all(
    begin: &Dag,
    ops: usize,
    next: &(impl Fn(&Dag, &mut Vec<Step>) + Sync),
    check: &(impl Fn(&Dag) -> bool + Sync),
) -> Vec<usize> {
    let first = begin.steps().len() - 1;
    let count = |dags: &mut Vec<usize>, dag: &Dag| {
        dags[dag.steps().len() - 1] += usize::from(check(dag));
    };
    let (mut dags, mut shared) = (vec![0; first + ops + 1], Vec::new());
    walk(begin, ops.min(SHARED), next, &mut |dag| {
        if dag.steps().len() - 1 - first < SHARED {
            count(&mut dags, dag);
        } else {
            shared.push(*dag);
        }
    });
    let (taken, dags) = (AtomicUsize::new(0), Mutex::new(dags));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(|| {
                let mut own = vec![0; first + ops + 1];
                while let Some(dag) = shared.get(taken.fetch_add(1, Ordering::Relaxed)) {
                    walk(dag, ops - SHARED, next, &mut |dag| count(&mut own, dag));
                }
                let mut dags = dags.lock().unwrap();
                dags.iter_mut().zip(own).for_each(|(dags, own)| *dags += own);
            });
        }
    });
    dags.into_inner().unwrap()
}

/// Checks the laws; and one outcome, of the longest DAGs in two orders, of the others in all.
fn keeps_the_laws(dag: &Dag, longest: usize) {
    let oracle =
        check(dag, Rule::AsItIs).unwrap_or_else(|broken| panic!("{broken:?}: {:?}", dag.steps()));
    let mut orders = Vec::new();
    if dag.steps().len() > longest {
        orders.push(dag.last_order());
    } else {
        dag.orders(&mut Vec::new(), &mut orders);
    }
    assert_one_outcome(dag, &oracle, &orders);
}

fn ops_asked_for() -> usize {
    let asked = env::var("WATTLE_OPS").ok().and_then(|ops| ops.parse().ok());
    asked.unwrap_or(USUAL).min(DAGS.len() - 1)
}

#[test]
fn every_dag_of_a_few_ops_keeps_the_laws_and_has_one_outcome() {
    let ops = ops_asked_for();
    let dags = walk_all(&Dag::new(), ops, &continuations, &|dag| {
        let first = dag.mirrored(1, 2).steps() >= dag.steps();
        if first {
            keeps_the_laws(dag, ops);
        }
        first
    });
    println!("DAGs checked, by number of ops: {dags:?}");
    assert_eq!(dags, DAGS[..=ops]);
}

#[test]
fn every_dag_about_invites_keeps_the_laws_and_has_one_outcome() {
    let (begin, ops) = (promoted(), ops_asked_for());
    let dags = walk_all(&begin, ops, &invitations, &|dag| {
        keeps_the_laws(dag, ops + 1);
        true
    });
    println!("DAGs about invites checked, by number of ops: {dags:?}");
    assert_eq!(dags, ABOUT_INVITES[..ops + 2]);
}

#[test]
fn every_dag_about_conducts_keeps_the_laws_and_has_one_outcome() {
    let (begin, ops) = (promoted(), ops_asked_for());
    let dags = walk_all(&begin, ops, &conducts, &|dag| {
        keeps_the_laws(dag, ops + 1);
        assert_same_to_older_nodes(dag);
        true
    });
    println!("DAGs about conducts checked, by number of ops: {dags:?}");
    assert_eq!(dags, ABOUT_CONDUCTS[..ops + 2]);
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
        (Rule::LeaveForgotten, 2, Broken::LeaveHarm),
        (Rule::LeaveVoidsRetire, 2, Broken::LeaveHarm),
        (Rule::LeftForEver, 4, Broken::LeaveHarm),
        (Rule::RemovedForEver, 3, Broken::NoWayBack),
        (Rule::BesideSurvives, 3, Broken::Reentry),
        (Rule::DemoteSilences, 3, Broken::Silenced),
        (Rule::RefreshUpward, 3, Broken::Refreshed),
        (Rule::RefreshOutlives, 4, Broken::Refreshed),
        (Rule::RetireSpares, 3, Broken::Thief),
        (Rule::RetireLasts, 4, Broken::Retaliation),
        (Rule::RetireUpward, 3, Broken::JuniorHarm),
        (Rule::RetireFails, 3, Broken::NotRetired),
        (Rule::RetireVoidsRetire, 2, Broken::Cycle),
    ] {
        let begin = if ops == 4 { promoted() } else { Dag::new() };
        let ops = ops + 1 - begin.steps().len();
        assert_breaks(&begin, ops, &continuations, rule, expected);
    }
    for (rule, expected) in [
        (Rule::UsesUncounted, Broken::Uses),
        (Rule::RevokeSpares, Broken::Revoked),
        (Rule::InviteOutlives, Broken::Retaliation),
        (Rule::RevokeUpward, Broken::Seniority),
    ] {
        assert_breaks(&promoted(), 3, &invitations, rule, expected);
    }
}

fn assert_breaks(
    begin: &Dag,
    ops: usize,
    next: &(impl Fn(&Dag, &mut Vec<Step>) + Sync),
    rule: Rule,
    expected: Broken,
) {
    let broken = Mutex::new(BTreeSet::new());
    walk_all(begin, ops, next, &|dag| {
        check(dag, rule).err().is_some_and(|law| broken.lock().unwrap().insert(law))
    });
    let broken = broken.into_inner().unwrap();
    println!("{rule:?}: {broken:?}");
    assert!(broken.contains(&expected), "{rule:?}: {broken:?}");
}
