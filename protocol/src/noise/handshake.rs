//! The three messages of a handshake, one type for each thing that is waited for.
//!
//! > A handshake ends with the suite that its initiator chose, or it doesn't end: the suite is in
//! > Noise's own name for the protocol and in the prologue, and nobody tries a weaker one by itself.

use alloc::{boxed::Box, vec, vec::Vec};
use core::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use snow::{Builder, HandshakeState, params::NoiseParams};

use crate::{
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32},
    ids::Timestamp,
    kem::{CIPHERTEXT, KemPublic, KemSecret, Shared},
    noise::{
        ident::{Ident, IdentError, NoiseKey, Peer},
        key::FrameKey,
        resolver::Resolver,
        session::Session,
    },
};

/// Which primitives a channel uses: its first clear byte. The greater is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Suite {
    /// X25519, ChaCha20-Poly1305, BLAKE2b.
    Classical = 1,
    /// The same with ML-KEM-768, whose shared secret is a psk of msg3: what is said from there on
    /// stays secret unless both fall.
    Hybrid = 2,
}

/// What a channel is for: its second clear byte.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// 0: a channel between members, Noise XX or XXpsk3.
    Channel,
    /// 1: the redeeming of an invite, Noise XXpsk0 or XXpsk0+psk3, with this key as psk0. Without
    /// the key not even msg1 can be made, so a stranger never gets a byte of the responder's
    /// identity.
    Join {
        /// The invite's pre-shared key.
        psk: &'a [u8; 32],
    },
}

/// What both sides must agree on beforehand; where they don't, the handshake fails.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What the channel is for.
    pub purpose: Purpose<'a>,
    /// The session id under which a relay or a mailbox carries the frames; none on a stream.
    pub session: Option<&'a [u8; 16]>,
    /// What an initiator uses, and the weakest that a responder takes.
    pub suite: Suite,
}

/// Why a handshake failed. For the log; the peer is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first message asks for primitives that aren't taken here: unknown, or too weak.
    #[error("suite {0} is not taken")]
    Suite(u8),
    /// The first message is for another purpose.
    #[error("purpose {0} was not expected")]
    Purpose(u8),
    /// Not the expected message of this handshake: garbage, changed, another key, other terms.
    #[error("the message does not authenticate")]
    Noise,
    /// The suite is classical, and the peer's card says that it can do more. Not even the peer may
    /// choose that.
    #[error("a peer with an ML-KEM key of its own came without")]
    Downgrade,
    /// The encapsulation key in msg1 isn't one.
    #[error("the message holds no encapsulation key")]
    Kem,
    /// What the peer says of itself doesn't hold.
    #[error(transparent)]
    Ident(#[from] IdentError),
    /// The extra payload doesn't fit: split it.
    #[error("a handshake message would have {bytes} bytes, {MESSAGE_MAX} at most")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// The initiator, between msg1 and msg2.
pub struct ExpectResponse {
    noise: HandshakeState,
    ident: Ident,
    suite: Suite,
    kem: Option<KemSecret>,
}

/// The initiator, who knows by now whom it talks to and has said nothing of itself.
pub struct Verified {
    noise: HandshakeState,
    ident: Ident,
    peer: Peer,
    extra: Vec<u8>,
    suite: Suite,
    now: Timestamp,
}

/// The responder, between msg2 and msg3. The initiator may still be anybody.
pub struct ExpectFinish {
    noise: HandshakeState,
    suite: Suite,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Payload {
    #[n(0)]
    ident: Ident,
    #[cbor(n(1), with = "minicbor::bytes")]
    extra: Vec<u8>,
    /// In msg2 of the hybrid suite, and nowhere else.
    #[cbor(n(2), with = "minicbor::bytes")]
    ciphertext: Option<Vec<u8>>,
}

/// The psk that ML-KEM gives: mixed in at the end of msg3.
const KEM_PSK: usize = 3;

/// The longest message that Noise allows.
const MESSAGE_MAX: usize = 65_535;

/// What msg2 adds to its payload at most: two keys and two tags.
const OVERHEAD: usize = 96;

/// Starts a handshake, and gives the first frame.
pub fn initiate(
    terms: Terms<'_>,
    key: &NoiseKey,
    me: &Endpoint,
    rng: &mut impl CryptoRng,
) -> Result<(ExpectResponse, Vec<u8>), HandshakeError> {
    let suite = terms.suite;
    let mut noise = build(suite, terms, key, rng, Role::Initiator)?;
    let kem = (suite == Suite::Hybrid).then(|| KemSecret::generate(rng));
    let public = kem.as_ref().map(KemSecret::public);
    let mut frame = Vec::from([suite as u8, terms.purpose.byte()]);
    frame.extend(write(&mut noise, public.as_ref().map_or(&[], |key| key.as_bytes()))?);
    Ok((ExpectResponse { noise, ident: key.ident(me), suite, kem }, frame))
}

/// Answers an initiator's first frame: the answer carries this side's ident and `extra`, readable
/// by that initiator alone.
pub fn respond(
    terms: Terms<'_>,
    key: &NoiseKey,
    me: &Endpoint,
    frame: &[u8],
    extra: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(ExpectFinish, Vec<u8>), HandshakeError> {
    let &[suite, purpose, ref message @ ..] = frame else {
        return Err(HandshakeError::Noise);
    };
    let suite = Suite::from_byte(suite)
        .filter(|suite| *suite >= terms.suite)
        .ok_or(HandshakeError::Suite(suite))?;
    if purpose != terms.purpose.byte() {
        return Err(HandshakeError::Purpose(purpose));
    }
    let mut noise = build(suite, terms, key, rng, Role::Responder)?;
    let public = read(&mut noise, message)?;
    let (ciphertext, shared) = match suite {
        Suite::Classical if public.is_empty() => (None, None),
        Suite::Classical => return Err(HandshakeError::Noise),
        Suite::Hybrid => {
            let public = KemPublic::from_bytes(&public).map_err(|_| HandshakeError::Kem)?;
            let (ciphertext, shared) = public.encapsulate(rng);
            (Some(Vec::from(ciphertext.as_slice())), Some(shared))
        }
    };
    let payload = Payload { ident: key.ident(me), extra: extra.into(), ciphertext };
    let answer = write(&mut noise, &codec::encode(&payload))?;
    mix(&mut noise, shared)?;
    Ok((ExpectFinish { noise, suite }, answer))
}

impl ExpectResponse {
    /// Reads msg2 and checks who sent it.
    pub fn read(mut self, message: &[u8], now: Timestamp) -> Result<Verified, HandshakeError> {
        let (peer, extra, ciphertext) = read_ident(&mut self.noise, self.suite, message, now)?;
        let shared = match (&self.kem, &ciphertext) {
            (None, None) => None,
            (Some(kem), Some(ciphertext)) => Some(kem.decapsulate(ciphertext)),
            _ => return Err(HandshakeError::Noise),
        };
        mix(&mut self.noise, shared)?;
        let Self { noise, ident, suite, .. } = self;
        Ok(Verified { noise, ident, peer, extra, suite, now })
    }
}

impl Verified {
    /// Says who this side is: gives msg3, with `extra`, and the channel.
    pub fn finish(mut self, extra: &[u8]) -> Result<(Vec<u8>, Session), HandshakeError> {
        let payload = Payload { ident: self.ident, extra: extra.into(), ciphertext: None };
        let message = write(&mut self.noise, &codec::encode(&payload))?;
        Ok((message, into_session(self.noise, self.suite, self.now)?))
    }

    /// Whom the channel would be with.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The responder's extra payload.
    #[must_use]
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// The handshake hash up to and with msg2, cut to 32 bytes: what msg3 may sign to be of this
    /// handshake alone.
    #[must_use]
    pub fn handshake_hash(&self) -> [u8; 32] {
        hash(&self.noise)
    }
}

impl ExpectFinish {
    /// Reads msg3 and checks who sent it: gives the channel, the peer and its extra payload.
    pub fn read(
        mut self,
        message: &[u8],
        now: Timestamp,
    ) -> Result<(Session, Peer, Vec<u8>), HandshakeError> {
        let (peer, extra, ciphertext) = read_ident(&mut self.noise, self.suite, message, now)?;
        if ciphertext.is_some() {
            return Err(HandshakeError::Noise);
        }
        Ok((into_session(self.noise, self.suite, now)?, peer, extra))
    }

    /// The handshake hash up to and with msg2: the same as [`Verified::handshake_hash`].
    #[must_use]
    pub fn handshake_hash(&self) -> [u8; 32] {
        hash(&self.noise)
    }
}

impl Suite {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Classical),
            2 => Some(Self::Hybrid),
            _ => None,
        }
    }

    /// The Noise protocol name.
    const fn protocol(self, purpose: Purpose<'_>) -> &'static str {
        match (self, purpose) {
            (Self::Classical, Purpose::Channel) => "Noise_XX_25519_ChaChaPoly_BLAKE2b",
            (Self::Classical, Purpose::Join { .. }) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2b",
            (Self::Hybrid, Purpose::Channel) => "Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b",
            (Self::Hybrid, Purpose::Join { .. }) => "Noise_XXpsk0+psk3_25519_ChaChaPoly_BLAKE2b",
        }
    }
}

impl Purpose<'_> {
    const fn byte(self) -> u8 {
        match self {
            Self::Channel => 0,
            Self::Join { .. } => 1,
        }
    }
}

fn prologue(suite: Suite, terms: Terms<'_>) -> Vec<u8> {
    let session = terms.session.map_or([0; 32], |id| hash32(Label::Session, &[id]));
    [b"wt1/noise".as_slice(), &[suite as u8, terms.purpose.byte()], &session].concat()
}

enum Role {
    Initiator,
    Responder,
}

fn build(
    suite: Suite,
    terms: Terms<'_>,
    key: &NoiseKey,
    rng: &mut impl CryptoRng,
    role: Role,
) -> Result<HandshakeState, HandshakeError> {
    let params: NoiseParams =
        suite.protocol(terms.purpose).parse().map_err(|_| HandshakeError::Noise)?;
    let prologue = prologue(suite, terms);
    let builder = Builder::with_resolver(params, Box::new(Resolver::new(rng)));
    match terms.purpose {
        Purpose::Channel => Ok(builder),
        Purpose::Join { psk } => builder.psk(0, psk),
    }
    .and_then(|builder| builder.prologue(&prologue))
    .and_then(|builder| builder.local_private_key(key.secret()))
    .and_then(|builder| match role {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    })
    .map_err(|_| HandshakeError::Noise)
}

fn write(noise: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let bytes = payload.len() + OVERHEAD;
    if bytes > MESSAGE_MAX {
        return Err(HandshakeError::TooLong { bytes });
    }
    let mut message = vec![0; bytes];
    let len = noise.write_message(payload, &mut message).map_err(|_| HandshakeError::Noise)?;
    message.truncate(len);
    Ok(message)
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if message.len() > MESSAGE_MAX {
        return Err(HandshakeError::Noise);
    }
    let mut payload = vec![0; message.len()];
    let len = noise.read_message(message, &mut payload).map_err(|_| HandshakeError::Noise)?;
    payload.truncate(len);
    Ok(payload)
}

/// Sets the psk that both sides have from the KEM. Where a changed ciphertext or another key gave
/// another, msg3 doesn't authenticate.
fn mix(noise: &mut HandshakeState, shared: Option<Shared>) -> Result<(), HandshakeError> {
    match shared {
        Some(shared) => {
            noise.set_psk(KEM_PSK, shared.as_slice()).map_err(|_| HandshakeError::Noise)
        }
        None => Ok(()),
    }
}

type Told = (Peer, Vec<u8>, Option<[u8; CIPHERTEXT]>);

fn read_ident(
    noise: &mut HandshakeState,
    suite: Suite,
    message: &[u8],
    now: Timestamp,
) -> Result<Told, HandshakeError> {
    let payload = read(noise, message)?;
    let payload: Payload = codec::decode(&payload).map_err(|_| IdentError::Malformed)?;
    let remote = noise.get_remote_static().ok_or(HandshakeError::Noise)?;
    let peer = payload.ident.verify(remote, now)?;
    if suite < Suite::Hybrid && peer.card.card().kk.is_some() {
        return Err(HandshakeError::Downgrade);
    }
    let ciphertext = payload
        .ciphertext
        .map(|bytes| bytes.try_into().map_err(|_| IdentError::Malformed))
        .transpose()?;
    Ok((peer, payload.extra, ciphertext))
}

/// The first 32 bytes of Noise's 64-byte handshake hash.
fn hash(noise: &HandshakeState) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(&noise.get_handshake_hash()[..32]);
    hash
}

/// Noise's Split(): the frames and their keys are this crate's own from here on.
fn into_session(
    mut noise: HandshakeState,
    suite: Suite,
    now: Timestamp,
) -> Result<Session, HandshakeError> {
    if !noise.is_handshake_finished() {
        return Err(HandshakeError::Noise);
    }
    let (there, back) = noise.dangerously_get_raw_split();
    let (there, back) = (FrameKey::new(there), FrameKey::new(back));
    let (sending, receiving) = if noise.is_initiator() { (there, back) } else { (back, there) };
    Ok(Session::new(sending, receiving, suite, hash(&noise), now))
}

macro_rules! opaque {
    ($($state:ident),*) => { $(
        impl fmt::Debug for $state {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($state)).finish_non_exhaustive()
            }
        }
    )* };
}

opaque!(ExpectResponse, Verified, ExpectFinish);

#[cfg(test)]
mod tests;
