//! Who has a message is told to its writer: while somebody is away, and after a kill.

use harness::World;
use serde_json::Value;

#[test]
fn a_writer_is_told_who_lacks_a_message_and_when_they_have_it_though_it_was_killed_meanwhile() {
    let world = World::new();
    let relay = world.relay();
    let (mut ana, mut ben) = world.pair(&relay);
    let cleo = world.node("cleo").relay(&relay).start();
    cleo.join(&ana.invite("tea"));
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &["ana", "ben", "cleo"]);
    }
    ana.cli(&["send", "tea", "everybody here?", "--wait", "all", "--timeout", "170s"]).ok();

    ben.stop();
    ana.cli(&["send", "tea", "and now?", "--wait", "any", "--timeout", "170s"]).ok();
    let sent = ana.cli(&["--json", "send", "tea", "ben?", "--wait", "all", "--timeout", "5s"]);
    let message: Value = serde_json::from_str(sent.out.trim()).expect("a message");
    let id = message["id"].as_str().expect("its id").to_owned();
    let words = sent.refused(8);
    assert!(words.contains("ben"), "{words}");
    ana.until_delivery(&id, "cleo to have it", |delivery| {
        delivery.stored && delivery.received.iter().any(|member| member.name == "cleo")
    });
    assert_eq!(
        states(&ana.cli(&["--json", "delivery", "tea", &id[..8]]).ok()),
        [("ben".to_owned(), "stored".to_owned()), ("cleo".to_owned(), "received".to_owned()),]
    );

    let verified: Value =
        serde_json::from_str(ana.cli(&["--json", "verify", "tea"]).ok().trim()).expect("JSON");
    assert_eq!(verified["behind"][0]["member"]["name"], "ben", "{verified}");

    ana.kill9();
    ben.start_again();
    ana.start_again();
    ben.hears("tea", "ben?");
    ana.until_received(&id);
    let shown = ana.cli(&["--json", "delivery", "tea"]).ok();
    let all = ["ben", "cleo"].map(|name| (name.to_owned(), "received".to_owned()));
    assert_eq!(states(&shown), all);
    let shown = ana.cli(&["delivery", "tea"]).ok();
    assert_eq!(shown.matches("received").count(), 3, "{shown}");
}

/// Who has it how far, sorted by name.
fn states(delivery: &str) -> Vec<(String, String)> {
    let delivery: Value = serde_json::from_str(delivery).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let members = delivery["members"].as_array().expect("members").iter();
    let mut states: Vec<_> =
        members.map(|to| (text(&to["member"]["name"]), text(&to["state"]))).collect();
    states.sort();
    states
}
