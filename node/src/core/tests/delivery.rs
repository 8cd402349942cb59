//! Who has an own message, since when, and why not.

use std::collections::BTreeSet;

use protocol::{
    endpoint::Endpoint,
    group::{Admission, InviteTerms},
    invite::InviteSecret,
    membership::{AdmitMode, sign_join},
};

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
    world.pair(&[]);
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

#[test]
fn nobody_is_behind_with_what_was_said_before_one_was_let_in_anew() {
    let (mut world, _) = group_of(&["ada", "bob", "carol"]);
    let behind = |world: &mut World| {
        let verified = world.core("bob").verify("reading").unwrap();
        verified.behind.into_iter().map(|it| (it.member.name, it.messages)).collect::<Vec<_>>()
    };
    world.stop("carol");
    let before = world.send("bob", "reading", "before");
    world.pass(10_000);
    assert_eq!(behind(&mut world), [("carol".into(), 1)]);
    world.remove("ada", "reading", "bob");
    world.pass(10_000);
    assert_eq!(behind(&mut world), [], "who is out hears of nobody");
    let code = world.invite("ada", "reading");
    world.joined("bob", &code);
    world.pass(10_000);
    assert_eq!(behind(&mut world), []);
    let far = delivery(&mut world, "bob", &before.id);
    let carol = with(&far, "carol");
    assert_eq!((far.state, carol.state), (DeliveryState::Stored, DeliveryState::Stored));
    assert!(carol.reason.starts_with("a relay took it; this node was let in anew"), "{carol:?}");
    assert_eq!(with(&far, "ada").state, DeliveryState::Received);
    world.start("carol");
    world.pass(10_000);
    assert_eq!(world.texts("carol"), ["before"]);
    assert_eq!(behind(&mut world), []);
    world.stop("carol");
    world.send("bob", "reading", "since");
    world.pass(10_000);
    assert_eq!(behind(&mut world), [("carol".into(), 1)]);
    world.start("carol");
    world.pass(10_000);
    assert_eq!(behind(&mut world), []);
}

#[test]
fn what_no_relay_took_before_its_writer_was_let_in_anew_is_to_be_written_again() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.stop("ada");
    world.dies_after("bob", 0);
    let now = world.now;
    let sent = world.core("bob").send("reading", "hello", now).unwrap();
    world.settle();
    assert!(world.is_dead("bob"));
    world.relay_stands(&relay, false);
    world.start("bob");
    let far = delivery(&mut world, "bob", &sent.id);
    assert_eq!(with(&far, "ada").state, DeliveryState::Sealed);
    // As where the group is begun anew.
    let core = world.core("bob");
    let group = core.find_group("reading").unwrap();
    core.store.transaction::<_, StoreError>(|tx| tx.clear_outbox(group)).unwrap();
    world.stop("bob");
    world.relay_stands(&relay, true);
    world.start("ada");
    world.remove("ada", "reading", "bob");
    let code = world.invite("ada", "reading");
    world.start("bob");
    world.settle();
    world.joined("bob", &code);
    world.pass(10_000);
    let far = delivery(&mut world, "bob", &sent.id);
    let ada = with(&far, "ada");
    assert!(ada.state == DeliveryState::Cant && ada.reason.contains("write it again"), "{ada:?}");
    assert!(ada.reason.contains("let in anew"), "{ada:?}");
}

#[test]
fn what_waits_for_a_relay_is_not_lost_though_nothing_else_keeps_it() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.dies_after("ada", 0);
    world.send("ada", "reading", "on its way");
    assert!(world.is_dead("ada"));
    world.relay_stands(&relay, false);
    world.settle();
    world.start("ada");
    let far = world.now.plus_ms(100 * 24 * 60 * 60 * 1000);
    world.core("ada").store.transaction(|tx| tx.trim_archive(far)).unwrap();
    let now = world.now;
    let delivery = world.core("ada").delivery("reading", "last", now).unwrap();
    assert_eq!(delivery.state, DeliveryState::Sealed, "{}", delivery.members[0].reason);
    world.relay_stands(&relay, true);
    world.pass(60_000);
    assert_eq!(world.texts("bob"), ["on its way"]);
}

/// Lets in so many whose nodes never come.
fn admit(world: &mut World, host: &str, count: u32) {
    let now = world.now;
    let core = world.core(host);
    let id = core.find_group("reading").unwrap();
    core.step(id, now, |group, step| {
        let secret = InviteSecret::generate(step.rng);
        let expires = now.plus_ms(60_000);
        let terms = InviteTerms { max_uses: count, expires, mode: AdmitMode::Auto, strict: true };
        group.invite(step.cx(), &secret.record(), terms).unwrap();
        for _ in 0..count {
            let me = Endpoint::generate("somebody", vec![], step.rng).unwrap();
            let (card, joiner, handshake) = (me.card(), me.member(), [7; 32]);
            let (key, invite) = (secret.signing(), secret.id());
            let proof = sign_join(&key, id, invite, joiner, card.as_bytes(), &handshake);
            let request = Admission { invite, card, proof, handshake };
            group.admit(step.cx(), &request).unwrap();
        }
        Ok::<_, StoreError>(())
    })
    .unwrap();
    core.finish(now);
    world.settle();
}

#[test]
fn the_first_receipt_comes_at_once_and_later_ones_so_only_up_to_64_members() {
    for (strangers, at_once) in [(61, true), (62, false)] {
        let (mut world, _) = group_of(&["ada", "bob", "carol"]);
        admit(&mut world, "ada", strangers);
        let received = |world: &mut World| {
            let far = delivery(world, "ada", "last");
            let has = |name| with(&far, name).state == DeliveryState::Received;
            (has("bob"), has("carol"))
        };
        world.send("ada", "reading", "hello");
        world.pass(2_000);
        assert_eq!(received(&mut world), (true, true), "it confirms the first contact");
        let sent = world.send("ada", "reading", "hello again");
        world.pass(2_000);
        assert_eq!(received(&mut world), (at_once, at_once), "{strangers} beside three");
        let by_then = told(&mut world, "ada", &sent.id);
        assert_eq!(by_then, if at_once { 3 } else { 2 }, "sealed, stored, and who has it");
        // Each tells what it has read within a minute, and that is gathered once more.
        world.pass(120_000);
        assert_eq!(received(&mut world), (true, true));
        let by_then = told(&mut world, "ada", &sent.id);
        assert!((3..=4).contains(&by_then), "not one by one: {by_then}");
    }
}
