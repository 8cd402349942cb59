//! History that is shared, and what a member could do with it.

use alloc::{string::String, vec, vec::Vec};

use super::{world::World, *};

/// The second of three was there from the start, the third comes last.
fn sharing(allowed: bool) -> World {
    let mut world = World::founded(3, true, 3);
    world.join(0, 1);
    world.settle();
    let policy = Policy { history: allowed.then_some(1), ..world.member(0).policy().clone() };
    world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
    world.settle();
    world.people.iter_mut().for_each(|person| person.events.clear());
    world
}

/// What somebody has read and can share.
fn records(world: &World, at: usize) -> Vec<SignedRecord> {
    let events = world.people[at].events.iter();
    events
        .filter_map(|event| match event {
            Event::Message(it) => {
                Some(SignedRecord { chain: it.chain, index: it.index, signed: it.signed.clone() })
            }
            _ => None,
        })
        .collect()
}

fn own(sent: &Sent) -> SignedRecord {
    SignedRecord { chain: sent.chain, index: sent.index, signed: sent.signed.clone() }
}

/// What was shared with somebody: by whom, of whom, what.
fn told(world: &World, at: usize) -> Vec<(usize, usize, String)> {
    let events = world.people[at].events.iter();
    events
        .filter_map(|event| match event {
            Event::Shared { by, message } => Some((
                world.at(by),
                world.at(&message.from),
                String::from_utf8(message.payload.clone()).unwrap(),
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn a_newcomer_is_told_what_was_said_before_with_its_author_and_its_time() {
    let mut world = sharing(true);
    let first = world.say(0, "from ana");
    world.settle();
    world.say(1, "from ben");
    world.settle();
    world.join(0, 2);
    world.settle();
    assert!(world.heard(2).is_empty());
    let mut records = records(&world, 0);
    records.insert(0, own(&first));
    let shared = world.act(0, |group, cx| group.share(cx, &records)).unwrap();
    assert_eq!((shared.count, shared.taken), (2, 2));
    world.settle();
    let said = |by, from, text: &str| (by, from, String::from(text));
    assert_eq!(told(&world, 2), [said(0, 0, "from ana"), said(0, 1, "from ben")]);
    let at = world.people[2].events.iter().find_map(|event| match event {
        Event::Shared { message, .. } => Some((message.at, message.lamport)),
        _ => None,
    });
    assert_eq!(at, Some((first.at, first.lamport)), "as its author signed it");
    // Whoever read it is told nothing, and the carrier is no message to anybody.
    assert!(told(&world, 1).is_empty());
    assert_eq!(world.heard(1), ["from ana"]);
}

#[test]
fn without_the_policy_nothing_is_shared_and_nothing_is_taken() {
    let mut world = sharing(false);
    let sent = world.say(0, "one");
    world.join(0, 2);
    world.settle();
    let records = [own(&sent)];
    let refused = world.attempt(0, |group, cx| group.share(cx, &records));
    assert_eq!(refused, Err(ShareError::NotAllowed));
    // A page made all the same, as by a member whose program does not ask.
    let page = world.member(0).page_of_test(&[own(&sent)]);
    world.act(0, |group, cx| group.send(cx, HISTORY, &page)).unwrap();
    world.settle();
    assert!(told(&world, 2).is_empty());
}

#[test]
fn a_record_that_was_changed_or_given_to_another_author_is_not_taken() {
    let mut world = sharing(true);
    let first = world.say(0, "from ana");
    world.settle();
    let second = world.say(1, "from ben");
    world.settle();
    world.join(0, 2);
    world.settle();
    let page = |world: &World, change: &dyn Fn(&mut Vec<u8>, usize)| {
        let mut page = world.member(0).page_of_test(&[own(&first), own(&second)]);
        let at = page.windows(8).position(|bytes| bytes == b"from ana").unwrap();
        change(&mut page, at);
        page
    };
    type Lie<'a> = &'a dyn Fn(&mut Vec<u8>, usize);
    let lies: [Lie<'_>; 3] = [
        &|page, at| page[at] ^= 1,
        // The index before the content, or the head's place.
        &|page, at| page[at - 60..at].iter_mut().for_each(|byte| *byte ^= 1),
        &|page, _| {
            let last = page.len() - 1;
            page[last] ^= 1;
        },
    ];
    for lie in lies {
        let before = told(&world, 2).len();
        let page = page(&world, lie);
        world.act(0, |group, cx| group.send(cx, HISTORY, &page)).unwrap();
        world.settle();
        let new = told(&world, 2).split_off(before);
        assert!(new.len() <= 1, "{new:?}");
        assert!(new.iter().all(|(_, from, text)| {
            (*from, text.as_str()) == (0, "from ana") || (*from, text.as_str()) == (1, "from ben")
        }));
    }
}

#[test]
fn history_of_a_removed_member_beyond_its_cut_is_told_as_such() {
    let mut world = sharing(true);
    world.say(1, "before");
    world.settle();
    let late = {
        world.people[1].online = false;
        let eve = world.id(1);
        let sent = world.say(1, "beyond the cut");
        world.act(0, |group, cx| group.remove(cx, eve)).unwrap();
        sent
    };
    world.settle();
    world.join(0, 2);
    world.settle();
    let mut records = records(&world, 0);
    assert_eq!(records.len(), 1);
    records.push(own(&late));
    world.act(0, |group, cx| group.share(cx, &records)).unwrap();
    world.settle();
    let classes: Vec<Class> = world.people[2]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Shared { message, .. } => Some(message.class.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(classes, [Class::Ok, Class::PostCut]);
}

#[test]
fn a_page_is_bounded_and_the_rest_is_for_the_next() {
    let mut world = sharing(true);
    let long = "x".repeat(9_000);
    let sent: Vec<Sent> = (0..7).map(|_| world.say(0, &long)).collect();
    let huge = world.say(0, &"y".repeat(30_500));
    world.join(0, 2);
    world.settle();
    let mut records: Vec<SignedRecord> = vec![own(&huge)];
    records.extend(sent.iter().map(own));
    let mut pages = 0;
    while !records.is_empty() {
        let shared = world.act(0, |group, cx| group.share(cx, &records)).unwrap();
        assert!(shared.taken > 0);
        records.drain(..shared.taken);
        pages += 1;
    }
    world.settle();
    assert_eq!(pages, 3);
    assert_eq!(told(&world, 2).len(), 7, "all but the one that fits nowhere");
}

#[test]
fn what_was_shared_is_not_shared_on_and_says_nothing_of_sharing() {
    let mut world = sharing(true);
    let first = world.say(0, "one");
    let carrier = {
        let records = [own(&first)];
        world.act(0, |group, cx| group.share(cx, &records)).unwrap().sent.unwrap()
    };
    world.join(0, 2);
    world.settle();
    let records = [own(&carrier)];
    let shared = world.act(0, |group, cx| group.share(cx, &records)).unwrap();
    assert_eq!((shared.count, shared.sent), (0, None));
}
