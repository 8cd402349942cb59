//! Tokens by which programs use the local API, and what each is for.

use serde::{Deserialize, Serialize};

use super::GroupRef;

/// What a program may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read what is said, and what was.
    Read,
    /// Say something, react, and see who is in the group and how far a message is.
    Send,
    /// Both, and what an admin of the group does: invites, members, policy; and change messages of its own.
    Admin,
}

/// Body of `POST /v1/access`: makes a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GrantAccess {
    /// For what it is: 1 to 32 letters of a to z, digits, dots, dashes and underscores.
    pub label: String,
    /// What may be done with it.
    pub may: Vec<Scope>,
    /// In which groups: exact names, or the first digits of ids. In all, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Messages in a minute; 60 where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// In how many seconds it ends; never, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A token, without what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AccessView {
    /// [`super::VERSION`].
    pub v: u8,
    /// For what it is.
    pub label: String,
    /// What may be done with it.
    pub may: Vec<Scope>,
    /// In which groups; in all, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupRef>>,
    /// Messages in a minute.
    pub rate: u32,
    /// When it was made.
    pub made: String,
    /// When it ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// A token that was made. It is told this once: the node keeps its hash.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GrantedAccess {
    /// [`super::VERSION`].
    pub v: u8,
    /// What it is for.
    pub access: AccessView,
    /// The token: a secret.
    pub token: String,
}

/// Answer of `GET /v1/access`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Accesses {
    /// [`super::VERSION`].
    pub v: u8,
    /// By their labels.
    pub access: Vec<AccessView>,
}
