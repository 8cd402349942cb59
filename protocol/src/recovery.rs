//! The recovery key: what retires an identity whose device is gone.
//!
//! > Its public half is on the card from the first card on. Its secret half is kept off the device:
//! > shown once as a code, then forgotten by the node.
//!
//! ```text
//! code    = bech32m("wattlerecovery", payload)                                     74 characters
//! payload = ver u8 = 1 ‖ seed[32]                         the seed of an Ed25519 key (RFC 8032)
//! ```

use alloc::{string::String, vec::Vec};
use core::fmt;

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::sign::{Context, Signature, SigningSecret};

/// An Ed25519 key that is for nothing but retiring the identity on whose card its public half is.
/// Wiped on drop.
#[derive(Clone)]
pub struct RecoveryKey(SigningSecret);

/// A text that is no recovery code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodeError {
    /// It doesn't begin as one.
    #[error("not a recovery code: it begins with wattlerecovery1")]
    NotACode,
    /// Its checksum or its length is wrong.
    #[error("the recovery code is mistyped or cut off")]
    Mistyped,
    /// Made by a newer version.
    #[error("the recovery code is of a newer version of Wattle")]
    Newer,
}

const HRP: Hrp = Hrp::parse_unchecked("wattlerecovery");
const PREFIX: &str = "wattlerecovery1";
const VERSION: u8 = 1;
const PAYLOAD: usize = 33;
/// Characters read of a text, at most.
const CODE_MAX: usize = 128;

impl RecoveryKey {
    /// Makes a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningSecret::generate(rng))
    }

    /// Reads a code as people paste it: upper and lower case, wrapped lines, spaces around.
    pub fn from_code(text: &str) -> Result<Self, RecoveryCodeError> {
        let code: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| c.to_ascii_lowercase())
                .take(CODE_MAX)
                .collect(),
        );
        if !code.starts_with(PREFIX) {
            return Err(RecoveryCodeError::NotACode);
        }
        let checked =
            CheckedHrpstring::new::<Bech32m>(&code).map_err(|_| RecoveryCodeError::Mistyped)?;
        let payload = Zeroizing::new(checked.byte_iter().take(CODE_MAX).collect::<Vec<u8>>());
        match payload.split_first() {
            Some((&VERSION, seed)) => {
                let seed: &[u8; 32] = seed.try_into().map_err(|_| RecoveryCodeError::Mistyped)?;
                Ok(Self::from_seed(seed))
            }
            Some((version, _)) if *version > VERSION => Err(RecoveryCodeError::Newer),
            _ => Err(RecoveryCodeError::Mistyped),
        }
    }

    /// The key with this seed.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningSecret::from_seed(seed))
    }

    /// The seed, to be stored.
    pub(crate) fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.0.seed()
    }

    /// The code by which its owner keeps it, in lower case.
    #[must_use]
    pub fn code(&self) -> Zeroizing<String> {
        let mut payload = Zeroizing::new(Vec::with_capacity(PAYLOAD));
        payload.push(VERSION);
        payload.extend_from_slice(self.0.seed().as_slice());
        #[expect(clippy::expect_used, reason = "fails only beyond 1,023 characters")]
        let code = bech32::encode::<Bech32m>(HRP, &payload).expect("33 bytes are short");
        Zeroizing::new(code)
    }

    /// The public half, as cards have it.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.public()
    }

    /// Signs the joined `parts` for one purpose.
    #[must_use]
    pub fn sign(&self, context: Context, parts: &[&[u8]]) -> Signature {
        self.0.sign(context, parts)
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    const CODE: &str = "wattlerecovery1qyrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswd6e69j";

    fn key() -> RecoveryKey {
        RecoveryKey::from_seed(&[7; 32])
    }

    #[test]
    fn a_code_gives_the_key_that_it_was_made_of() {
        assert_eq!(*key().code(), CODE);
        for text in
            [CODE.into(), CODE.to_uppercase(), format!(" {}\n{} ", &CODE[..30], &CODE[30..])]
        {
            assert_eq!(RecoveryKey::from_code(&text).unwrap().public(), key().public());
        }
    }

    #[test]
    fn a_mistyped_cut_or_newer_code_is_told_from_no_code() {
        let error = |text: &str| RecoveryKey::from_code(text).unwrap_err();
        assert_eq!(error("wattle1qyq"), RecoveryCodeError::NotACode);
        assert_eq!(error(""), RecoveryCodeError::NotACode);
        assert_eq!(error(&CODE.replace("q", "p")), RecoveryCodeError::Mistyped);
        assert_eq!(error(&CODE[..40]), RecoveryCodeError::Mistyped);
        assert_eq!(error(&format!("{CODE}{CODE}{CODE}")), RecoveryCodeError::Mistyped);
        let made = |payload: &[u8]| bech32::encode::<Bech32m>(HRP, payload).unwrap();
        assert_eq!(error(&made(&[2; 33])), RecoveryCodeError::Newer);
        assert_eq!(error(&made(&[1; 32])), RecoveryCodeError::Mistyped);
        assert_eq!(error(&made(&[])), RecoveryCodeError::Mistyped);
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", key()), "RecoveryKey(…)");
    }
}
