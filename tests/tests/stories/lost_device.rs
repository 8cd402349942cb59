//! A device is lost: its owner's people remove it wherever they can, and are told where they can't.

use harness::World;
use node::api::types::{GroupState, Removal};

#[test]
fn a_lost_device_is_removed_from_each_group_where_that_is_allowed() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    ana.create_group("cake");
    ben.join(&ana.invite("cake"));
    ben.create_group("bens");
    ana.join(&ben.invite("bens"));
    ana.create_group("alone");

    let said = ana.cli(&["group", "remove", "@ben", "--everywhere"]);
    assert_eq!(said.code, Some(5), "{said:?}");
    for group in ["tea", "cake"] {
        assert!(
            said.out.lines().any(|line| line.starts_with(group) && line.ends_with("is removed"))
        );
        ben.until_out(group, GroupState::Removed);
        assert_eq!(ana.people(group), ["ana"]);
    }
    assert!(said.out.contains("bens: ben (") && said.out.contains("NOT removed"), "{said:?}");
    assert!(said.err.contains("still in 1 group"), "{said:?}");
    ana.until_people("bens", &["ana", "ben"]);

    // What is left, for programs.
    let again = ana.cli(&["--json", "group", "remove", "ben", "--everywhere"]);
    let removal: Removal = serde_json::from_str(again.out.trim()).unwrap();
    assert_eq!(removal.group.name, "bens");
    assert_eq!(removal.error.unwrap().code, "not-an-admin");

    let said = ben.cli(&["group", "remove", "@ana", "--everywhere"]);
    assert!(said.clone().ok().starts_with("bens: ana ("), "{said:?}");
    ana.until_out("bens", GroupState::Removed);
    ana.cli(&["group", "remove", "@ben", "--everywhere"]).refused(6);
    ana.cli(&["group", "remove", "@ana", "--everywhere"]).refused(2);
    ana.cli(&["group", "remove", "alone"]).refused(2);
    ana.cli(&["group", "remove", "alone", "ben", "--everywhere"]).refused(2);
}
