//! The kinds of ops and their CBOR form. A kind that is not known here is kept, without effect.

use alloc::{string::String, vec::Vec};
use core::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{node::Needs, op::Body};
use crate::{
    identity::is_name,
    ids::{ChainId, GroupId, Incarnation, InviteId, MemberId, OpId, Timestamp},
    limits,
    relay_log::{RelayPass, RelayToken},
    sign::Signature,
};

/// What an op does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 0: founds the group. Its author is the founder: an admin whom nobody can remove.
    Genesis {
        /// Makes two groups of one founder differ.
        nonce: [u8; 16],
        /// The founder's signed card.
        card: Vec<u8>,
        /// The first policy.
        policy: Policy,
        /// Commitment to the first topic secret.
        topic_commit: [u8; 32],
    },
    /// 1: publishes an invite: one-way images of its secret, so that others can serve it.
    InviteCreate {
        /// The images.
        record: InviteFields,
        /// How many Admits count.
        max_uses: u32,
        /// Judged by whoever admits, by its own clock.
        expires: Timestamp,
        /// Whether a person is asked.
        mode: AdmitMode,
        /// Whether only the creator serves it.
        strict: bool,
    },
    /// 2: takes an invite back.
    InviteRevoke {
        /// Which.
        invite: InviteId,
    },
    /// 3: makes somebody a member.
    Admit {
        /// The newcomer's signed card.
        card: Vec<u8>,
        /// The invite that was redeemed; `None` where an admin admits directly.
        invite: Option<InviteId>,
        /// Signature by the invite's key over group, invite, newcomer, card and handshake. Zeros
        /// without an invite.
        proof: Signature,
        /// The handshake's hash, to which the proof is bound.
        handshake: [u8; 32],
        /// Which use of the invite this is, as far as the admitter knows. Shown, never judged.
        use_no: u32,
    },
    /// 4: ends the grants of a member that are junior to the author's.
    Remove {
        /// Who.
        member: MemberId,
        /// The last index accepted in each of the member's chains.
        cut: Vec<Cut>,
        /// Why.
        reason: RemoveReason,
        /// Commitment to the next topic secret.
        topic_commit: [u8; 32],
    },
    /// 5: ends the author's own grants, and voids nothing.
    Leave,
    /// 6: makes somebody an admin, directly below the author.
    Promote {
        /// Who.
        member: MemberId,
    },
    /// 7: ends the admin grants of a member that are junior to the author's.
    Demote {
        /// Who.
        member: MemberId,
    },
    /// 8: joins heads; with a commitment it also begins a topic epoch and asks all to rotate.
    Refresh {
        /// Commitment to the next topic secret, if there is one.
        topic_commit: Option<[u8; 32]>,
    },
    /// 10: sets the policy.
    SetPolicy {
        /// The whole of it.
        policy: Policy,
    },
    /// 11: says that the group goes on as another one. The rule knows nothing of it.
    Migrate {
        /// The new group.
        to: GroupId,
    },
    /// 12: ends the author's membership, and voids what the author's machine did beside it. Signed
    /// by the author's recovery key, because the machine with the identity key is lost.
    Retire {
        /// The recovery key's public half, as the card of the author's grant has it.
        recovery: [u8; 32],
        /// The last index accepted in each of the author's chains.
        cut: Vec<Cut>,
    },
    /// Any other number: kept and passed on, without effect.
    Other {
        /// The number.
        kind: u8,
        /// Its arguments: one CBOR item, as it came.
        args: Vec<u8>,
    },
}

/// What a group's admins agree on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(array)]
pub struct Policy {
    /// The group's name ([`is_name`]).
    #[n(0)]
    pub name: String,
    /// Multiaddrs of the group's relays: at most [`limits::POLICY_RELAYS`], each of at most
    /// [`limits::RELAY_BYTES`].
    #[n(1)]
    pub relays: Vec<String>,
    /// An admin's node removes who was away for this long, in milliseconds; nobody where it is
    /// `None`. Within [`limits::EVICT_AFTER_MS`].
    #[n(2)]
    pub evict_after_ms: Option<u64>,
    /// Each sender makes a new chain when a member was out of reach for this long, in
    /// milliseconds; within [`limits::ROTATE_ON_DISCONNECT_MS`].
    #[n(3)]
    pub rotate_on_disconnect_ms: Option<u64>,
    /// Whether members may hand on what they have read: 1 means yes, anything else no.
    #[n(4)]
    pub history: Option<u8>,
    /// Whether the group is a conversation of two, where each turn makes a new chain. What the
    /// Genesis says of it counts.
    #[n(5)]
    pub pair: Option<bool>,
    /// Tokens for those of the relays that want one: at most [`limits::POLICY_RELAYS`], each for
    /// another relay, and never an empty list.
    #[n(6)]
    pub tokens: Option<Vec<RelayPass>>,
}

/// One-way images of an invite's secret. Members see them, nobody else does.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct InviteFields {
    /// The invite's id.
    #[zeroize(skip)]
    pub id: InviteId,
    /// The invite's Ed25519 public key, under which join proofs hold.
    pub ipk: [u8; 32],
    /// The Noise psk of a handshake that redeems it.
    pub psk0: [u8; 32],
    /// Seed of the mailbox's write capability.
    pub box_write: [u8; 32],
    /// Seed of the mailbox's read capability.
    pub box_read: [u8; 32],
    /// Key under which a join request lies in the mailbox.
    pub seal_key: [u8; 32],
}

impl fmt::Debug for InviteFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteFields").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether a person is asked before somebody is admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdmitMode {
    /// 0: whoever holds the invite is admitted.
    Auto,
    /// 1: an admin is shown the newcomer's fingerprint and decides.
    Ask,
}

/// Why somebody was removed. Shown, never judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoveReason {
    /// 0: not said.
    Unsaid,
    /// 1: the device is lost.
    Lost,
    /// 2: away for longer than the group allows.
    Absent,
    /// 3: for what they did.
    Conduct,
    /// Any other number.
    Other(u8),
}

/// The last accepted message of one of a removed member's chains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(array)]
pub struct Cut {
    /// The run of the member's node that made the chain.
    #[n(0)]
    pub incarnation: Incarnation,
    /// The chain.
    #[n(1)]
    pub chain: ChainId,
    /// The last index that counts.
    #[n(2)]
    pub index: u32,
}

impl Kind {
    /// The kind's number on the wire.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::Genesis { .. } => 0,
            Self::InviteCreate { .. } => 1,
            Self::InviteRevoke { .. } => 2,
            Self::Admit { .. } => 3,
            Self::Remove { .. } => 4,
            Self::Leave => 5,
            Self::Promote { .. } => 6,
            Self::Demote { .. } => 7,
            Self::Refresh { .. } => 8,
            Self::SetPolicy { .. } => 10,
            Self::Migrate { .. } => 11,
            Self::Retire { .. } => 12,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// The commitment to a new topic secret, if the op carries one.
    #[must_use]
    pub fn topic_commit(&self) -> Option<[u8; 32]> {
        match self {
            Self::Genesis { topic_commit, .. } | Self::Remove { topic_commit, .. } => {
                Some(*topic_commit)
            }
            Self::Refresh { topic_commit } => *topic_commit,
            _ => None,
        }
    }

    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Genesis { .. } | Self::Leave => Needs::Nothing,
            Self::Refresh { .. } | Self::Retire { .. } => Needs::Member,
            Self::Other { .. } => Needs::Unknown,
            _ => Needs::Admin,
        }
    }

    pub(super) fn check(&self) -> bool {
        match self {
            Self::Genesis { card, policy, .. } => {
                card.len() <= limits::CARD_BYTES && policy.check()
            }
            Self::Admit { card, .. } => card.len() <= limits::CARD_BYTES,
            Self::SetPolicy { policy } => policy.check(),
            _ => true,
        }
    }
}

impl Policy {
    /// Whether its name, relays, times and tokens keep their bounds.
    #[must_use]
    pub fn check(&self) -> bool {
        is_name(&self.name)
            && self.relays.len() <= limits::POLICY_RELAYS
            && self.relays.iter().all(|relay| relay.len() <= limits::RELAY_BYTES)
            && self.evict_after_ms.is_none_or(|ms| limits::EVICT_AFTER_MS.contains(&ms))
            && self
                .rotate_on_disconnect_ms
                .is_none_or(|ms| limits::ROTATE_ON_DISCONNECT_MS.contains(&ms))
            && self.tokens.as_ref().is_none_or(|tokens| check_tokens(tokens))
    }

    /// The token for the relay with these PeerId bytes.
    #[must_use]
    pub fn token(&self, relay: &[u8]) -> Option<&RelayToken> {
        let mut tokens = self.tokens.iter().flatten();
        tokens.find(|pass| pass.relay == relay).map(|pass| &pass.token)
    }

    /// Puts a token in the place of the one that was there for this relay, or takes it away.
    pub fn set_token(&mut self, relay: &[u8], token: Option<RelayToken>) {
        let mut tokens = self.tokens.take().unwrap_or_default();
        tokens.retain(|pass| pass.relay != relay);
        tokens.extend(token.map(|token| RelayPass { relay: relay.into(), token }));
        tokens.sort_by(|one, other| one.relay.cmp(&other.relay));
        self.tokens = (!tokens.is_empty()).then_some(tokens);
    }

    /// Whether members may hand on what they have read.
    #[must_use]
    pub fn shares_history(&self) -> bool {
        self.history == Some(1)
    }

    /// Whether the group is a conversation of two.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        self.pair == Some(true)
    }
}

fn check_tokens(tokens: &[RelayPass]) -> bool {
    (1..=limits::POLICY_RELAYS).contains(&tokens.len())
        && tokens.iter().all(RelayPass::check)
        && tokens
            .iter()
            .zip(1..)
            .all(|(pass, next)| tokens.iter().skip(next).all(|other| other.relay != pass.relay))
}

impl RemoveReason {
    const fn number(self) -> u8 {
        match self {
            Self::Unsaid => 0,
            Self::Lost => 1,
            Self::Absent => 2,
            Self::Conduct => 3,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Unsaid,
            1 => Self::Lost,
            2 => Self::Absent,
            3 => Self::Conduct,
            number => Self::Other(number),
        }
    }
}

const VERSION: u8 = 1;

impl<C> Encode<C> for Body {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let length = if self.incarnation.is_some() { 10 } else { 9 };
        e.array(length)?.u8(VERSION)?;
        e.bytes(self.group.as_ref().map_or(&[], |group| group.0.as_slice()))?;
        self.author.encode(e, ctx)?;
        e.u32(self.seq)?;
        self.deps.encode(e, ctx)?;
        self.cap.encode(e, ctx)?;
        self.at.encode(e, ctx)?;
        e.u8(self.kind.number())?;
        encode_args(&self.kind, e, ctx)?;
        self.incarnation.iter().try_for_each(|run| run.encode(e, ctx))
    }
}

fn encode_args<W: encode::Write, C>(
    kind: &Kind,
    e: &mut Encoder<W>,
    ctx: &mut C,
) -> Result<(), encode::Error<W::Error>> {
    match kind {
        Kind::Genesis { nonce, card, policy, topic_commit } => {
            e.array(4)?.bytes(nonce)?.bytes(card)?;
            policy.encode(e, ctx)?;
            e.bytes(topic_commit)?;
        }
        Kind::InviteCreate { record, max_uses, expires, mode, strict } => {
            e.array(10)?.bytes(&record.id.0)?.bytes(&record.ipk)?.bytes(&record.psk0)?;
            e.bytes(&record.box_write)?.bytes(&record.box_read)?.bytes(&record.seal_key)?;
            e.u32(*max_uses)?.u64(expires.0)?.u8(u8::from(*mode == AdmitMode::Ask))?;
            e.bool(*strict)?;
        }
        Kind::InviteRevoke { invite } => {
            e.array(1)?.bytes(&invite.0)?;
        }
        Kind::Admit { card, invite, proof, handshake, use_no } => {
            e.array(5)?.bytes(card)?;
            invite.encode(e, ctx)?;
            e.bytes(&proof.0)?.bytes(handshake)?.u32(*use_no)?;
        }
        Kind::Remove { member, cut, reason, topic_commit } => {
            e.array(4)?.bytes(&member.0)?;
            cut.encode(e, ctx)?;
            e.u8(reason.number())?.bytes(topic_commit)?;
        }
        Kind::Leave => {
            e.array(0)?;
        }
        Kind::Promote { member } | Kind::Demote { member } => {
            e.array(1)?.bytes(&member.0)?;
        }
        Kind::Refresh { topic_commit } => {
            e.array(1)?;
            match topic_commit {
                Some(commit) => e.bytes(commit)?,
                None => e.null()?,
            };
        }
        Kind::SetPolicy { policy } => {
            e.array(1)?;
            policy.encode(e, ctx)?;
        }
        Kind::Migrate { to } => {
            e.array(1)?.bytes(&to.0)?;
        }
        Kind::Retire { recovery, cut } => {
            e.array(2)?.bytes(recovery)?;
            cut.encode(e, ctx)?;
        }
        Kind::Other { args, .. } => {
            e.writer_mut().write_all(args).map_err(encode::Error::write)?;
        }
    }
    Ok(())
}

impl<'b, C> Decode<'b, C> for Body {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, decode::Error> {
        let elements = d.array()?;
        if !matches!(elements, Some(9 | 10)) || d.u8()? != VERSION {
            return Err(decode::Error::message("version"));
        }
        let group = match d.bytes()? {
            [] => None,
            bytes => Some(GroupId::from_slice(bytes).ok_or_else(|| length("group"))?),
        };
        let author = MemberId::decode(d, ctx)?;
        let seq = d.u32()?;
        let deps = deps(d, ctx)?;
        let cap = Option::decode(d, ctx)?;
        let at = Timestamp::decode(d, ctx)?;
        let number = d.u8()?;
        let kind = decode_args(number, d, ctx)?;
        let incarnation =
            (elements == Some(10)).then(|| Incarnation::decode(d, ctx)).transpose()?;
        Ok(Self { group, author, seq, deps, cap, at, kind, incarnation })
    }
}

fn deps<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Result<Vec<OpId>, decode::Error> {
    match d.array()? {
        Some(count) if count <= limits::OP_DEPS as u64 => {
            (0..count).map(|_| OpId::decode(d, ctx)).collect()
        }
        _ => Err(length("deps")),
    }
}

fn decode_args<C>(number: u8, d: &mut Decoder<'_>, ctx: &mut C) -> Result<Kind, decode::Error> {
    let kind = match number {
        0 => {
            array(d, 4)?;
            let nonce = fixed(d)?;
            let card = d.bytes()?.into();
            Kind::Genesis { nonce, card, policy: Policy::decode(d, ctx)?, topic_commit: fixed(d)? }
        }
        1 => decode_invite(d)?,
        2 => {
            array(d, 1)?;
            Kind::InviteRevoke { invite: InviteId(fixed(d)?) }
        }
        3 => {
            array(d, 5)?;
            let card = d.bytes()?.into();
            let invite = Option::decode(d, ctx)?;
            let proof = Signature(fixed(d)?);
            Kind::Admit { card, invite, proof, handshake: fixed(d)?, use_no: d.u32()? }
        }
        4 => {
            array(d, 4)?;
            let member = MemberId(fixed(d)?);
            let cut = Vec::decode(d, ctx)?;
            let reason = RemoveReason::from_number(d.u8()?);
            Kind::Remove { member, cut, reason, topic_commit: fixed(d)? }
        }
        5 => {
            array(d, 0)?;
            Kind::Leave
        }
        6 => {
            array(d, 1)?;
            Kind::Promote { member: MemberId(fixed(d)?) }
        }
        7 => {
            array(d, 1)?;
            Kind::Demote { member: MemberId(fixed(d)?) }
        }
        8 => {
            array(d, 1)?;
            let commit: Option<minicbor::bytes::ByteArray<32>> = Option::decode(d, ctx)?;
            Kind::Refresh { topic_commit: commit.map(Into::into) }
        }
        10 => {
            array(d, 1)?;
            Kind::SetPolicy { policy: Policy::decode(d, ctx)? }
        }
        11 => {
            array(d, 1)?;
            Kind::Migrate { to: GroupId(fixed(d)?) }
        }
        12 => {
            array(d, 2)?;
            Kind::Retire { recovery: fixed(d)?, cut: Vec::decode(d, ctx)? }
        }
        kind => {
            let start = d.position();
            d.skip()?;
            let args = d.input().get(start..d.position()).ok_or_else(|| length("args"))?;
            Kind::Other { kind, args: args.into() }
        }
    };
    Ok(kind)
}

fn decode_invite(d: &mut Decoder<'_>) -> Result<Kind, decode::Error> {
    array(d, 10)?;
    let record = InviteFields {
        id: InviteId(fixed(d)?),
        ipk: fixed(d)?,
        psk0: fixed(d)?,
        box_write: fixed(d)?,
        box_read: fixed(d)?,
        seal_key: fixed(d)?,
    };
    let max_uses = d.u32()?;
    let expires = Timestamp(d.u64()?);
    let mode = match d.u8()? {
        0 => AdmitMode::Auto,
        1 => AdmitMode::Ask,
        _ => return Err(decode::Error::message("admit mode")),
    };
    Ok(Kind::InviteCreate { record, max_uses, expires, mode, strict: d.bool()? })
}

fn array(d: &mut Decoder<'_>, length_expected: u64) -> Result<(), decode::Error> {
    if d.array()? == Some(length_expected) { Ok(()) } else { Err(length("array")) }
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], decode::Error> {
    d.bytes()?.try_into().map_err(|_| length("bytes"))
}

fn length(what: &'static str) -> decode::Error {
    decode::Error::message(what)
}
