//! What a group's view tells of removals that do not count, of lost machines, and of moves.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// A member who is back because a removal does not count. Nothing is sent before an admin has let
/// them in again, or removed them again, or the time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Returned {
    /// Who is back.
    pub member: MemberRef,
    /// Whose removal does not count.
    pub removed_by: MemberRef,
    /// Until when nothing is sent.
    pub until: String,
}

/// What somebody did and does not count, because they were removed, demoted or retired at the same
/// time, or an invite was used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VoidAct {
    /// Who did it.
    pub by: MemberRef,
    /// When, by their clock.
    pub at: String,
    /// What, in words.
    pub what: String,
}

/// A group that this one goes on as, by an admin's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Move {
    /// The new group's id.
    pub to: String,
    /// Who made it.
    pub by: MemberRef,
    /// Whether this node has moved there.
    pub followed: bool,
    /// Whether all that is needed to follow has come.
    pub ready: bool,
}

/// This machine's recovery code.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RecoveryView {
    /// [`super::VERSION`].
    pub v: u8,
    /// The code; none where it was forgotten here.
    pub code: Option<String>,
}

/// Body of `POST /v1/groups/{ref}/retire`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RetireMember {
    /// The recovery code of the lost machine.
    pub code: String,
}

/// Body of `POST /v1/groups/{ref}/migrate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MigrateGroup {
    /// Members who are left out: names or id prefixes.
    #[serde(default)]
    pub without: Vec<String>,
}

/// Body of `POST /v1/groups/{ref}/follow`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FollowMove {
    /// The new group's id, or the first digits of it; the most senior admin's move where left out.
    pub to: Option<String>,
}
