//! The relay's log service as both ends see it: ids, capabilities, cursors and frames.
//!
//! A log is an append-only list of padded envelopes. Its id is the hash of its public capability
//! keys, so there is nothing to register and nothing to squat; whoever holds the write key
//! appends, whoever holds the read key follows (docs/spec/relay-log.md).
//!
//! > A relay learns ids, sizes in buckets and times. Nothing here lets it open an entry.

mod cursor;
mod keys;
mod token;
mod wire;

pub use cursor::{Cursor, EntryId};
pub use keys::{BadProof, Challenge, LogKeys, LogPublics, Proof, Role};
pub use token::{RelayPass, RelayToken, TokenError};
pub use wire::{Answer, Entry, Refusal, Request, is_bucket};

/// The libp2p protocol name of the log service, version 1.
pub const PROTOCOL: &str = "/wattle/log/1";
