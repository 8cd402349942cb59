//! What a node makes of its ops, and what it refuses to sign.

use super::{fixture::*, *};
use crate::{
    ids::{Incarnation, OpId},
    sign::SigningSecret,
};

#[test]
fn as_many_heads_as_an_op_can_hold_need_no_refresh() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let base = set.clone();
    for commit in 0..16 {
        set.insert(op(&base, &b, refresh(Some(commit)))).unwrap();
    }
    assert_eq!(set.heads().len(), 16);
    act(&mut set, &a, admit(&person(3)));
    assert_eq!(set.heads().len(), 1);
}

#[test]
fn a_node_refuses_to_make_what_would_change_nothing() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    for who in [&b, &c] {
        act(&mut set, &a, admit(who));
        act(&mut set, &a, promote(who));
    }
    let refused = |who: &SigningSecret, kind| set.next(who.id(), kind, NOW).unwrap_err();
    let senior = refused(&c, Kind::Demote { member: b.id() });
    assert!(matches!(senior, NotAllowed::TargetIsSenior { .. }));
    assert_eq!(refused(&b, Kind::Demote { member: b.id() }), NotAllowed::Yourself);
    assert_eq!(refused(&b, promote(&d)), NotAllowed::NoSuchMember);
    assert_eq!(refused(&b, remove(d.id(), 1)), NotAllowed::NoSuchMember);
    let genesis = genesis(&a).body().kind.clone();
    assert!(matches!(refused(&a, genesis), NotAllowed::Malformed(_)));
    act(&mut set, &a, invite(1, 1));
    assert_eq!(set.next(b.id(), invite(1, 1), NOW), Err(NotAllowed::InviteExists));
}

#[test]
fn who_joins_anew_gives_no_op_the_number_of_one_that_nobody_heard() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let run = Some(Incarnation([3; 8]));
    let mut unheard = set.next(b.id(), Kind::Leave, NOW).unwrap();
    unheard.incarnation = run;
    act(&mut set, &a, remove(b.id(), 1));
    act(&mut set, &a, admit(&b));
    for _ in 0..2 {
        let mut body = set.next(b.id(), refresh(Some(1)), NOW).unwrap();
        body.incarnation = run;
        assert_eq!(set.insert(Op::sign(body, &b)).map(|_| ()), Ok(()));
    }
    set.insert(Op::sign(unheard, &b)).unwrap();
    assert_eq!(set.equivocations(), []);
}

#[test]
fn an_unknown_kind_has_one_encoding_and_names_a_grant_of_its_author_that_it_follows_or_none() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    let root = set.iter().next().unwrap().id();
    let grant = act(&mut set, &a, admit(&b));
    let body = set.next(b.id(), refresh(None), NOW).unwrap();
    let with = |cap| {
        let kind = Kind::Other { kind: 77, args: alloc::vec![1] };
        Op::sign(Body { cap, kind, ..body.clone() }, &b)
    };
    let beside = act(&mut set, &b, refresh(None));
    // Whether what it names is here already makes no difference.
    for cap in [root, beside, OpId([9; 32])] {
        assert_eq!(set.insert(with(Some(cap))), Err(InsertError::NotFormed));
    }
    for args in [&[0x18, 0x01][..], &[0x9f, 0xff], &[0xa0], &[0xfa, 0, 0, 0, 0]] {
        let kind = Kind::Other { kind: 77, args: args.into() };
        let op = Op::sign(Body { kind, ..body.clone() }, &b);
        assert!(Op::from_bytes(op.as_bytes()).is_ok(), "what is on a disk is read");
        assert_eq!(set.insert(op), Err(InsertError::NotFormed), "{args:02x?}");
    }
    for cap in [None, Some(grant)] {
        let op = with(cap);
        assert_eq!(set.insert(op.clone()), Ok(Inserted::New([op.id()].into())));
    }
}
