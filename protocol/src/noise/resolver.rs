//! The primitives under Noise, for snow: X25519, ChaCha20-Poly1305, BLAKE2b, and randomness that
//! the caller lent.
//!
//! > A Diffie-Hellman output of all zeros is an error, and the same seed gives the same handshake.
//!
//! snow's own resolver has neither property, and draws from the operating system.

use alloc::boxed::Box;

use blake2::{Blake2b512, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Tag, aead::inout::InOutBuf};
use rand_core::CryptoRng;
use snow::{
    Error,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::hash::{Label, kdf64};

/// The resolver of one handshake, with 32 bytes of randomness of its own.
pub(super) struct Resolver {
    seed: Zeroizing<[u8; 32]>,
}

impl Resolver {
    /// Draws 32 bytes from `rng`; everything random in the handshake is derived from them.
    pub(super) fn new(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self { seed }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Stream { seed: self.seed.clone(), block: 0 }))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::new(X25519::new([0; 32])) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::Blake2b).then(|| Box::new(Blake2b(Blake2b512::new())) as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        (*choice == CipherChoice::ChaChaPoly).then(|| Box::new(ChaChaPoly([0; 32])) as _)
    }
}

/// KDF64(seed, "wt1 noise rnd", block u64be), block after block. snow draws from one instance only.
struct Stream {
    seed: Zeroizing<[u8; 32]>,
    block: u64,
}

impl Random for Stream {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        for part in dest.chunks_mut(64) {
            let block = Zeroizing::new(kdf64(
                self.seed.as_ref(),
                Label::NoiseRandom,
                &[&self.block.to_be_bytes()],
            ));
            part.copy_from_slice(&block[..part.len()]);
            self.block = self.block.checked_add(1).ok_or(Error::Rng)?;
        }
        Ok(())
    }
}

struct X25519 {
    secret: StaticSecret,
    public: PublicKey,
}

impl X25519 {
    fn new(secret: [u8; 32]) -> Self {
        let secret = StaticSecret::from(secret);
        Self { public: PublicKey::from(&secret), secret }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    #[expect(clippy::expect_used, reason = "our own keys only, which are arrays of 32 bytes")]
    fn set(&mut self, privkey: &[u8]) {
        *self = Self::new(privkey.try_into().expect("32 bytes"));
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(secret.as_mut())?;
        *self = Self::new(*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = pubkey.first_chunk::<32>().ok_or(Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(*public));
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared.as_bytes());
        Ok(())
    }
}

struct Blake2b(Blake2b512);

impl Hash for Blake2b {
    fn name(&self) -> &'static str {
        "BLAKE2b"
    }

    fn block_len(&self) -> usize {
        128
    }

    fn hash_len(&self) -> usize {
        64
    }

    fn reset(&mut self) {
        self.0 = Blake2b512::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..64].copy_from_slice(&core::mem::take(&mut self.0).finalize());
    }
}

struct ChaChaPoly([u8; 32]);

impl Drop for ChaChaPoly {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

const TAG: usize = 16;

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = *key;
    }

    #[expect(clippy::expect_used, reason = "fails past 256 GiB only; a Noise message has 65,535")]
    fn encrypt(&self, counter: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (body, rest) = out.split_at_mut(plaintext.len());
        body.copy_from_slice(plaintext);
        let tag = ChaCha20Poly1305::new(&self.0.into())
            .encrypt_inout_detached(&nonce(counter).into(), ad, InOutBuf::from(body))
            .expect("short enough");
        rest[..TAG].copy_from_slice(&tag);
        plaintext.len() + TAG
    }

    fn decrypt(
        &self,
        counter: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let (body, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..body.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(body);
        ChaCha20Poly1305::new(&self.0.into())
            .decrypt_inout_detached(
                &nonce(counter).into(),
                ad,
                InOutBuf::from(out),
                &Tag::from(*tag),
            )
            .map_err(|_| Error::Decrypt)?;
        Ok(body.len())
    }
}

#[cfg(test)]
mod tests {
    use std::{string::String, vec, vec::Vec};

    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use snow::{Builder, HandshakeState};

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| {
                u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("hexadecimal")
            })
            .collect()
    }

    fn resolver() -> Box<Resolver> {
        Box::new(Resolver::new(&mut ChaCha20Rng::seed_from_u64(1)))
    }

    fn side<'a>(prologue: &'a [u8], secret: &'a [u8], ephemeral: &'a [u8]) -> Builder<'a> {
        let name = "Noise_XX_25519_ChaChaPoly_BLAKE2b".parse().unwrap();
        Builder::with_resolver(name, resolver())
            .prologue(prologue)
            .unwrap()
            .local_private_key(secret)
            .unwrap()
            .fixed_ephemeral_key_for_testing_only(ephemeral)
    }

    /// From the "cacophony" test vectors that come with snow.
    #[test]
    fn a_published_vector_of_noise_xx_is_met() {
        let prologue = bytes("4a6f686e2047616c74");
        let keys = [
            "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
            "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
            "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
            "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
        ]
        .map(bytes);
        let messages = [
            (
                "4c756477696720766f6e204d69736573",
                "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79444c756477696720766f6e204d69736573",
            ),
            (
                "4d757272617920526f746862617264",
                "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088430505b6745ce64a5f33f0e8e3b83f11ce8802bca507f4f2d8b564dbe277e1966116e132faa2dfd70b8b077b9f94b913df5056ae1319469b824a98d54bbaa82c325595587064f978c4b6d104f7596e6f",
            ),
            (
                "462e20412e20486179656b",
                "99579e1c1ee15e422a57ddd6b16d37087b17558e8369c18991b4b2ca3a824abf904cdcf5458b5431a75af034ca9e9b982de039eaaf156775e2d580cd4e5ebae89c3f8cb2594b556d8a8169",
            ),
        ];
        let mut sides: [HandshakeState; 2] = [
            side(&prologue, &keys[0], &keys[1]).build_initiator().unwrap(),
            side(&prologue, &keys[2], &keys[3]).build_responder().unwrap(),
        ];
        for (turn, (payload, ciphertext)) in messages.iter().enumerate() {
            let mut message = vec![0; 512];
            let len = sides[turn % 2].write_message(&bytes(payload), &mut message).unwrap();
            assert_eq!(message[..len], bytes(ciphertext));
            let mut read = vec![0; 512];
            let len = sides[(turn + 1) % 2].read_message(&message[..len], &mut read).unwrap();
            assert_eq!(read[..len], bytes(payload));
        }
        let hash = "8cf47d7b3cb5804c0109d48e8bcdbee2cbb65687d8ea2c92994ca361fb86151ad93627b98936cbb32de56e8abb21def3925011ac3e35db9cbeea73ab9a4392c2";
        for side in &sides {
            assert_eq!(side.get_handshake_hash(), bytes(hash));
        }
        let [_, responder] = sides;
        let mut responder = responder.into_transport_mode().unwrap();
        let mut message = vec![0; 64];
        let len = responder.write_message(&bytes("4361726c204d656e676572"), &mut message).unwrap();
        assert_eq!(message[..len], bytes("fc56eea290b3f3a21aac0c70cd5787b5ee99be37d2f4d751329b55"));
    }

    #[test]
    fn points_of_small_order_give_no_shared_secret() {
        let dh = X25519::new([7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        for public in [[0; 32], one] {
            assert_eq!(dh.dh(&public, &mut [0; 56]), Err(Error::Dh));
        }
        assert_eq!(dh.dh(X25519::new([8; 32]).pubkey(), &mut [0; 56]), Ok(()));
    }

    #[test]
    fn randomness_does_not_repeat_and_follows_the_seed() {
        let draw = |n: usize| {
            let mut rng = resolver().resolve_rng().unwrap();
            (0..n)
                .map(|_| {
                    let mut out = [0; 100];
                    rng.try_fill_bytes(&mut out).unwrap();
                    out
                })
                .collect::<Vec<_>>()
        };
        let drawn = draw(2);
        assert_ne!(drawn[0], drawn[1]);
        assert_ne!(drawn[0][..36], drawn[0][64..]);
        assert_eq!(drawn, draw(2));
    }
}
