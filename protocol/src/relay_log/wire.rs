//! The frames of `/wattle/log/1`: strict CBOR in frames of a 32-bit big-endian length, on one
//! long-lived stream per client.
//!
//! ```text
//! relay                                      client
//!   Hello{nonce, …}               ──────▶
//!                                 ◀──────   Token{token}                  (if Hello asks for one)
//!   TokenTaken                    ──────▶
//!                                 ◀──────   Open{handle, publics, proofs}
//!   Opened{handle}                ──────▶
//!                                 ◀──────   Append{req, handle, entry}
//!   Appended{req, cursor}         ──────▶                                 (durable by then)
//!                                 ◀──────   Follow{handle, after}
//!   Entries{handle, …}*, CaughtUp ──────▶                                 (then Entries as they come)
//! ```
//!
//! | number | frame | from |
//! |---|---|---|
//! | 1 | Open | client |
//! | 2 | Append | client |
//! | 3 | Follow | client |
//! | 4 | Close | client |
//! | 5 | Trim | client |
//! | 6 | Token | client |
//! | 16 | Hello | relay |
//! | 17 | Opened | relay |
//! | 18 | OpenRefused | relay |
//! | 19 | Appended | relay |
//! | 20 | AppendRefused | relay |
//! | 21 | Entries | relay |
//! | 22 | CaughtUp | relay |
//! | 23 | CursorGone | relay |
//! | 24 | FollowRefused | relay |
//! | 25 | Trimmed | relay |
//! | 26 | TrimRefused | relay |
//! | 27 | Begins | relay |
//! | 28 | Leaving | relay |
//! | 29 | TokenTaken | relay |
//! | 30 | TokenRefused | relay |
//!
//! The client chooses its handles, so that it need not wait for `Opened` before it appends and
//! follows. A frame that breaks these rules ends the stream without a word.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::{Cursor, LogPublics, Proof, RelayToken};
use crate::limits;

/// A frame from a client, at most [`limits::LOG_REQUEST_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Request {
    /// Claims roles in a log, under a handle of the client's choice that is not in use.
    #[n(1)]
    Open {
        /// Names the log from here on, on this stream.
        #[n(0)]
        handle: u32,
        /// The keys that the log's id commits to.
        #[n(1)]
        publics: LogPublics,
        /// One proof for each role claimed, at most [`limits::LOG_PROOFS`].
        #[n(2)]
        proofs: Vec<Proof>,
    },
    /// Appends an entry; needs the write role. Idempotent by the entry's bytes.
    #[n(2)]
    Append {
        /// Chosen by the client, repeated in the answer.
        #[n(0)]
        req: u32,
        /// An open log.
        #[n(1)]
        handle: u32,
        /// One of [`limits::BUCKETS`] bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        entry: Vec<u8>,
    },
    /// Streams the entries after a cursor, or all, then what comes; needs the read role. A second
    /// one on the same handle starts again from its own cursor.
    #[n(3)]
    Follow {
        /// An open log.
        #[n(0)]
        handle: u32,
        /// The last place that was read.
        #[n(1)]
        after: Option<Cursor>,
    },
    /// Ends following and forgets the handle.
    #[n(4)]
    Close {
        /// An open log.
        #[n(0)]
        handle: u32,
    },
    /// Deletes the entries up to a place, but for the log's last one; needs the trim role. A place
    /// of another generation, or beyond the log's end, deletes nothing.
    #[n(5)]
    Trim {
        /// Chosen by the client, repeated in the answer.
        #[n(0)]
        req: u32,
        /// An open log.
        #[n(1)]
        handle: u32,
        /// The last place that need not be kept.
        #[n(2)]
        cursor: Cursor,
    },
    /// Shows a token: the logs that are opened from here on, until the next one, are used under it.
    /// Said only to a relay whose `Hello` asks for one; each is answered, in their order.
    #[n(6)]
    Token {
        /// The token.
        #[n(0)]
        token: RelayToken,
    },
}

/// A frame from the relay, at most [`limits::LOG_ANSWER_MAX`] bytes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub enum Answer {
    /// The first frame on a stream.
    #[n(16)]
    Hello {
        /// What proofs on this stream are bound to.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 32],
        /// Logs that may be open at once on this stream.
        #[n(1)]
        max_logs: u32,
        /// How long the relay keeps an entry, in milliseconds; 0: it forwards live only.
        #[n(2)]
        ttl_ms: u64,
        /// The relay's clock, in milliseconds since the Unix epoch.
        #[n(3)]
        now_ms: u64,
        /// `true`: nothing is opened but under a token. Left out by a relay that is open to all.
        #[n(4)]
        wants_token: Option<bool>,
    },
    /// The roles were proven.
    #[n(17)]
    Opened {
        /// The log.
        #[n(0)]
        handle: u32,
    },
    /// The log was not opened; the handle stays free.
    #[n(18)]
    OpenRefused {
        /// The log.
        #[n(0)]
        handle: u32,
        /// Why.
        #[n(1)]
        reason: Refusal,
    },
    /// The entry is on the relay's disk.
    #[n(19)]
    Appended {
        /// Of the request.
        #[n(0)]
        req: u32,
        /// Its place, the original one if it had been appended before.
        #[n(1)]
        cursor: Cursor,
    },
    /// The entry was not appended.
    #[n(20)]
    AppendRefused {
        /// Of the request.
        #[n(0)]
        req: u32,
        /// Why.
        #[n(1)]
        reason: Refusal,
    },
    /// The next entries of a log, in order; at most [`limits::LOG_BATCH_BYTES`] bytes of them.
    #[n(21)]
    Entries {
        /// The log.
        #[n(0)]
        handle: u32,
        /// With their sequence numbers, which grow.
        #[n(1)]
        entries: Vec<Entry>,
        /// The place after the last of them.
        #[n(2)]
        cursor: Cursor,
    },
    /// Everything that was there has been sent; sent once for each `Follow`.
    #[n(22)]
    CaughtUp {
        /// The log.
        #[n(0)]
        handle: u32,
        /// The end of the log at that moment.
        #[n(1)]
        cursor: Cursor,
    },
    /// The cursor to follow from is of another generation of the store: follow from the start.
    #[n(23)]
    CursorGone {
        /// The log.
        #[n(0)]
        handle: u32,
    },
    /// The log is not being followed.
    #[n(24)]
    FollowRefused {
        /// The log.
        #[n(0)]
        handle: u32,
        /// Why.
        #[n(1)]
        reason: Refusal,
    },
    /// What was to be deleted is gone from the relay's disk.
    #[n(25)]
    Trimmed {
        /// Of the request.
        #[n(0)]
        req: u32,
        /// The log begins after this place now.
        #[n(1)]
        cursor: Cursor,
    },
    /// Not all that was to be deleted is gone.
    #[n(26)]
    TrimRefused {
        /// Of the request.
        #[n(0)]
        req: u32,
        /// Why.
        #[n(1)]
        reason: Refusal,
    },
    /// The cursor to follow from lies before the log's beginning: up to this place all is deleted.
    /// At most once for each `Follow`, and before its entries.
    #[n(27)]
    Begins {
        /// The log.
        #[n(0)]
        handle: u32,
        /// The log begins after this place.
        #[n(1)]
        cursor: Cursor,
    },
    /// The relay is about to end. It takes no more requests, answers the appends and trims that it has
    /// taken, and ends the stream. Whoever knows another address of it goes there.
    #[n(28)]
    Leaving {
        /// Within which time clients are to come back, each at a moment of its own, in milliseconds.
        #[n(0)]
        retry_ms: u64,
    },
    /// The token is good, now.
    #[n(29)]
    TokenTaken,
    /// The token is not taken: what is opened after it is refused for the same reason.
    #[n(30)]
    TokenRefused {
        /// Why.
        #[n(0)]
        reason: Refusal,
    },
}

/// An entry and its place.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Entry {
    /// Its number within the log and the store's generation.
    #[n(0)]
    pub seq: u64,
    /// The bytes, as they were appended.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// Why a relay refuses a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, thiserror::Error)]
#[cbor(flat)]
pub enum Refusal {
    /// The log has reached its quota; nothing is evicted for the new.
    #[n(0)]
    #[error("the log is full")]
    LogFull,
    /// The entry is larger than the relay takes.
    #[n(1)]
    #[error("the entry is too large")]
    TooLarge,
    /// The entry has none of the sizes of [`limits::BUCKETS`].
    #[n(2)]
    #[error("the entry has no bucket's size")]
    NotBucket,
    /// A proof does not hold, or the role needed was not proven.
    #[n(3)]
    #[error("the capability was not proven")]
    BadProof,
    /// As many logs are open on this stream as may be.
    #[n(4)]
    #[error("too many logs are open")]
    TooManyLogs,
    /// Too much, too fast.
    #[n(5)]
    #[error("too fast; again in {retry_ms} ms")]
    RateLimited {
        /// When to try again, in milliseconds.
        #[n(0)]
        retry_ms: u64,
    },
    /// The handle is not open.
    #[n(6)]
    #[error("no such handle")]
    NoSuchHandle,
    /// The relay's disk quota is used up.
    #[n(7)]
    #[error("the relay's disk is full")]
    DiskFull,
    /// The relay can't, just now.
    #[n(8)]
    #[error("the relay is not available")]
    Unavailable,
    /// The relay serves holders of its operator's tokens, and none was shown.
    #[n(9)]
    #[error("the relay wants a token")]
    TokenNeeded,
    /// The token was never given out, has run out, or was taken back: which, is not said.
    #[n(10)]
    #[error("the relay's token is not valid, or no longer")]
    TokenInvalid,
    /// What the token grants is used up: bytes of the day, connections or logs at once.
    #[n(11)]
    #[error("what the relay's token grants is used up; again in {retry_ms} ms")]
    TokenSpent {
        /// When to try again, in milliseconds.
        #[n(0)]
        retry_ms: u64,
    },
}

impl Refusal {
    /// Whether the same request may succeed later on the same relay.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::DiskFull
                | Self::Unavailable
                | Self::NoSuchHandle
                | Self::TokenSpent { .. }
        )
    }
}

/// Whether an entry may have this many bytes.
#[must_use]
pub fn is_bucket(len: usize) -> bool {
    limits::BUCKETS.contains(&len)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        codec::{decode, encode},
        relay_log::{Challenge, LogKeys, Role},
    };

    const CURSOR: Cursor = Cursor { generation: u64::MAX, seq: u64::MAX };

    fn requests() -> Vec<Request> {
        let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
        let challenge = Challenge::new(b"relay", [3; 32]);
        let proofs = [Role::Write, Role::Read].map(|role| keys.prove(role, &challenge).unwrap());
        vec![
            Request::Open { handle: 7, publics: keys.publics(), proofs: proofs.to_vec() },
            Request::Append {
                req: u32::MAX,
                handle: u32::MAX,
                entry: vec![0xff; limits::ENVELOPE_MAX],
            },
            Request::Follow { handle: 7, after: None },
            Request::Follow { handle: 7, after: Some(CURSOR) },
            Request::Close { handle: 7 },
            Request::Trim { req: u32::MAX, handle: 7, cursor: CURSOR },
            Request::Token { token: RelayToken::from_bytes([9; 16]) },
        ]
    }

    fn answers() -> Vec<Answer> {
        let entry = |len| Entry { seq: u64::MAX, bytes: vec![1; len] };
        vec![
            Answer::Hello {
                nonce: [1; 32],
                max_logs: 256,
                ttl_ms: 5,
                now_ms: u64::MAX,
                wants_token: None,
            },
            Answer::Hello {
                nonce: [1; 32],
                max_logs: 256,
                ttl_ms: 5,
                now_ms: u64::MAX,
                wants_token: Some(true),
            },
            Answer::Opened { handle: 1 },
            Answer::OpenRefused { handle: 1, reason: Refusal::BadProof },
            Answer::Appended { req: 1, cursor: CURSOR },
            Answer::AppendRefused { req: 1, reason: Refusal::RateLimited { retry_ms: 9 } },
            Answer::Entries {
                handle: u32::MAX,
                entries: vec![entry(512); limits::LOG_BATCH_BYTES / 512],
                cursor: CURSOR,
            },
            Answer::Entries { handle: 1, entries: vec![entry(32_768); 2], cursor: CURSOR },
            Answer::CaughtUp { handle: 1, cursor: CURSOR },
            Answer::CursorGone { handle: 1 },
            Answer::FollowRefused { handle: 1, reason: Refusal::NoSuchHandle },
            Answer::Trimmed { req: u32::MAX, cursor: CURSOR },
            Answer::TrimRefused { req: 1, reason: Refusal::BadProof },
            Answer::Begins { handle: u32::MAX, cursor: CURSOR },
            Answer::Leaving { retry_ms: u64::MAX },
            Answer::TokenTaken,
            Answer::TokenRefused { reason: Refusal::TokenSpent { retry_ms: u64::MAX } },
            Answer::TokenRefused { reason: Refusal::TokenInvalid },
        ]
    }

    #[test]
    fn every_frame_survives_its_bytes_within_its_limit() {
        for request in requests() {
            let bytes = encode(&request);
            assert!(bytes.len() <= limits::LOG_REQUEST_MAX);
            assert_eq!(decode(&bytes), Ok(request));
        }
        for answer in answers() {
            let bytes = encode(&answer);
            assert!(bytes.len() <= limits::LOG_ANSWER_MAX);
            assert_eq!(decode(&bytes), Ok(answer));
        }
    }

    #[test]
    fn no_truncation_of_a_frame_is_a_frame() {
        for bytes in requests().iter().map(encode) {
            let ends = (0..bytes.len().min(300)).chain(bytes.len().saturating_sub(3)..bytes.len());
            for end in ends {
                assert!(decode::<Request>(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
            }
        }
        for bytes in answers().iter().map(encode) {
            let ends = (0..bytes.len().min(300)).chain(bytes.len().saturating_sub(3)..bytes.len());
            for end in ends {
                assert!(decode::<Answer>(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn frame_numbers_are_those_of_the_table() {
        let number = |bytes: Vec<u8>| match bytes[1] {
            small @ 0..24 => small,
            _ => bytes[2],
        };
        assert_eq!(
            requests().iter().map(|r| number(encode(r))).collect::<Vec<_>>(),
            [1, 2, 3, 3, 4, 5, 6]
        );
        assert_eq!(
            answers().iter().map(|a| number(encode(a))).collect::<Vec<_>>(),
            [16, 16, 17, 18, 19, 20, 21, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 30]
        );
        assert!(decode::<Request>(&[0x82, 7, 1]).is_err(), "7 is nothing yet");
    }

    #[test]
    fn an_open_relay_s_hello_is_as_it_was_before_there_were_tokens() {
        let hello = |wants_token| {
            encode(&Answer::Hello {
                nonce: [1; 32],
                max_logs: 1,
                ttl_ms: 2,
                now_ms: 3,
                wants_token,
            })
        };
        assert_eq!((hello(None)[0], hello(Some(true))[0]), (0x85, 0x86));
    }

    #[test]
    fn only_the_sizes_of_buckets_are_buckets() {
        assert!(limits::BUCKETS.into_iter().all(is_bucket));
        assert!(![0, 1, 511, 513, 65_536].into_iter().any(is_bucket));
    }

    proptest! {
        #[test]
        fn garbage_neither_panics_nor_decodes_to_something_else(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(request) = decode::<Request>(&bytes) {
                prop_assert_eq!(encode(&request), bytes.clone());
            }
            if let Ok(answer) = decode::<Answer>(&bytes) {
                prop_assert_eq!(encode(&answer), bytes);
            }
        }

        #[test]
        fn a_changed_byte_changes_the_frame(
            which in 0..7_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        ) {
            let request = &requests()[which];
            let mut bytes = encode(request);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(other) = decode::<Request>(&bytes) {
                prop_assert_ne!(&other, request);
            }
        }
    }
}
