//! Every bound on what clients can make a relay hold or do, in one place.
//!
//! What one connection can make a relay hold, at the defaults, in KiB:
//!
//! | what | TCP | QUIC |
//! |---|---|---|
//! | received and not read: 24 streams of 256, half of them for circuits; 2 MiB over QUIC | 6144 | 2048 |
//! | packets of QUIC in which it lies, which quinn lets be one and a half times as much | 0 | 3072 |
//! | frames of Yamux: 64 bytes for each of [`UNREAD_FRAMES`]; 32 for as many as a stream ever had | 1664 | 0 |
//! | the frame that comes | 256 | 0 |
//! | a request being read and decoded | 66 | 66 |
//! | answers: 128 small ones, a page read, one encoded, one in the framing | 224 | 224 |
//! | 256 logs open and followed | 80 | 80 |
//! | sent and not acknowledged: Yamux's queue; quinn's window of 10 MB, which libp2p does not set | 256 | 9766 |
//! | together, about | 8.5 MiB | 15 MiB |
//!
//! A client that reads what it gets costs about 85 KiB. The appends of all clients that wait for the
//! disk are 32 MiB in the queue and 4 MiB in a batch, and each page being read from the disk is 64
//! KiB, 16 at once. So the worst that one address can do is [`Limits::per_ip`] times 15 MiB, 7.5 GiB; a
//! small machine that is open to the world lives better with a memory limit from its supervisor, below
//! which [`Limits::memory`] keeps it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{settings::units, store::Quota};

pub use crate::settings::units::Mark;

/// What a relay grants. [`Limits::default`] suits a small machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections that stand.
    pub connections: u32,
    /// Connections that are being made: handshakes under way.
    pub handshakes: u32,
    /// Handshakes under way with one IPv4 address or one IPv6 /64: one alone can't take all.
    #[serde(rename = "handshakes_per_address")]
    pub handshakes_per_ip: u32,
    /// Bytes of memory above which no more connections are taken, and some are closed if it stays; by itself 80 % of what the control
    /// group may use, if that is bounded.
    pub memory: Mark,
    /// Open files above which none are taken; by itself 90 % of what the process may open.
    pub files: Mark,
    /// Connections of one PeerId.
    #[serde(rename = "connections_per_peer")]
    pub per_peer: u32,
    /// Connections from one IPv4 address or one IPv6 /64, made or being made.
    #[serde(rename = "connections_per_address")]
    pub per_ip: u32,
    /// Logs open at once on one stream.
    pub logs: u32,
    /// Appends without an answer on one stream; then the stream is read no further.
    pub appends_waiting: usize,
    /// Requests per second on one stream, in the long run; faster ones wait.
    pub requests_per_s: u32,
    /// Requests that a stream may make at once after a rest.
    pub requests_burst: u32,
    /// Bytes per second on one stream, in the long run.
    #[serde(with = "units::bytes")]
    pub bytes_per_s: u32,
    /// Bytes that a stream may send at once after a rest.
    #[serde(with = "units::bytes")]
    pub bytes_burst: u32,
    /// Bytes that all connections from one IPv4 address or one IPv6 /64 may append together within
    /// [`Self::address_time`], and [`WIDE_BLOCK`] times as many from one IPv6 /48; more are refused for a
    /// while.
    #[serde(with = "units::bytes")]
    pub address_bytes: u32,
    /// See [`Self::address_bytes`].
    #[serde(with = "units::time")]
    pub address_time: Duration,
    /// Bytes of entries per second that all connections from one IPv4 address or one IPv6 /64 are told
    /// together, in the long run, and [`WIDE_BLOCK`] times as many those from one IPv6 /48; what goes
    /// beyond waits.
    #[serde(with = "units::bytes")]
    pub address_delivered_per_s: u32,
    /// Bytes that they may be told at once after a rest.
    #[serde(with = "units::bytes")]
    pub address_delivered_burst: u32,
    /// Bytes that may be appended under one token in a day of UTC; this and the next three hold where
    /// the relay serves holders of tokens, and where the token says nothing else.
    #[serde(with = "units::bytes")]
    pub token_bytes_per_day: u64,
    /// Bytes per second that may be appended under one token, in the long run.
    #[serde(with = "units::bytes")]
    pub token_bytes_per_s: u32,
    /// Logs open at once under one token.
    pub token_logs: u32,
    /// Connections that use one token at once.
    pub token_connections: u32,
    /// How long an entry is kept.
    #[serde(with = "units::time")]
    pub ttl: Duration,
    /// How much is kept.
    pub quota: Quota,
    /// Appends of all clients that wait for the disk; beyond it they are refused for a moment.
    pub append_queue: usize,
    /// Reads of the store at once.
    pub reads: usize,
    /// Circuits between two clients that stand. None unless the operator says so: anybody who reaches
    /// the relay may ask for them.
    pub circuits: u32,
    /// Circuits that one client may have made. Of those that lead to it, one connected by TCP has at most
    /// eight more; over QUIC it says itself how many.
    pub circuits_per_peer: u32,
    /// How long a circuit stands.
    #[serde(with = "units::time")]
    pub circuit_time: Duration,
    /// Bytes that a circuit carries, both ways together.
    #[serde(with = "units::bytes")]
    pub circuit_bytes: u64,
    /// Clients to whom circuits may be made.
    pub reservations: u32,
    /// Circuits and reservations that clients from one IPv4 address or one IPv6 /64 may ask for in a minute,
    /// each.
    pub circuits_per_min: u32,
    /// A connection on which no stream was opened is closed after this time.
    #[serde(with = "units::time")]
    pub idle: Duration,
    /// How often a connection is tried.
    #[serde(with = "units::time")]
    pub ping_interval: Duration,
    /// How long it may take to answer; then the connection is closed.
    #[serde(with = "units::time")]
    pub ping_timeout: Duration,
}

/// Addresses, and IPv6 /48s, of which it is remembered what they appended and asked for: half a KiB each, and
/// four bytes more for each stream of a cluster.
pub const BUDGETS: usize = 65_536;

/// How many times as fast as one stream, and as much at once, all streams of one address together may
/// ask.
pub const ADDRESS_PACE: u32 = 4;

/// How long a stream waits at most between two requests for what others of its address ask for.
pub const ADDRESS_WAIT: Duration = Duration::from_secs(1);

/// One address may fill this part of a lane's queue of appends, and more for as long as [`QUEUE_KEPT`] is free.
/// A store on a disk is one lane; on a cluster each stream is one, with its part of [`Limits::append_queue`].
pub const QUEUE_SHARE: usize = 8;

/// This part of a lane's queue is for those who have not filled their own. On a disk a whole commit fits into the
/// rest, so that one address, if nobody else comes, has all that the disk can do. On a cluster a stream's queue
/// is shorter than that, and so are its commits.
pub const QUEUE_KEPT: usize = 4;

/// One address may have this part of the reads at once; those that follow wait in a line of their own.
pub const READS_SHARE: usize = 2;

/// Bytes of entries that a stream is told each second however much others of its address are told: half a
/// thousand streams together as much as an address has by itself.
pub const DELIVERED_LEAST: u32 = 16 << 10;

/// How often it is said in the log that clients' requests fail at the store: each could cause a line.
pub const FAILURES_SAID: Duration = Duration::from_secs(60);

/// How many times what an address may, in connections, handshakes, requests and bytes, the IPv6 /48 around
/// it may.
pub const WIDE_BLOCK: u32 = 4;

/// Connections beyond [`Limits::connections`] that are being closed for newcomers.
pub const LEAVING: u32 = 64;

/// How long a caller may be silent before its first byte: one that says nothing holds a handshake's
/// place.
pub const FIRST_BYTE: Duration = Duration::from_secs(3);

/// Frames of one connection over TCP that may be unread; with so many the stream that has most of them is
/// reset. Each costs Yamux 64 bytes beside what is in it, however little that is. A full window of frames
/// of 128 bytes and more never meets it.
pub const UNREAD_FRAMES: usize = 2048;

/// Streams that a client may open on a connection at once after a rest, and then one a second; where there
/// are circuits, twice [`Limits::circuits_per_min`] more at once and so many times as fast. One more ends the connection. A
/// client of ours opens two or three.
pub const OPENED: u32 = 32;

/// Pings of a client that are answered at once on one stream after a rest, and then one a second.
pub const PINGS: u32 = 8;

/// Which part of [`Limits::circuits`] clients from one address may have asked for of those that stand, but where
/// there are few.
pub const CIRCUITS_SHARE: u32 = 16;
/// The least that it is, where few circuits are granted.
pub const CIRCUITS_LEAST: u32 = 8;

/// How many times [`Limits::ping_timeout`] a client may take nothing of what it is sent; then its connection
/// is closed.
pub const STUCK: u32 = 3;

/// Tokens of one relay.
pub const TOKENS: usize = 10_000;

/// Characters of a token's label.
pub const TOKEN_LABEL: usize = 64;

/// How often it is looked whether the list of tokens has changed, and whether one has run out.
pub const TOKENS_CHECK: Duration = Duration::from_secs(1);

/// How often it is written down what was used of tokens today; a crash forgives what came since.
pub const USAGE_KEPT: Duration = Duration::from_secs(10);

/// When to try again where a token has as many connections or logs as it grants.
pub const TOKEN_RETRY: Duration = Duration::from_secs(30);

/// How many requests one `Open` counts for: checking its proofs is what costs most.
pub const OPEN_COST: u32 = 15;

/// Opens of one stream whose proofs may fail; one more ends it. A client of ours has none.
pub const BAD_PROOFS: u32 = 16;

/// Answers waiting to be written on one stream, beyond which it is read no further.
pub const ANSWERS_WAITING: usize = 64;

/// Readers at once for whom the others of a cluster are asked how far they are.
pub const CATCH_UPS: usize = 2;

/// Entries and bytes that one commit takes from the queue of appends.
pub const COMMIT_ENTRIES: usize = 512;
/// See [`COMMIT_ENTRIES`].
pub const COMMIT_BYTES: usize = 4 << 20;

/// Entries of one commit that the store may have already, and looks up: each can be a read from the disk, while all others wait. The
/// rest is in the next one.
pub const COMMIT_REPEATS: usize = 64;

/// Bytes of entries that are held for those who follow along, and for some seconds only.
pub const RECENT_BYTES: usize = 16 << 20;

/// Entries that one step of expiry deletes.
pub const EXPIRY_STEP: usize = 1024;

/// Entries that one step of trimming deletes. Appends wait while it reads them.
pub const TRIM_STEP: usize = 256;

/// Trims that a stream may ask for each second in the long run, and at once after a rest; more are
/// refused for a while. Of one address one at a time is carried out, and of all that are so one step at a
/// time, in turns.
pub const TRIMS_PER_S: u32 = 1;
/// See [`TRIMS_PER_S`].
pub const TRIMS_BURST: u32 = 256;

/// How long an append is to wait that found the queue full.
pub const RETRY: Duration = Duration::from_millis(250);

/// How long a store is left alone whose disk refused a write.
pub const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Connections to the dashboard at once; for one more the oldest goes that has asked nothing yet. Each is
/// for one request.
pub const WATCH_CONNECTIONS: usize = 64;
/// How long the dashboard waits for a request's header, which is all of it.
pub const WATCH_HEADER: Duration = Duration::from_secs(5);
/// How long a connection to the dashboard may last.
pub const WATCH_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's header, and lines in it, that the dashboard takes.
pub const WATCH_HEADER_BYTES: usize = 8192;
/// See [`WATCH_HEADER_BYTES`].
pub const WATCH_HEADERS: usize = 64;

/// Pending TCP connections that the kernel holds for a relay that is busy.
pub const BACKLOG: u32 = 4096;

/// Bytes of entries that a relay keeps which is measured ([`Limits::lifted`]).
pub const MEASURED_BYTES: u64 = 8 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 5000,
            handshakes: 256,
            handshakes_per_ip: 64,
            memory: Mark::Auto,
            files: Mark::Auto,
            per_peer: 2,
            per_ip: 512,
            logs: 256,
            appends_waiting: 64,
            requests_per_s: 500,
            requests_burst: 4000,
            bytes_per_s: 4 << 20,
            bytes_burst: 32 << 20,
            address_bytes: 1 << 30,
            address_time: Duration::from_hours(24),
            address_delivered_per_s: 8 << 20,
            address_delivered_burst: 256 << 20,
            token_bytes_per_day: 1 << 30,
            token_bytes_per_s: 4 << 20,
            token_logs: 10_000,
            token_connections: 1000,
            ttl: Duration::from_hours(30 * 24),
            quota: Quota { log_entries: 65_536, log_bytes: 64 << 20, total_bytes: 16 << 30 },
            append_queue: 1024,
            reads: 16,
            circuits: 0,
            circuits_per_peer: 4,
            circuit_time: Duration::from_hours(1),
            circuit_bytes: 256 << 20,
            reservations: 5000,
            circuits_per_min: 60,
            idle: Duration::from_secs(30),
            ping_interval: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The first key that is zero and must not be: with it nothing would be served.
    pub(crate) fn impossible(&self) -> Option<&'static str> {
        let least = [
            ("connections", u64::from(self.connections)),
            ("connections_per_peer", self.per_peer.into()),
            ("connections_per_address", self.per_ip.into()),
            ("handshakes", self.handshakes.into()),
            ("handshakes_per_address", self.handshakes_per_ip.into()),
            ("memory", self.memory.least()),
            ("files", self.files.least()),
            ("logs", self.logs.into()),
            ("appends_waiting", self.appends_waiting as u64),
            ("append_queue", self.append_queue as u64),
            ("reads", self.reads as u64),
            ("requests_per_s", self.requests_per_s.into()),
            ("requests_burst", self.requests_burst.into()),
            ("bytes_per_s", self.bytes_per_s.into()),
            ("bytes_burst", self.bytes_burst.into()),
            ("address_bytes", self.address_bytes.into()),
            ("address_delivered_per_s", self.address_delivered_per_s.into()),
            ("address_delivered_burst", self.address_delivered_burst.into()),
            ("token_bytes_per_day", self.token_bytes_per_day),
            ("token_bytes_per_s", self.token_bytes_per_s.into()),
            ("token_logs", self.token_logs.into()),
            ("token_connections", self.token_connections.into()),
        ];
        let times = [
            ("ttl", self.ttl),
            ("idle", self.idle),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
        ];
        let zero = least.iter().find(|(_, value)| *value == 0).map(|(key, _)| *key);
        zero.or_else(|| times.iter().find(|(_, time)| time.is_zero()).map(|(key, _)| *key))
    }

    /// The default, for a relay that keeps entries in memory only and briefly.
    #[must_use]
    pub fn live() -> Self {
        let default = Self::default();
        Self {
            address_bytes: 32 << 20,
            address_time: Duration::from_mins(2),
            ttl: Duration::from_mins(2),
            quota: Quota { total_bytes: 256 << 20, ..default.quota },
            ..default
        }
    }

    /// These, but for what so many connections of one machine would run into, with up to so many logs each:
    /// for a measurement of what a relay can do. It takes as many handshakes at once as any.
    #[must_use]
    pub fn lifted(self, connections: u32, logs: u32) -> Self {
        let kept = MEASURED_BYTES;
        Self {
            connections,
            per_ip: connections,
            logs: logs.max(self.logs),
            requests_per_s: u32::MAX,
            requests_burst: u32::MAX,
            bytes_per_s: u32::MAX,
            bytes_burst: u32::MAX,
            address_bytes: u32::MAX,
            address_time: Duration::from_secs(1),
            address_delivered_per_s: u32::MAX,
            address_delivered_burst: u32::MAX,
            quota: Quota { log_entries: u64::from(u32::MAX), log_bytes: kept, total_bytes: kept },
            ..self
        }
    }
}
