//! Envelopes of every size, the audit log, and notices.

use protocol::{
    audit::{AuditLog, Fact, RotationReason},
    envelope::{self, BodyKey, CARRIED_MAX, Header, HeaderKey},
    evidence::Notice,
    ids::{ChainId, GroupId, Incarnation, OpId},
    limits::BUCKETS,
    membership::{Body, Kind, Op},
};

use crate::{
    Drawn, NOW,
    json::{Json, hex, list, number, object, text},
    person,
};

/// Byte n of what is carried is n mod 251. The last length of a size and the first of the next.
pub fn envelopes() -> Json {
    let (header_key, body_key) = ([1; 32], [2; 32]);
    let header = Header { chain: ChainId([7; 16]), index: 9 };
    let around = BUCKETS[BUCKETS.len() - 1] - CARRIED_MAX;
    let edges = BUCKETS.iter().flat_map(|bucket| [bucket - around, bucket - around + 1]);
    let lengths = [0].into_iter().chain(edges).filter(|length| *length <= CARRIED_MAX);
    list(lengths.map(|length| {
        let carried: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        let mut drawn = Drawn::new(length as u64);
        let (head, body) = (HeaderKey::new(header_key), BodyKey::new(body_key));
        let sealed = envelope::seal(header, &head, &body, &carried, &mut drawn).unwrap();
        let shown = if sealed.len() <= 1024 { &sealed[..] } else { &sealed[..53] };
        object([
            ("header_key", hex(header_key)),
            ("body_key", hex(body_key)),
            ("chain", hex(header.chain.0)),
            ("index", number(header.index)),
            ("carried_length", number(length as u64)),
            ("random", drawn.json()),
            ("length", number(sealed.len() as u64)),
            ("id", hex(envelope::id(&sealed).0)),
            ("beginning", hex(shown)),
        ])
    }))
}

pub fn records() -> Json {
    let (ada, group) = (person("ada", 1), GroupId([3; 32]));
    let mut log = AuditLog::new(&group, &ada.member());
    let mut entries = Vec::new();
    let facts = (0..257).map(|n: u32| match n % 3 {
        0 => Fact::Began(Incarnation([n as u8; 8])),
        1 => Fact::ChainMade {
            chain: ChainId([n as u8; 16]),
            reason: RotationReason::First,
            recipients: n,
        },
        _ => Fact::ChainClosed { chain: ChainId([n as u8; 16]), count: n },
    });
    for (at, fact) in facts.enumerate() {
        entries.extend(log.write(fact, NOW.plus_ms(at as u64), &group, ada.identity()));
    }
    let op = |at: u64| {
        let body = Body {
            group: Some(group),
            author: ada.member(),
            seq: 5,
            deps: vec![OpId([1; 32])],
            cap: None,
            at: NOW.plus_ms(at),
            kind: Kind::Leave,
            incarnation: Some(Incarnation([3; 8])),
        };
        Op::sign(body, ada.identity())
    };
    let notice = Notice::ops(&op(1), &op(2));
    let finding = notice.verify(&group).unwrap();
    object([
        ("group", hex(group.0)),
        ("member", hex(ada.member().0)),
        ("audit_entries", list(entries.iter().map(|(_, bytes)| hex(bytes)))),
        ("audit_head16", hex(log.head16())),
        ("notice", hex(notice.to_bytes())),
        ("accused", hex(finding.accused.0)),
        ("verdict", text(format!("{:?}", finding.verdict))),
    ])
}
