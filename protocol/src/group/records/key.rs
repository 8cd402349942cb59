//! The names of records: a number for the sort, and the id of what it is about. A number is never used
//! for anything else again.

use alloc::vec::Vec;

use crate::{
    evidence::Subject,
    ids::{ChainId, EnvelopeId, MemberId, OpId},
};

/// Which record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Meta,
    Op(OpId),
    Card(MemberId),
    Presence(MemberId),
    Topic([u8; 32]),
    PairSend(MemberId),
    PairReceive(MemberId),
    Bundle(ChainId),
    Chain(ChainId),
    Inits(ChainId),
    Parked(EnvelopeId),
    Receipts,
    /// This node's own inboxes.
    Inboxes,
    Inbox(MemberId),
    /// Topics from the inbox.
    HandedOver,
    Watch,
    Seen(MemberId),
    Turns,
    Classes(ChainId),
    /// Of a chain, sixteen messages.
    Evidence(ChainId, u8),
    Own,
    Notice(Subject),
    Gaps(ChainId),
    /// Who welcomed this node's member, until the view is confirmed.
    WelcomedBy,
    /// The own admission, until somebody has told of it.
    Unseen,
    Hold(MemberId),
    /// The ML-KEM ciphertexts known of a chain's bundle.
    Ciphertexts(ChainId),
    Part(MemberId, u16),
    Gone,
    /// How far a chain was read before this node's member was out.
    Place(ChainId),
}

impl Key {
    /// Its name on the disk: a number for its sort, and what it is about.
    pub fn to_bytes(self) -> Vec<u8> {
        let (kind, id): (u8, &[u8]) = match &self {
            Self::Meta => (0, &[]),
            Self::Op(id) => (1, &id.0),
            Self::Card(id) => (2, &id.0),
            Self::Presence(id) => (3, &id.0),
            Self::Topic(commit) => (4, commit),
            Self::PairSend(id) => (5, &id.0),
            Self::PairReceive(id) => (6, &id.0),
            Self::Bundle(id) => (7, &id.0),
            Self::Chain(id) => (8, &id.0),
            Self::Inits(id) => (9, &id.0),
            Self::Parked(id) => (10, &id.0),
            Self::Receipts => (11, &[]),
            Self::Inboxes => (20, &[]),
            Self::Inbox(id) => (21, &id.0),
            Self::HandedOver => (22, &[]),
            Self::Watch => (25, &[]),
            Self::Seen(id) => (26, &id.0),
            Self::Turns => (27, &[]),
            Self::Classes(id) => (30, &id.0),
            Self::Evidence(id, _) => (14, &id.0),
            Self::Own => (15, &[]),
            Self::Notice(subject) => (16, &subject.0),
            Self::Gaps(id) => (17, &id.0),
            Self::WelcomedBy => (35, &[]),
            Self::Unseen => (36, &[]),
            Self::Hold(id) => (31, &id.0),
            Self::Ciphertexts(id) => (12, &id.0),
            Self::Part(id, _) => (32, &id.0),
            Self::Gone => (33, &[]),
            Self::Place(id) => (37, &id.0),
        };
        let mut bytes = Vec::from([kind]);
        bytes.extend_from_slice(id);
        if let Self::Evidence(_, block) = self {
            bytes.push(block);
        }
        if let Self::Part(_, number) = self {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Reads such a name.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        Some(match kind {
            0 => Self::Meta,
            1 => Self::Op(OpId::from_slice(id)?),
            2 => Self::Card(MemberId::from_slice(id)?),
            3 => Self::Presence(MemberId::from_slice(id)?),
            4 => Self::Topic(id.try_into().ok()?),
            5 => Self::PairSend(MemberId::from_slice(id)?),
            6 => Self::PairReceive(MemberId::from_slice(id)?),
            7 => Self::Bundle(ChainId::from_slice(id)?),
            8 => Self::Chain(ChainId::from_slice(id)?),
            9 => Self::Inits(ChainId::from_slice(id)?),
            10 => Self::Parked(EnvelopeId::from_slice(id)?),
            11 => Self::Receipts,
            20 => Self::Inboxes,
            21 => Self::Inbox(MemberId::from_slice(id)?),
            22 => Self::HandedOver,
            25 => Self::Watch,
            26 => Self::Seen(MemberId::from_slice(id)?),
            27 => Self::Turns,
            30 => Self::Classes(ChainId::from_slice(id)?),
            14 => {
                let (block, id) = id.split_last()?;
                Self::Evidence(ChainId::from_slice(id)?, *block)
            }
            15 => Self::Own,
            16 => Self::Notice(Subject(id.try_into().ok()?)),
            17 => Self::Gaps(ChainId::from_slice(id)?),
            35 => Self::WelcomedBy,
            36 => Self::Unseen,
            31 => Self::Hold(MemberId::from_slice(id)?),
            12 => Self::Ciphertexts(ChainId::from_slice(id)?),
            32 => {
                let (id, number) = id.split_at_checked(32)?;
                let number = u16::from_be_bytes(number.try_into().ok()?);
                Self::Part(MemberId::from_slice(id)?, number)
            }
            33 => Self::Gone,
            37 => Self::Place(ChainId::from_slice(id)?),
            _ => return None,
        })
    }
}
