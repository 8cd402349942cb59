//! The order in which members see a conversation, whatever reached whom when.

use std::collections::{BTreeMap, BTreeSet};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use super::World;

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
