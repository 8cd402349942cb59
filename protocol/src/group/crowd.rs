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
    for at in 1..bodies {
        world.welcome(0, at, &welcome);
    }
    world
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
