//! An operator's token: who holds it may use a relay that serves holders only
//! (docs/spec/relay-log.md).
//!
//! > A token is shown to the relay that it is for, once the channel has proven that relay's key, and
//! > only if the relay asks for one. The relay keeps a hash of it. It opens no entry and names
//! > nobody.
//!
//! ```text
//! text    = bech32m("wtt", payload)
//! payload = ver u8 = 1 ‖ token[16]
//! hash    = H("wt1 relay token", token)
//! ```

use alloc::{string::String, vec::Vec};
use core::fmt;

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    hash::{Label, hash32},
    limits::RELAY_TOKEN_KEY,
};

/// 128 random bits. Wiped on drop, compared in constant time, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RelayToken([u8; Self::LEN]);

/// Why a text is no token. To be shown to whoever pasted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins with something else.
    #[error("this is no relay's token: those begin with \"wtt1\"")]
    NotAToken,
    /// Some characters are wrong or missing.
    #[error("the relay's token is mistyped or cut off: its checksum doesn't hold")]
    Mistyped,
    /// Made by a newer version.
    #[error("the relay's token needs a newer version of Wattle (format {version})")]
    Newer {
        /// The format's number.
        version: u8,
    },
    /// Undamaged, but made by a program with a fault.
    #[error("the relay's token is undamaged, but holds none")]
    Malformed,
}

const HRP: Hrp = Hrp::parse_unchecked("wtt");
const PREFIX: &str = "wtt1";
const VERSION: u8 = 1;

/// The longest text that is looked at, in characters.
const TEXT_MAX: usize = 90;

impl RelayToken {
    /// Its length in bytes.
    pub const LEN: usize = 16;

    /// Makes a new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut token = Self([0; Self::LEN]);
        rng.fill_bytes(&mut token.0);
        token
    }

    /// The token of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes: a secret.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// What its relay keeps of it: BLAKE2b-256 under a label of its own. Nobody finds the token by it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash32(Label::RelayToken, &[&self.0])
    }

    /// As people pass it on, in lower case: a secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut payload = Zeroizing::new(Vec::with_capacity(1 + Self::LEN));
        payload.push(VERSION);
        payload.extend_from_slice(&self.0);
        // 17 bytes are far below what bech32m bounds.
        Zeroizing::new(bech32::encode::<Bech32m>(HRP, &payload).unwrap_or_default())
    }

    /// Reads what [`Self::to_text`] wrote, as people paste it: upper and lower case, spaces around.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| c.to_ascii_lowercase())
                .take(TEXT_MAX + 1)
                .collect(),
        );
        if !text.starts_with(PREFIX) {
            return Err(TokenError::NotAToken);
        }
        let checked = CheckedHrpstring::new::<Bech32m>(&text).map_err(|_| TokenError::Mistyped)?;
        let payload = Zeroizing::new(checked.byte_iter().collect::<Vec<u8>>());
        let (&version, token) = payload.split_first().ok_or(TokenError::Malformed)?;
        match (version, <[u8; Self::LEN]>::try_from(token)) {
            (VERSION, Ok(token)) => Ok(Self(token)),
            (0..=VERSION, _) => Err(TokenError::Malformed),
            (version, _) => Err(TokenError::Newer { version }),
        }
    }
}

impl PartialEq for RelayToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for RelayToken {}

impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayToken(…)")
    }
}

impl<C> Encode<C> for RelayToken {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RelayToken {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?.try_into();
        bytes.map(Self).map_err(|_| decode::Error::message("token length"))
    }
}

/// A token and the relay that it is for.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct RelayPass {
    /// The relay's PeerId, in libp2p's bytes: at most [`RELAY_TOKEN_KEY`].
    #[cbor(n(0), with = "minicbor::bytes")]
    pub relay: Vec<u8>,
    /// The token.
    #[n(1)]
    pub token: RelayToken,
}

impl RelayPass {
    /// Whether its relay's key keeps its bound.
    #[must_use]
    pub fn check(&self) -> bool {
        (1..=RELAY_TOKEN_KEY).contains(&self.relay.len())
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    /// As another implementation of bech32m reads it too.
    const VECTOR: &str = "wtt1qysjzgfpyysjzgfpyysjzgfpyyss8q4g98";

    fn token() -> RelayToken {
        RelayToken([0x21; RelayToken::LEN])
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let text = token().to_text();
        assert_eq!(*text, VECTOR);
        assert_eq!(RelayToken::parse(&text), Ok(token()));
        assert_eq!(RelayToken::parse(&format!(" {}\n", text.to_uppercase())), Ok(token()));
    }

    #[test]
    fn a_wrong_character_and_a_missing_one_are_noticed() {
        let text = token().to_text();
        for at in PREFIX.len()..text.len() {
            let other = if text[at..].starts_with('q') { 'p' } else { 'q' };
            let typed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(RelayToken::parse(&typed), Err(TokenError::Mistyped), "{at}");
            assert_eq!(RelayToken::parse(&text[..at]), Err(TokenError::Mistyped), "{at}");
        }
        let endless = format!("{}{}", *text, "q".repeat(5000));
        assert_eq!(RelayToken::parse(&endless), Err(TokenError::Mistyped));
    }

    #[test]
    fn another_text_is_no_token_and_a_newer_one_is_told() {
        for text in ["", "wtt", "hello", "wattle1qyqqq2z6"] {
            assert_eq!(RelayToken::parse(text), Err(TokenError::NotAToken), "{text}");
        }
        let of = |payload: &[u8]| bech32::encode::<Bech32m>(HRP, payload).unwrap();
        let newer = of(&[2, 1, 2, 3]);
        assert_eq!(RelayToken::parse(&newer), Err(TokenError::Newer { version: 2 }));
        for payload in [&[][..], &[0; 17], &[1; 16], &[1; 18]] {
            assert_eq!(RelayToken::parse(&of(payload)), Err(TokenError::Malformed));
        }
    }

    #[test]
    fn a_token_is_never_printed_and_its_hash_is_not_it() {
        let pass = RelayPass { relay: [1; 38].into(), token: token() };
        assert!(format!("{pass:?}").contains("RelayToken(…)"));
        assert!(!format!("{:?}", token()).contains("33"));
        assert_ne!(token().hash()[..16], *token().as_bytes());
        assert_ne!(token().hash(), RelayToken([0x22; 16]).hash());
        assert_ne!(token(), RelayToken([0x22; 16]));
    }

    #[test]
    fn a_pass_names_a_relay_within_its_bound() {
        let of = |len: usize| RelayPass { relay: std::vec![1; len], token: token() };
        assert!(of(38).check() && of(RELAY_TOKEN_KEY).check());
        assert!(!of(0).check() && !of(RELAY_TOKEN_KEY + 1).check());
    }
}
