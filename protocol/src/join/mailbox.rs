//! Join frames as entries of the invite's relay log: opaque, and of a bucket's size.
//!
//! ```text
//! entry     = salt16 ‖ ChaCha20-Poly1305(key ‖ nonce, P)
//! key‖nonce = KDF64(seal_key, "wt1 inv mail", salt)[..44]
//! salt      = KDF16(seal_key, "wt1 inv mail", rnd32 ‖ P)
//! P         = session16 ‖ direction u8 ‖ seq u16be ‖ length u16be ‖ body ‖ zeros
//! ```
//!
//! The salt depends on the plaintext, so that bad randomness alone never repeats a key stream. The
//! session ids keep several joiners and hosts apart who share one mailbox.

use alloc::vec::Vec;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    hash::{Label, kdf16, kdf64},
    limits,
};

/// One frame in the mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailFrame {
    /// The join that it belongs to: random, chosen by the joiner.
    pub session: [u8; 16],
    /// Who sent it.
    pub direction: Direction,
    /// Its place among the frames of that session and direction, from 0.
    pub seq: u16,
    /// The frame, at most [`BODY_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Who sent a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// 0: the joiner.
    FromJoiner,
    /// 1: the host.
    FromHost,
    /// 2: a joiner who asks by letter ([`super::Request`]).
    Request,
    /// 3: a host who answers so ([`super::letter`]).
    Letter,
}

/// A frame longer than [`BODY_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame in the mailbox has at most {BODY_MAX} bytes, not {bytes}")]
pub struct TooLong {
    /// Its length.
    pub bytes: usize,
}

const SALT: usize = 16;
const TAG: usize = 16;
const HEADER: usize = 16 + 1 + 2 + 2;

/// The longest frame that one entry holds, in bytes: 32,715.
pub const BODY_MAX: usize = limits::ENVELOPE_MAX - SALT - TAG - HEADER;

/// Seals a frame into an entry whose size is the smallest of [`limits::BUCKETS`] that holds it.
pub fn seal(
    seal_key: &[u8; 32],
    frame: &MailFrame,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, TooLong> {
    let too_long = TooLong { bytes: frame.body.len() };
    let need = SALT + HEADER + frame.body.len() + TAG;
    let bucket = limits::BUCKETS.into_iter().find(|bucket| *bucket >= need).ok_or(too_long)?;
    let len = u16::try_from(frame.body.len()).map_err(|_| too_long)?;

    let mut plain = Vec::with_capacity(bucket);
    plain.extend_from_slice(&frame.session);
    plain.push(frame.direction.byte());
    plain.extend_from_slice(&frame.seq.to_be_bytes());
    plain.extend_from_slice(&len.to_be_bytes());
    plain.extend_from_slice(&frame.body);
    plain.resize(bucket - SALT - TAG, 0);

    let mut random = Zeroizing::new([0; 32]);
    rng.fill_bytes(random.as_mut());
    let salt = kdf16(seal_key, Label::InviteMail, &[random.as_ref(), &plain]);
    let (cipher, nonce) = cipher(seal_key, &salt);
    cipher.encrypt_in_place(&nonce.into(), &[], &mut plain).map_err(|_| too_long)?;
    Ok([&salt, plain.as_slice()].concat())
}

/// Opens an entry; `None` for whatever else lies in the mailbox.
#[must_use]
pub fn open(seal_key: &[u8; 32], entry: &[u8]) -> Option<MailFrame> {
    if !limits::BUCKETS.contains(&entry.len()) {
        return None;
    }
    let (salt, sealed) = entry.split_first_chunk::<SALT>()?;
    let (cipher, nonce) = cipher(seal_key, salt);
    let mut plain = Vec::from(sealed);
    cipher.decrypt_in_place(&nonce.into(), &[], &mut plain).ok()?;

    let (session, rest) = plain.split_first_chunk()?;
    let (&[direction, seq0, seq1, len0, len1], rest) = rest.split_first_chunk()?;
    let (body, padding) = rest.split_at_checked(u16::from_be_bytes([len0, len1]).into())?;
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some(MailFrame {
        session: *session,
        direction: Direction::from_byte(direction)?,
        seq: u16::from_be_bytes([seq0, seq1]),
        body: body.into(),
    })
}

impl Direction {
    const fn byte(self) -> u8 {
        match self {
            Self::FromJoiner => 0,
            Self::FromHost => 1,
            Self::Request => 2,
            Self::Letter => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::FromJoiner),
            1 => Some(Self::FromHost),
            2 => Some(Self::Request),
            3 => Some(Self::Letter),
            _ => None,
        }
    }
}

fn cipher(seal_key: &[u8; 32], salt: &[u8; SALT]) -> (ChaCha20Poly1305, [u8; 12]) {
    let derived = Zeroizing::new(kdf64(seal_key, Label::InviteMail, &[salt]));
    let (mut key, mut nonce) = (Zeroizing::new([0; 32]), [0; 12]);
    key.copy_from_slice(&derived[..32]);
    nonce.copy_from_slice(&derived[32..44]);
    (ChaCha20Poly1305::new((&*key).into()), nonce)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    const KEY: [u8; 32] = [1; 32];

    fn frame(bytes: usize) -> MailFrame {
        let body = vec![0xa5; bytes];
        MailFrame { session: [9; 16], direction: Direction::FromHost, seq: 300, body }
    }

    fn sealed(frame: &MailFrame) -> Vec<u8> {
        seal(&KEY, frame, &mut ChaCha20Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn a_frame_is_opened_as_it_was_sealed_and_fills_a_bucket() {
        for (bytes, bucket) in [(0, 512), (459, 512), (460, 1024), (BODY_MAX, 32_768)] {
            let entry = sealed(&frame(bytes));
            assert_eq!(entry.len(), bucket);
            assert_eq!(open(&KEY, &entry), Some(frame(bytes)));
        }
        let from_joiner = MailFrame { direction: Direction::FromJoiner, ..frame(3) };
        assert_eq!(open(&KEY, &sealed(&from_joiner)), Some(from_joiner));
    }

    #[test]
    fn a_frame_that_fits_no_bucket_is_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for bytes in [BODY_MAX + 1, 70_000] {
            assert_eq!(seal(&KEY, &frame(bytes), &mut rng), Err(TooLong { bytes }));
        }
    }

    #[test]
    fn nothing_else_opens() {
        let entry = sealed(&frame(40));
        assert_eq!(open(&[2; 32], &entry), None);
        for at in 0..entry.len() {
            let mut changed = entry.clone();
            changed[at] ^= 1;
            assert_eq!(open(&KEY, &changed), None, "byte {at}");
        }
        for len in [0, 15, 16, 31, 511, 513] {
            let mut cut = entry.clone();
            cut.resize(len, 0);
            assert_eq!(open(&KEY, &cut), None, "{len} bytes");
        }
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let with = |change: &dyn Fn(&mut [u8])| {
            let salt = [3; SALT];
            let (cipher, nonce) = cipher(&KEY, &salt);
            let mut plain = vec![0; 512 - SALT - TAG];
            change(&mut plain);
            cipher.encrypt_in_place(&nonce.into(), &[], &mut plain).unwrap();
            open(&KEY, &[&salt, plain.as_slice()].concat())
        };
        assert!(with(&|_| {}).is_some());
        assert_eq!(with(&|plain| plain[16] = 4), None);
        assert_eq!(with(&|plain| plain[19..21].fill(0xff)), None);
        assert_eq!(with(&|plain| plain[400] = 1), None);
    }

    #[test]
    fn the_same_frame_sealed_twice_looks_different() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let first = seal(&KEY, &frame(10), &mut rng).unwrap();
        assert_ne!(seal(&KEY, &frame(10), &mut rng).unwrap()[..16], first[..16]);
        // With the same randomness, another plaintext has another key stream.
        assert_ne!(sealed(&frame(11))[..16], first[..16]);
    }
}
