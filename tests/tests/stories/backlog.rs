//! A month away, while a whole group goes on: all of it is read, in order, through a kill, while others speak.
//!
//! `WATTLE_BACKLOG=10000 cargo test -p tests --test stories backlog -- --nocapture` tells it in full, with
//! what it took; without it there are few messages and few changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::Instant,
};

use harness::{Node, Relay, World};
use node::api::types::{Backlog, Event, What};

/// When everybody but the one who is away is started anew, in days: the last is within what a relay keeps.
const DAYS: [u32; 4] = [7, 14, 21, 29];
/// Messages asked to be sent at once.
const AT_ONCE: usize = 100;
/// What is said while it is off for a second time.
const AWAY: usize = 240;
/// Events that come within the harness's patience while it goes on.
const GOES_ON: u64 = 200;

fn messages() -> usize {
    env::var("WATTLE_BACKLOG").ok().and_then(|count| count.parse().ok()).unwrap_or(240)
}

/// Says so many lines, numbered from `from`; returns when the relay keeps the last.
fn say(node: &Node, from: usize, count: usize) {
    let mut last = None;
    let all: Vec<usize> = (from..from + count).collect();
    for some in all.chunks(AT_ONCE) {
        let texts: Vec<String> = some.iter().map(|n| format!("line {n}")).collect();
        last = node.ask("send", |client| async move {
            let mut last = None;
            for text in &texts {
                last = Some(client.send("tea", text).await?.id);
            }
            Ok(last)
        });
    }
    node.until_stored(&last.unwrap());
}

/// Waits for a message for as long as others come.
fn hears_at_last(node: &Node, text: &str) {
    let mut seen = 0;
    loop {
        let (found, seq) = node.until_after(seen, text, |event| match &event.what {
            What::Message { message } if message.text == text => Some((true, event.seq)),
            _ => (event.seq >= seen + GOES_ON).then_some((false, event.seq)),
        });
        if found {
            return;
        }
        seen = seq;
    }
}

fn catching_up(what: &What) -> Option<&Backlog> {
    match what {
        What::CatchingUp { backlog } => Some(backlog),
        _ => None,
    }
}

/// Somebody joins, and is removed.
fn comes_and_goes(world: &World, relay: &Relay, ana: &Node, day: u32, number: usize) {
    let name = format!("guest {day} {number}");
    let mut guest = world.node(&name).relay(relay).no_direct();
    guest = guest.arg(&format!("--clock-offset={day}d"));
    let guest = guest.start();
    guest.join(&ana.invite("tea"));
    ana.until_people("tea", &["ana", "ben", "cyd", &name]);
    ana.remove("tea", &name);
    ana.until_people("tea", &["ana", "ben", "cyd"]);
}

#[test]
fn who_was_off_for_a_month_reads_all_of_it_in_order_through_a_kill_while_others_speak() {
    let world = World::new();
    let mut relay = world.relay();
    let start = |name| world.node(name).relay(&relay).no_direct().start();
    let (mut ana, mut ben, mut cyd) = (start("ana"), start("ben"), start("cyd"));
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    cyd.join(&ana.invite("tea"));
    for node in [&ana, &ben, &cyd] {
        node.until_people("tea", &["ana", "ben", "cyd"]);
    }
    ana.send("tea", "before");
    for node in [&ben, &cyd] {
        node.hears("tea", "before");
    }
    cyd.stop();

    let began = Instant::now();
    let (count, changes) = (messages(), if messages() >= 10_000 { 20 } else { 4 });
    let share = count / (2 * DAYS.len());
    let mut said = 0;
    for (stage, day) in DAYS.into_iter().enumerate() {
        for node in [&mut ana, &mut ben] {
            node.stop();
        }
        relay.kill9();
        harness::on_day(day, &mut relay, &mut [&mut ana, &mut ben]);
        let guests = changes / 2;
        let guests = guests * (stage + 1) / DAYS.len() - guests * stage / DAYS.len();
        for number in 0..guests {
            comes_and_goes(&world, &relay, &ana, day, number);
        }
        for writer in [&ana, &ben] {
            let share = if said + share + 1 >= count { count - said } else { share };
            say(writer, said, share);
            said += share;
            let other = if writer.name() == "ana" { &ben } else { &ana };
            hears_at_last(other, &format!("line {}", said - 1));
        }
    }
    let last = said - 1;
    eprintln!("written: {said} messages, {changes} changes, {:.1?}", began.elapsed());

    let began = Instant::now();
    cyd.set_ahead(29);
    cyd.start_again();
    let first = cyd.until("it to tell how far it is", |event| {
        catching_up(&event.what).filter(|it| it.percent < 100).cloned()
    });
    cyd.kill9();
    eprintln!(
        "killed at {} %, {} messages, {:.1?}",
        first.percent,
        first.messages,
        began.elapsed()
    );
    let killed = cyd.latest_event();
    cyd.start_again();
    ana.send("tea", "while it reads");
    hears_at_last(&cyd, &format!("line {last}"));
    hears_at_last(&cyd, "while it reads");
    cyd.until_people("tea", &["ana", "ben", "cyd"]);
    let took = began.elapsed();
    let rate = said as f64 / took.as_secs_f64();
    eprintln!("caught up: {said} messages in {took:.1?} with both starts, {rate:.0} a second");

    hears_at_last(&ben, "while it reads");
    let expected = ana.texts("tea");
    assert_eq!(expected.len(), said + 2);
    for node in [&ben, &cyd] {
        assert!(node.texts("tea") == expected, "{}: another order", node.name());
    }
    let came = |event: &&Event| event.seq > killed && matches!(event.what, What::Message { .. });
    let left = cyd.events().iter().filter(came).count();
    eprintln!("after the kill: {left} messages, {:.1?}", began.elapsed());
    // A fast node has read most of it by then; of a second time away it tells the end for certain.
    cyd.stop();
    say(&ana, said, AWAY);
    let stopped = cyd.latest_event();
    cyd.start_again();
    let all = cyd.until_after(stopped, "it to tell that all is read", |event| {
        catching_up(&event.what).filter(|it| it.percent == 100).cloned()
    });
    eprintln!("away again: {} messages of {AWAY}", all.messages);
    hears_at_last(&cyd, &format!("line {}", said + AWAY - 1));
    let events = cyd.events();
    assert!(!events.iter().filter_map(|event| catching_up(&event.what)).any(|it| it.ended));
    // Each was told once, and of each writer in the order of writing.
    let mut heard = BTreeSet::new();
    let mut latest: BTreeMap<&str, &str> = BTreeMap::new();
    for event in &events {
        if let What::Message { message } = &event.what {
            assert!(heard.insert(&message.text), "{} twice", message.text);
            if message.text.starts_with("line") {
                let before = latest.insert(&message.from.id, &message.place);
                assert!(before.is_none_or(|before| before < message.place.as_str()));
            }
        }
    }
    cyd.until_group("tea", "nothing to be missing", |view| view.gaps.is_empty());
    cyd.send("tea", "I am back");
    ana.hears("tea", "I am back");
}
