//! Groups by a relay: joining, talking, being away, being removed, leaving.

use super::World;
use crate::api::types::{CreateInvite, GroupState, Path, RelayState, What};

/// Ada founds a group, and the others join it by a code each; all by one relay.
pub(super) fn group_of(names: &[&'static str]) -> (World, String) {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node(names[0], &[&relay]);
    world.settle();
    world.create(names[0], "reading");
    for name in &names[1..] {
        world.node(name, &[]);
        let code = world.invite(names[0], "reading");
        world.joined(name, &code);
    }
    (world, relay)
}

#[test]
fn two_who_joined_by_a_code_read_each_other() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let hello = world.send("ada", "reading", "hello");
    world.send("bob", "reading", "good day");
    assert_eq!(world.texts("ada"), ["hello", "good day"]);
    assert_eq!(world.texts("bob"), ["hello", "good day"]);
    let kept = world.history("ada").remove(0);
    assert_eq!((&kept.id, kept.seq), (&hello.id, hello.seq), "id and place stay");
    let group = world.core("bob").group("reading", Default::default()).unwrap();
    let names: Vec<_> = group.people.iter().map(|person| person.member.name.as_str()).collect();
    assert_eq!(names, ["ada", "bob"]);
    let ada = world.core("ada").group("reading", Default::default()).unwrap();
    assert_eq!(ada.fingerprint, group.fingerprint);
}

#[test]
fn a_code_that_knows_more_addresses_of_a_relay_in_use_is_redeemed_at_once() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    let elsewhere = format!("/ip4/192.0.2.99/tcp/1/p2p/{}", relay.rsplit('/').next().unwrap());
    world.node("bob", &[&elsewhere]);
    world.settle();
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
}

#[test]
fn the_sender_hears_who_has_a_message() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let sent = world.send("ada", "reading", "hello");
    world.pass(10_000);
    let delivery = world.history("ada").remove(0).delivery.unwrap();
    assert!(delivery.sealed && delivery.stored);
    assert!(delivery.missing.is_empty() && delivery.received[0].name == "bob", "{delivery:?}");
    let told = world.events("ada").into_iter().filter(|event| match &event.what {
        What::Delivery { message, .. } => *message == sent.id,
        _ => false,
    });
    assert!(told.count() >= 3, "sealed, stored, received");
}

#[test]
fn who_was_away_reads_everything_in_order() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    world.send("ada", "reading", "first");
    world.stop("bob");
    let expected: Vec<String> = (0..40).map(|n| format!("message {n}")).collect();
    for text in &expected {
        world.send("ada", "reading", text);
    }
    world.start("bob");
    world.settle();
    assert_eq!(world.texts("bob")[1..], expected);
    assert_eq!(world.texts("carol")[1..], expected);
    world.send("bob", "reading", "back");
    assert_eq!(world.texts("carol").last().unwrap(), "back");
}

#[test]
fn what_is_written_without_a_relay_waits_and_keeps_its_place() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.relay_stands(&relay, false);
    world.settle();
    world.pass(600_000);
    let first = world.send("ada", "reading", "one");
    let second = world.send("ada", "reading", "two");
    assert!(first.seq < second.seq);
    assert!(world.texts("bob").is_empty());
    let now = world.now;
    let status = world.core("ada").status(now).unwrap();
    assert_eq!(status.relays[0].state, RelayState::Down);
    assert_eq!(status.paths[0].path, Path::None);
    assert!(status.paths[0].reason.contains("no relay is connected"), "{}", status.paths[0].reason);
    world.stop("ada");
    world.start("ada");
    world.relay_stands(&relay, true);
    world.pass(1000);
    assert_eq!(world.texts("bob"), ["one", "two"]);
    let history = world.history("ada");
    assert_eq!((&history[0].id, history[0].seq), (&first.id, first.seq));
    assert!(history.iter().all(|message| message.delivery.as_ref().unwrap().stored));
}

#[test]
fn a_removed_member_sees_its_removal_and_nothing_after_it() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    world.send("ada", "reading", "all of us");
    world.remove("ada", "reading", "bob");
    world.send("ada", "reading", "without bob");
    world.send("carol", "reading", "indeed");
    assert_eq!(world.texts("carol"), ["all of us", "without bob", "indeed"]);
    assert_eq!(world.texts("bob"), ["all of us"]);
    let bob = world.core("bob").groups(Default::default()).unwrap().remove(0);
    assert_eq!(bob.state, GroupState::Removed);
    let told = world.events("bob").into_iter().any(|event| {
        matches!(event.what, What::MemberRemoved { member, me: true, .. } if member.name == "bob")
    });
    assert!(told);
    let refused = world.core("bob").send("reading", "let me in", Default::default()).unwrap_err();
    assert_eq!((refused.code(), refused.exit()), ("not-a-member", 5));
    world.stop("bob");
    world.start("bob");
    world.send("carol", "reading", "still without bob");
    assert_eq!(world.texts("bob"), ["all of us"]);
}

#[test]
fn a_removed_member_comes_back_by_a_new_invite_only() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.send("ada", "reading", "before");
    world.remove("ada", "reading", "bob");
    world.send("ada", "reading", "meanwhile");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.send("ada", "reading", "after");
    world.send("bob", "reading", "here again");
    assert_eq!(world.texts("bob"), ["before", "after", "here again"]);
    assert_eq!(world.texts("ada").last().unwrap(), "here again");
}

#[test]
fn who_leaves_is_no_member_any_more() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    let now = world.now;
    world.core("bob").leave("reading", now).unwrap();
    world.settle();
    world.pass(1000);
    world.send("ada", "reading", "bob has left");
    assert_eq!(world.texts("carol"), ["bob has left"]);
    assert!(world.texts("bob").is_empty());
    let people = world.core("carol").group("reading", now).unwrap().people;
    assert_eq!(people.len(), 2);
    let told = world.events("carol").into_iter();
    let mut told = told.filter(|event| matches!(event.what, What::MemberLeft { .. }));
    assert!(told.next().is_some());
}

#[test]
fn who_comes_back_to_a_log_that_it_never_ceased_to_follow_hears_and_is_heard() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    let now = world.now;
    world.core("ada").promote("reading", "carol", now).unwrap();
    world.send("ada", "reading", "before");
    world.core("bob").leave("reading", now).unwrap();
    world.settle();
    // Not the founder, whose word would be enough to speak.
    let code = world.invite("carol", "reading");
    world.joined("bob", &code);
    world.send("bob", "reading", "here again");
    world.send("carol", "reading", "we see");
    for name in ["ada", "bob", "carol"] {
        assert_eq!(world.texts(name), ["before", "here again", "we see"], "{name}");
    }
}

#[test]
fn relays_hold_neither_texts_nor_names() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.send("ada", "reading", "a readable secret");
    assert_eq!(world.texts("bob"), ["a readable secret"]);
    let member = world.member("bob");
    let secrets: [&[u8]; 4] = [b"readable", b"reading", b"bob", &member.0[..8]];
    let stored = world.stored();
    assert!(stored.len() > 3);
    for entry in stored {
        assert!(protocol::limits::BUCKETS.contains(&entry.len()));
        for secret in secrets {
            assert!(!entry.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn an_inviter_who_was_away_lets_the_joiner_in_later() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.node("ada", &[&relay]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.stop("ada");
    world.node("bob", &[]);
    let join = world.join("bob", &code);
    assert!(join.detail.contains("offline"), "{}", join.detail);
    world.pass(3_600_000);
    world.stop("bob");
    world.start("bob");
    world.pass(60_000);
    world.start("ada");
    world.pass(1000);
    let join = world.core("bob").join_state(&join.id).unwrap();
    assert_eq!(join.group.unwrap().name, "reading");
    world.send("ada", "reading", "welcome");
    assert_eq!(world.texts("bob"), ["welcome"]);
}

#[test]
fn two_relays_are_as_good_as_the_one_that_stands() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one, &two]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.node("bob", &[]);
    world.relay_stands(&one, false);
    world.joined("bob", &code);
    world.send("ada", "reading", "by the second");
    world.relay_stands(&one, true);
    world.relay_stands(&two, false);
    world.settle();
    world.send("bob", "reading", "by the first");
    world.relay_stands(&two, true);
    world.settle();
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), ["by the second", "by the first"], "{name}");
    }
}

#[test]
fn what_a_relay_refuses_is_tried_again_and_told_once() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.send("ada", "reading", "first");
    world.relay_is_full(&relay, true);
    let sent = world.send("ada", "reading", "second");
    world.pass(60_000);
    let told = world.events("ada").into_iter();
    let told =
        told.filter(|event| matches!(&event.what, What::Alarm { text } if text.contains("full")));
    assert_eq!(told.count(), 1);
    assert!(!world.history("ada")[1].delivery.as_ref().unwrap().stored);
    world.relay_is_full(&relay, false);
    world.pass(300_000);
    assert_eq!(world.texts("bob"), ["first", "second"]);
    let stored = world.history("ada").remove(1);
    assert!(stored.id == sent.id && stored.delivery.unwrap().stored);
}

#[test]
fn a_log_that_is_full_is_followed_by_another_and_nothing_is_lost() {
    let (mut world, relay) = group_of(&["ada", "bob", "cyd"]);
    world.send("bob", "reading", "first");
    world.pass(900_000);
    world.logs_are_full(&relay, "ada");
    world.send("bob", "reading", "second");
    world.pass(900_000);
    for name in ["ada", "cyd"] {
        assert_eq!(world.texts(name), ["first", "second"], "{name}");
    }
    let stored = world.history("bob").remove(1);
    assert!(stored.delivery.unwrap().stored);
    world.send("cyd", "reading", "third");
    world.settle();
    assert_eq!(world.texts("ada"), ["first", "second", "third"]);
    assert!(world.events("bob").iter().any(
        |event| matches!(&event.what, What::Alarm { text } if text.contains("a new log is begun"))
    ));
}

#[test]
fn more_joiners_than_are_served_at_once_all_get_in() {
    const NAMES: [&str; 20] = [
        "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s",
        "t", "u",
    ];
    let (mut world, _) = group_of(&["ada"]);
    let terms = CreateInvite { uses: Some(20), ask: Some(false), ..CreateInvite::default() };
    let code = world.invite_with("ada", "reading", &terms);
    world.stop("ada");
    let now = world.now;
    for name in NAMES {
        world.node(name, &[]);
        world.core(name).join(&code, now).unwrap();
    }
    world.settle();
    world.start("ada");
    world.pass(120_000);
    let group = world.core("ada").group("reading", now).unwrap();
    assert_eq!(group.people.len(), 21);
    world.send("b", "reading", "hello, all");
    for name in NAMES {
        assert_eq!(world.texts(name), ["hello, all"], "{name}");
    }
}
