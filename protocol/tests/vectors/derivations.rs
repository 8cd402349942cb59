//! Labels, signature contexts, topics and the logs that they name.

use protocol::{
    envelope::{CONTROL, Header},
    hash::{Label, hash32, kdf16, kdf20, kdf32, kdf64},
    ids::GroupId,
    relay_log::{Challenge, LogKeys, Role},
    sign::{Context, SigningSecret},
    topic::TopicSecret,
};

use crate::{
    Drawn,
    json::{Json, hex, list, number, object, option, text},
};

const KEY: [u8; 32] = [7; 32];
const DATA: &[u8] = b"wattle";

/// `kdf*` with each label: BLAKE2b with the label as personalisation, keyed and not.
pub fn labels() -> Json {
    list(Label::ALL.iter().map(|label| {
        object([
            ("label", text(String::from_utf8(label.person().into()).unwrap())),
            ("key", hex(KEY)),
            ("data", hex(DATA)),
            ("hash32", hex(hash32(*label, &[DATA]))),
            ("kdf16", hex(kdf16(&KEY, *label, &[DATA]))),
            ("kdf20", hex(kdf20(&KEY, *label, &[DATA]))),
            ("kdf32", hex(kdf32(&KEY, *label, &[DATA]))),
            ("kdf64", hex(kdf64(&KEY, *label, &[DATA]))),
        ])
    }))
}

/// A signature in each context over the same parts: prefix and parts, joined.
pub fn signatures() -> Json {
    let secret = SigningSecret::from_seed(&[9; 32]);
    let parts: [&[u8]; 2] = [b"one", b"two"];
    list(Context::ALL.iter().map(|context| {
        object([
            ("prefix", hex(context.prefix())),
            ("seed", hex(*secret.seed())),
            ("public", hex(secret.public())),
            ("parts", list(parts.map(hex))),
            ("signature", hex(secret.sign(*context, &parts).0)),
        ])
    }))
}

/// What a topic's secret gives, and proofs to a relay.
pub fn topics() -> Json {
    let (group, topic) = (GroupId([3; 32]), TopicSecret::from_bytes([5; 32]));
    let log = |keys: &LogKeys, write: Json, read: Json, trim: Option<Json>| {
        let challenge = Challenge::new(b"the relay's peer id", [8; 32]);
        let publics = keys.publics();
        let proofs = [Role::Write, Role::Read, Role::Trim];
        let proofs = proofs.iter().filter_map(|role| {
            let proof = keys.prove(*role, &challenge)?;
            assert_eq!(publics.check(&proof, &challenge), Ok(*role));
            Some(object([("role", number(*role as u8)), ("signature", hex(proof.signature.0))]))
        });
        object([
            ("write_seed", write),
            ("read_seed", read),
            ("trim_seed", option(trim)),
            ("write", hex(publics.write)),
            ("read", hex(publics.read)),
            ("trim", hex(publics.trim)),
            ("id", hex(publics.id().0)),
            ("relay_peer", hex(b"the relay's peer id")),
            ("nonce", hex([8; 32])),
            ("proofs", list(proofs)),
        ])
    };
    let seed = |label| kdf32(topic.as_bytes(), label, &[&group.0]);
    let (write, read) = (seed(Label::LogWrite), seed(Label::LogRead));
    let inbox = LogKeys::from_seeds([1; 32], [2; 32], Some([3; 32]));
    let mut drawn = Drawn::new(1);
    let (header_key, control_key) = (topic.header_key(&group), topic.control_key(&group));
    let header = Header { chain: CONTROL, index: 0 };
    let control =
        protocol::envelope::seal(header, &header_key, &control_key, b"a statement", &mut drawn);
    object([
        ("group", hex(group.0)),
        ("secret", hex(topic.as_bytes())),
        ("commit", hex(topic.commit())),
        ("header_key", hex(seed(Label::TopicHeader))),
        ("control_key", hex(seed(Label::TopicControl))),
        ("random", drawn.json()),
        ("control_envelope", hex(control.unwrap())),
        ("carried", hex(b"a statement")),
        ("log", log(&topic.log_keys(&group), hex(write), hex(read), None)),
        ("inbox", log(&inbox, hex([1; 32]), hex([2; 32]), Some(hex([3; 32])))),
    ])
}
