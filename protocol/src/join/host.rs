//! The side that serves an invite: an admin's node.

use alloc::vec::Vec;
use core::fmt;

use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    codec,
    endpoint::Endpoint,
    identity::SignedCard,
    ids::{GroupId, InviteId, MemberId, Timestamp},
    invite::InviteRecord,
    join::{Answer, JoinError, PAGE, RefusedReason, mailbox},
    limits,
    membership::join_holds,
    noise::{ExpectFinish, NoiseKey, Purpose, Session, Suite, Terms, respond},
    sign::Signature,
};

/// What a host serves, and as whom.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The invite, as the group published it.
    pub invite: &'a InviteRecord,
    /// The group.
    pub group: GroupId,
    /// The signed ops that make this side an admin ([`crate::membership::admin_path`]).
    pub ops: &'a [Vec<u8>],
    /// This side's Noise key.
    pub key: &'a NoiseKey,
    /// This side.
    pub me: &'a Endpoint,
}

/// A host that has answered a caller who knows the invite's psk, as every member does.
pub struct Host {
    handshake: ExpectFinish,
    ipk: [u8; 32],
    group: GroupId,
    invite: InviteId,
}

/// Somebody who holds the invite's secret and asks to be let in: what the Admit op needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRequest {
    /// Who.
    pub member: MemberId,
    /// Their card.
    pub card: SignedCard,
    /// That they hold the invite ([`join_holds`]); checked.
    pub proof: Signature,
    /// The handshake hash under the proof.
    pub handshake: [u8; 32],
}

/// An open channel to somebody who proved the invite, and waits for the answer.
pub struct Admission {
    session: Session,
}

impl Host {
    /// Answers a first frame. It fails for whoever doesn't know the invite, so a host with several
    /// invites may try one after the other; on an error, send nothing.
    pub fn accept(
        offer: Offer<'_>,
        session: &[u8; 16],
        frame: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Vec<u8>), JoinError> {
        let Offer { invite, group, ops, key, me } = offer;
        let ops: Vec<ByteVec> = ops.iter().cloned().map(Into::into).collect();
        let purpose = Purpose::Join { psk: &invite.psk0 };
        let terms = Terms { purpose, session: Some(session), suite: Suite::Hybrid };
        let (handshake, answer) = respond(terms, key, me, frame, &codec::encode(&ops), rng)?;
        if answer.len() > mailbox::BODY_MAX {
            return Err(JoinError::TooLong { bytes: answer.len(), max: mailbox::BODY_MAX });
        }
        Ok((Self { handshake, ipk: invite.ipk, group, invite: invite.id }, answer))
    }

    /// Takes the joiner's second frame and checks its proof. On an error, send nothing.
    pub fn on_frame(
        self,
        frame: &[u8],
        now: Timestamp,
    ) -> Result<(Admission, JoinRequest), JoinError> {
        let handshake = self.handshake.handshake_hash();
        let (session, peer, extra) = self.handshake.read(frame, now)?;
        let proof = Signature(extra.try_into().map_err(|_| JoinError::Malformed)?);
        let (member, card) = (peer.member, peer.card.as_bytes());
        if !join_holds(&self.ipk, self.group, self.invite, member, card, &handshake, &proof) {
            return Err(JoinError::Proof);
        }
        let request = JoinRequest { member, card: peer.card, proof, handshake };
        Ok((Admission { session }, request))
    }
}

impl Admission {
    /// Tells the joiner that a person is being asked. May be sent more than once.
    pub fn pending(&mut self, now: Timestamp) -> Result<Vec<u8>, JoinError> {
        self.seal(&Answer::Pending, now)
    }

    /// The welcome, at most [`limits::WELCOME_BYTES`], as frames that each fit an entry of the
    /// mailbox. On an error the channel has ended.
    pub fn welcome(mut self, welcome: &[u8], now: Timestamp) -> Result<Vec<Vec<u8>>, JoinError> {
        if welcome.len() > limits::WELCOME_BYTES {
            return Err(JoinError::TooLong { bytes: welcome.len(), max: limits::WELCOME_BYTES });
        }
        let pages = welcome.len().div_ceil(PAGE).max(1);
        (0..pages)
            .map(|page| {
                let (start, end) = (page * PAGE, welcome.len().min((page + 1) * PAGE));
                let left = u16::try_from(pages - page - 1).map_err(|_| JoinError::Malformed)?;
                self.seal(&Answer::Page { left, bytes: welcome[start..end].into() }, now)
            })
            .collect()
    }

    /// Sends the joiner away.
    pub fn refuse(mut self, reason: RefusedReason, now: Timestamp) -> Result<Vec<u8>, JoinError> {
        self.seal(&Answer::Refused { reason }, now)
    }

    pub(super) fn seal(&mut self, answer: &Answer, now: Timestamp) -> Result<Vec<u8>, JoinError> {
        Ok(self.session.seal(&Zeroizing::new(codec::encode(answer)), now)?)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("invite", &self.invite).finish_non_exhaustive()
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
