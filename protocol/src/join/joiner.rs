//! The side that holds a code and wants in.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    codec,
    endpoint::Endpoint,
    identity::SignedCard,
    ids::{GroupId, Timestamp},
    invite::{InviteCode, InviteSecret},
    join::{Answer, JoinError, PAGE, RefusedReason, Stage},
    limits,
    membership::{proves_admin, sign_join},
    noise::{ExpectResponse, NoiseKey, Peer, Purpose, Session, Suite, Terms, Verified, initiate},
};

/// A join under way. Frames go in, in the order in which the host sent them; each step gives the
/// next joiner, or the end.
pub struct Joiner(State);

/// What follows from a frame.
#[expect(clippy::large_enum_variant, reason = "a few per join, taken apart at once")]
pub enum JoinStep {
    /// Send these frames, and go on.
    Proceed {
        /// The next state.
        joiner: Joiner,
        /// What to send, in order.
        send: Vec<Vec<u8>>,
        /// How far it is.
        stage: Stage,
    },
    /// The host took the proof ([`Stage::InviteProven`]); more is to come.
    Waiting {
        /// The next state.
        joiner: Joiner,
        /// Pages of the welcome still to come; `None` while a person is being asked.
        left: Option<u16>,
    },
    /// In ([`Stage::KeysReceived`]). The welcome is to be read by the group.
    Welcomed {
        /// The pages, joined.
        welcome: Zeroizing<Vec<u8>>,
        /// Who let this side in.
        host: Peer,
        /// Into what.
        group: GroupId,
    },
    /// Out.
    Refused(RefusedReason),
}

enum State {
    Calling(Box<Calling>),
    Open(Box<Open>),
}

/// msg1 is sent; nobody knows yet who this is.
struct Calling {
    handshake: ExpectResponse,
    group_prefix: [u8; 20],
    secret: InviteSecret,
    card: SignedCard,
}

/// msg3 is sent.
struct Open {
    session: Session,
    host: Peer,
    group: GroupId,
    pages: Vec<Zeroizing<Vec<u8>>>,
    bytes: usize,
    left: Option<u16>,
}

impl Joiner {
    /// Begins to redeem a code under a random `session` id, with a Noise key for this join alone;
    /// gives the first frame.
    pub fn start(
        code: &InviteCode,
        me: &Endpoint,
        session: &[u8; 16],
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), JoinError> {
        let key = NoiseKey::generate(me, now, rng);
        let psk = Zeroizing::new(code.secret.psk());
        let purpose = Purpose::Join { psk: &psk };
        let terms = Terms { purpose, session: Some(session), suite: Suite::Hybrid };
        let (handshake, frame) = initiate(terms, &key, me, rng)?;
        let calling = Calling {
            handshake,
            group_prefix: code.group_prefix,
            secret: code.secret.clone(),
            card: me.card().clone(),
        };
        Ok((Self(State::Calling(Box::new(calling))), frame))
    }

    /// Takes the host's next frame. An error ends this join: begin another, with a new session id.
    pub fn on_frame(self, frame: &[u8], now: Timestamp) -> Result<JoinStep, JoinError> {
        match self.0 {
            State::Calling(calling) => calling.on_response(frame, now),
            State::Open(open) => open.on_answer(frame),
        }
    }
}

impl Calling {
    fn on_response(self, frame: &[u8], now: Timestamp) -> Result<JoinStep, JoinError> {
        let Self { handshake, group_prefix, secret, card } = self;
        let verified = handshake.read(frame, now)?;
        let group = group_of(&verified, &group_prefix)?;
        let host = verified.peer().clone();
        let proof = sign_join(
            &secret.signing(),
            group,
            secret.id(),
            card.card().member,
            card.as_bytes(),
            &verified.handshake_hash(),
        );
        let (message, session) = verified.finish(&proof.0)?;
        let open = Open { session, host, group, pages: Vec::new(), bytes: 0, left: None };
        Ok(JoinStep::Proceed {
            joiner: Joiner(State::Open(Box::new(open))),
            send: Vec::from([message]),
            stage: Stage::ChannelOpen,
        })
    }
}

impl Open {
    fn on_answer(mut self, frame: &[u8]) -> Result<JoinStep, JoinError> {
        let answer = Zeroizing::new(self.session.open(frame)?);
        match codec::decode(&answer).map_err(|_| JoinError::Malformed)? {
            Answer::Pending if self.left.is_none() => Ok(self.wait()),
            Answer::Refused { reason } if self.left.is_none() => Ok(JoinStep::Refused(reason)),
            Answer::Page { left, bytes } => self.on_page(left, Zeroizing::new(bytes)),
            Answer::Pending | Answer::Refused { .. } => Err(JoinError::Malformed),
        }
    }

    fn on_page(mut self, left: u16, page: Zeroizing<Vec<u8>>) -> Result<JoinStep, JoinError> {
        if self.left.is_some_and(|before| left.checked_add(1) != Some(before)) {
            return Err(JoinError::Malformed);
        }
        let (bytes, max) = (self.bytes + page.len(), limits::WELCOME_BYTES);
        if page.len() > PAGE || bytes > max {
            return Err(JoinError::TooLong { bytes, max });
        }
        self.bytes = bytes;
        self.pages.push(page);
        self.left = Some(left);
        if left > 0 {
            return Ok(self.wait());
        }
        let mut welcome = Zeroizing::new(Vec::with_capacity(bytes));
        self.pages.iter().for_each(|page| welcome.extend_from_slice(page));
        Ok(JoinStep::Welcomed { welcome, host: self.host, group: self.group })
    }

    fn wait(self) -> JoinStep {
        let left = self.left;
        JoinStep::Waiting { joiner: Joiner(State::Open(Box::new(self))), left }
    }
}

/// The group, if the ops in the host's answer make it an admin of one that the code names.
fn group_of(verified: &Verified, prefix: &[u8; 20]) -> Result<GroupId, JoinError> {
    let ops: Vec<ByteVec> = codec::decode(verified.extra()).map_err(|_| JoinError::Malformed)?;
    let ops: Vec<Vec<u8>> = ops.into_iter().map(Into::into).collect();
    Ok(proves_admin(&ops, prefix, verified.peer().member)?)
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Calling(_) => "Joiner(Calling)",
            State::Open(_) => "Joiner(Open)",
        })
    }
}

impl fmt::Debug for JoinStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proceed { joiner, stage, .. } => {
                let mut step = f.debug_struct("Proceed");
                step.field("joiner", joiner).field("stage", stage).finish_non_exhaustive()
            }
            Self::Waiting { joiner, left } => {
                f.debug_struct("Waiting").field("joiner", joiner).field("left", left).finish()
            }
            Self::Welcomed { host, group, .. } => {
                let mut step = f.debug_struct("Welcomed");
                step.field("host", host).field("group", group).finish_non_exhaustive()
            }
            Self::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
        }
    }
}
