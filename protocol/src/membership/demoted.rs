//! What whoever is no admin any more may do: tests of the op Demote.

use super::{Kind, NotAllowed, fixture::*};

#[test]
fn a_demoted_admin_stays_a_member_and_may_still_refresh() {
    let (a, b) = (person(1), person(2));
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, Kind::Demote { member: b.id() });
    assert!(set.resolve().is_member(&b.id()) && !set.resolve().is_admin(&b.id()));
    assert_eq!(set.next(b.id(), invite(1, 1), NOW), Err(NotAllowed::NotAnAdmin));
    let refreshed = act(&mut set, &b, refresh(Some(4)));
    assert!(!set.resolve().void.contains(&refreshed));
    act(&mut set, &a, remove(b.id(), 5));
    assert!(!set.resolve().is_member(&b.id()));
}

/// Cleo is an admin by Bob, who outranks Dora; beside that Dora has removed her, and Bob takes her
/// rights back: the promotion is all that she is a member by.
#[test]
fn whoever_is_a_member_by_a_promotion_that_was_taken_back_may_still_refresh() {
    let [a, b, d, c] = [person(1), person(2), person(3), person(4)];
    let mut set = group(&a);
    for who in [&b, &d, &c] {
        act(&mut set, &a, admit(who));
    }
    act(&mut set, &a, promote(&b));
    act(&mut set, &a, promote(&d));
    let mut beside = set.clone();
    act(&mut beside, &d, remove(c.id(), 1));
    act(&mut set, &b, promote(&c));
    let admins = [set.resolve().members[&c.id()].admin, None];
    let early = op(&set, &c, refresh(Some(3)));
    let proud = op(&set, &c, invite(1, 1));
    act(&mut set, &b, Kind::Demote { member: c.id() });
    merge(&mut set, &beside);
    let standing = set.resolve().members[&c.id()];
    assert_eq!([Some(standing.grant), standing.admin], admins);
    // All others leave: nobody else is there to begin a clean topic.
    for who in [&a, &b, &d] {
        act(&mut set, who, Kind::Leave);
    }
    assert!(set.resolve().topics().needs_refresh());
    let refreshed = act(&mut set, &c, refresh(Some(2)));
    assert!(!set.resolve().void.contains(&refreshed));
    assert_eq!(set.resolve().topics().write, [[2; 32]]);
    // So does one beside the demotion; what an admin did beside it does not count.
    set.insert(early.clone()).unwrap();
    set.insert(proud.clone()).unwrap();
    assert!(!set.resolve().void.contains(&early.id()) && set.resolve().void.contains(&proud.id()));
    assert_eq!(set.next(c.id(), invite(2, 1), NOW), Err(NotAllowed::NotAnAdmin));
}
