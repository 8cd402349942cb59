//! The sending side of a chain. It lives in memory only: each process start begins another.

use alloc::vec::Vec;

use rand_core::CryptoRng;

use super::{ChainKey, Content, HeadRef, content_hash, message_id, statement};
use crate::{
    codec,
    envelope::{self, BodyKey, CARRIED_MAX, Header, HeaderKey},
    ids::{ChainId, GroupId, MessageId, RosterHash, Timestamp},
    limits::{CHAIN_MESSAGES, MESSAGE_HEADS},
    sign::{Context, Signature, SigningSecret},
};

/// One's own chain.
#[cfg_attr(any(test, feature = "sim"), derive(Clone))]
pub struct SendChain {
    pub(crate) context: [u8; 32],
    pub(crate) signing: SigningSecret,
    pub(crate) key: ChainKey,
    pub(crate) count: u32,
    pub(crate) last: Option<MessageId>,
    pub(crate) roster: RosterHash,
    pub(crate) born: Timestamp,
}

/// A message to be sealed.
pub struct Draft<'a> {
    /// Its kind.
    pub kind: u8,
    /// The latest messages of others.
    pub heads: Vec<HeadRef>,
    /// Logical clock.
    pub lamport: u64,
    /// When.
    pub at: Timestamp,
    /// What it says.
    pub payload: &'a [u8],
}

/// A sealed message.
pub struct SealedMessage {
    /// The padded envelopes, one for each header key: the same words for each topic.
    pub envelopes: Vec<Vec<u8>>,
    /// Its id.
    pub id: MessageId,
    /// Its index in the chain.
    pub index: u32,
    /// The hash of its content, which its signature is over.
    pub hash: [u8; 32],
    /// Its content.
    pub content: Vec<u8>,
    /// Its signature, by the chain's key.
    pub signature: Signature,
}

/// A message that was not sealed; the chain has not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The chain holds [`CHAIN_MESSAGES`]: a new one is due.
    #[error("the chain is full")]
    ChainFull,
    /// More heads than a receiver takes.
    #[error("a message names at most {MESSAGE_HEADS} heads")]
    Heads,
    /// Too long for one envelope.
    #[error("a message has at most {limit} bytes")]
    TooLong {
        /// The most that fits beside these heads.
        limit: usize,
    },
}

impl SendChain {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> ChainId {
        super::super::bundle::chain_id(&self.context)
    }

    /// To whom it is sealed.
    #[must_use]
    pub fn roster(&self) -> RosterHash {
        self.roster
    }

    /// How many messages it has carried.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Its latest message, or where it has none the one before it.
    #[must_use]
    pub fn last(&self) -> Option<MessageId> {
        self.last
    }

    /// When it was made.
    #[must_use]
    pub fn born(&self) -> Timestamp {
        self.born
    }

    /// Seals the next message, once for each of the topics that the group writes to.
    pub fn seal(
        &mut self,
        group: &GroupId,
        header_keys: &[HeaderKey],
        draft: Draft<'_>,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedMessage, SealError> {
        if self.count >= CHAIN_MESSAGES {
            return Err(SealError::ChainFull);
        }
        if draft.heads.len() > MESSAGE_HEADS {
            return Err(SealError::Heads);
        }
        let (index, chain) = (self.count, self.id());
        let asked = draft.payload.len();
        let content = codec::encode(&Content {
            kind: draft.kind,
            prev: self.last,
            heads: draft.heads,
            lamport: draft.lamport,
            at: draft.at,
            payload: draft.payload.into(),
        });
        let id = message_id(group, &chain, index, &content);
        let hash = content_hash(&content);
        let statement = statement(group, &self.context, index, &hash);
        let signature = self.signing.sign(Context::Message, &[&statement]);
        let around = content.len() - asked + signature.0.len();
        let carried = zeroize::Zeroizing::new([content.as_slice(), &signature.0].concat());
        let (key, next) = self.key.step(index);
        let key = BodyKey::new(*key);
        let header = Header { chain, index };
        let envelopes = header_keys
            .iter()
            .map(|header_key| envelope::seal(header, header_key, &key, &carried, rng))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SealError::TooLong { limit: CARRIED_MAX.saturating_sub(around) })?;
        self.key = next;
        self.count += 1;
        self.last = Some(id);
        Ok(SealedMessage { envelopes, id, index, hash, content, signature })
    }
}
