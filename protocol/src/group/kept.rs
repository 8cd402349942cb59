//! Stored groups in every state that leaves a record of its own, written down beside `group.json`.
//!
//! > What was stored once stays readable: a file that stands is never written anew. A group may store
//! > more one day; then another file is added here.
//!
//! `WATTLE_WRITE_VECTORS=1 cargo test -p protocol --features endpoint --lib kept` writes those that are
//! lacking. `docs/spec/decode.py` reads all of them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec,
    vec::Vec,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    back::returned,
    onward::migrate,
    turning::two,
    world::World,
    written::{Fields, file, read, secrets, write, writes},
    *,
};
use crate::{
    ids::LogId,
    membership::{Kind, Op},
};

/// What is stored of somebody's group, and when.
fn stored(world: &mut World, at: usize) -> Fields {
    let person = &mut world.people[at];
    let (now, group) = (person.clock(world.now), person.group.as_mut().unwrap());
    let mut fields = vec![
        ("group".into(), group.id().0.to_vec()),
        ("now".into(), now.0.to_be_bytes().to_vec()),
        ("endpoint".into(), person.me.save().to_vec()),
    ];
    fields.extend(secrets("stored_of", &person.me));
    let records = group.all_records();
    fields.extend(records.iter().map(|(key, value)| {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("record_{digits}"), value.clone())
    }));
    fields
}

type Published = Vec<(Vec<u8>, Vec<LogId>)>;

/// What somebody publishes by a step, kept from everybody for now.
fn said<T>(
    world: &mut World,
    at: usize,
    verb: impl FnOnce(&mut Group, Cx<'_, ChaCha20Rng>) -> T,
) -> Published {
    let person = &mut world.people[at];
    let cx = Cx { me: &person.me, now: person.clock(world.now), rng: &mut world.rng };
    let group = person.group.as_mut().unwrap();
    verb(group, cx);
    let mut said = Vec::new();
    while let Some(output) = group.poll() {
        if let Output::Publish { envelope, logs, .. } = output {
            said.push((envelope, logs));
        }
    }
    said
}

fn hand<'a>(
    world: &mut World,
    to: usize,
    said: impl IntoIterator<Item = &'a (Vec<u8>, Vec<LogId>)>,
) {
    for (envelope, logs) in said {
        let person = &mut world.people[to];
        let cx = Cx { me: &person.me, now: world.now, rng: &mut world.rng };
        let group = person.group.as_mut().unwrap();
        group.on_envelope(cx, Source::Log(logs[0]), envelope).unwrap();
        while group.poll().is_some() {}
    }
}

/// Somebody in the midst of things: a word without its bundle, one without the word before it, a
/// topic that waits, ciphertexts for somebody who is away, a proof, a removal heard of late.
fn busy() -> Fields {
    let mut world = World::founded(6, true, 31);
    (1..5).for_each(|at| world.join(0, at));
    world.settle();
    let policy = Policy {
        history: Some(1),
        evict_after_ms: Some(30 * 24 * 3_600_000),
        ..world.member(0).policy().clone()
    };
    world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
    world.settle();
    world.pass(60_000);
    (0..5).for_each(|at| drop(world.say(at, "hello")));
    world.act(0, |group, cx| group.present(cx, vec![vec![4, 127, 0, 0, 1, 6, 0x20, 0xfb]]));
    world.settle();
    // Two ops under one number.
    world.act(2, |group, mut cx| {
        for n in 0..2 {
            let kind = Kind::Refresh { topic_commit: None };
            let mut body = group.ops.next(group.me, kind, cx.now.plus_ms(n)).unwrap();
            body.incarnation = Some(cx.me.incarnation());
            let op = Op::sign(body, cx.me.identity());
            let ops = wire::Statement::Ops(vec![Vec::from(op.as_bytes()).into()]);
            let under = group.write_topics();
            group.publish_control(&mut cx, &ops, &under);
        }
    });
    world.settle();
    // A removal that the removed one's last words crossed.
    world.people[0].online = false;
    let gone = world.id(4);
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    world.say(4, "beyond the cut");
    world.settle();
    world.people[0].online = true;
    world.settle();
    // A newcomer who is away before anybody's first contact with it is confirmed.
    world.join(0, 5);
    world.people[5].online = false;
    world.say(0, "welcome");
    world.settle();
    world.people[1].online = false;
    let first = said(&mut world, 2, |group, cx| group.send(cx, 0, b"lost").unwrap());
    let second = said(&mut world, 2, |group, cx| group.send(cx, 0, b"next").unwrap());
    let (bundle, _) = first.split_at(first.len() - 1);
    hand(&mut world, 1, bundle.iter().chain(&second));
    let unknown = said(&mut world, 3, |group, cx| group.send(cx, 0, b"early").unwrap());
    hand(&mut world, 1, unknown.last());
    let renewed = said(&mut world, 0, |group, cx| group.rotate(cx).unwrap());
    let inbox = world.member(1).logs().into_iter().find(|log| log.role == LogRole::Inbox).unwrap();
    let posted = renewed.iter().filter(|(_, logs)| *logs == [inbox.keys.id()]);
    let posted: Vec<_> = posted.cloned().collect();
    hand(&mut world, 1, &posted);
    stored(&mut world, 1)
}

/// Somebody whom an admin let in who is not the founder, before anybody else has heard of it.
fn newcomer() -> Fields {
    let mut world = World::founded(3, true, 32);
    world.join(0, 1);
    let second = world.id(1);
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    world.join(1, 2);
    stored(&mut world, 2)
}

/// Somebody who was removed, and remembers how far it had read.
fn removed() -> Fields {
    let mut world = World::founded(3, true, 33);
    (1..3).for_each(|at| world.join(0, at));
    world.settle();
    (0..3).for_each(|at| drop(world.say(at, "hello")));
    world.settle();
    let gone = world.id(2);
    world.act(0, |group, cx| group.remove(cx, gone)).unwrap();
    world.settle();
    stored(&mut world, 2)
}

/// Somebody whose group an admin moves who is not the most senior; and once it has followed.
fn moving(follows: usize) -> Fields {
    let mut world = World::founded(4, true, 34);
    (1..4).for_each(|at| world.join(0, at));
    let (founder, second) = (world.id(0), world.id(1));
    world.act(0, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    let new = migrate(&mut world, 1, &[founder]);
    world.settle();
    for _ in 0..follows {
        world.act(2, |group, _| group.follow_to(new.id())).unwrap();
    }
    stored(&mut world, 2)
}

fn pair() -> Fields {
    let mut world = two(35);
    for _ in 0..2 {
        (0..2).for_each(|at| drop(world.say(at, "my turn")));
        world.settle();
    }
    stored(&mut world, 1)
}

type Make = fn() -> Fields;

/// The files, the kinds of records that each was made for, and how.
const KEPT: [(&str, &[u8], Make); 7] = [
    ("group_busy.json", &[3, 10, 11, 12, 14, 15, 16, 17, 22, 25, 26, 30], busy),
    ("group_newcomer.json", &[15, 35, 36], newcomer),
    ("group_held.json", &[15, 31], || stored(&mut returned(), 2)),
    ("group_moving.json", &[32], || moving(0)),
    ("group_moved.json", &[33], || moving(1)),
    ("group_pair.json", &[27], pair),
    ("group_removed.json", &[37], removed),
];

fn key(name: &str) -> Option<Vec<u8>> {
    let digits = name.strip_prefix("record_")?.as_bytes();
    let digit = |at: u8| u8::try_from(char::from(at).to_digit(16).unwrap()).unwrap();
    Some(digits.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect())
}

#[test]
fn groups_that_are_written_down_are_taken_up_in_every_state_and_have_every_kind_of_record() {
    let mut written: BTreeSet<u8> =
        read("group.json").iter().filter_map(|(name, _)| Some(key(name)?[0])).collect();
    for (name, kinds, make) in KEPT {
        if writes() && !file(name).exists() {
            write(name, &make());
        }
        let fields: BTreeMap<String, Vec<u8>> = read(name).into_iter().collect();
        let records: BTreeMap<Vec<u8>, Vec<u8>> =
            fields.iter().filter_map(|(name, value)| Some((key(name)?, value.clone()))).collect();
        let found: BTreeSet<u8> = records.keys().map(|key| key[0]).collect();
        assert!(kinds.iter().all(|kind| found.contains(kind)), "{name}: {found:?}");
        written.extend(&found);
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let me = Endpoint::load(&fields["endpoint"], &mut rng).unwrap();
        let now = Timestamp(u64::from_be_bytes(fields["now"].as_slice().try_into().unwrap()));
        let mut group = Group::load(&me, records.clone(), now).unwrap();
        let again = group.all_records();
        for key in records.keys() {
            assert!(again.contains_key(key), "{name}: record {key:02x?} is not kept");
        }
        let mut group = Group::load(&me, again.clone(), now).unwrap();
        assert!(group.all_records() == again, "{name}: what is stored again is stored otherwise");
    }
    let lacking: Vec<u8> = kinds().filter(|kind| !written.contains(kind)).collect();
    assert!(lacking.is_empty(), "written down nowhere: {lacking:?}");
}

/// The kinds of records that there are.
fn kinds() -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|kind| {
        // With an id of any length that a kind may have.
        [0, 16, 17, 32, 34].iter().any(|length| {
            let mut key = vec![*kind];
            key.resize(1 + length, 0);
            records::Key::from_bytes(&key).is_some()
        })
    })
}
