//! Whether a member's node answers, way by way.

use serde::{Deserialize, Serialize};

use super::{MemberRef, Via};

/// Body of `POST /v1/pings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PingMember {
    /// Whom: a name, with or without `@`, or an unambiguous prefix of the id.
    pub member: String,
    /// In which group; in any where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Answer of `POST /v1/pings` and of `GET /v1/pings/{id}`: what is known so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PingView {
    /// [`super::VERSION`].
    pub v: u8,
    /// Names the question, until the node forgets it.
    pub id: String,
    /// Who is asked.
    pub member: MemberRef,
    /// Whether all ways were tried.
    pub done: bool,
    /// The ways tried so far, in the order in which they ended.
    pub ways: Vec<WayTried>,
}

/// One way to a member's node that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WayTried {
    /// Which kind.
    pub way: Way,
    /// The address, for a direct one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// How the address was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// How long an answer took, in microseconds, there and back; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// How long the connection took to make before, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_us: Option<u64>,
    /// By how many milliseconds the member's clock goes ahead of this node's, as far as the answer shows it:
    /// give or take half of what that took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead_ms: Option<i64>,
    /// Why no answer came, in words; empty where one came.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The kinds of way that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The channel that stands, as it was measured last.
    Channel,
    /// A connection of its own, to one address.
    Direct,
    /// The relay's log: a question sealed for the member, and its node's sealed answer.
    Relay,
}
