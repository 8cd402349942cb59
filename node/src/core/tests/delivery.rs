//! Who has an own message, since when, and why not.

use std::collections::BTreeSet;

use super::{World, stories::group_of};
use crate::{
    api::types::{DeliveryState, DeliveryView, MemberDelivery, Verified, What},
    core::VerbError,
    store::StoreError,
};

fn delivery(world: &mut World, name: &str, message: &str) -> DeliveryView {
    let now = world.now;
    world.core(name).delivery("reading", message, now).unwrap()
}

fn with<'a>(delivery: &'a DeliveryView, name: &str) -> &'a MemberDelivery {
    delivery.members.iter().find(|to| to.member.name == name).unwrap()
}

/// How often it was told how far a message is.
fn told(world: &mut World, name: &str, id: &str) -> usize {
    let events = world.events(name).into_iter();
    let told = |what: &What| matches!(what, What::Delivery { message, .. } if message == id);
    events.filter(|event| told(&event.what)).count()
}

#[test]
fn a_message_has_a_state_with_each_member_and_a_reason() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    world.stop("bob");
    let sent = world.send("ada", "reading", "hello");
    world.pass(10_000);
    let far = delivery(&mut world, "ada", "last");
    assert_eq!((&far.message, far.state), (&sent.id, DeliveryState::Stored));
    let (bob, carol) = (with(&far, "bob"), with(&far, "carol"));
    assert_eq!((bob.state, carol.state), (DeliveryState::Stored, DeliveryState::Received));
    assert!(!bob.reason.is_empty() && carol.reason.is_empty());
    assert_eq!(bob.since.as_ref(), Some(&far.at));
    assert!(carol.since.is_some() && carol.since != bob.since, "{far:?}");
    world.start("bob");
    world.pass(10_000);
    let far = delivery(&mut world, "ada", &sent.id[..7]);
    assert_eq!(far.state, DeliveryState::Received);
    assert!(with(&far, "bob").since > with(&far, "carol").since, "{far:?}");
    let in_short = world.history("ada").remove(0).delivery.unwrap();
    assert_eq!((in_short.members, in_short.reached), (2, 2));
}

#[test]
fn a_message_that_waits_says_for_what() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.relay_stands(&relay, false);
    world.settle();
    world.pass(600_000);
    world.send("ada", "reading", "hello");
    let far = delivery(&mut world, "ada", "last");
    assert_eq!((far.state, far.members.len()), (DeliveryState::Queued, 0));
    assert!(!far.reason.is_empty());
    world.relay_stands(&relay, true);
    world.pass(1_000);
    assert_eq!(delivery(&mut world, "ada", "last").state, DeliveryState::Received);
}

#[test]
fn who_is_removed_or_leaves_is_not_waited_for() {
    let (mut world, _) = group_of(&["ada", "bob", "carol", "dave"]);
    world.stop("bob");
    world.stop("carol");
    world.send("ada", "reading", "hello");
    world.pass(10_000);
    world.remove("ada", "reading", "bob");
    let far = delivery(&mut world, "ada", "last");
    let bob = with(&far, "bob");
    assert_eq!((bob.state, bob.reason.as_str()), (DeliveryState::Cant, "no member any more"));
    assert!(bob.since.is_some());
    assert_eq!(with(&far, "carol").state, DeliveryState::Stored);
    assert_eq!(with(&far, "dave").state, DeliveryState::Received);
    assert_eq!(far.state, DeliveryState::Stored);
    let code = world.invite("ada", "reading");
    world.start("bob");
    world.settle();
    world.joined("bob", &code);
    world.pass(10_000);
    let far = delivery(&mut world, "ada", "last");
    let bob = with(&far, "bob");
    assert!(bob.state == DeliveryState::Cant && bob.reason.contains("anew"), "{bob:?}");
}

#[test]
fn what_several_have_at_once_is_told_together_and_a_kill_does_not_lose_it() {
    let (mut world, _) = group_of(&["ada", "bob", "carol", "dave", "erin", "fred"]);
    let sent = world.send("ada", "reading", "hello");
    world.pass(10_000);
    assert_eq!(delivery(&mut world, "ada", "last").state, DeliveryState::Received);
    let told_of = told(&mut world, "ada", &sent.id);
    assert!((3..=4).contains(&told_of), "sealed, stored, with all of them: {told_of}");
    world.stop("bob");
    let sent = world.send("ada", "reading", "without bob");
    world.pass(300);
    assert_eq!(told(&mut world, "ada", &sent.id), 2, "sealed, stored");
    world.stop("ada");
    world.start("ada");
    world.pass(1_000);
    let told: Vec<_> = world
        .events("ada")
        .into_iter()
        .filter_map(|event| match event.what {
            What::Delivery { message, delivery } if message == sent.id => Some(delivery),
            _ => None,
        })
        .collect();
    let [_, _, last] = &told[..] else { panic!("one more: {told:?}") };
    assert_eq!((last.reached, last.missing[0].name.as_str()), (4, "bob"));
}

#[test]
fn a_receipt_that_was_lost_is_made_good_by_the_next_summary() {
    let mut world = World::new();
    world.direct_node("ada", &[]);
    world.create("ada", "reading");
    let code = world.invite("ada", "reading");
    world.direct_node("bob", &[]);
    world.joined("bob", &code);
    world.pass(60_000);
    world.send("ada", "reading", "hello");
    assert_eq!(world.texts("bob"), ["hello"]);
    world.cut.insert(("ada", "bob"));
    world.pass(1_000);
    // What it gathered has reached nobody, and is forgotten.
    world.stop("bob");
    world.start("bob");
    world.pass(1_000);
    let far = delivery(&mut world, "ada", "last");
    assert_eq!(with(&far, "bob").state, DeliveryState::Sealed);
    assert!(!with(&far, "bob").reason.is_empty());
    world.cut.clear();
    world.pass(10_000);
    assert_eq!(delivery(&mut world, "ada", "last").state, DeliveryState::Received);
}

#[test]
fn keys_that_did_not_open_are_told_until_they_have() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let bob = world.member("bob");
    world.stop("bob");
    let sent = world.send("ada", "reading", "hello");
    let now = world.now;
    let core = world.core("ada");
    let group = core.find_group("reading").unwrap();
    let sealed = core.store.read::<_, StoreError>(|tx| tx.sent(sent.seq)).unwrap().unwrap();
    let chain = sealed.chain.unwrap();
    core.step(group, now, |group, step| step.unopened(group, bob, chain)).unwrap();
    let far = delivery(&mut world, "ada", "last");
    assert_eq!((far.state, with(&far, "bob").state), (DeliveryState::Cant, DeliveryState::Cant));
    assert!(with(&far, "bob").reason.contains("can't open"), "{far:?}");
    world.pass(1_000);
    assert_eq!(told(&mut world, "ada", &sent.id), 3, "sealed, stored, not opened");
    world.start("bob");
    world.pass(10_000);
    assert_eq!(delivery(&mut world, "ada", "last").state, DeliveryState::Received);
}

#[test]
fn who_keeps_a_message_is_told_for_as_long_as_that_is_so() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.stop("bob");
    world.send("ada", "reading", "hello");
    world.pass(10_000);
    let reason = |world: &mut World| {
        let far = delivery(world, "ada", "last");
        assert_eq!(with(&far, "bob").state, far.state);
        (far.state, with(&far, "bob").reason.clone())
    };
    let (state, kept) = reason(&mut world);
    assert!(state == DeliveryState::Stored && kept.contains("said that it keeps it"), "{kept}");
    world.pass(30 * DAY_MS);
    let (state, kept) = reason(&mut world);
    assert!(state == DeliveryState::Stored && kept.contains("no relay keeps it"), "{kept}");
    world.pass(5 * DAY_MS);
    let (state, kept) = reason(&mut world);
    assert!(state == DeliveryState::Cant && kept.contains("any more"), "{kept}");
}

#[test]
fn only_own_messages_of_the_group_have_a_delivery() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.send("ada", "reading", "hello");
    let came = world.history("bob").remove(0);
    let now = world.now;
    for message in ["last", &came.id, "abc", "latest"] {
        let refused = world.core("bob").delivery("reading", message, now).unwrap_err();
        assert!(matches!(refused, VerbError::NoSuchMessage { .. }), "{message}: {refused}");
    }
}

#[test]
fn who_is_behind_is_named_with_how_many_messages_and_who_is_gone_is_not() {
    let (mut world, _) = group_of(&["ada", "bob", "carol", "dave"]);
    let verify = |world: &mut World| world.core("ada").verify("reading").unwrap();
    world.send("ada", "reading", "hello");
    world.pass(10_000);
    assert!(verify(&mut world).behind.is_empty());
    world.stop("bob");
    world.stop("carol");
    let first = world.send("ada", "reading", "are you there?");
    world.send("ada", "reading", "are you?");
    world.pass(10_000);
    world.remove("ada", "reading", "carol");
    let verified = verify(&mut world);
    let [bob] = &verified.behind[..] else { panic!("bob alone: {:?}", verified.behind) };
    assert_eq!((bob.member.name.as_str(), bob.messages, &bob.since), ("bob", 2, &first.at));
    let waiting = |verified: &Verified| {
        let waiting = verified.adopted.waiting.iter();
        waiting.map(|member| member.name.clone()).collect::<BTreeSet<_>>()
    };
    assert!(waiting(&verified).into_iter().eq(["bob", "dave"]), "nobody has said anything since");
    assert!(verified.gaps.is_empty() && verified.notices.is_empty());
    world.start("bob");
    world.settle();
    world.send("bob", "reading", "yes");
    world.pass(10_000);
    let verified = verify(&mut world);
    assert!(verified.behind.is_empty());
    assert!(waiting(&verified).into_iter().eq(["dave"]));
}
