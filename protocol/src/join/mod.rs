//! Redeeming an invite: the same frames over a direct stream and over the invite's relay mailbox
//! (docs/spec/invite.md).
//!
//! > The joiner says who it is to nobody but an admin of the group that its code names. The host
//! > says who it is to nobody who doesn't know the invite: holders of the code, and members, to whom
//! > its record is published. Neither explains a refusal of bytes.
//!
//! ```text
//! joiner                                                           host, an admin's node
//! Joiner::start ────── msg1 (psk0 of the invite) ──────────────▶ Host::accept
//! Joiner::on_frame ◀── msg2: ident, [op…] Genesis to Promote ─── Host
//!   proves_admin(ops, prefix in the code, host) → the group
//! ──────────────────── msg3: ident, join proof ────────────────▶ Host::on_frame → JoinRequest
//! Joiner::on_frame ◀── sealed: Pending | Page… | Refused ─────── Admission
//! ```
//!
//! Join proof = Ed25519(invite's key, "wt1/join\0" ‖ gid32 ‖ invite16 ‖ joiner32 ‖
//! BLAKE2b-256("wt1 card id", signed card) ‖ h32), where h32 is the handshake hash up to and with
//! msg2, cut to 32 bytes. It covers the host's fresh ephemeral key, so a proof is of one handshake;
//! it doesn't yet cover msg3, in which it travels. The Admit op carries it, for all members to check.
//!
//! Answers are strict CBOR: [0, []] pending, [1, [pages left u16, bytes]] a page of the welcome,
//! [2, [reason u8]] refused.

mod host;
mod joiner;
pub mod letter;
pub mod mailbox;
mod request;

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use crate::{
    membership::NotAdmin,
    noise::{HandshakeError, OpenError, SealError},
};

pub use host::{Admission, Host, JoinRequest, Offer};
pub use joiner::{JoinStep, Joiner};
pub use request::{Request, session};

/// How far a join is, for people to see. A stage implies those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// The relay, or the inviter's node, took the first frame. The caller knows this; nothing here
    /// returns it.
    RelayReached,
    /// Somebody answered who is an admin of the group in the code.
    InviterFound,
    /// The channel is open on this side.
    ChannelOpen,
    /// The host took the proof, and answered on the channel.
    InviteProven,
    /// The whole welcome is here.
    KeysReceived,
}

/// Why a host that knows the joiner's invite lets it go away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, thiserror::Error)]
#[cbor(index_only)]
pub enum RefusedReason {
    /// Its uses are used up.
    #[n(0)]
    #[error("the invite was used already")]
    Used,
    /// It ended.
    #[n(1)]
    #[error("the invite has expired")]
    Expired,
    /// It was taken back.
    #[n(2)]
    #[error("the invite was revoked")]
    Revoked,
    /// The group has as many members as it may have.
    #[n(3)]
    #[error("the group is full")]
    Full,
    /// A person said no.
    #[n(4)]
    #[error("the request was denied")]
    Denied,
    /// The joiner is in the group.
    #[n(5)]
    #[error("you are a member already")]
    AlreadyMember,
    /// Not now: try again later.
    #[n(6)]
    #[error("the inviter can't admit anybody at the moment")]
    Unavailable,
    /// So many wait already for a person's word that no more are kept. Try again later.
    #[n(7)]
    #[error("too many wait to be approved")]
    TooMany,
}

/// Why a join ended. For this side's log and person; the peer is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// A handshake message, or the ident in it, doesn't hold.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Whoever answered is no admin of the group that the code names.
    #[error("whoever answered is no admin of the group in the invite")]
    NotAdmin(#[from] NotAdmin),
    /// The joiner doesn't hold the invite's secret, or the proof is of another handshake.
    #[error("the invite is not proven")]
    Proof,
    /// A frame that isn't the channel's next one.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A frame can't be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The frame opens, but holds nothing that is expected here.
    #[error("not an answer to a join")]
    Malformed,
    /// More bytes than a frame or a welcome may have.
    #[error("{bytes} bytes where {max} are allowed")]
    TooLong {
        /// How many.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// What the host sends on the open channel.
#[derive(Encode, Decode)]
enum Answer {
    #[n(0)]
    Pending,
    #[n(1)]
    Page {
        #[n(0)]
        left: u16,
        #[cbor(n(1), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    #[n(2)]
    Refused {
        #[n(0)]
        reason: RefusedReason,
    },
}

/// Bytes of the welcome in one page: sealed, it fits an entry of the mailbox.
const PAGE: usize = 30 * 1024;

#[cfg(test)]
mod letter_tests;
#[cfg(test)]
mod tests;
