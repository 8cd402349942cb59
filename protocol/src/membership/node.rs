//! An op as the rule sees it: author, past, grant and effect, without bytes or signatures.
//!
//! The rule ([`super::resolve`]) reads a slice of these. Sets build it from signed ops; the
//! exhaustive check builds it directly, so that the code that is checked is the code that runs.

use alloc::vec::Vec;

use super::bits::Bits;
use crate::ids::{InviteId, MemberId, OpId};

/// One op. Its number is its place in a slice in which parents come first; 0 is the Genesis.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: OpId,
    pub(super) author: MemberId,
    /// 0 for the Genesis, else one more than the greatest of its parents.
    pub(super) height: u32,
    /// Every op before it, itself not included.
    pub(super) past: Bits,
    /// The number of the grant under which it acts.
    pub(super) cap: Option<usize>,
    pub(super) act: Act,
}

/// What an op does, as far as the rule cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Genesis,
    InviteCreate {
        id: InviteId,
        max_uses: u32,
    },
    InviteRevoke {
        id: InviteId,
    },
    /// With the number of the InviteCreate that was redeemed.
    Admit {
        member: MemberId,
        invite: Option<usize>,
    },
    Remove {
        member: MemberId,
    },
    Leave,
    Promote {
        member: MemberId,
    },
    Demote {
        member: MemberId,
    },
    Refresh,
    SetPolicy,
    Migrate,
    /// Ends its author's membership, as a Leave does, and what the author does beside it.
    Retire,
    /// Formed as what is not known, so that nodes of before have it too; judged for its effect alone.
    Conduct,
    /// A kind that is not known here.
    Other,
}

/// Which grants an act needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// None, and none may be named: Genesis, Leave.
    Nothing,
    /// A grant of any class.
    Member,
    /// A Genesis or a Promote.
    Admin,
    /// Not known here: none, or any grant of the author.
    Unknown,
}

impl Act {
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Genesis | Self::Leave => Needs::Nothing,
            Self::Refresh | Self::Retire => Needs::Member,
            Self::Conduct | Self::Other => Needs::Unknown,
            _ => Needs::Admin,
        }
    }

    pub(super) fn is_admin_grant(&self) -> bool {
        matches!(self, Self::Genesis | Self::Promote { .. })
    }
}

impl Node {
    /// Whom it makes a member, if it is a grant.
    pub(super) fn grants(&self) -> Option<MemberId> {
        match self.act {
            Act::Genesis => Some(self.author),
            Act::Admit { member, .. } | Act::Promote { member } => Some(member),
            _ => None,
        }
    }

    /// `formed` of docs/spec/membership.md: the grant named is in the past, grants the author,
    /// and is of the class that the act needs. It depends on nothing but the op and its past.
    pub(super) fn is_formed(&self, nodes: &[Self]) -> bool {
        let grant = self
            .cap
            .and_then(|cap| nodes.get(cap).filter(|_| self.past.contains(cap)))
            .filter(|grant| grant.grants() == Some(self.author));
        match self.act.needs() {
            Needs::Nothing => self.cap.is_none(),
            Needs::Member => grant.is_some(),
            Needs::Admin => grant.is_some_and(|grant| grant.act.is_admin_grant()),
            Needs::Unknown => self.cap.is_none() || grant.is_some(),
        }
    }
}

/// A grant's place below the founder: from the Genesis down, each grant's height and id. Smaller
/// is senior; a promoter is senior to its protégés because its path begins theirs.
pub(super) fn path(nodes: &[Node], grant: usize) -> Vec<(u32, OpId)> {
    let mut path = Vec::new();
    let mut at = grant;
    while let Some(cap) = nodes[at].cap {
        path.push((nodes[at].height, nodes[at].id));
        at = cap;
    }
    path.reverse();
    path
}

/// Everything that lies before one of these ops.
pub(super) fn union_of_pasts(nodes: &[Node], of: impl Iterator<Item = usize>) -> Bits {
    of.fold(Bits::default(), |mut all, at| {
        all.union(&nodes[at].past);
        all
    })
}
