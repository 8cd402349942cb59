//! Keys that renew by time, the recovery code, and machines of one person.

use protocol::{endpoint::Endpoint, recovery::RecoveryKey};

use super::{World, stories::group_of};
use crate::api::types::What;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[test]
fn cards_with_new_keys_reach_everybody_day_by_day() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.pass(1_000);
    let before = world.core("bob").endpoint().card().card().clone();
    for day in 0..3 {
        world.pass(DAY_MS);
        world.send("ada", "reading", &format!("day {day}"));
        world.send("bob", "reading", &format!("night {day}"));
    }
    let after = world.core("bob").endpoint().card().card().clone();
    assert!(after.seq >= before.seq + 2, "{} {}", before.seq, after.seq);
    assert_ne!(after.prekey, before.prekey);
    assert_eq!(after.kk, before.kk, "that one lives for 30 days");
    let bob = world.member("bob");
    let groups = world.core("ada").groups.values();
    let known: Vec<u64> = groups.map(|group| group.card(&bob).unwrap().card().seq).collect();
    assert_eq!(known, [after.seq]);
    assert_eq!(world.texts("ada").len(), 6);
}

#[test]
fn after_40_days_away_all_is_read_and_the_newest_keys_are_used() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.pass(1_000);
    let (prekey, kk, peers) = {
        let card = world.core("bob").endpoint().card().card().clone();
        (card.prekey, card.kk, card.nodes)
    };
    world.stop("bob");
    for day in 0..5 {
        world.send("ada", "reading", &format!("day {day}"));
        world.pass(DAY_MS);
    }
    // Away from the relay only as long as it keeps entries.
    world.pass(2 * DAY_MS);
    world.start("bob");
    world.pass(10_000);
    assert_eq!(world.texts("bob").len(), 5);
    world.stop("bob");
    world.pass(33 * DAY_MS);
    world.start("bob");
    world.pass(60_000);
    let endpoint = world.core("bob").endpoint();
    let card = endpoint.card().card();
    assert!(card.prekey != prekey && card.kk != kk, "both are renewed");
    assert!(endpoint.prekey_secret(prekey.id).is_some(), "and nothing is deleted yet");
    assert!(peers[0] != peers[1] && card.nodes[0] == peers[1], "the node key too, at a start");
    assert!(!peers.contains(&card.nodes[1]) && card.nodes[2] == peers[0], "{:?}", card.nodes);
    world.send("ada", "reading", "welcome back");
    assert_eq!(world.texts("bob").last().map(String::as_str), Some("welcome back"));
    world.pass(36 * DAY_MS);
    assert!(world.core("bob").endpoint().prekey_secret(prekey.id).is_none(), "then it is");
}

#[test]
fn the_recovery_code_is_shown_until_it_is_forgotten() {
    let (mut world, _) = group_of(&["ada"]);
    let shown = world.core("ada").recovery_code().unwrap();
    let public = world.core("ada").endpoint().card().card().recovery;
    assert_eq!(RecoveryKey::from_code(&shown).unwrap().public(), public.unwrap());
    world.core("ada").forget_recovery().unwrap();
    world.stop("ada");
    world.start("ada");
    assert!(world.core("ada").recovery_code().is_none());
    assert_eq!(world.core("ada").endpoint().card().card().recovery, public);
}

#[test]
fn machines_that_name_each_other_are_shown_as_one() {
    let (mut world, _) = group_of(&["ada", "bob", "eve"]);
    let now = world.now;
    let (ada, bob) = (world.member("ada").to_string(), world.member("bob").to_string());
    let asked = world.core("ada").add_machine(&bob, now).unwrap();
    assert!(!asked.machines[0].linked, "one side alone shows nothing");
    world.settle();
    let alone = world.core("eve").group("reading", now).unwrap();
    assert!(alone.people.iter().all(|person| person.machines.is_empty()));
    world.core("bob").add_machine(&ada, now).unwrap();
    world.settle();
    assert!(world.core("ada").machines().unwrap().machines[0].linked);
    let seen = world.core("eve").group("reading", now).unwrap();
    let of: Vec<_> = seen.people.iter().map(|person| person.machines.clone()).collect();
    assert_eq!(of, [vec![bob.clone()], vec![ada.clone()], vec![]]);
    world.core("bob").remove_machine(&ada, now).unwrap();
    world.settle();
    let apart = world.core("eve").group("reading", now).unwrap();
    assert!(apart.people.iter().all(|person| person.machines.is_empty()));
    for (wrong, code) in [("ana", "no-identity"), (bob.as_str(), "bad-machines")] {
        assert_eq!(world.core("bob").add_machine(wrong, now).unwrap_err().code(), code);
    }
}

/// Another copy of Bob's identity makes a card above his, and his node hears it.
fn the_copy_overtakes(world: &mut World) {
    let now = world.now;
    let core = world.core("bob");
    let own = std::sync::Arc::clone(&core.me);
    let mut copy = Endpoint::clone(&own);
    assert!(copy.overtake(own.card().card().seq + 1, now, &mut core.rng));
    core.put_endpoint(copy, now).unwrap();
    core.store.transaction(|tx| tx.put_meta(super::super::ENDPOINT, &own.save())).unwrap();
    core.me = own;
    core.finish(now);
}

#[test]
fn two_copies_that_run_overtake_each_other_ever_more_rarely_and_people_are_told() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.pass(1_000);
    let (mut seq, mut made, mut told) = (0, Vec::new(), Vec::new());
    for minute in 0..140 {
        if world.core("bob").overtake_due().is_none() {
            the_copy_overtakes(&mut world);
        }
        world.pass(60_000);
        if world.core("bob").overtake_due().is_none() {
            made.push(minute);
            let now = world.core("bob").endpoint().card().card().seq;
            assert!(now > seq, "each is above all before");
            seq = now;
        }
        let alarms = world.events("bob").into_iter();
        told.push(alarms.filter(|event| matches!(event.what, What::Alarm { .. })).count());
    }
    assert!((7..=9).contains(&made.len()), "{made:?}");
    assert_eq!((told[0], *told.last().unwrap()), (0, made.len() - 1), "but for the first");
    assert!(world.core("bob").overtake_due().is_some());
    // The other one is stopped: a start of this one overtakes at once.
    world.stop("bob");
    world.start("bob");
    world.settle();
    world.send("ada", "reading", "which of you?");
    assert_eq!(world.texts("bob"), ["which of you?"]);
}

#[test]
fn a_node_from_an_old_copy_makes_a_card_above_the_one_that_others_know() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.pass(3 * DAY_MS);
    let old = world.core("bob").endpoint().save();
    world.pass(3 * DAY_MS);
    let known = world.core("bob").endpoint().card().card().seq;
    let now = world.now;
    let core = world.core("bob");
    let mut rng =
        <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::seed_from_u64(9);
    core.me = std::sync::Arc::new(Endpoint::load(&old, &mut rng).unwrap());
    core.overtake(now).unwrap();
    core.finish(now);
    world.settle();
    let card = world.core("bob").endpoint().card().card().clone();
    assert!(card.seq > known, "{} {known}", card.seq);
    let bob = world.member("bob");
    let group = world.core("ada").groups.values().next().unwrap();
    assert_eq!(group.card(&bob).unwrap().card(), &card);
    world.send("ada", "reading", "still there?");
    assert_eq!(world.texts("bob"), ["still there?"]);
}
