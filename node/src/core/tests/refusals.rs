//! What is refused, with which words and exit codes.

use super::{World, stories::group_of};
use crate::api::types::{ApiError, CreateGroup, CreateInvite, JoinState};

fn refused(world: &mut World, name: &'static str, code: &str) -> (String, u8) {
    let join = world.join(name, code);
    assert_eq!(join.state, JoinState::Failed, "{}", join.detail);
    (join.detail, join.exit.unwrap())
}

#[test]
fn a_used_invite_is_refused_with_its_own_words() {
    let (mut world, _) = group_of(&["ada"]);
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    world.joined("bob", &code);
    world.node("carol", &[]);
    let (why, exit) = refused(&mut world, "carol", &code);
    assert!(why.contains("used") && exit == 5, "{why}");
    assert!(world.core("carol").groups(Default::default()).unwrap().is_empty());
    let now = world.now;
    assert_eq!(world.core("ada").invites("reading", now).unwrap()[0].used, 1);
}

#[test]
fn an_expired_invite_is_refused_by_its_own_end_or_by_the_host() {
    let (mut world, _) = group_of(&["ada"]);
    let terms = CreateInvite { expires_in: Some(60), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &terms);
    world.node("bob", &[]);
    world.pass(120_000);
    let (why, exit) = refused(&mut world, "bob", &code);
    assert!(why.contains("expired") && exit == 5, "{why}");
    world.pass(3_600_000);
    let now = world.now;
    let error = world.core("bob").join(&code, now).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("invite-expired", 5));
}

#[test]
fn a_revoked_invite_is_refused_with_its_own_words() {
    let (mut world, _) = group_of(&["ada"]);
    let code = world.invite("ada", "reading");
    let now = world.now;
    let invite = world.core("ada").invites("reading", now).unwrap().remove(0);
    assert!(world.core("ada").revoke("reading", &invite.id, now).unwrap().revoked);
    world.settle();
    world.node("bob", &[]);
    let (why, exit) = refused(&mut world, "bob", &code);
    assert!(why.contains("revoked") && exit == 5, "{why}");
}

#[test]
fn a_removed_member_does_not_come_back_by_the_code_that_let_it_in() {
    let (mut world, _) = group_of(&["ada"]);
    let terms = CreateInvite { uses: Some(5), ask: Some(false), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &terms);
    let untouched = world.invite("ada", "reading");
    for name in ["bob", "carol"] {
        world.node(name, &[]);
        world.joined(name, &code);
    }
    world.remove("ada", "reading", "bob");
    let (why, exit) = refused(&mut world, "bob", &code);
    assert!(why.contains("revoked") && exit == 5, "{why}");
    let now = world.now;
    let group = world.core("ada").group("reading", now).unwrap();
    let names: Vec<_> = group.people.iter().map(|person| person.member.name.as_str()).collect();
    assert_eq!(names, ["ada", "carol"]);
    let invites = world.core("ada").invites("reading", now).unwrap();
    assert_eq!(invites.iter().filter(|invite| invite.revoked).count(), 1);
    world.node("dave", &[]);
    world.joined("dave", &untouched);
    world.send("carol", "reading", "still here");
    assert_eq!(world.texts("dave"), ["still here"]);
}

#[test]
fn an_invite_for_two_lets_two_in_at_once_and_no_third() {
    let (mut world, _) = group_of(&["ada"]);
    let terms = CreateInvite { uses: Some(2), ask: Some(false), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &terms);
    let now = world.now;
    for name in ["bob", "carol", "dave"] {
        world.node(name, &[]);
        world.core(name).join(&code, now).unwrap();
    }
    world.settle();
    let states: Vec<JoinState> = ["bob", "carol", "dave"]
        .iter()
        .map(|name| world.core(name).joins().unwrap()[0].state)
        .collect();
    assert_eq!(states.iter().filter(|state| **state == JoinState::Joined).count(), 2);
    assert_eq!(states.iter().filter(|state| **state == JoinState::Failed).count(), 1);
}

#[test]
fn a_code_that_is_none_says_why() {
    let (mut world, _) = group_of(&["ada"]);
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    let now = world.now;
    let last = if code.ends_with('q') { "p" } else { "q" };
    let mistyped = format!("{}{last}", &code[..code.len() - 1]);
    for (text, expected) in [
        (mistyped.as_str(), "mistyped-code"),
        (&code[..code.len() - 9], "truncated-code"),
        ("hello", "not-a-code"),
    ] {
        let error = ApiError::from(world.core("bob").join(text, now).unwrap_err());
        assert_eq!((error.code.as_str(), error.exit), (expected, 2));
        assert!(!error.hint.is_empty());
    }
}

#[test]
fn joining_twice_is_one_join_and_a_member_needs_none() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    let code = world.invite("ada", "reading");
    let now = world.now;
    let error = world.core("bob").join(&code, now).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("already-a-member", 5));
    assert!(error.to_string().contains("reading"));

    world.relay_stands(&relay, false);
    world.node("carol", &[]);
    let first = world.core("carol").join(&code, now).unwrap();
    let second = world.core("carol").join(&code.to_uppercase(), now).unwrap();
    assert_eq!(first, second);
    assert_eq!(world.core("carol").joins().unwrap().len(), 1);
    world.relay_stands(&relay, true);
    world.settle();
    let again = world.core("carol").join(&code, now).unwrap();
    assert_eq!((again.state, again.id), (JoinState::Joined, first.id));
}

#[test]
fn names_find_groups_and_members_or_say_what_they_could_mean() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    let now = world.now;
    let core = world.core("ada");
    let id = core.group("reading", now).unwrap().summary.id;
    assert_eq!(core.group(&id[..6], now).unwrap().summary.name, "reading");
    assert_eq!(core.group(&id[..3], now).unwrap_err().code(), "no-such-group");
    assert_eq!(core.group("writing", now).unwrap_err().exit(), 6);
    assert_eq!(
        core.create_group(&CreateGroup::named("reading"), now).unwrap_err().code(),
        "name-taken"
    );
    assert_eq!(core.create_group(&CreateGroup::named(" x"), now).unwrap_err().code(), "bad-name");
    assert_eq!(core.remove("reading", "@eve", now).unwrap_err().code(), "no-such-member");
    assert_eq!(core.remove("reading", "ada", now).unwrap_err().code(), "remove-self");
    assert_eq!(core.send("reading", "", now).unwrap_err().code(), "empty-message");
    let long = "x".repeat(crate::core::TEXT_MAX + 1);
    assert_eq!(core.send("reading", &long, now).unwrap_err().code(), "message-too-long");

    // Carol founds another group of that name, and Bob is in both.
    world.node("carol", &[&relay]);
    world.create("carol", "reading");
    let code = world.invite("carol", "reading");
    world.joined("bob", &code);
    let error = world.core("bob").group("reading", now).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("ambiguous-group", 6));
    assert!(error.to_string().contains(&id[..8]), "{error}");
}

#[test]
fn a_member_without_rights_removes_nobody() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    let now = world.now;
    let error = world.core("bob").remove("reading", "@carol", now).unwrap_err();
    assert_eq!(error.exit(), 5);
    let error = world.core("bob").remove("reading", "ada", now).unwrap_err();
    assert_eq!(error.exit(), 5);
    world.settle();
    world.send("ada", "reading", "all here");
    assert_eq!(world.texts("carol"), ["all here"]);
}

#[test]
fn the_longest_text_goes_through() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let long = "x".repeat(crate::core::TEXT_MAX);
    world.send("ada", "reading", &long);
    world.send("ada", "reading", "short");
    assert_eq!(world.texts("bob"), [long.as_str(), "short"]);
}

#[test]
fn who_is_out_of_a_group_is_told_so_before_a_recovery_code_is_read() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let now = world.now;
    let error = world.core("bob").retire("reading", "no code", now).unwrap_err();
    assert_eq!(error.code(), "bad-recovery-code", "a plain member may retire");
    world.remove("ada", "reading", "bob");
    world.settle();
    let now = world.now;
    let error = world.core("bob").retire("reading", "no code", now).unwrap_err();
    assert_eq!((error.code(), error.exit()), ("not-a-member", 5));
}
