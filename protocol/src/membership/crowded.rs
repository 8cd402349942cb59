//! Who brings more than a set has room for, and what it can do by it.

use alloc::{collections::BTreeSet, vec, vec::Vec};

use super::{fixture::*, *};
use crate::{
    ids::{MemberId, OpId, Timestamp},
    limits::{OPS_LOOSE, OPS_OUTSIDE, OPS_OUTSIDE_OF_ONE},
    sign::SigningSecret,
};

const NOBODY: BTreeSet<(OpId, MemberId)> = BTreeSet::new();

/// An op that only a changed program signs.
fn signed(set: &OpSet, who: &SigningSecret, kind: Kind, deps: &[OpId], at: u64) -> Op {
    let needs_cap = !matches!(kind, Kind::Leave);
    let mut grants = set.iter().filter(|op| op.subject() == Some(who.id()));
    let body = Body {
        group: Some(set.group()),
        author: who.id(),
        seq: 7,
        deps: deps.into(),
        cap: grants.next().map(Op::id).filter(|_| needs_cap),
        at: Timestamp(at),
        kind,
        incarnation: None,
    };
    Op::sign(body, who)
}

/// So many ops of somebody, beside one another.
fn beside(set: &OpSet, who: &SigningSecret, ops: usize, from: u64) -> Vec<Op> {
    let grant = set.iter().find(|op| op.subject() == Some(who.id())).unwrap().id();
    let times = from..from + ops as u64;
    times.map(|at| signed(set, who, refresh(None), &[grant], at)).collect()
}

/// So many ops of somebody, one after another.
fn chain(set: &OpSet, who: &SigningSecret, ops: usize) -> Vec<Op> {
    let mut last = set.iter().find(|op| op.subject() == Some(who.id())).unwrap().id();
    let one = |at| {
        let op = signed(set, who, refresh(None), &[last], at);
        last = op.id();
        op
    };
    (0..ops as u64).map(one).collect()
}

fn bring<'a>(set: &mut OpSet, ops: impl IntoIterator<Item = &'a Op>) -> usize {
    let before = set.iter().count();
    ops.into_iter().for_each(|op| drop(set.take(op.clone(), &NOBODY)));
    set.iter().count() - before
}

/// A founder, a member, and somebody whom the founder has removed.
fn one_removed() -> ([SigningSecret; 3], OpSet) {
    let people = [1, 2, 3].map(person);
    let mut set = group(&people[0]);
    act(&mut set, &people[0], admit(&people[1]));
    act(&mut set, &people[0], admit(&people[2]));
    act(&mut set, &people[0], remove(people[2].id(), 1));
    (people, set)
}

#[test]
fn a_removed_member_fills_nothing() {
    let ([_, _, c], set) = one_removed();
    for ops in [beside(&set, &c, 200, 0), chain(&set, &c, 200)] {
        let (mut one, mut other) = (set.clone(), set.clone());
        assert_eq!(bring(&mut one, &ops), OPS_OUTSIDE_OF_ONE);
        // Nor does what waits for what has no room.
        bring(&mut other, ops.iter().rev());
        assert!(other.iter().count() - set.iter().count() <= OPS_OUTSIDE_OF_ONE);
        assert!(other.waiting().count() <= OPS_OUTSIDE_OF_ONE);
    }
}

#[test]
fn whoever_goes_on_leaving_is_given_no_more_room_by_it() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &b, Kind::Leave);
    let mut taken = 0;
    for round in 0..4 {
        let more = beside(&set, &b, 60, 100 * round);
        taken += bring(&mut set, &more);
        let heads = set.heads().into_iter().take(16).collect::<Vec<_>>();
        let again = signed(&set, &b, Kind::Leave, &heads, round);
        taken += bring(&mut set, [&again]);
    }
    assert!(taken <= OPS_OUTSIDE_OF_ONE, "{taken}");
}

#[test]
fn whom_a_removed_admin_let_in_bring_no_more_than_all_may() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let promoted = act(&mut set, &a, promote(&b));
    let mut beside_it = set.clone();
    act(&mut set, &a, remove(b.id(), 1));
    let sybils: Vec<_> = (100..112).map(person).collect();
    for sybil in &sybils {
        let op = op(&beside_it, &b, admit(sybil));
        assert_eq!(op.body().cap, Some(promoted));
        beside_it.insert(op.clone()).unwrap();
        bring(&mut set, [&op]);
    }
    let taken: usize =
        sybils.iter().map(|who| bring(&mut set, &beside(&beside_it, who, 100, 0))).sum();
    assert!(taken + sybils.len() <= OPS_OUTSIDE, "{taken}");
    assert!(taken > 6 * OPS_OUTSIDE_OF_ONE);
}

#[test]
fn what_a_member_builds_on_is_taken_whoever_made_it() {
    let ([a, b, c], set) = one_removed();
    let (mut one, mut other) = (set.clone(), set.clone());
    assert_eq!(bring(&mut one, &beside(&set, &c, 80, 0)), OPS_OUTSIDE_OF_ONE);
    assert_eq!(bring(&mut other, &beside(&set, &c, 80, 1000)), OPS_OUTSIDE_OF_ONE);
    // Of what counts for nothing nobody is told who has no room for it.
    let theirs = |from: &OpSet, to: &OpSet| -> Vec<Op> {
        let ids = from.to_tell(&to.heads(), [].iter());
        ids.iter().map(|id| from.op(id).unwrap().clone()).collect()
    };
    assert!(theirs(&one, &other).is_empty() && theirs(&other, &one).is_empty());
    // But where a bundle names it.
    let late = one.not_in_past(&other.heads());
    assert_eq!(one.to_tell(&other.heads(), late[..1].iter()), late[..1]);
    // Each goes on; what came first makes no difference.
    for (set, who) in [(&mut one, &a), (&mut other, &b)] {
        while set.heads().len() > 1 {
            act(set, who, refresh(None));
        }
    }
    let (to_other, to_one) = (theirs(&one, &other), theirs(&other, &one));
    assert!(to_other.len() > OPS_OUTSIDE_OF_ONE);
    bring(&mut one, to_one.iter().rev());
    bring(&mut other, to_other.iter().rev());
    assert_eq!(one.heads(), other.heads());
    assert_eq!((one.heads().len(), one.waiting().count()), (2, 0));
    assert_eq!(one.resolve(), other.resolve());
}

#[test]
fn what_a_members_bundle_names_is_taken_and_what_its_author_names_is_not() {
    let ([_, b, c], mut set) = one_removed();
    let ops = beside(&set, &c, 70, 0);
    bring(&mut set, &ops);
    let last = ops.last().unwrap();
    assert!(!set.contains(&last.id()));
    let named = |by: &SigningSecret| [(last.id(), by.id())].into();
    assert_eq!(set.take(last.clone(), &named(&c)), Err(InsertError::NoRoom));
    assert_eq!(set.take(last.clone(), &named(&b)), Ok(Inserted::New([last.id()].into())));
}

#[test]
fn a_member_brings_no_more_than_others_follow_and_an_admin_as_much_as_it_does() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let ops = chain(&set, &b, OPS_LOOSE + 20);
    assert_eq!(bring(&mut set, &ops), OPS_LOOSE);
    act(&mut set, &a, refresh(None));
    assert_eq!(bring(&mut set, &ops), 20);
    let ops = chain(&set, &a, OPS_LOOSE + 20);
    assert_eq!(bring(&mut set, &ops), OPS_LOOSE + 20);
}

/// Fills a set with long ops by these, in turn, as far as there is room.
fn fill(set: &mut OpSet, by: &[&SigningSecret], kind: u8) {
    let mut long = vec![0x59, 0x3e, 0x80];
    long.resize(3 + 16_000, 0);
    // Under the last grant: that of an admin.
    let grant = |who: &SigningSecret| {
        set.iter().filter(|op| op.subject() == Some(who.id())).last().map(Op::id)
    };
    let caps: Vec<_> = by.iter().map(|who| grant(who)).collect();
    for args in [long, vec![0x80]] {
        for (at, (who, cap)) in (0..).zip(by.iter().zip(&caps).cycle()) {
            let body = Body {
                group: Some(set.group()),
                author: who.id(),
                seq: 7,
                deps: set.heads(),
                cap: *cap,
                at: Timestamp(at),
                kind: Kind::Other { kind, args: args.clone() },
                incarnation: None,
            };
            if set.take(Op::sign(body, who), &NOBODY).is_err() {
                break;
            }
        }
    }
}

#[test]
fn whoever_fills_the_set_can_be_removed() {
    let [a, b, c, d] = [1, 2, 3, 4].map(person);
    let mut set = group(&a);
    for who in [&b, &c, &d] {
        act(&mut set, &a, admit(who));
    }
    act(&mut set, &a, promote(&b));
    fill(&mut set, &[&c, &d], 99);
    let full = |set: &OpSet, who: &SigningSecret, kind| {
        matches!(set.next(who.id(), kind, NOW), Err(NotAllowed::Full { .. }))
    };
    assert!(full(&set, &c, refresh(None)));
    assert!(
        set.next(c.id(), Kind::Leave, NOW).is_ok() && set.next(b.id(), retire(&b), NOW).is_ok()
    );
    // What an admin's op depends on has a place there, a member's has none.
    let mut ahead = set.clone();
    let loose = signed(&set, &c, refresh(None), &set.heads()[..1], 9);
    ahead.insert(loose.clone()).unwrap();
    let by_admin = op(&ahead, &b, remove(c.id(), 1));
    assert_eq!(set.take(loose.clone(), &NOBODY), Err(InsertError::NoRoom));
    assert_eq!(set.take(by_admin.clone(), &NOBODY), Ok(Inserted::Pending));
    let both = Ok(Inserted::New([loose.id(), by_admin.id()].into()));
    assert_eq!(set.take(loose, &NOBODY), both);
    assert!(!set.resolve().is_member(&c.id()));
    // Nor does an admin fill it: the last of it is the founder's.
    fill(&mut set, &[&b], 98);
    assert!(full(&set, &b, admit(&person(9))));
    act(&mut set, &a, remove(b.id(), 2));
    assert_eq!(set.resolve().members.len(), 2);
}
