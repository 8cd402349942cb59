//! The receiving side of a chain.
//!
//! > A forgery never advances it: what an envelope would change is made on a copy, and the copy is
//! > handed out only once decryption and signature hold.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use super::{ChainKey, Content, content_hash, message_id, statement};
use crate::{
    bundle::chain_id,
    codec,
    envelope::{self, BodyKey},
    ids::{ChainId, GroupId, MessageId},
    limits::{CHAIN_MESSAGES, MESSAGE_HEADS},
    sign::{Context, Signature, verify},
    snapshot::SnapshotError,
};

/// Somebody else's chain, as far as it was read.
#[derive(Clone)]
pub struct ReceiveChain {
    context: [u8; 32],
    public: [u8; 32],
    key: ChainKey,
    next: u32,
    skipped: BTreeMap<u32, Zeroizing<[u8; 32]>>,
}

/// A message that was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Its id.
    pub id: MessageId,
    /// What it says.
    pub content: Content,
    /// The hash of its content, which its signature is over.
    pub hash: [u8; 32],
    /// Its signature, by the chain's key.
    pub signature: Signature,
}

/// A message that was not opened; the chain has not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// Opened before.
    #[error("opened before")]
    Replay,
    /// An index that no chain reaches.
    #[error("index {0} is beyond a chain's end")]
    BeyondEnd(u32),
    /// Decryption, signature or form does not hold.
    #[error("forged or damaged")]
    Forged,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Stored {
    #[cbor(n(0), with = "minicbor::bytes")]
    context: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    public: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    key: [u8; 32],
    #[n(3)]
    next: u32,
    #[n(4)]
    skipped: Vec<StoredKey>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct StoredKey {
    #[n(0)]
    index: u32,
    #[cbor(n(1), with = "minicbor::bytes")]
    key: [u8; 32],
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.key.zeroize();
        self.skipped.iter_mut().for_each(|kept| kept.key.zeroize());
    }
}

/// What a chain's message says, its id and its hash, where `public`, the chain's key, signed it in
/// this context.
pub(crate) fn signed_content(
    group: &GroupId,
    context: &[u8; 32],
    public: &[u8; 32],
    index: u32,
    content: &[u8],
    signature: &Signature,
) -> Result<(MessageId, [u8; 32], Content), ReceiveError> {
    if index >= CHAIN_MESSAGES {
        return Err(ReceiveError::BeyondEnd(index));
    }
    let hash = content_hash(content);
    let statement = statement(group, context, index, &hash);
    verify(public, Context::Message, &[&statement], signature).map_err(|_| ReceiveError::Forged)?;
    let id = message_id(group, &chain_id(context), index, content);
    let content: Content = codec::decode(content).map_err(|_| ReceiveError::Forged)?;
    if content.heads.len() > MESSAGE_HEADS {
        return Err(ReceiveError::Forged);
    }
    Ok((id, hash, content))
}

impl ReceiveChain {
    /// The chain that grows from `seed`; `public` is the key that signs its messages.
    pub(crate) fn new(seed: &[u8; 32], context: [u8; 32], public: [u8; 32]) -> Self {
        let key = ChainKey::first(seed, &context);
        Self { context, public, key, next: 0, skipped: BTreeMap::new() }
    }

    /// The chain as it stands where all below `next` were read once, but those `missing`: no other
    /// key of them is kept.
    pub(crate) fn resume(mut self, next: u32, missing: &[u32]) -> Self {
        while self.next < next.min(CHAIN_MESSAGES) {
            let (key, after) = self.key.step(self.next);
            if missing.contains(&self.next) {
                self.skipped.insert(self.next, key);
            }
            self.key = after;
            self.next += 1;
        }
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ChainId {
        chain_id(&self.context)
    }

    /// One more than the highest index that was opened.
    #[must_use]
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The indexes below [`Self::next`] that were not opened yet.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.skipped.keys().copied()
    }

    /// Whether the message at this index was opened.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        index < self.next && !self.skipped.contains_key(&index)
    }

    /// The chain key at [`Self::next`], for the simulator to compare.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn key(&self) -> [u8; 32] {
        self.key.0
    }

    /// Opens the message at `index`, as the envelope's header says: what it says, and the chain
    /// once it is read.
    pub fn open(
        &self,
        group: &GroupId,
        index: u32,
        bytes: &[u8],
    ) -> Result<(Opened, Self), ReceiveError> {
        if index >= CHAIN_MESSAGES {
            return Err(ReceiveError::BeyondEnd(index));
        }
        let mut after = self.clone();
        let key = after.take(index).ok_or(ReceiveError::Replay)?;
        let carried =
            envelope::open(bytes, &BodyKey::new(*key)).map_err(|_| ReceiveError::Forged)?;
        let (content, signature) = carried.split_last_chunk::<64>().ok_or(ReceiveError::Forged)?;
        let signature = Signature(*signature);
        let (id, hash, content) =
            signed_content(group, &self.context, &self.public, index, content, &signature)?;
        Ok((Opened { id, content, hash, signature }, after))
    }

    /// Its secrets, to be stored.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&Stored {
            context: self.context,
            public: self.public,
            key: self.key.0,
            next: self.next,
            skipped: self
                .skipped
                .iter()
                .map(|(index, key)| StoredKey { index: *index, key: **key })
                .collect(),
        }))
    }

    /// Takes up what [`Self::save`] wrote.
    pub fn load(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let stored: Stored = codec::decode(bytes).map_err(|_| SnapshotError::Damaged)?;
        let skipped =
            stored.skipped.iter().map(|kept| (kept.index, Zeroizing::new(kept.key))).collect();
        Ok(Self {
            context: stored.context,
            public: stored.public,
            key: ChainKey(stored.key),
            next: stored.next,
            skipped,
        })
    }

    /// The key at `index`, used up; keys on the way to it are kept.
    fn take(&mut self, index: u32) -> Option<Zeroizing<[u8; 32]>> {
        if index < self.next {
            return self.skipped.remove(&index);
        }
        loop {
            let (key, next) = self.key.step(self.next);
            self.key = next;
            self.next += 1;
            if self.next > index {
                return Some(key);
            }
            self.skipped.insert(self.next - 1, key);
        }
    }
}
