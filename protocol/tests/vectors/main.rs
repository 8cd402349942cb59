//! The protocol's bytes, written down: with the same randomness, this code makes the vectors beside
//! this file, byte for byte.
//!
//! `WATTLE_WRITE_VECTORS=1 cargo test -p protocol --features endpoint --test vectors` writes them
//! anew. Another implementation needs nothing else: what was drawn from the random source stands in
//! each vector as `random`, in the order in which it was drawn. `docs/spec/decode.py` reads them.

#![cfg(feature = "endpoint")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod channels;
mod derivations;
mod files;
mod joining;
mod json;
mod late;
mod messages;
mod ops;
mod people;
mod relay;
mod rotations;
mod said;

use std::{cell::RefCell, convert::Infallible, env, fs, path::Path, rc::Rc};

use json::{Json, hex, list};
use protocol::{endpoint::Endpoint, identity::SignedCard, ids::Timestamp};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng},
};

pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A random source that writes down what it gave.
#[derive(Clone)]
pub struct Drawn(Rc<RefCell<(ChaCha20Rng, Vec<Vec<u8>>)>>);

impl Drawn {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new((ChaCha20Rng::seed_from_u64(seed), Vec::new()))))
    }

    /// What was drawn since the last call.
    pub fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.borrow_mut().1)
    }

    pub fn json(&self) -> Json {
        list(self.taken().iter().map(hex))
    }
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let mut inner = self.0.borrow_mut();
        inner.0.fill_bytes(bytes);
        inner.1.push(bytes.into());
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

/// Somebody, with keys of this seed.
pub fn person(name: &str, seed: u64) -> Endpoint {
    Endpoint::generate(name, vec![], &mut Drawn::new(seed)).unwrap()
}

/// The same, with a card of version 1, which has no ML-KEM key.
pub fn of_version_1(me: &Endpoint) -> Endpoint {
    let mut card = me.card().card().clone();
    (card.version, card.recovery, card.kk, card.machines) = (1, None, None, None);
    let card = SignedCard::sign(card, me.identity());
    let stored = me.save();
    let mut d = minicbor::Decoder::new(&stored);
    let mut other = Vec::new();
    let mut e = minicbor::Encoder::new(&mut other);
    e.array(d.array().unwrap().unwrap()).unwrap().u8(d.u8().unwrap()).unwrap();
    e.bytes(d.bytes().unwrap()).unwrap().bytes(card.as_bytes()).unwrap();
    d.bytes().unwrap();
    other.extend_from_slice(&stored[d.position()..]);
    Endpoint::load(&other, &mut Drawn::new(77)).unwrap()
}

/// The secrets of a person, as another implementation needs them to open what is sealed to it.
pub fn secrets(me: &Endpoint) -> Json {
    json::object([
        ("identity_seed", hex(*me.identity().seed())),
        ("identity", hex(me.member().0)),
        ("incarnation", hex(me.incarnation().0)),
        ("prekey_id", hex(me.prekey().id.0)),
        ("prekey_secret", hex(me.prekey_secret(me.prekey().id).unwrap().to_bytes())),
        ("prekey", hex(me.prekey().public)),
        ("kem_seeds", list(me.kem_secrets().map(|kem| hex(kem.seed())))),
        ("card", hex(me.card().as_bytes())),
    ])
}

fn compare(name: &str, made: &Json) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    let made_text = made.to_text();
    if env::var_os("WATTLE_WRITE_VECTORS").is_some() {
        fs::write(&file, &made_text).unwrap();
        seed_fuzzing(name, made);
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    let differing = made_text.lines().zip(known.lines()).position(|(made, known)| made != known);
    assert!(
        made_text == known,
        "{name} differs, first in line {:?}: these bytes are on disks and on the wire. Where that is \
         meant, write them anew (see the top of this file)",
        differing.map(|at| at + 1)
    );
}

/// Signed things among the vectors are what the fuzzer's decoders begin with.
fn seed_fuzzing(name: &str, made: &Json) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut found = Vec::new();
    made.find(&["bytes", "head", "notice", "code", "recovery_code"], &mut found);
    for (at, (field, text)) in found.into_iter().enumerate() {
        let is_code = field.ends_with("code");
        let target = if is_code { "codes" } else { "decoders" };
        let bytes = if is_code { text.as_bytes().into() } else { json::unhex(text) };
        let stem = name.trim_end_matches(".json");
        fs::write(corpus.join(target).join(format!("{stem}-{at:02}")), bytes).unwrap();
    }
}

macro_rules! vectors {
    ($($test:ident: $file:literal = $make:path;)*) => {
        $(#[test] fn $test() { compare($file, &$make()); })*
    };
}

vectors! {
    every_label_derives_as_written: "derivations.json" = derivations::labels;
    every_signature_covers_as_written: "signatures.json" = derivations::signatures;
    frames_to_and_from_a_relay_are_as_written: "relay.json" = relay::relay;
    topics_and_logs_are_named_as_written: "topics.json" = derivations::topics;
    classes_are_as_written: "classes.json" = late::classes;
    cards_are_as_written: "people.json" = people::people;
    invites_are_as_written: "invites.json" = people::invites;
    ops_of_every_kind_are_as_written: "ops.json" = ops::kinds;
    dags_resolve_as_written: "membership.json" = ops::dags;
    envelopes_of_every_size_are_as_written: "envelopes.json" = messages::envelopes;
    bundles_and_their_chains_are_as_written: "rotations.json" = rotations::rotations;
    audit_logs_and_notices_are_as_written: "records.json" = messages::records;
    a_join_goes_as_written: "join.json" = joining::join;
    letters_are_as_written: "letters.json" = channels::letters;
    handshakes_are_as_written: "handshakes.json" = channels::handshakes;
    files_are_as_written: "files.json" = files::files;
    what_messages_say_is_as_written: "said.json" = said::said_of_each_kind;
}
