//! Sharing history: what somebody said before others were members, handed on as it was signed.
//!
//! ```text
//! payload = CBOR [1, [head bstr…≤32], [[head's place, index, content bstr, sig64]…≤128]]     kind 4
//! ```
//!
//! > No key leaves a node: records are re-encrypted in the sharer's own chain, for whoever is a member
//! > then. Who wrote what is proved by the author's signature, under the key in the author's signed
//! > head; the sharer can leave out, not change or invent.
//!
//! docs/spec/history.md.

use alloc::{collections::BTreeMap, vec::Vec};

use minicbor::{Decode, Encode, bytes::ByteVec};
use rand_core::CryptoRng;

use super::{
    ChainState, Class, Cx, Event, Group, Output, Received, SendError, Sent, SignedContent, class_of,
};
use crate::{
    audit::Fact,
    bundle::SignedHead,
    chain::{Content, signed_content},
    codec,
    ids::{ChainId, MemberId, MessageId},
    said,
    sign::Signature,
};

/// The kind of a message that shares history.
pub const HISTORY: u8 = 4;

const VERSION: u8 = 1;
/// Bytes, records and heads on one page: it fits one envelope.
const PAGE: usize = 30_000;
const RECORDS: usize = 128;
const HEADS: usize = 32;

/// A message as its author signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// The author's chain.
    pub chain: ChainId,
    /// The index in it.
    pub index: u32,
    /// What was signed.
    pub signed: SignedContent,
}

/// What [`Group::share`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The message that carries the records; `None` where none of those taken could be shared.
    pub sent: Option<Sent>,
    /// How many of the records it carries.
    pub count: usize,
    /// How many of the records, from the first, need not be given again.
    pub taken: usize,
}

/// History that was not shared. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The policy does not allow it.
    #[error("this group does not share history: an admin can allow it")]
    NotAllowed,
    /// Nothing can be sent now.
    #[error(transparent)]
    Send(#[from] SendError),
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Page {
    #[n(0)]
    version: u8,
    #[n(1)]
    heads: Vec<ByteVec>,
    #[n(2)]
    records: Vec<PageRecord>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct PageRecord {
    #[n(0)]
    head: u8,
    #[n(1)]
    index: u32,
    #[cbor(n(2), with = "minicbor::bytes")]
    content: Vec<u8>,
    #[n(3)]
    signature: Signature,
}

impl Group {
    /// Hands on messages that this node has read or written, to the members of this moment: as many
    /// of the first as one message carries. What is too long for that, or of a chain whose head is
    /// not known here any more, is passed over.
    pub fn share<R: CryptoRng>(
        &mut self,
        cx: Cx<'_, R>,
        records: &[SignedRecord],
    ) -> Result<Shared, ShareError> {
        self.ready(cx.now).map_err(SendError::from)?;
        if !self.policy().shares_history() {
            return Err(ShareError::NotAllowed);
        }
        let (page, taken) = self.page_of(records);
        let count = page.records.len();
        if count == 0 {
            return Ok(Shared { sent: None, count, taken });
        }
        let Cx { me, now, rng } = cx;
        let sent = self.send(Cx { me, now, rng: &mut *rng }, HISTORY, &codec::encode(&page))?;
        let shared = u32::try_from(count).unwrap_or(u32::MAX);
        let by = self.me;
        self.note(&Cx { me, now, rng }, Fact::HistoryShared { by, count: shared });
        Ok(Shared { sent: Some(sent), count, taken })
    }

    fn page_of(&self, records: &[SignedRecord]) -> (Page, usize) {
        let mut page = Page { version: VERSION, heads: Vec::new(), records: Vec::new() };
        let mut places: BTreeMap<ChainId, u8> = BTreeMap::new();
        let mut bytes = 0;
        for (taken, record) in records.iter().enumerate() {
            let Some(entry) = self.receiving.chains.get(&record.chain) else { continue };
            let SignedContent { content, signature } = &record.signed;
            let head = entry.head.as_bytes();
            let known = places.get(&record.chain).copied();
            let size = content.len() + 96 + known.map_or(head.len() + 8, |_| 0);
            let good = self.read_record(&entry.head, record.index, &record.signed).is_some();
            if size > PAGE || !good {
                continue;
            }
            let full = page.records.len() == RECORDS || known.is_none() && places.len() == HEADS;
            if bytes + size > PAGE || full {
                return (page, taken);
            }
            bytes += size;
            let place = known.unwrap_or_else(|| {
                let place = u8::try_from(page.heads.len()).unwrap_or(u8::MAX);
                page.heads.push(Vec::from(head).into());
                places.insert(record.chain, place);
                place
            });
            page.records.push(PageRecord {
                head: place,
                index: record.index,
                content: content.clone(),
                signature: *signature,
            });
        }
        (page, records.len())
    }

    /// A page of these, whatever the policy says.
    #[cfg(test)]
    pub(super) fn page_of_test(&self, records: &[SignedRecord]) -> Vec<u8> {
        codec::encode(&self.page_of(records).0)
    }

    /// Takes what a member shares, where the policy that it knew allows it.
    pub(super) fn take_history<R: CryptoRng>(
        &mut self,
        cx: &Cx<'_, R>,
        carrier: ChainId,
        class: &Class,
        payload: &[u8],
    ) {
        let Some(entry) = self.receiving.chains.get(&carrier) else { return };
        let by = entry.head.head().sender;
        let allowed = self
            .ops
            .resolve_at(&entry.head.head().heads)
            .is_ok_and(|view| view.policy.shares_history());
        let Ok(page) = codec::decode::<Page>(payload) else { return };
        let bounded = page.heads.len() <= HEADS && page.records.len() <= RECORDS;
        if !allowed || !bounded || page.version != VERSION || *class == Class::PostCut {
            return;
        }
        let heads: Vec<Option<SignedHead>> =
            page.heads.iter().map(|head| self.author_head(head)).collect();
        let mut count = 0;
        for record in page.records {
            let head = heads.get(usize::from(record.head)).and_then(Option::as_ref);
            let Some(head) = head.filter(|head| !self.is_read(&head.chain(), record.index)) else {
                continue;
            };
            let PageRecord { index, content, signature, .. } = record;
            let signed = SignedContent { content, signature };
            let Some((id, content)) = self.read_record(head, index, &signed) else { continue };
            let message = Received {
                id,
                chain: head.chain(),
                index,
                from: head.head().sender,
                kind: content.kind,
                payload: content.payload,
                at: content.at,
                lamport: content.lamport,
                class: class_of(&self.ops, head, index),
                by_admin: self.is_by_admin(content.kind, head),
                signed,
            };
            self.out.push_back(Output::Event(Event::Shared { by, message }));
            count += 1;
        }
        if count > 0 {
            self.note(cx, Fact::HistoryShared { by, count });
        }
    }

    /// A head that its author signed as a member of the view that it names.
    fn author_head(&self, bytes: &[u8]) -> Option<SignedHead> {
        let head = SignedHead::from_bytes(bytes).ok()?;
        let said = head.head();
        let roster = self.ops.resolve_at(&said.heads).ok()?.roster(self.id);
        let holds =
            said.group == self.id && roster.hash() == said.roster && roster.contains(&said.sender);
        holds.then_some(head)
    }

    /// What a record says, where its author's signature holds and it may be shared.
    fn read_record(
        &self,
        head: &SignedHead,
        index: u32,
        signed: &SignedContent,
    ) -> Option<(MessageId, Content)> {
        let SignedContent { content, signature } = signed;
        let key = &head.head().chain_key;
        signed_content(&self.id, head.context(), key, index, content, signature)
            .ok()
            .map(|(id, _, content)| (id, content))
            .filter(|(_, content)| said::is_shared(content.kind, &content.payload))
    }

    /// Whether a message of a chain says what admins may, and its sender was one in the view that its head names.
    pub(super) fn is_by_admin(&self, kind: u8, head: &SignedHead) -> bool {
        let said = head.head();
        let view = said::is_for_admins(kind).then(|| self.ops.resolve_at(&said.heads).ok());
        view.flatten().is_some_and(|view| view.is_admin(&said.sender))
    }

    /// Whether this node wrote or opened a message itself.
    fn is_read(&self, chain: &ChainId, index: u32) -> bool {
        match self.receiving.chains.get(chain).map(|entry| &entry.state) {
            Some(ChainState::Open(read)) => read.has(index),
            Some(ChainState::Closed { next }) => index < *next,
            Some(ChainState::Mine { count }) => index < *count,
            _ => false,
        }
    }

    /// Who can read what is shared now: the others of this moment.
    #[must_use]
    pub fn audience(&self) -> Vec<MemberId> {
        let members = self.ops.resolve().members.keys();
        members.filter(|member| **member != self.me).copied().collect()
    }
}
