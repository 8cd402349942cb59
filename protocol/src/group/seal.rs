//! A one-way seal to one member: what is in an inbox, only its owner opens.
//!
//! ```text
//! Sealed = CBOR [1, prekey id4, E32, kem ct1088 | null, box bstr]
//! K‖N    = KDF64(DH(e, RP) ‖ ss, "wt1 inbox seal", E ‖ RP ‖ group ‖ owner ‖ H("wt1 inbox seal", ct))
//! box    = AEAD(K, N, ad = E, what is sealed)              ss: of ML-KEM-768; nothing without ct
//! e      = KDF32(rnd32, "wt1 inbox eph", owner ‖ what is sealed)
//! ```
//!
//! `RP` is the owner's newest recipient prekey. Where its card has an ML-KEM key, the ciphertext is
//! never left out. The ephemeral key is hedged: should the random source fail, two different
//! statements still get different keys. Who sealed it is said inside, by a signature.

use alloc::vec::Vec;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32, kdf32, kdf64},
    identity::Prekey,
    ids::{GroupId, MemberId, PrekeyId},
    kem::{CIPHERTEXT, KemPublic},
};

const VERSION: u8 = 1;

/// To whom something is sealed.
pub(super) struct Owner<'a> {
    pub group: &'a GroupId,
    pub member: MemberId,
    pub prekey: Prekey,
    pub kem: Option<&'a KemPublic>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Sealed {
    #[n(0)]
    version: u8,
    #[n(1)]
    prekey: PrekeyId,
    #[cbor(n(2), with = "minicbor::bytes")]
    ephemeral: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    kem: Option<[u8; CIPHERTEXT]>,
    #[cbor(n(4), with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

/// Seals; `None` where the owner's prekey is no key, or the whole is longer than a cipher takes.
pub(super) fn seal(to: &Owner<'_>, plain: &[u8], rng: &mut impl CryptoRng) -> Option<Vec<u8>> {
    let mut random = Zeroizing::new([0; 32]);
    rng.fill_bytes(random.as_mut());
    let parts: [&[u8]; 2] = [&to.member.0, plain];
    let ephemeral = StaticSecret::from(kdf32(random.as_ref(), Label::InboxEphemeral, &parts));
    let public = PublicKey::from(&ephemeral).to_bytes();
    let shared = ephemeral.diffie_hellman(&PublicKey::from(to.prekey.public));
    if !shared.was_contributory() {
        return None;
    }
    let (kem, secret) = match to.kem.map(|kem| kem.encapsulate(rng)) {
        Some((ciphertext, secret)) => (Some(*ciphertext), Some(secret)),
        None => (None, None),
    };
    let secrets = joined(shared.as_bytes(), secret.as_deref());
    let (cipher, nonce) =
        cipher(&secrets, to.group, &to.member, &public, &to.prekey.public, kem.as_ref());
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg: plain, aad: &public }).ok()?;
    let prekey = to.prekey.id;
    Some(codec::encode(&Sealed { version: VERSION, prekey, ephemeral: public, kem, sealed }))
}

/// Opens what was sealed to this node; `None` for whatever else.
pub(super) fn open(group: &GroupId, me: &Endpoint, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let wire: Sealed = codec::decode(bytes).ok()?;
    if wire.version != VERSION {
        return None;
    }
    let own = me.prekey_secret(wire.prekey)?;
    let shared = own.diffie_hellman(&PublicKey::from(wire.ephemeral));
    if !shared.was_contributory() {
        return None;
    }
    let prekey = PublicKey::from(own).to_bytes();
    let try_with = |secret: Option<&[u8; 32]>| {
        let secrets = joined(shared.as_bytes(), secret);
        let (cipher, nonce) =
            cipher(&secrets, group, &me.member(), &wire.ephemeral, &prekey, wire.kem.as_ref());
        let payload = Payload { msg: &wire.sealed, aad: &wire.ephemeral };
        cipher.decrypt(&nonce.into(), payload).ok().map(Zeroizing::new)
    };
    match &wire.kem {
        None => try_with(None),
        // Which of the few that are kept is not said.
        Some(ciphertext) => {
            me.kem_secrets().find_map(|kem| try_with(Some(&*kem.decapsulate(ciphertext))))
        }
    }
}

fn joined(dh: &[u8; 32], kem: Option<&[u8; 32]>) -> Zeroizing<Vec<u8>> {
    let mut secrets = Zeroizing::new(Vec::with_capacity(64));
    secrets.extend_from_slice(dh);
    secrets.extend_from_slice(kem.map_or(&[], |secret| secret.as_slice()));
    secrets
}

fn cipher(
    secrets: &[u8],
    group: &GroupId,
    owner: &MemberId,
    ephemeral: &[u8; 32],
    prekey: &[u8; 32],
    kem: Option<&[u8; CIPHERTEXT]>,
) -> (ChaCha20Poly1305, [u8; 12]) {
    let kem = hash32(Label::InboxSeal, &[kem.map_or(&[], |kem| kem.as_slice())]);
    let parts: [&[u8]; 5] = [ephemeral, prekey, &group.0, &owner.0, &kem];
    let derived = Zeroizing::new(kdf64(secrets, Label::InboxSeal, &parts));
    let (mut key, mut nonce) = (Zeroizing::new([0; 32]), [0; 12]);
    key.copy_from_slice(&derived[..32]);
    nonce.copy_from_slice(&derived[32..44]);
    (ChaCha20Poly1305::new((&*key).into()), nonce)
}
