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

use crate::{
    hash::{Label, kdf64},
    noise::key::{TAG, nonce},
};

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

pub(super) struct ChaChaPoly(pub(super) [u8; 32]);

impl Drop for ChaChaPoly {
    fn drop(&mut self) {
        self.0.zeroize();
    }
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
    use std::vec::Vec;

    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn resolver() -> Box<Resolver> {
        Box::new(Resolver::new(&mut ChaCha20Rng::seed_from_u64(1)))
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
