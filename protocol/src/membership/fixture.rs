//! People and signed ops for tests.

use alloc::{format, string::String, vec::Vec};

use super::{
    op::{AdmitMode, Body, InviteFields, Kind, Op, Policy, RemoveReason},
    proof::sign_join,
    set::{Inserted, OpSet},
};
use crate::{
    identity::{Card, Prekey, SignedCard},
    ids::{InviteId, MemberId, OpId, PrekeyId, Timestamp},
    sign::{Signature, SigningSecret},
};

pub(super) const NOW: Timestamp = Timestamp(1_000_000);

pub(super) fn person(number: u8) -> SigningSecret {
    SigningSecret::from_seed(&[number; 32])
}

/// Somebody's recovery key.
pub(super) fn rescue(who: &SigningSecret) -> SigningSecret {
    SigningSecret::from_seed(&who.public())
}

pub(super) fn retire(who: &SigningSecret) -> Kind {
    Kind::Retire { recovery: rescue(who).public(), cut: Vec::new() }
}

pub(super) fn card(who: &SigningSecret) -> Vec<u8> {
    let card = Card {
        version: 1,
        member: who.id(),
        recovery: Some(rescue(who).public()),
        seq: 1,
        name: format!("{:?}", who.id()),
        nodes: Vec::new(),
        prekey: Prekey { id: PrekeyId([1; 4]), public: [2; 32] },
        kk: None,
        machines: None,
    };
    SignedCard::sign(card, who).as_bytes().into()
}

pub(super) fn policy(name: &str) -> Policy {
    Policy {
        name: name.into(),
        relays: Vec::from([String::from("/dns/relay.example/tcp/1")]),
        ..Policy::default()
    }
}

pub(super) fn genesis(founder: &SigningSecret) -> Op {
    let kind = Kind::Genesis {
        nonce: [7; 16],
        card: card(founder),
        policy: policy("Allotment"),
        topic_commit: [0; 32],
    };
    let author = founder.id();
    let (deps, cap, incarnation) = (Vec::new(), None, None);
    let body = Body { group: None, author, seq: 0, deps, cap, at: NOW, kind, incarnation };
    Op::sign(body, founder)
}

pub(super) fn group(founder: &SigningSecret) -> OpSet {
    OpSet::new(genesis(founder)).unwrap()
}

/// The op that `who` makes of what `set` holds.
pub(super) fn op(set: &OpSet, who: &SigningSecret, kind: Kind) -> Op {
    Op::sign(set.next(who.id(), kind, NOW).unwrap(), who)
}

/// Makes an op and inserts it; its id.
pub(super) fn act(set: &mut OpSet, who: &SigningSecret, kind: Kind) -> OpId {
    let op = op(set, who, kind);
    let id = op.id();
    assert_eq!(set.insert(op), Ok(Inserted::New(Vec::from([id]))));
    id
}

/// Puts all ops of `from` into `into`.
pub(super) fn merge(into: &mut OpSet, from: &OpSet) {
    from.iter().for_each(|op| {
        into.insert(op.clone()).unwrap();
    });
}

pub(super) fn admit(who: &SigningSecret) -> Kind {
    Kind::Admit {
        card: card(who),
        invite: None,
        proof: Signature([0; 64]),
        handshake: [0; 32],
        use_no: 0,
    }
}

pub(super) fn promote(who: &SigningSecret) -> Kind {
    Kind::Promote { member: who.id() }
}

pub(super) fn remove(member: MemberId, commit: u8) -> Kind {
    Kind::Remove {
        member,
        cut: Vec::new(),
        reason: RemoveReason::Unsaid,
        topic_commit: [commit; 32],
    }
}

pub(super) fn refresh(commit: Option<u8>) -> Kind {
    Kind::Refresh { topic_commit: commit.map(|byte| [byte; 32]) }
}

pub(super) fn invite(number: u8, max_uses: u32) -> Kind {
    Kind::InviteCreate {
        record: InviteFields {
            id: InviteId([number; 16]),
            ipk: person(200 + number).public(),
            psk0: [1; 32],
            box_write: [2; 32],
            box_read: [3; 32],
            seal_key: [4; 32],
        },
        max_uses,
        expires: NOW.plus_ms(1000),
        mode: AdmitMode::Auto,
        strict: false,
    }
}

pub(super) fn redeem(set: &OpSet, number: u8, who: &SigningSecret) -> Kind {
    let (id, card, handshake) = (InviteId([number; 16]), card(who), [5; 32]);
    let key = person(200 + number);
    let proof = sign_join(&key, set.group(), id, who.id(), &card, &handshake);
    Kind::Admit { card, invite: Some(id), proof, handshake, use_no: 1 }
}
