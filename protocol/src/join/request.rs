//! Asking to be let in by letter: joiner and admin need never be online together.
//!
//! > Whoever reads the mailbox learns who asks: holders of the code, and the group's members. Nobody
//! > asks in another's name: the code alone proves the invite, not who holds it.
//!
//! ```text
//! request = CBOR [core bstr, proof64, sig64]   core = CBOR [2, invite16, signed card bstr, nonce16]
//! h32     = BLAKE2b-256("wt1 join req", core)          session = h32[..16]
//! proof   = Ed25519(invite's key, "wt1/joinreq\0" ‖ asked)
//! sig     = Ed25519(the card's identity, "wt1/joinik\0" ‖ asked)
//! asked   = gid[20] ‖ invite16 ‖ joiner32 ‖ BLAKE2b-256("wt1 card id", signed card) ‖ h32
//! ```
//!
//! Version 1 had no sig. Its maker reads the answers to one that it kept; nobody is let in by it.
//! A request lies in the mailbox under the invite's sealing key, as a frame of direction 2 and number 0.

use alloc::vec::Vec;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use crate::{
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32},
    identity::SignedCard,
    ids::{GroupId, InviteId},
    invite::{InviteCode, InviteRecord},
    join::{JoinError, JoinRequest},
    membership::{join_holds, sign_request},
    sign::{Context, Signature, verify},
};

/// A request, as it lies in the mailbox and as its maker keeps it until it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    hash: [u8; 32],
    card: SignedCard,
    invite: InviteId,
    proof: Signature,
    identity: Option<Signature>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Wire {
    #[cbor(n(0), with = "minicbor::bytes")]
    core: Vec<u8>,
    #[n(1)]
    proof: Signature,
    #[n(2)]
    identity: Option<Signature>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Core {
    #[n(0)]
    version: u8,
    #[n(1)]
    invite: InviteId,
    #[cbor(n(2), with = "minicbor::bytes")]
    card: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    nonce: [u8; 16],
}

const VERSION: u8 = 2;

impl Request {
    /// Asks with a code.
    pub fn new(code: &InviteCode, me: &Endpoint, rng: &mut impl CryptoRng) -> Self {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let (invite, card) = (code.secret.id(), me.card().clone());
        let core =
            codec::encode(&Core { version: VERSION, invite, card: card.as_bytes().into(), nonce });
        let hash = hash32(Label::JoinRequest, &[&core]);
        let prefix = &code.group_prefix;
        let proof = sign_request(
            &code.secret.signing(),
            prefix,
            invite,
            me.member(),
            card.as_bytes(),
            &hash,
        );
        let asked = [&prefix[..], &invite.0, &me.member().0, &card_id(&card), &hash];
        let identity = Some(me.identity().sign(Context::JoinIdentity, &asked));
        let bytes = codec::encode(&Wire { core, proof, identity });
        Self { bytes, hash, card, invite, proof, identity }
    }

    /// Reads one, of either version. What it proves is not checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, JoinError> {
        let Wire { core, proof, identity } =
            codec::decode(bytes).map_err(|_| JoinError::Malformed)?;
        let hash = hash32(Label::JoinRequest, &[&core]);
        let core: Core = codec::decode(&core).map_err(|_| JoinError::Malformed)?;
        if !matches!((core.version, identity), (1, None) | (VERSION, Some(_))) {
            return Err(JoinError::Malformed);
        }
        let card = SignedCard::from_bytes(&core.card).map_err(|_| JoinError::Malformed)?;
        Ok(Self { bytes: bytes.into(), hash, card, invite: core.invite, proof, identity })
    }

    /// What its maker must be told, if it proves that they hold this invite of this group, and that
    /// they are who its card says.
    pub fn check(self, invite: &InviteRecord, group: GroupId) -> Result<JoinRequest, JoinError> {
        let Self { hash, card, proof, identity, .. } = self;
        let member = card.card().member;
        let holds = self.invite == invite.id
            && join_holds(&invite.ipk, group, invite.id, member, card.as_bytes(), &hash, &proof);
        let asked = [&group.0[..20], &invite.id.0, &member.0, &card_id(&card), &hash];
        let signed = identity.is_some_and(|signature| {
            verify(&member.0, Context::JoinIdentity, &asked, &signature).is_ok()
        });
        if !holds || !signed {
            return Err(JoinError::Proof);
        }
        Ok(JoinRequest { member, card, proof, handshake: hash })
    }

    /// Whether hosts of this version may let its maker in by it: version 1 is not signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.identity.is_some()
    }

    /// The card that it shows.
    #[must_use]
    pub fn card(&self) -> &SignedCard {
        &self.card
    }

    /// The request's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What its proof is bound to, in the place of a handshake's hash.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Under which session id it and its answers lie in the mailbox.
    #[must_use]
    pub fn session(&self) -> [u8; 16] {
        session(&self.hash)
    }
}

/// The session id of the request with this hash.
#[must_use]
pub fn session(request: &[u8; 32]) -> [u8; 16] {
    let mut session = [0; 16];
    session.copy_from_slice(&request[..16]);
    session
}

fn card_id(card: &SignedCard) -> [u8; 32] {
    hash32(Label::Card, &[card.as_bytes()])
}
