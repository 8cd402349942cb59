//! Conversations of two.

use super::Group;
use crate::{
    ids::{GroupId, OpId},
    membership::Kind,
};

impl Group {
    /// Whether this is a conversation of two: the Genesis says so, once for all.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        self.ops.op(&OpId(self.id.0)).is_some_and(
            |op| matches!(&op.body().kind, Kind::Genesis { policy, .. } if policy.is_pair()),
        )
    }
}

/// Which of two conversations of the same two people stays, where both began one at once. Both
/// sides come to the same answer; the other one is left.
#[must_use]
pub fn the_one_that_stays(one: GroupId, other: GroupId) -> GroupId {
    one.min(other)
}
