//! A group's policy, its shared history and its audit log: what is asked and answered.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    Api, Body,
    refusal::Refusal,
    types::{GiveToken, GroupRef, MemberRef},
};

/// Answer of `GET` and `POST /v1/groups/{ref}/policy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicyView {
    /// [`super::types::VERSION`].
    pub v: u8,
    /// Which group.
    pub group: GroupRef,
    /// Its relays.
    pub relays: Vec<String>,
    /// Who is away for so many seconds is removed; left out where nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evict_after: Option<u64>,
    /// A member that is lost for so many seconds makes for new keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_on_disconnect: Option<u64>,
    /// Whether members may share history.
    pub share_history: bool,
    /// Whether it is a conversation of two.
    pub pair: bool,
    /// The PeerIds of those relays for which the group has a token of their operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relay_tokens: Vec<String>,
}

/// Body of `POST /v1/groups/{ref}/policy`: what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// Seconds; 0: nobody is removed for being away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evict_after: Option<u64>,
    /// Seconds; 0: a lost member makes for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_on_disconnect: Option<u64>,
    /// Whether members may share history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_history: Option<bool>,
    /// The relays from now on, multiaddrs with PeerId: those that were used before are read on for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relays: Option<Vec<String>>,
    /// A token of a relay's operator, in the place of the one that was there for this relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay_token: Option<GiveToken>,
}

/// Answer of `GET` and `POST /v1/groups/{ref}/conduct`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConductView {
    /// [`super::types::VERSION`].
    pub v: u8,
    /// Which group.
    pub group: GroupRef,
    /// For how many seconds new messages are to be kept; left out where there is no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disappear: Option<u32>,
    /// Whether members may tell what they have read.
    #[serde(default)]
    pub receipts: bool,
    /// Whether members' nodes tell each other who is typing.
    #[serde(default)]
    pub typing: bool,
}

/// Body of `POST /v1/groups/{ref}/conduct`: what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SetConduct {
    /// Seconds, of 60 to 31,536,000; 0: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disappear: Option<u32>,
    /// Whether members may tell what they have read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipts: Option<bool>,
    /// Whether members' nodes tell each other who is typing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typing: Option<bool>,
}

/// Body of `POST /v1/groups/{ref}/typing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TellTyping {
    /// Whether it goes on.
    pub on: bool,
}

/// Answer of `POST /v1/groups/{ref}/typing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TypingTold {
    /// [`super::types::VERSION`].
    pub v: u8,
    /// Whether the group's members with whom a channel stands are told: not where admins have it off, nor in groups of
    /// more than 64.
    pub told: bool,
}

/// Body of `POST /v1/groups/{ref}/share`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShareHistory {
    /// How many of the last messages, at most 1,000.
    pub last: u32,
}

/// Answer of `POST /v1/groups/{ref}/share`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SharedHistory {
    /// [`super::types::VERSION`].
    pub v: u8,
    /// How many messages were shared.
    pub shared: u64,
    /// How many could not be: too long, or their keys are gone.
    pub skipped: u64,
    /// With whom: all other members of this moment.
    pub with: Vec<MemberRef>,
}

/// Query of `GET /v1/groups/{ref}/audit`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditFrom {
    /// The first entry; the last ones where left out.
    pub from: Option<u64>,
    /// At most 500, and 100 where left out.
    pub limit: Option<u32>,
}

/// Answer of `GET /v1/groups/{ref}/audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditPage {
    /// [`super::types::VERSION`].
    pub v: u8,
    /// Which group's.
    pub group: GroupRef,
    /// In order.
    pub entries: Vec<AuditEntry>,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Its number, from 0.
    pub seq: u64,
    /// When, by this node's clock.
    pub at: String,
    /// What happened: a word.
    pub event: String,
    /// To whom or what.
    pub text: String,
    /// The entry itself, in hexadecimal: what the next one's hash is over.
    pub entry: String,
}

/// Answer of `GET /v1/groups/{ref}/audit/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditReport {
    /// [`super::types::VERSION`].
    pub v: u8,
    /// Which group's.
    pub group: GroupRef,
    /// Whether it is whole.
    pub holds: bool,
    /// What is wrong with it, if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The first entry that is kept.
    pub first: u64,
    /// How many are kept.
    pub entries: u64,
    /// How many signatures hold.
    pub checkpoints: u64,
    /// How many heads in own bundles were found in it.
    pub anchors: u64,
    /// The newest head of each other member's log that is known here.
    pub peers: Vec<PeerAnchor>,
}

/// The head of another member's audit log, as its newest bundle says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PeerAnchor {
    /// Whose log.
    pub member: MemberRef,
    /// When this node came to know it.
    pub at: String,
    /// 16 bytes, in hexadecimal.
    pub head: String,
}

type Answer<T> = Result<Json<T>, Refusal>;

pub(super) async fn policy(
    State(api): State<Api>,
    Path(group): Path<String>,
) -> Answer<PolicyView> {
    api.ask(move |core, _| core.policy(&group)).await.map(Json)
}

pub(super) async fn set_policy(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(change): Body<SetPolicy>,
) -> Answer<PolicyView> {
    api.ask(move |core, now| core.set_policy(&group, &change, now)).await.map(Json)
}

pub(super) async fn conduct(
    State(api): State<Api>,
    Path(group): Path<String>,
) -> Answer<ConductView> {
    api.ask(move |core, _| core.conduct(&group)).await.map(Json)
}

pub(super) async fn set_conduct(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(change): Body<SetConduct>,
) -> Answer<ConductView> {
    api.ask(move |core, now| core.set_conduct(&group, &change, now)).await.map(Json)
}

pub(super) async fn tell_typing(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(TellTyping { on }): Body<TellTyping>,
) -> Answer<TypingTold> {
    let told = api.ask(move |core, now| core.tell_typing(&group, on, now)).await?;
    Ok(Json(TypingTold { v: super::types::VERSION, told }))
}

pub(super) async fn share(
    State(api): State<Api>,
    Path(group): Path<String>,
    Body(asked): Body<ShareHistory>,
) -> Answer<SharedHistory> {
    api.ask(move |core, now| core.share_history(&group, asked.last, now)).await.map(Json)
}

pub(super) async fn audit(
    State(api): State<Api>,
    Path(group): Path<String>,
    Query(page): Query<AuditFrom>,
) -> Answer<AuditPage> {
    let limit = page.limit.unwrap_or(100);
    api.ask(move |core, _| core.audit(&group, page.from, limit)).await.map(Json)
}

pub(super) async fn verify(
    State(api): State<Api>,
    Path(group): Path<String>,
) -> Answer<AuditReport> {
    api.ask(move |core, _| core.verify_audit(&group)).await.map(Json)
}
