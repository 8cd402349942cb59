//! How far this node's own messages are.

use serde::{Deserialize, Serialize};

use super::{GroupRef, MemberRef};

/// How far an own message is, in short: what stands beside it and in events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Delivery {
    /// Encrypted to the members of that moment; before that it is queued.
    pub sealed: bool,
    /// Kept by at least one relay.
    pub stored: bool,
    /// Whose node has it. At most [`NAMED_MAX`] are named.
    pub received: Vec<MemberRef>,
    /// Whose node has not said so. At most [`NAMED_MAX`] are named.
    pub missing: Vec<MemberRef>,
    /// To how many members it was sealed.
    #[serde(default)]
    pub members: u64,
    /// How many of them have it.
    #[serde(default)]
    pub reached: u64,
    /// How many of the others have said that they can't open its keys.
    #[serde(default)]
    pub unopened: u64,
    /// How many of their people have said to have read it.
    #[serde(default, skip_serializing_if = "is_none")]
    pub read: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// The most members that [`Delivery`] names in each of its lists: all of them, in groups that receipt
/// each message.
pub const NAMED_MAX: u32 = 64;

/// Answer of `GET /v1/groups/{ref}/messages/{message}/delivery`: how far an own message is with each
/// member. `{message}` is its local id, the first four digits of it at least, or `last`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeliveryView {
    /// [`super::VERSION`].
    pub v: u8,
    /// The message's local id.
    pub message: String,
    /// Where.
    pub group: GroupRef,
    /// When it was sealed; before that, when it was written.
    pub at: String,
    /// How far it is with the member with whom it is least far, those left out whom it can't reach.
    pub state: DeliveryState,
    /// What it waits for while it is queued, or why it can't be sent, in words; else empty.
    pub reason: String,
    /// Each member to whom it was sealed, this node's own left out.
    pub members: Vec<MemberDelivery>,
}

/// How far a message is with one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemberDelivery {
    /// Who.
    pub member: MemberRef,
    /// How far.
    pub state: DeliveryState,
    /// Since when, by this node's clock, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Why not further, in words; empty when received or read.
    pub reason: String,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// Written, and not yet encrypted to anybody.
    Queued,
    /// Encrypted to the members; no relay keeps it yet.
    Sealed,
    /// A relay keeps it.
    Stored,
    /// The member's node has opened it.
    Received,
    /// The person has read it, and both of you tell one another such things (`wattle group read --tell`).
    Read,
    /// It won't get there; the reason stands beside it. Should the member's node have it after all,
    /// that is what is shown.
    Cant,
}
