//! Ed25519 signatures (RFC 8032), each bound to one purpose by a prefix.

use alloc::vec::Vec;

use ed25519_dalek::{Signature as DalekSignature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use crate::ids::MemberId;

/// What a signature is for: an ASCII prefix, ended by NUL, of the signed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A member's card.
    Card,
    /// The certificate of a Noise static key.
    NoiseKey,
    /// A membership op.
    Op,
    /// A rotation bundle.
    Bundle,
    /// A message, by its chain's key.
    Message,
    /// The proof that a joiner holds an invite.
    Join,
    /// The same proof by a joiner who asks by letter.
    JoinRequest,
    /// That such a joiner is who its card says.
    JoinIdentity,
    /// An admin's answer to such a joiner.
    Letter,
    /// A control statement: receipts, presence, requests for repair.
    Notice,
    /// A statement to one member's inbox.
    Inbox,
    /// A checkpoint of the audit log.
    Audit,
    /// The proof of a capability for a relay log.
    Log,
}

impl Context {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Card,
        Self::NoiseKey,
        Self::Op,
        Self::Bundle,
        Self::Message,
        Self::Join,
        Self::JoinRequest,
        Self::JoinIdentity,
        Self::Letter,
        Self::Notice,
        Self::Inbox,
        Self::Audit,
        Self::Log,
    ];

    /// What comes before the signed bytes.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Card => b"wt1/card\0",
            Self::NoiseKey => b"wt1/dkcert\0",
            Self::Op => b"wt1/op\0",
            Self::Bundle => b"wt1/bundle\0",
            Self::Message => b"wt1/msg\0",
            Self::Join => b"wt1/join\0",
            Self::JoinRequest => b"wt1/joinreq\0",
            Self::JoinIdentity => b"wt1/joinik\0",
            Self::Letter => b"wt1/letter\0",
            Self::Notice => b"wt1/notice\0",
            Self::Inbox => b"wt1/inbox\0",
            Self::Audit => b"wt1/audit\0",
            Self::Log => b"wt1/logproof\0",
        }
    }

    fn message(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = Vec::from(self.prefix());
        parts.iter().for_each(|part| message.extend_from_slice(part));
        message
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 64]);

/// A signature that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

/// An Ed25519 secret key: an identity, a chain's key, an invite's key. Wiped on drop.
#[derive(Clone)]
pub struct SigningSecret(SigningKey);

impl SigningSecret {
    /// Makes a new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_seed(&seed)
    }

    /// The key with this 32-byte seed (RFC 8032, 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, to be stored.
    #[must_use]
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The public half, where this is somebody's identity key.
    #[must_use]
    pub fn id(&self) -> MemberId {
        MemberId(self.public())
    }

    /// Signs the joined `parts` for one purpose.
    #[must_use]
    pub fn sign(&self, context: Context, parts: &[&[u8]]) -> Signature {
        Signature(self.0.sign(&context.message(parts)).to_bytes())
    }
}

/// Checks a signature strictly (`verify_strict`), so that all members agree on what holds.
pub fn verify(
    public: &[u8; 32],
    context: Context,
    parts: &[&[u8]],
    signature: &Signature,
) -> Result<(), BadSignature> {
    #[cfg(feature = "sim")]
    use remembered::verify as holds;
    #[cfg(not(feature = "sim"))]
    use verify_now as holds;
    holds(public, &context.message(parts), signature)
}

fn verify_now(
    public: &[u8; 32],
    message: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    VerifyingKey::from_bytes(public)
        .and_then(|key| key.verify_strict(message, &DalekSignature::from_bytes(&signature.0)))
        .map_err(|_| BadSignature)
}

/// In the simulator a dozen nodes check the same signatures in one thread, and that is most of its
/// time: what held once is not computed again.
#[cfg(feature = "sim")]
mod remembered {
    use core::cell::RefCell;
    use std::{collections::HashSet, thread_local};

    use super::{BadSignature, Signature, verify_now};
    use crate::hash::{Label, hash32};

    /// As many as are remembered, before all are forgotten.
    const MOST: usize = 1 << 17;

    thread_local! {
        static HELD: RefCell<HashSet<[u8; 32]>> = RefCell::new(HashSet::new());
    }

    pub fn verify(
        public: &[u8; 32],
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), BadSignature> {
        let all = hash32(Label::Content, &[public, &signature.0, message]);
        if HELD.with_borrow(|held| held.contains(&all)) {
            return Ok(());
        }
        verify_now(public, message, signature)?;
        HELD.with_borrow_mut(|held| {
            if held.len() >= MOST {
                held.clear();
            }
            held.insert(all);
        });
        Ok(())
    }
}
