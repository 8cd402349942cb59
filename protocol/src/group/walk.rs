//! A newcomer's walk, written down: its own secrets, the Welcome that it was given, all that the relay
//! keeps for the group, and what it read of that.
//!
//! > Whoever has the pages and this file has all that it takes to read along, and can tell whether it
//! > reads the same. What was said once stays readable: the file is never written anew.
//!
//! `WATTLE_WRITE_VECTORS=1 cargo test -p protocol --features endpoint --lib walk` writes it where it is
//! lacking. `docs/spec/walk.py` walks it too; and from a Welcome that no node of ours has taken it has
//! spoken, once, to a member whose stored group stands beside it.

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

use super::{
    world::World,
    written::{Fields, file, read, secrets, write, writes},
    *,
};
use crate::{
    ids::{ChainId, LogId},
    pair::First,
};

const FILE: &str = "walk.json";
/// For the second implementation to speak in, and what it said there.
const ASKED: &str = "speak.json";
const SPOKEN: &str = "spoken.json";
/// Who walks, and who lets it in.
const NEWCOMER: usize = 2;
const HOST: usize = 0;

/// What was read, by chain and index: from whom, of which class, and the words.
type Heard = BTreeMap<(ChainId, u32), (MemberId, u8, Vec<u8>)>;

fn class_byte(class: &Class) -> u8 {
    match class {
        Class::Ok => 0,
        Class::StaleView(_) => 1,
        Class::PostCut => 2,
    }
}

/// What these events tell, and the ops of now make of it.
fn heard<'a>(group: &Group, events: impl IntoIterator<Item = &'a Event>) -> Heard {
    let mut heard = Heard::new();
    for event in events {
        if let Event::Message(it) = event {
            let class = class_of(&group.ops, &group.receiving.chains[&it.chain].head, it.index);
            let words = (it.from, class_byte(&class), it.payload.clone());
            heard.insert((it.chain, it.index), words);
        }
    }
    heard
}

fn walked() -> Fields {
    let mut world = World::founded(5, true, 41);
    world.join(HOST, 1);
    world.settle();
    world.say(HOST, "from before you came");
    world.settle();
    let mut fields = vec![
        ("group".into(), world.member(HOST).id().0.to_vec()),
        ("host".into(), world.id(HOST).0.to_vec()),
        ("now".into(), world.now.0.to_be_bytes().to_vec()),
        ("endpoint".into(), world.people[NEWCOMER].me.save().to_vec()),
    ];
    fields.extend(secrets("newcomer", &world.people[NEWCOMER].me));
    let secret = world.invite(HOST);
    let welcome = world.admit(HOST, NEWCOMER, &secret).unwrap();
    world.welcome(HOST, NEWCOMER, &welcome);
    fields.push(("welcome".into(), welcome.to_vec()));
    let inbox = world.member(NEWCOMER).inbox_logs().next().unwrap().keys.id();
    world.settle();
    let record = world.people[NEWCOMER].records.get([20].as_slice()).unwrap().clone();
    fields.push(("record_20".into(), record));
    let talk = |world: &mut World, round: &str| {
        for at in 0..5 {
            if world.people[at].group.is_some() && world.member(at).state() == GroupState::Active {
                world.say(at, &format!("{round}, by {at}"));
            }
        }
        world.settle();
    };
    talk(&mut world, "first contacts");
    (3..5).for_each(|at| world.join(HOST, at));
    let second = world.id(1);
    world.act(HOST, |group, cx| group.promote(cx, second)).unwrap();
    world.settle();
    talk(&mut world, "another roster");
    talk(&mut world, "the same chains");
    // A removal that one member has not heard of, and what the removed one says beyond the cut.
    world.people[1].online = false;
    let gone = world.id(4);
    world.say(1, "who is there?");
    world.act(HOST, |group, cx| group.remove(cx, gone)).unwrap();
    world.say(4, "beyond the cut");
    world.settle();
    world.people[1].online = true;
    world.settle();
    talk(&mut world, "another topic");
    world.act(1, |group, cx| group.rotate(cx)).unwrap();
    world.act(3, Group::leave).unwrap();
    world.settle();
    talk(&mut world, "and another");
    let told = heard(world.member(NEWCOMER), &world.people[NEWCOMER].events);
    fields.extend(kept(&world, Some(inbox)));
    let members = world.member(NEWCOMER).ops.resolve().members.keys();
    fields.push(("roster".into(), members.flat_map(|member| member.0).collect()));
    for (number, ((chain, index), (from, class, words))) in told.into_iter().enumerate() {
        let place = [&from.0[..], &chain.0, &index.to_be_bytes(), &[class], &words].concat();
        fields.push((format!("heard_{number}"), place));
    }
    fields
}

/// What the relay keeps.
fn kept(world: &World, inbox: Option<LogId>) -> Fields {
    let mut fields = Fields::new();
    for (log, entries) in &world.logs {
        let of = if Some(*log) == inbox { "inbox" } else { "log" };
        let digits: String = log.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let entries = entries.iter().enumerate();
        fields.extend(entries.map(|(at, it)| (format!("{of}_{digits}_{at}"), it.clone())));
    }
    fields
}

/// Somebody is let in, and two members speak to it. What a node of its own would do nobody does.
fn asked() -> Fields {
    let mut world = World::founded(3, true, 42);
    world.join(HOST, 1);
    world.settle();
    let host = &world.people[HOST].me;
    let mut fields = vec![
        ("group".into(), world.member(HOST).id().0.to_vec()),
        ("host".into(), world.id(HOST).0.to_vec()),
        ("endpoint".into(), host.save().to_vec()),
    ];
    fields.extend(secrets("newcomer", &world.people[NEWCOMER].me));
    let secret = world.invite(HOST);
    let welcome = world.admit(HOST, NEWCOMER, &secret).unwrap();
    fields.push(("welcome".into(), welcome.to_vec()));
    world.settle();
    world.say(HOST, "who are you?");
    world.say(1, "and what do you speak?");
    world.settle();
    fields.push(("now".into(), world.now.0.to_be_bytes().to_vec()));
    fields.extend(kept(&world, None));
    let records = world.people[HOST].records.iter();
    fields.extend(records.map(|(key, value)| {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("record_{digits}"), value.clone())
    }));
    fields
}

fn unhex(digits: &str) -> Vec<u8> {
    let digits = digits.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(core::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn what_a_second_implementation_says_is_heard_here() {
    if writes() && !file(ASKED).exists() {
        write(ASKED, &asked());
    }
    let fields: BTreeMap<String, Vec<u8>> = read(ASKED).into_iter().collect();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let me = Endpoint::load(&fields["endpoint"], &mut rng).unwrap();
    let now = Timestamp(u64::from_be_bytes(fields["now"].clone().try_into().unwrap()));
    let records = fields
        .iter()
        .filter_map(|(name, value)| Some((unhex(name.strip_prefix("record_")?), value.clone())));
    let mut group = Group::load(&me, records, now).unwrap();
    let newcomer = MemberId(fields["newcomer_identity"].clone().try_into().unwrap());
    let mut events = Vec::new();
    for (_, envelope) in read(SPOKEN) {
        let cx = Cx { me: &me, now, rng: &mut rng };
        let log = group.logs()[0].keys.id();
        group.on_envelope(cx, Source::Log(log), &envelope).unwrap();
        while let Some(output) = group.poll() {
            if let Output::Event(event) = output {
                events.push(event);
            }
        }
    }
    let words: Vec<_> = heard(&group, &events).into_values().collect();
    let said = [b"I have read the pages".as_slice(), b"and I speak as they say"];
    assert_eq!(words, said.map(|it| (newcomer, 0, it.into())));
    let delivered = |event: &Event| matches!(event, Event::Delivered { to, .. } if *to == newcomer);
    assert!(events.iter().any(delivered), "its receipts count, and confirm the first contact");
    assert!(!events.iter().any(|event| matches!(event, Event::Alarm(_))), "{events:?}");
    // A ratchet slot follows: the receipt has confirmed the first contact.
    let mut pair = group.sending.pairs[&newcomer].clone();
    assert!(!pair.advance(First::Hybrid, 0).init);
}

/// The logs by their ids, in the order of their entries.
fn logs(fields: &Fields) -> BTreeMap<LogId, Vec<Vec<u8>>> {
    let mut logs: BTreeMap<LogId, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, entry) in fields.iter().filter(|(name, _)| name.starts_with("log_")) {
        let id = unhex(name.split('_').nth(1).unwrap()).try_into().unwrap();
        logs.entry(LogId(id)).or_default().push(entry.clone());
    }
    logs
}

#[test]
fn a_newcomer_reads_what_one_who_came_the_same_way_has_read() {
    if writes() && !file(FILE).exists() {
        write(FILE, &walked());
    }
    let fields = read(FILE);
    let field = |name: &str| fields.iter().find(|(it, _)| it == name).unwrap().1.clone();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let me = Endpoint::load(&field("endpoint"), &mut rng).unwrap();
    let now = Timestamp(u64::from_be_bytes(field("now").try_into().unwrap()));
    let host = MemberId(field("host").try_into().unwrap());
    let mut group =
        Group::join(Cx { me: &me, now, rng: &mut rng }, &field("welcome"), host, |_| None).unwrap();
    let logs = logs(&fields);
    let mut events = Vec::new();
    // Each log is read once its topic is known, which another log hands over.
    let mut known = 0;
    while known < group.logs().len() {
        known = group.logs().len();
        for log in group.logs().into_iter().map(|log| log.keys.id()) {
            for entry in logs.get(&log).into_iter().flatten() {
                let cx = Cx { me: &me, now, rng: &mut rng };
                // What is not for it is refused, as anywhere.
                let _ = group.on_envelope(cx, Source::Log(log), entry);
                while let Some(output) = group.poll() {
                    if let Output::Event(event) = output {
                        events.push(event);
                    }
                }
            }
        }
    }
    let mut wanted = Heard::new();
    for (_, place) in fields.iter().filter(|(name, _)| name.starts_with("heard_")) {
        let (from, rest) = place.split_first_chunk::<32>().unwrap();
        let (chain, rest) = rest.split_first_chunk::<16>().unwrap();
        let (index, rest) = rest.split_first_chunk::<4>().unwrap();
        let place = (ChainId(*chain), u32::from_be_bytes(*index));
        wanted.insert(place, (MemberId(*from), rest[0], rest[1..].into()));
    }
    assert!([0, 1, 2].iter().all(|class| wanted.values().any(|it| it.1 == *class)));
    let members: Vec<u8> = group.ops.resolve().members.keys().flat_map(|member| member.0).collect();
    assert_eq!(members, field("roster"));
    // What its copy of then said itself is not for it: it is told of an old state instead.
    assert_eq!(heard(&group, &events), wanted);
}
