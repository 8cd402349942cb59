//! The frames of `/wattle/file/1`: strict CBOR, each after its length, a 32-bit big-endian number.
//!
//! ```text
//! who fetches                                   who has the file
//!   Want{file, ranges}            ──────▶
//!                                 ◀──────       Chunk{index, proof, sealed}*
//!                                 ◀──────       or Refused{reason}, and the stream ends
//! ```
//!
//! | number | frame | from |
//! |---|---|---|
//! | 1 | Want | who fetches |
//! | 16 | Chunk | who has it |
//! | 17 | Refused | who has it |
//!
//! A stream is for one file, which its first frame names. Whoever fetches has at most
//! [`FILE_WINDOW`](crate::limits::FILE_WINDOW) chunks asked for that were not answered. A frame that breaks
//! these rules ends the stream without a word.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};

use super::{seal::TAG, tree::Hash};
use crate::{
    codec::{self, Malformed},
    ids::FileId,
    limits::{FILE_ANSWER_MAX, FILE_CHUNK, FILE_RANGES, FILE_REQUEST_MAX, FILE_WINDOW},
};

/// Chunks in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Range {
    /// The index of the first one.
    #[n(0)]
    pub first: u32,
    /// How many, at least one.
    #[n(1)]
    pub count: u32,
}

/// Why chunks are not given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, thiserror::Error)]
#[cbor(flat)]
pub enum Refusal {
    /// The file is not there, was never, or is not for whoever asks: which, is not said.
    #[n(0)]
    #[error("the file is not there")]
    Unknown,
    /// It is there and has changed since it was offered, or can't be read any more.
    #[n(1)]
    #[error("the file has changed since it was offered")]
    Changed,
    /// Others are served.
    #[n(2)]
    #[error("others are served; again in {retry_ms} ms")]
    Busy {
        /// When to ask again, in milliseconds.
        #[n(0)]
        retry_ms: u32,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub(super) enum Request {
    #[n(1)]
    Want {
        #[n(0)]
        file: FileId,
        #[n(1)]
        ranges: Vec<Range>,
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(flat)]
pub(super) enum Answer {
    #[n(16)]
    Chunk {
        #[n(0)]
        index: u32,
        /// The hashes, joined.
        #[cbor(n(1), with = "minicbor::bytes")]
        proof: Vec<u8>,
        #[cbor(n(2), with = "minicbor::bytes")]
        sealed: Vec<u8>,
    },
    #[n(17)]
    Refused {
        #[n(0)]
        reason: Refusal,
    },
}

/// The longest way up in a tree, in hashes.
pub(super) const PROOF_MAX: usize = 18;

// An answer holds a whole chunk with the longest proof, and heads of at most five bytes.
const _: () = assert!(FILE_CHUNK + TAG + PROOF_MAX * 32 + 8 * 5 <= FILE_ANSWER_MAX);
// A request holds the id and each range with its head and two numbers.
const _: () = assert!(FILE_RANGES * 11 + 16 + 8 * 5 <= FILE_REQUEST_MAX);

impl Request {
    /// Reads a frame of whoever fetches.
    pub(super) fn read(frame: &[u8]) -> Result<Self, Malformed> {
        if frame.len() > FILE_REQUEST_MAX {
            return Err(Malformed);
        }
        let Self::Want { file, ranges } = codec::decode(frame)?;
        let mut left = FILE_WINDOW;
        for range in &ranges {
            left = left.checked_sub(range.count).filter(|_| range.is_good()).ok_or(Malformed)?;
        }
        let is_bounded = !ranges.is_empty() && ranges.len() <= FILE_RANGES;
        is_bounded.then_some(Self::Want { file, ranges }).ok_or(Malformed)
    }
}

impl Answer {
    /// Reads a frame of whoever has the file.
    pub(super) fn read(frame: &[u8]) -> Result<Self, Malformed> {
        if frame.len() > FILE_ANSWER_MAX { Err(Malformed) } else { codec::decode(frame) }
    }
}

impl Range {
    fn is_good(&self) -> bool {
        self.count > 0 && self.first.checked_add(self.count).is_some()
    }

    /// The indexes, of a range that was read.
    pub(super) fn indexes(self) -> core::ops::Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }

    /// Indexes that go up, as ranges: the first so many of them as fit a request.
    pub(super) fn of(indexes: impl IntoIterator<Item = u32>) -> Vec<Self> {
        let mut ranges: Vec<Self> = Vec::new();
        for index in indexes {
            let is_full = ranges.len() == FILE_RANGES;
            match ranges.last_mut() {
                Some(last) if last.first + last.count == index => last.count += 1,
                _ if is_full => break,
                _ => ranges.push(Self { first: index, count: 1 }),
            }
        }
        ranges
    }
}

/// The hashes of a proof.
pub(super) fn hashes(proof: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = proof.as_chunks::<32>();
    (rest.is_empty() && hashes.len() <= PROOF_MAX).then(|| hashes.to_vec())
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::{collection, prelude::*};

    use super::*;

    const FILE: FileId = FileId([4; 16]);

    fn want(ranges: &[(u32, u32)]) -> Result<Request, Malformed> {
        let ranges = ranges.iter().map(|(first, count)| Range { first: *first, count: *count });
        Request::read(&codec::encode(&Request::Want { file: FILE, ranges: ranges.collect() }))
    }

    #[test]
    fn a_request_for_nothing_or_too_much_is_none() {
        assert!(want(&[(0, 1), (7, 63)]).is_ok());
        let all: [&[(u32, u32)]; 7] = [
            &[],
            &[(0, 0)],
            &[(0, 65)],
            &[(0, 1), (7, 64)],
            &[(0, u32::MAX), (0, 2)],
            &[(u32::MAX, 1)],
            &[(u32::MAX - 1, 2)],
        ];
        for bad in all {
            assert!(want(bad).is_err(), "{bad:?}");
        }
        assert!(want(&[(9, 1); FILE_RANGES]).is_ok());
    }

    #[test]
    fn the_greatest_frames_fit_and_greater_ones_are_refused() {
        let ranges = vec![Range { first: u32::MAX - 1, count: 1 }; FILE_RANGES];
        let frame = codec::encode(&Request::Want { file: FILE, ranges });
        assert!(Request::read(&frame).is_ok());
        let chunk = |sealed| Answer::Chunk {
            index: u32::MAX,
            proof: vec![0; PROOF_MAX * 32],
            sealed: vec![0; sealed],
        };
        assert!(Answer::read(&codec::encode(&chunk(FILE_CHUNK + TAG))).is_ok());
        assert!(Answer::read(&codec::encode(&chunk(FILE_ANSWER_MAX))).is_err());
        assert!(Request::read(&vec![0; FILE_REQUEST_MAX + 1]).is_err());
    }

    #[test]
    fn a_proof_is_of_whole_hashes() {
        assert_eq!(hashes(&[]), Some(vec![]));
        assert_eq!(hashes(&[1; 64]), Some(vec![[1; 32]; 2]));
        assert_eq!(hashes(&[1; 63]), None);
        assert_eq!(hashes(&[1; 32 * (PROOF_MAX + 1)]), None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in collection::vec(any::<u8>(), 0..200)) {
            let _ = (Request::read(&bytes), Answer::read(&bytes));
        }

        #[test]
        fn ranges_are_the_indexes(indexes in collection::btree_set(0..200_u32, 0..100)) {
            let ranges = Range::of(indexes.iter().copied());
            let again: Vec<u32> = ranges.iter().flat_map(|range| range.indexes()).collect();
            prop_assert!(indexes.iter().copied().take(again.len()).eq(again.iter().copied()));
            prop_assert!(again.len() == indexes.len() || ranges.len() == FILE_RANGES);
        }
    }
}
