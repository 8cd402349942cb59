//! A thousand members: what it costs when they come, and when somebody floods.
//!
//! Some of them have bodies; the others are members all the same, to be sealed to and told of.

use alloc::vec;

use super::{
    wire::{Frame, Statement, Want},
    *,
};
use crate::{codec, membership::sign_join, sim::world::World};

/// A group of `members`, the first `bodies` of which have a node each.
fn crowd(members: usize, bodies: usize) -> World {
    let mut world = World::founded(members, true, 7);
    let secret = crate::invite::InviteSecret::generate(&mut world.rng);
    let terms = InviteTerms {
        max_uses: members as u32,
        expires: world.now.plus_ms(1_000_000),
        mode: crate::membership::AdmitMode::Auto,
        strict: true,
    };
    world.act(0, |group, cx| group.invite(cx, &secret.record(), terms)).unwrap();
    let mut welcome = zeroize::Zeroizing::default();
    for at in 1..members {
        let card = world.people[at].me.card().clone();
        let (group, joiner) = (world.member(0).id(), card.card().member);
        let handshake = [7; 32];
        let (key, id) = (secret.signing(), secret.id());
        let proof = sign_join(&key, group, id, joiner, card.as_bytes(), &handshake);
        let request = Admission { invite: id, card: &card, proof, handshake };
        welcome = world.act(0, |group, cx| group.admit(cx, &request)).unwrap();
        world.now = world.now.plus_ms(10);
    }
    std::eprintln!("a Welcome to {members}: {} bytes", welcome.len());
    assert!(welcome.len() <= 2_048 * members, "{} bytes", welcome.len());
    for at in 1..bodies {
        world.welcome(0, at, &welcome);
    }
    world
}

/// What went out from one moment to another, by whoever.
#[derive(Clone, Copy, Debug)]
struct Cost {
    envelopes: usize,
    bytes: usize,
}

fn cost<T>(world: &mut World, act: impl FnOnce(&mut World) -> T) -> (T, Cost) {
    let (seen, published) = (world.seen.len(), world.published);
    let done = act(world);
    let bytes = world.seen[seen..].iter().map(|it| it.bytes).sum();
    (done, Cost { envelopes: world.published - published, bytes })
}

/// The envelopes of a rotation to so many, and their bytes: of the head and its pages; of as many ciphertexts.
fn rotation(to: usize) -> Cost {
    let pages = to.div_ceil(512);
    let bundle = if pages > 1 { 1 + pages } else { 1 };
    let (kems, kem_bytes) = if to > 64 { (to, 4_096 * to) } else { (to.div_ceil(28), 2_048 * to) };
    Cost { envelopes: bundle + kems, bytes: 2 * (1_024 + 57 * to) + 1_024 * bundle + kem_bytes }
}

/// Joins, messages and a removal stay within what docs/spec/costs.md states, and the removed one opens nothing more.
fn stays_within(members: usize, bodies: usize) {
    let mut world = crowd(members, bodies);
    let bytes = world.seen.iter().map(|it| it.bytes).sum();
    let joins = Cost { envelopes: world.published, bytes };
    world.settle();
    let (others, gone) = (members - 1, bodies - 1);
    std::eprintln!("{members} members, {bodies} nodes; joins: {joins:?}");
    assert!(joins.envelopes <= 2 * members, "{joins:?}");

    // The first words of somebody: a slot for each, and a ciphertext, for nobody has met it before.
    let (first, spent) = cost(&mut world, |world| world.say(1, "hello"));
    let due = rotation(others);
    std::eprintln!("a first message: {spent:?} of {due:?}");
    assert_eq!(
        world.member(1).slots_of(&first.chain).len(),
        others,
        "a sealed key for each, no more"
    );
    assert!(spent.envelopes <= 1 + due.envelopes && spent.bytes <= 512 + due.bytes, "{spent:?}");
    // Who has read says so once, within minutes, however many messages there were.
    let ((), told) = cost(&mut world, |world| world.pass(20 * 60_000));
    std::eprintln!("what follows: {told:?}");
    assert!(told.envelopes <= 2 * bodies, "{told:?}");

    let (_, spent) = cost(&mut world, |world| world.say(1, "hello"));
    assert!(spent.envelopes == 1 && spent.bytes == 512, "{spent:?}");
    world.say(0, "good day");
    world.pass(20 * 60_000);

    let old = [2, gone].map(|at| world.people[at].records.clone());
    let removed = world.id(gone);
    let (done, spent) =
        cost(&mut world, |world| world.act(0, |group, cx| group.remove(cx, removed)));
    done.unwrap();
    let due = rotation(others - 1);
    std::eprintln!("a removal: {spent:?} of {due:?}");
    assert!(spent.envelopes <= 2 + due.envelopes && spent.bytes <= 2_048 + due.bytes, "{spent:?}");
    let ((), told) = cost(&mut world, |world| world.pass(20 * 60_000));
    std::eprintln!("what follows: {told:?}");
    assert!(told.envelopes <= 4 * bodies, "{told:?}");
    let (after, spent) = cost(&mut world, |world| world.say(1, "without you"));
    std::eprintln!("a first message after it: {spent:?}");
    assert_eq!(world.member(1).slots_of(&after.chain).len(), others - 1);
    assert!(spent.envelopes <= 1 + due.envelopes && spent.bytes <= 512 + due.bytes, "{spent:?}");
    world.say(0, "without you");
    world.pass(20 * 60_000);

    for at in (0..bodies).filter(|at| *at != gone) {
        assert_eq!(world.member(at).members().len(), members - 1);
        assert_eq!(world.member(at).fingerprint(), world.member(0).fingerprint());
        let own = [2, 3].get(at).copied().unwrap_or_default();
        assert_eq!(world.heard(at).len(), 5 - own, "each message once, at {at}");
    }
    // With its database of before, and every log of the relay, one that stayed opens what followed, and the removed one nothing.
    for (at, old) in [2, gone].into_iter().zip(old) {
        let before = world.heard(at).len();
        world.people[at].online = false;
        let group = Group::load(&world.people[at].me, old, world.now).unwrap();
        world.people[at].group = Some(group);
        for (log, entries) in world.logs.clone() {
            for entry in entries {
                // Whatever opens shows in what it heard.
                let _ = world.act(at, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
            }
        }
        let opened = world.heard(at)[before..].iter().any(|text| text == "without you");
        assert_eq!(opened, at != gone, "{at}");
    }
}

#[test]
fn what_a_group_of_a_hundred_costs_is_as_stated() {
    stays_within(100, 6);
}

/// Only asked for: `WATTLE_NODES=20 cargo test --release -p protocol --features endpoint --lib
/// a_thousand_costs -- --nocapture`.
#[test]
fn what_a_group_of_a_thousand_costs_is_as_stated() {
    if let Some(nodes) = std::env::var("WATTLE_NODES").ok().and_then(|it| it.parse().ok()) {
        stays_within(1_000, nodes);
    }
}

fn thousand(members: usize, bodies: usize) {
    let mut world = crowd(members, bodies);
    std::eprintln!("{members} members, {bodies} nodes");
    // All of them at once: each with a channel to eight others, and to the founder.
    let (published, framed) = (world.published, world.framed);
    for at in 0..bodies {
        for next in 1..=4 {
            let other = (at + next * next) % bodies;
            if other != at && !world.is_linked(at, other) {
                world.link(at, other);
            }
        }
    }
    world.settle();
    let (said, sent) = (world.published - published, world.framed - framed);
    std::eprintln!("all at once: {said} envelopes, {sent} frames");
    assert!(said <= 8 * bodies, "{said} envelopes");
    assert!(sent <= 400 * bodies, "{sent} frames");
    // A newcomer's first words: a slot for everybody.
    let published = world.published;
    world.say(1, "hello, all");
    std::eprintln!("a first message: {} envelopes", world.published - published);
    // Up to 64 ciphertexts go with it; of more, each goes into its recipient's inbox.
    let apart = if members > 65 { members } else { 0 };
    assert!(world.published - published <= 4 + members / 16 + apart);
    world.settle();
    assert!((2..bodies).all(|at| world.heard(at) == ["hello, all"]));
}

#[test]
fn when_many_come_online_at_once_each_costs_little() {
    thousand(60, 12);
}

/// Only asked for: `WATTLE_NODES=20 cargo test --release -p protocol --features endpoint --lib
/// a_thousand -- --nocapture`.
#[test]
fn a_thousand_members_come_online_at_once() {
    if let Some(nodes) = std::env::var("WATTLE_NODES").ok().and_then(|it| it.parse().ok()) {
        thousand(1_000, nodes);
    }
}

/// Who has said to have something of person 1's.
fn receipts(world: &World) -> BTreeSet<MemberId> {
    let events = world.people[1].events.iter();
    let said = events.filter_map(|event| match event {
        Event::Delivered { to, indexes, .. } if !indexes.is_empty() => Some(*to),
        _ => None,
    });
    said.collect()
}

#[test]
fn the_first_receipt_comes_at_once_and_later_ones_above_64_members_in_summaries_by_pages() {
    for (members, at_once) in [(64, true), (65, false)] {
        let mut world = crowd(members, 3);
        world.settle();
        let others = BTreeSet::from([world.id(0), world.id(2)]);
        world.say(1, "hello");
        world.pass(1_000);
        assert_eq!(receipts(&world), others, "the first confirms the first contact, at once");
        world.people[1].events.clear();
        world.say(1, "hello again");
        world.pass(1_000);
        assert_eq!(receipts(&world) == others, at_once, "{members} members");
        if at_once {
            continue;
        }
        world.pass(28_000);
        assert!(receipts(&world).is_empty(), "gathered for half a minute at least");
        world.pass(32_000);
        assert_eq!(receipts(&world), others, "and for a minute at most");

        // Of 65 chains read meanwhile each reader tells in two pages.
        for n in 0..65 {
            world.act(1, |group, cx| group.rotate(cx)).unwrap();
            world.say(1, &std::format!("{n}"));
            while world.deliver() {}
        }
        world.people[1].events.clear();
        let seen = world.seen.len();
        world.pass(61_000);
        assert_eq!(receipts(&world), others);
        let pages = world.seen[seen..].iter().filter(|it| it.by == 2).count();
        assert_eq!(pages, 2);
    }
}

#[test]
fn a_neighbour_that_floods_is_heard_so_often_and_no_more() {
    let mut world = World::with(3, false);
    world.link(0, 1);
    world.link(0, 2);
    world.settle();
    let (from, honest) = (world.id(1), world.id(2));
    let want = Want { ops_after: Some(vec![]), ..Want::default() };
    let frame = codec::encode(&Frame::Want(want));
    let before = world.framed;
    for _ in 0..40_000 {
        let person = &mut world.people[0];
        let cx = Cx { me: &person.me, now: world.now, rng: &mut world.rng };
        person.group.as_mut().unwrap().on_frame(cx, from, &frame).unwrap();
    }
    world.drain(0);
    assert!(world.framed - before <= 20_001, "{}", world.framed - before);
    let before = world.framed;
    world.act(0, |group, cx| group.on_frame(cx, honest, &frame)).unwrap();
    assert_eq!(world.framed, before + 1, "another is heard");
}

#[test]
fn an_old_question_that_somebody_repeats_is_not_answered_again() {
    let mut world = World::with(3, true);
    world.now = world.now.plus_ms(60_000);
    let want = Want { ops_after: Some(vec![]), at: Some(world.now), ..Want::default() };
    world.act(1, |group, mut cx| {
        let under = group.write_topics();
        group.publish_control(&mut cx, &Statement::Want(want.clone()), &under);
    });
    world.settle();
    let answered = world.published;
    // Another member seals the same signed question anew, so that it looks new.
    world.now = world.now.plus_ms(60_000);
    let control = wire::Control::sign(
        &world.member(0).id(),
        &Statement::Want(want),
        world.people[1].me.identity(),
    );
    world.act(2, |group, mut cx| {
        let under = group.write_topics();
        group.publish_signed(&mut cx, &control, &under);
    });
    world.settle();
    assert_eq!(world.published, answered + 1, "nothing but the repetition");
}
