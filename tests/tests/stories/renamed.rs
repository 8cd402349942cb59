//! Somebody takes another name.

use harness::World;
use node::api::types::What;

#[test]
fn another_name_is_shown_to_all_and_the_member_stays_who_it_is() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    ana.cli(&["verify", "@ben", "--mark"]).ok();
    let id = ben.member().to_owned();
    ben.cli(&["name", "ro\u{202e}bert"]).refused(2);
    ben.cli(&["name", "robert"]).ok();
    ana.until("ben's other name", |event| match &event.what {
        What::MemberRenamed { member, before, me: false } => {
            (member.id == id && member.name == "robert" && before == "ben").then_some(())
        }
        _ => None,
    });
    ana.until_people("tea", &["ana", "robert"]);
    let shown = ana.cli(&["group", "show", "tea"]).ok();
    assert!(shown.lines().any(|row| row.contains("robert") && row.contains("verified")), "{shown}");
    let said = ana.cli(&["tail", "tea", "--from-start", "--no-follow"]).ok();
    assert!(said.contains("robert was ben"), "{said}");
    ben.send("tea", "still me");
    assert_eq!(ana.hears("tea", "still me").from.name, "robert");

    // Also after a start, whatever name that is given.
    ben.stop();
    ben.start_again();
    assert_eq!(ben.status().me.name, "robert");
}
