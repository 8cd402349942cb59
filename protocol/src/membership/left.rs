//! What counts of those who have left: tests of the op Leave.

use alloc::vec::Vec;

use super::{
    fixture::*,
    op::{Body, Kind, Op},
    set::{Inserted, OpSet},
};
use crate::{ids::GroupId, sign::SigningSecret};

/// Takes an op in that no node makes; whether it is void.
fn is_void(set: &mut OpSet, body: Body, by: &SigningSecret) -> bool {
    let op = match body.kind {
        Kind::Retire { .. } => Op::sign(body, &rescue(by)),
        _ => Op::sign(body, by),
    };
    assert_eq!(set.insert(op.clone()), Ok(Inserted::New([op.id()].into())));
    set.resolve().void.contains(&op.id())
}

/// Ada's group; Bob is an admin, Cleo a member.
fn three() -> (OpSet, [SigningSecret; 3]) {
    let [a, b, c] = [person(1), person(2), person(3)];
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, admit(&c));
    (set, [a, b, c])
}

#[test]
fn nothing_counts_that_somebody_signs_after_their_own_leave() {
    for leaver in 0..3 {
        let (mut set, people) = three();
        let (by, [_, b, c]) = (&people[leaver], &people);
        let policy = policy("Mine");
        let admins = [
            admit(&person(4)),
            promote(by),
            promote(c),
            remove(c.id(), 1),
            Kind::Demote { member: b.id() },
            invite(1, 1),
            Kind::SetPolicy { policy },
            Kind::Migrate { to: GroupId([9; 32]) },
        ];
        let admins = admins.into_iter().filter(|_| leaver < 2);
        let acts: Vec<Kind> = admins.chain([refresh(Some(1)), refresh(None)]).collect();
        let (admin, member) = (refresh(None), set.resolve().members[&by.id()]);
        let body = set.next(by.id(), admin, NOW).unwrap();
        let cap = member.admin.or(Some(member.grant));
        act(&mut set, by, Kind::Leave);
        let before = set.resolve().clone();
        for (kind, seq) in acts.into_iter().zip(body.seq + 1..) {
            let body = Body { kind: kind.clone(), seq, cap, deps: set.heads(), ..body.clone() };
            assert!(is_void(&mut set, body, by), "{kind:?} by {leaver}");
        }
        let now = set.resolve();
        assert_eq!(now.grants, before.grants);
        assert_eq!((&now.policy, &now.moves), (&before.policy, &before.moves));
        assert!(now.invites.is_empty());
        assert_eq!(now.topics().frontier, before.topics().frontier);
    }
}

#[test]
fn what_was_signed_before_a_leave_or_beside_it_counts() {
    let (mut set, [_, b, c]) = three();
    let (before, beside) = (act(&mut set, &b, admit(&person(4))), set.clone());
    act(&mut set, &b, Kind::Leave);
    let beside = op(&beside, &b, remove(c.id(), 1));
    let body = beside.body().clone();
    assert!(!is_void(&mut set, body, &b));
    let now = set.resolve();
    assert!(!now.void.contains(&before) && now.is_member(&person(4).id()));
    assert!(!now.is_member(&c.id()) && !now.is_member(&b.id()));
}

#[test]
fn who_goes_on_beside_its_leave_is_stopped_by_an_admission_and_a_removal() {
    let (mut set, [a, b, c]) = three();
    let mut beside = set.clone();
    act(&mut set, &b, Kind::Leave);
    assert!(set.next(a.id(), remove(b.id(), 1), NOW).is_err(), "it is no member");
    let before = op(&beside, &b, admit(&person(4)));
    beside.insert(before.clone()).unwrap();
    set.insert(before).unwrap();
    assert!(set.resolve().is_member(&person(4).id()));
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, remove(b.id(), 2));
    let later = op(&beside, &b, remove(c.id(), 3)).body().clone();
    assert!(is_void(&mut set, later, &b));
    let now = set.resolve();
    assert!(now.is_member(&c.id()) && now.is_member(&person(4).id()) && !now.is_member(&b.id()));
}

#[test]
fn whoever_left_and_is_let_in_anew_acts_by_the_new_grant_alone() {
    let (mut set, [a, b, _]) = three();
    let old = set.resolve().members[&b.id()].admin;
    act(&mut set, &b, Kind::Leave);
    act(&mut set, &a, admit(&b));
    act(&mut set, &b, refresh(None));
    act(&mut set, &a, promote(&b));
    let body = set.next(b.id(), admit(&person(4)), NOW).unwrap();
    assert_ne!(body.cap, old);
    let by_old = Body { cap: old, kind: admit(&person(5)), ..body.clone() };
    assert!(is_void(&mut set, by_old, &b) && !is_void(&mut set, body, &b));
    let now = set.resolve();
    assert!(now.is_member(&person(4).id()) && !now.is_member(&person(5).id()));
}

#[test]
fn a_lost_machine_that_leaves_first_is_retired_all_the_same() {
    let (mut set, [a, b, _]) = three();
    let beside = op(&set, &b, admit(&person(4)));
    let mut retired = set.next(b.id(), retire(&b), NOW).unwrap();
    act(&mut set, &b, Kind::Leave);
    retired.deps = set.heads();
    assert!(!is_void(&mut set, retired, &b));
    let body = beside.body().clone();
    assert!(is_void(&mut set, body, &b));
    assert_eq!(set.resolve().members.len(), 2);
    assert!(set.resolve().is_admin(&a.id()));
}

#[test]
fn whoever_left_makes_the_topic_unclean_though_it_came_after_the_topic_began() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, refresh(Some(1)));
    act(&mut set, &a, admit(&b));
    assert!(set.resolve().topics().clean);
    act(&mut set, &b, Kind::Leave);
    assert!(set.resolve().topics().needs_refresh());
    assert_eq!(set.resolve().topics().write, [[1; 32]]);
}

#[test]
fn a_topic_begun_by_somebody_who_left_is_not_the_only_one_written_to() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let mut body = set.next(b.id(), refresh(Some(9)), NOW).unwrap();
    act(&mut set, &b, Kind::Leave);
    set.insert(Op::sign(body.clone(), &b)).unwrap();
    assert!(set.resolve().topics().needs_refresh());
    // Nor is there one that begins after the Leave.
    body.deps = set.heads();
    assert!(is_void(&mut set, body, &b));
}
