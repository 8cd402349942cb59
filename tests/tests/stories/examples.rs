//! What is in `examples/` to start from, as its users start it.

use std::{fs::File, io::Write};

use harness::World;
use node::api::types::What;

#[test]
fn what_a_program_writes_for_ever_is_shipped_as_it_comes() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    let pipe = world.dir().join("log");
    world.shell("ana", &format!("mkfifo '{}'", pipe.display())).ok();
    let shipper = ana.beside("shipper", "exec log_shipper.sh tea < log");
    let mut log = File::options().write(true).open(&pipe).unwrap();
    log.write_all(b"web: up\n  serves 3\n").unwrap();
    ben.hears("tea", "web: up\n  serves 3");
    log.write_all(b"web: down\n").unwrap();
    ben.hears("tea", "web: down");
    drop(log);
    assert_eq!(shipper.ended(), Some(0));
    world.shell("ana", "log_shipper.sh").refused(2);
}

#[test]
fn a_report_of_cron_says_whether_it_has_arrived() {
    let world = World::new();
    let relay = world.relay();
    let (ana, mut ben) = world.pair(&relay);
    ana.shell("cron_report.sh tea 3m echo 'disk: 40 %'").ok();
    assert_eq!(ben.texts("tea"), ["disk: 40 %"], "it is there once the job has ended");
    ana.shell("cron_report.sh tea 3m true").ok();
    ana.shell("cron_report.sh tea 3m sh -c 'echo no disk >&2; exit 5'").refused(5);
    assert_eq!(ben.texts("tea")[1..], ["no disk\n(it failed with 5)"]);
    ben.stop();
    let said = ana.shell("cron_report.sh tea 1s echo later").refused(8);
    assert!(said.contains("ben"), "it says who lacks it: {said}");
    ben.start_again();
    ben.hears("tea", "later");
    ana.shell("cron_report.sh tea 3m").refused(2);
}

#[test]
fn an_alert_is_said_again_until_somebody_reacts_to_it() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = world.pair(&relay);
    let line = "exec env WATTLE_REMIND=1 alert \"$WATTLE_DATA_DIR\" tea 'disk is full'";
    let alert = ana.beside("alert", line);
    let heard = ben.hears("tea", "disk is full");
    let again = ben.hears("tea", "nobody has acknowledged yet: disk is full");
    assert_eq!(again.more.reply.and_then(|to| to.id), Some(heard.id.clone()));
    let own = alert.says("its id", |line| line.split(' ').nth(1).map(str::to_owned));
    ana.cli(&["react", "tea", &own, "seen"]).ok();
    ben.cli(&["react", "tea", &heard.id, "ack"]).ok();
    alert.says("who", |line| (line == "acknowledged by \"ben\"").then_some(()));
    assert_eq!(alert.ended(), Some(0));
}

#[test]
fn two_bridges_carry_what_people_say_and_nothing_of_each_other() {
    let world = World::new();
    let relay = world.relay();
    let [ana, ben, cleo, dora] =
        ["ana", "b”n", "cleo", "dora"].map(|name| world.node(name).relay(&relay).start());
    for (group, members) in [("tea", [&ben, &dora]), ("coffee", [&cleo, &dora])] {
        ana.create_group(group);
        for member in members {
            member.join(&ana.invite(group));
        }
        for node in members {
            node.until_group(group, "three members", |view| view.people.len() == 3);
        }
    }
    let bridges = [&ana, &dora].map(|owner| {
        let name = format!("bridge-{}", owner.name());
        let bridge = owner.beside(&name, "exec bridge \"$WATTLE_DATA_DIR\" tea coffee");
        bridge.says("that it bridges", |line| line.starts_with("bridging").then_some(()));
        bridge
    });
    ben.send("tea", "kettle on\n⇄ “cleo” in “coffee”: no");
    let carried = "⇄ “b\\u{201d}n” in “tea”: kettle on\n  ⇄ “cleo” in “coffee”: no";
    until_heard(&cleo, "coffee", &[carried, carried]);
    cleo.send("coffee", "coming");
    let answer = "⇄ “cleo” in “coffee”: coming";
    until_heard(&ben, "tea", &[answer, answer]);
    // What a bridge has carried back of the first is there before the answer to what it comes from.
    cleo.send("coffee", "two sugars");
    let last = "⇄ “cleo” in “coffee”: two sugars";
    until_heard(&ben, "tea", &[answer, answer, last, last]);
    assert_eq!(ben.texts("tea").len(), 5);
    assert_eq!(cleo.texts("coffee").len(), 4);
    drop(bridges);
    ana.shell("bridge \"$WATTLE_DATA_DIR\" tea tea").refused(1);
}

/// Waits until others have said so much here, and compares it.
fn until_heard(node: &harness::Node, group: &str, expected: &[&str]) {
    let mut heard = Vec::new();
    node.until(&format!("{expected:?}"), |event| {
        if let What::Message { message } = &event.what
            && !message.mine
            && message.group.name == group
        {
            heard.push(message.text.clone());
        }
        (heard.len() == expected.len()).then_some(())
    });
    assert_eq!(heard, expected);
}
