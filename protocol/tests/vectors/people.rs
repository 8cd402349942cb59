//! Identities, cards, fingerprints, invites, and what lies in a mailbox.

use protocol::{
    fingerprint,
    identity::{Card, SignedCard},
    ids::{GroupId, Timestamp},
    invite::{InviteCode, InviteSecret, group_prefix},
    join::mailbox::{self, Direction, MailFrame},
    membership::sign_join,
    recovery::RecoveryKey,
    relay_log::{RelayPass, RelayToken},
};

use crate::{
    Drawn,
    json::{Json, hex, list, number, object, option, text},
    person, secrets,
};

pub fn people() -> Json {
    let (ada, bob) = (person("ada", 1), person("bob", 2));
    let mut old = ada.card().card().clone();
    (old.version, old.recovery, old.kk, old.machines) = (1, None, None, None);
    old.nodes = vec![vec![1, 2, 3].into()];
    let old = SignedCard::sign(old, ada.identity());
    assert!(SignedCard::from_bytes(old.as_bytes()).is_ok());
    let mut linked: Card = bob.card().card().clone();
    (linked.seq, linked.machines) = (2, Some(vec![ada.member()]));
    let linked = SignedCard::sign(linked, bob.identity());
    assert!(SignedCard::from_bytes(linked.as_bytes()).is_ok());
    let mut drawn = Drawn::new(3);
    let recovery = RecoveryKey::generate(&mut drawn);
    let shown = |card: &SignedCard| {
        let said = card.card();
        object([
            ("bytes", hex(card.as_bytes())),
            ("version", number(said.version)),
            ("member", hex(said.member.0)),
            ("recovery", option(said.recovery.map(hex))),
            ("seq", number(said.seq)),
            ("name", text(said.name.clone())),
            ("nodes", list(said.nodes.iter().map(|node| hex(node.as_slice())))),
            ("prekey_id", hex(said.prekey.id.0)),
            ("prekey", hex(said.prekey.public)),
            ("kk", option(said.kk.as_ref().map(|key| hex(key.as_bytes())))),
            (
                "machines",
                option(said.machines.as_ref().map(|all| list(all.iter().map(|it| hex(it.0))))),
            ),
        ])
    };
    object([
        ("secrets", list([secrets(&ada), secrets(&bob)])),
        ("cards", list([ada.card(), bob.card(), &old, &linked].map(shown))),
        ("fingerprint", text(fingerprint::of_member(&ada.member()))),
        ("pair", text(fingerprint::of_pair(&ada.member(), &bob.member()))),
        ("pair_code", text(fingerprint::code_of_pair(&ada.member(), &bob.member()))),
        ("recovery_seed", list(drawn.taken().iter().map(hex))),
        ("recovery_public", hex(recovery.public())),
        ("recovery_code", text(recovery.code().as_str())),
    ])
}

pub fn invites() -> Json {
    let (group, secret) = (GroupId([3; 32]), InviteSecret([4; 16]));
    let ada = person("ada", 1);
    let peer = [[0xa5, 0x03, 0x26].as_slice(), &[6; 38]].concat();
    let address = |host: u8| [&[4, 127, 0, 0, host, 6, 0x10, 0x01], peer.as_slice()].concat();
    let code = InviteCode {
        group_prefix: group_prefix(group),
        secret: secret.clone(),
        relays: vec![address(1), address(2)],
        direct: vec![address(3)],
        tokens: vec![RelayPass { relay: peer[3..].into(), token: RelayToken::from_bytes([7; 16]) }],
        expires: Some(Timestamp(1_800_000_000_000)),
    };
    let text_of_it = code.to_text().unwrap();
    assert!(InviteCode::parse(&text_of_it) == Ok(code.clone()));
    let record = secret.record();
    let handshake = [5; 32];
    let proof = sign_join(
        &secret.signing(),
        group,
        secret.id(),
        ada.member(),
        ada.card().as_bytes(),
        &handshake,
    );
    let mut drawn = Drawn::new(4);
    let frame = MailFrame {
        session: [6; 16],
        direction: Direction::FromHost,
        seq: 300,
        body: b"a frame".to_vec(),
    };
    let entry = mailbox::seal(&record.seal_key, &frame, &mut drawn).unwrap();
    object([
        ("group", hex(group.0)),
        ("secret", hex(secret.0)),
        ("id", hex(record.id.0)),
        ("psk0", hex(record.psk0)),
        ("ipk", hex(record.ipk)),
        ("box_write", hex(record.box_write)),
        ("box_read", hex(record.box_read)),
        ("seal_key", hex(record.seal_key)),
        ("relays", list(code.relays.iter().map(hex))),
        ("direct", list(code.direct.iter().map(hex))),
        ("token", hex([7; 16])),
        ("expires", number(1_800_000_000_000_u64)),
        ("code", text(text_of_it.as_str())),
        (
            "proof",
            object([
                ("joiner", hex(ada.member().0)),
                ("card", hex(ada.card().as_bytes())),
                ("handshake", hex(handshake)),
                ("signature", hex(proof.0)),
            ]),
        ),
        (
            "mail",
            object([
                ("session", hex(frame.session)),
                ("direction", number(1_u8)),
                ("seq", number(frame.seq)),
                ("body", hex(&frame.body)),
                ("random", drawn.json()),
                ("entry", hex(entry)),
            ]),
        ),
    ])
}
