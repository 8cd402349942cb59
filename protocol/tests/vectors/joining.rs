//! A join from the code on, entry by entry. The joiner is the second implementation: what it says
//! stands in `joined.json`, written by `docs/spec/walk.py`, and the host here answers it.

use std::{fs, path::Path};

use protocol::{
    invite::{InviteCode, InviteSecret, group_prefix},
    join::{
        Admission, Host, JoinRequest, Offer, RefusedReason,
        mailbox::{self, Direction, MailFrame},
    },
    membership::{AdmitMode, Kind, Op, admin_path},
    noise::NoiseKey,
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, text, unhex},
    ops::Story,
    person, secrets,
};

const SESSION: [u8; 16] = [9; 16];

/// The joiner's entries: those that it has written so far.
fn joined() -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/joined.json");
    let said = fs::read_to_string(file).unwrap_or_default();
    said.split('"').skip(3).step_by(4).map(unhex).collect()
}

fn entry(secret: &InviteSecret, seq: u16, body: Vec<u8>) -> Vec<u8> {
    let frame = MailFrame { session: SESSION, direction: Direction::FromHost, seq, body };
    mailbox::seal(&secret.seal_key(), &frame, &mut Drawn::new(80 + u64::from(seq))).unwrap()
}

/// What a joiner's entry holds.
fn body(secret: &InviteSecret, entry: &[u8], seq: u16) -> Vec<u8> {
    let frame = mailbox::open(&secret.seal_key(), entry).unwrap();
    assert_eq!((frame.session, frame.direction, frame.seq), (SESSION, Direction::FromJoiner, seq));
    frame.body
}

/// Whether members let somebody in by an Admit that carries this proof.
fn is_admitted(story: &Story, secret: &InviteSecret, request: &JoinRequest) -> bool {
    let host = &story.people[2];
    let mut set = story.set();
    let mut act = |kind| {
        let body = set.next(host.member(), kind, NOW).unwrap();
        set.insert(Op::sign(body, host.identity())).unwrap();
    };
    act(Kind::InviteCreate {
        record: secret.record(),
        max_uses: 1,
        expires: NOW,
        mode: AdmitMode::Auto,
        strict: true,
    });
    act(Kind::Admit {
        card: request.card.as_bytes().into(),
        invite: Some(secret.id()),
        proof: request.proof,
        handshake: request.handshake,
        use_no: 0,
    });
    set.resolve().is_member(&request.member)
}

pub fn join() -> Json {
    let mut story = Story::new(&["ada", "bob", "cleo"]);
    story.join(0, 2);
    let cleo = story.id(2);
    story.act(0, Kind::Promote { member: cleo });
    let (secret, joiner) = (InviteSecret([4; 16]), person("bob", 2));
    let (set, host) = (story.set(), &story.people[2]);
    let group = set.group();
    let relay = [[4, 127, 0, 0, 1, 6, 0x20, 0xfb].as_slice(), &[0xa5, 3, 38, 0, 36, 8, 1, 18, 32]];
    let relay = [&relay.concat()[..], &[7; 32]].concat();
    let code = InviteCode {
        group_prefix: group_prefix(group),
        secret: secret.clone(),
        relays: vec![relay.clone()],
        direct: vec![],
        tokens: Vec::new(),
        expires: Some(NOW.plus_ms(1)),
    };
    let welcome: Vec<u8> = (0..40_000_u32).map(|n| (n % 251) as u8).collect();
    let (record, path) = (secret.record(), admin_path(&set, &cleo));
    let key = NoiseKey::generate(host, NOW, &mut Drawn::new(70));
    let offer = Offer { invite: &record, group, ops: &path, key: &key, me: host };
    let said = joined();
    let (mut entries, mut refused) = (Vec::new(), Vec::new());
    // The same randomness each time: so the host may answer one joiner in two ways.
    let answer = |first: &[u8]| Host::accept(offer, &SESSION, first, &mut Drawn::new(71)).unwrap();
    let proven = |first: &[u8], finish: &[u8]| -> Admission {
        let (admission, request) = answer(first).0.on_frame(finish, NOW).unwrap();
        assert_eq!((request.member, &request.card), (joiner.member(), joiner.card()));
        assert!(is_admitted(&story, &secret, &request), "members take its proof");
        admission
    };
    if let Some(first) = said.first() {
        let first = body(&secret, first, 0);
        entries.push(answer(&first).1);
        if let Some(finish) = said.get(1) {
            let finish = body(&secret, finish, 1);
            let mut admission = proven(&first, &finish);
            entries.push(admission.pending(NOW).unwrap());
            entries.extend(admission.welcome(&welcome, NOW).unwrap());
            let reason = RefusedReason::Denied;
            refused.push(proven(&first, &finish).refuse(reason, NOW).unwrap());
        }
    }
    let sealed = |(seq, body): (usize, Vec<u8>)| hex(entry(&secret, seq as u16, body));
    object([
        ("code", text(code.to_text().unwrap().as_str())),
        ("relay", hex(relay)),
        ("group", hex(group.0)),
        ("host", hex(cleo.0)),
        ("now", number(NOW.0)),
        ("session", hex(SESSION)),
        ("joiner", secrets(&joiner)),
        ("welcome_length", number(welcome.len() as u64)),
        ("from_host", list(entries.into_iter().enumerate().map(sealed))),
        ("refused", list(refused.into_iter().map(|body| hex(entry(&secret, 1, body))))),
    ])
}
