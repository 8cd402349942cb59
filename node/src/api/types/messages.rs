//! Messages, and what others change of them.

use serde::{Deserialize, Serialize};

use super::{Delivery, FileRef, GroupRef, MemberRef};

/// A message, as it stands in this node's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Message {
    /// [`super::VERSION`].
    pub v: u8,
    /// Local id, stable from the moment of queueing: 32 hexadecimal digits.
    pub id: String,
    /// Number in the order in which messages came to this node, of all groups; grows.
    pub seq: u64,
    /// Where it stands among its group's: compared as text, the lesser first. Never changed once it is sealed; and from then on
    /// alike at all members' nodes, and causal, but of what is `ahead`.
    #[serde(default)]
    pub place: String,
    /// Where.
    pub group: GroupRef,
    /// Who wrote it.
    pub from: MemberRef,
    /// Whether this node wrote it.
    pub mine: bool,
    /// What it says; where it offers a file, its name.
    pub text: String,
    /// When its writer sent it, by the writer's clock.
    pub at: String,
    /// How trustworthy its place is.
    pub class: Class,
    /// Of a message in a stale view: whether it came when this node knew of the removal already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// Whether its writer's logical clock had leapt ahead of this node's: it stands where it came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ahead: bool,
    /// Who handed it on, where it did not come from its writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_by: Option<MemberRef>,
    /// What it offers, where that is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileRef>,
    /// What it says beside its text, and what others changed of it.
    #[serde(flatten)]
    pub more: More,
    /// For this node's own messages: how far each member's copy is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// How late or doubtful a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Nothing to say.
    Ok,
    /// Its writer did not yet know that somebody was removed, who could read it.
    StaleView,
    /// Sent by a removed member after its removal; not to be trusted.
    PostCut,
}

/// Body of `POST /v1/groups/{ref}/messages`. A message is named by its local id, at least four digits of it, or is `last`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SendMessage {
    /// UTF-8 text.
    pub text: String,
    /// Which message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Members whom it is for in particular, by names or ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
}

/// Beside [`super::Page`] in the query of `GET /v1/groups/{ref}/messages`, without `after`: which messages are wanted. An answer may have fewer than are
/// asked for, or none, and yet not be the last: where it has a `next`, go on with that as `before`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Only {
    /// What this member wrote, or who was one: a name, with or without `@`, or the first digits of an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What was written at this time (RFC 3339) or later, by the writer's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What was written before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Body of `POST /v1/groups/{ref}/messages/{message}/edit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EditMessage {
    /// What it says from now on.
    pub text: String,
}

/// Body of `POST /v1/groups/{ref}/messages/{message}/react`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct React {
    /// An emoji, or a short word.
    pub sign: String,
    /// Whether it stands from now on.
    pub on: bool,
}

/// Body of `POST /v1/groups/{ref}/messages/{message}/pin`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PinMessage {
    /// Whether it stands from now on.
    pub on: bool,
}

/// What a message says beside its text, and what it shows now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct More {
    /// What it is.
    #[serde(default)]
    pub kind: MessageKind,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Answered>,
    /// Whom it is for in particular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<MemberRef>,
    /// How often its writer gave it another text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub edits: u32,
    /// Who deleted it; then it has no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_by: Option<MemberRef>,
    /// For how many seconds it asks to be kept, by each member's own clock; left out where for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u32>,
    /// Whether it was to be kept for some time only, and that is over; then it has no text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
    /// Who reacts, by what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// Who pinned it, where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_by: Option<MemberRef>,
    /// Whether its writer's identity was compared here, and is the one that it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verified: bool,
    /// Whether its writer has the name of another identity that was compared here, and the person has not yet said to
    /// have seen that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_key: bool,
    /// Whether its writer is blocked here: people are not shown it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// A text.
    #[default]
    Text,
    /// An offer of a file.
    File,
    /// A kind that this version does not know.
    Unknown,
}

/// The message that another one answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Answered {
    /// Its local id, where it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who wrote it, where it is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MemberRef>,
    /// How it begins, as it is shown now: at most 80 characters.
    #[serde(default)]
    pub text: String,
}

/// A sign, and who put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reaction {
    /// The sign.
    pub text: String,
    /// Who.
    pub by: Vec<MemberRef>,
}

/// What somebody changes of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum ChangeKind {
    /// Its text.
    Edit,
    /// It is to be gone.
    Delete,
    /// A sign was put, or taken away.
    Reaction {
        /// The sign.
        sign: String,
        /// Whether it stands.
        on: bool,
    },
    /// It was pinned, or is no more.
    Pin {
        /// Whether it stands.
        on: bool,
    },
    /// What came to be known of the group's members has an earlier change count, or not count any more.
    Judged,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}
