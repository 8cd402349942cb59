//! Every bound on what a peer can make this crate hold or read, in one place.

use core::ops::RangeInclusive;

/// Sizes that an envelope may have, in bytes: a power of two from 512 to 32,768.
pub const BUCKETS: [usize; 7] = [512, 1024, 2048, 4096, 8192, 16384, 32768];

/// The largest envelope, and so the largest entry of a relay log, in bytes.
pub const ENVELOPE_MAX: usize = 32_768;

/// The largest frame on a channel between members, before Noise, in bytes.
pub const FRAME_MAX: usize = 65_000;

/// By how much the `seq` of a card with new keys is above the last one's, at most.
pub const CARD_STRIDE: u64 = 4096;

/// Messages in one sender chain.
pub const CHAIN_MESSAGES: u32 = 256;

/// Age at which a sender chain is replaced, in milliseconds: 24 hours.
pub const CHAIN_AGE_MS: u64 = 24 * 60 * 60 * 1000;

/// Live receive chains kept for one sender and incarnation.
pub const CHAINS_PER_INCARNATION: usize = 4;

/// Dependencies of one op; more heads are first joined by a Refresh.
pub const OP_DEPS: usize = 16;

/// The largest signed op, in bytes.
pub const OP_BYTES: usize = 16_384;

/// Ops of a group. Each keeps its past as a bit set, together at most 16 MiB.
pub const OPS: usize = 16_384;

/// All ops of a group, in bytes.
pub const OPS_TOTAL_BYTES: usize = 32 * 1024 * 1024;

/// Ops of a group that those may still make who can remove whoever fills it: ops by admins under a
/// grant as such, and members' Leaves and Retires; and their bytes.
pub const OPS_KEPT: usize = 1024;
/// See [`OPS_KEPT`].
pub const OPS_KEPT_BYTES: usize = 2 * 1024 * 1024;

/// The last of them, for the most senior admin alone, and their bytes.
pub const OPS_LAST: usize = 128;
/// See [`OPS_LAST`].
pub const OPS_LAST_BYTES: usize = 512 * 1024;

/// Ops of one member that are taken unasked: of an admin side by side, of others before somebody
/// else's follows.
pub const OPS_LOOSE: usize = 1024;

/// Ops that are taken unasked of those who are no members, beside or after their end, and of one of
/// them.
pub const OPS_OUTSIDE: usize = 512;
/// See [`OPS_OUTSIDE`].
pub const OPS_OUTSIDE_OF_ONE: usize = 64;

/// Ops kept while what they depend on is missing.
pub const OPS_PENDING: usize = 1024;

/// Relays that a group's policy names, and the longest multiaddr of one, in bytes.
pub const POLICY_RELAYS: usize = 8;
/// See [`POLICY_RELAYS`].
pub const RELAY_BYTES: usize = 256;

/// Bytes of the PeerId of a relay for which a token is, or at which somebody waits.
pub const RELAY_TOKEN_KEY: usize = 64;

/// How long a policy may let somebody be away before it is removed, in milliseconds: 1 hour to 10
/// years.
pub const EVICT_AFTER_MS: RangeInclusive<u64> = 3_600_000..=315_576_000_000;

/// How long a member may be out of reach before a policy asks for new chains, in milliseconds: 10
/// seconds to 30 days.
pub const ROTATE_ON_DISCONNECT_MS: RangeInclusive<u64> = 10_000..=2_592_000_000;

/// Pending ops of authors who were never granted membership, as far as is known.
pub const OPS_PENDING_STRANGE: usize = 256;

/// Concurrent topic epochs that are read and written; further ones wait for a Refresh.
pub const TOPICS: usize = 16;

/// Ops in the proof that somebody is an admin: the Genesis and the promotions below it.
pub const ADMIN_PATH: usize = 64;

/// The largest signed card, in bytes: one with every field full has 1,946.
pub const CARD_BYTES: usize = 2048;

/// Machines of one person, in all.
pub const MACHINES: usize = 8;

/// A member's name, in bytes of UTF-8.
pub const NAME_BYTES: usize = 64;

/// Members of a group.
pub const MEMBERS: usize = 1024;

/// Envelopes parked for one group while their bundle is missing, and their bytes.
pub const PARKED: usize = 4096;
/// See [`PARKED`].
pub const PARKED_BYTES: usize = 4 * 1024 * 1024;

/// How far a reader's logical clock follows one message, at most.
pub const LAMPORT_LEAP: u64 = 1 << 20;

/// Signed messages of a group of which hash and signature are kept, to tell two contents of one
/// place apart.
pub const EVIDENCE: usize = 65_536;

/// Members of a group up to which each message is receipted; in larger ones summaries tell.
pub const RECEIPT_MEMBERS: usize = 64;

/// The longest code by which a member is asked to a conversation of two, in bytes.
pub const TALK_CODE: usize = 1_023;

/// Notices kept of a group: proofs of equivocation, suspicions of a clone.
pub const NOTICES: usize = 256;

/// Notices kept about one member.
pub const NOTICES_OF_ONE: usize = 8;

/// The largest notice, in bytes.
pub const NOTICE_BYTES: usize = 30_000;

/// Causal heads carried by one message.
pub const MESSAGE_HEADS: usize = 8;

/// The largest frame from a client to a relay, in bytes: an entry and what is around it.
pub const LOG_REQUEST_MAX: usize = ENVELOPE_MAX + 512;

/// Entry bytes in one frame from a relay; a frame carries at least one entry.
pub const LOG_BATCH_BYTES: usize = 65_536;

/// The largest frame from a relay to a client, in bytes.
pub const LOG_ANSWER_MAX: usize = LOG_BATCH_BYTES + 4096;

/// Roles that one request proves for a log.
pub const LOG_PROOFS: usize = 3;

/// A whole welcome to a group, in bytes.
pub const WELCOME_BYTES: usize = 16 * 1024 * 1024;

/// The largest file that is offered or fetched, in bytes: 16 GiB.
pub const FILE_BYTES: u64 = 16 << 30;

/// Bytes of a file in one chunk; the last one has what is left.
pub const FILE_CHUNK: usize = 65_536;

/// A file's name, in bytes of UTF-8.
pub const FILE_NAME_BYTES: usize = 255;

/// What shows an image before it is there, in bytes.
pub const FILE_BLUR_BYTES: usize = 64;

/// Chunks that are asked for on one stream and not answered yet.
pub const FILE_WINDOW: u32 = 64;

/// Ranges of chunks in one request.
pub const FILE_RANGES: usize = 64;

/// Members of whom one file is fetched at one time.
pub const FILE_SOURCES: usize = 16;

/// The largest frame of who fetches a file, in bytes.
pub const FILE_REQUEST_MAX: usize = 1024;

/// The largest frame of who has it, in bytes: a sealed chunk, its proof, and what is around them.
pub const FILE_ANSWER_MAX: usize = FILE_CHUNK + 1024;

/// How long who has a file may let a request wait without a chunk, in milliseconds.
pub const FILE_SILENCE_MS: u64 = 30_000;

/// Members that one message mentions.
pub const MENTIONS: usize = 32;

/// A reaction, in bytes of UTF-8.
pub const REACTION_BYTES: usize = 32;

/// Reactions of one member at one message that are shown.
pub const REACTIONS: usize = 8;

/// The last reactions of one member at one message, which count.
pub const REACTIONS_READ: usize = 64;

/// The shortest time that a message asks to be kept, in seconds: a minute.
pub const EXPIRES_MIN_S: u32 = 60;

/// The longest time that a message asks to be kept, in seconds: a year.
pub const EXPIRES_MAX_S: u32 = 365 * 24 * 60 * 60;

/// How often one member is heard in an hour who asks for a circuit through a relay.
pub const CIRCUITS_AN_HOUR: u32 = 120;
