//! How an endpoint is stored: version 2, and version 1 is read.
//!
//! ```text
//! version 2   CBOR [2, identity seed32, card, [[prekey id4, secret32, made | null, superseded | null]…],
//!                   [[ML-KEM seed64, made | null, superseded | null]…], recovery seed32 | null]
//! version 1   CBOR [1, identity seed32, card, [[prekey id4, secret32]…]]
//! ```
//!
//! Keys are stored oldest first; times are in milliseconds. One of version 1 gets its ML-KEM and
//! recovery keys as it is read, and a newer card with both.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, Zeroizing};

use super::{
    Endpoint, KEMS, PREKEYS, PrekeySecret, incarnation,
    keys::{Kept, Ring},
};
use crate::{
    codec,
    identity::SignedCard,
    ids::{PrekeyId, Timestamp},
    kem::KemSecret,
    recovery::RecoveryKey,
    sign::SigningSecret,
};

/// A stored endpoint that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Written by a newer version.
    #[error("written by a newer version of Wattle")]
    Newer,
    /// Damaged.
    #[error("the stored identity is damaged")]
    Damaged,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    identity: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    card: Vec<u8>,
    #[n(3)]
    prekeys: Vec<StoredPrekey>,
    #[n(4)]
    kems: Vec<StoredKem>,
    #[cbor(n(5), with = "minicbor::bytes")]
    recovery: Option<[u8; 32]>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredPrekey {
    #[n(0)]
    id: PrekeyId,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: [u8; 32],
    #[n(2)]
    made: Option<Timestamp>,
    #[n(3)]
    superseded: Option<Timestamp>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredKem {
    #[cbor(n(0), with = "minicbor::bytes")]
    seed: [u8; 64],
    #[n(1)]
    made: Option<Timestamp>,
    #[n(2)]
    superseded: Option<Timestamp>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored1 {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    identity: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    card: Vec<u8>,
    #[n(3)]
    prekeys: Vec<StoredPrekey1>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredPrekey1 {
    #[n(0)]
    id: PrekeyId,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: [u8; 32],
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.recovery.zeroize();
    }
}

impl Drop for StoredPrekey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl Drop for StoredKem {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl Drop for Stored1 {
    fn drop(&mut self) {
        self.identity.zeroize();
    }
}

impl Drop for StoredPrekey1 {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// The bytes that tell a stored endpoint's version: an array of 4 and 1, an array of 6 and 2.
const V1: [u8; 2] = [0x84, 1];
const V2: [u8; 2] = [0x86, 2];
/// Without a recovery key, which is the last element.
const V2_FORGOTTEN: [u8; 2] = [0x85, 2];
const VERSION: u8 = 2;

impl Endpoint {
    /// Reads what [`Self::save`] wrote. The incarnation is new at each call; what was written by
    /// version 1 has a newer card than it had, so that it is to be saved before anything is told.
    pub fn load(bytes: &[u8], rng: &mut impl CryptoRng) -> Result<Self, LoadError> {
        match bytes.first_chunk::<2>() {
            Some(&V1) => load_1(bytes, rng),
            Some(&(V2 | V2_FORGOTTEN)) => load_2(bytes, rng),
            Some([0x80..=0x97, version]) if (VERSION + 1..24).contains(version) => {
                Err(LoadError::Newer)
            }
            _ => Err(LoadError::Damaged),
        }
    }

    /// Its secrets, to be stored encrypted.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        let prekeys = self.prekeys.stored().map(|kept| StoredPrekey {
            id: kept.key.id,
            secret: kept.key.secret.to_bytes(),
            made: kept.made,
            superseded: kept.superseded,
        });
        let kems = self.kems.stored().map(|kept| StoredKem {
            seed: *kept.key.seed(),
            made: kept.made,
            superseded: kept.superseded,
        });
        Zeroizing::new(codec::encode(&Stored {
            version: VERSION,
            identity: *self.identity.seed(),
            card: self.card.as_bytes().into(),
            prekeys: prekeys.collect(),
            kems: kems.collect(),
            recovery: self.recovery.as_ref().map(|recovery| *recovery.seed()),
        }))
    }
}

fn load_1(bytes: &[u8], rng: &mut impl CryptoRng) -> Result<Endpoint, LoadError> {
    let stored: Stored1 = codec::decode(bytes).map_err(|_| LoadError::Damaged)?;
    let (identity, card) = identity(&stored.identity, &stored.card)?;
    let prekeys = stored.prekeys.iter().map(|kept| Kept {
        key: PrekeySecret { id: kept.id, secret: StaticSecret::from(kept.secret) },
        made: None,
        superseded: None,
    });
    let recovery = RecoveryKey::generate(rng);
    let mut endpoint = Endpoint {
        identity,
        card,
        prekeys: Ring::of(prekeys.collect()).ok_or(LoadError::Damaged)?,
        kems: Ring::new(KemSecret::generate(rng)),
        recovery: None,
        incarnation: incarnation(rng),
    };
    endpoint.issue(endpoint.next_seq(), |card| card.recovery = Some(recovery.public()));
    endpoint.recovery = Some(recovery);
    Ok(endpoint)
}

fn load_2(bytes: &[u8], rng: &mut impl CryptoRng) -> Result<Endpoint, LoadError> {
    let stored: Stored = codec::decode(bytes).map_err(|_| LoadError::Damaged)?;
    if stored.prekeys.len() > PREKEYS || stored.kems.len() > KEMS {
        return Err(LoadError::Damaged);
    }
    let (identity, card) = identity(&stored.identity, &stored.card)?;
    let prekeys = stored.prekeys.iter().map(|kept| Kept {
        key: PrekeySecret { id: kept.id, secret: StaticSecret::from(kept.secret) },
        made: kept.made,
        superseded: kept.superseded,
    });
    let kems = stored.kems.iter().map(|kept| Kept {
        key: KemSecret::from_seed(&kept.seed),
        made: kept.made,
        superseded: kept.superseded,
    });
    Ok(Endpoint {
        identity,
        card,
        prekeys: Ring::of(prekeys.collect()).ok_or(LoadError::Damaged)?,
        kems: Ring::of(kems.collect()).ok_or(LoadError::Damaged)?,
        recovery: stored.recovery.as_ref().map(RecoveryKey::from_seed),
        incarnation: incarnation(rng),
    })
}

pub(super) fn identity(
    seed: &[u8; 32],
    card: &[u8],
) -> Result<(SigningSecret, SignedCard), LoadError> {
    let identity = SigningSecret::from_seed(seed);
    let card = SignedCard::from_bytes(card).map_err(|_| LoadError::Damaged)?;
    if card.card().member == identity.id() { Ok((identity, card)) } else { Err(LoadError::Damaged) }
}
