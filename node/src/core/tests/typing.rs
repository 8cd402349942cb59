//! Who is typing: told to neighbours while it is so.

use super::World;
use crate::api::{conduct::SetConduct, types::What};

/// Who was told to be typing here, and whether it goes on, since it was asked last.
fn told(world: &mut World, name: &'static str) -> Vec<(String, bool)> {
    world.settle();
    let live = std::mem::take(&mut world.node_of(name).live);
    live.into_iter()
        .map(|event| match event.what {
            What::Typing { member, on } => (member.name, on),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn types(world: &mut World, name: &str, on: bool) -> bool {
    let now = world.now;
    world.core(name).tell_typing("reading", on, now).unwrap()
}

#[test]
fn it_is_told_once_in_three_seconds_and_nothing_of_it_is_kept() {
    let mut world = World::new();
    world.pair(&[]);
    world.pass(1000);
    let before = world.events("ada").len();
    assert!(!types(&mut world, "bob", false), "nothing to take back");
    assert!(types(&mut world, "bob", true) && types(&mut world, "bob", true));
    assert_eq!(told(&mut world, "ada"), [("bob".into(), true)]);
    world.pass(3_000);
    types(&mut world, "bob", true);
    types(&mut world, "bob", false);
    types(&mut world, "bob", false);
    assert_eq!(told(&mut world, "ada"), [("bob".into(), true), ("bob".into(), false)]);
    assert!(told(&mut world, "bob").is_empty());
    assert_eq!(world.events("ada").len(), before);
}

#[test]
fn who_is_blocked_types_unseen_and_where_it_is_off_nobody_is_told() {
    let mut world = World::new();
    world.pair(&[]);
    world.pass(1000);
    let now = world.now;
    world.core("ada").block("@bob", now).unwrap();
    assert!(types(&mut world, "bob", true), "who is blocked doesn't learn of it");
    assert!(told(&mut world, "ada").is_empty());
    world.core("ada").unblock("@bob").unwrap();
    let off = SetConduct { typing: Some(false), ..SetConduct::default() };
    world.core("ada").set_conduct("reading", &off, now).unwrap();
    world.pass(3_000);
    assert!(!types(&mut world, "bob", true));
    assert!(told(&mut world, "ada").is_empty());
    let shown = world.events("bob").into_iter().find_map(|event| match event.what {
        What::TypingShown { by, on } => Some((by.unwrap().name, on)),
        _ => None,
    });
    assert_eq!(shown, Some(("ada".into(), false)));
}
