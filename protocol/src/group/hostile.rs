//! What chance, a relay or a hostile member can do to a group, and how far it gets.

use alloc::{format, vec, vec::Vec};

use super::{
    wire::{Frame, Statement, Summary, Want},
    world::World,
    *,
};
use crate::{
    codec,
    ids::{LogId, OpId},
    limits::{OP_DEPS, OPS_OUTSIDE_OF_ONE},
    membership::{Body, Kind, Op},
};

/// Time enough for what is asked for again and again.
fn settle_long(world: &mut World) {
    (0..9).for_each(|_| world.settle());
}

/// A member signs many ops side by side.
fn fork(world: &mut World, at: usize, ops: u64) {
    world.act(at, |group, mut cx| {
        let forked = (0..ops).map(|n| {
            let kind = Kind::Refresh { topic_commit: None };
            let body = group.ops.next(group.me, kind, cx.now.plus_ms(n)).unwrap();
            Vec::from(Op::sign(body, cx.me.identity()).as_bytes()).into()
        });
        let statement = Statement::Ops(forked.collect());
        let under = group.write_topics();
        group.publish_control(&mut cx, &statement, &under);
    });
    // It takes its own words for known.
    let log = world.member(at).logs()[0].keys.id();
    let entry = world.logs[&log].last().unwrap().clone();
    world.act(at, |group, _| group.gossip = crate::gossip::Gossip::default());
    let _ = world.act(at, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
}

#[test]
fn more_heads_than_a_bundle_can_name_silence_nobody() {
    let mut world = World::with(3, true);
    fork(&mut world, 1, OP_DEPS as u64 + 4);
    world.settle();
    assert!(world.member(0).ops.heads().len() > OP_DEPS);
    world.say(0, "one");
    world.settle();
    world.say(2, "two");
    world.settle();
    assert_eq!(world.heard(1), ["one", "two"]);
    assert_eq!(world.heard(2), ["one"]);
}

#[test]
fn a_verb_that_is_refused_joins_no_heads() {
    let mut world = World::with(3, true);
    fork(&mut world, 1, OP_DEPS as u64 + 4);
    world.settle();
    let founder = world.id(0);
    let before = world.people[2].records.clone();
    assert!(world.attempt(2, |group, cx| group.remove(cx, founder)).is_err());
    assert!(world.attempt(2, |group, cx| group.promote(cx, founder)).is_err());
    assert_eq!(world.people[2].records, before);
}

#[test]
fn who_was_away_for_many_chains_misses_none() {
    for relay in [true, false] {
        let mut world = World::with(3, relay);
        world.link(0, 2);
        world.settle();
        world.people[1].online = false;
        let texts: Vec<String> = (0..12).map(|n| format!("{n}")).collect();
        for text in &texts {
            world.act(0, Group::rotate).unwrap();
            world.say(0, text);
            world.now = world.now.plus_ms(1_000);
        }
        world.people[1].online = true;
        if !relay {
            world.link(0, 1);
        }
        world.settle();
        assert_eq!(world.heard(1), texts, "relay: {relay}");
        world.act(0, Group::rotate).unwrap();
        world.settle();
        let open = world.member(1).receiving.chains.values();
        let open = open.filter(|entry| matches!(entry.state, ChainState::Open(_))).count();
        assert!(open <= 8, "{open} chains are open");
    }
}

#[test]
fn who_comes_back_reads_nothing_that_is_older_than_its_return() {
    let mut world = World::with(3, true);
    world.link(0, 1);
    world.link(0, 2);
    world.say(0, "before");
    world.settle();
    let away = world.id(2);
    world.act(0, |group, cx| group.remove(cx, away)).unwrap();
    world.settle();
    world.say(1, "between");
    world.settle();
    world.join(0, 2);
    world.cut(0, 2);
    world.link(0, 2);
    settle_long(&mut world);
    world.say(1, "after");
    settle_long(&mut world);
    assert_eq!(world.heard(2), ["before", "after"]);
    let alarms = world.people[2].events.iter().filter(|event| matches!(event, Event::Alarm(_)));
    assert_eq!(alarms.count(), 0);
}

#[test]
fn who_is_back_before_it_was_missed_is_sealed_to_anew() {
    let mut world = World::with(3, true);
    world.say(1, "before");
    world.settle();
    world.people[1].online = false;
    let back = world.id(2);
    world.act(0, |group, cx| group.remove(cx, back)).unwrap();
    world.settle();
    world.join(0, 2);
    world.settle();
    // It hears of both at once: the roster is what it was.
    world.people[1].online = true;
    world.settle();
    world.say(1, "after");
    world.settle();
    assert_eq!(world.heard(2), ["before", "after"]);
    assert!(!world.people[2].events.iter().any(|event| matches!(event, Event::Alarm(_))));
}

#[test]
fn who_stays_by_a_grant_beside_its_removal_is_sealed_to_anew_by_who_never_missed_it() {
    let mut world = World::with(5, true);
    let [senior, junior, removed] = [1, 3, 2].map(|at| world.id(at));
    for admin in [senior, junior] {
        world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
    }
    world.settle();
    world.say(4, "before");
    world.settle();
    world.say(2, "and back");
    world.settle();
    for apart in [2, 3] {
        world.people[apart].reach = false;
    }
    world.link(2, 3);
    world.act(3, |group, cx| group.remove(cx, removed)).unwrap();
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Removed);
    // Whom the senior one promotes is senior to the junior one, beside whose removal it stays.
    world.act(1, |group, cx| group.promote(cx, removed)).unwrap();
    world.settle();
    for apart in [2, 3] {
        world.people[apart].reach = true;
    }
    world.settle();
    assert_eq!(world.member(2).state(), GroupState::Active);
    let missed = |event: &Event| matches!(event, Event::Removed { .. });
    assert!(!world.people[4].events.iter().any(missed));
    world.say(4, "after");
    world.settle();
    assert_eq!(world.heard(2), ["before", "after"]);
    assert!(!world.people[2].events.iter().any(|event| matches!(event, Event::Alarm(_))));
}

#[test]
fn a_newcomer_soon_knows_that_older_chains_are_not_for_it() {
    let mut world = World::with(4, true);
    let removed = world.id(2);
    // The bundle lies on the old log, the message on the new one.
    world.people[3].group = None;
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.say(0, "not for newcomers");
    let third = world.id(3);
    world.act(0, |group, cx| group.remove(cx, third)).unwrap();
    world.say(0, "nor is this");
    world.settle();
    world.join(0, 3);
    settle_long(&mut world);
    assert!(world.member(3).receiving.parked.is_empty());
    let alarms = world.people[3].events.iter().filter(|event| matches!(event, Event::Alarm(_)));
    assert_eq!(alarms.count(), 0);
    assert_eq!(world.heard(3), Vec::<String>::new());
}

/// The first removes somebody; the relay loses what it said after the op itself.
fn lose_the_topic(world: &mut World, gone: usize) -> LogId {
    let log = world.member(0).logs()[0].keys.id();
    let gone = world.id(gone);
    let before: Vec<_> = world.logs.iter().map(|(log, it)| (*log, it.len())).collect();
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    world.logs.get_mut(&log).unwrap().pop();
    for (inbox, entries) in before.into_iter().filter(|(other, _)| *other != log) {
        world.logs.get_mut(&inbox).unwrap().truncate(entries);
    }
    log
}

#[test]
fn a_topic_whose_only_holder_is_gone_is_replaced() {
    let mut world = World::with(4, true);
    lose_the_topic(&mut world, 3);
    world.people[0].online = false;
    world.deliver();
    assert_eq!(world.member(1).ready(world.now), Err(NotReady::NoTopic));
    settle_long(&mut world);
    world.say(1, "we go on");
    world.settle();
    assert_eq!(world.heard(2), ["we go on"]);
    world.people[0].online = true;
    settle_long(&mut world);
    assert_eq!(world.heard(0), ["we go on"]);
    assert_eq!(world.member(0).fingerprint(), world.member(1).fingerprint());
    assert_eq!(world.heard(3), Vec::<String>::new());
}

#[test]
fn a_topic_that_one_member_lacks_is_handed_over_on_the_log() {
    let mut world = World::with(4, true);
    let log = world.member(0).logs()[0].keys.id();
    let gone = world.id(3);
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    // The relay shows one member the op and hides the keys.
    let end = world.logs[&log].len();
    world.people[1].online = false;
    world.deliver();
    world.people[0].online = false;
    world.people[1].online = true;
    let read = world.people[1].read[&log];
    while world.people[1].read[&log] < end - 1 {
        world.read(1, log, None);
    }
    assert!(read < end);
    world.read(1, log, Some(crate::sim::Trick::Hide));
    let ops = world.member(2).ops.iter().count();
    settle_long(&mut world);
    assert!(!world.member(1).lacks_topics());
    assert_eq!(world.member(1).ops.iter().count(), ops, "no other topic was begun");
    world.say(2, "one");
    world.settle();
    assert_eq!(world.heard(1), ["one"]);
}

#[test]
fn a_question_to_everybody_is_answered_by_one() {
    let mut world = World::with(6, true);
    settle_long(&mut world);
    let before = world.published;
    let want = wire::Want { ops_after: Some(vec![]), ..wire::Want::default() };
    world.act(1, |group, mut cx| {
        let under = group.write_topics();
        group.publish_control(&mut cx, &Statement::Want(want), &under);
    });
    settle_long(&mut world);
    assert_eq!(world.published - before, 2, "the question and one answer");
}

#[test]
fn questions_on_a_channel_cost_a_bounded_answer() {
    let mut world = World::with(2, true);
    world.link(0, 1);
    world.settle();
    let (before, from) = (world.framed, world.id(1));
    let hello = codec::encode(&Frame::Hello);
    let chain = |n: u32| wire::ChainSummary {
        chain: world.member(0).receiving.chains.keys().next().copied().unwrap_or(ChainId([9; 16])),
        next: n,
        missing: (0..256).collect(),
    };
    let summary = Frame::Summary(Summary {
        heads: vec![],
        chains: (0..40).map(chain).collect(),
        cards: vec![],
        last: false,
    });
    let summary = codec::encode(&summary);
    for _ in 0..50 {
        world.act(0, |group, cx| group.on_frame(cx, from, &hello)).unwrap();
        world.act(0, |group, cx| group.on_frame(cx, from, &summary)).unwrap();
    }
    assert!(world.framed - before <= 2, "{} frames", world.framed - before);
}

/// An op that only a changed program signs.
fn signed(world: &World, by: usize, kind: Kind, deps: Vec<OpId>, cap: Option<OpId>) -> Op {
    let body = Body {
        group: Some(world.member(0).id()),
        author: world.id(by),
        seq: 800,
        deps,
        cap,
        at: world.now,
        kind,
        incarnation: None,
    };
    Op::sign(body, world.people[by].me.identity())
}

/// The last grant of somebody.
fn grant_of(world: &World, who: usize) -> OpId {
    let grants = |op: &&Op| {
        let grants = matches!(op.body().kind, Kind::Admit { .. } | Kind::Promote { .. });
        grants && op.subject() == Some(world.id(who))
    };
    world.member(0).ops.iter().filter(grants).last().unwrap().id()
}

#[test]
fn a_group_with_a_stored_op_that_is_refused_now_is_taken_up_without_it() {
    let mut world = World::with(3, true);
    let grant = grant_of(&world, 2);
    let other = |deps, cap| signed(&world, 2, Kind::Other { kind: 77, args: vec![1] }, deps, cap);
    let refused = other(vec![grant], Some(OpId(world.member(0).id().0)));
    let follows = other(vec![refused.id()], None);
    let fine = other(vec![grant], None);
    let mut records = world.people[0].records.clone();
    for op in [&refused, &follows, &fine] {
        let key = super::records::Key::Op(op.id()).to_bytes();
        records.insert(key.to_vec(), op.as_bytes().into());
    }
    let loaded = Group::load(&world.people[0].me, records.clone(), world.now).unwrap();
    assert!(loaded.ops.contains(&fine.id()));
    assert!(!loaded.ops.contains(&refused.id()) && !loaded.ops.contains(&follows.id()));
    assert_eq!(loaded.ops.iter().count(), world.member(0).ops.iter().count() + 1);
    // One that is missing is damage all the same.
    let hanging = other(vec![OpId([7; 32])], None);
    let key = super::records::Key::Op(hanging.id()).to_bytes();
    records.insert(key.to_vec(), hanging.as_bytes().into());
    assert!(Group::load(&world.people[0].me, records, world.now).is_err());
    // And whatever order both came in, all have the same.
    let [x, o] = [
        signed(&world, 2, Kind::Refresh { topic_commit: None }, vec![grant], Some(grant)),
        refused,
    ];
    for (at, order) in [(0, [&x, &o]), (1, [&o, &x])] {
        let ops = order.map(Op::as_bytes);
        world.act(at, |group, mut cx| drop(group.take_ops(&mut cx, ops)));
    }
    assert_eq!(world.member(0).ops.heads(), world.member(1).ops.heads());
}

#[test]
fn an_admission_that_counts_for_nothing_takes_nobodys_ratchet_away() {
    let mut world = World::with(4, true);
    let (second, third) = (world.id(1), world.id(2));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    for text in ["one", "two"] {
        (0..4).for_each(|at| drop(world.say(at, text)));
        world.settle();
    }
    let promotion = grant_of(&world, 1);
    world.act(0, |group, cx| group.remove(cx, second)).unwrap();
    world.settle();
    world.say(0, "sealed anew");
    world.settle();
    assert!(world.member(0).sending.pairs.contains_key(&third));
    let admit = Kind::Admit {
        card: world.member(0).people.cards[&third].as_bytes().into(),
        invite: None,
        proof: crate::sign::Signature([0; 64]),
        handshake: [0; 32],
        use_no: 0,
    };
    let op = signed(&world, 1, admit, vec![promotion], Some(promotion));
    world.act(0, |group, mut cx| drop(group.take_ops(&mut cx, [op.as_bytes()])));
    assert!(world.member(0).ops.resolve().void.contains(&op.id()));
    assert!(world.member(0).sending.pairs.contains_key(&third));
}

#[test]
fn a_removed_member_who_floods_the_old_log_keeps_nobody_from_anything() {
    let mut world = World::with(3, true);
    let who = world.id(2);
    world.act(0, |group, cx| group.remove(cx, who)).unwrap();
    world.settle();
    let grant = grant_of(&world, 2);
    let before = world.member(0).ops.iter().count();
    for part in 0..10 {
        let ops = (0..60).map(|_| {
            world.now = world.now.plus_ms(1);
            let kind = Kind::Refresh { topic_commit: None };
            let op = signed(&world, 2, kind, vec![grant], Some(grant));
            Vec::from(op.as_bytes()).into()
        });
        let ops = ops.collect();
        // Nobody reads all of it, nor in one order.
        world.people[part % 2].online = false;
        world.act(2, |group, mut cx| {
            let under: Vec<_> = group.topics.commits().collect();
            group.publish_control(&mut cx, &Statement::Ops(ops), &under);
        });
        world.settle();
        world.people[part % 2].online = true;
    }
    settle_long(&mut world);
    for at in [0, 1] {
        let more = world.member(at).ops.iter().count() - before;
        assert_eq!(more, OPS_OUTSIDE_OF_ONE);
    }
    world.say(0, "heard");
    settle_long(&mut world);
    world.say(1, "so is this");
    settle_long(&mut world);
    assert_eq!(world.heard(1).last().map(|text| &**text), Some("heard"));
    assert_eq!(world.heard(0).last().map(|text| &**text), Some("so is this"));
    assert_eq!(world.member(0).fingerprint(), world.member(1).fingerprint());
    assert!(world.member(0).ops.iter().count() - before < 3 * OPS_OUTSIDE_OF_ONE);
}

#[test]
fn who_asks_for_everything_again_and_again_is_answered_within_bounds() {
    let mut world = World::with(2, true);
    (0..40).for_each(|_| world.act(0, Group::rotate).unwrap());
    world.link(0, 1);
    world.settle();
    let from = world.id(1);
    let want = Want { ops_after: Some(vec![]), topics: true, ..Want::default() };
    let want = codec::encode(&Frame::Want(want));
    let mut answers = |times: usize| {
        let before = world.framed;
        for _ in 0..times {
            world.act(0, |group, cx| group.on_frame(cx, from, &want)).unwrap();
        }
        let answers = world.framed - before;
        world.now = world.now.plus_ms(1_000);
        answers
    };
    let one = answers(1);
    assert!(one >= 2, "ops and topics");
    assert!(answers(1_000) <= 65 + one);
    for _ in 0..5 {
        let again = answers(1_000);
        assert!((1..=100 + one).contains(&again), "{again} frames a second later");
    }
}

#[test]
fn members_who_were_given_different_ops_by_a_removed_one_read_each_other() {
    for relay in [true, false] {
        let mut world = World::with(3, true);
        world.reachable = relay;
        world.link(0, 1);
        let who = world.id(2);
        world.act(0, |group, cx| group.remove(cx, who)).unwrap();
        world.settle();
        let grant = grant_of(&world, 2);
        for at in [0, 1] {
            let mut last = grant;
            // One after another: each set has one head more.
            for _ in 0..2 * OPS_OUTSIDE_OF_ONE {
                world.now = world.now.plus_ms(1);
                let kind = Kind::Refresh { topic_commit: None };
                let op = signed(&world, 2, kind, vec![last], Some(grant));
                last = op.id();
                world.act(at, |group, mut cx| drop(group.take_ops(&mut cx, [op.as_bytes()])));
            }
        }
        settle_long(&mut world);
        assert_ne!(world.member(0).ops.heads(), world.member(1).ops.heads());
        for (from, to) in [(0, 1), (1, 0)] {
            world.act(from, |group, mut cx| {
                let under = group.write_topics();
                group.rotate_chain(&mut cx, crate::audit::RotationReason::Refresh, None, &under);
            });
            world.say(from, "under other heads");
            settle_long(&mut world);
            assert_eq!(world.heard(to).len(), 1, "{to} reads {from}");
        }
        assert_eq!(world.member(0).ops.heads(), world.member(1).ops.heads());
    }
}
