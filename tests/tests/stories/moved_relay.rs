//! A group is moved to another relay while somebody is away: who was away follows, and then the first may end.

use harness::World;

#[test]
fn a_group_goes_on_at_another_relay_and_who_was_away_follows() {
    let world = World::new();
    let mut first = world.relay_named("first");
    let second = world.relay_named("second");
    let start = |name| world.node(name).relay(&first).no_direct().start();
    let (ana, ben, mut cyd) = (start("ana"), start("ben"), start("cyd"));
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    cyd.join(&ana.invite("tea"));
    for node in [&ana, &ben, &cyd] {
        node.until_people("tea", &["ana", "ben", "cyd"]);
    }
    let sent = ana.send("tea", "at the first");
    ana.until_stored(&sent);
    cyd.stop();

    ben.cli(&["group", "policy", "tea", "--relay", second.address()]).refused(5);
    ana.cli(&["group", "policy", "tea", "--relay", "the other one"]).refused(2);
    let policy = ana.cli(&["group", "policy", "tea", "--relay", second.address()]).ok();
    assert!(policy.contains(second.address()) && !policy.contains(first.address()), "{policy}");
    ben.until_group("tea", "the relay to be the second", |group| {
        group.relays == [second.address()]
    });
    let sent = ben.send("tea", "at the second");
    ben.until_stored(&sent);
    ana.hears("tea", "at the second");

    cyd.start_again();
    cyd.hears("tea", "at the second");
    first.kill9();
    let sent = cyd.send("tea", "without the first");
    cyd.until_stored(&sent);
    for node in [&ana, &ben] {
        node.hears("tea", "without the first");
        assert_eq!(node.texts("tea"), ["at the first", "at the second", "without the first"]);
    }
}
