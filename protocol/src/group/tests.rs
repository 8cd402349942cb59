//! What members of a group do with one another, without a network.

use alloc::{format, vec};

use super::{world::World, *};
use crate::{ids::LogId, invite::InviteSecret};

#[test]
fn members_converse_through_the_relay() {
    let mut world = World::with(3, true);
    world.say(0, "one");
    world.settle();
    world.say(1, "two");
    world.settle();
    world.say(2, "three");
    world.settle();
    assert_eq!(world.heard(0), ["two", "three"]);
    assert_eq!(world.heard(1), ["one", "three"]);
    assert_eq!(world.heard(2), ["one", "two"]);
    assert_eq!(world.member(0).fingerprint(), world.member(2).fingerprint());
}

#[test]
fn members_converse_over_channels_alone() {
    let mut world = World::with(3, false);
    world.link(0, 1);
    world.link(1, 2);
    world.settle();
    world.say(0, "one");
    world.say(2, "two");
    world.settle();
    assert_eq!(world.heard(0), ["two"]);
    assert_eq!(world.heard(1), ["one", "two"]);
    assert_eq!(world.heard(2), ["one"]);
}

#[test]
fn a_member_that_is_met_says_where_it_is_though_it_told_nobody_before() {
    let mut world = World::with(2, false);
    let address = vec![Vec::from(b"an address".as_slice())];
    world.act(1, |group, cx| group.present(cx, address.clone()));
    world.settle();
    let known = |world: &World| {
        let members = world.member(0).members();
        members.into_iter().find(|member| member.id == world.id(1)).unwrap().addresses
    };
    assert!(known(&world).is_empty());
    world.link(0, 1);
    world.settle();
    world.cut(0, 1);
    world.restart(0);
    assert_eq!(known(&world), address);
}

#[test]
fn a_member_taken_in_with_its_first_frame_is_asked_again_every_five_minutes() {
    let mut world = World::founded(3, true, 3);
    world.join(0, 1);
    world.settle();
    world.join(0, 2);
    // Its channel is up before it is known.
    world.link(1, 2);
    world.settle();
    world.reachable = false;
    (0..3).for_each(|at| world.lose_relay(at));
    world.say(2, "lost on the way");
    world.frames.clear();
    world.settle();
    assert!(world.heard(1).is_empty());
    world.pass(6 * 60 * 1000);
    assert_eq!(world.heard(1), ["lost on the way"]);
}

#[test]
fn each_message_is_delivered_once_by_both_paths() {
    let mut world = World::with(3, true);
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        world.link(a, b);
    }
    world.settle();
    for n in 0..10 {
        world.say(n % 3, &format!("{n}"));
    }
    world.settle();
    assert_eq!(world.heard(0).len(), 6);
    assert_eq!(world.heard(1).len(), 7);
    assert_eq!(world.heard(2).len(), 7);
}

#[test]
fn the_sender_learns_who_has_a_message() {
    let mut world = World::with(3, true);
    let sent = world.say(0, "one");
    world.settle();
    let delivered: BTreeSet<MemberId> = world.people[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Delivered { to, chain, indexes } if *chain == sent.chain => {
                assert_eq!(*indexes, [sent.index]);
                Some(*to)
            }
            _ => None,
        })
        .collect();
    assert_eq!(delivered, BTreeSet::from([world.id(1), world.id(2)]));
}

#[test]
fn a_clock_that_leaps_counts_as_it_was_signed_and_leads_nobody_further_than_it_may() {
    let mut world = World::founded(4, true, 7);
    (1..3).for_each(|at| world.join(0, at));
    world.settle();
    let mut said = vec![(0, world.say(0, "one"))];
    world.settle();
    world.people[1].group.as_mut().unwrap().lamport = 1 << 60;
    said.push((1, world.say(1, "from far ahead")));
    // It has not read that: what it reads next comes from whoever has.
    world.people[2].online = false;
    world.settle();
    said.push((0, world.say(0, "an answer")));
    assert!(said[2].1.lamport <= said[0].1.lamport + crate::limits::LAMPORT_LEAP + 1);
    world.join(0, 3);
    world.settle();
    said.push((3, world.say(3, "from who came later")));
    assert!(said[3].1.lamport > said[2].1.lamport, "it goes on from its host's clock");
    world.people[2].online = true;
    world.settle();
    for at in 0..3 {
        let events = world.people[at].events.iter();
        let heard: BTreeMap<_, _> = events
            .filter_map(|event| match event {
                Event::Message(received) => Some((received.id, received.lamport)),
                _ => None,
            })
            .collect();
        let others = said.iter().filter(|(by, _)| *by != at);
        let signed: BTreeMap<_, _> = others.map(|(_, sent)| (sent.id, sent.lamport)).collect();
        assert_eq!(heard, signed, "{at}");
    }
}

#[test]
fn who_was_away_catches_up_in_order() {
    for relay in [true, false] {
        let mut world = World::with(3, relay);
        if !relay {
            world.link(0, 1);
            world.link(0, 2);
        }
        world.settle();
        world.say(0, "before");
        world.settle();
        world.people[2].online = false;
        if !relay {
            world.cut(0, 2);
        }
        for n in 0..5 {
            world.say(n % 2, &format!("{n}"));
            world.settle();
        }
        world.people[2].online = true;
        if !relay {
            world.link(0, 2);
        }
        world.settle();
        assert_eq!(world.heard(2), ["before", "0", "1", "2", "3", "4"], "relay: {relay}");
    }
}

#[test]
fn a_removed_member_opens_nothing_that_follows() {
    let mut world = World::with(4, true);
    for n in 0..4 {
        world.say(n, "hello");
    }
    world.settle();
    let (before, removed) = (world.heard(3).len(), world.id(3));
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.say(0, "at once");
    world.settle();
    world.say(1, "later");
    world.say(2, "later still");
    world.settle();
    assert_eq!(world.heard(3).len(), before);
    assert_eq!(world.member(3).state(), GroupState::Removed);
    assert!(world.people[3].events.iter().any(|event| matches!(
        event,
        Event::Removed { member, .. } if *member == removed
    )));
    assert_eq!(world.heard(1)[world.heard(1).len() - 2..], ["at once", "later still"]);
    assert_eq!(world.member(1).members().len(), 3);
}

#[test]
fn a_removed_member_with_its_old_state_reads_neither_words_nor_ops() {
    let mut world = World::with(4, true);
    for n in 0..4 {
        world.say(n, "hello");
    }
    world.settle();
    let old = world.people[3].records.clone();
    let removed = world.id(3);
    world.people[3].online = false;
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.say(1, "before it heard of it");
    world.settle();
    world.say(1, "after");
    world.say(0, "after too");
    world.settle();
    let ops_then = world.member(0).ops.iter().count();
    let fourth = world.id(2);
    world.act(0, |group, cx| group.promote(cx, fourth)).unwrap();
    world.settle();

    // Its whole database is restored, it reads every log of the relay, whatever their names.
    let group = Group::load(&world.people[3].me, old, world.now).unwrap();
    world.people[3].group = Some(group);
    let everything: Vec<Vec<u8>> = world.logs.values().flatten().cloned().collect();
    let before = world.heard(3).len();
    for entry in everything {
        let log = LogId([0; 20]);
        // Whatever opens shows in what it heard.
        let _ = world.act(3, |group, cx| group.on_envelope(cx, Source::Log(log), &entry));
    }
    assert!(world.heard(3)[before..].iter().all(|text| text == "before it heard of it"));
    assert!(world.member(3).ops.iter().count() <= ops_then);
    assert_eq!(world.member(3).state(), GroupState::Removed);
}

#[test]
fn a_message_sealed_before_its_sender_knew_is_labelled() {
    let mut world = World::with(3, true);
    world.say(1, "hello");
    world.settle();
    world.people[1].online = false;
    let removed = world.id(2);
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.settle();
    world.say(1, "to all three");
    world.people[1].online = true;
    world.settle();
    let class = world.people[0].events.iter().rev().find_map(|event| match event {
        Event::Message(received) => Some(received.class.clone()),
        _ => None,
    });
    assert_eq!(class, Some(Class::StaleView(vec![removed])));
}

#[test]
fn who_leaves_is_sealed_to_no_more_and_the_topic_is_renewed() {
    let mut world = World::with(3, true);
    for n in 0..3 {
        world.say(n, "hello");
    }
    world.settle();
    let logs = world.logs.len();
    world.act(2, Group::leave).unwrap();
    world.settle();
    let before = world.heard(2).len();
    world.say(0, "one");
    world.say(1, "two");
    world.settle();
    assert_eq!(world.heard(2).len(), before);
    assert_eq!(world.member(2).state(), GroupState::Left);
    assert_eq!(world.member(0).members().len(), 2);
    assert!(world.logs.len() > logs, "a new log");
    assert!(world.heard(0).ends_with(&["two".into()]) && world.heard(1).ends_with(&["one".into()]));
    assert!(!world.member(0).ops.resolve().topics().needs_refresh());
}

#[test]
fn two_removals_at_once_end_in_one_clean_topic() {
    let mut world = World::with(5, true);
    let ids: Vec<_> = (0..5).map(|at| world.id(at)).collect();
    world.act(0, |group, cx| group.promote(cx, ids[1])).unwrap();
    world.settle();
    for n in 0..5 {
        world.say(n, "hello");
        world.settle();
    }
    world.act(0, |group, cx| group.remove(cx, ids[3])).unwrap();
    world.act(1, |group, cx| group.remove(cx, ids[4])).unwrap();
    world.settle();
    for at in 0..3 {
        assert_eq!(world.member(at).members().len(), 3);
        assert!(world.member(at).ops.resolve().topics().clean, "person {at}");
        assert!(!world.member(at).lacks_topics());
    }
    let before = (world.heard(3).len(), world.heard(4).len());
    for n in 0..3 {
        world.say(n, "after");
    }
    world.settle();
    for n in 0..3 {
        let after = world.heard(n).iter().filter(|text| *text == "after").count();
        assert_eq!(after, 2, "person {n}");
    }
    assert_eq!((world.heard(3).len(), world.heard(4).len()), before);
}

#[test]
fn a_restart_makes_a_new_chain_and_loses_nothing() {
    let mut world = World::with(3, true);
    let first = world.say(0, "one");
    world.settle();
    world.restart(0);
    world.restart(1);
    world.settle();
    let second = world.say(0, "two");
    world.settle();
    assert_ne!(first.chain, second.chain);
    assert_eq!(world.heard(1), ["one", "two"]);
    assert_eq!(world.heard(2), ["one", "two"]);
    assert!(second.lamport > first.lamport);
}

#[test]
fn a_confirmed_pair_seals_ratchet_slots() {
    let mut world = World::with(2, true);
    world.say(0, "one");
    world.settle();
    world.restart(0);
    world.settle();
    world.say(0, "two");
    let chain = world.member(0).sending.chain.as_ref().unwrap().id();
    assert!(world.member(0).sending.inits[&chain].is_empty());
    world.settle();
    assert_eq!(world.heard(1), ["one", "two"]);
}

#[test]
fn a_member_whose_state_was_rolled_back_is_sealed_to_anew() {
    let mut world = World::with(2, true);
    let old = world.people[1].records.clone();
    world.say(0, "one");
    world.settle();
    world.restart(0);
    world.settle();
    world.say(0, "two");
    world.settle();
    world.people[1].records = old;
    world.logs.values_mut().for_each(Vec::clear);
    world.people.iter_mut().for_each(|person| person.read.clear());
    world.restart(1);
    world.restart(0);
    world.settle();
    let unreadable = world.say(0, "unreadable there");
    world.settle();
    let unopened = Event::Unopened { by: world.id(1), chain: unreadable.chain };
    assert!(world.people[0].events.contains(&unopened));
    assert!(world.people[1].events.contains(&Event::Alarm(Alarm::SlotFailed(world.id(0)))));
    world.say(0, "readable again");
    world.settle();
    assert!(world.heard(1).ends_with(&["readable again".into()]));
}

#[test]
fn a_message_that_never_came_is_reported_and_healed_over_a_channel() {
    let mut world = World::with(3, true);
    world.say(0, "one");
    world.settle();
    world.say(0, "withheld");
    let log = *world.logs.iter().max_by_key(|(_, entries)| entries.len()).unwrap().0;
    let withheld = world.logs.get_mut(&log).unwrap().pop().unwrap();
    world.say(0, "three");
    world.deliver();
    assert_eq!(world.heard(1), ["one", "three"]);
    world.people[0].online = false;
    world.settle();
    assert!(
        world.people[1].events.iter().any(|event| matches!(event, Event::Gap { index: 1, .. }))
    );
    // Person 2 got it after all, and the author is away.
    world.act(2, |group, cx| group.on_envelope(cx, Source::Log(log), &withheld)).unwrap();
    world.link(1, 2);
    world.settle();
    assert!(world.heard(1).contains(&"withheld".into()));
    assert!(
        world.people[1].events.iter().any(|event| matches!(event, Event::Healed { index: 1, .. }))
    );
}

#[test]
fn a_withheld_bundle_is_asked_for_on_the_log() {
    let mut world = World::with(3, true);
    let log = world.member(0).logs()[0].keys.id();
    let before = world.logs[&log].len();
    world.say(0, "one");
    // The bundle comes first: the relay hides it from everybody.
    world.logs.get_mut(&log).unwrap().remove(before);
    for person in &mut world.people {
        person.read.insert(log, before);
    }
    world.settle();
    assert_eq!(world.heard(1), ["one"]);
    assert_eq!(world.heard(2), ["one"]);
}

#[test]
fn an_invite_is_good_for_as_many_as_it_says_and_forgives_a_lost_welcome() {
    let mut world = World::with(3, true);
    let leaver = 2;
    world.act(leaver, Group::leave).unwrap();
    world.settle();
    let secret = world.invite(0);
    assert!(world.admit(0, leaver, &secret).is_ok());
    assert!(world.admit(0, leaver, &secret).is_ok(), "the same again");
    let stranger = Endpoint::generate("stranger", vec![], &mut world.rng).unwrap();
    let old = core::mem::replace(&mut world.people[1].me, stranger);
    assert_eq!(world.admit(0, 1, &secret), Err(AdmitError::Used));
    world.people[1].me = old;
}

#[test]
fn expired_and_revoked_invites_admit_nobody() {
    let mut world = World::with(2, true);
    let stranger = Endpoint::generate("stranger", vec![], &mut world.rng).unwrap();
    world.people[1].me = stranger;
    let secret = world.invite(0);
    world.act(0, |group, cx| group.revoke(cx, secret.id())).unwrap();
    assert_eq!(world.admit(0, 1, &secret), Err(AdmitError::Revoked));
    let secret = world.invite(0);
    world.now = world.now.plus_ms(2_000_000);
    assert_eq!(world.admit(0, 1, &secret), Err(AdmitError::Expired));
    let unknown = InviteSecret::generate(&mut world.rng);
    assert_eq!(world.admit(0, 1, &unknown), Err(AdmitError::Unknown));
}

#[test]
fn a_member_may_not_remove_its_admin_and_an_error_changes_nothing() {
    let mut world = World::with(2, true);
    let founder = world.id(0);
    let before = world.people[1].records.clone();
    let refused = world.act(1, |group, cx| group.remove(cx, founder));
    assert!(refused.is_err());
    assert_eq!(world.people[1].records, before);
    let limit = world.act(1, |group, cx| group.send(cx, 0, &[0; 40_000]));
    assert!(matches!(limit, Err(SendError::TooLong { .. })));
    assert_eq!(world.people[1].records, before);
}

#[test]
fn many_messages_make_more_chains() {
    let mut world = World::with(2, true);
    for n in 0..600 {
        world.say(0, &format!("{n}"));
    }
    world.settle();
    assert_eq!(world.heard(1).len(), 600);
    let chains: BTreeSet<_> = world.people[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Rotated { chain, .. } => Some(*chain),
            _ => None,
        })
        .collect();
    assert_eq!(chains.len(), 3);
}

#[test]
fn garbage_and_strangers_are_refused() {
    let mut world = World::with(2, true);
    let before = world.people[0].records.clone();
    let stranger = MemberId([7; 32]);
    for bytes in [&[][..], &[0; 1], &[1; 512], &[0xff; 40_000]] {
        let log = Source::Log(LogId([0; 20]));
        assert!(world.act(0, |group, cx| group.on_envelope(cx, log, bytes)).is_err());
        let member = world.id(1);
        assert!(world.act(0, |group, cx| group.on_frame(cx, member, bytes)).is_err());
        assert!(world.act(0, |group, cx| group.on_frame(cx, stranger, bytes)).is_err());
    }
    assert_eq!(world.people[0].records, before);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = || {
        let mut world = World::with(3, true);
        world.say(0, "one");
        world.settle();
        let removed = world.id(2);
        world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
        world.say(1, "two");
        world.settle();
        (world.logs, world.people.into_iter().map(|person| person.records).collect::<Vec<_>>())
    };
    assert!(run() == run());
}
