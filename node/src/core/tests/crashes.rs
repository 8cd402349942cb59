//! A process that dies between any two effects, and a store that refuses.

use protocol::{
    group::{Group, LogRole},
    ids::Timestamp,
    relay_log::Cursor,
};

use super::{World, stories::group_of};
use crate::{
    api::types::JoinState,
    core::{Core, Effect},
    net::relay::RelayReport,
};

/// Runs a story once for each place at which `who` may die, until it no longer dies.
fn dying_anywhere(who: &'static str, mut story: impl FnMut(usize) -> bool) {
    let died = (0..400).take_while(|effects| story(*effects)).count();
    assert!((3..400).contains(&died), "{who} died at {died} places");
}

fn back(world: &mut World, who: &'static str) -> bool {
    let died = world.is_dead(who);
    if died {
        world.start(who);
    } else {
        world.lives_on(who);
    }
    world.pass(120_000);
    died
}

#[test]
fn a_sender_that_dies_anywhere_delivers_once() {
    dying_anywhere("ada", |effects| {
        let (mut world, _) = group_of(&["ada", "bob"]);
        world.dies_after("ada", effects);
        let now = world.now;
        world.core("ada").send("reading", "one", now).unwrap();
        world.core("ada").send("reading", "two", now).unwrap();
        world.settle();
        let died = back(&mut world, "ada");
        assert_eq!(world.texts("bob"), ["one", "two"], "died after {effects} effects");
        world.send("bob", "reading", "answer");
        assert_eq!(world.texts("ada"), ["one", "two", "answer"], "died after {effects} effects");
        died
    });
}

#[test]
fn what_was_due_by_a_clock_that_is_set_back_is_not_put_off() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.pass(60_000);
    // Bob's node says in a second that it has it.
    world.send("ada", "reading", "hello");
    world.now = Timestamp(world.now.0 - 10 * 24 * 60 * 60 * 1000);
    let now = world.now;
    for name in ["ada", "bob"] {
        world.core(name).on_clock_set_back(now);
    }
    world.pass(60_000);
    let delivery = world.history("ada").remove(0).delivery.unwrap();
    assert_eq!(delivery.received.len(), 1, "{delivery:?}");
}

#[test]
fn a_reader_that_dies_anywhere_reads_once() {
    dying_anywhere("bob", |effects| {
        let (mut world, _) = group_of(&["ada", "bob"]);
        world.dies_after("bob", effects);
        for text in ["one", "two", "three"] {
            world.send("ada", "reading", text);
        }
        let now = world.now;
        if !world.is_dead("bob") {
            world.core("bob").send("reading", "answer", now).unwrap();
        }
        world.settle();
        let died = back(&mut world, "bob");
        let texts = world.texts("bob");
        assert_eq!(texts[..3], ["one", "two", "three"], "died after {effects} effects");
        assert!(texts.len() <= 4);
        died
    });
}

#[test]
fn a_joiner_that_dies_anywhere_gets_in() {
    dying_anywhere("bob", |effects| {
        let (mut world, _) = group_of(&["ada"]);
        let code = world.invite("ada", "reading");
        world.node("bob", &[]);
        world.settle();
        world.dies_after("bob", effects);
        let now = world.now;
        let join = world.core("bob").join(&code, now).unwrap();
        world.settle();
        let died = back(&mut world, "bob");
        let join = world.core("bob").join_state(&join.id).unwrap();
        assert_eq!(join.state, JoinState::Joined, "died after {effects} effects: {}", join.detail);
        world.send("ada", "reading", "welcome");
        world.send("bob", "reading", "thanks");
        assert_eq!(world.texts("bob"), ["welcome", "thanks"]);
        assert_eq!(world.texts("ada"), ["welcome", "thanks"]);
        died
    });
}

#[test]
fn an_inviter_that_dies_anywhere_lets_the_joiner_in() {
    dying_anywhere("ada", |effects| {
        let (mut world, _) = group_of(&["ada"]);
        let code = world.invite("ada", "reading");
        world.node("bob", &[]);
        world.settle();
        world.dies_after("ada", effects);
        let now = world.now;
        let join = world.core("bob").join(&code, now).unwrap();
        world.settle();
        let died = back(&mut world, "ada");
        let join = world.core("bob").join_state(&join.id).unwrap();
        assert_eq!(join.state, JoinState::Joined, "died after {effects} effects: {}", join.detail);
        world.send("ada", "reading", "welcome");
        assert_eq!(world.texts("bob"), ["welcome"]);
        assert_eq!(world.core("ada").group("reading", now).unwrap().people.len(), 2);
        died
    });
}

#[test]
fn a_remover_that_dies_anywhere_has_removed() {
    dying_anywhere("ada", |effects| {
        let (mut world, _) = group_of(&["ada", "bob", "carol"]);
        world.dies_after("ada", effects);
        let now = world.now;
        world.core("ada").remove("reading", "bob", now).unwrap();
        world.settle();
        let died = back(&mut world, "ada");
        world.send("ada", "reading", "without bob");
        world.send("carol", "reading", "indeed");
        assert_eq!(world.texts("carol"), ["without bob", "indeed"], "after {effects} effects");
        assert!(world.texts("bob").is_empty(), "died after {effects} effects");
        died
    });
}

#[test]
fn when_the_store_refuses_nothing_leaves_and_nothing_is_lost() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let now = world.now;
    world.core("ada").refuse_commits(true);
    let refused = world.core("ada").send("reading", "too early", now).unwrap_err();
    assert_eq!((refused.code(), refused.exit()), ("store", 1));
    assert!(world.core("ada").rotate("reading", now).is_err());
    while let Some(effect) = world.core("ada").poll_effect() {
        assert!(!matches!(effect, Effect::Append { .. } | Effect::Channel { .. }), "{effect:?}");
    }
    world.core("ada").refuse_commits(false);
    world.pass(5000);
    world.send("ada", "reading", "in time");
    world.send("bob", "reading", "good");
    assert_eq!(world.texts("bob"), ["in time", "good"]);
    assert_eq!(world.texts("ada"), ["in time", "good"]);
}

#[test]
fn a_log_is_read_from_its_start_also_where_the_store_refuses_once() {
    let mut world = World::new();
    let relay = world.relay(1);
    world.direct_node("ada", &[&relay]);
    world.create("ada", "reading");
    world.send("ada", "reading", "alone");
    let now = world.now;
    let core = world.core("ada");
    let (key, logs) = core.planned().remove(0);
    let log = *logs.first().unwrap();
    let cursor = |core: &mut Core| core.store.read(|tx| tx.cursor(&key.to_bytes(), log)).unwrap();
    assert!(cursor(core).is_some());

    // As where somebody comes back to a group; and then the store refuses.
    core.store.transaction(|tx| tx.unread(log)).unwrap();
    core.after.anew.push(log);
    core.after.logs = true;
    core.after.present.extend(core.groups.keys());
    core.refuse_commits(true);
    core.finish(now);
    let anew = |core: &mut Core| {
        let effects = std::iter::from_fn(|| core.poll_effect());
        effects
            .filter_map(|effect| match effect {
                Effect::FollowAnew { log, after, .. } => Some((log, after)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(anew(core), []);

    // What is under way of the log's end says nothing of its start.
    core.refuse_commits(false);
    let end = Cursor { generation: 1, seq: 1_000 };
    core.on_relay(&key, RelayReport::CaughtUp { log, cursor: end }, now).unwrap();
    assert_eq!(cursor(core), None);
    assert_eq!(anew(core), [(log, None)]);
    core.on_relay(&key, RelayReport::CaughtUp { log, cursor: end }, now).unwrap();
    assert_eq!(cursor(core), Some(end), "and from then on it is read again");
}

#[test]
fn what_a_client_told_that_is_about_to_end_has_nothing_passed_over() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    let now = world.now;
    let core = world.core("bob");
    let key = core.planned().remove(0).0;
    let mut logs = core.groups.values().flat_map(Group::logs);
    let log = logs.find(|log| log.role == LogRole::Write).unwrap().keys.id();
    let stored = |core: &mut Core| core.store.read(|tx| tx.cursor(&key.to_bytes(), log)).unwrap();
    let before = stored(core);
    let at = |seq| Cursor { generation: 1, seq };
    core.refuse_commits(true);
    let entries = RelayReport::Entries { log, entries: Vec::new(), cursor: at(1_000) };
    core.on_relay(&key, entries, now).unwrap_err();
    core.refuse_commits(false);
    // It had told more by then, which was not taken yet.
    core.on_relay(&key, RelayReport::CaughtUp { log, cursor: at(2_000) }, now).unwrap();
    assert_eq!(stored(core), before, "what could not be kept is read again");
    world.pass(10_000);
    world.send("ada", "reading", "after");
    assert_eq!(world.texts("bob"), ["after"]);
}

#[test]
fn a_clock_that_was_ahead_and_is_set_back_holds_nothing_up() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.now = world.now.plus_ms(DAY_MS);
    world.send("ada", "reading", "one");
    world.relay_is_full(&relay, true);
    world.send("ada", "reading", "two");
    world.now = Timestamp(world.now.0 - DAY_MS);
    let now = world.now;
    for name in ["ada", "bob"] {
        world.core(name).on_clock_set_back(now);
    }
    world.relay_is_full(&relay, false);
    world.pass(60_000);
    assert_eq!(world.texts("bob"), ["one", "two"]);
    for message in world.history("ada") {
        let delivery = message.delivery.unwrap();
        assert!(delivery.stored && delivery.missing.is_empty(), "{}: {delivery:?}", message.text);
    }
}

#[test]
fn a_disk_that_was_set_back_catches_up_though_the_clock_is_set_back_meanwhile() {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.send("ada", "reading", "one");
    let disk = world.disk("ada");
    world.settle();
    world.send("ada", "reading", "two");
    world.set_back("ada", disk);
    world.pass(1_500);
    let is_behind = |world: &mut World| world.core("ada").groups.values().any(Group::is_behind);
    assert!(is_behind(&mut world));
    world.now = Timestamp(world.now.0 - DAY_MS);
    let now = world.now;
    for name in ["ada", "bob"] {
        world.core(name).on_clock_set_back(now);
    }
    world.pass(10_000);
    assert!(!is_behind(&mut world));
    world.send("ada", "reading", "three");
    assert_eq!(world.texts("bob"), ["one", "two", "three"]);
}

#[test]
fn a_clock_that_leaps_ahead_costs_no_message_that_waits() {
    let (mut world, relay) = group_of(&["ada", "bob"]);
    world.relay_is_full(&relay, true);
    world.send("ada", "reading", "from the year before the clock was set");
    world.now = world.now.plus_ms(20 * 365 * 24 * 60 * 60 * 1000);
    let now = world.now;
    for name in ["ada", "bob"] {
        world.core(name).on_deadline(now).unwrap();
    }
    world.settle();
    world.relay_is_full(&relay, false);
    world.pass(600_000);
    assert_eq!(world.texts("bob"), ["from the year before the clock was set"]);
}

#[test]
fn keys_made_while_the_clock_was_years_ahead_do_not_live_for_years() {
    const YEARS_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;
    let (mut world, _) = group_of(&["ada", "bob"]);
    let start = world.now;
    world.now = start.plus_ms(YEARS_MS);
    world.send("ada", "reading", "ahead");
    world.now = start;
    for name in ["ada", "bob"] {
        world.core(name).on_clock_set_back(start);
    }
    let made = |world: &mut World| {
        let events = world.events("ada").into_iter();
        events.filter(|event| matches!(event.what, crate::api::types::What::Rotated { .. })).count()
    };
    let before = made(&mut world);
    world.send("ada", "reading", "now");
    assert_eq!(made(&mut world), before + 1);
    world.send("ada", "reading", "and once is enough");
    assert_eq!(made(&mut world), before + 1);
    assert_eq!(world.texts("bob"), ["ahead", "now", "and once is enough"]);
}
