//! One node's own secrets, lent to every group that it is in.

use alloc::{string::String, vec::Vec};

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    codec,
    identity::{Card, Prekey, SignedCard, is_name},
    ids::{Incarnation, MemberId, PrekeyId},
    sign::SigningSecret,
};

/// An identity with its card and prekeys, in one run of a process.
pub struct Endpoint {
    identity: SigningSecret,
    card: SignedCard,
    prekeys: Vec<(PrekeyId, StaticSecret)>,
    incarnation: Incarnation,
}

/// A name that can't stand on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 bytes, no control or hidden characters and no space at its ends")]
pub struct BadName;

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
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredPrekey {
    #[n(0)]
    id: PrekeyId,
    #[cbor(n(1), with = "minicbor::bytes")]
    secret: [u8; 32],
}

const VERSION: u8 = 1;

impl Endpoint {
    /// Makes a new identity with a first prekey. `nodes` are the libp2p PeerIds of this node.
    pub fn generate(
        name: &str,
        nodes: Vec<Vec<u8>>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BadName> {
        if !is_name(name) {
            return Err(BadName);
        }
        let identity = SigningSecret::generate(rng);
        let (prekey, secret) = prekey(rng);
        let card = Card {
            version: 1,
            member: identity.id(),
            recovery: None,
            seq: 1,
            name: String::from(name),
            nodes: nodes.into_iter().map(Into::into).collect(),
            prekey,
        };
        Ok(Self {
            card: SignedCard::sign(card, &identity),
            identity,
            prekeys: Vec::from([(prekey.id, secret)]),
            incarnation: incarnation(rng),
        })
    }

    /// Reads what [`Self::save`] wrote. The incarnation is new at each call.
    pub fn load(bytes: &[u8], rng: &mut impl CryptoRng) -> Result<Self, LoadError> {
        match minicbor::Decoder::new(bytes).array().and(Ok(bytes.get(1))) {
            Ok(Some(&VERSION)) => {}
            Ok(Some(version)) if *version > VERSION && *version < 24 => {
                return Err(LoadError::Newer);
            }
            _ => return Err(LoadError::Damaged),
        }
        let stored: Stored = codec::decode(bytes).map_err(|_| LoadError::Damaged)?;
        let identity = SigningSecret::from_seed(&stored.identity);
        let card = SignedCard::from_bytes(&stored.card).map_err(|_| LoadError::Damaged)?;
        if card.card().member != identity.id() {
            return Err(LoadError::Damaged);
        }
        Ok(Self {
            identity,
            card,
            prekeys: stored
                .prekeys
                .into_iter()
                .map(|key| (key.id, StaticSecret::from(key.secret)))
                .collect(),
            incarnation: incarnation(rng),
        })
    }

    /// Its secrets, to be stored encrypted.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&Stored {
            version: VERSION,
            identity: *self.identity.seed(),
            card: self.card.as_bytes().into(),
            prekeys: self
                .prekeys
                .iter()
                .map(|(id, secret)| StoredPrekey { id: *id, secret: secret.to_bytes() })
                .collect(),
        }))
    }

    /// The identity key.
    #[must_use]
    pub fn identity(&self) -> &SigningSecret {
        &self.identity
    }

    /// The identity's public half.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.card.card().member
    }

    /// The current card.
    #[must_use]
    pub fn card(&self) -> &SignedCard {
        &self.card
    }

    /// The newest recipient prekey's public half.
    #[must_use]
    pub fn prekey(&self) -> Prekey {
        self.card.card().prekey
    }

    /// The secret half of a recipient prekey that is still kept.
    #[must_use]
    pub fn prekey_secret(&self, id: PrekeyId) -> Option<&StaticSecret> {
        self.prekeys.iter().find(|(kept, _)| *kept == id).map(|(_, secret)| secret)
    }

    /// This run of the process.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }
}

fn prekey(rng: &mut impl CryptoRng) -> (Prekey, StaticSecret) {
    let mut id = [0; 4];
    rng.fill_bytes(&mut id);
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(secret.as_mut());
    let secret = StaticSecret::from(*secret);
    let public = PublicKey::from(&secret).to_bytes();
    (Prekey { id: PrekeyId(id), public }, secret)
}

fn incarnation(rng: &mut impl CryptoRng) -> Incarnation {
    let mut bytes = [0; 8];
    rng.fill_bytes(&mut bytes);
    Incarnation(bytes)
}
