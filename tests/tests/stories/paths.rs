//! Paths come and go; the conversation goes on.

use harness::{Node, World};
use node::api::types::{Path, What};

/// Waits until `node` reaches everybody else by `path`.
fn reaches(node: &Node, after: u64, path: Path) {
    node.until_after(after, &format!("the path {path:?}"), |event| match &event.what {
        What::Path { path: now } if now.path == path => Some(()),
        _ => None,
    });
}

#[test]
fn where_the_direct_path_ends_the_relay_goes_on() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    reaches(&ana, 0, Path::Direct);
    ana.send("tea", "face to face");
    ben.hears("tea", "face to face");

    let seen = ana.latest_event();
    ben.stop();
    ben.add_arg("--no-direct");
    ben.start_again();
    reaches(&ana, seen, Path::Relay);
    ana.send("tea", "by way of the relay");
    ben.hears("tea", "by way of the relay");
    ben.send("tea", "loud and clear");
    ana.hears("tea", "loud and clear");
}

#[test]
fn where_the_relay_ends_the_direct_path_goes_on() {
    let world = World::new();
    let mut relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    reaches(&ana, 0, Path::Direct);
    reaches(&ben, 0, Path::Direct);
    ana.send("tea", "with the relay");
    ben.hears("tea", "with the relay");

    relay.kill9();
    let sent = ana.send("tea", "and without");
    ben.hears("tea", "and without");
    ben.send("tea", "no difference");
    ana.hears("tea", "no difference");
    // What waited for the relay is kept there once it is back.
    relay.restart();
    ana.until_stored(&sent);
}
