//! A relay that does not tell what it has is named, one that is late or was never given it is not.

use std::collections::BTreeSet;

use protocol::relay_log::Cursor;

use super::{
    World,
    returns::{is_loaded, is_unloaded},
};
use crate::{
    api::types::{What, Withheld},
    net::{address, relay::RelayReport},
};

const MINUTE_MS: u64 = 60_000;

/// Ada and bob with a direct path and one relay.
fn two() -> (World, String) {
    let mut world = World::new();
    let relay = world.relay(1);
    world.pair(&[&relay]);
    world.pass(MINUTE_MS);
    (world, relay)
}

fn told(world: &mut World, name: &str) -> Vec<Withheld> {
    let events = world.events(name).into_iter();
    let told = events.filter_map(|event| match event.what {
        What::Withheld { withheld } => Some(withheld),
        _ => None,
    });
    told.collect()
}

fn count(world: &mut World, name: &str) -> u64 {
    let now = world.now;
    world.core(name).status(now).unwrap().relays.iter().map(|relay| relay.withheld).sum()
}

#[test]
fn a_relay_that_leaves_out_what_another_path_shows_is_named_once() {
    let (mut world, relay) = two();
    world.send("ada", "reading", "one");
    world.pass(MINUTE_MS);
    world.relay_hides(&relay, true);
    world.send("ada", "reading", "two");
    world.pass(MINUTE_MS);
    world.relay_hides(&relay, false);
    assert_eq!(world.texts("bob"), ["one", "two"], "by the other path");
    let own = told(&mut world, "ada");
    let [named] = &own[..] else { panic!("what it said to keep: {own:?}") };
    assert!(named.mine && named.messages == 1 && named.relay == relay, "{named:?}");
    assert!(told(&mut world, "bob").is_empty(), "nothing says that the relay has it");
    world.pass(25 * MINUTE_MS);
    let named = told(&mut world, "bob");
    let [named] = &named[..] else { panic!("once: {named:?}") };
    assert_eq!((named.from.name.as_str(), named.messages, named.mine), ("ada", 1, false));
    assert_eq!(named.shown_by.as_ref().unwrap().name, "ada");
    assert_eq!(count(&mut world, "bob"), 1);
    assert_eq!(world.core("bob").verify("reading").unwrap().withheld, std::slice::from_ref(named));
    world.pass(100 * MINUTE_MS);
    assert_eq!((told(&mut world, "ada").len(), told(&mut world, "bob").len()), (1, 1));
    world.relay_tells_late(&relay);
    world.pass(MINUTE_MS);
    assert_eq!((count(&mut world, "ada"), count(&mut world, "bob")), (0, 0), "after all");
}

#[test]
fn a_name_outlives_a_store_that_refuses_and_not_the_group() {
    let (mut world, relay) = two();
    world.relay_hides(&relay, true);
    world.send("ada", "reading", "left out");
    world.pass(MINUTE_MS);
    world.relay_hides(&relay, false);
    world.pass(25 * MINUTE_MS);
    assert_eq!((count(&mut world, "ada"), count(&mut world, "bob")), (1, 1));
    let (now, key) = (world.now, address::relays([&relay[..]])[0].peer_id);
    let (log, read) = world.lengths().into_iter().max_by_key(|(_, length)| *length).unwrap();
    let cursor = Cursor { generation: 1, seq: read as u64 };
    let core = world.core("bob");
    core.refuse_commits(true);
    let report = RelayReport::Entries { log, entries: Vec::new(), cursor };
    core.on_relay(&key, report, now).unwrap_err();
    core.refuse_commits(false);
    world.pass(10 * MINUTE_MS);
    assert_eq!(count(&mut world, "bob"), 1);
    let now = world.now;
    world.core("bob").leave("reading", now).unwrap();
    world.pass(MINUTE_MS);
    assert_eq!(count(&mut world, "bob"), 0, "verify says nothing of it, nor does status");
}

#[test]
fn a_name_outlives_a_group_that_can_not_be_taken_up_for_a_while() {
    let (mut world, relay) = two();
    world.create("ada", "writing");
    world.relay_hides(&relay, true);
    world.send("ada", "reading", "left out");
    world.pass(MINUTE_MS);
    world.relay_hides(&relay, false);
    world.pass(25 * MINUTE_MS);
    assert_eq!(count(&mut world, "ada"), 1);
    is_unloaded(&mut world, "ada", "reading");
    is_loaded(&mut world, "ada");
    assert_eq!(count(&mut world, "ada"), 1);
    // Nor where nothing else is at that relay.
    assert_eq!(count(&mut world, "bob"), 1);
    let (key, now) = (address::relays([&relay[..]])[0].peer_id, world.now);
    world.core("bob").restart_relay(&key, now);
    is_unloaded(&mut world, "bob", "reading");
    is_loaded(&mut world, "bob");
    assert_eq!(count(&mut world, "bob"), 1);
}

#[test]
fn a_relay_that_is_late_or_away_is_not_named() {
    let (mut world, relay) = two();
    world.send("ada", "reading", "one");
    world.stall(Some(0));
    world.send("ada", "reading", "two");
    world.pass(90 * MINUTE_MS);
    // Away in the midst of it: it may have told meanwhile.
    world.relay_stands(&relay, false);
    world.pass(20 * MINUTE_MS);
    world.relay_stands(&relay, true);
    world.pass(20 * MINUTE_MS);
    world.stall(None);
    world.send("ada", "reading", "three");
    world.pass(60 * MINUTE_MS);
    nobody_is_named(&mut world, &["ada", "bob"]);
}

fn nobody_is_named(world: &mut World, names: &[&'static str]) {
    for name in names {
        assert_eq!((told(world, name), count(world, name)), (Vec::new(), 0), "{name}");
    }
}

/// Ada, bob and carol with two relays, and no direct path.
fn three() -> (World, String, String) {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.node("ada", &[&one, &two]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.node(name, &[]);
        world.joined(name, &code);
    }
    world.pass(MINUTE_MS);
    (world, one, two)
}

#[test]
fn of_two_relays_the_one_that_leaves_out_is_named_and_nothing_is_missing_or_twice() {
    let (mut world, one, _) = three();
    world.send("ada", "reading", "one");
    world.relay_hides(&one, true);
    world.send("ada", "reading", "two");
    world.pass(MINUTE_MS);
    world.relay_hides(&one, false);
    world.send("ada", "reading", "three");
    world.pass(40 * MINUTE_MS);
    assert_eq!(world.texts("bob"), ["one", "two", "three"]);
    let named = told(&mut world, "bob");
    let [named] = &named[..] else { panic!("one: {named:?}") };
    assert_eq!((&named.relay, named.messages, &named.shown_by), (&one, 1, &None));
    let verified = world.core("bob").verify("reading").unwrap();
    assert!(verified.gaps.is_empty() && verified.withheld.len() == 1);
}

#[test]
fn what_its_writer_can_not_give_a_relay_members_give_it_and_it_is_not_named() {
    let (mut world, one, two) = three();
    world.relay_is_out_of_reach(&two, "ada");
    world.relay_is_out_of_reach(&one, "carol");
    world.settle();
    for text in ["one", "two", "three"] {
        world.send("ada", "reading", text);
        world.pass(MINUTE_MS);
    }
    // Somebody shows the relay the last of them alone.
    world.relay_is_given(&two, &one, 2);
    world.pass(120 * MINUTE_MS);
    assert_eq!(world.texts("bob"), ["one", "two", "three"]);
    assert_eq!(world.texts("carol"), ["one", "two", "three"], "who reads at the other relay alone");
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

/// Two relays have told bob a message without its keys, or the first of them nothing of it; he was started anew since,
/// and then the second tells the keys. Whether he gives the message to the first, or to the second; and for how many
/// messages he names them.
fn gives_what_waited_for_keys(told_by_the_first: usize) -> ([bool; 2], u64) {
    let (mut world, one, two) = three();
    let since = world.lengths();
    world.stop("bob");
    world.stop("carol");
    world.send("ada", "reading", "early");
    world.settle();
    world.stop("ada");
    world.relay_hides_since(&one, &since, told_by_the_first);
    let message = world.relay_hides_since(&two, &since, 1);
    for _ in 0..2 {
        world.start("bob");
        world.pass(MINUTE_MS);
        assert!(world.texts("bob").is_empty(), "it waits for its keys");
        world.stop("bob");
    }
    world.start("bob");
    world.pass(MINUTE_MS);
    world.relay_tells_late(&two);
    world.pass(10 * MINUTE_MS);
    assert_eq!(world.texts("bob"), ["early"]);
    let is_given = |relay: &str| message.iter().any(|it| world.relay_had(relay).contains(it));
    ([is_given(&one), is_given(&two)], count(&mut world, "bob"))
}

#[test]
fn what_waited_for_its_keys_is_not_given_to_a_relay_that_told_it_in_an_earlier_run() {
    assert_eq!(gives_what_waited_for_keys(1), ([false, false], 0));
    assert_eq!(gives_what_waited_for_keys(0), ([true, false], 1), "the first did not tell it");
}

#[test]
fn an_own_message_that_was_told_before_a_kill_names_nobody() {
    let (mut world, one, two) = three();
    // It is on the relay's disk; the answer never comes, and what it tells does.
    world.relay_is_full(&one, true);
    world.send("ada", "reading", "stored");
    world.relay_is_given(&one, &two, 20);
    world.settle();
    world.stop("ada");
    world.relay_is_full(&one, false);
    world.start("ada");
    world.pass(60 * MINUTE_MS);
    assert_eq!(world.texts("bob"), ["stored"]);
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

#[test]
fn a_relay_that_says_that_it_can_not_tell_a_log_is_not_named() {
    let (mut world, one, _) = three();
    world.relay_refuses(&one, true);
    world.send("ada", "reading", "stored at both");
    world.pass(300 * MINUTE_MS);
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
    world.relay_refuses(&one, false);
    world.pass(60 * MINUTE_MS);
    assert_eq!(world.texts("bob"), ["stored at both"]);
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

#[test]
fn a_relay_that_was_killed_and_repaired_is_given_what_it_lost_and_not_named() {
    let (mut world, one, two) = three();
    world.relay_is_out_of_reach(&two, "carol");
    world.settle();
    for round in ["first", "second", "third"] {
        // On its disk and answered; killed before it told anybody.
        world.relay_hides(&one, true);
        world.send("ada", "reading", round);
        world.relay_hides(&one, false);
        world.relay_is_repaired(&one);
        world.send("bob", "reading", &format!("after the {round}"));
        world.pass(20 * MINUTE_MS);
        assert!(world.texts("carol").contains(&round.into()), "she reads at that one alone");
    }
    world.pass(60 * MINUTE_MS);
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

/// What somebody was told loudly.
fn alarms(world: &mut World, name: &str) -> Vec<String> {
    let events = world.events(name).into_iter();
    let told = events.filter_map(|event| match event.what {
        What::Alarm { text } => Some(text),
        _ => None,
    });
    told.collect()
}

/// What somebody has for a relay.
fn waiting(world: &mut World, name: &str, relay: &str) -> BTreeSet<Vec<u8>> {
    let key = address::relays([relay])[0].peer_id.to_bytes();
    let core = world.core(name);
    let rows = core.store.read(|tx| tx.outbox(&key, 0, 1_000)).unwrap();
    rows.into_iter().map(|row| row.entry).collect()
}

#[test]
fn a_relay_that_refuses_is_not_given_more_and_more() {
    let (mut world, one, _) = three();
    world.relay_is_out_of_reach(&one, "ada");
    world.relay_is_full(&one, true);
    world.settle();
    for n in 0..20 {
        world.send("ada", "reading", &format!("word {n}"));
        world.pass(MINUTE_MS);
    }
    world.pass(60 * MINUTE_MS);
    let hers = waiting(&mut world, "ada", &one);
    assert!(hers.len() >= 20, "{}", hers.len());
    for name in ["bob", "carol"] {
        let for_her = waiting(&mut world, name, &one).intersection(&hers).count();
        assert_eq!(for_her, 0, "{name} has {for_her} of hers wait for it");
    }
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

#[test]
fn what_others_can_not_give_a_relay_waits_nowhere_and_alarms_nobody() {
    let (mut world, one, two) = three();
    world.relay_is_out_of_reach(&one, "ada");
    world.settle();
    for n in 0..20 {
        world.send("ada", "reading", &format!("word {n}"));
    }
    let hers = world.relay_wants_none(&one, &two).clone();
    assert!(hers.len() >= 20, "{}", hers.len());
    world.pass(60 * MINUTE_MS);
    let refused = world.relay_refused(&one).len();
    let most = 2 * 4 * (60 / 5 + 1);
    assert!((1..=most).contains(&refused), "given {refused} times in an hour");
    for name in ["bob", "carol"] {
        let waits = waiting(&mut world, name, &one);
        assert!(waits.iter().all(|it| !hers.contains(&it[..])), "{name} thinks of it alone");
        let told = alarms(&mut world, name);
        assert!(told.iter().all(|text| !text.contains("did not store")), "{name}: {told:?}");
    }
    world.pass(120 * MINUTE_MS);
    let refused = world.relay_refused(&one).len();
    world.pass(60 * MINUTE_MS);
    assert_eq!(world.relay_refused(&one).len(), refused, "in time nobody thinks of it any more");
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

#[test]
fn a_relay_that_lost_its_store_is_not_named() {
    let (mut world, one, _) = three();
    for round in 0..5 {
        world.send("ada", "reading", &format!("word {round}"));
        world.relay_loses(&one, true);
        world.pass(30 * MINUTE_MS);
    }
    assert_eq!(world.texts("bob").len(), 5);
    nobody_is_named(&mut world, &["ada", "bob", "carol"]);
}

/// A relay leaves out a message, says that it stands further on than all that it tells, and has an excuse every
/// three minutes. How many minutes until bob names it.
fn named_after(excuse: impl Fn(&mut World, &str)) -> Option<usize> {
    let (mut world, one, _) = three();
    world.relay_gives(&one, Some(1 << 40));
    world.relay_hides(&one, true);
    world.send("ada", "reading", "left out");
    world.settle();
    world.relay_hides(&one, false);
    (0..300).step_by(3).find(|_| {
        excuse(&mut world, &one);
        world.pass(3 * MINUTE_MS);
        !told(&mut world, "bob").is_empty()
    })
}

#[test]
fn a_relay_that_withholds_is_named_whichever_excuse_it_has() {
    let none = named_after(|_, _| ());
    assert!(none.is_some_and(|at| at < 30), "{none:?}");
    let hangs_up = named_after(|world, relay| {
        world.relay_stands(relay, false);
        world.settle();
        world.relay_stands(relay, true);
    });
    assert!(hangs_up.is_some_and(|at| at < 40), "{hangs_up:?}");
    let loses_its_store = named_after(|world, relay| world.relay_loses(relay, false));
    assert!(loses_its_store.is_some_and(|at| at < 120), "{loses_its_store:?}");
}

#[test]
fn a_conversation_over_relays_that_come_and_go_names_nobody() {
    let mut world = World::new();
    let (one, two) = (world.relay(1), world.relay(2));
    world.direct_node("ada", &[&one, &two]);
    world.create("ada", "reading");
    for name in ["bob", "carol"] {
        let code = world.invite("ada", "reading");
        world.direct_node(name, &[]);
        world.joined(name, &code);
    }
    let mut expected = Vec::new();
    for n in 0..40 {
        let relay = if n % 3 == 0 { &one } else { &two };
        world.relay_stands(relay, n % 2 == 0);
        if n % 5 == 0 && !world.cut.remove(&("ada", "bob")) {
            world.cut.insert(("ada", "bob"));
        }
        let by = ["ada", "bob", "carol"][n % 3];
        let text = format!("word {n}");
        world.send(by, "reading", &text);
        expected.push(text);
        world.pass(7 * MINUTE_MS);
    }
    for relay in [&one, &two] {
        world.relay_stands(relay, true);
    }
    world.pass(60 * MINUTE_MS);
    for name in ["ada", "bob", "carol"] {
        assert_eq!(world.texts(name).len(), expected.len(), "{name}");
        assert!(told(&mut world, name).is_empty(), "{name}");
    }
}
