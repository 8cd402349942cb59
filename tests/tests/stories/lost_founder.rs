//! A founder loses the device, and its recovery code ends the membership that nobody else could.

use harness::World;
use node::api::types::What;

#[test]
fn a_lost_founder_is_retired_by_another_members_node_and_the_next_admin_goes_on() {
    let world = World::new();
    let relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).start();
    let ben = world.node("ben").relay(&relay).start();
    let cleo = world.node("cleo").relay(&relay).start();
    ana.create_group("tea");
    for other in [&ben, &cleo] {
        other.join(&ana.invite("tea"));
    }
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    ana.cli(&["group", "promote", "tea", "ben"]).ok();
    let id = ana.send("tea", "ben looks after it with me");
    ana.until_received(&id);
    // She keeps the code on paper, and the device is gone.
    let code = ana.cli(&["recovery"]).ok();
    ana.cli(&["recovery", "--forget"]).ok();
    ana.cli(&["recovery"]).refused(5);
    ana.kill9();

    ben.cli(&["group", "remove", "tea", "ana"]).refused(5);
    cleo.cli_with(&["group", "retire", "tea"], "not a code").refused(2);
    cleo.cli_with(&["group", "retire", "tea"], &code).ok();
    for node in [&ben, &cleo] {
        node.until_people("tea", &["ben", "cleo"]);
        node.until("ana to be retired", |event| match &event.what {
            What::MemberRetired { member, me: false } if member.name == "ana" => Some(()),
            _ => None,
        });
    }
    let shown = ben.cli(&["group", "show", "tea"]).ok();
    assert!(shown.contains("retired      ana"), "{shown}");
    let id = ben.send("tea", "without the lost machine");
    ben.until_received(&id);

    // Whoever has the machine is out of it; ana joins with a new one, whom ben lets in.
    ana.start_again();
    ana.until("to be told so", |event| match &event.what {
        What::MemberRetired { me: true, .. } => Some(()),
        _ => None,
    });
    assert!(!ana.texts("tea").contains(&"without the lost machine".to_owned()));
    let anew = world.node("ana-anew").relay(&relay).start();
    anew.join(&ben.invite("tea"));
    ben.until_people("tea", &["ana-anew", "ben", "cleo"]);
    ben.send("tea", "welcome back");
    anew.hears("tea", "welcome back");
}
