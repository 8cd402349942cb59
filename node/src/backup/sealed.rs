//! A file that is sealed with a passphrase, written and read in chunks.
//!
//! > Each chunk says its place and whether it is the last: what was cut off, moved or changed shows
//! > before it is believed.
//!
//! ```text
//! file    "wattle backup\n" ‖ version u8 = 1 ‖ costs and salt, as in `key.argon2` ‖ check16 ‖ chunk…
//! key     Argon2id of the passphrase, 32 bytes
//! check   the tag of nothing, under nonce 0xff¹²
//! chunk   ChaCha20-Poly1305(plaintext), at most 65,536 bytes and a tag; nonce = its place u88be ‖ last u8
//! ```
//!
//! The associated data of all is what stands before `check`. The salt is new in each file, and with it
//! the key: no nonce is used twice.

use std::io::{self, Read, Write};

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag};
use zeroize::Zeroizing;

use super::BackupError;
use crate::store::{self, key};

const MAGIC: &[u8] = b"wattle backup\n";
const VERSION: u8 = 1;
const CHUNK: usize = 65_536;
const TAG: usize = 16;
const CHECK_NONCE: [u8; 12] = [0xff; 12];

/// Seals what is written to it. Without [`Writer::finish`] the file is one that was cut off.
pub(super) struct Writer<W> {
    out: W,
    cipher: Cipher,
    chunk: Zeroizing<Vec<u8>>,
}

/// Opens what [`Writer`] sealed.
pub(super) struct Reader<R> {
    input: R,
    cipher: Cipher,
    chunk: Zeroizing<Vec<u8>>,
    at: usize,
    /// What is read of the next chunk.
    ahead: Vec<u8>,
    ended: bool,
}

struct Cipher {
    cipher: ChaCha20Poly1305,
    header: Vec<u8>,
    place: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(mut out: W, passphrase: &str) -> Result<Self, BackupError> {
        let mut header = [MAGIC, &[VERSION]].concat();
        header.extend(key::new_header().map_err(store)?);
        let cipher = Cipher::new(passphrase, header)?;
        out.write_all(&cipher.header)?;
        out.write_all(&cipher.check()?)?;
        Ok(Self { out, cipher, chunk: Zeroizing::new(Vec::with_capacity(CHUNK + TAG)) })
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            if self.chunk.len() == CHUNK {
                self.seal(0)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Writes the last chunk.
    pub fn finish(mut self) -> Result<W, BackupError> {
        self.seal(1)?;
        Ok(self.out)
    }

    fn seal(&mut self, last: u8) -> Result<(), BackupError> {
        let Cipher { cipher, header, .. } = &self.cipher;
        let nonce = self.cipher.nonce(last);
        cipher
            .encrypt_in_place(&nonce.into(), header, &mut *self.chunk)
            .map_err(|_| BackupError::Damaged)?;
        self.cipher.place += 1;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<R: Read> Reader<R> {
    /// Reads the beginning, and tries the passphrase.
    pub fn new(mut input: R, passphrase: &str) -> Result<Self, BackupError> {
        let mut header = vec![0; MAGIC.len() + 1];
        read_beginning(&mut input, &mut header)?;
        match header.split_last() {
            Some((&version, magic)) if magic == MAGIC && version == VERSION => {}
            Some((&found, magic)) if magic == MAGIC && found > VERSION => {
                return Err(BackupError::Newer { found, known: VERSION });
            }
            _ => return Err(BackupError::NoBackup),
        }
        let before = header.len();
        header.resize(before + key::HEADER_LEN, 0);
        read_beginning(&mut input, &mut header[before..])?;
        let mut check = [0; TAG];
        read_beginning(&mut input, &mut check)?;
        let cipher = Cipher::new(passphrase, header)?;
        cipher.is_checked(&check)?;
        let ahead = some(&mut input)?;
        let chunk = Zeroizing::new(Vec::new());
        Ok(Self { input, cipher, chunk, at: 0, ahead, ended: false })
    }

    /// Fills `bytes` with what comes next; `false`: this is the end, and nothing was left.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<bool, BackupError> {
        let mut filled = 0;
        while filled < bytes.len() {
            if self.at == self.chunk.len() {
                if self.ended {
                    return if filled == 0 { Ok(false) } else { Err(BackupError::Damaged) };
                }
                self.open()?;
                continue;
            }
            let there = (self.chunk.len() - self.at).min(bytes.len() - filled);
            bytes[filled..filled + there].copy_from_slice(&self.chunk[self.at..self.at + there]);
            (self.at, filled) = (self.at + there, filled + there);
        }
        Ok(true)
    }

    fn open(&mut self) -> Result<(), BackupError> {
        let next = some(&mut self.input)?;
        self.ended = next.is_empty();
        let sealed = std::mem::replace(&mut self.ahead, next);
        self.chunk = Zeroizing::new(sealed);
        self.at = 0;
        let nonce = self.cipher.nonce(self.ended.into());
        let Cipher { cipher, header, .. } = &self.cipher;
        cipher
            .decrypt_in_place(&nonce.into(), header, &mut *self.chunk)
            .map_err(|_| BackupError::Damaged)?;
        self.cipher.place += 1;
        Ok(())
    }
}

impl Cipher {
    fn new(passphrase: &str, header: Vec<u8>) -> Result<Self, BackupError> {
        let argon2 = &header[MAGIC.len() + 1..];
        let key = key::derive(passphrase, argon2).map_err(store)?;
        Ok(Self { cipher: ChaCha20Poly1305::new((&*key).into()), header, place: 0 })
    }

    fn nonce(&self, last: u8) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.place.to_be_bytes());
        nonce[11] = last;
        nonce
    }

    fn check(&self) -> Result<Vec<u8>, BackupError> {
        let mut nothing = Vec::new();
        self.cipher
            .encrypt_in_place(&CHECK_NONCE.into(), &self.header, &mut nothing)
            .map_err(|_| BackupError::Damaged)?;
        Ok(nothing)
    }

    fn is_checked(&self, check: &[u8; TAG]) -> Result<(), BackupError> {
        let tag = Tag::from(*check);
        let nothing = (&mut [][..]).into();
        self.cipher
            .decrypt_inout_detached(&CHECK_NONCE.into(), &self.header, nothing, &tag)
            .map_err(|_| BackupError::WrongPassphrase)
    }
}

/// A chunk with its tag, or what there is of one.
fn some(input: &mut impl Read) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::with_capacity(CHUNK + TAG);
    input.take((CHUNK + TAG) as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_beginning(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::NoBackup,
        _ => error.into(),
    })
}

/// An error of the key's derivation, where the header is what is wrong.
fn store(error: store::StoreError) -> BackupError {
    match error {
        store::StoreError::Damaged => BackupError::Damaged,
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), "pass").unwrap();
        writer.write(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn opened(file: &[u8], length: usize) -> Result<Vec<u8>, BackupError> {
        let mut reader = Reader::new(file, "pass")?;
        let mut bytes = vec![0; length];
        assert!(reader.read(&mut bytes)?);
        assert!(!reader.read(&mut [0])?, "more than was written");
        Ok(bytes)
    }

    #[test]
    fn what_was_sealed_is_read_again_at_every_length_around_a_chunk() {
        for length in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            assert_eq!(opened(&sealed(&bytes), length).unwrap(), bytes, "{length}");
        }
    }

    #[test]
    fn a_file_that_was_cut_off_lengthened_or_shuffled_is_refused() {
        let length = 2 * CHUNK + 9;
        let file = sealed(&vec![7; length]);
        let start = file.len() - (length + 3 * TAG);
        let cut = |at: usize| opened(&file[..at], length).unwrap_err();
        for at in [start, start + 1, start + CHUNK + TAG, start + 2 * (CHUNK + TAG), file.len() - 1]
        {
            assert!(matches!(cut(at), BackupError::Damaged), "{at}");
        }
        let longer = [file.as_slice(), &[0]].concat();
        assert!(matches!(opened(&longer, length), Err(BackupError::Damaged)));
        let mut shuffled = file.clone();
        shuffled[start..start + 2 * (CHUNK + TAG)].rotate_left(CHUNK + TAG);
        assert!(matches!(opened(&shuffled, length), Err(BackupError::Damaged)));
        assert!(matches!(cut(3), BackupError::NoBackup));
    }

    #[test]
    fn a_changed_byte_a_wrong_passphrase_and_a_newer_version_are_told_apart() {
        let file = sealed(b"text");
        assert!(matches!(Reader::new(&*file, "other").err(), Some(BackupError::WrongPassphrase)));
        let with = |at: usize| {
            let mut file = file.clone();
            file[at] ^= 2;
            opened(&file, 4).unwrap_err()
        };
        assert!(matches!(with(0), BackupError::NoBackup));
        assert!(matches!(with(MAGIC.len()), BackupError::Newer { found: 3, known: 1 }));
        assert!(matches!(with(file.len() - 20), BackupError::Damaged));
        assert!(matches!(with(file.len() - 1), BackupError::Damaged));
        let check = file.len() - 4 - 2 * TAG;
        assert!(matches!(with(check), BackupError::WrongPassphrase));
    }
}
