//! Old states that come back: backups, copied machines, and what the others make of them.

use alloc::{collections::BTreeMap, format, vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    wire::{ChainSummary, Frame, Summary},
    world::{Person, World},
    *,
};
use crate::{codec, evidence::Verdict};

pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The process of somebody dies, and starts again from what was copied earlier.
pub(super) fn restore(world: &mut World, at: usize, copy: Records) {
    world.people[at].records = copy;
    world.restart(at);
}

pub(super) fn alarms(world: &World, at: usize) -> Vec<Alarm> {
    let events = world.people[at].events.iter();
    events
        .filter_map(|event| if let Event::Alarm(alarm) = event { Some(*alarm) } else { None })
        .collect()
}

pub(super) fn everybody_reads_everybody(world: &mut World) {
    for at in 0..world.people.len() {
        world.say(at, &format!("after {at}"));
        world.settle();
    }
    for at in 0..world.people.len() {
        for other in (0..world.people.len()).filter(|other| *other != at) {
            let text = format!("after {other}");
            let heard = world.heard(at).iter().filter(|heard| **heard == text).count();
            assert_eq!(heard, 1, "{at} heard {text:?} {heard} times");
        }
    }
}

pub(super) fn nobody_is_accused(world: &World) {
    for at in 0..world.people.len() {
        for (finding, notice) in world.member(at).notices() {
            assert_ne!(finding.verdict, Verdict::Equivocation, "{at}: {notice:?}");
        }
        for alarm in alarms(world, at) {
            assert!(!matches!(alarm, Alarm::Equivocation(_) | Alarm::Contradiction { .. }));
        }
    }
}

#[test]
fn a_restored_state_sends_nothing_until_it_has_caught_up_and_everybody_is_told() {
    for (relay, linked) in [(true, false), (false, true), (true, true)] {
        let mut world = World::with(3, relay);
        if linked {
            world.link(0, 1);
            world.link(1, 2);
            world.link(0, 2);
        }
        world.say(1, "one");
        world.settle();
        let copy = world.people[1].records.clone();
        world.say(1, "two");
        world.settle();
        world.restart(1);
        world.settle();
        world.say(1, "three");
        let last = world.say(1, "four");
        world.settle();
        restore(&mut world, 1, copy);
        world.deliver();
        world.deliver();
        let member = world.member(1);
        assert!(member.is_behind(), "relay: {relay}");
        assert_eq!(member.ready(world.now), Err(NotReady::Behind));
        assert_eq!(alarms(&world, 1), [Alarm::OldState]);
        let refused = world.attempt(1, |group, cx| group.send(cx, 0, b"too early"));
        assert_eq!(refused, Err(NotReady::Behind.into()));
        world.settle();
        assert!(!world.member(1).is_behind());
        assert!(world.people[1].events.contains(&Event::CaughtUp));
        let next = world.say(1, "five");
        world.settle();
        let head = world.member(0).receiving.chains[&next.chain].head.head();
        let closing = head.closing.unwrap();
        assert_eq!((closing.chain, closing.count, closing.last), (last.chain, 2, None));
        let restored = world.id(1);
        for at in [0, 2] {
            assert_eq!(alarms(&world, at), [Alarm::Restored(restored)], "relay: {relay}");
        }
        everybody_reads_everybody(&mut world);
        nobody_is_accused(&world);
        assert!(world.member(0).gaps().is_empty() && world.member(2).gaps().is_empty());
    }
}

#[test]
fn messages_of_a_known_chain_that_a_state_has_lost_are_shown_to_it() {
    for relay in [true, false] {
        let mut world = World::with(2, relay);
        if !relay {
            world.link(0, 1);
        }
        world.say(1, "one");
        world.settle();
        let copy = world.people[1].records.clone();
        let last = world.say(1, "two");
        world.settle();
        restore(&mut world, 1, copy);
        world.settle();
        assert_eq!(alarms(&world, 1), [Alarm::OldState], "relay: {relay}");
        let next = world.say(1, "three");
        world.settle();
        let closing = world.member(0).receiving.chains[&next.chain].head.head().closing.unwrap();
        assert_eq!((closing.chain, closing.count), (last.chain, 2));
        everybody_reads_everybody(&mut world);
        nobody_is_accused(&world);
    }
}

#[test]
fn an_old_state_that_is_taken_up_again_by_a_clock_set_back_catches_up_by_the_new_one() {
    for relay in [true, false] {
        let mut world = World::with(2, relay);
        if !relay {
            world.link(0, 1);
        }
        world.say(1, "one");
        world.settle();
        let copy = world.people[1].records.clone();
        world.say(1, "two");
        world.settle();
        restore(&mut world, 1, copy);
        world.pass(1_500);
        assert!(world.member(1).is_behind(), "relay: {relay}");
        world.set_clock(1, -25 * 60 * 60 * 1000);
        assert!(world.member(1).is_behind(), "relay: {relay}");
        // A neighbour looks at the summary of one that it has just answered with the next, after 5 min.
        world.pass(6 * 60_000);
        assert!(!world.member(1).is_behind(), "relay: {relay}");
        everybody_reads_everybody(&mut world);
        nobody_is_accused(&world);
    }
}

#[test]
fn first_words_after_a_restore_are_sealed_as_to_strangers() {
    let mut world = World::with(2, true);
    for text in ["one", "two"] {
        world.say(1, text);
        world.settle();
        world.restart(1);
        world.settle();
    }
    let copy = world.people[1].records.clone();
    world.say(1, "three");
    world.settle();
    restore(&mut world, 1, copy);
    world.settle();
    let next = world.say(1, "four");
    let inits = &world.member(1).sending.inits[&next.chain];
    assert_eq!(inits.keys().copied().collect::<Vec<_>>(), [world.id(0)]);
    everybody_reads_everybody(&mut world);
}

#[test]
fn two_copies_at_work_are_told_to_everybody_and_to_both() {
    let mut world = World::with(3, true);
    world.say(1, "one");
    world.settle();
    // The machine is copied, and both go on.
    let original = &world.people[1];
    let mut rng = ChaCha20Rng::seed_from_u64(77);
    let me = Endpoint::load(&original.me.save(), &mut rng).unwrap();
    let records = original.records.clone();
    let group = Group::load(&me, records.clone(), world.now).unwrap();
    let audit = original.audit.clone();
    world.people.push(Person {
        group: Some(group),
        records,
        audit,
        online: false,
        ..Person::new(me)
    });
    world.act(1, Group::rotate).unwrap();
    world.say(1, "from the first");
    // The copy has not heard of it when it sends.
    world.people[3].online = true;
    world.people[3].group.as_mut().unwrap().relays_up = true;
    world.say(3, "from the copy");
    world.settle();
    world.say(1, "from the first again");
    world.settle();
    let copied = world.id(1);
    for at in [0, 2] {
        assert!(alarms(&world, at).contains(&Alarm::Clone(copied)), "person {at}");
        assert!(world.member(at).notices().any(|(it, _)| it.accused == copied));
    }
    for at in [1, 3] {
        let told = alarms(&world, at);
        let own = told.iter().any(|it| matches!(it, Alarm::OldState | Alarm::Copied));
        assert!(own, "person {at}: {told:?}");
    }
    nobody_is_accused(&world);
    // Its slots were used up by the first: its words are readable once it was told.
    world.pass(2 * 60_000);
    world.say(3, "from the copy again");
    world.settle();
    assert!(world.heard(0).contains(&"from the first again".into()));
    assert!(world.heard(0).contains(&"from the copy again".into()));
}

#[test]
fn honest_people_are_proven_no_lie_whatever_is_restored() {
    for seed in 0..12 {
        let mut world = World::founded(3, seed % 2 == 0, seed);
        for at in 1..3 {
            world.join(0, at);
        }
        if !world.relay {
            world.link(0, 1);
            world.link(1, 2);
        }
        world.settle();
        let mut copies: Vec<Records> =
            world.people.iter().map(|person| person.records.clone()).collect();
        for n in 0..24 {
            let at = world.below(3);
            match world.below(8) {
                0 => copies[at] = world.people[at].records.clone(),
                1 => restore(&mut world, at, copies[at].clone()),
                2 => world.restart(at),
                3 => {
                    let _ = world.act(at, |group, cx| group.rotate(cx));
                }
                4 => world.pass(2_000),
                _ => {
                    // Whoever is catching up does not speak.
                    let text = format!("{n}");
                    let _ = world.act(at, |group, cx| group.send(cx, 0, text.as_bytes()));
                }
            }
            while world.below(3) == 0 && world.deliver() {}
        }
        (0..6).for_each(|_| world.settle());
        nobody_is_accused(&world);
        everybody_reads_everybody_in_time(&mut world);
    }
}

#[test]
fn who_loses_its_state_again_and_again_is_sealed_to_anew_each_time() {
    for seed in 0..4 {
        let mut world = World::founded(2, false, seed);
        world.join(0, 1);
        world.link(0, 1);
        world.settle();
        let copy = world.people[1].records.clone();
        // Each loss leaves one more first contact that it confirmed and can't open any more.
        for round in 0..5 {
            restore(&mut world, 1, copy.clone());
            world.settle();
            world.say(0, "may be unreadable");
            world.pass(3 * 60_000);
            let text = format!("round {round}");
            world.say(0, &text);
            world.settle();
            assert!(world.heard(1).contains(&text), "seed {seed}, {text}");
        }
    }
}

#[test]
fn a_neighbour_that_claims_too_much_delays_and_no_more() {
    let mut world = World::with(2, false);
    world.link(0, 1);
    let sent = world.say(1, "one");
    world.settle();
    let liar = world.id(0);
    let chains = vec![ChainSummary { chain: sent.chain, next: 9, missing: vec![] }];
    let summary = Summary { heads: vec![], chains, cards: vec![], last: true };
    let frame = codec::encode(&Frame::Summary(summary));
    world.act(1, |group, cx| group.on_frame(cx, liar, &frame)).unwrap();
    assert_eq!(world.member(1).ready(world.now), Err(NotReady::NotSynced));
    world.settle();
    assert_eq!(world.member(1).ready(world.now), Ok(()));
    world.act(1, |group, cx| group.on_frame(cx, liar, &frame)).unwrap();
    assert_eq!(world.member(1).ready(world.now), Ok(()), "once");
    assert!(alarms(&world, 1).is_empty());
}

#[test]
fn a_backup_holds_no_chain_and_is_taken_up_again() {
    let mut world = World::with(3, true);
    for at in 0..3 {
        world.say(at, "one");
        world.settle();
    }
    let stored = world.people[1].records.clone();
    let backup: Records = world.member(1).backup_records(stored).into_iter().collect();
    for (key, value) in &backup {
        // A chain's record without keys: state, time, count, and no bytes.
        let secret = matches!(key[0], 5 | 6 | 9 | 10) || key[0] == 8 && value.len() > 16;
        assert!(!secret, "{key:02x?}: {} bytes", value.len());
    }
    world.say(1, "not in the backup");
    world.settle();
    restore(&mut world, 1, backup);
    world.settle();
    everybody_reads_everybody_in_time(&mut world);
    nobody_is_accused(&world);
}

/// After some minutes in which slots that don't open are made anew.
fn everybody_reads_everybody_in_time(world: &mut World) {
    for _ in 0..3 {
        for at in 0..world.people.len() {
            world.say(at, "may be unreadable");
        }
        world.pass(5 * 60_000);
    }
    everybody_reads_everybody(world);
}

#[test]
fn a_founder_who_was_set_back_finds_who_joined_since_by_what_they_say() {
    for alone in [true, false] {
        let mut world = World::founded(3, true, 11);
        if !alone {
            world.join(0, 1);
            world.settle();
        }
        let copy = world.people[0].records.clone();
        // What the founder did since is on no relay, and what it had to tell is lost with its disk.
        world.reachable = false;
        world.join(0, 2);
        world.people[0].outbox.clear();
        restore(&mut world, 0, copy);
        assert!(!world.member(0).is_member(&world.id(2)));
        world.reachable = true;
        world.settle();
        assert!(world.member(0).is_member(&world.id(2)), "alone: {alone}");
        assert_eq!(alarms(&world, 0), [Alarm::OldState]);
        assert!(world.people[0].events.contains(&Event::CaughtUp));
        if alone {
            world.people.remove(1);
            world.restart(1);
            world.settle();
        }
        everybody_reads_everybody(&mut world);
        nobody_is_accused(&world);
    }
}

#[test]
fn an_old_state_finds_in_its_own_inbox_the_topics_that_it_began_and_nobody_of_before_knows() {
    let mut world = World::founded(3, true, 12);
    world.join(0, 1);
    world.settle();
    let copy = world.people[0].records.clone();
    let removed = world.id(1);
    world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
    world.settle();
    world.join(0, 2);
    world.settle();
    restore(&mut world, 0, copy);
    world.pass(60_000);
    assert!(!world.member(0).is_member(&removed) && world.member(0).is_member(&world.id(2)));
    let topics = |at: usize| world.member(at).write_topics();
    assert_eq!(topics(0), topics(2));
    assert!(!world.member(0).is_behind());
}

#[test]
fn an_old_state_whose_newest_topic_nobody_has_any_more_goes_on_under_another() {
    let mut world = World::with(2, true);
    let copy = world.people[0].records.clone();
    world.act(0, |group, cx| group.rotate(cx)).unwrap();
    world.settle();
    world.people[1].online = false;
    let inbox = world.member(0).logs().into_iter().find(|log| log.role == LogRole::Inbox).unwrap();
    world.logs.remove(&inbox.keys.id());
    restore(&mut world, 0, copy);
    world.pass(30_000);
    assert!(world.member(0).is_behind() && world.member(0).is_without_topics());
    world.pass(60_000);
    assert!(!world.member(0).is_behind());
    assert_eq!(world.member(0).ready(world.now), Ok(()));
    world.people[1].online = true;
    world.pass(60_000);
    everybody_reads_everybody(&mut world);
    nobody_is_accused(&world);
}

#[test]
fn an_old_copy_is_told_by_which_of_its_cards_others_seal_and_reads_them_again() {
    let mut world = World::with(2, true);
    let (own, copy) = (world.id(1), world.people[1].records.clone());
    let keys = world.people[1].me.save();
    // It hears of a topic that the copy doesn't know, and tells its next card under that one.
    world.act(0, |group, cx| group.rotate(cx)).unwrap();
    world.settle();
    let (now, mut rng) = (world.now.plus_ms(90_000_000), ChaCha20Rng::seed_from_u64(5));
    assert!(world.people[1].me.renew(now, &mut rng));
    world.act(1, |group, cx| group.tell_card(cx));
    world.settle();
    let newest = world.people[1].me.card().card().seq;
    assert_eq!(world.member(0).card(&own).unwrap().card().seq, newest);
    world.people[1].me = crate::endpoint::Endpoint::load(&keys, &mut rng).unwrap();
    restore(&mut world, 1, copy);
    world.restart(0);
    world.settle();
    world.say(0, "to the newest card");
    world.pass(200_000);
    let known = world.member(1).card(&own).unwrap().card().seq;
    assert_eq!(known, newest);
    assert!(world.people[1].me.overtake(known, now, &mut rng));
    world.act(1, |group, cx| group.tell_card(cx));
    world.pass(600_000);
    everybody_reads_everybody(&mut world);
}

#[test]
fn who_holds_the_topic_and_is_nobody_has_few_questions_put() {
    let mut world = World::with(2, true);
    let mut asked = 0;
    for _ in 0..60 {
        let stranger = Endpoint::generate("nobody", vec![], &mut world.rng).unwrap();
        let cx = Cx { me: &stranger, now: world.now, rng: &mut world.rng };
        let group = world.people[0].group.as_ref().unwrap();
        // A presence, of no address.
        let said = codec::encode(&wire::Presence { at: world.now, addresses: vec![] });
        let forged = group.forge_control(cx, 4, &said).unwrap();
        let log = group.log_ids().next().unwrap();
        let before = world.published;
        let _ = world.attempt(1, |group, cx| group.on_envelope(cx, Source::Log(log), &forged));
        world.pass(60_000);
        asked += world.published - before;
    }
    assert!((1..=16 * 3).contains(&asked), "{asked} questions");
    assert_eq!(world.member(1).members().len(), 2);
}

#[test]
fn who_was_let_in_under_a_topic_that_is_over_by_a_state_that_is_gone_shows_its_admission() {
    let mut world = World::founded(4, true, 13);
    for at in [1, 3] {
        world.join(0, at);
    }
    world.settle();
    let (admin, gone) = (world.id(1), world.id(3));
    world.act(0, |group, cx| group.promote(cx, admin)).unwrap();
    world.settle();
    // The founder does not hear of a removal, lets somebody in, and is set back.
    world.people[0].reach = false;
    world.lose_relay(0);
    world.people[2].reach = false;
    world.act(1, |group, cx| group.remove(cx, gone)).unwrap();
    let copy = world.people[0].records.clone();
    world.join(0, 2);
    world.people[0].outbox.clear();
    restore(&mut world, 0, copy);
    for at in [0, 2] {
        world.people[at].reach = true;
    }
    world.pass(50_000);
    for at in [0, 1, 2] {
        assert!(world.member(at).is_member(&world.id(2)), "{at}");
        assert_eq!(world.member(at).write_topics(), world.member(1).write_topics(), "{at}");
    }
}

#[test]
fn who_was_let_in_under_a_topic_that_a_lost_state_began_posts_it_to_its_host() {
    for admin_is_gone in [false, true] {
        let mut world = World::founded(4, true, 14);
        for at in [1, 3] {
            world.join(0, at);
        }
        world.settle();
        let copy = world.people[0].records.clone();
        let removed = world.id(3);
        world.people[0].reach = false;
        world.lose_relay(0);
        world.act(0, |group, cx| group.remove(cx, removed)).unwrap();
        world.join(0, 2);
        world.people[0].outbox.clear();
        // The newcomer's process starts again meanwhile.
        world.restart(2);
        restore(&mut world, 0, copy);
        (world.people[0].reach, world.people[0].online) = (true, !admin_is_gone);
        world.pass(150_000);
        let there: &[usize] = if admin_is_gone { &[1, 2] } else { &[0, 1, 2] };
        for at in there {
            assert!(world.member(*at).is_member(&world.id(2)), "{at}");
            assert!(!world.member(*at).is_member(&removed), "{at}");
            assert_eq!(world.member(*at).write_topics(), world.member(2).write_topics(), "{at}");
        }
    }
}

#[test]
fn who_sees_its_admission_on_the_log_posts_nothing_more() {
    let mut world = World::with(3, true);
    let published = world.published;
    world.pass(30 * 60_000);
    assert_eq!(world.published, published);
}
