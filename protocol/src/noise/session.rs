//! An open channel: sealed frames, in order, both ways.
//!
//! > A frame that doesn't open changes nothing, and frames open only in the order in which they
//! > were sealed: one that is lost, repeated or late ends the channel. A key seals at most 2^16
//! > frames, and none 10 minutes after its first.
//!
//! ```text
//! frame = generation u8 ‖ ChaCha20-Poly1305(K_generation, nonce, ad = generation, body)
//! nonce = the frames of this direction before it, over all generations
//! K_0   = the direction's key of Noise's Split();  K_{g+1} = REKEY(K_g)
//! ```
//!
//! The sender alone decides when its key is replaced, and each frame says under which it is sealed:
//! modulo 256, which is enough because only the present one and the next can be right. So frames
//! may be in flight while the key changes, in one direction or in both, and no clock is compared.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    ids::Timestamp,
    limits,
    noise::{
        datagrams::Datagrams,
        handshake::Suite,
        key::{FRAMES, FrameKey, TAG, is_old},
    },
};

/// A channel with a proven peer.
pub struct Session {
    sending: Direction,
    /// When the key for sending was used first.
    since: Timestamp,
    receiving: Direction,
    suite: Suite,
    hash: [u8; 32],
}

struct Direction {
    key: FrameKey,
    generation: u8,
    /// Frames under this key.
    under: u64,
    /// Frames in all: the next nonce.
    count: u64,
    /// How often the key was replaced.
    replaced: u64,
}

/// Why a frame can't be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Split it.
    #[error("a frame has at most {} bytes, not {bytes}", limits::FRAME_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// All nonces are used: make a new channel.
    #[error("the channel is used up")]
    Exhausted,
}

/// A frame that isn't the next one of this channel. Close the channel, and tell the peer nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the next frame of this channel")]
pub struct OpenError;

/// Frames were exchanged already: the two sides would not agree on where the datagrams begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channel is in use")]
pub struct InUse;

/// What sealing adds to a frame, in bytes.
pub const FRAME_OVERHEAD: usize = 1 + TAG;

impl Session {
    pub(super) fn new(
        sending: FrameKey,
        receiving: FrameKey,
        suite: Suite,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Self {
        let [sending, receiving] = [sending, receiving].map(|key| Direction {
            key,
            generation: 0,
            under: 0,
            count: 0,
            replaced: 0,
        });
        Self { sending, since: now, receiving, suite, hash }
    }

    /// Seals one frame of at most [`limits::FRAME_MAX`] bytes; it grows by [`FRAME_OVERHEAD`].
    pub fn seal(&mut self, plaintext: &[u8], now: Timestamp) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > limits::FRAME_MAX {
            return Err(SealError::TooLong { bytes: plaintext.len() });
        }
        let direction = &mut self.sending;
        if direction.under == 0 {
            self.since = now;
        }
        if direction.under < FRAMES && !is_old(self.since, now) {
            let frame = direction.key.seal(direction.count, &[direction.generation], plaintext);
            return frame.inspect(|_| direction.count()).ok_or(SealError::Exhausted);
        }
        let (key, generation) = direction.following();
        let frame =
            key.seal(direction.count, &[generation], plaintext).ok_or(SealError::Exhausted)?;
        direction.follow(key, generation);
        self.since = now;
        Ok(frame)
    }

    /// Opens the peer's next frame.
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, OpenError> {
        if frame.len() > limits::FRAME_MAX + FRAME_OVERHEAD {
            return Err(OpenError);
        }
        let (header, sealed) = frame.split_first_chunk::<1>().ok_or(OpenError)?;
        let direction = &mut self.receiving;
        if header[0] == direction.generation && direction.under < FRAMES {
            let plaintext = direction.key.open(direction.count, header, sealed).ok_or(OpenError)?;
            direction.count();
            return Ok(plaintext);
        }
        let (key, generation) = direction.following();
        if header[0] != generation {
            return Err(OpenError);
        }
        let plaintext = key.open(direction.count, header, sealed).ok_or(OpenError)?;
        direction.follow(key, generation);
        Ok(plaintext)
    }

    /// The same channel for frames that may be lost or come out of order. Both sides do this before
    /// the first frame.
    pub fn into_datagrams(self, now: Timestamp) -> Result<Datagrams, InUse> {
        if self.sending.count > 0 || self.receiving.count > 0 {
            return Err(InUse);
        }
        Ok(Datagrams::new(&self.sending.key, &self.receiving.key, now))
    }

    /// How often keys were replaced so far, in both directions. The peer decides of its own: with
    /// each frame, if it likes.
    #[must_use]
    pub fn rekeys(&self) -> u64 {
        self.sending.replaced.saturating_add(self.receiving.replaced)
    }

    /// What protects it.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The channel binding: the first 32 bytes of Noise's handshake hash, equal on both sides and
    /// different for every channel.
    #[must_use]
    pub fn handshake_hash(&self) -> [u8; 32] {
        self.hash
    }
}

impl Direction {
    fn following(&self) -> (FrameKey, u8) {
        (self.key.next(), self.generation.wrapping_add(1))
    }

    fn follow(&mut self, key: FrameKey, generation: u8) {
        (self.key, self.generation, self.under) = (key, generation, 0);
        self.replaced += 1;
        self.count();
    }

    fn count(&mut self) {
        self.under += 1;
        self.count += 1;
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, vec};

    use super::*;
    use crate::noise::key::LIFE_MS;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const LATER: Timestamp = NOW.plus_ms(LIFE_MS);

    /// Two ends of one channel, the same at each call.
    fn pair() -> (Session, Session) {
        let key = |byte| FrameKey::new([byte; 32]);
        let session =
            |there, back| Session::new(key(there), key(back), Suite::Hybrid, [0; 32], NOW);
        (session(1, 2), session(2, 1))
    }

    #[test]
    fn each_key_that_is_replaced_is_counted_on_both_sides() {
        let (mut ada, mut bob) = pair();
        let mut say = |from_ada: bool, now| {
            let (from, to) = if from_ada { (&mut ada, &mut bob) } else { (&mut bob, &mut ada) };
            let frame = from.seal(b"frame", now).unwrap();
            to.open(&frame).unwrap();
            (ada.rekeys(), bob.rekeys())
        };
        assert_eq!(say(true, NOW), (0, 0));
        assert_eq!(say(false, NOW), (0, 0));
        assert_eq!(say(true, LATER), (1, 1));
        assert_eq!(say(true, LATER), (1, 1));
        assert_eq!(say(false, LATER), (2, 2));
    }

    #[test]
    fn a_frame_that_does_not_open_changes_nothing() {
        let (mut ada, mut bob) = pair();
        let first = ada.seal(b"first", NOW).unwrap();
        let second = ada.seal(b"second", NOW).unwrap();
        let changed = |at: usize, by: u8| {
            let mut frame = first.clone();
            frame[at] ^= by;
            frame
        };
        let last = first.len() - 1;
        let refused: [&[u8]; 9] = [
            &second,
            &changed(1, 1),
            &changed(last, 1),
            &changed(0, 1),
            &changed(0, 0xff),
            &first[..20],
            &first[..1],
            &[],
            &[0; 70_000],
        ];
        for frame in refused {
            assert_eq!(bob.open(frame), Err(OpenError));
        }
        assert_eq!(bob.open(&first).unwrap(), b"first");
        assert_eq!(bob.open(&first), Err(OpenError));
        assert_eq!(bob.open(&second).unwrap(), b"second");
    }

    #[test]
    fn a_frame_has_a_largest_size() {
        let (mut ada, mut bob) = pair();
        let bytes = limits::FRAME_MAX + 1;
        assert_eq!(ada.seal(&vec![0; bytes], NOW), Err(SealError::TooLong { bytes }));
        let frame = ada.seal(&[7; limits::FRAME_MAX], NOW).unwrap();
        assert_eq!(frame.len(), limits::FRAME_MAX + FRAME_OVERHEAD);
        assert_eq!(bob.open(&frame).unwrap(), [7; limits::FRAME_MAX]);
    }

    #[test]
    fn the_key_changes_after_so_many_frames_in_both_directions() {
        let (mut ada, mut bob) = pair();
        for side in [&mut ada, &mut bob] {
            for direction in [&mut side.sending, &mut side.receiving] {
                (direction.under, direction.count) = (FRAMES - 2, FRAMES - 2);
            }
        }
        for generation in [0, 0, 1, 1] {
            let frame = ada.seal(b"there", NOW).unwrap();
            assert_eq!(frame[0], generation);
            assert_eq!(bob.open(&frame).unwrap(), b"there");
            let frame = bob.seal(b"and back", NOW).unwrap();
            assert_eq!(frame[0], generation);
            assert_eq!(ada.open(&frame).unwrap(), b"and back");
        }
    }

    #[test]
    fn the_key_changes_with_time_though_frames_are_in_flight_both_ways() {
        let (mut ada, mut bob) = pair();
        let times = [NOW, NOW.plus_ms(LIFE_MS - 1), LATER, LATER.plus_ms(LIFE_MS)];
        let (mut there, mut back) = (VecDeque::new(), VecDeque::new());
        for (now, generation) in times.into_iter().zip([0, 0, 1, 2]) {
            for (side, flight) in [(&mut ada, &mut there), (&mut bob, &mut back)] {
                let frame = side.seal(b"in flight", now).unwrap();
                assert_eq!(frame[0], generation);
                flight.push_back(frame);
            }
        }
        while let (Some(there), Some(back)) = (there.pop_front(), back.pop_front()) {
            assert_eq!(bob.open(&there).unwrap(), b"in flight");
            assert_eq!(ada.open(&back).unwrap(), b"in flight");
        }
    }

    #[test]
    fn one_direction_changes_its_key_alone() {
        let (mut ada, mut bob) = pair();
        let frames = [ada.seal(b"1", NOW).unwrap(), ada.seal(b"2", LATER).unwrap()];
        for frame in frames {
            bob.open(&frame).unwrap();
        }
        let frame = bob.seal(b"3", NOW).unwrap();
        assert_eq!(frame[0], 0);
        assert_eq!(ada.open(&frame).unwrap(), b"3");
    }

    #[test]
    fn a_key_that_sealed_nothing_is_not_replaced() {
        let (mut ada, mut bob) = pair();
        let frame = ada.seal(b"late", LATER).unwrap();
        assert_eq!(frame[0], 0);
        assert_eq!(bob.open(&frame).unwrap(), b"late");
    }

    #[test]
    fn a_clock_that_goes_back_costs_a_key_and_no_more() {
        let (mut ada, mut bob) = pair();
        let earlier = Timestamp(5);
        for (now, generation) in [(NOW, 0), (earlier, 1), (earlier, 1), (earlier.plus_ms(1), 1)] {
            let frame = ada.seal(b"tick", now).unwrap();
            assert_eq!(frame[0], generation);
            bob.open(&frame).unwrap();
        }
    }

    #[test]
    fn lost_repeated_and_reordered_frames_are_refused_across_a_change_of_keys() {
        let frames = |ada: &mut Session| {
            [NOW, NOW, LATER, LATER].map(|now| ada.seal(b"frame", now).unwrap())
        };
        // One is lost: nothing after it opens.
        for lost in 0..3 {
            let (mut ada, mut bob) = pair();
            for (n, frame) in frames(&mut ada).iter().enumerate().filter(|(n, _)| *n != lost) {
                assert_eq!(bob.open(frame).is_ok(), n < lost, "{lost} {n}");
            }
        }
        // One comes twice, or late: refused, and what follows still opens.
        let (mut ada, mut bob) = pair();
        let frames = frames(&mut ada);
        for n in 0..4 {
            for (other, frame) in frames.iter().enumerate().filter(|(other, _)| *other != n) {
                assert_eq!(bob.open(frame), Err(OpenError), "{other} for {n}");
            }
            assert_eq!(bob.open(&frames[n]).unwrap(), b"frame");
        }
    }

    #[test]
    fn a_peer_that_does_not_change_its_key_is_not_read_on() {
        let (mut ada, mut bob) = pair();
        for direction in [&mut ada.sending, &mut bob.receiving] {
            (direction.under, direction.count) = (FRAMES, FRAMES);
        }
        ada.sending.under = 0;
        let frame = ada.seal(b"the old key", NOW).unwrap();
        assert_eq!(frame[0], 0);
        assert_eq!(bob.open(&frame), Err(OpenError));
    }

    #[test]
    fn generations_go_on_past_what_a_byte_counts() {
        let (mut ada, mut bob) = pair();
        let mut now = NOW;
        for n in 0..600_u32 {
            let frame = ada.seal(&n.to_be_bytes(), now).unwrap();
            assert_eq!(frame[0], u8::try_from(n % 256).unwrap());
            assert_eq!(bob.open(&frame).unwrap(), n.to_be_bytes());
            now = now.plus_ms(LIFE_MS);
        }
    }

    #[test]
    fn the_last_nonce_is_never_used() {
        let (mut ada, mut bob) = pair();
        (ada.sending.count, bob.receiving.count) = (u64::MAX - 1, u64::MAX - 1);
        let last = ada.seal(b"last", NOW).unwrap();
        assert_eq!(bob.open(&last).unwrap(), b"last");
        for now in [NOW, LATER] {
            assert_eq!(ada.seal(b"one more", now), Err(SealError::Exhausted));
        }
        assert_eq!(bob.open(&last), Err(OpenError));
    }

    #[test]
    fn a_channel_in_use_becomes_no_datagrams() {
        let (mut ada, bob) = pair();
        ada.seal(b"first", NOW).unwrap();
        assert_eq!(ada.into_datagrams(NOW).unwrap_err(), InUse);
        assert!(bob.into_datagrams(NOW).is_ok());
    }
}
