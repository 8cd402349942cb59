//! What an entry can tell, and its numbers on the wire.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::{
    codec,
    ids::{ChainId, Incarnation, InviteId, MemberId, OpId, Timestamp},
    membership::Cut,
    sign::Signature,
};

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Fact {
    /// 0: all that came before, signed.
    #[n(0)]
    Checkpoint(#[n(0)] Signature),
    /// 1: a run of the node took the log up.
    #[n(1)]
    Began(#[n(0)] Incarnation),
    /// 2: a channel to a member stands.
    #[n(2)]
    Handshake(#[n(0)] MemberId),
    /// 3: with this certificate: the static key that it is for, and until when.
    #[n(3)]
    Certificate {
        /// Whose.
        #[n(0)]
        member: MemberId,
        /// The key that it certifies.
        #[cbor(n(1), with = "minicbor::bytes")]
        key: [u8; 32],
        /// Until when.
        #[n(2)]
        until: Timestamp,
    },
    /// 4: this node made a chain.
    #[n(4)]
    ChainMade {
        /// The chain.
        #[n(0)]
        chain: ChainId,
        /// Why.
        #[n(1)]
        reason: RotationReason,
        /// To how many others it is sealed.
        #[n(2)]
        recipients: u32,
    },
    /// 5: a chain of somebody's was opened by the slot for this node.
    #[n(5)]
    ChainOpened {
        /// Whose.
        #[n(0)]
        member: MemberId,
        /// The chain.
        #[n(1)]
        chain: ChainId,
        /// The head of that member's own audit log, as its bundle says.
        #[cbor(n(2), with = "minicbor::bytes")]
        audit_head: [u8; 16],
    },
    /// 6: an own chain came to its end.
    #[n(6)]
    ChainClosed {
        /// The chain.
        #[n(0)]
        chain: ChainId,
        /// How many messages it carried.
        #[n(1)]
        count: u32,
    },
    /// 7: the slot for this node did not open; its sender was told.
    #[n(7)]
    SlotFailed {
        /// Whose.
        #[n(0)]
        member: MemberId,
        /// The chain.
        #[n(1)]
        chain: ChainId,
    },
    /// 8: somebody says that its slot in a chain of this node's does not open.
    #[n(8)]
    SlotRefused {
        /// Who.
        #[n(0)]
        member: MemberId,
        /// The chain.
        #[n(1)]
        chain: ChainId,
    },
    /// 9: an op counts.
    #[n(9)]
    OpAccepted {
        /// Which.
        #[n(0)]
        op: OpId,
        /// Its kind.
        #[n(1)]
        kind: u8,
        /// Who made it.
        #[n(2)]
        author: MemberId,
    },
    /// 10: an op does not count, or not any more.
    #[n(10)]
    OpVoid {
        /// Which.
        #[n(0)]
        op: OpId,
        /// Its kind.
        #[n(1)]
        kind: u8,
        /// Who made it.
        #[n(2)]
        author: MemberId,
        /// Why.
        #[n(3)]
        why: VoidReason,
    },
    /// 11: what a removal leaves of the removed member's chains.
    #[n(11)]
    RemovalCut {
        /// Who was removed.
        #[n(0)]
        member: MemberId,
        /// The last index that counts, of each chain.
        #[n(1)]
        cut: Vec<Cut>,
    },
    /// 12: an invite was published.
    #[n(12)]
    InviteCreated {
        /// Which.
        #[n(0)]
        invite: InviteId,
        /// How often it may be used.
        #[n(1)]
        max_uses: u32,
        /// Until when.
        #[n(2)]
        expires: Timestamp,
    },
    /// 13: somebody came by an invite.
    #[n(13)]
    InviteUsed {
        /// Which.
        #[n(0)]
        invite: InviteId,
        /// Who came.
        #[n(1)]
        member: MemberId,
    },
    /// 14: an invite was taken back.
    #[n(14)]
    InviteRevoked(#[n(0)] InviteId),
    /// 15: somebody signed two different things with one number.
    #[n(15)]
    Equivocation(#[n(0)] MemberId),
    /// 16: somebody's keys seem to be in use twice.
    #[n(16)]
    Clone(#[n(0)] MemberId),
    /// 17: this node's state is older than what the others know of it.
    #[n(17)]
    Rollback,
    /// 18: the keys of a member's channels were replaced, so often since this was told last.
    #[n(18)]
    Rekey {
        /// Whose.
        #[n(0)]
        member: MemberId,
        /// How often, in both directions.
        #[n(1)]
        times: u32,
    },
    /// 19: a person compared a member's key, or took that back.
    #[n(19)]
    Verified {
        /// Whose.
        #[n(0)]
        member: MemberId,
        /// Whether it holds from now on.
        #[n(1)]
        verified: bool,
    },
    /// 20: history was shared with the group.
    #[n(20)]
    HistoryShared {
        /// By whom.
        #[n(0)]
        by: MemberId,
        /// How many messages.
        #[n(1)]
        count: u32,
    },
    /// 21: to whom a chain that this node made is sealed, as what is different from an earlier one. Of a chain without
    /// this it is the same as of the one that was made before it.
    #[n(21)]
    Sealed {
        /// The chain.
        #[n(0)]
        chain: ChainId,
        /// The earlier one; none where all are named; the chain itself where it goes on from the entry before.
        #[n(1)]
        since: Option<ChainId>,
        /// Who can open this one and could not open that one.
        #[n(2)]
        with: Vec<MemberId>,
        /// Who could open that one and can't open this one.
        #[n(3)]
        without: Vec<MemberId>,
    },
    /// Any other number, with its arguments as they are.
    #[n(255)]
    Other {
        /// The number.
        #[n(0)]
        event: u8,
        /// One CBOR item.
        #[cbor(n(1), with = "minicbor::bytes")]
        args: Vec<u8>,
    },
}

/// Why a sender makes a new chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum RotationReason {
    /// 0: the first one of this membership.
    #[n(0)]
    First,
    /// 1: other people are members now.
    #[n(1)]
    Roster,
    /// 2: the chain is full.
    #[n(2)]
    Count,
    /// 3: the chain is a day old.
    #[n(3)]
    Age,
    /// 4: the process began anew.
    #[n(4)]
    Restart,
    /// 5: a Refresh asks for it.
    #[n(5)]
    Refresh,
    /// 6: a recipient could not open its slot.
    #[n(6)]
    SlotNack,
    /// 7: a member was out of reach for longer than the policy says.
    #[n(7)]
    Disconnect,
    /// 8: in a conversation of two, the other one spoke.
    #[n(8)]
    Turn,
    /// 9: somebody left or was removed and came back.
    #[n(9)]
    Return,
    /// 10: this node removed somebody, or began a new topic.
    #[n(10)]
    Renewal,
    /// 11: a member lacks the topic's secret.
    #[n(11)]
    HandOver,
    /// 12: what only admins may say, by who was none when the chain began.
    #[n(12)]
    Rights,
}

/// Why an op does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum VoidReason {
    /// 0: its author's right was taken by somebody senior who did not know of the op.
    #[n(0)]
    Revoked,
    /// 1: what gave its author the right does not count itself.
    #[n(1)]
    Grant,
    /// 2: the invite was revoked, used up or void.
    #[n(2)]
    Invite,
    /// 3: another reason.
    #[n(3)]
    Other,
}

impl Fact {
    /// The event's number.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.parts().0
    }

    /// A word for what happened.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint",
            Self::Began(_) => "began",
            Self::Handshake(_) => "handshake",
            Self::Certificate { .. } => "certificate",
            Self::ChainMade { .. } => "chain-made",
            Self::ChainOpened { .. } => "chain-opened",
            Self::ChainClosed { .. } => "chain-closed",
            Self::SlotFailed { .. } => "slot-failed",
            Self::SlotRefused { .. } => "slot-refused",
            Self::OpAccepted { .. } => "op-accepted",
            Self::OpVoid { .. } => "op-void",
            Self::RemovalCut { .. } => "removal-cut",
            Self::InviteCreated { .. } => "invite-created",
            Self::InviteUsed { .. } => "invite-used",
            Self::InviteRevoked(_) => "invite-revoked",
            Self::Equivocation(_) => "equivocation",
            Self::Clone(_) => "clone",
            Self::Rollback => "rollback",
            Self::Rekey { .. } => "rekey",
            Self::Verified { .. } => "verified",
            Self::HistoryShared { .. } => "history-shared",
            Self::Sealed { .. } => "sealed",
            Self::Other { .. } => "other",
        }
    }

    /// Its number and its arguments: one CBOR array.
    pub(super) fn parts(&self) -> (u8, Vec<u8>) {
        if let Self::Other { event, args } = self {
            return (*event, args.clone());
        }
        let whole = codec::encode(self);
        // An enum is written as [number, [arguments]], and each number here is below 24.
        let (number, args) = (whole.get(1), whole.get(2..));
        (number.copied().unwrap_or(u8::MAX), args.unwrap_or_default().into())
    }

    pub(super) fn of(event: u8, args: &[u8]) -> Self {
        let mut whole = Vec::from([0x82, event]);
        whole.extend_from_slice(args);
        match codec::decode(&whole) {
            Ok(fact) if event < 24 => fact,
            _ => Self::Other { event, args: args.into() },
        }
    }
}

impl RotationReason {
    /// A word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Roster => "roster",
            Self::Count => "count",
            Self::Age => "age",
            Self::Restart => "restart",
            Self::Refresh => "refresh",
            Self::SlotNack => "slot-nack",
            Self::Disconnect => "disconnect",
            Self::Turn => "turn",
            Self::Return => "return",
            Self::Renewal => "renewal",
            Self::HandOver => "hand-over",
            Self::Rights => "rights",
        }
    }
}
