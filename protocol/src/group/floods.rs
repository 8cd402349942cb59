//! Members and strangers who fill what a node remembers: whose part of it they fill.

use alloc::{format, vec};

use super::{
    control::Said,
    wire::{BundleWire, ReadTo, Statement},
    world::World,
    *,
};
use crate::{
    bundle,
    bundle::SignedHead,
    endpoint::Endpoint,
    ids::{OpId, RosterHash},
};

/// Somebody says that it has read all of each chain that another can read.
fn claim_everything(world: &mut World, by: usize, at: usize, but: Option<ChainId>) {
    let chains = world.member(at).receiving.chains.iter();
    let open = chains.filter(|(_, entry)| matches!(entry.state, ChainState::Open(_)));
    let open = open.map(|(chain, _)| *chain).filter(|chain| Some(*chain) != but);
    let reads = open
        .map(|chain| ReadTo { chain, first: 0, next: 256, last: None, missing: vec![] })
        .collect();
    world.act(by, |group, mut cx| {
        let under = group.write_topics();
        group.publish_control(&mut cx, &Statement::Reads(reads), &under);
    });
    world.settle();
}

#[test]
fn a_member_that_claims_thousands_of_messages_hides_no_gap() {
    let mut world = World::with(5, true);
    for at in [0, 2, 3, 4] {
        for _ in 0..8 {
            world.act(at, Group::rotate).unwrap();
            world.say(at, "x");
            world.settle();
        }
    }
    claim_everything(&mut world, 4, 1, None);
    world.act(0, Group::rotate).unwrap();
    world.settle();
    let newest = world.member(0).sending.chain.as_ref().unwrap().id();
    claim_everything(&mut world, 4, 1, Some(newest));
    assert!(world.member(1).gaps.len() > 3_000, "{}", world.member(1).gaps.len());
    let first = world.act(0, |group, cx| {
        let sent = group.send(cx, 0, b"withheld").unwrap();
        while group.poll().is_some() {}
        sent
    });
    world.say(0, "shown");
    world.settle();
    world.pass(60_000);
    assert!(
        world.member(1).gaps().iter().any(|it| it.chain == first.chain && it.index == first.index)
    );
}

/// A head that nothing here can judge, whose chain's id begins so.
fn head(world: &mut World, by: &Endpoint, op: u8, high: bool) -> SignedHead {
    loop {
        let terms = bundle::Terms {
            group: world.member(0).id(),
            heads: vec![OpId([op; 32])],
            roster: RosterHash([0; 32]),
            closing: None,
            topic: None,
            audit_head: [0; 16],
            now: world.now,
        };
        let sealed = bundle::seal(by, terms, &mut [], &mut world.rng);
        if (sealed.bundle.head.chain().0[0] >= 0xf0) == high {
            return sealed.bundle.head;
        }
    }
}

#[test]
fn strangers_who_hold_a_topic_displace_no_bundle_of_a_members() {
    let mut world = World::with(2, true);
    let stranger = Endpoint::generate("x", vec![], &mut world.rng).unwrap();
    let hostile: Vec<_> = (0..64).map(|n| head(&mut world, &stranger, n, true)).collect();
    let member = Endpoint::clone(&world.people[1].me);
    let honest = head(&mut world, &member, 0xee, false);
    let said = Said { from: world.id(1), topic: world.member(0).write_topics()[0] };
    world.act(0, |group, mut cx| {
        let mut take = |head: &SignedHead| {
            let wire = BundleWire { head: head.as_bytes().into(), pages: vec![] };
            group.take_statement(&mut cx, said, Statement::Bundle(wire));
        };
        take(&honest);
        hostile.iter().for_each(&mut take);
        let held = &group.receiving.held;
        assert!(held.contains_key(&honest.chain()));
        assert_eq!(held.len(), 33);
        assert!(held.contains_key(&hostile[63].chain()) && !held.contains_key(&hostile[0].chain()));
    });
}

#[test]
fn who_was_removed_displaces_no_bundle_of_somebody_who_left() {
    let mut world = World::with(4, true);
    let gone = world.id(3);
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    world.settle();
    world.act(2, |group, cx| group.leave(cx)).unwrap();
    world.settle();
    let [left, removed] = [2, 3].map(|at| Endpoint::clone(&world.people[at].me));
    let honest = head(&mut world, &left, 0xee, false);
    let hostile: Vec<_> = (0..0xe0).map(|n| head(&mut world, &removed, n, true)).collect();
    let names: Vec<_> = (0..64u8)
        .map(|n| {
            let made_up = Endpoint::generate("x", vec![], &mut world.rng).unwrap();
            head(&mut world, &made_up, n, true)
        })
        .collect();
    let said = Said { from: world.id(1), topic: world.member(0).write_topics()[0] };
    world.act(0, |group, mut cx| {
        let mut take = |head: &SignedHead| {
            let wire = BundleWire { head: head.as_bytes().into(), pages: vec![] };
            group.take_statement(&mut cx, said, Statement::Bundle(wire));
        };
        take(&honest);
        hostile.iter().chain(&names).chain(&hostile).for_each(&mut take);
        let held = &group.receiving.held;
        assert!(held.contains_key(&honest.chain()));
        assert!(held.len() <= 256);
    });
}

#[test]
fn a_bundle_with_one_slot_too_many_is_told_of_and_not_waited_for() {
    let mut world = World::with(4, true);
    let (hidden, sender) = (world.id(3), world.id(2));
    world.act(0, |group, cx| group.remove(cx, hidden)).unwrap();
    world.settle();
    let chain = world.act(2, |group, cx| group.seal_to_one_more(cx, hidden)).unwrap();
    world.settle();
    world.pass(60_000);
    let group = world.member(0);
    assert!(!group.receiving.held.contains_key(&chain));
    assert!(!group.receiving.wanted.contains_key(&chain));
    assert!(matches!(group.receiving.chains[&chain].state, ChainState::Failed));
    assert!(world.people[0].events.contains(&Event::Alarm(Alarm::SlotFailed(sender))));
}

#[test]
fn an_admin_that_promotes_somebody_who_never_came_silences_nobody() {
    let mut world = World::with(4, true);
    let (admin, stranger) = (world.id(1), MemberId([0x2b; 32]));
    world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
    world.settle();
    let member = stranger;
    world
        .act(1, |group, cx| group.backdate(cx, crate::membership::Kind::Promote { member }))
        .unwrap();
    world.settle();
    assert!(world.member(0).is_member(&stranger));
    for at in [0, 2, 3] {
        world.say(at, &format!("by {at}"));
        world.settle();
    }
    for at in [0, 2, 3] {
        let heard = world.heard(at).len();
        assert_eq!(heard, 2, "{at}: {:?}", world.heard(at));
    }
    world.act(0, |group, cx| group.remove(cx, stranger)).unwrap();
    world.settle();
    assert!(!world.member(2).is_member(&stranger));
}
