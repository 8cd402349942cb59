//! What this node's people keep of groups and members for themselves.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// Body of `POST /v1/groups/{ref}/shelf`: what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShelveGroup {
    /// Whether, and for how long, nobody is told of what comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute: Option<Mute>,
    /// Whether it is put away, until something comes that is unread, or longer while it is muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<bool>,
    /// Whether what came is marked as read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read: bool,
    /// With `read`: up to the message of this `seq`; all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Whether members are told what is marked as read, from this request on, where the group's admins have that on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tell: Option<bool>,
}

/// Whether a group is muted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mute {
    /// Until somebody says otherwise.
    On,
    /// No more.
    Off,
    /// For some time.
    For {
        /// In seconds.
        seconds: u64,
    },
}

/// Body of `POST /v1/blocked`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockMember {
    /// A name, or the first digits of an id, with or without `@`.
    pub member: String,
}

/// Somebody of whom nothing is shown here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockedMember {
    /// [`super::VERSION`].
    pub v: u8,
    /// Who.
    pub member: MemberRef,
    /// Since when.
    pub since: String,
    /// The groups in which this is an admin, whose acts hold all the same; sixteen at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin_in: Vec<String>,
}

/// Answer of `GET /v1/blocked`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Blocked {
    /// [`super::VERSION`].
    pub v: u8,
    /// Who was first first.
    pub blocked: Vec<BlockedMember>,
}
