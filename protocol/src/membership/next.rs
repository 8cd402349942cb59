//! What a member may do next: the body of a new op, or the reason why not.

use alloc::vec::Vec;

use super::{
    conduct::Conduct,
    node::Needs,
    op::{Body, Kind, OpError},
    resolution::{Resolution, Standing},
    resolve::Rank,
    set::OpSet,
};
use crate::{
    codec,
    ids::{InviteId, MemberId, OpId, Timestamp},
    limits,
};

/// Why a member may not do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The author is no member.
    #[error("not a member")]
    NotAMember,
    /// Only an admin may.
    #[error("not an admin")]
    NotAnAdmin,
    /// The person it is about is no member, or to be demoted and no admin.
    #[error("no such member")]
    NoSuchMember,
    /// The person it is about is not junior to the author.
    #[error("the member is not junior to this admin")]
    TargetIsSenior {
        /// The author's rank.
        author: Rank,
        /// The other's.
        target: Rank,
    },
    /// A member leaves; it doesn't remove or demote itself.
    #[error("a member does not remove itself")]
    Yourself,
    /// The newcomer is a member already.
    #[error("already a member")]
    AlreadyAMember,
    /// The group has [`limits::MEMBERS`] members.
    #[error("the group has {members} members, and no room for more")]
    GroupFull {
        /// Members now.
        members: usize,
    },
    /// No invite of this id counts.
    #[error("no such invite")]
    NoSuchInvite,
    /// An invite of this id exists.
    #[error("the invite exists")]
    InviteExists,
    /// The invite was taken back, or its creator is no admin any more.
    #[error("the invite was taken back")]
    InviteRevoked,
    /// The invite is used up.
    #[error("the invite was used {uses} times")]
    InviteUsed {
        /// How often.
        uses: u32,
    },
    /// The invite has expired.
    #[error("the invite has expired")]
    InviteExpired,
    /// Only the invite's creator serves it.
    #[error("only its creator serves this invite")]
    NotTheCreator,
    /// The invite is of an admin senior to the author.
    #[error("the invite is of a more senior admin")]
    InviteIsSenior,
    /// The join proof does not hold.
    #[error("the join proof does not hold")]
    BadProof,
    /// The recovery key is not the one in the card by which the author is a member.
    #[error("not that member's recovery key")]
    WrongRecovery,
    /// More heads than an op can have: a Refresh without a commitment joins them first.
    #[error("{heads} heads are to be joined first")]
    TooManyHeads {
        /// How many there are.
        heads: usize,
    },
    /// The op would be malformed or too long, is a Genesis, or of an unknown kind.
    #[error(transparent)]
    Malformed(#[from] OpError),
    /// The set is full.
    #[error("the group has {ops} ops, and no room for more")]
    Full {
        /// Ops in the set.
        ops: usize,
    },
}

/// An op's bytes beside its body: the array's head, the body's head, the signature.
const OVERHEAD: usize = 1 + 3 + 66 + RUN;

/// What naming the run of the author's process adds.
const RUN: usize = 9;

impl OpSet {
    /// The body of the author's next op: its number, the heads as dependencies, and the author's
    /// most senior fitting grant. Once signed and inserted, it takes effect.
    ///
    /// Only [`Kind::Refresh`] may be made of more than [`limits::OP_DEPS`] heads: it joins as many
    /// as it can.
    pub fn next(&self, author: MemberId, kind: Kind, at: Timestamp) -> Result<Body, NotAllowed> {
        let now = self.resolve();
        let standing = now.members.get(&author).ok_or(NotAllowed::NotAMember)?;
        let cap = fitting_grant(standing, &kind)?;
        let deps = self.deps(&kind, cap)?;
        let seq = self.next_seq(author, standing.grant);
        let group = Some(self.group());
        let body = Body { group, author, seq, deps, cap, at, kind, incarnation: None };
        body.check()?;
        let bytes = codec::encode(&body).len() + OVERHEAD;
        if bytes > limits::OP_BYTES {
            return Err(OpError::TooLong { bytes }.into());
        }
        let subject = body.about()?.subject;
        match now.allows(&body, subject) {
            // Whoever came back by a void removal is admitted anew: that is an admin's answer.
            Err(NotAllowed::AlreadyAMember)
                if matches!(body.kind, Kind::Admit { invite: None, .. })
                    && subject.is_some_and(|who| self.voided_removal(&who).is_some()) => {}
            answer => answer?,
        }
        if !self.is_open_to(&body, bytes) {
            return Err(NotAllowed::Full { ops: self.iter().count() });
        }
        match self.form(OpId([0; 32]), &body, subject) {
            Some(_) => Ok(body),
            None if matches!(body.kind, Kind::Retire { .. }) => Err(NotAllowed::WrongRecovery),
            None => Err(NotAllowed::BadProof),
        }
    }

    /// Each grant has numbers of its own: whoever was removed may have signed ops that nobody heard
    /// of, and that it does not know when it joins anew.
    fn next_seq(&self, author: MemberId, grant: OpId) -> u32 {
        let first = u32::from(u16::from_be_bytes([grant.0[0], grant.0[1]])) << 16;
        let last = first | u32::from(u16::MAX);
        let own = self.by_author.range((author, first)..=(author, last)).next_back();
        own.map_or(first, |((_, seq), _)| last.min(seq.saturating_add(1)))
    }

    fn deps(&self, kind: &Kind, cap: Option<OpId>) -> Result<Vec<OpId>, NotAllowed> {
        let mut heads = self.heads();
        if heads.len() > limits::OP_DEPS {
            if !matches!(kind, Kind::Refresh { .. }) {
                return Err(NotAllowed::TooManyHeads { heads: heads.len() });
            }
            let holds_cap = |head: &OpId| {
                cap.is_none_or(|cap| self.past(&[*head]).is_ok_and(|past| past.contains(&cap)))
            };
            if let Some(first) = heads.iter().position(holds_cap) {
                heads.swap(0, first);
            }
            heads.truncate(limits::OP_DEPS);
            heads.sort_unstable();
        }
        Ok(heads)
    }
}

fn fitting_grant(standing: &Standing, kind: &Kind) -> Result<Option<OpId>, NotAllowed> {
    match kind.needs() {
        Needs::Nothing => Ok(None),
        // Whoever is a member by promotions alone may be demoted, and is one still.
        Needs::Member => Ok(standing.acts.or(Some(standing.grant))),
        // A conduct is formed without, but nobody heeds it then; what else is unknown is not allowed to anybody.
        Needs::Admin | Needs::Unknown => standing.admin.map(Some).ok_or(NotAllowed::NotAnAdmin),
    }
}

impl Resolution {
    fn allows(&self, body: &Body, subject: Option<MemberId>) -> Result<(), NotAllowed> {
        let by = body.author;
        match (&body.kind, subject) {
            (kind @ Kind::Other { .. }, _) if Conduct::of(kind).is_some() => Ok(()),
            (Kind::Genesis { .. } | Kind::Other { .. }, _) => Err(OpError::Malformed.into()),
            (Kind::Remove { .. }, Some(whom)) => {
                let target = self.members.get(&whom).map(|standing| standing.rank);
                self.downward(by, whom, target)
            }
            (Kind::Demote { .. }, Some(whom)) => self.downward(by, whom, self.admin_rank(&whom)),
            (Kind::Promote { .. }, Some(whom)) if !self.is_member(&whom) => {
                Err(NotAllowed::NoSuchMember)
            }
            (Kind::Admit { invite, .. }, Some(whom)) => {
                if self.is_member(&whom) {
                    return Err(NotAllowed::AlreadyAMember);
                }
                if self.members.len() >= limits::MEMBERS {
                    return Err(NotAllowed::GroupFull { members: self.members.len() });
                }
                invite.map_or(Ok(()), |invite| self.redeemable(by, invite, body.at))
            }
            (Kind::InviteCreate { record, .. }, _) if self.invites.contains_key(&record.id) => {
                Err(NotAllowed::InviteExists)
            }
            (Kind::InviteRevoke { invite }, _) => {
                let invite = self.invites.get(invite).ok_or(NotAllowed::NoSuchInvite)?;
                if self.admin_rank(&by) <= invite.rank {
                    Ok(())
                } else {
                    Err(NotAllowed::InviteIsSenior)
                }
            }
            _ => Ok(()),
        }
    }

    fn downward(
        &self,
        by: MemberId,
        whom: MemberId,
        target: Option<Rank>,
    ) -> Result<(), NotAllowed> {
        if by == whom {
            return Err(NotAllowed::Yourself);
        }
        let author = self.admin_rank(&by).ok_or(NotAllowed::NotAnAdmin)?;
        let target = target.ok_or(NotAllowed::NoSuchMember)?;
        if author < target { Ok(()) } else { Err(NotAllowed::TargetIsSenior { author, target }) }
    }

    fn redeemable(&self, by: MemberId, invite: InviteId, at: Timestamp) -> Result<(), NotAllowed> {
        let invite = self.invites.get(&invite).ok_or(NotAllowed::NoSuchInvite)?;
        if invite.revoked || !self.is_admin(&invite.creator) {
            return Err(NotAllowed::InviteRevoked);
        }
        if invite.used >= invite.max_uses {
            return Err(NotAllowed::InviteUsed { uses: invite.used });
        }
        if at > invite.expires {
            return Err(NotAllowed::InviteExpired);
        }
        if invite.strict && by != invite.creator {
            return Err(NotAllowed::NotTheCreator);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use super::{super::fixture::*, *};
    use crate::{
        ids::Incarnation,
        membership::{Op, Policy},
    };

    #[test]
    fn an_op_is_as_long_as_is_reckoned_before_it_is_signed() {
        let a = person(1);
        let relays: Vec<_> =
            (0..3).map(|n| String::from_iter(['x'; 100]) + &n.to_string()).collect();
        let policy = Policy { relays, ..policy("long") };
        let mut body = group(&a).next(a.id(), Kind::SetPolicy { policy }, NOW).unwrap();
        let reckoned = codec::encode(&body).len() + OVERHEAD;
        body.incarnation = Some(Incarnation([9; 8]));
        assert_eq!(Op::sign(body, &a).as_bytes().len(), reckoned);
    }
}
