//! Bundles with each kind of slot, and messages in their chains.

use protocol::{
    bundle::{self, Ciphertext, Closing, Recipient, Terms},
    chain::{Draft, HeadRef},
    endpoint::Endpoint,
    envelope::HeaderKey,
    ids::{ChainId, GroupId, MemberId, MessageId, OpId},
    membership::Roster,
    pair::{ReceiveState, SendState},
    topic::TopicSecret,
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, option},
    person, secrets,
};

pub fn rotations() -> Json {
    let group = GroupId([3; 32]);
    let people = [person("ada", 1), person("bob", 2), person("cleo", 3)];
    let roster = Roster::new(group, people.iter().map(Endpoint::member));
    let others: Vec<&Endpoint> = roster
        .members()
        .iter()
        .filter(|member| **member != people[0].member())
        .map(|member| people.iter().find(|person| person.member() == *member).unwrap())
        .collect();
    let mut pairs = [SendState::default(), SendState::default()];
    let mut received = [ReceiveState::default(), ReceiveState::default()];
    let (mut rotations, mut closing) = (Vec::new(), None);
    // First contacts, then ratchet slots, then ratchet slots after one that was lost.
    for round in 0..4_u64 {
        // Somebody is known by a card without an ML-KEM key first.
        let with_kem = |person: &Endpoint| round > 0 || person.member() != people[2].member();
        let mut drawn = Drawn::new(10 + round);
        let topic = TopicSecret::from_bytes([round as u8; 32]);
        let terms = Terms {
            group,
            heads: vec![OpId([round as u8; 32])],
            roster: roster.hash(),
            closing,
            topic: (round == 1).then_some(&topic),
            audit_head: [round as u8; 16],
            now: NOW,
        };
        let mut recipients: Vec<_> = others
            .iter()
            .zip(&mut pairs)
            .map(|(person, pair)| Recipient {
                member: person.member(),
                prekey: person.prekey(),
                kk: person.card().card().kk.as_ref().filter(|_| with_kem(person)),
                pair,
            })
            .collect();
        let sealed = bundle::seal(&people[0], terms, &mut recipients, &mut drawn);
        let random = drawn.json();
        let (head, page) = (&sealed.bundle.head, &sealed.bundle.pages[0]);
        for (at, person) in others.iter().enumerate() {
            if round == 2 {
                continue;
            }
            let mine = sealed.ciphertexts.iter().find(|(member, _)| *member == person.member());
            let mine = mine.map(|(_, ciphertext)| &**ciphertext);
            let opened = bundle::open(head, page, at, person, &received[at], mine).unwrap();
            received[at] = opened.pair;
            assert_eq!(opened.topic.is_some(), round == 1);
        }
        let ciphertexts = shown(&sealed.ciphertexts);
        for (member, epoch) in sealed.inits {
            let at = others.iter().position(|person| person.member() == member).unwrap();
            pairs[at].confirm(epoch);
        }
        let mut chain = sealed.chain;
        let mut messages = Vec::new();
        for index in 0..3_u32 {
            let heads = vec![HeadRef { chain: ChainId([1; 16]), index, id: MessageId([2; 16]) }];
            let draft = Draft {
                kind: 0,
                heads,
                lamport: 100 + u64::from(index),
                at: NOW,
                payload: b"a word",
            };
            let header_key = [4; 32];
            let sealed =
                chain.seal(&group, &[HeaderKey::new(header_key)], draft, &mut drawn).unwrap();
            messages.push(object([
                ("index", number(sealed.index)),
                ("id", hex(sealed.id.0)),
                ("header_key", hex(header_key)),
                ("random", drawn.json()),
                ("envelope", hex(&sealed.envelopes[0])),
            ]));
        }
        closing = Some(Closing { chain: chain.id(), count: chain.count(), last: chain.last() });
        rotations.push(object([
            ("random", random),
            ("head", hex(head.as_bytes())),
            ("chain", hex(head.chain().0)),
            ("page", hex(page)),
            ("recipients", list(others.iter().map(|person| hex(person.member().0)))),
            ("ciphertexts", ciphertexts),
            ("opened", Json::Flag(round != 2)),
            ("topic", option((round == 1).then(|| hex(topic.as_bytes())))),
            ("messages", list(messages)),
        ]));
    }
    object([
        ("group", hex(group.0)),
        ("people", list(people.iter().map(secrets))),
        ("roster_hash", hex(roster.hash().0)),
        ("rotations", list(rotations)),
        ("crowd", crowd()),
    ])
}

fn shown(ciphertexts: &[(MemberId, Ciphertext)]) -> Json {
    list(ciphertexts.iter().map(|(member, ciphertext)| list([hex(member.0), hex(**ciphertext)])))
}

/// More first contacts than a head names: each ciphertext goes to its recipient alone.
fn crowd() -> Json {
    let group = GroupId([4; 32]);
    let people: Vec<_> = (0..66).map(|seed| person("one of many", 100 + seed)).collect();
    let roster = Roster::new(group, people.iter().map(Endpoint::member));
    let at = |member: &MemberId| people.iter().find(|person| person.member() == *member).unwrap();
    let others: Vec<&Endpoint> = roster.members()[1..].iter().map(at).collect();
    let mut pairs = vec![SendState::default(); others.len()];
    let mut recipients: Vec<_> = others
        .iter()
        .zip(&mut pairs)
        .map(|(person, pair)| Recipient {
            member: person.member(),
            prekey: person.prekey(),
            kk: person.card().card().kk.as_ref(),
            pair,
        })
        .collect();
    let terms = Terms {
        group,
        heads: vec![OpId([1; 32])],
        roster: roster.hash(),
        closing: None,
        topic: None,
        audit_head: [0; 16],
        now: NOW,
    };
    let mut drawn = Drawn::new(30);
    let sender = at(&roster.members()[0]);
    let sealed = bundle::seal(sender, terms, &mut recipients, &mut drawn);
    let place = 40;
    let (member, ciphertext) = &sealed.ciphertexts[place];
    let (head, page) = (&sealed.bundle.head, &sealed.bundle.pages[0]);
    let before = ReceiveState::default();
    assert!(bundle::open(head, page, place, at(member), &before, Some(ciphertext)).is_ok());
    object([
        ("seed", hex(&drawn.taken()[0])),
        ("head", hex(head.as_bytes())),
        ("page", hex(page)),
        ("place", number(place as u64)),
        ("recipient", secrets(at(member))),
        ("ciphertext", hex(**ciphertext)),
    ])
}
