//! What a client and a relay say to one another, frame by frame.

use std::fmt::Debug;

use minicbor::{Decode, Encode};
use protocol::{
    ids::GroupId,
    relay_log::{
        Answer, Challenge, Cursor, Entry, LogKeys, LogPublics, Proof, Refusal, RelayToken, Request,
        Role,
    },
    topic::TopicSecret,
};

use crate::{
    NOW,
    json::{Json, hex, list, number, object, option, text},
};

const PEER: &[u8] = b"the relay's peer id";
const NONCE: [u8; 32] = [8; 32];
const CURSOR: Cursor = Cursor { generation: 0x0102_0304_0506_0708, seq: 9 };

fn token() -> RelayToken {
    RelayToken::from_bytes(*b"a relay's token.")
}

fn entry(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

fn requests() -> [Request; 10] {
    let challenge = Challenge::new(PEER, NONCE);
    let open = |handle, keys: &LogKeys, roles: &[Role]| {
        let proofs: Vec<Proof> =
            roles.iter().map(|role| keys.prove(*role, &challenge).unwrap()).collect();
        Request::Open { handle, publics: keys.publics(), proofs }
    };
    let topic = TopicSecret::from_bytes([5; 32]).log_keys(&GroupId([3; 32]));
    let inbox = LogKeys::from_seeds([1; 32], [2; 32], Some([3; 32]));
    let LogPublics { read, trim, .. } = inbox.publics();
    let others = LogKeys::write_only([1; 32], read, trim);
    [
        open(7, &topic, &[Role::Write, Role::Read]),
        open(8, &inbox, &[Role::Write, Role::Read, Role::Trim]),
        open(256, &others, &[Role::Write]),
        Request::Append { req: 70_000, handle: 7, entry: entry(512) },
        Request::Append { req: 24, handle: 8, entry: entry(1024) },
        Request::Follow { handle: 7, after: None },
        Request::Follow { handle: 8, after: Some(CURSOR) },
        Request::Close { handle: 256 },
        Request::Trim { req: 25, handle: 8, cursor: CURSOR },
        Request::Token { token: token() },
    ]
}

fn answers() -> Vec<Answer> {
    let at = |seq, bytes| Entry { seq, bytes: entry(bytes) };
    let later = Refusal::RateLimited { retry_ms: 1_000 };
    let spent = Refusal::TokenSpent { retry_ms: 3_600_000 };
    let appending = [
        Refusal::LogFull,
        Refusal::TooLarge,
        Refusal::NotBucket,
        Refusal::BadProof,
        later,
        Refusal::NoSuchHandle,
        Refusal::DiskFull,
        Refusal::Unavailable,
        spent,
    ];
    let trimming = [Refusal::BadProof, later, Refusal::NoSuchHandle, Refusal::Unavailable];
    let following = [Refusal::BadProof, Refusal::NoSuchHandle, Refusal::Unavailable];
    let hello = |max_logs, ttl_ms, wants_token| Answer::Hello {
        nonce: NONCE,
        max_logs,
        ttl_ms,
        now_ms: NOW.0,
        wants_token,
    };
    let mut answers = vec![
        hello(256, 30 * 24 * 3_600_000, None),
        hello(1, 0, Some(true)),
        Answer::Opened { handle: 7 },
        Answer::OpenRefused { handle: 8, reason: Refusal::BadProof },
        Answer::OpenRefused { handle: 256, reason: Refusal::TooManyLogs },
        Answer::Appended { req: 70_000, cursor: CURSOR },
        Answer::Entries { handle: 7, entries: vec![at(9, 512)], cursor: CURSOR },
        Answer::Entries { handle: 8, entries: vec![at(8, 512), at(9, 1024)], cursor: CURSOR },
        Answer::CaughtUp { handle: 7, cursor: CURSOR },
        Answer::CursorGone { handle: 8 },
        Answer::Trimmed { req: 25, cursor: CURSOR },
        Answer::Begins { handle: 8, cursor: CURSOR },
        Answer::Leaving { retry_ms: 2_000 },
        Answer::TokenTaken,
    ];
    let under = [Refusal::TokenNeeded, Refusal::TokenInvalid, spent];
    answers.extend(under.map(|reason| Answer::OpenRefused { handle: 8, reason }));
    answers.extend([Refusal::TokenInvalid, spent].map(|reason| Answer::TokenRefused { reason }));
    answers.extend(appending.map(|reason| Answer::AppendRefused { req: 24, reason }));
    answers.extend(trimming.map(|reason| Answer::TrimRefused { req: 25, reason }));
    answers.extend(following.map(|reason| Answer::FollowRefused { handle: 256, reason }));
    answers
}

/// On the wire each frame stands after its length, four bytes.
fn framed<F>(frame: &F) -> Json
where
    F: Debug + PartialEq + Encode<()> + for<'b> Decode<'b, ()>,
{
    let frame_bytes = minicbor::to_vec(frame).unwrap();
    assert_eq!(minicbor::decode::<F>(&frame_bytes).unwrap(), *frame);
    let mut bytes = u32::try_from(frame_bytes.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(frame_bytes);
    hex(bytes)
}

fn asked(request: &Request) -> Json {
    let (mut id, mut roles, mut req) = (None, vec![], None);
    let (mut from, mut said, mut upto) = (None, None, None);
    let (number_, handle) = match request {
        Request::Open { handle, publics, proofs } => {
            id = Some(hex(publics.id().0));
            roles.extend(proofs.iter().map(|proof| number(proof.role as u8)));
            (1_u8, handle)
        }
        Request::Append { req: which, handle, entry } => {
            (req, said) = (Some(number(*which)), Some(hex(entry)));
            (2, handle)
        }
        Request::Follow { handle, after } => {
            from = after.map(|cursor| hex(cursor.to_bytes()));
            (3, handle)
        }
        Request::Close { handle } => (4, handle),
        Request::Trim { req: which, handle, cursor } => {
            (req, upto) = (Some(number(*which)), Some(hex(cursor.to_bytes())));
            (5, handle)
        }
        Request::Token { .. } => (6, &0),
    };
    object([
        ("number", number(number_)),
        ("handle", number(*handle)),
        ("log", option(id)),
        ("roles", list(roles)),
        ("req", option(req)),
        ("entry", option(said)),
        ("after", option(from)),
        ("up_to", option(upto)),
        ("framed", framed(request)),
    ])
}

pub fn relay() -> Json {
    object([
        ("relay_peer", hex(PEER)),
        ("nonce", hex(NONCE)),
        ("token", hex(token().as_bytes())),
        ("token_text", text(token().to_text().as_str())),
        ("token_hash", hex(token().hash())),
        ("cursor", hex(CURSOR.to_bytes())),
        ("generation", number(CURSOR.generation)),
        ("seq", number(CURSOR.seq)),
        ("from_client", list(requests().iter().map(asked))),
        ("from_relay", list(answers().iter().map(framed))),
    ])
}
