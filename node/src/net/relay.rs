//! The client of a relay's log service: one task per relay, told a plan, reporting what comes.
//!
//! Each connection is a throw-away swarm with a fresh PeerId, so that a relay can't tell that two
//! connections are one node's (docs/spec/relay-log.md).
//!
//! > After a reconnect a log is followed from the last cursor that was *reported*, and appends
//! > without an answer are sent again: nothing is skipped, and a repeated append is the same entry.

mod backoff;
mod client;
mod dial;
mod ledger;
mod proxy;
mod ways;

use std::{str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId, identity::PublicKey, multiaddr::Protocol};
use protocol::{
    ids::LogId,
    relay_log::{Cursor, LogKeys, Refusal, RelayToken},
};
use tokio::{sync::mpsc, task::JoinHandle};

use client::{Client, Stopped};

pub(super) use dial::reach;
pub use proxy::{Proxy, ProxyFault, ProxySyntax};

/// A relay's key: its libp2p PeerId.
pub type RelayKey = PeerId;

/// A client of a relay: by the number that its maker gave it, it is told from those before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientId {
    /// The relay.
    pub relay: RelayKey,
    /// The number.
    pub number: u64,
}

/// What logs are opened under, where a relay wants tokens: the hash of one, or none.
pub type Under = Option<[u8; 32]>;

/// A relay and where it may be met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayPeer {
    /// The key that it must prove.
    pub peer_id: RelayKey,
    /// Where to dial, without `/p2p`.
    pub addrs: Vec<Multiaddr>,
}

/// What the client is asked to do.
#[derive(Clone, Debug)]
pub enum RelayCommand {
    /// The whole set of logs wanted from now on: new ones are opened and followed, those that are
    /// missing are closed.
    Plan(Vec<LogPlan>),
    /// Follows a log of the plan from this place, whatever was reported of it; its appends wait on.
    FollowAnew {
        /// The log.
        log: LogId,
        /// The place, or the log's start.
        after: Option<Cursor>,
    },
    /// Appends an entry; answered by one [`RelayReport::Appended`] or [`RelayReport::Refused`],
    /// however many connections that takes. Waits while its log is in no plan yet.
    Append {
        /// The log.
        log: LogId,
        /// Chosen by the caller, repeated in the answer.
        tag: u64,
        /// One of [`protocol::limits::BUCKETS`] bytes.
        entry: Bytes,
    },
    /// Has the relay delete what is up to a place of a log, if the plan has its trim key; answered
    /// by [`RelayReport::Trimmed`] where it comes to that, and lost with the connection.
    Trim {
        /// The log.
        log: LogId,
        /// The place.
        cursor: Cursor,
    },
    /// The machine's way into the network is another: a wait for the next attempt ends soon, an attempt is
    /// begun anew, and a connection that stands has to show that it does.
    Changed,
    /// Ends the task, as closing the channel does.
    Stop,
}

/// A log that is wanted: followed if its read key is held, open for appends if its write key is,
/// and for trimming if its trim key is.
#[derive(Clone, Debug)]
pub struct LogPlan {
    /// Its capabilities.
    pub keys: Arc<LogKeys>,
    /// Where to follow from when the log is new to the plan; later plans don't move it.
    pub after: Option<Cursor>,
    /// Where from, if there is no such place. A later plan can have it read from its start, if nothing of it was yet.
    pub begin: Begin,
    /// What is shown before it is opened, to a relay that wants tokens and to no other. With another
    /// one the log is opened again.
    pub token: Option<RelayToken>,
}

/// Where a log is followed from of which nothing was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// From its start.
    Start,
    /// From the first entry that is appended here, and not before one is: what was there is not for this node.
    OwnFirst,
}

impl Begin {
    /// From its start where either says so.
    fn or(self, other: Self) -> Self {
        if self == Self::Start { self } else { other }
    }
}

/// What happened at a relay. The channel is bounded and waited for: a reader that stops reading
/// stops the relay's sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RelayReport {
    /// Connected, and the relay said hello; where it wants tokens, it has taken one.
    Up {
        /// Whether logs are opened under tokens only: [`RelayReport::Token`] tells under which.
        wants_token: bool,
        /// How long it says that it keeps an entry; zero: it passes on and keeps nothing.
        keeps: Duration,
    },
    /// A relay that wants tokens has said how it stands with one, or none was there to be shown.
    Token {
        /// Which.
        under: Under,
        /// Why the logs under it stay closed; `None`: it was taken.
        fault: Option<TokenFault>,
    },
    /// Not connected.
    Down {
        /// Why.
        reason: DownReason,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// The relay has answered a ping.
    Latency {
        /// How long it took, there and back.
        took: Duration,
    },
    /// Entries of a log, in order.
    Entries {
        /// The log.
        log: LogId,
        /// At least one.
        entries: Vec<Bytes>,
        /// The place after the last: to be kept in the same transaction as what they carried.
        cursor: Cursor,
    },
    /// Everything that the relay had of this log has been reported.
    CaughtUp {
        /// The log.
        log: LogId,
        /// Its end.
        cursor: Cursor,
    },
    /// The entry is on the relay's disk.
    Appended {
        /// Of the command.
        tag: u64,
        /// Its place, as the relay says.
        cursor: Cursor,
    },
    /// The entry was not appended, and the client tries no more.
    Refused {
        /// Of the command.
        tag: u64,
        /// Why.
        reason: Refusal,
    },
    /// The log could not be opened or followed on this connection.
    LogRefused {
        /// The log.
        log: LogId,
        /// Why.
        reason: Refusal,
    },
    /// Of what came after the place to follow from, all up to this one is deleted at the relay.
    Begins {
        /// The log.
        log: LogId,
        /// The place.
        cursor: Cursor,
    },
    /// The relay says that it has trimmed a log.
    Trimmed {
        /// The log.
        log: LogId,
        /// The log begins after this place.
        cursor: Cursor,
    },
    /// The relay no longer knows the cursor; the log is now read from its start.
    CursorGone {
        /// The log.
        log: LogId,
    },
}

/// Why there is no connection, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DownReason {
    /// No address answers.
    #[error("the relay can't be reached")]
    Unreachable,
    /// Something answers within no useful time.
    #[error("the relay did not answer in time")]
    TimedOut,
    /// Who answers at the relay's address has another key.
    #[error("the relay at this address has another key than the one expected")]
    WrongKey,
    /// Who answers is no relay of a version that this node speaks to, or takes no more connections.
    #[error("the relay refused the connection")]
    Refused,
    /// A connection that stood broke.
    #[error("the connection to the relay was lost")]
    Lost,
    /// The relay said that it ends, and when to come back.
    #[error("the relay is being restarted")]
    Leaving,
    /// It serves holders of its operator's tokens only, and takes none of those that there are.
    #[error("{0}")]
    NoToken(TokenFault),
    /// It is to be reached by way of a proxy alone, which leads nowhere.
    #[error("{0}")]
    Proxy(ProxyFault),
    /// The relay broke the rules of the wire.
    #[error("the relay does not follow the protocol")]
    Misbehaved,
}

/// Why a relay that wants tokens opens no log under one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenFault {
    /// There is none.
    #[error("the relay wants a token")]
    Missing,
    /// It was never given out there, has run out, or was taken back: which, the relay doesn't say.
    #[error("the relay does not take the token, or no longer")]
    Refused,
    /// As much goes on under it as it grants.
    #[error("what the relay's token grants is in use")]
    Spent,
}

/// An address that names no relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayAddrError {
    /// No multiaddr.
    #[error("not a multiaddr; one looks like /ip4/192.0.2.1/tcp/4407/p2p/12D3…")]
    Malformed,
    /// The part after `/p2p/` is missing.
    #[error("the relay's key is missing: the address must end in /p2p/ and its PeerId")]
    NoKey,
    /// The PeerId holds no key.
    #[error("the part after /p2p/ is no relay's key: it is cut off or mistyped")]
    BadKey,
    /// Addresses that were given together name different relays.
    #[error("the addresses name different relays")]
    Several,
}

impl RelayPeer {
    /// One relay from its addresses, each ending in the same `/p2p/…`.
    pub fn from_addrs<'a>(
        addrs: impl IntoIterator<Item = &'a Multiaddr>,
    ) -> Result<Self, RelayAddrError> {
        let mut relay: Option<Self> = None;
        for addr in addrs {
            let mut addr = addr.clone();
            let Some(Protocol::P2p(peer_id)) = addr.pop() else {
                return Err(RelayAddrError::NoKey);
            };
            if !holds_key(&peer_id) {
                return Err(RelayAddrError::BadKey);
            }
            let relay = relay.get_or_insert(Self { peer_id, addrs: Vec::new() });
            if relay.peer_id != peer_id {
                return Err(RelayAddrError::Several);
            }
            relay.addrs.push(addr);
        }
        relay.ok_or(RelayAddrError::NoKey)
    }
}

/// Whether somebody can have this PeerId: it is a hash of a key, or a whole one.
fn holds_key(peer: &PeerId) -> bool {
    const IDENTITY: u64 = 0;
    let hash = peer.as_ref();
    hash.code() != IDENTITY || PublicKey::try_decode_protobuf(hash.digest()).is_ok()
}

/// Reads one address as a relay prints it: `/ip4/192.0.2.1/tcp/4407/p2p/12D3…`.
impl FromStr for RelayPeer {
    type Err = RelayAddrError;

    fn from_str(text: &str) -> Result<Self, RelayAddrError> {
        let addr: Multiaddr = text.parse().map_err(|_| RelayAddrError::Malformed)?;
        Self::from_addrs([&addr])
    }
}

/// Starts the client of one relay, of this number, which goes through the proxy if there is one. It ends on [`RelayCommand::Stop`], or when either
/// channel is closed; what it has reported by then may be taken later.
pub fn spawn(
    relay: RelayPeer,
    number: u64,
    proxy: Option<Proxy>,
    commands: mpsc::Receiver<RelayCommand>,
    reports: mpsc::Sender<(ClientId, RelayReport)>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Err(Stopped) = Client::new(relay, number, proxy, commands, reports).run().await;
    })
}
