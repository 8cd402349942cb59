//! The order in which members see a conversation, whatever reached whom when.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{codec, limits::LAMPORT_LEAP};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use super::World;
use crate::{
    api::conduct::SetPolicy,
    store::{Store, StoreError, Unlock},
};

const NAMES: [&str; 4] = ["ada", "bob", "carol", "dave"];

fn below(rng: &mut ChaCha20Rng, end: usize) -> usize {
    usize::try_from(rng.next_u64() % end as u64).unwrap()
}

#[test]
fn after_a_conversation_over_broken_links_all_see_one_order_and_each_word_after_what_it_answers() {
    for seed in 0..6 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut world = World::new();
        world.direct_node("ada", &[]);
        world.create("ada", "reading");
        for name in &NAMES[1..] {
            let code = world.invite("ada", "reading");
            world.direct_node(name, &[]);
            world.joined(name, &code);
            world.pass(60_000);
        }
        let mut had: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for n in 0..30 {
            let (one, other) = (NAMES[below(&mut rng, 4)], NAMES[below(&mut rng, 4)]);
            if one < other && !world.cut.remove(&(one, other)) {
                world.cut.insert((one, other));
            }
            let by = NAMES[below(&mut rng, 4)];
            let text = format!("{n} of {by}");
            had.insert(text.clone(), world.texts(by));
            world.send(by, "reading", &text);
            let ms = rng.next_u64() % 40_000;
            world.pass(ms);
        }
        world.cut.clear();
        world.pass(15 * 60_000);
        let order = world.texts("ada");
        assert_eq!(order.len(), 30, "seed {seed}");
        for name in &NAMES[1..] {
            assert_eq!(world.texts(name), order, "seed {seed}: {name}");
        }
        let mut before = BTreeSet::new();
        for text in &order {
            assert!(had[text].iter().all(|it| before.contains(it)), "seed {seed}: {text}");
            before.insert(text);
        }
    }
}

#[test]
fn what_one_writes_in_one_moment_is_shown_as_it_was_written_in_whatever_order_it_comes() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    world.stop("bob");
    let before = world.lengths();
    let expected: Vec<String> = (0..20).map(|n| format!("word {n}")).collect();
    expected.iter().for_each(|text| drop(world.send("ada", "reading", text)));
    world.reverse_entries(&before);
    world.start("bob");
    world.pass(60_000);
    assert_eq!(world.texts("bob"), expected);
    let told = world.events("bob").into_iter().filter_map(|event| match event.what {
        crate::api::types::What::Message { message } => Some(message.seq),
        _ => None,
    });
    assert_eq!(told.count(), expected.len(), "each once");
}

#[test]
fn who_came_later_stands_after_what_was_said_before() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob"]);
    for n in 0..5 {
        world.send("ada", "reading", &format!("word {n}"));
    }
    let code = world.invite("ada", "reading");
    world.node("carol", &[]);
    world.joined("carol", &code);
    world.send("carol", "reading", "good day");
    world.send("bob", "reading", "welcome");
    world.pass(60_000);
    for name in ["ada", "bob", "carol"] {
        let texts = world.texts(name);
        assert_eq!(texts[texts.len() - 2..], ["good day", "welcome"], "{name}");
    }
    assert_eq!(world.texts("ada").len(), 7);
}

/// Has a member count on from there, as a node that lies does.
fn leap(world: &mut World, name: &'static str, lamport: u64) {
    world.stop(name);
    let mut store = Store::open(world.dir(name), &Unlock::KeyFile).unwrap();
    let rewritten = store.transaction(|tx| {
        let group = tx.groups()?[0];
        let records = tx.records(group)?;
        let (key, meta) = records.iter().find(|(key, _)| key.as_slice() == [0]).unwrap();
        let mut read = minicbor::Decoder::new(meta);
        read.array().unwrap();
        (0..3).for_each(|_| read.skip().unwrap());
        let before = &meta[..read.position()];
        read.u64().unwrap();
        let meta = [before, &codec::encode(&lamport), &meta[read.position()..]].concat();
        tx.put_record(group, key, Some(&meta))?;
        Ok::<_, StoreError>(())
    });
    rewritten.unwrap();
    drop(store);
    world.start(name);
}

#[test]
fn who_counts_far_ahead_hides_nobody_and_its_words_stand_where_they_came() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "eve"]);
    leap(&mut world, "eve", 1 << 60);
    world.send("ada", "reading", "before");
    let leaps: Vec<String> = (0..60).map(|n| format!("leap {n}")).collect();
    leaps.iter().for_each(|text| drop(world.send("eve", "reading", text)));
    world.pass(60_000);
    world.send("ada", "reading", "after");
    world.send("bob", "reading", "an answer");
    world.pass(60_000);
    let mut expected = vec!["before".to_owned()];
    expected.extend(leaps);
    expected.extend(["after", "an answer"].map(String::from));
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), expected, "{name}");
        let history = world.history(name);
        assert!(history.iter().all(|it| it.ahead == it.text.starts_with("leap")), "{name}");
        let reader = world.core(name).reader().unwrap();
        let group = *world.core(name).groups.keys().next().unwrap();
        let last = reader.messages(group, None, 50).unwrap();
        assert_eq!([&last[48].text, &last[49].text], ["after", "an answer"], "{name}");
    }
    let (now, share) = (world.now, SetPolicy { share_history: Some(true), ..SetPolicy::default() });
    world.core("ada").set_policy("reading", &share, now).unwrap();
    let code = world.invite("ada", "reading");
    world.node("dave", &[]);
    world.joined("dave", &code);
    world.pass(60_000);
    let now = world.now;
    world.core("ada").share_history("reading", 50, now).unwrap();
    world.pass(60_000);
    assert_eq!(world.texts("dave"), expected[expected.len() - 50..]);
}

#[test]
fn what_comes_at_once_is_judged_by_the_clock_that_has_followed_all_of_it() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "eve"]);
    leap(&mut world, "eve", 3 * LAMPORT_LEAP);
    world.send("ada", "reading", "before");
    world.stop("bob");
    let before = world.lengths();
    let leaps: Vec<String> = (0..5).map(|n| format!("leap {n}")).collect();
    leaps.iter().for_each(|text| drop(world.send("eve", "reading", text)));
    // The last first: they wait for their keys, and open in one step.
    world.reverse_entries(&before);
    world.start("bob");
    world.pass(60_000);
    world.send("ada", "reading", "after");
    world.pass(60_000);
    let mut expected = vec!["before".to_owned()];
    expected.extend(leaps);
    expected.push("after".into());
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), expected, "{name}");
    }
    assert!(world.history("bob").iter().all(|it| !it.ahead));
    assert!(world.history("ada").iter().any(|it| it.ahead), "one after the other");
}

#[test]
fn one_message_of_who_leapt_has_none_of_its_old_ones_come_up_again() {
    let (mut world, _) = super::stories::group_of(&["ada", "bob", "eve"]);
    leap(&mut world, "eve", 50 * LAMPORT_LEAP + 1_000);
    let mut expected: Vec<String> = (0..50).map(|n| format!("leap {n}")).collect();
    expected.iter().for_each(|text| drop(world.send("eve", "reading", text)));
    world.pass(60_000);
    for n in 0..20 {
        let (by, text) = (["ada", "bob"][n % 2], format!("line {n}"));
        world.send(by, "reading", &text);
        world.pass(5_000);
        expected.push(text);
    }
    // With this one their clocks are where it had leapt to.
    world.send("eve", "reading", "one more");
    world.pass(60_000);
    expected.push("one more".into());
    for name in ["ada", "bob"] {
        assert_eq!(world.texts(name), expected, "{name}");
        let ahead = world.history(name).into_iter().filter(|it| it.ahead);
        assert!(ahead.map(|it| it.text).eq(expected[..50].iter().cloned()), "{name}");
    }
}
