//! Invites, who asks to be let in by one, and joins.

use serde::{Deserialize, Serialize};

#[expect(unused_imports, reason = "for links")]
use super::VERSION;
use super::{GroupRef, MemberRef};

/// Body of `POST /v1/groups/{ref}/invites`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CreateInvite {
    /// How often it may be used; 1 where left out.
    pub uses: Option<u32>,
    /// Seconds until it expires; 48 hours where left out.
    pub expires_in: Option<u64>,
    /// Whether a person is asked about everybody who wants in; where left out, if it may be used
    /// more than once.
    #[serde(default)]
    pub ask: Option<bool>,
    /// Whether every admin's node serves it, and not this one alone; not where left out.
    #[serde(default)]
    pub any_admin: Option<bool>,
}

/// An invite. The code is a secret: it is in the answer that makes it, and nowhere else.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InviteView {
    /// [`VERSION`].
    pub v: u8,
    /// Invite id, 32 hexadecimal digits.
    pub id: String,
    /// What one pastes; only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How often it may be used.
    pub uses: u32,
    /// How often it has been used.
    pub used: u32,
    /// When it expires.
    pub expires: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether a person is asked about everybody who wants in.
    pub ask: bool,
    /// Whether every admin's node serves it.
    pub any_admin: bool,
    /// How many wait for a person's word at this node.
    pub waiting: u64,
}

/// Somebody who showed an invite and waits for a person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestView {
    /// [`VERSION`].
    pub v: u8,
    /// The invite, 32 hexadecimal digits.
    pub invite: String,
    /// Who says to be so.
    pub member: MemberRef,
    /// The identity's fingerprint, 30 digits: to be compared with what the joiner's own node shows.
    pub fingerprint: String,
    /// The PeerId of the machine, if its card names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Since when.
    pub since: String,
    /// Whose name it has, where it is another identity than was verified under that name; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_than: Vec<MemberRef>,
}

/// Answer of `GET /v1/groups/{ref}/requests`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Requests {
    /// [`VERSION`].
    pub v: u8,
    /// Those who wait at this node, oldest first.
    pub requests: Vec<RequestView>,
}

/// Body of `POST /v1/join`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JoinRequest {
    /// The code.
    pub code: String,
}

/// Answer of `GET /v1/groups/{ref}/invites`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Invites {
    /// [`VERSION`].
    pub v: u8,
    /// The group's invites, without their codes.
    pub invites: Vec<InviteView>,
}

/// A join under way, or ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JoinView {
    /// [`VERSION`].
    pub v: u8,
    /// Names this join.
    pub id: String,
    /// How far it is.
    pub state: JoinState,
    /// The group, once joined.
    pub group: Option<GroupRef>,
    /// What it waits for or why it failed, in words.
    pub detail: String,
    /// The exit code that the command line ends with, where it failed.
    pub exit: Option<u8>,
}

/// The named states of joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JoinState {
    /// Looking for the inviter's relay or node.
    Connecting,
    /// The relay, or the inviter's address, answers.
    RelayReached,
    /// The inviter's node answered and proved itself.
    InviterFound,
    /// The end-to-end channel stands.
    ChannelOpen,
    /// The invite was shown.
    InviteProven,
    /// An admin of the group is being asked.
    WaitingForApproval,
    /// Keys received: a member.
    Joined,
    /// Ended without joining.
    Failed,
}

/// Answer of `GET /v1/joins`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Joins {
    /// [`VERSION`].
    pub v: u8,
    /// The joins that this node began.
    pub joins: Vec<JoinView>,
}
