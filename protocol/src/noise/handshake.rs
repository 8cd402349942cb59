//! The three messages of a handshake, one type for each thing that is waited for.

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
    noise::{
        ident::{Ident, IdentError, NoiseKey, Peer},
        resolver::Resolver,
        session::Session,
    },
};

/// Which primitives a channel uses: its first clear byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// X25519, ChaCha20-Poly1305, BLAKE2b.
    Classical = 1,
    /// The same with ML-KEM-768. This version recognises and refuses it.
    Hybrid = 2,
}

/// What a channel is for: its second clear byte.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// 0: a channel between members, Noise XX.
    Channel,
    /// 1: the redeeming of an invite, Noise XXpsk0 with this key. Without the key not even msg1
    /// can be made, so a stranger never gets a byte of the responder's identity.
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
}

/// Why a handshake failed. For the log; the peer is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The first message asks for primitives that this version doesn't have.
    #[error("suite {0} is not supported")]
    Suite(u8),
    /// The first message is for another purpose.
    #[error("purpose {0} was not expected")]
    Purpose(u8),
    /// Not the expected message of this handshake: garbage, changed, another key, other terms.
    #[error("the message does not authenticate")]
    Noise,
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
}

/// The initiator, who knows by now whom it talks to and has said nothing of itself.
pub struct Verified {
    noise: HandshakeState,
    ident: Ident,
    peer: Peer,
    extra: Vec<u8>,
}

/// The responder, between msg2 and msg3. The initiator may still be anybody.
pub struct ExpectFinish {
    noise: HandshakeState,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Payload {
    #[n(0)]
    ident: Ident,
    #[cbor(n(1), with = "minicbor::bytes")]
    extra: Vec<u8>,
}

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
    let suite = Suite::Classical;
    let mut noise = build(suite, terms, key, rng, Role::Initiator)?;
    let mut frame = Vec::from([suite as u8, terms.purpose.byte()]);
    frame.extend(write(&mut noise, &[])?);
    Ok((ExpectResponse { noise, ident: key.ident(me) }, frame))
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
    let suite = Suite::from_byte(suite).ok_or(HandshakeError::Suite(suite))?;
    if purpose != terms.purpose.byte() {
        return Err(HandshakeError::Purpose(purpose));
    }
    let mut noise = build(suite, terms, key, rng, Role::Responder)?;
    if !read(&mut noise, message)?.is_empty() {
        return Err(HandshakeError::Noise);
    }
    let payload = Payload { ident: key.ident(me), extra: extra.into() };
    let answer = write(&mut noise, &codec::encode(&payload))?;
    Ok((ExpectFinish { noise }, answer))
}

impl ExpectResponse {
    /// Reads msg2 and checks who sent it.
    pub fn read(mut self, message: &[u8], now: Timestamp) -> Result<Verified, HandshakeError> {
        let (peer, extra) = read_ident(&mut self.noise, message, now)?;
        Ok(Verified { noise: self.noise, ident: self.ident, peer, extra })
    }
}

impl Verified {
    /// Says who this side is: gives msg3, with `extra`, and the channel.
    pub fn finish(mut self, extra: &[u8]) -> Result<(Vec<u8>, Session), HandshakeError> {
        let payload = Payload { ident: self.ident, extra: extra.into() };
        let message = write(&mut self.noise, &codec::encode(&payload))?;
        Ok((message, into_session(self.noise)?))
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
        let (peer, extra) = read_ident(&mut self.noise, message, now)?;
        Ok((into_session(self.noise)?, peer, extra))
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

    /// The Noise protocol name; none if this version doesn't have the suite.
    const fn protocol(self, purpose: Purpose<'_>) -> Option<&'static str> {
        match (self, purpose) {
            (Self::Classical, Purpose::Channel) => Some("Noise_XX_25519_ChaChaPoly_BLAKE2b"),
            (Self::Classical, Purpose::Join { .. }) => {
                Some("Noise_XXpsk0_25519_ChaChaPoly_BLAKE2b")
            }
            (Self::Hybrid, _) => None,
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
    let name = suite.protocol(terms.purpose).ok_or(HandshakeError::Suite(suite as u8))?;
    let params: NoiseParams = name.parse().map_err(|_| HandshakeError::Noise)?;
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

fn read_ident(
    noise: &mut HandshakeState,
    message: &[u8],
    now: Timestamp,
) -> Result<(Peer, Vec<u8>), HandshakeError> {
    let payload = read(noise, message)?;
    let payload: Payload = codec::decode(&payload).map_err(|_| IdentError::Malformed)?;
    let remote = noise.get_remote_static().ok_or(HandshakeError::Noise)?;
    let peer = payload.ident.verify(remote, now)?;
    Ok((peer, payload.extra))
}

/// The first 32 bytes of Noise's 64-byte handshake hash.
fn hash(noise: &HandshakeState) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(&noise.get_handshake_hash()[..32]);
    hash
}

fn into_session(noise: HandshakeState) -> Result<Session, HandshakeError> {
    let hash = hash(&noise);
    let transport = noise.into_stateless_transport_mode().map_err(|_| HandshakeError::Noise)?;
    Ok(Session::new(transport, hash))
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
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const CHANNEL: Terms<'_> = Terms { purpose: Purpose::Channel, session: None };
    const JOIN: Terms<'_> =
        Terms { purpose: Purpose::Join { psk: &[9; 32] }, session: Some(&[3; 16]) };

    struct Side {
        me: Endpoint,
        key: NoiseKey,
        rng: ChaCha20Rng,
    }

    fn side(name: &str, seed: u64) -> Side {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let me = Endpoint::generate(name, Vec::new(), &mut rng).unwrap();
        let key = NoiseKey::generate(&me, NOW, &mut rng);
        Side { me, key, rng }
    }

    impl Side {
        fn initiate(&mut self, terms: Terms<'_>) -> (ExpectResponse, Vec<u8>) {
            initiate(terms, &self.key, &self.me, &mut self.rng).unwrap()
        }

        fn respond(
            &mut self,
            terms: Terms<'_>,
            frame: &[u8],
        ) -> Result<(ExpectFinish, Vec<u8>), HandshakeError> {
            respond(terms, &self.key, &self.me, frame, b"two", &mut self.rng)
        }
    }

    type Done = (Session, Session, [Vec<u8>; 3]);

    /// A whole handshake, its three messages changed on the way.
    fn run(
        terms: [Terms<'_>; 2],
        change: impl Fn(usize, &mut Vec<u8>),
    ) -> Result<Done, (usize, HandshakeError)> {
        let (mut ada, mut bob) = (side("Ada", 1), side("Bob", 2));
        let (ada_waits, mut one) = ada.initiate(terms[0]);
        change(1, &mut one);
        let (bob_waits, mut two) = bob.respond(terms[1], &one).map_err(|e| (1, e))?;
        change(2, &mut two);
        let verified = ada_waits.read(&two, NOW).map_err(|e| (2, e))?;
        assert_eq!((verified.peer().member, verified.extra()), (bob.me.member(), &b"two"[..]));
        assert_eq!(verified.handshake_hash(), bob_waits.handshake_hash());
        let (mut three, ada_session) = verified.finish(b"three").unwrap();
        change(3, &mut three);
        let (bob_session, peer, extra) = bob_waits.read(&three, NOW).map_err(|e| (3, e))?;
        assert_eq!((peer.member, &peer.card), (ada.me.member(), ada.me.card()));
        assert_eq!(extra, b"three");
        Ok((ada_session, bob_session, [one, two, three]))
    }

    #[test]
    fn both_sides_end_with_one_channel_and_each_other() {
        for terms in [CHANNEL, JOIN] {
            let (mut ada, mut bob, frames) = run([terms; 2], |_, _| {}).unwrap();
            assert_eq!(ada.handshake_hash(), bob.handshake_hash());
            assert_eq!(frames[0][..2], [1, terms.purpose.byte()]);
            let frame = ada.seal(b"hello").unwrap();
            assert_eq!(bob.open(&frame).unwrap(), b"hello");
            let frame = bob.seal(b"hello yourself").unwrap();
            assert_eq!(ada.open(&frame).unwrap(), b"hello yourself");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let frames = || run([CHANNEL; 2], |_, _| {}).unwrap().2;
        assert_eq!(frames(), frames());
        let (mut ada, mut again) = (side("Ada", 1), side("Ada", 1));
        assert_ne!(ada.initiate(CHANNEL).1, ada.initiate(CHANNEL).1);
        assert_ne!(ada.initiate(CHANNEL).1, again.initiate(CHANNEL).1);
    }

    #[test]
    fn a_message_that_was_changed_cut_or_lengthened_is_refused_at_each_step() {
        for terms in [CHANNEL, JOIN] {
            for step in 1..=3 {
                let refused = |change: &dyn Fn(&mut Vec<u8>)| {
                    let end = run([terms; 2], |n, frame| {
                        if n == step {
                            change(frame);
                        }
                    });
                    end.err().map(|(at, _)| at)
                };
                // A changed ephemeral key in the clear msg1 of a channel shows at msg2.
                let clear = step == 1 && matches!(terms.purpose, Purpose::Channel);
                let at = Some(if clear { 2 } else { step });
                assert_eq!(refused(&|frame| *frame.last_mut().unwrap() ^= 1), at);
                assert_eq!(refused(&|frame| frame[7] ^= 1), at);
                assert_eq!(refused(&|frame| frame.truncate(frame.len() - 1)), Some(step));
                assert_eq!(refused(&|frame| frame.push(0)), Some(step));
                assert_eq!(refused(&|frame| frame.clear()), Some(step));
                assert_eq!(refused(&|frame| *frame = vec![1; 300]), Some(step));
                assert_eq!(refused(&|frame| *frame = vec![1; 70_000]), Some(step));
            }
        }
    }

    #[test]
    fn a_wrong_pre_shared_key_gets_no_answer() {
        let wrong = Terms { purpose: Purpose::Join { psk: &[8; 32] }, ..JOIN };
        assert_eq!(run([wrong, JOIN], |_, _| {}).unwrap_err(), (1, HandshakeError::Noise));
    }

    #[test]
    fn the_session_id_and_the_purpose_are_part_of_the_terms() {
        let other = Terms { session: Some(&[4; 16]), ..JOIN };
        assert_eq!(run([other, JOIN], |_, _| {}).unwrap_err(), (1, HandshakeError::Noise));
        let relayed = Terms { session: Some(&[4; 16]), ..CHANNEL };
        assert_eq!(run([relayed, CHANNEL], |_, _| {}).unwrap_err(), (2, HandshakeError::Noise));
        assert_eq!(run([CHANNEL, JOIN], |_, _| {}).unwrap_err(), (1, HandshakeError::Purpose(0)));
    }

    #[test]
    fn a_suite_that_this_version_lacks_is_named_in_the_refusal() {
        for suite in [0, 2, 3] {
            let end = run([CHANNEL; 2], |n, frame| {
                if n == 1 {
                    frame[0] = suite;
                }
            });
            assert_eq!(end.unwrap_err(), (1, HandshakeError::Suite(suite)));
        }
    }

    #[test]
    fn a_public_key_of_small_order_is_refused() {
        let end = run([CHANNEL; 2], |n, frame| {
            if n == 1 {
                frame[2..].fill(0);
            }
        });
        assert_eq!(end.unwrap_err(), (1, HandshakeError::Noise));
        let end = run([CHANNEL; 2], |n, frame| {
            if n == 2 {
                frame[..32].fill(0);
            }
        });
        assert_eq!(end.unwrap_err(), (2, HandshakeError::Noise));
    }

    #[test]
    fn another_keys_certificate_is_refused_on_both_sides() {
        let (mut ada, mut bob) = (side("Ada", 1), side("Bob", 2));
        let eve = side("Eve", 3);
        let stolen = |from: &Side| from.key.ident(&from.me);
        let expected = HandshakeError::Ident(IdentError::Certificate);

        // Eve answers with a certificate that she saw of Bob's.
        let (ada_waits, one) = ada.initiate(CHANNEL);
        let mut noise =
            build(Suite::Classical, CHANNEL, &eve.key, &mut bob.rng.clone(), Role::Responder)
                .unwrap();
        read(&mut noise, &one[2..]).unwrap();
        let payload = Payload { ident: stolen(&bob), extra: Vec::new() };
        let two = write(&mut noise, &codec::encode(&payload)).unwrap();
        assert_eq!(ada_waits.read(&two, NOW).unwrap_err(), expected);

        // Eve calls with a certificate that she saw of Ada's.
        let (mut eve_waits, one) =
            initiate(CHANNEL, &eve.key, &eve.me, &mut ada.rng.clone()).unwrap();
        eve_waits.ident = stolen(&ada);
        let (bob_waits, two) = bob.respond(CHANNEL, &one).unwrap();
        let (three, _) = eve_waits.read(&two, NOW).unwrap().finish(&[]).unwrap();
        assert_eq!(bob_waits.read(&three, NOW).unwrap_err(), expected);
    }

    #[test]
    fn an_extra_payload_that_does_not_fit_is_an_error() {
        let (mut ada, bob) = (side("Ada", 1), side("Bob", 2));
        let (_, one) = ada.initiate(CHANNEL);
        let end = respond(CHANNEL, &bob.key, &bob.me, &one, &[0; 66_000], &mut ada.rng);
        assert!(matches!(end.unwrap_err(), HandshakeError::TooLong { .. }));
    }
}
