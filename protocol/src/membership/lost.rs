//! What becomes of a group whose member lost its machine: tests of the op Retire.

use alloc::vec::Vec;

use super::{
    fixture::*,
    op::{Body, Cut, Kind, Op, OpError},
    set::{InsertError, Inserted, OpSet},
};
use crate::{
    ids::{ChainId, GroupId, Incarnation, OpId},
    membership::NotAllowed,
    sign::SigningSecret,
};

/// The Retire that the holder of a recovery key makes of what `set` holds.
fn retirement(set: &OpSet, who: &SigningSecret) -> Op {
    Op::sign(set.next(who.id(), retire(who), NOW).unwrap(), &rescue(who))
}

fn put(set: &mut OpSet, op: Op) -> OpId {
    let id = op.id();
    assert_eq!(set.insert(op), Ok(Inserted::New(Vec::from([id]))));
    id
}

#[test]
fn whoever_holds_the_recovery_key_ends_the_membership_and_the_group_goes_on() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    let retired = retirement(&set, &a);
    let retired = put(&mut set, retired);
    let now = set.resolve();
    assert!(!now.is_member(&a.id()) && now.is_admin(&b.id()));
    assert_eq!(now.ended(&OpId(set.group().0)).unwrap().removals, [retired]);
    assert!(now.topics().needs_refresh());
    act(&mut set, &b, admit(&c));
    assert!(set.resolve().is_member(&c.id()));
}

#[test]
fn what_the_lost_machine_does_beside_the_retirement_or_after_it_counts_for_nothing() {
    let (a, b, c, d) = (person(1), person(2), person(3), person(4));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    let mut stolen = set.clone();
    act(&mut stolen, &a, admit(&c));
    act(&mut stolen, &a, remove(b.id(), 1));
    let retired = retirement(&set, &a);
    put(&mut set, retired);
    merge(&mut set, &stolen);
    let now = set.resolve();
    assert!(now.is_admin(&b.id()) && !now.is_member(&c.id()) && !now.is_member(&a.id()));
    // What it signs knowing of the retirement has no grant that counts either.
    let mut body = stolen.next(a.id(), admit(&d), NOW).unwrap();
    body.deps = set.heads();
    put(&mut set, Op::sign(body, &a));
    assert!(!set.resolve().is_member(&d.id()));
}

#[test]
fn only_the_recovery_key_of_the_card_retires() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let other = Kind::Retire { recovery: rescue(&a).public(), cut: Vec::new() };
    assert_eq!(set.next(b.id(), other.clone(), NOW), Err(NotAllowed::WrongRecovery));
    // Signed by the identity key, which whoever has the machine has too.
    let body = set.next(b.id(), retire(&b), NOW).unwrap();
    let op = Op::sign(body.clone(), &b);
    assert_eq!(Op::from_bytes(op.as_bytes()), Err(OpError::Signature));
    // By a key of the thief's own.
    let mut body = body;
    body.kind = Kind::Retire { recovery: b.public(), cut: Vec::new() };
    let op = Op::from_bytes(Op::sign(body, &b).as_bytes()).unwrap();
    assert_eq!(set.insert(op), Err(InsertError::NotFormed));
    assert!(set.resolve().is_member(&b.id()));
}

#[test]
fn a_card_that_the_thief_brings_in_later_does_not_put_another_recovery_key_in_place() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let cap = act(&mut set, &a, promote(&b));
    let thief = person(66);
    let mut forged = admit(&b);
    let mut own = crate::identity::SignedCard::from_bytes(&card(&b)).unwrap().card().clone();
    own.recovery = Some(thief.public());
    if let Kind::Admit { card, .. } = &mut forged {
        *card = crate::identity::SignedCard::sign(own, &b).as_bytes().into();
    }
    let mut body = set.next(b.id(), admit(&person(9)), NOW).unwrap();
    body.kind = forged;
    put(&mut set, Op::sign(body, &b));
    let mut body = set.next(b.id(), retire(&b), NOW).unwrap();
    body.kind = Kind::Retire { recovery: thief.public(), cut: Vec::new() };
    assert_eq!(body.cap, Some(cap));
    assert_eq!(set.insert(Op::sign(body, &thief)), Err(InsertError::NotFormed));
}

#[test]
fn a_removed_admin_takes_nothing_back_by_retiring_beside_its_removal() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, admit(&c));
    let before = set.clone();
    act(&mut set, &b, remove(c.id(), 1));
    act(&mut set, &a, remove(b.id(), 2));
    put(&mut set, retirement(&before, &b));
    let now = set.resolve();
    assert!(!now.is_member(&b.id()) && !now.is_member(&c.id()));
}

#[test]
fn a_demoted_admin_is_retired_but_takes_nothing_back() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    let before = set.clone();
    act(&mut set, &b, admit(&c));
    act(&mut set, &a, Kind::Demote { member: b.id() });
    put(&mut set, retirement(&before, &b));
    let now = set.resolve();
    assert!(!now.is_member(&b.id()) && now.is_member(&c.id()));
}

/// Takes in what whoever has the lost machine signs, knowing all that `set` holds; whether it is void.
fn stolen(set: &mut OpSet, body: &Body, cap: OpId, kind: Kind, by: &SigningSecret) -> bool {
    let (cap, deps) = (Some(cap), set.heads());
    let seq = body.seq + set.iter().count() as u32;
    let id = put(set, Op::sign(Body { cap, deps, seq, kind, ..body.clone() }, by));
    set.resolve().void.contains(&id)
}

/// Bob is a member by an admission, an admin by a promotion that was taken back.
#[test]
fn a_lost_machine_begins_no_topic_by_a_promotion_that_was_taken_back() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&c));
    let first = act(&mut set, &a, admit(&b));
    let second = act(&mut set, &a, promote(&b));
    let body = set.next(b.id(), refresh(Some(8)), NOW).unwrap();
    let beside = op(&set, &b, refresh(Some(7)));
    act(&mut set, &a, Kind::Demote { member: b.id() });
    let retired = retirement(&set, &b);
    assert_eq!(retired.body().cap, Some(first));
    put(&mut set, retired);
    act(&mut set, &c, refresh(Some(1)));
    for cap in [first, second] {
        assert!(stolen(&mut set, &body, cap, refresh(Some(8)), &b));
        assert!(stolen(&mut set, &body, cap, refresh(None), &b));
    }
    put(&mut set, beside.clone());
    assert!(set.resolve().void.contains(&beside.id()));
    assert_eq!(set.resolve().topics().write, [[1; 32]]);
    assert!(set.resolve().topics().clean);
}

/// Cleo is a member by Bob's promotion alone, since Dora removed her beside it, and Bob took it back:
/// her Retire is void by that.
#[test]
fn a_lost_machine_begins_no_topic_beside_a_retirement_that_is_void() {
    let [a, b, d, c] = [person(1), person(2), person(3), person(4)];
    let mut set = group(&a);
    for who in [&b, &d, &c] {
        act(&mut set, &a, admit(who));
    }
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, promote(&d));
    let mut removed = set.clone();
    act(&mut removed, &d, remove(c.id(), 1));
    let cap = act(&mut set, &b, promote(&c));
    let body = set.next(c.id(), refresh(Some(8)), NOW).unwrap();
    act(&mut set, &b, Kind::Demote { member: c.id() });
    merge(&mut set, &removed);
    assert!(set.resolve().is_member(&c.id()));
    let kept = act(&mut set, &c, refresh(Some(2)));
    let retired = retirement(&set, &c);
    assert_eq!(retired.body().cap, Some(cap));
    let retired = put(&mut set, retired);
    assert!(set.resolve().void.contains(&retired) && !set.resolve().is_member(&c.id()));
    assert!(!set.resolve().void.contains(&kept));
    act(&mut set, &b, refresh(Some(3)));
    assert!(stolen(&mut set, &body, cap, refresh(Some(8)), &c));
    assert!(stolen(&mut set, &body, cap, admit(&person(9)), &c));
    assert_eq!(set.resolve().topics().write, [[3; 32]]);
    // Whoever let her in anew has her own machine back.
    act(&mut set, &b, admit(&c));
    act(&mut set, &c, refresh(Some(4)));
    assert_eq!(set.resolve().topics().write, [[4; 32]]);
}

/// Whoever does not know of a Retire may promote the lost machine beside it: that gives no membership,
/// and begins no topic. What the machine does as an admin by it counts, until it is let in and removed.
#[test]
fn what_a_lost_machine_does_by_a_promotion_beside_its_retirement_is_a_seniors_to_void() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, admit(&c));
    let mut beside = set.clone();
    let cap = act(&mut beside, &a, promote(&b));
    let body = beside.next(b.id(), refresh(Some(8)), NOW).unwrap();
    let retired = retirement(&set, &b);
    put(&mut set, retired);
    merge(&mut set, &beside);
    assert!(!set.resolve().is_member(&b.id()));
    assert!(stolen(&mut set, &body, cap, refresh(Some(8)), &b));
    let mut after = set.clone();
    assert!(!stolen(&mut set, &body, cap, admit(&person(9)), &b));
    act(&mut after, &a, admit(&b));
    act(&mut after, &a, remove(b.id(), 1));
    merge(&mut after, &set);
    assert!(!after.resolve().is_member(&person(9).id()));
}

#[test]
fn nobody_widens_the_cut_of_a_removal_by_retiring_first() {
    let (a, b) = (person(1), person(2));
    let cut = |index| {
        Vec::from([Cut { incarnation: Incarnation([1; 8]), chain: ChainId([2; 16]), index }])
    };
    let mut set = group(&a);
    let grant = act(&mut set, &a, admit(&b));
    let own = Kind::Retire { recovery: rescue(&b).public(), cut: cut(200) };
    let own = Op::sign(set.next(b.id(), own, NOW).unwrap(), &rescue(&b));
    put(&mut set, own);
    assert_eq!(set.resolve().ended(&grant).unwrap().cut, cut(200));
    let mut kind = remove(b.id(), 1);
    if let Kind::Remove { cut: narrow, .. } = &mut kind {
        *narrow = cut(10);
    }
    let mut body = set.next(a.id(), refresh(None), NOW).unwrap();
    body.kind = kind;
    put(&mut set, Op::sign(body, &a));
    assert_eq!(set.resolve().ended(&grant).unwrap().cut, cut(10));
}

#[test]
fn retirements_and_the_own_ops_of_the_author_are_not_taken_for_a_clone() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let mut beside = set.clone();
    act(&mut beside, &b, refresh(Some(1)));
    let retired = retirement(&set, &b);
    put(&mut set, retired);
    merge(&mut set, &beside);
    assert!(set.equivocations().is_empty());
}

#[test]
fn whoever_is_found_again_can_be_admitted_again() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let retired = retirement(&set, &b);
    put(&mut set, retired);
    act(&mut set, &a, admit(&b));
    assert!(set.resolve().is_member(&b.id()));
}

#[test]
fn a_group_without_admins_goes_on_but_admits_nobody() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    let retired = retirement(&set, &a);
    put(&mut set, retired);
    assert!(set.resolve().admins().is_empty());
    act(&mut set, &b, refresh(Some(1)));
    assert!(set.resolve().topics().clean);
    assert_eq!(set.next(b.id(), admit(&c), NOW), Err(NotAllowed::NotAnAdmin));
}

#[test]
fn a_move_is_an_admins_word_and_the_most_seniors_comes_first() {
    let (a, b, c) = (person(1), person(2), person(3));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, admit(&c));
    let to = |byte| Kind::Migrate { to: GroupId([byte; 32]) };
    assert_eq!(set.next(c.id(), to(1), NOW), Err(NotAllowed::NotAnAdmin));
    act(&mut set, &b, to(1));
    act(&mut set, &b, to(2));
    let first = act(&mut set, &a, to(3));
    let moves: Vec<_> = set.resolve().moves.iter().map(|it| (it.by, it.to.0[0])).collect();
    assert_eq!(moves, [(a.id(), 3), (b.id(), 2), (b.id(), 1)]);
    assert_eq!(set.resolve().moves[0].op, first);
}
