//! Members as identities that people compare, and who came under the name of one that was compared.

use serde::{Deserialize, Serialize};

use super::{ApiError, GroupRef, MemberRef};

/// A member as an identity to be compared. Answer of `GET /v1/members/{ref}`, and of `POST …/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemberIdentity {
    /// [`super::VERSION`].
    pub v: u8,
    /// Who.
    #[serde(flatten)]
    pub member: MemberRef,
    /// Whether a person compared it here.
    pub verified: bool,
    /// When, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// The names that it had then, and took since; at most 16 of the latter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified_as: Vec<String>,
    /// 60 digits, alike at both: what the two read to one another.
    pub number: String,
    /// The text of the QR code, alike at both.
    pub code: String,
    /// The member's own digits, 30 of the 60.
    pub fingerprint: String,
    /// The groups that both are in.
    pub groups: Vec<SharedGroup>,
    /// Whose names it has, where it is another identity than was compared under them, and that was not seen yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_than: Vec<MemberRef>,
    /// Whether what was to be compared is equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<bool>,
}

/// A group that one shares with a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SharedGroup {
    /// Which.
    #[serde(flatten)]
    pub group: GroupRef,
    /// 40 digits that all members see alike when they hold the same view.
    pub fingerprint: String,
}

/// Body of `POST /v1/members/{ref}/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub enum VerifyMember {
    /// The person has compared it.
    Mark,
    /// Takes that back.
    Unmark,
    /// The person has seen that it is another identity than was compared under its name.
    Accept,
    /// Marks it where this is what the two share.
    Compare {
        /// 60 digits, or the text of the QR code.
        text: String,
    },
}

/// An identity that has the name of another one, which was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OtherKey {
    /// Which.
    pub member: MemberRef,
    /// Those that were compared, by the names that they had; at most 8.
    pub verified: Vec<MemberRef>,
    /// Since when it is known.
    pub since: String,
}

/// Whether a member was removed from one of several groups. A line of `wattle group remove --everywhere --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Removal {
    /// [`super::VERSION`].
    pub v: u8,
    /// From which.
    pub group: GroupRef,
    /// Who.
    pub member: MemberRef,
    /// Why not, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}
