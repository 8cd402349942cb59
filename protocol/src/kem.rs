//! ML-KEM-768 (FIPS 203): a secret that two sides share even if X25519 falls.
//!
//! > An encapsulation key is valid, or it is no [`KemPublic`]. A ciphertext made for another key, or
//! > changed, opens to an unrelated secret without an error (implicit rejection): whatever is sealed
//! > under the shared secret must authenticate.
//!
//! A decapsulation key is kept as its 64-byte seed (d ‖ z, FIPS 203, section 7.1) and expanded where
//! it is used: that is what is stored, and what is wiped.

use alloc::boxed::Box;
use core::fmt;

use libcrux_ml_kem::mlkem768;
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of an encapsulation key.
pub const PUBLIC: usize = 1184;
/// Bytes of a ciphertext.
pub const CIPHERTEXT: usize = 1088;
/// Bytes of a decapsulation key's seed.
pub const SEED: usize = 64;

/// What both sides end with. It is uniform: a key derivation with context is up to the caller.
pub type Shared = Zeroizing<[u8; 32]>;

/// An encapsulation key that has passed FIPS 203's input check (section 7.2).
#[derive(Clone, PartialEq, Eq)]
pub struct KemPublic(Box<[u8; PUBLIC]>);

/// A decapsulation key, as its seed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KemSecret([u8; SEED]);

/// Not an encapsulation key: another length, or a coefficient that isn't reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ML-KEM-768 encapsulation key")]
pub struct InvalidKey;

impl KemSecret {
    /// Makes a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = [0; SEED];
        rng.fill_bytes(&mut seed);
        let secret = Self(seed);
        seed.zeroize();
        secret
    }

    /// A stored one.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED]) -> Self {
        Self(*seed)
    }

    /// What is stored of it.
    #[must_use]
    pub fn seed(&self) -> &[u8; SEED] {
        &self.0
    }

    /// The key to hand out.
    #[must_use]
    pub fn public(&self) -> KemPublic {
        let (secret, public) = mlkem768::generate_key_pair(self.0).into_parts();
        wipe(secret);
        KemPublic(Box::new(public.into()))
    }

    /// The secret that the maker of this ciphertext has, if it was made for this key and is
    /// unchanged; otherwise one that nobody else has.
    #[must_use]
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT]) -> Shared {
        let (secret, _) = mlkem768::generate_key_pair(self.0).into_parts();
        let shared = Zeroizing::new(mlkem768::decapsulate(&secret, &ciphertext.into()));
        wipe(secret);
        shared
    }
}

impl KemPublic {
    /// Checks a key that somebody handed out.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes: [u8; PUBLIC] = bytes.try_into().map_err(|_| InvalidKey)?;
        let key = mlkem768::MlKem768PublicKey::from(&bytes);
        mlkem768::validate_public_key(&key).then(|| Self(Box::new(bytes))).ok_or(InvalidKey)
    }

    /// The key's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PUBLIC] {
        &self.0
    }

    /// A fresh shared secret, and the ciphertext that carries it to the key's owner.
    pub fn encapsulate(&self, rng: &mut impl CryptoRng) -> (Box<[u8; CIPHERTEXT]>, Shared) {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        let (ciphertext, shared) = mlkem768::encapsulate(&(&*self.0).into(), *seed);
        (Box::new(ciphertext.into()), Zeroizing::new(shared))
    }
}

/// The expanded key lies on the stack for as long as one call; this overwrites what can be reached.
fn wipe(secret: mlkem768::MlKem768PrivateKey) {
    drop(Zeroizing::new(<[u8; 2400]>::from(secret)));
}

impl PartialEq for KemSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KemSecret {}

impl fmt::Debug for KemSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemSecret(…)")
    }
}

impl fmt::Debug for KemPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemPublic(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::{format, string::String, vec, vec::Vec};

    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn secret(seed: u64) -> KemSecret {
        KemSecret::generate(&mut ChaCha20Rng::seed_from_u64(seed))
    }

    #[test]
    fn both_sides_end_with_one_secret_that_follows_the_randomness() {
        let key = secret(1);
        let encapsulate = |seed| key.public().encapsulate(&mut ChaCha20Rng::seed_from_u64(seed));
        let (ciphertext, shared) = encapsulate(7);
        assert_eq!(key.decapsulate(&ciphertext), shared);
        assert_eq!(encapsulate(7), (ciphertext.clone(), shared.clone()));
        assert_ne!(encapsulate(8).1, shared);
        let stored = KemSecret::from_seed(key.seed());
        assert_eq!((stored.public(), stored.decapsulate(&ciphertext)), (key.public(), shared));
        assert_eq!((secret(1), secret(1).public()), (key, stored.public()));
    }

    #[test]
    fn a_changed_ciphertext_or_another_key_gives_another_secret_and_no_error() {
        let key = secret(1);
        let (ciphertext, shared) = key.public().encapsulate(&mut ChaCha20Rng::seed_from_u64(7));
        for at in [0, 500, CIPHERTEXT - 1] {
            let mut changed = ciphertext.clone();
            changed[at] ^= 1;
            assert_ne!(key.decapsulate(&changed), shared);
            // The same each time, so that nothing is learned from asking twice.
            assert_eq!(key.decapsulate(&changed), key.decapsulate(&changed));
        }
        assert_ne!(secret(2).decapsulate(&ciphertext), shared);
        assert_ne!(key.decapsulate(&[0; CIPHERTEXT]), shared);
    }

    #[test]
    fn a_key_with_a_coefficient_that_is_not_reduced_is_refused() {
        let public = secret(1).public();
        assert_eq!(KemPublic::from_bytes(public.as_bytes()), Ok(public.clone()));
        // Twelve bits each: the first coefficient becomes q = 3329, and then 4095.
        for coefficient in [3329_u16, 4095] {
            let mut bytes = *public.as_bytes();
            let [low, high] = coefficient.to_le_bytes();
            (bytes[0], bytes[1]) = (low, bytes[1] & 0xf0 | high);
            assert_eq!(KemPublic::from_bytes(&bytes), Err(InvalidKey));
        }
        assert_eq!(KemPublic::from_bytes(&public.as_bytes()[1..]), Err(InvalidKey));
        assert_eq!(KemPublic::from_bytes(&[]), Err(InvalidKey));
        assert_eq!(KemPublic::from_bytes(&[0xff; PUBLIC]), Err(InvalidKey));
        // The seed of the matrix is anything.
        let mut bytes = *public.as_bytes();
        bytes[PUBLIC - 1] ^= 1;
        assert!(KemPublic::from_bytes(&bytes).is_ok());
    }

    /// Randomness as a stream of bytes that is given.
    struct Given<'a>(&'a [u8]);

    impl rand_core::TryRng for Given<'_> {
        type Error = core::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("bytes alone are drawn")
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("bytes alone are drawn")
        }

        fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Self::Error> {
            let (given, rest) = self.0.split_at(dest.len());
            dest.copy_from_slice(given);
            self.0 = rest;
            Ok(())
        }
    }

    impl rand_core::TryCryptoRng for Given<'_> {}

    /// The accumulated vectors for ML-KEM-768 of C2SP's CCTV, the first 100: keys, encapsulation,
    /// and implicit rejection of random ciphertexts, over the SHAKE128 stream of nothing.
    #[test]
    fn the_accumulated_published_vectors_are_met() {
        const ROUNDS: usize = 100;
        let mut stream = vec![0; ROUNDS * (SEED + 32 + CIPHERTEXT)];
        libcrux_sha3::portable::shake128(&mut stream, b"");
        let mut rng = Given(&stream);
        let mut seen = Vec::new();
        for _ in 0..ROUNDS {
            let secret = KemSecret::generate(&mut rng);
            let public = secret.public();
            seen.extend_from_slice(public.as_bytes());
            let (ciphertext, shared) = public.encapsulate(&mut rng);
            assert_eq!(secret.decapsulate(&ciphertext), shared);
            seen.extend_from_slice(ciphertext.as_slice());
            seen.extend_from_slice(shared.as_slice());
            let mut random = [0; CIPHERTEXT];
            rand_core::Rng::fill_bytes(&mut rng, &mut random);
            seen.extend_from_slice(secret.decapsulate(&random).as_slice());
        }
        let mut digest = [0; 32];
        libcrux_sha3::portable::shake128(&mut digest, &seen);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415");
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", secret(1)), "KemSecret(…)");
    }
}
