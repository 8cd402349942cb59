//! Groups as they are asked for, and the tokens of relays' operators that are given to them.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Body of `POST /v1/groups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CreateGroup {
    /// Its name.
    pub name: String,
    /// Its relays: multiaddrs, each with PeerId; the node's own where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<String>,
    /// The token of the operator of one of them, where that serves holders of tokens only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_token: Option<GiveToken>,
}

impl CreateGroup {
    /// A group of this name, at the node's own relays.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// A token of a relay's operator, for a group to use. It goes into the group's policy, and is in no
/// answer.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GiveToken {
    /// As the operator passes it on: `wtt1…`. A secret.
    pub token: String,
    /// Which of the group's relays it is for: an address of it, or its PeerId. It can be left out where
    /// the group has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
}

impl fmt::Debug for GiveToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GiveToken").field("relay", &self.relay).finish_non_exhaustive()
    }
}

impl Drop for GiveToken {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_in_no_debug_output() {
        let given = GiveToken { token: "wtt1secret".into(), relay: Some("/ip4/…".into()) };
        let asked = CreateGroup { relay_token: Some(given), ..CreateGroup::named("tea") };
        let printed = format!("{asked:?}");
        assert!(printed.contains("/ip4/") && !printed.contains("wtt1"), "{printed}");
    }
}
