//! The padded bytes on the wire: all that a relay ever sees.
//!
//! ```text
//!  0   1  version = 1
//!  1  16  salt   = KDF16(body key, "wt1 msg salt", random32 ‖ P)
//! 17  36  header = AEAD(KDF64(header key, "wt1 hdr key", salt), ad = [0..17], chain16 ‖ index u32be)
//! 53   …  body   = AEAD(KDF64(body key, "wt1 msg key", salt), ad = [0..53], P)
//! P = u32be length ‖ what is carried ‖ zeros, so that the whole has a size of `limits::BUCKETS`
//! ```
//!
//! The salt is hedged: should the random source fail or a state be restored, two different
//! plaintexts still get different salts, and so different keys. A chain of sixteen zeros marks a
//! control envelope. docs/spec/envelope.md.

use alloc::vec::Vec;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    hash::{Label, hash32, kdf16, kdf64},
    ids::{ChainId, EnvelopeId},
    limits::{BUCKETS, ENVELOPE_MAX},
};

/// Which message of which chain an envelope holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The sender's chain; [`CONTROL`] for control.
    pub chain: ChainId,
    /// The index in it; 0 for control.
    pub index: u32,
}

/// The chain that marks a control envelope.
pub const CONTROL: ChainId = ChainId([0; 16]);

/// The most bytes that one envelope carries.
pub const CARRIED_MAX: usize = ENVELOPE_MAX - OVERHEAD;

const VERSION: u8 = 1;
const SALT: usize = 16;
const TAG: usize = 16;
const HEADER_AT: usize = 1 + SALT;
const BODY_AT: usize = HEADER_AT + 20 + TAG;
const LENGTH: usize = 4;
const OVERHEAD: usize = BODY_AT + TAG + LENGTH;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// Takes up derived bytes.
            #[must_use]
            pub fn new(bytes: [u8; 32]) -> Self {
                Self(Zeroizing::new(bytes))
            }
        }
    };
}

key! {
    /// Hides the headers of one topic epoch.
    HeaderKey
}
key! {
    /// Encrypts a body: a message key, used once, or an epoch's control key.
    BodyKey
}

/// More than one envelope carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes don't fit an envelope, which carries {CARRIED_MAX}")]
pub struct TooLong {
    /// How many there were.
    pub bytes: usize,
}

/// An envelope that does not open. A peer is told nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not an envelope, or under another topic's key.
    #[error("not an envelope under this key")]
    NotOurs,
    /// Damaged or forged.
    #[error("the envelope does not open")]
    Forged,
}

/// The envelope's name, by which duplicates are dropped.
#[must_use]
pub fn id(bytes: &[u8]) -> EnvelopeId {
    EnvelopeId(hash32(Label::Envelope, &[bytes]))
}

/// Reads the header.
pub fn peek(bytes: &[u8], key: &HeaderKey) -> Result<Header, OpenError> {
    if !BUCKETS.contains(&bytes.len()) || bytes[0] != VERSION {
        return Err(OpenError::NotOurs);
    }
    let (cipher, nonce) = cipher(&key.0, Label::HeaderKey, &bytes[1..HEADER_AT]);
    let payload = Payload { msg: &bytes[HEADER_AT..BODY_AT], aad: &bytes[..HEADER_AT] };
    let header = cipher.decrypt(&nonce.into(), payload).map_err(|_| OpenError::NotOurs)?;
    let (chain, index) = header.split_first_chunk::<16>().ok_or(OpenError::NotOurs)?;
    let index = index.try_into().map(u32::from_be_bytes).map_err(|_| OpenError::NotOurs)?;
    Ok(Header { chain: ChainId(*chain), index })
}

/// Opens the body of an envelope whose header was read.
pub fn open(bytes: &[u8], key: &BodyKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if !BUCKETS.contains(&bytes.len()) {
        return Err(OpenError::NotOurs);
    }
    let (cipher, nonce) = cipher(&key.0, Label::MessageKey, &bytes[1..HEADER_AT]);
    let payload = Payload { msg: &bytes[BODY_AT..], aad: &bytes[..BODY_AT] };
    let padded =
        Zeroizing::new(cipher.decrypt(&nonce.into(), payload).map_err(|_| OpenError::Forged)?);
    let (length, rest) = padded.split_first_chunk::<LENGTH>().ok_or(OpenError::Forged)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (carried, padding) = rest.split_at_checked(length).ok_or(OpenError::Forged)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(OpenError::Forged);
    }
    Ok(Zeroizing::new(carried.into()))
}

/// Seals `carried` into the smallest bucket that holds it.
pub fn seal(
    header: Header,
    header_key: &HeaderKey,
    body_key: &BodyKey,
    carried: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, TooLong> {
    let too_long = TooLong { bytes: carried.len() };
    let length = u32::try_from(carried.len()).map_err(|_| too_long)?;
    let size = *BUCKETS.iter().find(|size| **size >= carried.len() + OVERHEAD).ok_or(too_long)?;
    let mut padded = Zeroizing::new(Vec::with_capacity(size));
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(carried);
    padded.resize(size - BODY_AT - TAG, 0);

    let mut random = Zeroizing::new([0; 32]);
    rng.fill_bytes(random.as_mut());
    let salt = kdf16(body_key.0.as_ref(), Label::MessageSalt, &[random.as_ref(), &padded]);

    let mut bytes = Vec::with_capacity(size);
    bytes.push(VERSION);
    bytes.extend_from_slice(&salt);
    let mut head = [0; 20];
    head[..16].copy_from_slice(&header.chain.0);
    head[16..].copy_from_slice(&header.index.to_be_bytes());
    let sealed = encrypt(&header_key.0, Label::HeaderKey, &salt, &bytes, &head);
    bytes.extend_from_slice(&sealed);
    let sealed = encrypt(&body_key.0, Label::MessageKey, &salt, &bytes, &padded);
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

fn encrypt(key: &[u8; 32], label: Label, salt: &[u8], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let (cipher, nonce) = cipher(key, label, salt);
    #[expect(clippy::expect_used, reason = "fails only beyond 256 GiB")]
    cipher.encrypt(&nonce.into(), Payload { msg, aad }).expect("an envelope is short")
}

fn cipher(key: &[u8; 32], label: Label, salt: &[u8]) -> (ChaCha20Poly1305, [u8; 12]) {
    let derived = Zeroizing::new(kdf64(key, label, &[salt]));
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&derived[32..44]);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&derived[..32]);
    (ChaCha20Poly1305::new((&*key).into()), nonce)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn keys() -> (HeaderKey, BodyKey) {
        (HeaderKey::new([1; 32]), BodyKey::new([2; 32]))
    }

    fn sealed(carried: &[u8], seed: u64) -> Vec<u8> {
        let (header_key, body_key) = keys();
        let header = Header { chain: ChainId([7; 16]), index: 9 };
        seal(header, &header_key, &body_key, carried, &mut ChaCha20Rng::seed_from_u64(seed))
            .unwrap()
    }

    #[test]
    fn what_was_sealed_opens_again() {
        let (header_key, body_key) = keys();
        for length in [0, 1, 439, 440, 10_000, CARRIED_MAX] {
            let carried = vec![5; length];
            let bytes = sealed(&carried, 1);
            assert!(BUCKETS.contains(&bytes.len()));
            let header = peek(&bytes, &header_key).unwrap();
            assert_eq!(header, Header { chain: ChainId([7; 16]), index: 9 });
            assert_eq!(*open(&bytes, &body_key).unwrap(), carried);
        }
    }

    #[test]
    fn one_byte_more_than_fits_is_refused() {
        let (header_key, body_key) = keys();
        let header = Header { chain: CONTROL, index: 0 };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let carried = vec![0; CARRIED_MAX + 1];
        assert_eq!(
            seal(header, &header_key, &body_key, &carried, &mut rng),
            Err(TooLong { bytes: CARRIED_MAX + 1 })
        );
    }

    #[test]
    fn a_failed_random_source_does_not_repeat_a_salt_for_other_words() {
        assert_ne!(sealed(b"one", 1)[1..17], sealed(b"two", 1)[1..17]);
    }

    #[test]
    fn another_topic_reads_no_header() {
        let bytes = sealed(b"one", 1);
        assert_eq!(peek(&bytes, &HeaderKey::new([3; 32])), Err(OpenError::NotOurs));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_noticed(at in 0usize..512, bit in 0u8..8) {
            let (header_key, body_key) = keys();
            let mut bytes = sealed(b"one", 1);
            bytes[at] ^= 1 << bit;
            prop_assert!(peek(&bytes, &header_key).is_err() || open(&bytes, &body_key).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            let (header_key, body_key) = keys();
            prop_assert!(peek(&bytes, &header_key).is_err());
            prop_assert!(open(&bytes, &body_key).is_err());
        }
    }
}
