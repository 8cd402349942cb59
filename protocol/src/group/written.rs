//! Control statements, frames, seals, stored records and shared history, written down: flat JSON beside
//! the other vectors, for another implementation to read. `docs/spec/decode.py` is one.
//!
//! `WATTLE_WRITE_VECTORS=1 cargo test -p protocol --features endpoint --lib written` writes them anew.
//! Statements and seals are made again, byte for byte. A stored group is taken up and stored again: what
//! a group does may change, what it has stored stays readable.

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};
use std::{env, fs, path::PathBuf};

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

use super::{
    circuits::CircuitAsked,
    seen::Span,
    talks::Talk,
    wire::{
        BundleWire, CardSummary, ChainSummary, Compare, Control, Counted, Data, Frame, HandOver,
        InboxAddress, Indexes, KemEntry, KemWire, Ping, Pong, Presence, ReadTo, Resync, ResyncReq,
        Sealed, Served, Shown, Statement, Summary, Want,
    },
    world::World,
    *,
};
use crate::{
    codec,
    evidence::{Notice, Record},
    ids::{EnvelopeId, FileId, Incarnation, MessageId, OpId},
    membership::{Body, Kind, Op},
    sign::Signature,
};

pub(super) type Fields = Vec<(String, Vec<u8>)>;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const GROUP: GroupId = GroupId([3; 32]);
const CHAIN: ChainId = ChainId([7; 16]);

pub(super) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn write(name: &str, fields: &Fields) {
    let lines: Vec<String> =
        fields.iter().map(|(name, bytes)| format!("  \"{name}\": \"{}\"", hex(bytes))).collect();
    fs::write(file(name), format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
}

pub(super) fn read(name: &str) -> Fields {
    let text = fs::read_to_string(file(name)).unwrap_or_default();
    let texts: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    let digit = |at: &u8| u8::try_from(char::from(*at).to_digit(16).unwrap()).unwrap();
    let bytes = |text: &str| -> Vec<u8> {
        text.as_bytes().chunks(2).map(|it| digit(&it[0]) << 4 | digit(&it[1])).collect()
    };
    texts.chunks(2).map(|it| (it[0].into(), bytes(it[1]))).collect()
}

pub(super) fn writes() -> bool {
    env::var_os("WATTLE_WRITE_VECTORS").is_some()
}

/// Somebody's secrets, as another implementation needs them.
pub(super) fn secrets(whose: &str, me: &Endpoint) -> Fields {
    let kem = me.kem_secrets().next().unwrap();
    let prekey = me.prekey();
    [
        ("identity_seed", me.identity().seed().to_vec()),
        ("identity", me.member().0.to_vec()),
        ("prekey_id", prekey.id.0.to_vec()),
        ("prekey", prekey.public.to_vec()),
        ("prekey_secret", me.prekey_secret(prekey.id).unwrap().to_bytes().to_vec()),
        ("kem_seed", kem.seed().to_vec()),
    ]
    .map(|(name, bytes)| (format!("{whose}_{name}"), bytes))
    .into()
}

fn op(me: &Endpoint, at: u64) -> Op {
    let body = Body {
        group: Some(GROUP),
        author: me.member(),
        seq: 5,
        deps: vec![OpId([1; 32])],
        cap: None,
        at: NOW.plus_ms(at),
        kind: Kind::Leave,
        incarnation: Some(Incarnation([3; 8])),
    };
    Op::sign(body, me.identity())
}

fn presence() -> Presence {
    Presence { at: NOW, addresses: vec![vec![4, 127, 0, 0, 1, 6, 0x20, 0xfb].into()] }
}

fn kem() -> KemWire {
    KemWire {
        chain: CHAIN,
        entries: vec![KemEntry { member: MemberId([5; 32]), ciphertext: vec![6; 1088] }],
    }
}

fn indexes() -> Vec<Indexes> {
    vec![Indexes { chain: CHAIN, indexes: vec![0, 24, 255] }]
}

fn want(at: Option<Timestamp>) -> Want {
    let (ops_after, bundles) = (Some(vec![OpId([1; 32])]), vec![CHAIN]);
    Want { ops_after, bundles, messages: indexes(), topics: true, at }
}

fn bundle() -> BundleWire {
    BundleWire { head: vec![1, 2, 3], pages: vec![vec![4; 57].into()] }
}

/// Each kind of statement that counts under a topic, then those of inboxes alone.
fn statements(me: &Endpoint, sealed: Vec<u8>, inbox: Vec<u8>) -> [Vec<Statement>; 2] {
    let record = Record { chain: CHAIN, index: 9, content: [8; 32], signature: Signature([9; 64]) };
    let card = || Vec::from(me.card().as_bytes());
    let (one, two) = (op(me, 1), op(me, 2));
    let last = Some(MessageId([2; 16]));
    let read = ReadTo { chain: CHAIN, first: 1, next: 9, last, missing: vec![3] };
    let own = vec![Counted { chain: CHAIN, count: 256 }];
    let everybody = vec![
        Statement::Ops(vec![Vec::from(one.as_bytes()).into(), Vec::from(two.as_bytes()).into()]),
        Statement::Bundle(bundle()),
        Statement::Card(card().into()),
        Statement::Presence(presence()),
        Statement::Receipt(indexes()),
        Statement::SlotNack(CHAIN),
        Statement::Want(want(Some(NOW))),
        Statement::Kem(kem()),
        Statement::Notice(Notice::ops(&one, &two)),
        Statement::Reads(vec![read]),
        Statement::Compare(Compare { own, records: vec![record] }),
        Statement::Shown(Shown {
            to: MemberId([5; 32]),
            heads: vec![vec![1, 2, 3].into()],
            records: vec![record],
        }),
        Statement::Inbox(InboxAddress { number: 1, write: [1; 32], read: [2; 32], trim: [3; 32] }),
        Statement::Sealed(Sealed { to: MemberId([5; 32]), sealed }),
        Statement::Seen(vec![Span { chain: CHAIN, first: 24, next: 256 }]),
    ];
    let heads = vec![OpId([1; 32])];
    let inboxes = vec![inbox.clone().into()];
    let nonce = [4; 16];
    let alone = vec![
        Statement::HandOver(HandOver { op: one.as_bytes().into(), topic: [5; 32] }),
        Statement::ResyncReq(ResyncReq {
            nonce,
            at: NOW,
            heads: heads.clone(),
            card: card(),
            inbox,
        }),
        Statement::Resync(Resync {
            nonce,
            cards: vec![card().into()],
            inboxes,
            heads: Some(heads),
        }),
        Statement::Ping(Ping { nonce }),
        Statement::Pong(Pong { nonce, at: NOW }),
        Statement::Circuit(circuit()),
        Statement::Talk(Talk { group: GROUP, code: "wattle1code".into() }),
    ];
    [everybody, alone]
}

fn circuit() -> CircuitAsked {
    let (relay, file) = (vec![9; 38], FileId([8; 16]));
    CircuitAsked { at: NOW, relay, place: [6; 32], seed: [7; 32], file }
}

fn frames(me: &Endpoint, sealed: &[u8], inbox: &[u8]) -> Vec<Frame> {
    let chain = ChainSummary { chain: CHAIN, next: 9, missing: vec![3] };
    let cards = vec![CardSummary { member: me.member(), seq: 1 }];
    let served = Served { chain: CHAIN, index: 9, envelope: vec![1; 512] };
    let ids = || vec![EnvelopeId([6; 32])];
    vec![
        Frame::Push(vec![1; 512].into()),
        Frame::Have(ids()),
        Frame::Graft(ids()),
        Frame::Prune,
        Frame::Summary(Summary {
            heads: vec![OpId([1; 32])],
            chains: vec![chain],
            cards,
            last: true,
        }),
        Frame::Data(Data {
            ops: vec![Vec::from(op(me, 1).as_bytes()).into()],
            cards: vec![Vec::from(me.card().as_bytes()).into()],
            bundles: vec![bundle()],
            envelopes: vec![served],
            topics: vec![vec![5; 32].into()],
            kems: Some(vec![kem()]),
        }),
        Frame::Done,
        Frame::Want(want(None)),
        Frame::Hello,
        Frame::Presence(presence()),
        Frame::Notices(vec![Notice::ops(&op(me, 1), &op(me, 2)).to_bytes().into()]),
        Frame::Inboxes(vec![Vec::from(inbox).into()]),
        Frame::Sealed(Vec::from(sealed).into()),
        Frame::Typing(true),
    ]
}

fn said() -> Fields {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let ada = Endpoint::generate("ada", vec![], &mut rng).unwrap();
    let bob = Endpoint::generate("bob", vec![], &mut rng).unwrap();
    let address = InboxAddress { number: 1, write: [1; 32], read: [2; 32], trim: [3; 32] };
    let inbox = Control::sign(&GROUP, &Statement::Inbox(address), ada.identity());
    let hand_over = HandOver { op: op(&ada, 1).as_bytes().into(), topic: [5; 32] };
    let posted =
        Control::sign_to(&GROUP, &bob.member(), &Statement::HandOver(hand_over), ada.identity());
    let kk = bob.card().card().kk.as_ref();
    let member = bob.member();
    let owner = |kem| seal::Owner { group: &GROUP, member, prekey: bob.prekey(), kem };
    let mut random = vec![0; 32];
    ChaCha20Rng::seed_from_u64(2).fill_bytes(&mut random);
    let seal = |kem| seal::seal(&owner(kem), &posted, &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
    let (sealed, classical) = (seal(kk), seal(None));
    assert!(
        [&sealed, &classical]
            .iter()
            .all(|it| { seal::open(&GROUP, &bob, it).is_some_and(|opened| *opened == posted) })
    );
    let mut fields = vec![("group".into(), GROUP.0.to_vec())];
    fields.extend(secrets("from", &ada));
    fields.extend(secrets("owner", &bob));
    fields.extend([
        ("sealed_statement".into(), posted),
        ("sealed_random".into(), random),
        ("sealed".into(), sealed.clone()),
        ("sealed_without_kem".into(), classical),
    ]);
    let [everybody, alone] = statements(&ada, sealed.clone(), inbox.clone());
    for statement in everybody {
        let bytes = Control::sign(&GROUP, &statement, ada.identity());
        fields.push((format!("statement_{}", Control::from_bytes(&bytes).unwrap().kind), bytes));
    }
    for statement in alone {
        let bytes = Control::sign_to(&GROUP, &member, &statement, ada.identity());
        fields.push((format!("inbox_{}", Control::from_bytes(&bytes).unwrap().kind), bytes));
    }
    let key = circuit().key(&GROUP, &ada.member(), &member);
    fields.push(("circuit_key".into(), key.seed().to_vec()));
    for (at, frame) in frames(&ada, &sealed, &inbox).iter().enumerate() {
        fields.push((format!("frame_{at}"), codec::encode(frame)));
    }
    fields
}

/// A group of two that was stored after a few words, and a page of them for a third to read.
fn stored() -> Fields {
    let mut world = World::with(2, true);
    let policy = Policy { history: Some(1), ..world.member(0).policy().clone() };
    world.act(0, |group, cx| group.set_policy(cx, policy)).unwrap();
    world.settle();
    let words = ["one", "two"].map(|text| {
        let Sent { chain, index, signed, .. } = world.say(0, text);
        SignedRecord { chain, index, signed }
    });
    world.say(1, "three");
    world.settle();
    let page = world.member(0).page_of_test(&words);
    let mut fields = vec![("group".into(), world.member(0).id().0.to_vec())];
    fields.push(("endpoint".into(), world.people[1].me.save().to_vec()));
    fields.extend(secrets("stored_of", &world.people[1].me));
    fields.push(("page".into(), page));
    let records = world.people[1].group.as_mut().unwrap().all_records();
    fields
        .extend(records.iter().map(|(key, value)| (format!("record_{}", hex(key)), value.clone())));
    fields
}

#[test]
fn statements_frames_and_seals_are_as_written() {
    let made = said();
    if writes() {
        write("statements.json", &made);
    }
    let known = read("statements.json");
    assert_eq!(made.len(), known.len());
    for (made, known) in made.iter().zip(&known) {
        assert!(made == known, "{} differs", made.0);
    }
}

#[test]
fn every_statement_and_frame_that_is_written_reads_back() {
    for (name, bytes) in read("statements.json") {
        if name.starts_with("statement_") || name.starts_with("inbox_") {
            let control = Control::from_bytes(&bytes).unwrap();
            let statement = control.statement().ok().unwrap();
            assert!(statement_is(&control, &statement), "{name}");
        }
        if name.starts_with("frame_") {
            assert_eq!(codec::encode(&codec::decode::<Frame>(&bytes).unwrap()), bytes, "{name}");
        }
    }
}

/// Whether a statement, encoded again, has its kind's payload.
fn statement_is(control: &Control, statement: &Statement) -> bool {
    let nobody = crate::sign::SigningSecret::from_seed(&[0; 32]);
    let again = Control::from_bytes(&Control::sign(&GROUP, statement, &nobody)).unwrap();
    (again.kind, &again.payload) == (control.kind, &control.payload)
}

#[test]
fn a_stored_group_that_is_written_down_is_taken_up_and_stored_the_same() {
    // What was stored on a day of the past stays as it is, and readable.
    if writes() && !file("group.json").exists() {
        write("group.json", &stored());
    }
    let fields: BTreeMap<String, Vec<u8>> = read("group.json").into_iter().collect();
    let me = Endpoint::load(&fields["endpoint"], &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
    let key = |name: &String| {
        let digits = name.strip_prefix("record_")?;
        Some(
            (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect::<Vec<u8>>(),
        )
    };
    let records: BTreeMap<Vec<u8>, Vec<u8>> =
        fields.iter().filter_map(|(name, value)| Some((key(name)?, value.clone()))).collect();
    assert!(records.len() > 10);
    let now = Timestamp(1_000_000_100_000);
    let mut group = Group::load(&me, records.clone(), now).unwrap();
    let again = group.all_records();
    for (key, value) in &records {
        let same = again.get(key) == Some(value);
        assert!(same, "record {}: where its form was extended, write it anew", hex(key));
    }
    assert_eq!(again.len(), records.len());
}
