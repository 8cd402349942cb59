//! Forty days away, by the clocks of nodes and relay: what the relay still keeps is read, what is lost
//! is said, and who is back is read again.

use harness::{Node, Relay, World};
use node::api::types::What;

/// Everybody who is there lives on, so many days after the beginning.
fn on_day(day: u32, relay: &mut Relay, nodes: &mut [&mut Node]) {
    nodes.iter_mut().for_each(|node| node.stop());
    relay.kill9();
    harness::on_day(day, relay, nodes);
}

#[test]
fn who_was_away_for_forty_days_reads_what_is_kept_and_is_read_again() {
    let world = World::new();
    let mut relay = world.relay();
    let start = |name| world.node(name).relay(&relay).no_direct().start();
    let (mut ana, mut ben, mut cyd) = (start("ana"), start("ben"), start("cyd"));
    let eve = start("eve");
    ana.create_group("tea");
    for other in [&ben, &cyd, &eve] {
        other.join(&ana.invite("tea"));
    }
    for node in [&ana, &ben, &cyd] {
        node.until_people("tea", &["ana", "ben", "cyd", "eve"]);
    }
    ana.send("tea", "before");
    cyd.hears("tea", "before");
    cyd.stop();

    // Each week a new topic; on the third somebody is removed, and that is one too.
    let mut last = ana.send("tea", "day 0");
    for day in [8, 16, 24, 32] {
        ana.until_stored(&last);
        on_day(day, &mut relay, &mut [&mut ana, &mut ben]);
        match day {
            24 => ana.remove("tea", "eve"),
            _ => ana.rotate("tea"),
        }
        last = ana.send("tea", &format!("day {day}"));
        ben.hears("tea", &format!("day {day}"));
    }
    ana.until_stored(&last);
    on_day(41, &mut relay, &mut [&mut ana, &mut ben]);

    cyd.set_ahead(41);
    cyd.start_again();
    cyd.hears("tea", "day 32");
    cyd.until_people("tea", &["ana", "ben", "cyd"]);
    let told = |what: &What| matches!(what, What::Alarm { text } if text.contains("Back in touch"));
    cyd.until("it says what is lost", |event| told(&event.what).then_some(()));
    cyd.until_texts("tea", &["day 16", "day 24", "day 32"].into());
    cyd.send("tea", "I am back");
    ana.hears("tea", "I am back");
    ben.hears("tea", "I am back");
}
