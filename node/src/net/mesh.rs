//! The main swarm: channels with members, and the streams on which invites are redeemed.
//!
//! One task owns the swarm; each stream has a task of its own, which shakes hands, seals and opens.
//! The caller tells it what to do with [`MeshCommand`]s and learns what happened from
//! [`MeshReport`]s. Commands are always taken, whatever becomes of the reports, so a caller may wait
//! until a command is taken without looking after the reports meanwhile.
//!
//! > At most one channel stands with each member. What is sent to a member without a channel is
//! > lost: the store, not the network, remembers.

mod change;
mod dials;
mod files;
mod joins;
mod lan;
mod latency;
mod members;
mod outers;
mod outside;
mod probes;
mod run;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId};
use protocol::{
    endpoint::Endpoint,
    ids::{MemberId, Timestamp},
    noise::Peer,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use zeroize::Zeroizing;

use super::{BookEntry, FileStream, Outside, Reach, Trouble, change::Change, relay::RelayPeer};

/// What the main swarm is made of.
pub struct Config {
    /// The Ed25519 seed of the node key: its PeerId is on this member's card.
    pub seed: Zeroizing<[u8; 32]>,
    /// Where to listen; with none given, on every interface. TCP and QUIC share a port's number
    /// where they can.
    pub listen: Vec<Multiaddr>,
    /// The port to use where any would do; without, or where it is taken, the system chooses.
    pub port: Option<u16>,
    /// How far the node goes.
    pub reach: Reach,
    /// Whether members' nodes are looked for on the local networks, and those answered who look for this one.
    pub mdns: bool,
    /// Whether members behind NATs are met where relays say that they are, and relays are asked that of this
    /// machine, and whether members behind firewalls are met: not where relays are to see nothing of it.
    pub meets: bool,
    /// This member, to certify the channels' keys and show its card.
    pub me: Arc<Endpoint>,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// Takes the streams on which members fetch files; those for which there is no room end.
    pub fetchers: mpsc::Sender<FileStream>,
}

/// What the swarm is asked to do.
pub enum MeshCommand {
    /// From now on these members and no others may connect and are dialled. Channels with others
    /// are closed.
    Book(Vec<BookEntry>),
    /// Whether unknown PeerIds may come in to redeem an invite.
    OpenForJoins(bool),
    /// The machine's way into the network is another: connections are tried, and who waits is dialled.
    Changed(Change),
    /// This relay is connected: it can tell how this machine looks from outside, now and after a change.
    Look(RelayPeer),
    /// This relay is left: it is not to be asked, and what it said counts no more.
    Unlook(PeerId),
    /// Send a frame of at most 65,000 bytes over the member's channel; lost if there is none.
    Channel {
        /// To whom.
        to: MemberId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Try each way to a member by itself, whatever stands, for a person to see. Each ends in
    /// [`MeshReport::Probed`], and all in [`MeshReport::ProbesOver`].
    Probe {
        /// The caller's number for the question.
        ticket: u64,
        /// To whom.
        member: MemberId,
    },
    /// Open a stream for a file with a member, where a channel stands. Where none can be opened, `answer` is dropped.
    FileOpen {
        /// With whom.
        member: MemberId,
        /// Takes the stream.
        answer: oneshot::Sender<FileStream>,
    },
    /// Dial one of these addresses, all with a PeerId, and open a join stream there. Ends in
    /// [`MeshReport::JoinOpened`] or [`MeshReport::JoinClosed`].
    JoinDial {
        /// The caller's number for the stream, below [`INBOUND`].
        stream: u64,
        /// Multiaddrs as bytes.
        addresses: Vec<Vec<u8>>,
    },
    /// Send a frame of at most 65,535 bytes on a join stream.
    JoinSend {
        /// Which.
        stream: u64,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Close a join stream once what was sent is written.
    JoinClose {
        /// Which.
        stream: u64,
    },
}

/// Join streams that others opened have numbers from here up.
pub const INBOUND: u64 = 1 << 63;

/// What happened.
#[derive(Debug)]
pub enum MeshReport {
    /// All addresses at which this node may be reached now, each with its PeerId.
    Listening(Vec<Multiaddr>),
    /// A channel stands. If one stood with this member already, it is replaced: frames that were
    /// under way may be lost.
    ChannelUp {
        /// With whom, proven.
        peer: Box<Peer>,
        /// The address at the other end of the connection.
        address: Multiaddr,
        /// How that address was known.
        via: Via,
    },
    /// The channel with this member is gone.
    ChannelDown {
        /// With whom.
        member: MemberId,
        /// Why.
        reason: ChannelEnd,
    },
    /// The other end of the member's channel has answered a ping.
    Latency {
        /// Whose channel.
        member: MemberId,
        /// How long it took, there and back.
        took: Duration,
    },
    /// A frame came over the member's channel.
    Frame {
        /// From whom.
        member: MemberId,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// Keys of the member's channel were replaced: told once an hour at most for one channel.
    Rekeyed {
        /// Whose.
        member: MemberId,
        /// How often since it was told last.
        times: u32,
    },
    /// A member could not be reached.
    DialFailed {
        /// Who.
        member: MemberId,
        /// Why.
        reason: DialFailure,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A way that was asked about was tried.
    Probed {
        /// The caller's number.
        ticket: u64,
        /// The address.
        address: Multiaddr,
        /// How it was known.
        via: Via,
        /// How long it took, or why it leads nowhere.
        outcome: Result<ProbeAnswer, DialFailure>,
    },
    /// All ways that were asked about under this number were tried; perhaps there were none.
    ProbesOver {
        /// The caller's number.
        ticket: u64,
        /// What became of them.
        end: ProbesEnd,
    },
    /// How this machine looks from outside now, and under which PeerId members meet it there.
    Outside {
        /// That PeerId, as an address without a place; none where the system gives no ports, and they don't.
        name: Option<Multiaddr>,
        /// What each relay says, where it says something.
        seen: BTreeMap<PeerId, Seen>,
        /// Where members meet it over IPv6, by this machine's own addresses of the internet, with that PeerId.
        six: Vec<Multiaddr>,
    },
    /// On the networks of these addresses of this machine members' nodes are looked for now.
    Lan {
        /// This machine's own addresses.
        networks: Vec<IpAddr>,
        /// Why not on others, where there may be some.
        trouble: Option<Trouble>,
    },
    /// A join stream is open.
    JoinOpened {
        /// Its number: from [`MeshCommand::JoinDial`], or from [`INBOUND`] up.
        stream: u64,
    },
    /// A frame came on a join stream.
    JoinFrame {
        /// Which.
        stream: u64,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// A join stream is gone, or could not be opened. Its number isn't used again.
    JoinClosed {
        /// Which.
        stream: u64,
    },
}

/// How this machine looks from outside, by what one relay says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it says.
    pub outside: Outside,
    /// Whether the address is not this machine's own, so that there is a NAT before it.
    pub is_behind_nat: bool,
    /// What members are told in that case: an address with the PeerId under which they meet it.
    pub met: Option<Multiaddr>,
}

/// How the ways that were asked about ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbesEnd {
    /// All that there are were tried.
    Tried,
    /// Some were not, since others took too long.
    Late,
    /// None was, since too many wait for their turn.
    Crowded,
}

/// A way leads to a member's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// How long the connection took to make, with its handshake.
    pub connected: Duration,
    /// How long a ping took on it, there and back.
    pub took: Duration,
}

/// How the address of a connection was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The other side came from there.
    Called,
    /// The member, or an invite's code, had told it.
    Told,
    /// The member's node answered there on a local network.
    Found,
}

/// Why a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelEnd {
    /// The other side closed it, or the connection broke.
    #[error("the connection was closed")]
    Closed,
    /// The other side took nothing for too long.
    #[error("the other side was too slow")]
    Slow,
    /// The other side sent what is no frame of the channel.
    #[error("the other side broke the protocol")]
    Broken,
    /// The member is no longer in the book.
    #[error("no longer a member")]
    Removed,
    /// Another channel with the member took its place.
    #[error("replaced by another channel")]
    Replaced,
}

/// Why a member could not be reached: of several ways, what the one that came furthest met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DialFailure {
    /// No way leads there: no route, or no address that can be dialled.
    #[error("no route to the address")]
    Unreachable,
    /// Nobody answered.
    #[error("no answer")]
    TimedOut,
    /// Nothing listens there, or whoever does turned this node away.
    #[error("refused")]
    Refused,
    /// Another node answered.
    #[error("another node answers at the address")]
    WrongPeer,
    /// It answered, and was left.
    #[error("as many connections with it stand as this node keeps")]
    Full,
}

/// Why the swarm could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A transport could not be made.
    #[error("the transport could not be made")]
    Transport,
    /// Nothing can listen there.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// Why.
        reason: std::io::Error,
    },
}

/// A running swarm. When the task ends, for whatever reason, the node must end.
pub struct Mesh {
    /// Takes what it shall do.
    pub commands: mpsc::Sender<MeshCommand>,
    /// Gives what happened.
    pub reports: mpsc::Receiver<MeshReport>,
    /// Ends when `commands` is dropped, and otherwise never.
    pub task: JoinHandle<()>,
}

/// Starts listening, and the task. Must be called inside a tokio runtime.
pub fn spawn(config: Config) -> Result<Mesh, SpawnError> {
    run::spawn(config)
}

#[cfg(test)]
mod tests;
