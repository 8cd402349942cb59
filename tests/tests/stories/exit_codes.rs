//! Each exit code that `wattle help` names, from the real program.

use std::{fs::File, os::unix::fs::FileExt};

use harness::World;

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
