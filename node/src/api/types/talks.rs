//! Conversations of two.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// Body of `POST /v1/talks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BeginTalk {
    /// With whom: a name, with or without `@`, or the first digits of an id.
    pub member: String,
}

/// A conversation of two, or one that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Talk {
    /// [`super::VERSION`].
    pub v: u8,
    /// The other one.
    pub member: MemberRef,
    /// How far it is.
    pub state: TalkState,
    /// The id of its group, where this node is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Since when it is asked for; left out once it has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// How far a conversation of two is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TalkState {
    /// This node's person asked for it, and the other one has not come yet.
    Asked,
    /// The other one asks for it.
    Asks,
    /// This node is on its way into it.
    Joining,
    /// Both are in it.
    Open,
}

/// Answer of `GET /v1/talks`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Talks {
    /// [`super::VERSION`].
    pub v: u8,
    /// Those who ask first.
    pub talks: Vec<Talk>,
}
