//! The key of one direction of a channel, and those that follow it.
//!
//! > A key never seals twice under one nonce: its owner counts. What follows from a key says nothing
//! > of it.

use alloc::vec::Vec;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag, aead::inout::InOutBuf};
use zeroize::Zeroizing;

use crate::{
    hash::{Label, kdf32},
    ids::Timestamp,
};

/// Frames under one key, at most.
pub(super) const FRAMES: u64 = 1 << 16;

/// How long a key seals, in milliseconds: 10 minutes. The frame after that has another.
pub(super) const LIFE_MS: u64 = 10 * 60 * 1000;

/// What sealing adds, in bytes.
pub(super) const TAG: usize = 16;

/// A ChaCha20-Poly1305 key. Wiped on drop.
#[derive(Clone)]
pub(crate) struct FrameKey(Zeroizing<[u8; 32]>);

impl FrameKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }

    /// The key after this one: Noise's REKEY (revision 34, section 4.2).
    pub(super) fn next(&self) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        // The AEAD refuses only what is longer than 256 GiB; zeros would never be left here.
        let _ = self.cipher().encrypt_inout_detached(
            &nonce(u64::MAX).into(),
            &[],
            InOutBuf::from(key.as_mut_slice()),
        );
        Self(key)
    }

    /// The key of the same direction for another layout of frames.
    pub(super) fn derive(&self, label: Label) -> Self {
        Self(Zeroizing::new(kdf32(self.0.as_ref(), label, &[])))
    }

    /// `header ‖ ciphertext ‖ tag`, with the header as associated data. None for the nonce that
    /// [`Self::next`] uses.
    pub(crate) fn seal(&self, counter: u64, header: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
        if counter == u64::MAX {
            return None;
        }
        let mut frame = Vec::with_capacity(header.len() + plaintext.len() + TAG);
        frame.extend_from_slice(header);
        frame.extend_from_slice(plaintext);
        let body = InOutBuf::from(&mut frame[header.len()..]);
        let tag =
            self.cipher().encrypt_inout_detached(&nonce(counter).into(), header, body).ok()?;
        frame.extend_from_slice(&tag);
        Some(frame)
    }

    pub(crate) fn open(&self, counter: u64, header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (body, tag) = sealed.split_last_chunk::<TAG>()?;
        let mut plaintext = Vec::from(body);
        let buffer = InOutBuf::from(plaintext.as_mut_slice());
        self.cipher()
            .decrypt_inout_detached(&nonce(counter).into(), header, buffer, &Tag::from(*tag))
            .ok()?;
        Some(plaintext)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.0).into())
    }
}

/// Whether a key made at `since` has sealed for long enough. A clock that went back counts as that:
/// nobody knows how long it was.
pub(super) fn is_old(since: Timestamp, now: Timestamp) -> bool {
    now < since || now.ms_since(since) >= LIFE_MS
}

/// Noise's nonce for ChaChaPoly: 32 zero bits, then the counter in little-endian.
pub(super) fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use snow::types::Cipher;

    use super::*;
    use crate::noise::resolver::ChaChaPoly;

    #[test]
    fn frames_and_the_next_key_are_those_of_noise() {
        let mut noise = ChaChaPoly([7; 32]);
        let mut key = FrameKey::new([7; 32]);
        for _ in 0..3 {
            let mut sealed = [0; 5 + TAG];
            noise.encrypt(300, b"ad", b"hello", &mut sealed);
            let frame = key.seal(300, b"ad", b"hello").unwrap();
            assert_eq!(frame, [b"ad", sealed.as_slice()].concat());
            assert_eq!(key.open(300, b"ad", &sealed).unwrap(), b"hello");
            for (counter, header) in [(301, b"ad"), (300, b"da")] {
                assert_eq!(key.open(counter, header, &sealed), None);
            }
            assert_eq!(key.next().open(300, b"ad", &sealed), None);
            noise.rekey();
            key = key.next();
        }
    }

    #[test]
    fn the_reserved_nonce_seals_nothing() {
        assert_eq!(FrameKey::new([7; 32]).seal(u64::MAX, &[], b"hello"), None);
    }

    #[test]
    fn a_key_is_old_after_ten_minutes_or_when_the_clock_went_back() {
        let since = Timestamp(1_000_000);
        assert!(!is_old(since, since) && !is_old(since, since.plus_ms(LIFE_MS - 1)));
        assert!(is_old(since, since.plus_ms(LIFE_MS)) && is_old(since, Timestamp(999_999)));
    }
}
