//! Channels: Noise XXpsk3 with ML-KEM-768 between members, XXpsk0+psk3 for redeeming an invite
//! (docs/spec/noise.md).
//!
//! > Noise by itself authenticates nobody here. Nothing of a channel is exposed before the other
//! > side's signed certificate is checked against the Noise-authenticated static key.
//!
//! One side calls [`initiate`], the other [`respond`]; each step consumes the state before it, so a
//! failed handshake can't go on. Both sides end with a [`Session`] and the [`Peer`] that it is with.
//!
//! ```text
//! initiator                                          responder
//! initiate ── suite ‖ purpose ‖ msg1: KEM key ───▶ respond
//! ExpectResponse::read ◀── msg2: ident, extra, KEM ciphertext ── ExpectFinish
//! Verified: look at peer and extra
//! Verified::finish ──── msg3: ident, extra ──────▶ ExpectFinish::read
//! Session ◀──────────── sealed frames ───────────▶ Session
//! ```
//!
//! prologue = "wt1/noise" ‖ suite u8 ‖ purpose u8 ‖ BLAKE2b-256("wt1 session", session id) or 32
//! zero bytes. The payload of msg1 is the encapsulation key; those of msg2 and msg3 are CBOR [ident,
//! extra bstr] with the ciphertext as msg2's third element; ident = [card bstr, not_after,
//! certificate]. The classical suite, XX and XXpsk0, has neither key nor ciphertext.

mod datagrams;
mod handshake;
mod ident;
mod key;
mod resolver;
mod session;
#[cfg(test)]
mod vectors;
mod window;

pub(crate) use key::FrameKey;

pub use datagrams::{DATAGRAM_OVERHEAD, Datagrams, NotNew};
pub use handshake::{
    ExpectFinish, ExpectResponse, HandshakeError, Purpose, Suite, Terms, Verified, initiate,
    respond,
};
pub use ident::{IdentError, NoiseKey, Peer};
pub use session::{FRAME_OVERHEAD, InUse, OpenError, SealError, Session};
