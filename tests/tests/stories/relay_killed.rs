//! The relay is killed under load: what it acknowledged is there.

use harness::World;
use node::api::types::What;

#[test]
fn every_message_that_a_killed_relay_acknowledged_is_there_afterwards() {
    let world = World::new();
    let mut relay = world.relay();
    let mut ana = world.node("ana").relay(&relay).no_direct().start();
    let mut ben = world.node("ben").relay(&relay).no_direct().start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let first = ben.send("tea", "before");
    ben.until_stored(&first);
    ana.hears("tea", "before");
    ben.stop();

    // Killed as soon as some of the load is acknowledged and the rest is on its way.
    let ids: Vec<String> = (0..200).map(|n| ana.send("tea", &format!("load {n}"))).collect();
    ana.until_stored(&ids[20]);
    relay.kill9();
    ana.kill9();
    let acknowledged: Vec<String> = ana
        .events()
        .into_iter()
        .filter_map(|event| match event.what {
            What::Delivery { message, delivery } if delivery.stored => Some(message),
            _ => None,
        })
        .collect();

    // Ana is gone: what ben reads now can only come from the relay's store.
    relay.restart();
    ben.start_again();
    for (n, id) in ids.iter().enumerate() {
        if acknowledged.contains(id) {
            ben.hears("tea", &format!("load {n}"));
        }
    }

    // She comes back, and so does the rest: all of it, once, in order.
    ana.start_again();
    ben.hears("tea", "load 199");
    let expected: Vec<String> =
        std::iter::once("before".to_owned()).chain((0..200).map(|n| format!("load {n}"))).collect();
    ben.until_texts("tea", &expected.iter().map(String::as_str).collect());
    assert_eq!(ben.texts("tea"), expected);
}
