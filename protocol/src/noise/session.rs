//! An open channel: sealed frames, in order, both ways.
//!
//! > A frame that doesn't open changes nothing, and frames open only in the order in which they
//! > were sealed. Each direction's key is replaced after 2^16 frames.

use alloc::{vec, vec::Vec};
use core::fmt;

use snow::StatelessTransportState;

use crate::limits;

/// A channel with a proven peer.
pub struct Session {
    transport: StatelessTransportState,
    sent: u64,
    received: u64,
    hash: [u8; 32],
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
    /// 2^64 - 1 frames were sealed: make a new channel.
    #[error("the channel is used up")]
    Exhausted,
}

/// A frame that isn't the next one of this channel. Close the channel, and tell the peer nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the next frame of this channel")]
pub struct OpenError;

/// Frames in one direction under one key: both sides count, so no message announces a new key.
const REKEY_AFTER: u64 = 1 << 16;

const TAG: usize = 16;

impl Session {
    pub(super) fn new(transport: StatelessTransportState, hash: [u8; 32]) -> Self {
        Self { transport, sent: 0, received: 0, hash }
    }

    /// Seals one frame of at most [`limits::FRAME_MAX`] bytes; it grows by 16.
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > limits::FRAME_MAX {
            return Err(SealError::TooLong { bytes: plaintext.len() });
        }
        let mut frame = vec![0; plaintext.len() + TAG];
        let len = self
            .transport
            .write_message(self.sent, plaintext, &mut frame)
            .map_err(|_| SealError::Exhausted)?;
        frame.truncate(len);
        self.sent += 1;
        if self.sent.is_multiple_of(REKEY_AFTER) {
            self.transport.rekey_outgoing();
        }
        Ok(frame)
    }

    /// Opens the peer's next frame.
    pub fn open(&mut self, frame: &[u8]) -> Result<Vec<u8>, OpenError> {
        let len = frame.len().checked_sub(TAG).ok_or(OpenError)?;
        if len > limits::FRAME_MAX {
            return Err(OpenError);
        }
        let mut plaintext = vec![0; len];
        self.transport.read_message(self.received, frame, &mut plaintext).map_err(|_| OpenError)?;
        self.received += 1;
        if self.received.is_multiple_of(REKEY_AFTER) {
            self.transport.rekey_incoming();
        }
        Ok(plaintext)
    }

    /// The channel binding: the first 32 bytes of Noise's handshake hash, equal on both sides and
    /// different for every channel.
    #[must_use]
    pub fn handshake_hash(&self) -> [u8; 32] {
        self.hash
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use snow::Builder;

    use super::*;
    use crate::noise::resolver::Resolver;

    /// Two ends of one channel, the same at each call.
    fn pair() -> (Session, Session) {
        let side = |seed| {
            let name = "Noise_NN_25519_ChaChaPoly_BLAKE2b".parse().unwrap();
            let resolver = Resolver::new(&mut ChaCha20Rng::seed_from_u64(seed));
            Builder::with_resolver(name, alloc::boxed::Box::new(resolver))
        };
        let mut ada = side(1).build_initiator().unwrap();
        let mut bob = side(2).build_responder().unwrap();
        let (mut message, mut payload) = ([0; 64], [0; 64]);
        let len = ada.write_message(&[], &mut message).unwrap();
        bob.read_message(&message[..len], &mut payload).unwrap();
        let len = bob.write_message(&[], &mut message).unwrap();
        ada.read_message(&message[..len], &mut payload).unwrap();
        let session = |noise: snow::HandshakeState| {
            Session::new(noise.into_stateless_transport_mode().unwrap(), [0; 32])
        };
        (session(ada), session(bob))
    }

    #[test]
    fn a_frame_that_does_not_open_changes_nothing() {
        let (mut ada, mut bob) = pair();
        let first = ada.seal(b"first").unwrap();
        let second = ada.seal(b"second").unwrap();
        let mut changed = first.clone();
        changed[0] ^= 1;
        let refused: [&[u8]; 5] = [&second, &changed, &first[..20], &[], &[0; 70_000]];
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
        assert_eq!(ada.seal(&vec![0; bytes]), Err(SealError::TooLong { bytes }));
        let frame = ada.seal(&[7; limits::FRAME_MAX]).unwrap();
        assert_eq!(bob.open(&frame).unwrap(), [7; limits::FRAME_MAX]);
    }

    #[test]
    fn both_sides_change_the_key_after_the_same_frame() {
        let (mut ada, mut bob) = pair();
        let (never, _) = pair();
        for side in [&mut ada, &mut bob] {
            (side.sent, side.received) = (REKEY_AFTER - 2, REKEY_AFTER - 2);
        }
        for n in REKEY_AFTER - 2..REKEY_AFTER + 2 {
            let frame = ada.seal(b"there").unwrap();
            let mut old = [0; 5 + TAG];
            never.transport.write_message(n, b"there", &mut old).unwrap();
            assert_eq!(frame == old, n < REKEY_AFTER, "frame {n}");
            assert_eq!(bob.open(&frame).unwrap(), b"there", "frame {n}");
            let frame = bob.seal(b"and back").unwrap();
            assert_eq!(ada.open(&frame).unwrap(), b"and back", "frame {n}");
        }
    }

    #[test]
    fn the_last_nonce_is_never_used() {
        let (mut ada, mut bob) = pair();
        (ada.sent, bob.received) = (u64::MAX - 1, u64::MAX - 1);
        let last = ada.seal(b"last").unwrap();
        assert_eq!(bob.open(&last).unwrap(), b"last");
        assert_eq!(ada.seal(b"one more"), Err(SealError::Exhausted));
        assert_eq!(bob.open(&last), Err(OpenError));
    }
}
