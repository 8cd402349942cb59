//! Own inboxes at relays: what was read long ago is trimmed, and nothing else ever.

use bytes::Bytes;
use protocol::{group::LogRole, ids::LogId, relay_log::Cursor};

use super::World;
use crate::{
    core::{Core, Effect},
    net::relay::RelayReport,
};

const HOUR: u64 = 60 * 60 * 1000;
const DAY: u64 = 24 * HOUR;

/// Ada has removed somebody: in Ben's inbox there are the next topics.
fn handed_over() -> World {
    let mut world = World::new();
    let relay = world.relay(1);
    for name in ["ada", "ben", "cyd"] {
        world.node(name, &[&relay]);
    }
    world.create("ada", "tea");
    for name in ["ben", "cyd"] {
        let code = world.invite("ada", "tea");
        world.joined(name, &code);
    }
    world.pass(60_000);
    world.remove("ada", "tea", "cyd");
    world.pass(60_000);
    let now = world.now;
    world.core("ada").rotate("tea", now).unwrap();
    world.pass(60_000);
    let log = inbox(&mut world, "ben");
    assert!(world.entries(&log).0 >= 2, "nobody has posted anything");
    world
}

fn inbox(world: &mut World, name: &str) -> LogId {
    let mut logs = world.core(name).groups.values().flat_map(protocol::group::Group::logs);
    logs.find(|log| log.role == LogRole::Inbox).unwrap().keys.id()
}

/// Nobody is there for so long; then everybody is again.
fn sleep(world: &mut World, ms: u64) {
    for name in ["ada", "ben"] {
        world.stop(name);
    }
    world.now = world.now.plus_ms(ms);
    for name in ["ada", "ben"] {
        world.start(name);
    }
    world.pass(60_000);
}

#[test]
fn what_was_read_more_than_a_week_ago_is_trimmed_and_nothing_younger() {
    let mut world = handed_over();
    let log = inbox(&mut world, "ben");
    let (before, _) = world.entries(&log);
    sleep(&mut world, 7 * DAY);
    let (_, gone) = world.entries(&log);
    assert_eq!(gone, 0, "a week after the last of it, a copy of the disk may lack it still");
    sleep(&mut world, DAY);
    let (all, gone) = world.entries(&log);
    assert_eq!(gone, before.min(all - 1), "all of then, but never the last");
    let hello = world.send("ada", "tea", "still here");
    assert!(world.texts("ben").contains(&hello.text));
}

#[test]
fn what_a_node_has_not_read_is_not_trimmed_however_old_it_is() {
    let mut world = handed_over();
    let log = inbox(&mut world, "ben");
    let (before, _) = world.entries(&log);
    world.stop("ben");
    world.now = world.now.plus_ms(8 * DAY);
    let now = world.now;
    world.core("ada").rotate("tea", now).unwrap();
    world.pass(60_000);
    let (all, gone) = world.entries(&log);
    assert!(all > before && gone == 0, "{all} {gone}");
    world.start("ben");
    world.pass(60_000);
    let (_, gone) = world.entries(&log);
    assert_eq!(gone, before, "what it had read when it left, and not what it reads now");
}

#[test]
fn a_trim_that_is_lost_is_asked_for_again_an_hour_later() {
    let mut world = handed_over();
    let log = inbox(&mut world, "ben");
    let (before, _) = world.entries(&log);
    world.lose_trims(true);
    sleep(&mut world, 8 * DAY);
    world.lose_trims(false);
    assert_eq!(world.entries(&log).1, 0);
    world.pass(HOUR);
    let (all, gone) = world.entries(&log);
    assert_eq!(gone, before.min(all - 1));
}

#[test]
fn an_inbox_that_is_being_filled_is_trimmed_at_once() {
    let mut world = handed_over();
    let log = inbox(&mut world, "ben");
    world.fill(&log, 16 << 20);
    world.settle();
    let (all, gone) = world.entries(&log);
    assert!(gone + 3 > all, "{gone} of {all}");
    let hello = world.send("ada", "tea", "still here");
    assert!(world.texts("ben").contains(&hello.text));
}

#[test]
fn what_could_not_be_kept_is_neither_marked_nor_trimmed() {
    let mut world = handed_over();
    let log = inbox(&mut world, "ben");
    let now = world.now;
    let core = world.core("ben");
    let key = *core.relays.keys().next().unwrap();
    let left = |core: &mut Core| core.store.read(|tx| tx.standing(&key.to_bytes(), log)).unwrap();
    let before = left(core);
    core.refuse_commits(true);
    let cursor = Cursor { generation: 1, seq: 600 };
    let entries = vec![Bytes::from(vec![0xaa; 32_768]); 512];
    let report = RelayReport::Entries { log, entries, cursor };
    assert!(core.on_relay(&key, report, now).is_err());
    while let Some(effect) = core.poll_effect() {
        assert!(!matches!(effect, Effect::Trim { .. }), "nothing leaves before the commit");
    }
    core.refuse_commits(false);
    assert_eq!(left(core), before);
}
