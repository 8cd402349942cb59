//! Handshakes of all four patterns, frames behind them, and letters.

use protocol::{
    endpoint::Endpoint,
    invite::{InviteCode, InviteSecret, group_prefix},
    join::Request,
    join::letter::{Letters, Reply, Told, Writer, write},
    noise::{NoiseKey, Purpose, Session, Suite, Terms, initiate, respond},
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, option},
    of_version_1, person, secrets,
};

pub fn handshakes() -> Json {
    let psk = [9; 32];
    let join = Purpose::Join { psk: &psk };
    let session = [6; 16];
    let all = [
        (Purpose::Channel, Suite::Classical, None),
        (Purpose::Channel, Suite::Hybrid, None),
        (join, Suite::Classical, Some(&session)),
        (join, Suite::Hybrid, Some(&session)),
    ];
    list(all.into_iter().enumerate().map(|(at, (purpose, suite, session))| {
        let terms = Terms { purpose, session, suite };
        let (mut ada, mut bob) = (person("ada", 1), person("bob", 2));
        if suite == Suite::Classical {
            // Nothing classical is made with somebody whose card has an ML-KEM key.
            (ada, bob) = (of_version_1(&ada), of_version_1(&bob));
        }
        let mut drawn = Drawn::new(20 + at as u64);
        let (ada_key, bob_key) =
            (NoiseKey::generate(&ada, NOW, &mut drawn), NoiseKey::generate(&bob, NOW, &mut drawn));
        let statics = drawn.json();
        let (ada_waits, one) = initiate(terms, &ada_key, &ada, &mut drawn).unwrap();
        let ada_random = drawn.json();
        let (bob_waits, two) = respond(terms, &bob_key, &bob, &one, b"two", &mut drawn).unwrap();
        let bob_random = drawn.json();
        let verified = ada_waits.read(&two, NOW).unwrap();
        let middle = verified.handshake_hash();
        let (three, mut ada_session) = verified.finish(b"three").unwrap();
        let (mut bob_session, _, _) = bob_waits.read(&three, NOW).unwrap();
        let mut frames = Vec::new();
        for said in [&b"hello"[..], b"", &[7; 600]] {
            let frame = ada_session.seal(said, NOW).unwrap();
            assert_eq!(bob_session.open(&frame).unwrap(), said);
            let answer = bob_session.seal(said, NOW).unwrap();
            assert_eq!(ada_session.open(&answer).unwrap(), said);
            frames.push(object([
                ("said", hex(said)),
                ("from_initiator", hex(frame)),
                ("from_responder", hex(answer)),
            ]));
        }
        let mut lossy = again(at, terms, &ada, &bob).into_datagrams(NOW).unwrap();
        let datagrams = [&b"one"[..], b"two"].map(|said| hex(lossy.seal(said, NOW).unwrap()));
        object([
            ("suite", number(suite as u8)),
            ("purpose", number(one[1])),
            ("psk0", option((one[1] == 1).then(|| hex(psk)))),
            ("session", option(session.map(hex))),
            ("now", number(NOW.0)),
            ("initiator", secrets(&ada)),
            ("responder", secrets(&bob)),
            ("static_secrets", statics),
            ("initiator_random", ada_random),
            ("responder_random", bob_random),
            ("messages", list([&one, &two, &three].map(hex))),
            ("extras", list([b"two".as_slice(), b"three"].map(hex))),
            ("hash_after_two", hex(middle)),
            ("hash", hex(ada_session.handshake_hash())),
            ("frames", list(frames)),
            ("datagrams", list(datagrams)),
        ])
    }))
}

/// The initiator's end of the same channel once more.
fn again(at: usize, terms: Terms<'_>, ada: &Endpoint, bob: &Endpoint) -> Session {
    let mut drawn = Drawn::new(20 + at as u64);
    let [ada_key, bob_key] = [ada, bob].map(|me| NoiseKey::generate(me, NOW, &mut drawn));
    let (waits, one) = initiate(terms, &ada_key, ada, &mut drawn).unwrap();
    let (_, two) = respond(terms, &bob_key, bob, &one, b"two", &mut drawn).unwrap();
    waits.read(&two, NOW).unwrap().finish(b"three").unwrap().1
}

/// Asking by letter, and the answer.
pub fn letters() -> Json {
    let (joiner, host) = (person("joiner", 5), person("ada", 1));
    let genesis = crate::ops::genesis(&host);
    let (group, secret) = (genesis.group(), InviteSecret([4; 16]));
    let code = InviteCode {
        group_prefix: group_prefix(group),
        secret: secret.clone(),
        relays: vec![],
        direct: vec![],
        tokens: Vec::new(),
        expires: None,
    };
    let mut drawn = Drawn::new(40);
    let request = Request::new(&code, &joiner, &mut drawn);
    let nonce = drawn.json();
    let record = secret.record();
    let asked = request.clone().check(&record, group).unwrap();
    let ops = [Vec::from(genesis.as_bytes())];
    let writer = Writer { invite: &record, group, ops: &ops, me: &host };
    let frames = write(writer, &asked, Reply::Welcome(b"a welcome"), &mut drawn).unwrap();
    let mut letters = Letters::new(&code, &request);
    let mut told = None;
    for (number, frame) in frames.iter().enumerate() {
        told = letters.on_frame(&joiner, number as u16, frame).unwrap();
    }
    assert!(matches!(told, Some(Told::Welcomed { welcome, .. }) if **welcome == *b"a welcome"));
    object([
        ("invite_secret", hex(secret.0)),
        ("group", hex(group.0)),
        ("joiner", secrets(&joiner)),
        ("host", secrets(&host)),
        ("nonce", nonce),
        ("request", hex(request.as_bytes())),
        ("session", hex(request.session())),
        ("random", drawn.json()),
        ("frames", list(frames.iter().map(hex))),
        ("welcome", hex(b"a welcome")),
    ])
}
