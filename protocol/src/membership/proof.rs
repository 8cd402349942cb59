//! Two proofs around joining: that the newcomer holds the invite, and that whoever admits is an
//! admin of the group that the invite names. docs/spec/invite.md.

use alloc::vec::Vec;

use super::{
    op::{Kind, Op, OpError},
    set::OpSet,
};
use crate::{
    hash::{Label, hash32},
    ids::{GroupId, InviteId, MemberId, OpId},
    limits,
    sign::{Context, Signature, SigningSecret, verify},
};

/// Why ops don't prove that somebody is an admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmin {
    /// None, or more than [`limits::ADMIN_PATH`].
    #[error("{ops} ops are no proof")]
    Length {
        /// How many there are.
        ops: usize,
    },
    /// One of them is no op.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The first is not the Genesis of the group expected.
    #[error("of another group")]
    OtherGroup,
    /// They are not promotions, each by the one promoted before, down to the person expected.
    #[error("the promotions don't lead to this admin")]
    Path,
}

/// Signs that the holder of an invite's secret is this newcomer, with this card, in this handshake.
#[must_use]
pub fn sign_join(
    invite_key: &SigningSecret,
    group: GroupId,
    invite: InviteId,
    member: MemberId,
    card: &[u8],
    handshake: &[u8; 32],
) -> Signature {
    let card = hash32(Label::Card, &[card]);
    invite_key.sign(Context::Join, &[&group.0, &invite.0, &member.0, &card, handshake])
}

/// The same by somebody who asks by letter and knows of the group only what stands in the code;
/// `request` is the hash of what is asked.
#[must_use]
pub fn sign_request(
    invite_key: &SigningSecret,
    prefix: &[u8; 20],
    invite: InviteId,
    member: MemberId,
    card: &[u8],
    request: &[u8; 32],
) -> Signature {
    let card = hash32(Label::Card, &[card]);
    invite_key.sign(Context::JoinRequest, &[prefix, &invite.0, &member.0, &card, request])
}

/// Whether a join proof, of either form, holds under an invite's public key. `handshake` is what it
/// is bound to: a handshake's hash, or that of a request.
#[must_use]
pub fn join_holds(
    ipk: &[u8; 32],
    group: GroupId,
    invite: InviteId,
    member: MemberId,
    card: &[u8],
    handshake: &[u8; 32],
    proof: &Signature,
) -> bool {
    let card = hash32(Label::Card, &[card]);
    let live: [&[u8]; 5] = [&group.0, &invite.0, &member.0, &card, handshake];
    let by_letter: [&[u8]; 5] = [&group.0[..20], &invite.0, &member.0, &card, handshake];
    verify(ipk, Context::Join, &live, proof).is_ok()
        || verify(ipk, Context::JoinRequest, &by_letter, proof).is_ok()
}

/// The Genesis and the promotions that make `who` an admin, to be shown to a newcomer; empty if
/// `who` is none. Nothing else is shown: other ops hold the secrets of invites.
#[must_use]
pub fn admin_path(set: &OpSet, who: &MemberId) -> Vec<Vec<u8>> {
    let mut path = Vec::new();
    let mut next = set.resolve().members.get(who).and_then(|standing| standing.admin);
    while let Some(op) = next.and_then(|id: OpId| set.op(&id)) {
        path.push(op.as_bytes().into());
        next = op.body().cap;
    }
    path.reverse();
    path
}

/// A newcomer's check of whoever answers the invite: `ops` are a Genesis whose id begins with
/// `prefix`, and promotions, each under the grant before it, the last of `who`. It can't show that
/// `who` was not removed since.
pub fn proves_admin(
    ops: &[Vec<u8>],
    prefix: &[u8; 20],
    who: MemberId,
) -> Result<GroupId, NotAdmin> {
    let Some((genesis, promotions)) = ops.split_first().filter(|_| ops.len() <= limits::ADMIN_PATH)
    else {
        return Err(NotAdmin::Length { ops: ops.len() });
    };
    let genesis = Op::from_bytes(genesis)?;
    let group = genesis.group();
    if !matches!(genesis.body().kind, Kind::Genesis { .. }) || !group.0.starts_with(prefix) {
        return Err(NotAdmin::OtherGroup);
    }
    let (mut grant, mut admin) = (genesis.id(), genesis.author());
    for promotion in promotions {
        let op = Op::from_bytes(promotion)?;
        let Kind::Promote { member } = op.body().kind else { return Err(NotAdmin::Path) };
        if op.group() != group || op.author() != admin || op.body().cap != Some(grant) {
            return Err(NotAdmin::Path);
        }
        (grant, admin) = (op.id(), member);
    }
    if admin == who { Ok(group) } else { Err(NotAdmin::Path) }
}
