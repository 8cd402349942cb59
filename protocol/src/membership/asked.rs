//! What is asked of a resolution: tests of its answers about people.

use alloc::vec::Vec;

use super::{fixture::*, op::Kind, set::OpSet};
use crate::sign::SigningSecret;

/// A founder, an admin of the founder's, an admin of that one's, and a member that it let in.
fn ranks() -> (OpSet, [SigningSecret; 4]) {
    let people = [person(1), person(2), person(3), person(4)];
    let [a, b, c, d] = &people;
    let mut set = group(a);
    act(&mut set, a, admit(b));
    act(&mut set, a, promote(b));
    act(&mut set, b, admit(c));
    act(&mut set, b, promote(c));
    act(&mut set, b, admit(d));
    (set, people)
}

#[test]
fn seniors_may_remove_and_demote_juniors_and_nobody_else_or_oneself() {
    let (set, people) = ranks();
    let now = set.resolve();
    let pairs = |may: &dyn Fn(usize, usize) -> bool| -> Vec<(usize, usize)> {
        let all = (0..4).flat_map(|by| (0..4).map(move |whom| (by, whom)));
        all.filter(|(by, whom)| may(*by, *whom)).collect()
    };
    let id = |at: usize| people[at].id();
    let remove = pairs(&|by, whom| now.may_remove(&id(by), &id(whom)));
    assert_eq!(remove, [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
    let demote = pairs(&|by, whom| now.may_demote(&id(by), &id(whom)));
    assert_eq!(demote, [(0, 1), (0, 2), (1, 2)]);
    let stranger = person(9).id();
    assert!(!now.may_remove(&stranger, &id(3)) && !now.may_remove(&id(0), &stranger));
    assert!(!now.may_demote(&stranger, &id(2)) && !now.may_demote(&id(0), &stranger));
}

#[test]
fn the_grants_of_a_member_are_those_that_stand_the_most_senior_first() {
    let [a, b] = [person(1), person(2)];
    let mut set = group(&a);
    let admitted = act(&mut set, &a, admit(&b));
    let promoted = act(&mut set, &a, promote(&b));
    assert_eq!(set.resolve().grants[&b.id()], [promoted, admitted]);
    act(&mut set, &a, Kind::Demote { member: b.id() });
    assert_eq!(
        set.resolve().grants[&b.id()],
        [promoted, admitted],
        "no admin, and a member by both"
    );
    act(&mut set, &a, remove(b.id(), 1));
    assert!(!set.resolve().grants.contains_key(&b.id()));
}

#[test]
fn who_stays_by_a_removal_that_is_void_is_told_which() {
    let (mut set, [a, b, c, d]) = ranks();
    let [e, f] = [person(5), person(6)];
    act(&mut set, &c, admit(&e));
    act(&mut set, &c, admit(&f));
    assert_eq!(set.voided_removal(&e.id()), None);
    // Beside one another: the founder removes b; b removes e, and then c, who let in e and f.
    let mut other = set.clone();
    act(&mut set, &a, remove(b.id(), 1));
    let own = act(&mut other, &b, remove(e.id(), 2));
    let host = act(&mut other, &b, remove(c.id(), 3));
    let mut both = set.clone();
    merge(&mut both, &other);
    assert_eq!(both.voided_removal(&c.id()), Some(host));
    assert_eq!(both.voided_removal(&f.id()), Some(host), "the removal of its host was none");
    assert_eq!(both.voided_removal(&e.id()), Some(own), "its own before its host's");
    assert_eq!(both.voided_removal(&d.id()), None);
    assert_eq!(both.voided_removal(&b.id()), None, "b is out");
    // Whom a grant lets in that follows the void removal, that removal is nothing to.
    act(&mut both, &a, remove(e.id(), 4));
    act(&mut both, &a, admit(&e));
    assert_eq!(both.voided_removal(&e.id()), None);
}

#[test]
fn who_was_let_in_for_nothing_begins_no_topic() {
    let [a, b, c] = [person(1), person(2), person(3)];
    let mut set = group(&a);
    act(&mut set, &a, admit(&b));
    act(&mut set, &a, promote(&b));
    let mut other = set.clone();
    act(&mut other, &b, admit(&c));
    let begun = act(&mut other, &c, refresh(Some(9)));
    act(&mut set, &a, remove(b.id(), 1));
    merge(&mut set, &other);
    let now = set.resolve();
    assert!(now.void.contains(&begun) && !now.is_member(&c.id()));
    assert_eq!(now.topics().write, [[1; 32]]);
}
