//! An admin's answer to a joiner who asked by letter ([`super::Request`]).
//!
//! > Only the joiner can open it, and only while neither X25519 nor ML-KEM-768 has fallen. The
//! > joiner takes it only from an admin of the group that its code names, and only for the request
//! > that it made.
//!
//! ```text
//! head   E32 ‖ CBOR [1, host's signed card bstr, [op bstr…], ct bstr 1,088, sig64]
//! part   E32 ‖ left u16be ‖ AEAD(K, n, ad = E ‖ left, part of the answer)    n = 0, 1, …
//! sig    Ed25519(host, "wt1/letter\0" ‖ gid32 ‖ invite16 ‖ joiner32 ‖ h32 ‖ E32 ‖ prekey32 ‖
//!        BLAKE2b-256("wt1 letter part", ct))
//! K      KDF32(ss, "wt1 letter key", DH(e, prekey) ‖ E ‖ prekey32 ‖ joiner32 ‖ host32 ‖ h32 ‖
//!        BLAKE2b-256("wt1 letter part", ct))
//! answer CBOR [0, []] pending | [1, [0, welcome]] | [2, [reason u8]]; cut into parts of 30 KiB
//! ```
//!
//! `prekey` and the ML-KEM key are those on the card that the request showed; (ct, ss) is
//! encapsulated to the latter. Ops lead from Genesis to the host's being an admin. All of it lies in
//! the mailbox as frames of direction 3: the head has number 0. E is fresh for each letter, so that
//! several hosts may answer one request, and one host again.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::fmt;

use minicbor::{Decode, Encode, bytes::ByteVec};
use rand_core::CryptoRng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::{Answer, JoinError, JoinRequest, PAGE, RefusedReason, mailbox, request::Request};
use crate::{
    codec,
    endpoint::Endpoint,
    hash::{Label, hash32, kdf32},
    identity::SignedCard,
    ids::{GroupId, InviteId, MemberId},
    invite::{InviteCode, InviteRecord},
    kem::{CIPHERTEXT, Shared},
    limits,
    membership::proves_admin,
    noise::{FrameKey, OpenError, Peer},
    sign::{Context, Signature, verify},
};

/// Who writes a letter, and about what.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The invite, as the group published it.
    pub invite: &'a InviteRecord,
    /// The group.
    pub group: GroupId,
    /// The signed ops that make this side an admin ([`crate::membership::admin_path`]).
    pub ops: &'a [Vec<u8>],
    /// This side.
    pub me: &'a Endpoint,
}

/// What a host says by letter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A person is being asked.
    Pending,
    /// Come in.
    Welcome(&'a [u8]),
    /// Go away.
    Refused(RefusedReason),
}

/// The letters that answer one request, as they come.
pub struct Letters {
    prefix: [u8; 20],
    invite: InviteId,
    request: [u8; 32],
    card: SignedCard,
    open: VecDeque<Open>,
}

/// What a letter said.
pub enum Told {
    /// A person is being asked.
    Pending,
    /// Come in: the welcome is to be read by the group.
    Welcomed {
        /// The welcome.
        welcome: Zeroizing<Vec<u8>>,
        /// Who let this side in.
        host: Box<Peer>,
        /// Into what.
        group: GroupId,
    },
    /// Go away.
    Refused(RefusedReason),
}

/// A letter of which the head has come.
struct Open {
    e: [u8; 32],
    key: FrameKey,
    host: Peer,
    group: GroupId,
    parts: Vec<Zeroizing<Vec<u8>>>,
    left: Option<u16>,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct Head {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    card: Vec<u8>,
    #[n(2)]
    ops: Vec<ByteVec>,
    #[cbor(n(3), with = "minicbor::bytes")]
    ciphertext: Vec<u8>,
    #[n(4)]
    signature: Signature,
}

/// What a letter's signature and its key are bound to.
struct Binding {
    group: GroupId,
    invite: InviteId,
    joiner: MemberId,
    host: MemberId,
    request: [u8; 32],
    e: [u8; 32],
    prekey: [u8; 32],
    ciphertext: [u8; 32],
}

const VERSION: u8 = 1;

/// Letters of one request that are read at once; the oldest makes room.
const LETTERS: usize = 4;

/// Bytes before a part's ciphertext.
const HEADER: usize = 34;

/// The most parts: a whole welcome, and what is around it.
const PARTS: usize = (limits::WELCOME_BYTES + 16).div_ceil(PAGE);

/// Seals an answer to the card that a request showed: as frames that each fit an entry of the
/// mailbox, the head first. Fails for a card without an ML-KEM key.
pub fn write(
    writer: Writer<'_>,
    to: &JoinRequest,
    reply: Reply<'_>,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Vec<u8>>, JoinError> {
    let card = to.card.card();
    let (ciphertext, shared) = card.kk.as_ref().ok_or(JoinError::Malformed)?.encapsulate(rng);
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(secret.as_mut());
    let secret = StaticSecret::from(*secret);
    let e = PublicKey::from(&secret).to_bytes();
    let binding = Binding {
        group: writer.group,
        invite: writer.invite.id,
        joiner: card.member,
        host: writer.me.member(),
        request: to.handshake,
        e,
        prekey: card.prekey.public,
        ciphertext: hash32(Label::LetterPart, &[ciphertext.as_slice()]),
    };
    let key = binding.key(&dh(&secret, &card.prekey.public)?, &shared);
    let head = codec::encode(&Head {
        version: VERSION,
        card: writer.me.card().as_bytes().into(),
        ops: writer.ops.iter().cloned().map(Into::into).collect(),
        ciphertext: ciphertext.as_slice().into(),
        signature: writer.me.identity().sign(Context::Letter, &binding.signed()),
    });
    let head = [&e, head.as_slice()].concat();
    if head.len() > mailbox::BODY_MAX {
        return Err(JoinError::TooLong { bytes: head.len(), max: mailbox::BODY_MAX });
    }
    let answer = answer(reply)?;
    let last = answer.len().div_ceil(PAGE) - 1;
    let mut frames = Vec::from([head]);
    for (at, part) in answer.chunks(PAGE).enumerate() {
        let left = u16::try_from(last - at).map_err(|_| JoinError::Malformed)?;
        let header = [e.as_slice(), &left.to_be_bytes()].concat();
        frames.push(key.seal(at as u64, &header, part).ok_or(JoinError::Malformed)?);
    }
    Ok(frames)
}

fn answer(reply: Reply<'_>) -> Result<Zeroizing<Vec<u8>>, JoinError> {
    let answer = match reply {
        Reply::Pending => Answer::Pending,
        Reply::Welcome(welcome) if welcome.len() > limits::WELCOME_BYTES => {
            return Err(JoinError::TooLong { bytes: welcome.len(), max: limits::WELCOME_BYTES });
        }
        Reply::Welcome(welcome) => Answer::Page { left: 0, bytes: welcome.into() },
        Reply::Refused(reason) => Answer::Refused { reason },
    };
    Ok(Zeroizing::new(codec::encode(&answer)))
}

impl Letters {
    /// Waits for the answers to a request made with this code.
    #[must_use]
    pub fn new(code: &InviteCode, request: &Request) -> Self {
        Self {
            prefix: code.group_prefix,
            invite: code.secret.id(),
            request: *request.hash(),
            card: request.card().clone(),
            open: VecDeque::new(),
        }
    }

    /// Takes a frame: `number` is its number in the mailbox. `None`: more is to come. On an error
    /// drop the frame; what came of other letters stays.
    pub fn on_frame(
        &mut self,
        me: &Endpoint,
        number: u16,
        frame: &[u8],
    ) -> Result<Option<Told>, JoinError> {
        if number == 0 {
            let open = self.open(me, frame)?;
            if self.open.iter().all(|known| known.e != open.e) {
                if self.open.len() >= LETTERS {
                    self.open.pop_front();
                }
                self.open.push_back(open);
            }
            return Ok(None);
        }
        let (header, sealed) = frame.split_first_chunk::<HEADER>().ok_or(JoinError::Malformed)?;
        let at = self.open.iter().position(|open| header.starts_with(&open.e));
        let open = at.and_then(|at| self.open.get_mut(at)).ok_or(JoinError::Malformed)?;
        if !open.take(header, sealed)? {
            return Ok(None);
        }
        let open = at.and_then(|at| self.open.remove(at)).ok_or(JoinError::Malformed)?;
        open.told().map(Some)
    }

    /// Whether a letter has begun and has not come whole: what came of it is in memory alone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    fn open(&self, me: &Endpoint, frame: &[u8]) -> Result<Open, JoinError> {
        let (e, head) = frame.split_first_chunk::<32>().ok_or(JoinError::Malformed)?;
        let head: Head = codec::decode(head).map_err(|_| JoinError::Malformed)?;
        if head.version != VERSION {
            return Err(JoinError::Malformed);
        }
        let card = SignedCard::from_bytes(&head.card).map_err(|_| JoinError::Malformed)?;
        let host = Peer { member: card.card().member, card, certified: None };
        let ops: Vec<Vec<u8>> = head.ops.into_iter().map(Into::into).collect();
        let group = proves_admin(&ops, &self.prefix, host.member)?;
        let own = self.card.card();
        let ciphertext: [u8; CIPHERTEXT] =
            head.ciphertext.try_into().map_err(|_| JoinError::Malformed)?;
        let binding = Binding {
            group,
            invite: self.invite,
            joiner: own.member,
            host: host.member,
            request: self.request,
            e: *e,
            prekey: own.prekey.public,
            ciphertext: hash32(Label::LetterPart, &[&ciphertext]),
        };
        verify(&host.member.0, Context::Letter, &binding.signed(), &head.signature)
            .map_err(|_| JoinError::Proof)?;
        // Those of the request's card: they may have been replaced since.
        let prekey = me.prekey_secret(own.prekey.id).ok_or(JoinError::Malformed)?;
        let kem = me.kem_secrets().find(|kem| own.kk.as_ref() == Some(&kem.public()));
        let shared = kem.ok_or(JoinError::Malformed)?.decapsulate(&ciphertext);
        let key = binding.key(&dh(prekey, e)?, &shared);
        Ok(Open { e: *e, key, host, group, parts: Vec::new(), left: None })
    }
}

impl Open {
    /// Takes the next part; `true`: it was the last.
    fn take(&mut self, header: &[u8; HEADER], sealed: &[u8]) -> Result<bool, JoinError> {
        let [.., high, low] = *header;
        let left = u16::from_be_bytes([high, low]);
        let expected = match self.left {
            None => usize::from(left) < PARTS,
            Some(before) => left.checked_add(1) == Some(before),
        };
        if !expected {
            return Err(JoinError::Malformed);
        }
        let counter = self.parts.len() as u64;
        let part = self.key.open(counter, header, sealed).ok_or(JoinError::Open(OpenError))?;
        self.parts.push(Zeroizing::new(part));
        self.left = Some(left);
        Ok(left == 0)
    }

    fn told(self) -> Result<Told, JoinError> {
        let bytes = self.parts.iter().map(|part| part.len()).sum();
        let mut answer = Zeroizing::new(Vec::with_capacity(bytes));
        self.parts.iter().for_each(|part| answer.extend_from_slice(part));
        match codec::decode(&answer).map_err(|_| JoinError::Malformed)? {
            Answer::Pending => Ok(Told::Pending),
            Answer::Refused { reason } => Ok(Told::Refused(reason)),
            Answer::Page { left: 0, bytes } if bytes.len() <= limits::WELCOME_BYTES => {
                let (welcome, host) = (Zeroizing::new(bytes), Box::new(self.host));
                Ok(Told::Welcomed { welcome, host, group: self.group })
            }
            Answer::Page { .. } => Err(JoinError::Malformed),
        }
    }
}

impl Binding {
    fn signed(&self) -> [&[u8]; 7] {
        [
            &self.group.0,
            &self.invite.0,
            &self.joiner.0,
            &self.request,
            &self.e,
            &self.prekey,
            &self.ciphertext,
        ]
    }

    fn key(&self, dh: &Zeroizing<[u8; 32]>, shared: &Shared) -> FrameKey {
        let parts: [&[u8]; 7] = [
            dh.as_slice(),
            &self.e,
            &self.prekey,
            &self.joiner.0,
            &self.host.0,
            &self.request,
            &self.ciphertext,
        ];
        FrameKey::new(kdf32(shared.as_slice(), Label::LetterKey, &parts))
    }
}

fn dh(secret: &StaticSecret, public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, JoinError> {
    let shared = secret.diffie_hellman(&PublicKey::from(*public));
    if !shared.was_contributory() {
        return Err(JoinError::Malformed);
    }
    Ok(Zeroizing::new(shared.to_bytes()))
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("Pending"),
            Self::Welcomed { host, group, .. } => {
                let mut told = f.debug_struct("Welcomed");
                told.field("host", host).field("group", group).finish_non_exhaustive()
            }
            Self::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
        }
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letters").field("invite", &self.invite).finish_non_exhaustive()
    }
}
