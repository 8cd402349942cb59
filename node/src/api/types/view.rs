//! What a group's view tells of its members: who has adopted it, what is missing, what does not go
//! together.

use serde::{Deserialize, Serialize};

use super::{GroupRef, MemberRef, RelayState, Withheld};

/// Who sends under this node's view of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Adopted {
    /// Whose newest keys are sealed to exactly these members.
    pub under: Vec<MemberRef>,
    /// Who has not shown it yet.
    pub waiting: Vec<MemberRef>,
}

/// Answer of `GET /v1/groups/{ref}/verify`: whether the members hold the same, as far as this node sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verified {
    /// [`super::VERSION`].
    pub v: u8,
    /// Which group.
    pub group: GroupRef,
    /// 40 digits that all members see alike when they hold the same view.
    pub fingerprint: String,
    /// How far the members have come with this view.
    pub adopted: Adopted,
    /// Who has not said to have all of this node's own last messages.
    pub behind: Vec<Behind>,
    /// What is missing here, by writer.
    pub gaps: Vec<Gap>,
    /// Forks and clones.
    pub notices: Vec<Notice>,
    /// What relays do not tell.
    #[serde(default)]
    pub withheld: Vec<Withheld>,
}

/// A member who lacks own messages of this node's, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Behind {
    /// Who.
    pub member: MemberRef,
    /// How many of the last 256.
    pub messages: u64,
    /// When the first of them was sealed.
    pub since: String,
}

/// Messages of one writer that are known to exist and have not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Gap {
    /// Who wrote them.
    pub from: MemberRef,
    /// How many.
    pub missing: u64,
    /// Since when the first of them is missing.
    pub since: String,
    /// How many of them were asked for an hour in vain.
    pub given_up: u64,
    /// How many of those only other members say to exist, not their writer: one of them may lie.
    #[serde(default)]
    pub doubtful: u64,
    /// How they are known, in words.
    pub known_by: String,
}

/// Statements of a member that don't go together, each checked by its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Notice {
    /// Whose they are.
    pub member: MemberRef,
    /// What they show.
    pub kind: NoticeKind,
    /// The same in words, and what to do.
    pub text: String,
    /// The statements, in hexadecimal: whoever has the group's id can check them.
    pub proof: String,
}

/// What statements that don't go together show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// Proof of a lie.
    Equivocation,
    /// A restored backup, or a copied device.
    Clone,
}

/// How a relay of a group's stands with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupRelay {
    /// Its first address, with PeerId.
    pub address: String,
    /// Up: the group's logs are open there.
    pub state: RelayState,
    /// Why they are not, in words; empty when up.
    pub reason: String,
    /// What to do where the relay wants a token and does not take the group's; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Its PeerId.
    #[serde(default)]
    pub peer: String,
    /// Whether it serves holders of its operator's tokens only, as far as it has said.
    #[serde(default)]
    pub wants_token: bool,
}
