//! What a group says besides messages: control statements inside envelopes, frames on channels, the
//! Welcome of a newcomer. All strict CBOR.

use alloc::vec::Vec;

use minicbor::{Decode, Encode, bytes::ByteVec};
use zeroize::Zeroize;

use super::{circuits::CircuitAsked, seen::Span, talks::Talk};
use crate::{
    codec,
    evidence::{Notice, Record},
    gossip,
    ids::{ChainId, EnvelopeId, GroupId, MemberId, MessageId, OpId, Timestamp},
    sign::{BadSignature, Context, Signature, SigningSecret, verify},
};

/// A control envelope's content: signed by the identity that says it.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Control {
    #[n(0)]
    pub kind: u8,
    #[n(1)]
    pub from: MemberId,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    #[n(3)]
    signature: Signature,
}

/// What a control envelope says.
pub(super) enum Statement {
    /// 1: membership ops, each signed by its author.
    Ops(Vec<ByteVec>),
    /// 2: a bundle's head and some of its pages.
    Bundle(BundleWire),
    /// 3: a newer card of the sender.
    Card(ByteVec),
    /// 4: where the sender may be reached.
    Presence(Presence),
    /// 5: messages that the sender has.
    Receipt(Vec<Indexes>),
    /// 6: a slot that the sender can't open, in this chain of somebody.
    SlotNack(ChainId),
    /// 7: what the sender lacks.
    Want(Want),
    /// 10: a proof of equivocation, or a suspicion of a clone.
    Notice(Notice),
    /// 11: how far the sender has read chains.
    Reads(Vec<ReadTo>),
    /// 12: what the sender has where it was told of something else, and of its own chains.
    Compare(Compare),
    /// 13: what a member signed beyond what it told.
    Shown(Shown),
    /// 8: ML-KEM ciphertexts of a bundle's first contacts.
    Kem(KemWire),
    /// 14: where the sender's inbox is.
    Inbox(InboxAddress),
    /// 15: something sealed to one member whose inbox is not known to the sender.
    Sealed(Sealed),
    /// 16, in inboxes only: a topic, and the op that began it.
    HandOver(HandOver),
    /// 17, in inboxes only: the sender was away for longer than anything is kept.
    ResyncReq(ResyncReq),
    /// 18, in inboxes only: the answer's last parts.
    Resync(Resync),
    /// 19, in inboxes only: whether the receiver's node answers.
    Ping(Ping),
    /// 20, in inboxes only: it does.
    Pong(Pong),
    /// 21, in inboxes only: the sender waits for the receiver at a relay.
    Circuit(CircuitAsked),
    /// 22: what the sender's person has read.
    Seen(Vec<Span>),
    /// 23, in inboxes only: the sender's person would like to talk alone.
    Talk(Talk),
}

/// Whether a node answers.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Ping {
    /// Names the question.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
}

/// A node's answer.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Pong {
    /// Of the question.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// When, by the answerer's clock.
    #[n(1)]
    pub at: Timestamp,
}

/// Who was away for longer than anything is kept asks to be told how things stand.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct ResyncReq {
    /// Names the question.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// When, by the asker's clock; of one asker, only a later one is answered.
    #[n(1)]
    pub at: Timestamp,
    /// The asker's newest ops.
    #[n(2)]
    pub heads: Vec<OpId>,
    /// The asker's card.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub card: Vec<u8>,
    /// The asker's inbox: a control statement of kind 14.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub inbox: Vec<u8>,
}

/// What goes with the ops and topics that an asker was sent.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Resync {
    /// Of the question.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// Cards, and control statements of kind 14.
    #[n(1)]
    pub cards: Vec<ByteVec>,
    #[n(2)]
    pub inboxes: Vec<ByteVec>,
    /// With the last part, the newest ops of who answers.
    #[n(3)]
    pub heads: Option<Vec<OpId>>,
}

/// A member's inbox: a log that its owner alone reads and trims.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct InboxAddress {
    /// The owner's newest inbox has the highest number.
    #[n(0)]
    pub number: u64,
    /// The seed of the write capability; who holds it is or was a member.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub write: [u8; 32],
    /// Checks who may read.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub read: [u8; 32],
    /// Checks who may trim.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub trim: [u8; 32],
}

/// A topic that follows another.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct HandOver {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub op: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub topic: [u8; 32],
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.topic.zeroize();
    }
}

/// A seal to one member.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Sealed {
    #[n(0)]
    pub to: MemberId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// How far a chain was read.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct ReadTo {
    #[n(0)]
    pub chain: ChainId,
    /// The lowest index that was read since it was told last.
    #[n(1)]
    pub first: u32,
    /// One more than the highest index read.
    #[n(2)]
    pub next: u32,
    /// The id of the message before that.
    #[n(3)]
    pub last: Option<MessageId>,
    /// Indexes between them that are lacking.
    #[n(4)]
    pub missing: Vec<u32>,
}

/// What a member has, to be compared.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Compare {
    /// The sender's own newest chains.
    #[n(0)]
    pub own: Vec<Counted>,
    /// Messages of others that were named otherwise.
    #[n(1)]
    pub records: Vec<Record>,
}

/// A chain and how many messages it carried.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct Counted {
    #[n(0)]
    pub chain: ChainId,
    #[n(1)]
    pub count: u32,
}

/// What a member signed beyond what it told of its own chains.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Shown {
    #[n(0)]
    pub to: MemberId,
    /// Bundle heads.
    #[n(1)]
    pub heads: Vec<ByteVec>,
    #[n(2)]
    pub records: Vec<Record>,
}

/// A bundle on the wire.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct BundleWire {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub head: Vec<u8>,
    #[n(1)]
    pub pages: Vec<ByteVec>,
}

/// ML-KEM ciphertexts of one chain's bundle, at most 28.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct KemWire {
    #[n(0)]
    pub chain: ChainId,
    #[n(1)]
    pub entries: Vec<KemEntry>,
}

/// A recipient's ML-KEM ciphertext, 1,088 bytes.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct KemEntry {
    #[n(0)]
    pub member: MemberId,
    #[cbor(n(1), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

/// Where a member may be reached: binary multiaddrs.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct Presence {
    #[n(0)]
    pub at: Timestamp,
    #[n(1)]
    pub addresses: Vec<ByteVec>,
}

/// Some messages of a chain.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct Indexes {
    #[n(0)]
    pub chain: ChainId,
    #[n(1)]
    pub indexes: Vec<u32>,
}

/// What somebody lacks.
#[derive(Clone, Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct Want {
    /// Everything that is not in the past of these.
    #[n(0)]
    pub ops_after: Option<Vec<OpId>>,
    /// The bundles of these chains.
    #[n(1)]
    pub bundles: Vec<ChainId>,
    /// These messages.
    #[n(2)]
    pub messages: Vec<Indexes>,
    /// Whether the topic secrets of the frontier are wanted: bare in answer on a channel, on a log in
    /// a new bundle.
    #[n(3)]
    pub topics: bool,
    /// When, by the asker's clock, where everybody is asked: of one asker, only a later one is
    /// answered.
    #[n(4)]
    pub at: Option<Timestamp>,
}

impl Want {
    pub fn is_empty(&self) -> bool {
        self.ops_after.is_none()
            && self.bundles.is_empty()
            && self.messages.is_empty()
            && !self.topics
    }
}

/// What goes over a member's channel, for one group.
#[derive(Encode, Decode)]
pub(super) enum Frame {
    #[n(0)]
    Push(#[n(0)] ByteVec),
    #[n(1)]
    Have(#[n(0)] Vec<EnvelopeId>),
    #[n(2)]
    Graft(#[n(0)] Vec<EnvelopeId>),
    #[n(3)]
    Prune,
    #[n(4)]
    Summary(#[n(0)] Summary),
    #[n(5)]
    Data(#[n(0)] Data),
    /// All that the receiver lacked by its summary has been sent.
    #[n(6)]
    Done,
    #[n(7)]
    Want(#[n(0)] Want),
    /// Tell your summary: it has not come.
    #[n(8)]
    Hello,
    /// Where the sender may be reached.
    #[n(9)]
    Presence(#[n(0)] Presence),
    /// Where members' inboxes are: control statements of kind 14.
    #[n(12)]
    Inboxes(#[n(0)] Vec<ByteVec>),
    /// What goes to the receiver's inbox too.
    #[n(13)]
    Sealed(#[n(0)] ByteVec),
    /// Proofs and suspicions that the sender keeps.
    #[n(10)]
    Notices(#[n(0)] Vec<ByteVec>),
    /// Whether the sender's person types.
    #[n(14)]
    Typing(#[n(0)] bool),
}

/// One page of what a node has.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Summary {
    #[n(0)]
    pub heads: Vec<OpId>,
    #[n(1)]
    pub chains: Vec<ChainSummary>,
    #[n(2)]
    pub cards: Vec<CardSummary>,
    /// Whether this is the last page.
    #[n(3)]
    pub last: bool,
}

/// How far a chain was read.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct ChainSummary {
    #[n(0)]
    pub chain: ChainId,
    /// One more than the highest index read.
    #[n(1)]
    pub next: u32,
    /// Indexes below that are lacking.
    #[n(2)]
    pub missing: Vec<u32>,
}

/// Which card of a member is known.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct CardSummary {
    #[n(0)]
    pub member: MemberId,
    #[n(1)]
    pub seq: u64,
}

/// What a peer lacked.
#[derive(Default, Encode, Decode)]
#[cbor(array)]
pub(super) struct Data {
    #[n(0)]
    pub ops: Vec<ByteVec>,
    #[n(1)]
    pub cards: Vec<ByteVec>,
    #[n(2)]
    pub bundles: Vec<BundleWire>,
    #[n(3)]
    pub envelopes: Vec<Served>,
    /// Topic secrets; over channels to current members only.
    #[n(4)]
    pub topics: Vec<ByteVec>,
    /// ML-KEM ciphertexts.
    #[n(5)]
    pub kems: Option<Vec<KemWire>>,
}

/// An envelope that a peer lacked, with what its header says: the peer may not know the topic that
/// hides it.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Served {
    #[n(0)]
    pub chain: ChainId,
    #[n(1)]
    pub index: u32,
    #[cbor(n(2), with = "minicbor::bytes")]
    pub envelope: Vec<u8>,
}

/// What an admin hands a newcomer.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Welcome {
    #[n(0)]
    pub version: u8,
    #[n(1)]
    pub group: GroupId,
    #[n(2)]
    pub ops: Vec<ByteVec>,
    #[n(3)]
    pub cards: Vec<ByteVec>,
    #[n(4)]
    pub topics: Vec<ByteVec>,
    #[n(5)]
    pub presences: Vec<Whereabouts>,
    /// Control statements of kind 14, one of each member whose inbox is known.
    #[n(6)]
    pub inboxes: Option<Vec<ByteVec>>,
    /// The host's logical clock: what the newcomer says stands after what was said before.
    #[n(7)]
    pub lamport: Option<u64>,
}

impl Drop for Welcome {
    fn drop(&mut self) {
        self.topics.iter_mut().for_each(|topic| topic.as_mut_slice().zeroize());
    }
}

/// A member's presence, told by another.
#[derive(Encode, Decode)]
#[cbor(array)]
pub(super) struct Whereabouts {
    #[n(0)]
    pub member: MemberId,
    #[n(1)]
    pub presence: Presence,
}

/// Bytes that say nothing known.
pub(super) struct Unknown;

impl Control {
    /// Signs a statement.
    pub fn sign(group: &GroupId, statement: &Statement, identity: &SigningSecret) -> Vec<u8> {
        let (kind, payload) = statement.encode();
        Self::sign_as(group, kind, payload, identity)
    }

    /// Signs any bytes as a statement of any kind.
    pub fn sign_as(
        group: &GroupId,
        kind: u8,
        payload: Vec<u8>,
        identity: &SigningSecret,
    ) -> Vec<u8> {
        let signature = identity.sign(Context::Notice, &[&group.0, &[kind], &payload]);
        codec::encode(&Self { kind, from: identity.id(), payload, signature })
    }

    /// Signs a statement that counts for one member only, in whose inbox it is sealed.
    pub fn sign_to(
        group: &GroupId,
        to: &MemberId,
        statement: &Statement,
        identity: &SigningSecret,
    ) -> Vec<u8> {
        let (kind, payload) = statement.encode();
        let signature = identity.sign(Context::Inbox, &[&group.0, &to.0, &[kind], &payload]);
        codec::encode(&Self { kind, from: identity.id(), payload, signature })
    }

    /// Any bytes as a statement of any kind that nobody signed.
    #[cfg(any(test, feature = "sim"))]
    pub fn unsigned(kind: u8, payload: Vec<u8>) -> Self {
        Self { kind, from: MemberId([0; 32]), payload, signature: Signature([0; 64]) }
    }

    /// Reads a statement; its signature is checked by [`Self::verify`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, codec::Malformed> {
        codec::decode(bytes)
    }

    pub fn verify(&self, group: &GroupId) -> Result<(), BadSignature> {
        let parts: [&[u8]; 3] = [&group.0, &[self.kind], &self.payload];
        verify(&self.from.0, Context::Notice, &parts, &self.signature)
    }

    /// Checks a statement that counts for one member only.
    pub fn verify_to(&self, group: &GroupId, to: &MemberId) -> Result<(), BadSignature> {
        let parts: [&[u8]; 4] = [&group.0, &to.0, &[self.kind], &self.payload];
        verify(&self.from.0, Context::Inbox, &parts, &self.signature)
    }

    pub fn statement(&self) -> Result<Statement, Unknown> {
        fn read<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, Unknown> {
            codec::decode(bytes).map_err(|_| Unknown)
        }
        Ok(match self.kind {
            1 => Statement::Ops(read(&self.payload)?),
            2 => Statement::Bundle(read(&self.payload)?),
            3 => Statement::Card(read(&self.payload)?),
            4 => Statement::Presence(read(&self.payload)?),
            5 => Statement::Receipt(read(&self.payload)?),
            6 => Statement::SlotNack(read(&self.payload)?),
            7 => Statement::Want(read(&self.payload)?),
            14 => Statement::Inbox(read(&self.payload)?),
            15 => Statement::Sealed(read(&self.payload)?),
            16 => Statement::HandOver(read(&self.payload)?),
            10 => Statement::Notice(read(&self.payload)?),
            11 => Statement::Reads(read(&self.payload)?),
            12 => Statement::Compare(read(&self.payload)?),
            13 => Statement::Shown(read(&self.payload)?),
            8 => Statement::Kem(read(&self.payload)?),
            17 => Statement::ResyncReq(read(&self.payload)?),
            18 => Statement::Resync(read(&self.payload)?),
            19 => Statement::Ping(read(&self.payload)?),
            20 => Statement::Pong(read(&self.payload)?),
            21 => Statement::Circuit(read(&self.payload)?),
            22 => Statement::Seen(read(&self.payload)?),
            23 => Statement::Talk(read(&self.payload)?),
            _ => return Err(Unknown),
        })
    }
}

impl Statement {
    fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Ops(ops) => (1, codec::encode(ops)),
            Self::Bundle(bundle) => (2, codec::encode(bundle)),
            Self::Card(card) => (3, codec::encode(card)),
            Self::Presence(presence) => (4, codec::encode(presence)),
            Self::Receipt(receipt) => (5, codec::encode(receipt)),
            Self::SlotNack(chain) => (6, codec::encode(chain)),
            Self::Want(want) => (7, codec::encode(want)),
            Self::Inbox(address) => (14, codec::encode(address)),
            Self::Sealed(sealed) => (15, codec::encode(sealed)),
            Self::HandOver(topic) => (16, codec::encode(topic)),
            Self::Notice(notice) => (10, codec::encode(notice)),
            Self::Reads(reads) => (11, codec::encode(reads)),
            Self::Compare(compare) => (12, codec::encode(compare)),
            Self::Shown(shown) => (13, codec::encode(shown)),
            Self::Kem(kem) => (8, codec::encode(kem)),
            Self::ResyncReq(request) => (17, codec::encode(request)),
            Self::Resync(answer) => (18, codec::encode(answer)),
            Self::Ping(ping) => (19, codec::encode(ping)),
            Self::Pong(pong) => (20, codec::encode(pong)),
            Self::Circuit(asked) => (21, codec::encode(asked)),
            Self::Seen(spans) => (22, codec::encode(spans)),
            Self::Talk(talk) => (23, codec::encode(talk)),
        }
    }
}

impl From<gossip::Frame> for Frame {
    fn from(frame: gossip::Frame) -> Self {
        match frame {
            gossip::Frame::Push(bytes) => Self::Push(bytes.into()),
            gossip::Frame::Have(ids) => Self::Have(ids),
            gossip::Frame::Graft(ids) => Self::Graft(ids),
            gossip::Frame::Prune => Self::Prune,
        }
    }
}
