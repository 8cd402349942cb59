//! Names that members take.

use super::{World, stories::group_of};
use crate::{
    api::types::{VerifyMember, What},
    core::VerbError,
};

/// Who was told of a name: the new one, the one before, and whether it is one's own.
fn told(world: &mut World, name: &str) -> Vec<(String, String, bool)> {
    let told = world.events(name).into_iter().filter_map(|event| match event.what {
        What::MemberRenamed { member, before, me } => {
            assert!(event.group.is_some());
            Some((member.name, before, me))
        }
        _ => None,
    });
    told.collect()
}

fn rename(world: &mut World, node: &'static str, name: &str) -> Result<String, VerbError> {
    let now = world.now;
    let renamed = world.core(node).rename(name, now);
    world.settle();
    renamed.map(|it| it.before)
}

#[test]
fn a_name_is_told_once_in_each_group_and_the_mark_stays_with_the_identity() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    world.create("ada", "chess");
    let code = world.invite("ada", "chess");
    world.joined("bob", &code);
    let (bob, now) = (world.member("bob").to_string(), world.now);
    world.core("ada").verify_member(&bob, &VerifyMember::Mark, now).unwrap();
    assert_eq!(rename(&mut world, "bob", "robert").unwrap(), "bob");
    let once = |me| ("robert".to_owned(), "bob".to_owned(), me);
    assert_eq!(told(&mut world, "ada"), [once(false), once(false)]);
    assert_eq!(told(&mut world, "bob"), [once(true), once(true)]);
    let now = world.now;
    let people = world.core("ada").group("reading", now).unwrap().people;
    let robert = people.into_iter().find(|it| it.member.name == "robert").unwrap();
    assert_eq!((robert.member.id, robert.verified), (bob, true));
    assert_eq!(world.core("bob").status(now).unwrap().me.name, "robert");
    world.send("ada", "reading", "still for you");

    // The same again is no news, nor is a restart.
    rename(&mut world, "bob", "robert").unwrap();
    for name in ["ada", "bob"] {
        world.stop(name);
        world.start(name);
        world.settle();
        assert_eq!(told(&mut world, name).len(), 2);
    }
}

#[test]
fn a_name_that_can_not_be_changes_nothing() {
    let (mut world, _) = group_of(&["ada", "bob"]);
    for bad in ["", "b\u{1b}b", "b\nb"] {
        let refused = rename(&mut world, "bob", bad).unwrap_err();
        assert_eq!((refused.code(), refused.exit()), ("bad-name", 2), "{bad:?}");
    }
    let now = world.now;
    assert_eq!(world.core("bob").status(now).unwrap().me.name, "bob");
    assert!(told(&mut world, "ada").is_empty());
}

#[test]
fn who_renames_itself_to_a_verified_name_is_told_as_both() {
    let (mut world, _) = group_of(&["ada", "bob", "eve"]);
    let (bob, now) = (world.member("bob").to_string(), world.now);
    world.core("ada").verify_member(&bob, &VerifyMember::Mark, now).unwrap();
    rename(&mut world, "eve", "bob").unwrap();
    assert_eq!(told(&mut world, "ada"), [("bob".into(), "eve".into(), false)]);
    let now = world.now;
    let refused = world.core("ada").send("reading", "for bob", now).unwrap_err();
    assert_eq!(refused.code(), "key-changed");
}
