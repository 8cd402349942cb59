//! A node is killed again and again, at moments of chance, while it sends and is sent to.
//!
//! `WATTLE_NODE_KILLS` says how often, `WATTLE_NODE_KILLS_SEED` at which moments.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use harness::{Chance, Node, PATIENCE, Place, World, asked};
use node::api::types::What;

/// How long it lives after it was ready, and after it was started, at most.
const LIVES_MS: u64 = 1500;
const STARTS_MS: u64 = 600;
/// Between two messages of those who are not killed.
const PACE: Duration = Duration::from_millis(150);

/// Sends until `over` is set and something was acknowledged since; gives what was acknowledged.
fn talk(world: &World, name: &str, pace: Duration, over: &AtomicBool) -> BTreeSet<String> {
    let (mut acknowledged, mut last) = (BTreeSet::new(), None);
    for number in 0.. {
        let was_over = over.load(Ordering::SeqCst);
        let last = was_over.then(|| *last.get_or_insert_with(Instant::now));
        assert!(last.is_none_or(|since| since.elapsed() < PATIENCE), "{name} can't send any more");
        let text = format!("{name} {number}");
        if world.cli(name, &["send", "tea", &text]).code == Some(0) {
            acknowledged.insert(text);
            if was_over {
                break;
            }
        }
        thread::sleep(pace);
    }
    acknowledged
}

/// Places of chains that have more than one message.
fn used_twice(nodes: &[BTreeMap<Place, Vec<u8>>]) -> Vec<Place> {
    let mut all: BTreeMap<&Place, BTreeSet<&[u8]>> = BTreeMap::new();
    for (place, message) in nodes.iter().flatten() {
        all.entry(place).or_default().insert(message);
    }
    let twice = all.into_iter().filter(|(_, messages)| messages.len() > 1);
    twice.map(|(place, _)| place.clone()).collect()
}

fn alarms(node: &Node) -> Vec<String> {
    let alarm = |what| if let What::Alarm { text } = what { Some(text) } else { None };
    node.events().into_iter().filter_map(|event| alarm(event.what)).collect()
}

#[test]
fn a_node_that_is_killed_at_any_moment_loses_nothing_repeats_nothing_and_uses_no_key_again() {
    let (kills, seed) = (asked("WATTLE_NODE_KILLS", 4), asked("WATTLE_NODE_KILLS_SEED", 1));
    println!("WATTLE_NODE_KILLS={kills} WATTLE_NODE_KILLS_SEED={seed}");
    let mut chance = Chance::of(seed);
    let world = World::new();
    let relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    let mut ben = world.node("ben").relay(&relay).start();
    let mut cleo = world.node("cleo").relay(&relay).no_direct().start();
    ana.create_group("tea");
    for other in [&ben, &cleo] {
        other.join(&ana.invite("tea"));
    }
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }

    let over = AtomicBool::new(false);
    let (began, mut killed_at_start) = (Instant::now(), 0);
    let acknowledged: Vec<BTreeSet<String>> = thread::scope(|scope| {
        let hers = scope.spawn(|| talk(&world, "ana", Duration::ZERO, &over));
        let others = ["ben", "cleo"].map(|name| {
            let (world, over) = (&world, &over);
            scope.spawn(move || talk(world, name, PACE, over))
        });
        ana.kill9();
        for _ in 0..kills {
            // One in four does not live to be ready.
            if chance.below(4) == 0 {
                ana.live_for(chance.span(0, STARTS_MS));
                killed_at_start += 1;
            } else {
                ana.start_again();
                thread::sleep(chance.span(0, LIVES_MS));
                ana.kill9();
            }
        }
        ana.start_again();
        over.store(true, Ordering::SeqCst);
        let talks = [hers].into_iter().chain(others);
        talks.map(|talk| talk.join().expect("a talk")).collect()
    });
    let took = began.elapsed();

    let all: BTreeSet<&str> = acknowledged.iter().flatten().map(String::as_str).collect();
    let mut unacknowledged = 0;
    for node in [&ana, &ben, &cleo] {
        node.until_texts("tea", &all);
        let texts = node.texts("tea");
        let once: BTreeSet<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(once.len(), texts.len(), "{} has something twice", node.name());
        unacknowledged = unacknowledged.max(once.difference(&all).count());
    }
    for node in [&ana, &ben, &cleo] {
        node.until_group("tea", "nothing to be missing", |view| view.gaps.is_empty());
        let verified = node.ask("verify", |client| async move { client.verify("tea").await });
        assert!(verified.notices.is_empty(), "{}: {verified:#?}", node.name());
        assert_eq!(alarms(node), [""; 0], "{}", node.name());
    }
    let places = [&mut ana, &mut ben, &mut cleo].map(|node| {
        node.kill9();
        node.places()
    });
    let twice = used_twice(&places);
    assert!(twice.is_empty(), "used twice: {twice:?}");
    let chains: BTreeSet<&Vec<u8>> = places[0].keys().map(|place| &place.chain).collect();
    println!(
        "{kills} kills of the node, {killed_at_start} of them before it was ready, in {took:.1?}: {} messages \
         acknowledged to its own sender and {} to others, 0 lost, 0 twice, and {unacknowledged} more that \
         nobody was told of; {} places in {} chains, none used twice",
        acknowledged[0].len(),
        acknowledged[1].len() + acknowledged[2].len(),
        places[0].len(),
        chains.len(),
    );
}

#[test]
fn one_place_of_a_chain_with_two_messages_is_seen_whoever_has_them() {
    let place = |index| Place { chain: vec![1], index };
    let of = |messages: [(u32, u8); 2]| {
        BTreeMap::from(messages.map(|(index, message)| (place(index), vec![message])))
    };
    let (ana, ben) = (of([(0, 7), (1, 8)]), of([(0, 7), (1, 9)]));
    assert!(used_twice(&[ana.clone(), ana.clone()]).is_empty());
    assert_eq!(used_twice(&[ana, ben]), [place(1)]);
}
