//! Each exit code that `wattle help` names, from the real program.

use std::{fs::File, os::unix::fs::FileExt};

use harness::World;
use node::api::types::RelayState;

#[test]
fn each_exit_code_means_what_the_help_says() {
    let world = World::new();
    let relay = world.relay();
    let (mut ana, mut ben) = world.pair(&relay);
    ana.cli(&["status"]).ok();
    ana.cli(&["up"]).refused(1);
    ana.cli(&["send", "tea", "hello", "--timeout", "soon"]).refused(2);
    ana.cli_with(&["join"], "wattle1qyqqq2z6tfd95kj6tfd95kj6tfd95kj6tfd95kj6tfd95knnd9u8get9dcsxy")
        .refused(2);
    ben.cli(&["group", "remove", "tea", "ana"]).refused(5);
    ana.cli(&["group", "show", "coffee"]).refused(6);

    ben.stop();
    ben.cli(&["status"]).refused(3);
    ana.cli(&["ping", "ben"]).refused(4);
    ana.cli(&["send", "tea", "hello", "--wait", "all", "--timeout", "1s"]).refused(8);
    let tail = ana.beside("tail", "exec wattle tail tea --from-start");
    tail.says("the message", |line| line.ends_with("hello").then_some(()));
    tail.interrupt();
    assert_eq!(tail.ended(), Some(130));

    ana.stop();
    let database = File::options().write(true).open(ana.data_dir().join("wattle.db")).unwrap();
    let length = database.metadata().unwrap().len();
    for place in (4_096..length).step_by(4_096) {
        database.write_all_at(b"damaged", place + 100).unwrap();
    }
    let said = ana.cli(&["doctor"]);
    assert_eq!(said.code, Some(10), "{said:?}");
    assert!(said.out.contains("the database is damaged"), "{said:?}");
}

/// The ninth: what waits for a way out has a bound. Nobody types until it is reached.
#[test]
fn a_full_queue_is_a_quota() {
    let world = World::new();
    let mut relay = world.relay();
    let (mut ana, mut ben) = world.pair(&relay);
    ben.stop();
    relay.kill9();
    ana.until_status("no way out", |status| {
        status.relays.iter().all(|relay| relay.state != RelayState::Up)
            && status.paths.iter().all(|path| path.address.is_none())
    });
    ana.send("tea", "hello");
    ana.stop();
    ana.queue_copies(9_998);
    ana.start_again();
    ana.cli(&["send", "tea", "the last for which there is room"]).ok();
    let said = ana.cli(&["send", "tea", "one too many"]).refused(9);
    assert!(said.contains("10000") && said.contains("hint: "), "{said}");
}
