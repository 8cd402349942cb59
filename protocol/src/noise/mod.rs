//! Channels: Noise XX between members, Noise XXpsk0 for redeeming an invite (docs/spec/noise.md).
//!
//! > Noise XX by itself authenticates nobody. Nothing of a channel is exposed before the other
//! > side's signed certificate is checked against the Noise-authenticated static key.
//!
//! One side calls [`initiate`], the other [`respond`]; each step consumes the state before it, so a
//! failed handshake can't go on. Both sides end with a [`Session`] and the [`Peer`] that it is with.
//!
//! ```text
//! initiator                                          responder
//! initiate ──── suite u8 ‖ purpose u8 ‖ msg1 ────▶ respond
//! ExpectResponse::read ◀── msg2: ident, extra ──── ExpectFinish
//! Verified: look at peer and extra
//! Verified::finish ──── msg3: ident, extra ──────▶ ExpectFinish::read
//! Session ◀──────────── sealed frames ───────────▶ Session
//! ```
//!
//! prologue = "wt1/noise" ‖ suite u8 ‖ purpose u8 ‖ BLAKE2b-256("wt1 session", session id) or 32
//! zero bytes. The payloads of msg2 and msg3 are CBOR [ident, extra bstr], with ident = [card bstr,
//! not_after, certificate]; that of msg1 is empty.

mod handshake;
mod ident;
mod resolver;
mod session;

pub use handshake::{
    ExpectFinish, ExpectResponse, HandshakeError, Purpose, Suite, Terms, Verified, initiate,
    respond,
};
pub use ident::{IdentError, NoiseKey, Peer};
pub use session::{OpenError, SealError, Session};
