//! Who somebody is: an Ed25519 identity key, and the card that it signs.
//!
//! The identity key is not the libp2p node key: a PeerId is seen by every hop, and the fingerprint
//! that people compare must outlive it.

use alloc::{string::String, vec::Vec};

use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::{
    codec,
    hidden::is_hidden,
    ids::{MemberId, PrekeyId},
    kem::KemPublic,
    limits,
    sign::{Context, Signature, SigningSecret, verify},
};

/// What a member says of itself. Of the cards that one identity signed, the highest `seq` wins.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Card {
    /// 2; the cards of version 1 have neither `kk` nor `machines`.
    #[n(0)]
    pub version: u8,
    /// The identity that signs.
    #[n(1)]
    pub member: MemberId,
    /// The recovery key's public half ([`crate::recovery`]); `None` on cards of version 1.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub recovery: Option<[u8; 32]>,
    /// Grows with each new card.
    #[n(3)]
    pub seq: u64,
    /// The name that the member chose: UTF-8, 1 to [`limits::NAME_BYTES`] bytes, no control
    /// characters.
    #[n(4)]
    pub name: String,
    /// The libp2p PeerIds under which this member's node may be met, at most 4 of at most 64 bytes.
    #[n(5)]
    pub nodes: Vec<minicbor::bytes::ByteVec>,
    /// The X25519 recipient prekey to which slots are sealed until a bundle brings a newer one.
    #[n(6)]
    pub prekey: Prekey,
    /// The ML-KEM-768 key to which first contacts are sealed beside the prekey.
    #[n(7)]
    pub kk: Option<KemPublic>,
    /// The identities of the same person's other machines: sorted, at least one where there are any
    /// and fewer than [`limits::MACHINES`], never one's own. It holds only for those whose cards
    /// name this one too.
    #[n(8)]
    pub machines: Option<Vec<MemberId>>,
}

/// A recipient prekey, its public half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Prekey {
    /// Names it in slots.
    #[n(0)]
    pub id: PrekeyId,
    /// The X25519 public key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub public: [u8; 32],
}

/// A card, with the bytes and the signature that were checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCard {
    card: Card,
    bytes: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct CardWire {
    #[cbor(n(0), with = "minicbor::bytes")]
    body: Vec<u8>,
    #[n(1)]
    signature: Signature,
}

/// Why a card was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// No card, too long, or of another version.
    #[error("not a card")]
    Malformed,
    /// Not signed by the identity that it names.
    #[error("the card's signature does not hold")]
    Signature,
}

impl SignedCard {
    /// Signs a card.
    #[must_use]
    pub fn sign(card: Card, identity: &SigningSecret) -> Self {
        let body = codec::encode(&card);
        let signature = identity.sign(Context::Card, &[&body]);
        let bytes = codec::encode(&CardWire { body, signature });
        Self { card, bytes }
    }

    /// Reads and checks a card.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CardError> {
        if bytes.len() > limits::CARD_BYTES {
            return Err(CardError::Malformed);
        }
        let wire: CardWire = codec::decode(bytes).map_err(|_| CardError::Malformed)?;
        let card: Card = codec::decode(&wire.body).map_err(|_| CardError::Malformed)?;
        if !card.is_well_formed() {
            return Err(CardError::Malformed);
        }
        verify(&card.member.0, Context::Card, &[&wire.body], &wire.signature)
            .map_err(|_| CardError::Signature)?;
        Ok(Self { card, bytes: bytes.into() })
    }

    /// What it says.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The signed bytes, as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Card {
    /// The version of the cards that are made now.
    pub const VERSION: u8 = 2;

    /// Whether this card names that identity as another machine of the same person. Alone it shows
    /// nothing.
    #[must_use]
    pub fn names(&self, other: &MemberId) -> bool {
        self.machines.as_ref().is_some_and(|machines| machines.contains(other))
    }

    fn are_machines(&self, machines: &[MemberId]) -> bool {
        (1..limits::MACHINES).contains(&machines.len())
            && machines.is_sorted_by(|a, b| a < b)
            && !machines.contains(&self.member)
    }

    fn is_well_formed(&self) -> bool {
        let version = match self.version {
            1 => self.kk.is_none() && self.machines.is_none(),
            Self::VERSION => true,
            _ => false,
        };
        version
            && self.machines.as_ref().is_none_or(|machines| self.are_machines(machines))
            && is_name(&self.name)
            && self.nodes.len() <= 4
            && self.nodes.iter().all(|node| node.len() <= 64)
    }
}

impl<C> Encode<C> for KemPublic {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for KemPublic {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::from_bytes(d.bytes()?).map_err(|_| minicbor::decode::Error::message("ML-KEM key"))
    }
}

/// Whether a name may stand on a card or a group: 1 to [`limits::NAME_BYTES`] bytes, no control
/// characters, nothing that is invisible or turns the direction of text, no white space at either
/// end. The joiners that some scripts and emoji need are allowed.
#[must_use]
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= limits::NAME_BYTES
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || is_hidden(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_all_that_it_is() {
        for name in ["ana", "Åsa", "علي", "می\u{200c}نا", "👩\u{200d}💻", "two words"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", " ana", "ana ", "a\nb", "ana\u{200b}", "\u{202e}ana", "\u{feff}ana"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name(&"a".repeat(limits::NAME_BYTES)));
        assert!(!is_name(&"a".repeat(limits::NAME_BYTES + 1)));
    }
}
