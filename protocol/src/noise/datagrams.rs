//! A channel whose frames may be lost, repeated and reordered: each says what opens it.
//!
//! > A frame opens once. Nothing that doesn't authenticate changes anything, and no frame, however
//! > far ahead it claims to be, costs more than 16 derivations. A key seals at most 2^16 frames, and
//! > none 10 minutes after its first.
//!
//! ```text
//! frame = epoch u32be ‖ nonce u64be ‖ ChaCha20-Poly1305(K_epoch, nonce, ad = epoch ‖ nonce, body)
//! nonce = the frames of this direction and epoch before it: below 2^16
//! K_0   = KDF32(the direction's key of Noise's Split(), "wt1 noise dgram");  K_{e+1} = REKEY(K_e)
//! ```
//!
//! The receiver keeps the present epoch and, for a minute after the first frame of the present one,
//! that before it; of each it remembers which of the last 1,024 nonces it has seen. A whole epoch
//! may be lost: up to 16 are caught up with.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    hash::Label,
    ids::Timestamp,
    limits,
    noise::{
        key::{FRAMES, FrameKey, TAG, is_old},
        session::SealError,
        window::Window,
    },
};

/// A channel with a proven peer, over what may lose frames ([`super::Session::into_datagrams`]).
pub struct Datagrams {
    sending: Sending,
    current: Epoch,
    previous: Option<Previous>,
}

struct Sending {
    key: FrameKey,
    epoch: u32,
    count: u64,
    since: Timestamp,
}

struct Epoch {
    number: u32,
    key: FrameKey,
    window: Window,
}

struct Previous {
    epoch: Epoch,
    until: Timestamp,
}

/// A frame that isn't one of this channel's, or was opened already. Drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a new frame of this channel")]
pub struct NotNew;

/// What sealing adds to a frame, in bytes.
pub const DATAGRAM_OVERHEAD: usize = HEADER + TAG;

const HEADER: usize = 12;

/// How long the key before the present one still opens.
const PREVIOUS_MS: u64 = 60_000;

/// How many epochs may be lost whole.
const AHEAD: u32 = 16;

impl Datagrams {
    pub(super) fn new(sending: &FrameKey, receiving: &FrameKey, now: Timestamp) -> Self {
        let [sending, receiving] =
            [sending, receiving].map(|key| key.derive(Label::NoiseDatagrams));
        Self {
            sending: Sending { key: sending, epoch: 0, count: 0, since: now },
            current: Epoch::new(0, receiving),
            previous: None,
        }
    }

    /// Seals one frame of at most [`limits::FRAME_MAX`] bytes; it grows by [`DATAGRAM_OVERHEAD`].
    pub fn seal(&mut self, plaintext: &[u8], now: Timestamp) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > limits::FRAME_MAX {
            return Err(SealError::TooLong { bytes: plaintext.len() });
        }
        self.forget(now);
        let sending = &mut self.sending;
        if sending.count == 0 {
            sending.since = now;
        }
        if sending.count == FRAMES || is_old(sending.since, now) {
            let epoch = sending.epoch.checked_add(1).ok_or(SealError::Exhausted)?;
            *sending = Sending { key: sending.key.next(), epoch, count: 0, since: now };
        }
        let frame =
            sending.key.seal(sending.count, &header(sending.epoch, sending.count), plaintext);
        sending.count += 1;
        frame.ok_or(SealError::Exhausted)
    }

    /// Opens a frame, in whatever order it comes.
    pub fn open(&mut self, frame: &[u8], now: Timestamp) -> Result<Vec<u8>, NotNew> {
        self.forget(now);
        if frame.len() > limits::FRAME_MAX + DATAGRAM_OVERHEAD {
            return Err(NotNew);
        }
        let (header, sealed) = frame.split_first_chunk::<HEADER>().ok_or(NotNew)?;
        let (number, nonce) = read(header);
        if nonce >= FRAMES {
            return Err(NotNew);
        }
        if let Some(ahead) = number.checked_sub(self.current.number).filter(|ahead| *ahead > 0) {
            return self.open_ahead(ahead, nonce, header, sealed, now);
        }
        let before = self.previous.as_mut().map(|previous| &mut previous.epoch);
        let epoch = [Some(&mut self.current), before]
            .into_iter()
            .flatten()
            .find(|epoch| epoch.number == number)
            .ok_or(NotNew)?;
        epoch.open(nonce, header, sealed)
    }

    /// The first frame of a later epoch: only once it has opened are the keys replaced.
    fn open_ahead(
        &mut self,
        ahead: u32,
        nonce: u64,
        header: &[u8],
        sealed: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, NotNew> {
        if ahead > AHEAD {
            return Err(NotNew);
        }
        let lost = (1..ahead).fold(None, |lost: Option<Epoch>, _| {
            Some(lost.as_ref().unwrap_or(&self.current).following())
        });
        let mut epoch = lost.as_ref().unwrap_or(&self.current).following();
        let plaintext = epoch.open(nonce, header, sealed)?;
        let before = core::mem::replace(&mut self.current, epoch);
        self.previous =
            Some(Previous { epoch: lost.unwrap_or(before), until: now.plus_ms(PREVIOUS_MS) });
        Ok(plaintext)
    }

    /// Drops the previous key when its time is over, or when the clock went back and nobody knows.
    fn forget(&mut self, now: Timestamp) {
        self.previous.take_if(|previous| {
            now >= previous.until || previous.until.ms_since(now) > PREVIOUS_MS
        });
    }
}

impl Epoch {
    fn new(number: u32, key: FrameKey) -> Self {
        Self { number, key, window: Window::default() }
    }

    fn following(&self) -> Self {
        Self::new(self.number.saturating_add(1), self.key.next())
    }

    fn open(&mut self, nonce: u64, header: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotNew> {
        if !self.window.is_new(nonce) {
            return Err(NotNew);
        }
        let plaintext = self.key.open(nonce, header, sealed).ok_or(NotNew)?;
        self.window.mark(nonce);
        Ok(plaintext)
    }
}

fn header(epoch: u32, nonce: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&epoch.to_be_bytes());
    header[4..].copy_from_slice(&nonce.to_be_bytes());
    header
}

fn read(header: &[u8; HEADER]) -> (u32, u64) {
    let [a, b, c, d, nonce @ ..] = *header;
    (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(nonce))
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datagrams").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use proptest::{collection, prelude::*};

    use super::*;
    use crate::noise::{key::LIFE_MS, window::WINDOW};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn pair() -> (Datagrams, Datagrams) {
        let (one, two) = (FrameKey::new([1; 32]), FrameKey::new([2; 32]));
        (Datagrams::new(&one, &two, NOW), Datagrams::new(&two, &one, NOW))
    }

    fn at(epochs: u64) -> Timestamp {
        NOW.plus_ms(epochs * LIFE_MS)
    }

    #[test]
    fn frames_open_once_in_any_order_and_though_others_are_lost() {
        let (mut ada, mut bob) = pair();
        let frames: Vec<_> = (0..6_u8).map(|n| ada.seal(&[n], NOW).unwrap()).collect();
        for n in [5_u8, 0, 3, 1] {
            assert_eq!(bob.open(&frames[usize::from(n)], NOW).unwrap(), [n]);
        }
        for n in [5, 0, 3, 1] {
            assert_eq!(bob.open(&frames[n], NOW), Err(NotNew));
        }
        let back = bob.seal(b"back", NOW).unwrap();
        assert_eq!(back.len(), 4 + DATAGRAM_OVERHEAD);
        assert_eq!(ada.open(&back, NOW).unwrap(), b"back");
        // What one side sealed, it doesn't take from the other.
        assert_eq!(bob.open(&back, NOW), Err(NotNew));
    }

    #[test]
    fn a_frame_older_than_the_window_is_refused_and_one_within_it_is_not() {
        let (mut ada, mut bob) = pair();
        let frames: Vec<_> = (0..=WINDOW).map(|_| ada.seal(b"x", NOW).unwrap()).collect();
        bob.open(frames.last().unwrap(), NOW).unwrap();
        assert_eq!(bob.open(&frames[0], NOW), Err(NotNew));
        assert!(bob.open(&frames[1], NOW).is_ok());
    }

    #[test]
    fn a_frame_that_does_not_open_changes_nothing() {
        let (mut ada, mut bob) = pair();
        let frame = ada.seal(b"frame", NOW).unwrap();
        for at in 0..frame.len() {
            let mut changed = frame.clone();
            changed[at] ^= 1;
            assert_eq!(bob.open(&changed, NOW), Err(NotNew), "byte {at}");
        }
        // Far-future nonces and epochs: forged, they don't move the window.
        for (epoch, nonce) in [(0, 1), (0, FRAMES - 1), (0, FRAMES), (0, u64::MAX), (1, 0)]
            .into_iter()
            .chain([(AHEAD, 5), (AHEAD + 1, 5), (u32::MAX, 0)])
        {
            let forged = [&header(epoch, nonce), &frame[HEADER..]].concat();
            assert_eq!(bob.open(&forged, NOW), Err(NotNew), "{epoch} {nonce}");
        }
        for cut in [0, 11, 12, 27] {
            assert_eq!(bob.open(&frame[..cut], NOW), Err(NotNew));
        }
        assert_eq!(bob.open(&[0; 70_000], NOW), Err(NotNew));
        assert_eq!(bob.open(&frame, NOW).unwrap(), b"frame");
    }

    #[test]
    fn a_nonce_that_no_honest_peer_reaches_is_refused_though_it_authenticates() {
        let (ada, mut bob) = pair();
        for nonce in [FRAMES, u64::MAX - 1] {
            let frame = ada.sending.key.seal(nonce, &header(0, nonce), b"far").unwrap();
            assert_eq!(bob.open(&frame, NOW), Err(NotNew));
        }
        let nonce = FRAMES - 1;
        let frame = ada.sending.key.seal(nonce, &header(0, nonce), b"far").unwrap();
        assert_eq!(bob.open(&frame, NOW).unwrap(), b"far");
    }

    #[test]
    fn the_key_changes_by_count_and_by_time() {
        let (mut ada, mut bob) = pair();
        ada.sending.count = FRAMES - 1;
        let epochs = [(NOW, 0, FRAMES - 1), (NOW, 1, 0), (at(1), 2, 0), (at(1), 2, 1)];
        for (now, epoch, nonce) in epochs {
            let frame = ada.seal(b"x", now).unwrap();
            assert_eq!(frame[..HEADER], header(epoch, nonce));
            assert_eq!(bob.open(&frame, now).unwrap(), b"x");
        }
    }

    #[test]
    fn late_frames_of_the_epoch_before_open_for_a_minute() {
        let (mut ada, mut bob) = pair();
        let old: Vec<_> = (0..3).map(|_| ada.seal(b"old", NOW).unwrap()).collect();
        let new = ada.seal(b"new", at(1)).unwrap();
        bob.open(&old[0], NOW).unwrap();
        bob.open(&new, at(1)).unwrap();
        assert_eq!(bob.open(&old[0], at(1)), Err(NotNew));
        assert_eq!(bob.open(&old[1], at(1).plus_ms(PREVIOUS_MS - 1)).unwrap(), b"old");
        assert_eq!(bob.open(&old[2], at(1).plus_ms(PREVIOUS_MS)), Err(NotNew));
        // And is gone: a clock that goes back brings nothing again.
        assert!(bob.previous.is_none());
        assert_eq!(bob.open(&old[2], at(1)), Err(NotNew));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_keep_an_old_key() {
        let (mut ada, mut bob) = pair();
        let old: Vec<_> = (0..2).map(|_| ada.seal(b"old", NOW).unwrap()).collect();
        let new = ada.seal(b"new", at(1)).unwrap();
        bob.open(&old[0], NOW).unwrap();
        bob.open(&new, at(1)).unwrap();
        assert_eq!(bob.open(&old[1], NOW), Err(NotNew));
    }

    #[test]
    fn whole_epochs_may_be_lost() {
        for lost in 0..u64::from(AHEAD) + 2 {
            let (mut ada, mut bob) = pair();
            let first = ada.seal(b"first", NOW).unwrap();
            bob.open(&first, NOW).unwrap();
            let mut between = Vec::new();
            for epoch in 1..=lost {
                between = [0, 1].map(|_| ada.seal(b"lost", at(epoch)).unwrap()).into();
            }
            let now = at(lost + 1);
            let frame = ada.seal(b"after", now).unwrap();
            let opened = bob.open(&frame, now);
            assert_eq!(opened.is_ok(), lost < u64::from(AHEAD), "{lost}");
            // Of the epoch just before, late ones still open: once.
            if let (true, Some(late)) = (opened.is_ok(), between.first()) {
                assert_eq!(bob.open(late, now).unwrap(), b"lost");
                assert_eq!(bob.open(late, now), Err(NotNew));
            }
        }
    }

    #[test]
    fn the_last_epoch_is_the_end() {
        let (mut ada, _) = pair();
        (ada.sending.epoch, ada.sending.count) = (u32::MAX, FRAMES - 1);
        assert!(ada.seal(b"last", NOW).is_ok());
        assert_eq!(ada.seal(b"more", NOW), Err(SealError::Exhausted));
        let bytes = limits::FRAME_MAX + 1;
        assert_eq!(ada.seal(&vec![0; bytes], NOW), Err(SealError::TooLong { bytes }));
    }

    proptest! {
        /// Whatever a network does to frames over several epochs: each opens at most once, as it
        /// was sealed, and those that come in order all open.
        #[test]
        fn no_frame_opens_twice_whatever_the_network_does(
            steps in collection::vec(0..200_000_u64, 1..40),
            order in collection::vec((any::<prop::sample::Index>(), 0..3_u8), 1..120),
        ) {
            let (mut ada, mut bob) = pair();
            let mut now = NOW;
            let frames: Vec<_> = steps
                .iter()
                .enumerate()
                .map(|(n, ms)| {
                    now = now.plus_ms(*ms);
                    ada.seal(&n.to_be_bytes(), now).unwrap()
                })
                .collect();
            let mut opened = vec![false; frames.len()];
            for (index, flip) in order {
                let n = index.index(frames.len());
                let mut frame = frames[n].clone();
                if flip == 2 {
                    let at = n % frame.len();
                    frame[at] ^= 4;
                    prop_assert_eq!(bob.open(&frame, now), Err(NotNew));
                } else if let Ok(body) = bob.open(&frame, now) {
                    prop_assert!(!opened[n]);
                    prop_assert_eq!(body, n.to_be_bytes());
                    opened[n] = true;
                }
            }
            let (_, mut bob) = pair();
            for (n, frame) in frames.iter().enumerate() {
                prop_assert_eq!(bob.open(frame, now).unwrap(), n.to_be_bytes());
            }
        }
    }
}
