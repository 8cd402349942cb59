//! A membership op: one signed statement in the group's DAG.
//!
//! ```text
//! Op   = [ body bstr, sig64 ]                  id = BLAKE2b-256("wt1 op id", body)
//! body = [1, gid32 | empty (Genesis), ik32, seq, [dep32…], cap32 | null, ts_ms, kind, args, inc8?]
//! ```
//!
//! > Ids and signatures are over the received bytes, and an op keeps the bytes that it came in.
//!
//! docs/spec/membership.md.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

pub use super::kind::{AdmitMode, Cut, InviteFields, Kind, Policy, RemoveReason};
use crate::{
    codec,
    hash::{Label, hash32},
    identity::SignedCard,
    ids::{GroupId, Incarnation, MemberId, OpId, Timestamp},
    limits,
    recovery::RecoveryKey,
    sign::{Context, Signature, SigningSecret, verify},
};

/// A signed op whose signature holds. Clones share their bytes.
#[derive(Clone)]
pub struct Op {
    inner: Arc<Inner>,
}

struct Inner {
    id: OpId,
    body: Body,
    bytes: Zeroizing<Vec<u8>>,
    subject: Option<MemberId>,
    recovery: Option<[u8; 32]>,
}

/// What an op says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    /// The group; `None` in a Genesis, whose id becomes the group's.
    pub group: Option<GroupId>,
    /// Who signs.
    pub author: MemberId,
    /// The author's counter: two ops with one number of one run are an equivocation.
    pub seq: u32,
    /// The heads that the author knew: sorted, without duplicates, at most [`limits::OP_DEPS`].
    pub deps: Vec<OpId>,
    /// The grant under which the author acts.
    pub cap: Option<OpId>,
    /// When, by the author's clock. Shown, never judged.
    pub at: Timestamp,
    /// What is done.
    pub kind: Kind,
    /// The run of the author's process: a copy that was restored counts again from where it was,
    /// and is no liar for it. Left out by the first version.
    pub incarnation: Option<Incarnation>,
}

/// Why bytes are no op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// More than [`limits::OP_BYTES`].
    #[error("an op of {bytes} bytes is longer than {}", limits::OP_BYTES)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// No canonical op of version 1, or one that breaks a bound of its kind.
    #[error("not an op")]
    Malformed,
    /// The author's signature does not hold.
    #[error("the op's signature does not hold")]
    Signature,
    /// The card inside is none, or is not the card of the person it should be.
    #[error("the op's card is not valid")]
    Card,
    /// The first op of a set must be a Genesis, and no other may be.
    #[error("not a Genesis")]
    NotGenesis,
}

#[derive(Encode, Decode)]
#[cbor(array)]
struct OpWire {
    #[cbor(n(0), with = "minicbor::bytes")]
    body: Vec<u8>,
    #[n(1)]
    signature: Signature,
}

impl Op {
    /// Signs a body. `identity` must be the key of its author, or nobody accepts the op.
    #[must_use]
    pub fn sign(body: Body, identity: &SigningSecret) -> Self {
        Self::signed(body, |bytes| identity.sign(Context::Op, &[bytes]))
    }

    /// Signs a [`Kind::Retire`]. `key` must be the recovery key that it names, or nobody accepts it.
    #[must_use]
    pub fn retire(body: Body, key: &RecoveryKey) -> Self {
        Self::signed(body, |bytes| key.sign(Context::Op, &[bytes]))
    }

    fn signed(body: Body, sign: impl FnOnce(&[u8]) -> Signature) -> Self {
        let bytes = codec::encode(&body);
        let id = OpId(hash32(Label::Op, &[&bytes]));
        let signature = sign(&bytes);
        let About { subject, recovery } = body.about().unwrap_or_default();
        let bytes = Zeroizing::new(codec::encode(&OpWire { body: bytes, signature }));
        Self { inner: Arc::new(Inner { id, body, bytes, subject, recovery }) }
    }

    /// Reads and checks an op: its form, its bounds, its author's signature and the card inside.
    /// Whether it has any effect is decided by the set that it is in.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpError> {
        if bytes.len() > limits::OP_BYTES {
            return Err(OpError::TooLong { bytes: bytes.len() });
        }
        let wire: OpWire = codec::decode(bytes).map_err(|_| OpError::Malformed)?;
        let body: Body = codec::decode(&wire.body).map_err(|_| OpError::Malformed)?;
        body.check()?;
        verify(body.signer(), Context::Op, &[&wire.body], &wire.signature)
            .map_err(|_| OpError::Signature)?;
        let About { subject, recovery } = body.about()?;
        let id = OpId(hash32(Label::Op, &[&wire.body]));
        let bytes = Zeroizing::new(Vec::from(bytes));
        Ok(Self { inner: Arc::new(Inner { id, body, bytes, subject, recovery }) })
    }

    /// The op's name: a hash of its body.
    #[must_use]
    pub fn id(&self) -> OpId {
        self.inner.id
    }

    /// The group: of a Genesis, the one that it founds.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.inner.body.group.unwrap_or(GroupId(self.inner.id.0))
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.inner.body
    }

    /// Who signed it; of a [`Kind::Retire`], whose recovery key did.
    #[must_use]
    pub fn author(&self) -> MemberId {
        self.inner.body.author
    }

    /// Whom it is about: the member granted, removed or demoted; of a Leave and a Retire, its
    /// author.
    #[must_use]
    pub fn subject(&self) -> Option<MemberId> {
        self.inner.subject
    }

    /// The recovery key in the card with which it makes somebody a member.
    pub(super) fn recovery(&self) -> Option<&[u8; 32]> {
        self.inner.recovery.as_ref()
    }

    /// The signed bytes, as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.inner.bytes
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Self) -> bool {
        self.inner.id == other.inner.id && self.inner.bytes == other.inner.bytes
    }
}

impl Eq for Op {}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("id", &self.inner.id)
            .field("author", &self.inner.body.author)
            .field("kind", &self.inner.body.kind.number())
            .finish_non_exhaustive()
    }
}

impl Body {
    /// Whether the body keeps every bound that [`Op::from_bytes`] checks, but for the signatures.
    pub(super) fn check(&self) -> Result<(), OpError> {
        let deps = self.deps.len() <= limits::OP_DEPS && self.deps.is_sorted_by(|a, b| a < b);
        let root = matches!(self.kind, Kind::Genesis { .. });
        let rooted = if root {
            self.group.is_none() && self.deps.is_empty() && self.cap.is_none()
        } else {
            self.group.is_some() && !self.deps.is_empty()
        };
        if deps && rooted && self.kind.check() { Ok(()) } else { Err(OpError::Malformed) }
    }

    /// Whom the op is about, by its card where it has one.
    pub(super) fn about(&self) -> Result<About, OpError> {
        let subject = match &self.kind {
            Kind::Genesis { card, .. } | Kind::Admit { card, .. } => {
                let card = SignedCard::from_bytes(card).map_err(|_| OpError::Card)?;
                let card = card.card();
                if matches!(self.kind, Kind::Genesis { .. }) && card.member != self.author {
                    return Err(OpError::Card);
                }
                return Ok(About { subject: Some(card.member), recovery: card.recovery });
            }
            Kind::Remove { member, .. } | Kind::Promote { member } | Kind::Demote { member } => {
                Some(*member)
            }
            Kind::Leave | Kind::Retire { .. } => Some(self.author),
            _ => None,
        };
        Ok(About { subject, recovery: None })
    }

    /// The key under which its signature must hold.
    fn signer(&self) -> &[u8; 32] {
        match &self.kind {
            Kind::Retire { recovery, .. } => recovery,
            _ => &self.author.0,
        }
    }
}

/// Whom an op is about, and the recovery key of the card inside.
#[derive(Default)]
pub(super) struct About {
    pub(super) subject: Option<MemberId>,
    pub(super) recovery: Option<[u8; 32]>,
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{
        ids::{ChainId, InviteId},
        membership::{NotAllowed, Policy, fixture::*},
        relay_log::{RelayPass, RelayToken},
    };

    #[test]
    fn every_kind_of_op_reads_back_as_it_was_written() {
        let (a, b) = (person(1), person(2));
        let set = group(&a);
        let cut = Cut { incarnation: Incarnation([1; 8]), chain: ChainId([2; 16]), index: 70_000 };
        let kinds = vec![
            invite(1, 3),
            Kind::InviteRevoke { invite: InviteId([1; 16]) },
            admit(&b),
            redeem(&set, 1, &b),
            Kind::Remove {
                member: b.id(),
                cut: vec![cut],
                reason: RemoveReason::Other(77),
                topic_commit: [3; 32],
            },
            Kind::Leave,
            promote(&b),
            Kind::Demote { member: b.id() },
            refresh(None),
            refresh(Some(1)),
            Kind::SetPolicy { policy: policy("Orchard") },
            Kind::SetPolicy {
                policy: Policy {
                    evict_after_ms: Some(86_400_000),
                    history: Some(1),
                    ..policy("Orchard")
                },
            },
            Kind::SetPolicy { policy: Policy { pair: Some(true), ..policy("Orchard") } },
            Kind::SetPolicy { policy: with_tokens(&[1, 2]) },
            Kind::Migrate { to: GroupId([4; 32]) },
            // Signed below by what stands in it.
            Kind::Retire { recovery: a.public(), cut: vec![cut] },
            Kind::Other { kind: 77, args: vec![0x82, 0x01, 0x41, 0xff] },
        ];
        let mut body = set.next(a.id(), refresh(None), NOW).unwrap();
        for kind in kinds {
            body.kind = kind;
            let op = Op::sign(body.clone(), &a);
            let read = Op::from_bytes(op.as_bytes()).unwrap();
            assert!(*read.body() == body && read == op && read.subject() == op.subject(), "{op:?}");
        }
        let genesis = genesis(&a);
        assert_eq!(Op::from_bytes(genesis.as_bytes()).as_ref(), Ok(&genesis));
    }

    #[test]
    fn an_op_with_any_bit_flipped_is_refused() {
        let (a, b) = (person(1), person(2));
        let op = op(&group(&a), &a, admit(&b));
        for bit in 0..op.as_bytes().len() * 8 {
            let mut bytes = Vec::from(op.as_bytes());
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Op::from_bytes(&bytes).is_err(), "bit {bit}");
        }
        for end in 0..op.as_bytes().len() {
            assert!(Op::from_bytes(&op.as_bytes()[..end]).is_err());
        }
        let long = vec![0; limits::OP_BYTES + 1];
        assert_eq!(Op::from_bytes(&long), Err(OpError::TooLong { bytes: long.len() }));
    }

    #[test]
    fn a_policy_of_a_name_and_relays_reads_as_one_without_the_rest_and_is_written_as_before() {
        let policy = policy("Orchard");
        let bytes = crate::codec::encode(&policy);
        assert_eq!(bytes[0], 0x82, "an array of two");
        assert_eq!(crate::codec::decode::<Policy>(&bytes), Ok(policy));
    }

    fn with_tokens(relays: &[u8]) -> Policy {
        let token = RelayToken::from_bytes([9; 16]);
        let pass = |relay: &u8| RelayPass { relay: vec![*relay; 38], token: token.clone() };
        Policy { tokens: Some(relays.iter().map(pass).collect()), ..policy("Orchard") }
    }

    #[test]
    fn a_policy_has_a_token_for_each_relay_once_and_no_more_than_relays() {
        let a = person(1);
        let set = group(&a);
        let says = |policy: Policy| set.next(a.id(), Kind::SetPolicy { policy }, NOW).is_ok();
        assert!(says(with_tokens(&[1, 2, 3, 4, 5, 6, 7, 8])));
        assert!(!says(with_tokens(&[1, 2, 3, 4, 5, 6, 7, 8, 9])));
        assert!(!says(with_tokens(&[])) && !says(with_tokens(&[1, 2, 1])));
        let mut long = with_tokens(&[1]);
        long.tokens.as_mut().unwrap()[0].relay = vec![1; limits::RELAY_TOKEN_KEY + 1];
        assert!(!says(long));
    }

    #[test]
    fn a_relay_s_token_is_set_replaced_and_taken_away() {
        let (one, other) = ([1; 38], [2; 38]);
        let token = |byte| RelayToken::from_bytes([byte; 16]);
        let mut policy = policy("Orchard");
        policy.set_token(&other, Some(token(1)));
        policy.set_token(&one, Some(token(2)));
        policy.set_token(&other, Some(token(3)));
        assert_eq!(policy.token(&one), Some(&token(2)));
        assert_eq!(policy.token(&other), Some(&token(3)));
        assert!(policy.check() && !alloc::format!("{policy:?}").contains("RelayToken([2"));
        policy.set_token(&one, None);
        policy.set_token(&other, None);
        assert_eq!(policy.tokens, None);
    }

    #[test]
    fn a_policy_with_a_time_out_of_bounds_makes_no_op() {
        let a = person(1);
        let set = group(&a);
        let says = |evict_after_ms, rotate_on_disconnect_ms| {
            let policy = Policy { evict_after_ms, rotate_on_disconnect_ms, ..policy("Orchard") };
            set.next(a.id(), Kind::SetPolicy { policy }, NOW).map(|_| ())
        };
        let refused = Err(NotAllowed::Malformed(OpError::Malformed));
        assert_eq!(says(Some(3_600_000), Some(10_000)), Ok(()));
        assert_eq!(says(Some(3_599_999), None), refused);
        assert_eq!(says(Some(u64::MAX), None), refused);
        assert_eq!(says(None, Some(9_999)), refused);
        assert_eq!(says(None, Some(u64::MAX)), refused);
    }

    #[test]
    fn unsorted_repeated_or_too_many_dependencies_are_refused() {
        let a = person(1);
        let set = group(&a);
        let body = set.next(a.id(), refresh(None), NOW).unwrap();
        let with = |deps: Vec<OpId>| {
            let mut body = body.clone();
            body.deps = deps;
            Op::from_bytes(Op::sign(body, &a).as_bytes()).map(|_| ())
        };
        let ids: Vec<OpId> = (0..17).map(|byte| OpId([byte; 32])).collect();
        assert_eq!(with(ids[..16].into()), Ok(()));
        assert_eq!(with(ids.clone()), Err(OpError::Malformed));
        assert_eq!(with(vec![ids[1], ids[0]]), Err(OpError::Malformed));
        assert_eq!(with(vec![ids[0], ids[0]]), Err(OpError::Malformed));
        assert_eq!(with(vec![]), Err(OpError::Malformed));
    }

    #[test]
    fn a_card_of_somebody_else_founds_no_group_and_a_broken_card_admits_nobody() {
        let (a, b) = (person(1), person(2));
        let mut body = genesis(&a).body().clone();
        if let Kind::Genesis { card: own, .. } = &mut body.kind {
            *own = card(&b);
        }
        assert_eq!(Op::from_bytes(Op::sign(body, &a).as_bytes()), Err(OpError::Card));
        let mut kind = admit(&b);
        if let Kind::Admit { card, .. } = &mut kind {
            card[40] ^= 1;
        }
        assert_eq!(group(&a).next(a.id(), kind, NOW), Err(NotAllowed::Malformed(OpError::Card)));
    }
}
