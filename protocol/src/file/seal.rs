//! Sealing chunks, each under the file's own key and its own nonce.
//!
//! ```text
//! key    = KDF32(file key, "wt1 file seal", size u64be)
//! sealed = AEAD(key, nonce = 4 zeros ‖ index u64le, ad = index u32be ‖ count u32be ‖ last u8, chunk)
//! ```
//!
//! > One file key seals one content. Whoever has a file answers only with what its tree names: a file
//! > that has changed on the disk since is not sealed again under the old key.

use alloc::vec::Vec;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use zeroize::Zeroizing;

use super::{FileKey, Layout};
use crate::hash::{Label, kdf32};

/// How much longer a sealed chunk is, in bytes.
pub(super) const TAG: usize = 16;

/// Seals and opens the chunks of one file.
#[derive(Clone)]
pub(super) struct Sealer {
    cipher: ChaCha20Poly1305,
    layout: Layout,
}

impl Sealer {
    pub(super) fn new(key: &FileKey, layout: Layout) -> Self {
        let size = layout.size().to_be_bytes();
        let key = Zeroizing::new(kdf32(&key.0, Label::FileSeal, &[&size]));
        Self { cipher: ChaCha20Poly1305::new((&*key).into()), layout }
    }

    /// The chunk with this index, sealed.
    pub(super) fn seal(&self, index: u32, chunk: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(chunk.len() + TAG);
        bytes.extend_from_slice(chunk);
        let sealed =
            self.cipher.encrypt_in_place(&nonce(index).into(), &self.named(index), &mut bytes);
        #[expect(clippy::expect_used, reason = "fails only beyond 256 GiB")]
        sealed.expect("a chunk is short");
        bytes
    }

    /// Opens it; `None` for what is another chunk, or of another file.
    pub(super) fn open(&self, index: u32, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let named = self.named(index);
        self.cipher.decrypt_in_place(&nonce(index).into(), &named, &mut sealed).ok()?;
        (self.layout.len(index) == Some(sealed.len())).then_some(sealed)
    }

    /// Which chunk it is, of how many.
    fn named(&self, index: u32) -> [u8; 9] {
        let mut named = [0; 9];
        named[..4].copy_from_slice(&index.to_be_bytes());
        named[4..8].copy_from_slice(&self.layout.chunks().to_be_bytes());
        named[8] = u8::from(self.layout.is_last(index));
        named
    }
}

fn nonce(index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&u64::from(index).to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::limits::FILE_CHUNK;

    const SIZE: u64 = 2 * FILE_CHUNK as u64 + 5;

    fn sealer(key: u8, size: u64) -> Sealer {
        Sealer::new(&FileKey([key; 32]), Layout::new(size).unwrap())
    }

    #[test]
    fn what_was_sealed_opens_at_its_place_in_its_file_alone() {
        let sealer = sealer(1, SIZE);
        let chunk = vec![3; FILE_CHUNK];
        let sealed = sealer.seal(1, &chunk);
        assert_eq!(sealed.len(), FILE_CHUNK + TAG);
        assert_eq!(sealer.open(1, sealed.clone()), Some(chunk));
        assert_eq!(sealer.open(0, sealed.clone()), None);
        assert_eq!(self::sealer(2, SIZE).open(1, sealed.clone()), None);
        assert_eq!(self::sealer(1, SIZE + 1).open(1, sealed.clone()), None);
        for at in [0, FILE_CHUNK / 2, FILE_CHUNK, FILE_CHUNK + TAG - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open(1, changed), None, "byte {at}");
        }
        for length in [0, TAG - 1, TAG, sealed.len() - 1] {
            assert_eq!(sealer.open(1, sealed[..length].into()), None, "{length} bytes");
        }
        assert_eq!(sealer.open(1, [&sealed[..], &[0]].concat()), None);
    }

    #[test]
    fn a_chunk_of_another_length_is_none_though_it_was_sealed_with_the_key() {
        let sealer = sealer(1, SIZE);
        for (index, length) in [(0, FILE_CHUNK - 1), (2, 4), (2, 6), (2, FILE_CHUNK)] {
            assert_eq!(sealer.open(index, sealer.seal(index, &vec![0; length])), None);
        }
        assert_eq!(sealer.open(2, sealer.seal(2, &[0; 5])), Some(vec![0; 5]));
    }
}
