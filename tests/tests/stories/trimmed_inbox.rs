//! What was read of an inbox a week ago is deleted at the relay, and nothing else is; and a copy of
//! the disk that is older than that comes back all the same.

use harness::{World, copy_dir, on_day};

#[test]
fn an_inbox_is_trimmed_a_week_after_it_was_read_and_an_older_copy_of_the_disk_comes_back() {
    let world = World::new();
    let mut relay = world.relay();
    let start = |name| world.node(name).relay(&relay).no_direct().start();
    let (mut ana, mut ben, eve) = (start("ana"), start("ben"), start("eve"));
    ana.create_group("tea");
    for other in [&ben, &eve] {
        other.join(&ana.invite("tea"));
    }
    for node in [&ana, &ben] {
        node.until_people("tea", &["ana", "ben", "eve"]);
    }
    ana.send("tea", "before");
    ben.hears("tea", "before");
    ben.stop();
    let copy = world.dir().join("copy");
    copy_dir(&ben.data_dir(), &copy);
    ben.start_again();

    // The next topics are handed over in Ben's inbox.
    ana.remove("tea", "eve");
    ana.rotate("tea");
    let last = ana.send("tea", "without eve");
    ben.hears("tea", "without eve");
    ana.until_stored(&last);
    let read = ben.until_marks("two entries in its inbox", |marks| {
        marks.values().any(|days| days.last().is_some_and(|last| *last >= 2))
    });
    for node in [&mut ana, &mut ben] {
        node.stop();
    }
    drop(eve);
    relay.kill9();
    let before = relay.numbers();

    on_day(9, &mut relay, &mut [&mut ana, &mut ben]);
    for node in [&ana, &ben] {
        node.until_marks("what is old to be trimmed", |marks| {
            let old = |log, days: &Vec<u64>| read.get(log).is_some_and(|was| days[0] <= was[0]);
            !marks.iter().any(|(log, days)| old(log, days))
        });
    }
    for node in [&mut ana, &mut ben] {
        node.stop();
    }
    relay.kill9();
    let after = relay.numbers();
    let mut trimmed = 0;
    for (log, numbers) in &before {
        let gone = numbers - after.get(log).unwrap_or(&std::collections::BTreeSet::new());
        if let Some(days) = read.get(log).filter(|days| days[0] > 1) {
            // More may have come after the look; the last of all stays.
            let upto = gone.len() as u64;
            assert!(gone.iter().copied().eq(1..=upto), "from the front: {gone:?} of {numbers:?}");
            assert!(upto + 1 >= days[0] && !gone.contains(numbers.last().unwrap()), "{gone:?}");
            trimmed += 1;
        } else if !gone.is_empty() {
            // Ana's own inbox is the only other that anybody can trim.
            trimmed += 1;
        }
    }
    assert!((1..=2).contains(&trimmed), "{trimmed} of {} logs", before.len());

    // Ben's disk breaks; what he has is older than what the relay has left of his inbox.
    relay.restart();
    ana.start_again();
    let ben = world.node("ben").living_in(copy).relay(&relay).no_direct().arg("--clock-offset=9d");
    let ben = ben.start();
    ben.hears("tea", "without eve");
    ben.until_people("tea", &["ana", "ben"]);
    ben.send("tea", "I am back");
    ana.hears("tea", "I am back");
    // Others hear of the copy's new keys first: what they said before that stays unread.
    ana.says_until_heard("tea", "can you read this?", &ben);
}
