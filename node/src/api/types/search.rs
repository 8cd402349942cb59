//! What was looked for in the history, and what was found.

use serde::{Deserialize, Serialize};

use super::Message;

/// Query of `GET /v1/search`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SearchFor {
    /// The words: each is the beginning of one in the text; between quotation marks, a row of whole ones.
    pub q: String,
    /// In one group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Written by this member: a name, or the first digits of an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Written at this time (RFC 3339) or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Written before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// That came before the message with this `seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// So many at most; 50 where left out, and never more than [`super::PAGE_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A message that has all the words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hit {
    /// As it is shown now.
    pub message: Message,
    /// Where they are in its text.
    pub marks: Vec<Mark>,
}

/// A part of a text, by its characters (Unicode scalar values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Mark {
    /// The first one.
    pub from: u32,
    /// The one after the last.
    pub to: u32,
}

/// Answer of `GET /v1/search`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Found {
    /// [`super::VERSION`].
    pub v: u8,
    /// Those that came last first.
    pub hits: Vec<Hit>,
    /// How many messages are not looked at yet: the index takes them in after an update, and after a backup was restored.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unindexed: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}
