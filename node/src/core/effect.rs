//! What the core asks of the network: hints, made again after a restart from what is stored.

use bytes::Bytes;
use protocol::{
    ids::{LogId, MemberId},
    relay_log::Cursor,
};

use crate::{
    api::types::Event,
    net::{
        BookEntry,
        relay::{LogPlan, RelayKey, RelayPeer},
    },
};

/// A piece of work for the network.
#[derive(Debug)]
pub enum Effect {
    /// Tell who listens now; nobody hears of it later.
    Live(Box<Event>),
    /// Be connected to this relay, with exactly these logs open. Takes the place of the plan before
    /// it.
    RelayPlan(RelayPeer, Vec<LogPlan>),
    /// Follow a log of the relay's plan from this place, whatever was read of it. What waits to be
    /// appended there goes on waiting.
    FollowAnew {
        /// The relay.
        relay: RelayKey,
        /// The log.
        log: LogId,
        /// The place, or the log's start.
        after: Option<Cursor>,
    },
    /// Leave this relay, and forget what was to be appended there.
    RelayDrop(RelayKey),
    /// Append an entry to a log of the relay's plan; answered by `Appended` or `Refused`. The
    /// relay's client keeps it over reconnects.
    Append {
        /// The relay.
        relay: RelayKey,
        /// The log.
        log: LogId,
        /// Repeated in the answer.
        tag: u64,
        /// A padded envelope.
        entry: Bytes,
    },
    /// Have a relay delete what is up to a place in one of this node's inboxes; lost if it is not
    /// connected to the end of it, and asked for again in time.
    Trim {
        /// The relay.
        relay: RelayKey,
        /// The log.
        log: LogId,
        /// The place.
        cursor: Cursor,
    },
    /// Who may connect, and where each may be dialled. Takes the place of the book before it.
    Book(Vec<BookEntry>),
    /// Hand a frame to a member's channel; lost if none stands.
    Channel {
        /// To whom.
        to: MemberId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Try each way to a member by itself; answered by `on_probed`, and at last by `on_probes_over`.
    Probe {
        /// Names the question.
        ticket: u64,
        /// To whom.
        member: MemberId,
    },
    /// Open a stream for a join to one of these addresses; answered by `on_join_open` or
    /// `on_join_closed`.
    JoinDial {
        /// Names the stream: below [`crate::net::mesh::INBOUND`].
        stream: u64,
        /// Binary multiaddrs with `/p2p`, the most promising first.
        addresses: Vec<Vec<u8>>,
    },
    /// Send a frame on a join's stream.
    JoinSend {
        /// The stream.
        stream: u64,
        /// The frame, at most 32,768 bytes.
        frame: Vec<u8>,
    },
    /// End a join's stream, after what was sent on it has left.
    JoinClose {
        /// The stream.
        stream: u64,
    },
    /// Whether strangers may connect to redeem an invite.
    OpenForJoins(bool),
    /// There are new events: this is the last one's `seq`.
    Woken(u64),
}

impl Effect {
    /// How many bytes it carries.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Append { entry, .. } => entry.len(),
            Self::Channel { frame, .. } | Self::JoinSend { frame, .. } => frame.len(),
            _ => 0,
        }
    }
}
