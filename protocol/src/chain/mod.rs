//! A sender chain: one member's messages for one roster, from one seed.
//!
//! ```text
//! ck_0           = KDF32(seed, "wt1 chain init", ctx)
//! ck_i+1 ‖ mk_i  = KDF64(ck_i, "wt1 chain step", i u32be)
//! content        = CBOR [kind, prev | null, [[chain16, index, id16]…], lamport, ts_ms, payload]
//! signature      = Ed25519(chain key, "wt1/msg\0" ‖ group ‖ ctx ‖ i u32be ‖ H(content))
//! id             = BLAKE2b-128("wt1 msg id", group ‖ chain ‖ i u32be ‖ content)
//! carried        = content ‖ signature, in an envelope under mk_i
//! ```
//!
//! The signature lies inside the encryption: a relay sees none, and it stays evidence for members.
//! The id covers the content and not the ciphertext, so that the same words re-encrypted are a
//! harmless duplicate. docs/spec/envelope.md.

mod receive;
mod send;

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub(crate) use self::receive::signed_content;
pub use self::{
    receive::{Opened, ReceiveChain, ReceiveError},
    send::{Draft, SealError, SealedMessage, SendChain},
};
use crate::{
    hash::{Label, hash32, kdf16, kdf32, kdf64},
    ids::{ChainId, GroupId, MessageId, Timestamp},
};

/// What a message says and where it stands among others.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Content {
    /// Its kind; 0 is text.
    #[n(0)]
    pub kind: u8,
    /// The sender's message before this one.
    #[n(1)]
    pub prev: Option<MessageId>,
    /// The latest messages of others that the sender had: at most
    /// [`crate::limits::MESSAGE_HEADS`].
    #[n(2)]
    pub heads: Vec<HeadRef>,
    /// Logical clock.
    #[n(3)]
    pub lamport: u64,
    /// When, by the sender's clock.
    #[n(4)]
    pub at: Timestamp,
    /// What it says.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

/// A message that another one follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(array)]
pub struct HeadRef {
    /// Its chain.
    #[n(0)]
    pub chain: ChainId,
    /// Its index.
    #[n(1)]
    pub index: u32,
    /// Its id.
    #[n(2)]
    pub id: MessageId,
}

/// The name of a message.
#[must_use]
pub fn message_id(group: &GroupId, chain: &ChainId, index: u32, content: &[u8]) -> MessageId {
    let parts: [&[u8]; 4] = [&group.0, &chain.0, &index.to_be_bytes(), content];
    MessageId(kdf16(&[], Label::Message, &parts))
}

/// The hash of a content that a chain's key signs.
fn content_hash(content: &[u8]) -> [u8; 32] {
    hash32(Label::Content, &[content])
}

/// What a chain's key signs, but for the prefix: group, context, index and the content's hash.
pub(crate) fn statement(
    group: &GroupId,
    context: &[u8; 32],
    index: u32,
    content: &[u8; 32],
) -> [u8; 100] {
    let mut parts = [0; 100];
    parts[..32].copy_from_slice(&group.0);
    parts[32..64].copy_from_slice(context);
    parts[64..68].copy_from_slice(&index.to_be_bytes());
    parts[68..].copy_from_slice(content);
    parts
}

/// A chain key at one index. It only goes forward.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct ChainKey([u8; 32]);

impl ChainKey {
    /// The first one of the chain that grows from `seed` in this context.
    pub(crate) fn first(seed: &[u8; 32], context: &[u8; 32]) -> Self {
        Self(kdf32(seed, Label::ChainInit, &[context]))
    }

    /// The key of the message at `index`, and the chain key after it.
    fn step(&self, index: u32) -> (Zeroizing<[u8; 32]>, Self) {
        let both = Zeroizing::new(kdf64(&self.0, Label::ChainStep, &[&index.to_be_bytes()]));
        let (mut next, mut key) = (Self([0; 32]), Zeroizing::new([0; 32]));
        next.0.copy_from_slice(&both[..32]);
        key.copy_from_slice(&both[32..]);
        (key, next)
    }
}

#[cfg(test)]
mod tests;
