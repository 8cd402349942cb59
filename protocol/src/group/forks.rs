//! Members who tell others different things, and what is withheld.

use alloc::{format, vec, vec::Vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    wire::{BundleWire, Indexes, Statement},
    world::World,
    *,
};
use crate::{
    bundle,
    chain::HeadRef,
    evidence::{Notice, Verdict},
    ids::{LogId, MessageId},
    membership::{Kind, Op},
};

fn alarms(world: &World, at: usize) -> Vec<Alarm> {
    let events = world.people[at].events.iter();
    events
        .filter_map(|event| if let Event::Alarm(alarm) = event { Some(*alarm) } else { None })
        .collect()
}

fn gaps(world: &World, at: usize) -> usize {
    let events = world.people[at].events.iter();
    events.filter(|event| matches!(event, Event::Gap { .. })).count()
}

/// What one who keeps two processes with one memory can do: the same chain twice.
fn twice(world: &mut World, at: usize, texts: [&str; 2]) -> [Vec<Vec<u8>>; 2] {
    let stored = world.people[at].me.save();
    let records = world.people[at].records.clone();
    texts.map(|text| {
        let mut rng = ChaCha20Rng::seed_from_u64(99);
        let me = Endpoint::load(&stored, &mut rng).unwrap();
        let mut group = Group::load(&me, records.clone(), world.now).unwrap();
        group.relays_up = true;
        let mut rng = ChaCha20Rng::seed_from_u64(98);
        group.send(Cx { me: &me, now: world.now, rng: &mut rng }, 0, text.as_bytes()).unwrap();
        let mut envelopes = Vec::new();
        while let Some(output) = group.poll() {
            if let Output::Publish { envelope, .. } = output {
                envelopes.push(envelope);
            }
        }
        envelopes
    })
}

fn hand(world: &mut World, to: usize, envelopes: &[Vec<u8>]) {
    for envelope in envelopes {
        let log = Source::Log(LogId([0; 20]));
        world.act(to, |group, cx| group.on_envelope(cx, log, envelope)).unwrap();
    }
}

#[test]
fn who_tells_two_halves_different_words_is_proven_to_all() {
    let mut world = World::with(5, true);
    let [yes, no] = twice(&mut world, 2, ["yes", "no"]);
    world.people[2].online = false;
    hand(&mut world, 0, &yes);
    hand(&mut world, 1, &no);
    world.settle();
    assert_eq!((world.heard(0), world.heard(1)), (vec!["yes".into()], vec!["no".into()]));
    assert!(alarms(&world, 0).is_empty());
    // One word between the two halves is enough; who read neither is told too.
    world.say(0, "did you hear?");
    world.settle();
    let liar = world.id(2);
    let id = world.member(0).id();
    for at in [0, 1, 3, 4] {
        assert_eq!(alarms(&world, at), [Alarm::Equivocation(liar)], "person {at}");
        let notices: Vec<_> = world.member(at).notices().collect();
        let [(finding, notice)] = notices[..] else { panic!("{notices:?}") };
        assert_eq!((finding.accused, finding.verdict), (liar, Verdict::Equivocation));
        // Anybody can check it, and it says nothing of the words.
        let bytes = notice.to_bytes();
        assert_eq!(Notice::from_bytes(&bytes).unwrap().verify(&id).unwrap(), *finding);
        assert!(!bytes.windows(3).any(|part| part == b"yes"));
    }
    // It outlives a restart, and is told once.
    world.restart(0);
    world.settle();
    assert_eq!(world.member(0).notices().count(), 1);
    assert_eq!(alarms(&world, 0).len(), 1);
}

#[test]
fn a_neighbour_tells_what_it_keeps_to_who_was_away() {
    let mut world = World::with(4, true);
    world.people[3].online = false;
    let [yes, no] = twice(&mut world, 2, ["yes", "no"]);
    hand(&mut world, 0, &yes);
    hand(&mut world, 1, &no);
    world.say(0, "did you hear?");
    world.settle();
    world.logs.values_mut().for_each(Vec::clear);
    world.relay = false;
    world.people[3].online = true;
    world.link(0, 3);
    world.settle();
    assert_eq!(alarms(&world, 3), [Alarm::Equivocation(world.id(2))]);
}

#[test]
fn two_sets_of_pages_for_one_bundle_are_proven() {
    let mut world = World::with(3, true);
    let seal = |world: &mut World, spoilt: bool| {
        let person = &world.people[2];
        let group = person.group.as_ref().unwrap();
        let roster = group.ops.resolve().roster(group.id);
        let mut pairs: Vec<_> = (0..2).map(|_| crate::pair::SendState::default()).collect();
        let others: Vec<MemberId> =
            roster.members().iter().filter(|it| **it != group.me).copied().collect();
        let prekey = |member: &MemberId| group.people.cards[member].card().prekey;
        let mut recipients: Vec<_> = others
            .iter()
            .zip(&mut pairs)
            .map(|(member, pair)| bundle::Recipient {
                // The other one's prekey: nobody opens that slot.
                prekey: prekey(if spoilt { &others[0] } else { member }),
                member: *member,
                kk: None,
                pair,
            })
            .collect();
        let terms = bundle::Terms {
            group: group.id,
            heads: group.ops.heads(),
            roster: roster.hash(),
            closing: None,
            topic: None,
            audit_head: [0; 16],
            now: world.now,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        bundle::seal(&person.me, terms, &mut recipients, &mut rng).bundle
    };
    let bundles = [seal(&mut world, false), seal(&mut world, true)];
    for bundle in bundles {
        world.act(2, |group, mut cx| {
            let under = group.write_topics();
            let pages = bundle.pages.into_iter().map(Into::into).collect();
            let wire = BundleWire { head: bundle.head.as_bytes().into(), pages };
            group.publish_control(&mut cx, &Statement::Bundle(wire), &under);
        });
    }
    world.settle();
    for at in [0, 1] {
        assert!(alarms(&world, at).contains(&Alarm::Equivocation(world.id(2))), "person {at}");
    }
}

#[test]
fn two_ops_with_one_number_of_one_run_are_proven() {
    let mut world = World::with(3, true);
    world.act(2, |group, mut cx| {
        for n in 0..2 {
            let kind = Kind::Refresh { topic_commit: None };
            let mut body = group.ops.next(group.me, kind, cx.now.plus_ms(n)).unwrap();
            body.incarnation = Some(cx.me.incarnation());
            let op = Op::sign(body, cx.me.identity());
            let under = group.write_topics();
            let ops = Statement::Ops(vec![Vec::from(op.as_bytes()).into()]);
            group.publish_control(&mut cx, &ops, &under);
        }
    });
    world.settle();
    for at in [0, 1] {
        assert_eq!(alarms(&world, at), [Alarm::Equivocation(world.id(2))], "person {at}");
    }
}

#[test]
fn a_message_that_does_not_follow_from_the_one_before_is_told() {
    let mut world = World::with(3, true);
    world.say(2, "one");
    world.settle();
    let broken = world.people[2].group.as_mut().unwrap();
    broken.sending.chain.as_mut().unwrap().last = Some(MessageId([9; 16]));
    world.say(2, "two");
    (0..4).for_each(|_| world.settle());
    let liar = world.id(2);
    for at in [0, 1] {
        assert_eq!(world.heard(at), ["one", "two"]);
        assert_eq!(alarms(&world, at), [Alarm::Contradiction { by: liar, about: liar }]);
    }
}

#[test]
fn who_lies_about_anothers_words_is_told_and_accuses_nobody() {
    let mut world = World::with(3, true);
    let said = world.say(0, "one");
    world.settle();
    let heads = &mut world.people[2].group.as_mut().unwrap().heads;
    heads.clear();
    heads.push_back(HeadRef { chain: said.chain, index: 0, id: MessageId([9; 16]) });
    world.say(2, "two");
    (0..4).for_each(|_| world.settle());
    let (liar, author) = (world.id(2), world.id(0));
    for at in [0, 1] {
        assert_eq!(alarms(&world, at), [Alarm::Contradiction { by: liar, about: author }]);
        assert_eq!(world.member(at).notices().count(), 0);
    }
}

#[test]
fn what_was_said_before_one_joined_is_no_gap() {
    let mut world = World::founded(3, true, 7);
    world.join(0, 1);
    world.settle();
    for n in 0..3 {
        world.say(n % 2, "before");
        world.settle();
    }
    world.join(0, 2);
    world.settle();
    world.say(1, "hello");
    world.say(0, "hello");
    (0..4).for_each(|_| world.settle());
    assert_eq!(world.heard(2), ["hello", "hello"]);
    assert_eq!((gaps(&world, 2), alarms(&world, 2)), (0, vec![]));
    assert!(world.member(2).gaps().is_empty() && world.member(2).witness.named.is_empty());
    assert!(world.member(2).receiving.wanted.is_empty());
}

#[test]
fn a_chain_that_is_withheld_whole_is_found_by_its_heads() {
    let mut world = World::with(3, true);
    let log = world.member(0).logs()[0].keys.id();
    let before = world.logs[&log].len();
    let said = world.say(0, "withheld");
    let held: Vec<_> = world.logs.get_mut(&log).unwrap().drain(before..).collect();
    // Person 2 gets it by another way; person 1 hears of it from what person 2 says.
    hand(&mut world, 2, &held);
    world.people[0].online = false;
    world.people[2].outbox.clear();
    world.say(2, "an answer");
    world.pass(4_000);
    assert_eq!(world.heard(1), ["an answer"]);
    let [gap] = world.member(1).gaps()[..] else { panic!("{:?}", world.member(1).gaps()) };
    assert_eq!((gap.from, gap.chain, gap.index), (world.id(0), said.chain, 0));
    assert_eq!((gap.cause, gap.state), (GapCause::Named(world.id(2)), GapState::Asked));
    // It is known after a restart, told once, and healed.
    world.restart(1);
    assert_eq!(world.member(1).gaps(), [gap]);
    world.settle();
    assert_eq!(gaps(&world, 1), 1);
    world.link(1, 2);
    world.settle();
    assert!(world.heard(1).contains(&"withheld".into()));
    assert!(world.member(1).gaps().is_empty());
    assert!(world.people[1].events.iter().any(|it| matches!(it, Event::Healed { .. })));
}

/// Says something that reaches nobody; gives the envelopes.
fn aside(world: &mut World, at: usize, text: &str) -> Vec<Vec<u8>> {
    world.people[at].online = false;
    world.people[at].outbox.clear();
    world.say(at, text);
    world.people[at].outbox.drain(..).map(|(_, envelope)| envelope).collect()
}

#[test]
fn what_others_named_first_is_its_writers_word_once_the_writer_goes_on() {
    let mut world = World::with(3, true);
    world.say(0, "one");
    world.say(2, "two");
    world.settle();
    let withheld = aside(&mut world, 0, "withheld");
    hand(&mut world, 2, &withheld);
    let answer = aside(&mut world, 2, "an answer");
    hand(&mut world, 1, &answer);
    world.pass(4_000);
    let cause = |world: &World| {
        let [gap] = world.member(1).gaps()[..] else { panic!("{:?}", world.member(1).gaps()) };
        gap.cause
    };
    assert_eq!(cause(&world), GapCause::Named(world.id(2)));
    assert!(!cause(&world).is_word_of(&world.id(0)));
    let next = aside(&mut world, 0, "the next");
    hand(&mut world, 1, &next);
    assert_eq!(cause(&world), GapCause::Skipped);
    // And what others say after that takes nothing back.
    let answer = aside(&mut world, 2, "another answer");
    hand(&mut world, 1, &answer);
    world.restart(1);
    assert_eq!(cause(&world), GapCause::Skipped);
}

#[test]
fn what_was_given_up_is_asked_for_again_once_its_writer_goes_on_and_says_that_it_is() {
    let mut world = World::with(3, true);
    world.say(0, "one");
    world.say(2, "two");
    world.settle();
    let withheld = aside(&mut world, 0, "withheld");
    hand(&mut world, 2, &withheld);
    let answer = aside(&mut world, 2, "an answer");
    hand(&mut world, 1, &answer);
    world.pass(70 * 60_000);
    assert_eq!(world.member(1).gaps()[0].state, GapState::GivenUp);
    world.people[1].events.clear();
    let next = aside(&mut world, 0, "the next");
    hand(&mut world, 1, &next);
    assert_eq!(world.member(1).gaps()[0].state, GapState::Asked);
    world.pass(5_000);
    let asks = |it: &Event| matches!(it, Event::Asking { everybody: true, .. });
    assert!(world.people[1].events.iter().any(asks));
    // Also where that is in vain it ends.
    world.pass(70 * 60_000);
    assert_eq!(world.member(1).gaps()[0].state, GapState::GivenUp);
    hand(&mut world, 1, &withheld);
    assert!(world.heard(1).contains(&"withheld".into()));
}

#[test]
fn a_gap_that_nobody_can_fill_is_given_up_after_an_hour_and_filled_all_the_same() {
    let mut world = World::with(2, true);
    world.say(0, "one");
    world.settle();
    world.say(0, "withheld");
    let log = *world.logs.iter().max_by_key(|(_, entries)| entries.len()).unwrap().0;
    let withheld = world.logs.get_mut(&log).unwrap().pop().unwrap();
    world.say(0, "three");
    world.deliver();
    world.people[0].online = false;
    world.pass(70 * 60_000);
    let given_up =
        world.people[1].events.iter().filter(|it| matches!(it, Event::Undeliverable { .. }));
    assert_eq!(given_up.count(), 1);
    assert_eq!(world.member(1).gaps()[0].state, GapState::GivenUp);
    hand(&mut world, 1, &[withheld]);
    assert!(world.member(1).gaps().is_empty());
    assert!(world.heard(1).contains(&"withheld".into()));
}

/// Person 1 reads every other one of so many messages, so often; how many gaps it was told of by then, as often as that
/// changes, and whether it had asked before it was told.
fn told_in_a_burst(world: &mut World, messages: usize, every: u64) -> (Vec<usize>, bool) {
    world.say(0, "one");
    world.settle();
    let burst: Vec<_> = (0..messages).map(|n| aside(world, 0, &format!("word {n}"))).collect();
    let (mut told, mut early) = (vec![0], false);
    for shown in burst.iter().skip(1).step_by(2) {
        hand(world, 1, shown);
        for _ in 0..every / 100 {
            world.pass(100);
            told.push(gaps(world, 1));
            let asks = |it: &Event| matches!(it, Event::Asking { everybody: true, .. });
            early |= told.ends_with(&[0]) && world.people[1].events.iter().any(asks);
        }
    }
    told.dedup();
    (told, early)
}

#[test]
fn what_a_burst_lacks_is_asked_for_at_once_and_told_and_given_up_together() {
    let mut world = World::with(2, true);
    let (told, early) = told_in_a_burst(&mut world, 10, 500);
    assert_eq!((told, early), (vec![0], true), "asked for while more is found");
    world.pass(2_000);
    assert_eq!(gaps(&world, 1), 5);
    assert_eq!(world.member(1).gaps().len(), 5);
    let given_up = |world: &World| {
        let gaps = world.member(1).gaps().into_iter();
        gaps.filter(|gap| gap.state == GapState::GivenUp).count()
    };
    world.pass(50 * 60_000);
    let mut all = vec![given_up(&world)];
    for _ in 0..20 * 60 {
        world.pass(1_000);
        all.push(given_up(&world));
    }
    all.dedup();
    assert_eq!(all, [0, 5]);
}

#[test]
fn what_is_told_together_and_is_seconds_apart_is_given_up_together() {
    let mut world = World::with(2, true);
    // Told after ten seconds: the first has waited for ten then, and the last for one and a half.
    let (told, _) = told_in_a_burst(&mut world, 20, 1_000);
    world.pass(3_000);
    assert_eq!((told, gaps(&world, 1)), (vec![0], 10));
    let mut all = Vec::new();
    for _ in 0..70 * 60 {
        world.pass(1_000);
        let gaps = world.member(1).gaps().into_iter();
        all.push(gaps.filter(|gap| gap.state == GapState::GivenUp).count());
    }
    all.dedup();
    assert_eq!(all, [0, 10]);
}

#[test]
fn what_is_found_long_after_another_is_not_given_up_with_it() {
    let mut world = World::with(2, true);
    world.say(0, "one");
    world.settle();
    let words: Vec<_> = (0..4).map(|n| aside(&mut world, 0, &format!("word {n}"))).collect();
    for shown in words.iter().skip(1).step_by(2) {
        hand(&mut world, 1, shown);
        world.pass(5 * 60_000);
    }
    let given_up = |world: &World| {
        let gaps = world.member(1).gaps().into_iter();
        gaps.filter(|gap| gap.state == GapState::GivenUp).count()
    };
    let mut all = Vec::new();
    for _ in 0..70 * 60 {
        world.pass(1_000);
        all.push(given_up(&world));
    }
    all.dedup();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn where_some_comes_while_more_is_asked_for_that_is_told_with_it() {
    let mut world = World::with(2, true);
    world.say(0, "one");
    world.settle();
    let words: Vec<_> = (0..8).map(|n| aside(&mut world, 0, &format!("word {n}"))).collect();
    hand(&mut world, 1, &words[1]);
    world.pass(2_000);
    assert_eq!(gaps(&world, 1), 1);
    for shown in [3, 5, 7] {
        hand(&mut world, 1, &words[shown]);
        world.pass(700);
    }
    assert_eq!(gaps(&world, 1), 1, "more may be found any moment");
    world.people[1].events.clear();
    hand(&mut world, 1, &words[0]);
    let told: Vec<u32> = world.member(1).gaps().iter().map(|gap| gap.index).collect();
    let (from, events) = (world.id(0), &world.people[1].events);
    assert!(events.iter().any(|it| matches!(it, Event::Healed { .. })));
    let also: Vec<u32> = events
        .iter()
        .filter_map(|it| match it {
            Event::Gap { from: of, index, .. } if *of == from => Some(*index),
            _ => None,
        })
        .collect();
    assert_eq!(also, told, "what is asked for by then is told, and no more");
    assert_eq!(told.len(), 1);
    assert!(events.iter().any(|it| matches!(it, Event::Asking { everybody: true, .. })));
}

#[test]
fn what_a_burst_without_an_end_lacks_is_told_every_ten_seconds() {
    let mut world = World::with(2, true);
    let (told, early) = told_in_a_burst(&mut world, 50, 1_000);
    assert!(early && (3..=4).contains(&told.len()), "{told:?}");
}

#[test]
fn summaries_tell_delivery_and_gaps_without_receipts() {
    let mut world = World::with(3, true);
    let said = world.say(0, "one");
    world.say(0, "two");
    world.settle();
    world.people[0].events.clear();
    let indexes = Indexes { chain: said.chain, indexes: vec![0, 1] };
    world.act(1, |group, mut cx| {
        let under = group.write_topics();
        group.tell_reads(&mut cx, &[indexes], &under);
    });
    world.settle();
    let to = world.id(1);
    let delivered = Event::Delivered { to, chain: said.chain, indexes: vec![0, 1] };
    assert!(world.people[0].events.contains(&delivered));
    // What somebody has read and another has not is a gap there.
    let log = *world.logs.iter().max_by_key(|(_, entries)| entries.len()).unwrap().0;
    world.say(0, "three");
    let last = world.logs.get_mut(&log).unwrap().pop().unwrap();
    hand(&mut world, 1, &[last]);
    let indexes = Indexes { chain: said.chain, indexes: vec![2] };
    world.people[0].online = false;
    world.act(1, |group, mut cx| {
        let under = group.write_topics();
        group.tell_reads(&mut cx, &[indexes], &under);
    });
    world.pass(4_000);
    let [gap] = world.member(2).gaps()[..] else { panic!("{:?}", world.member(2).gaps()) };
    assert_eq!((gap.index, gap.cause), (2, GapCause::Read(to)));
}

#[test]
fn a_view_is_adopted_by_those_who_send_under_it() {
    let mut world = World::with(4, true);
    let under = |world: &World, at: usize| world.member(at).adopted().under.len();
    for at in 0..4 {
        world.say(at, "hello");
        world.settle();
    }
    assert!((0..4).all(|at| under(&world, at) == 4));
    let removed = world.id(3);
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.settle();
    assert_eq!(world.member(0).adopted().under, [world.id(0)]);
    assert_eq!(world.member(1).adopted().waiting, [world.id(2)].to_vec());
    world.say(1, "hello");
    world.say(2, "hello");
    world.settle();
    assert!(
        (0..3).all(|at| under(&world, at) == 3 && world.member(at).adopted().waiting.is_empty())
    );
}

#[test]
fn what_one_member_can_make_others_keep_is_bounded() {
    let mut world = World::with(2, true);
    let liar = world.id(1);
    world.say(1, "one");
    world.settle();
    world.act(0, |group, cx| {
        for n in 0..6000u32 {
            let chain =
                ChainId([n.to_be_bytes(), [1; 4], [2; 4], [3; 4]].concat().try_into().unwrap());
            group.named(cx.now, liar, HeadRef { chain, index: 3, id: MessageId([1; 16]) });
        }
    });
    assert!(world.member(0).witness.named.len() <= 4096);
}

#[test]
fn who_is_retired_beside_an_op_of_its_own_is_taken_for_no_clone() {
    let mut world = World::with(3, true);
    let lost = world.id(1);
    let key = world.people[1].me.recovery().unwrap().clone();
    world.people[1].online = false;
    world.act(1, |group, cx| group.rotate(cx)).unwrap();
    assert_eq!(world.act(0, |group, cx| group.retire(cx, &key)), Ok(lost));
    world.settle();
    world.people[1].online = true;
    world.settle();
    for at in [0, 2] {
        let numbers = world.member(at).ops.iter().filter(|op| op.author() == lost);
        let numbers: Vec<u32> = numbers.map(|op| op.body().seq).collect();
        assert!(numbers.len() == 2 && numbers[0] == numbers[1], "{numbers:?}");
        assert_eq!(alarms(&world, at), []);
    }
}
