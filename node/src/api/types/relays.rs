//! How relays stand, and what they do not tell.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// A relay, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RelayStatus {
    /// Its addresses, with PeerId.
    pub addresses: Vec<String>,
    /// How it stands.
    pub state: RelayState,
    /// Why it is not up, in words; empty when up.
    pub reason: String,
    /// Milliseconds until the next try, where one is due.
    pub retry_in_ms: Option<u64>,
    /// Entries that wait to be stored there.
    pub waiting: u64,
    /// How long it took to answer when that was measured last, in microseconds, there and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Messages that it said it keeps and does not tell: `wattle verify` says whose.
    #[serde(default)]
    pub withheld: u64,
}

/// How a relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RelayState {
    /// Connected; logs are followed.
    Up,
    /// Being tried.
    Connecting,
    /// Not reachable; tried again later.
    Down,
}

/// Messages of a writer that a relay does not tell, though it said to this node that it keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Withheld {
    /// The relay's first address.
    pub relay: String,
    /// Who wrote them.
    pub from: MemberRef,
    /// Whether this node did.
    pub mine: bool,
    /// How many.
    pub messages: u64,
    /// A member who showed one of them, where not another relay did. This node then gave it to the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<MemberRef>,
}
