//! Where readers are in events, and how they go on.

use serde::{Deserialize, Serialize};

use super::{Event, GroupRef};

/// A named cursor: how far a script has read the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CursorView {
    /// [`super::VERSION`].
    pub v: u8,
    /// Its name.
    pub name: String,
    /// The group that is read by it.
    pub group: GroupRef,
    /// The event after which it goes on.
    pub after: u64,
    /// The last event that there is, of whatever group.
    pub last: u64,
    /// Whether somebody reads by it now.
    #[serde(default)]
    pub held: bool,
    /// Whether it is of a database whose backup this one was: it has to be set anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
    /// When it was last moved.
    pub moved: String,
}

/// Answer of `GET /v1/cursors`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cursors {
    /// [`super::VERSION`].
    pub v: u8,
    /// By their names.
    pub cursors: Vec<CursorView>,
}

/// Body of `PUT /v1/cursors/{name}`: makes a cursor, or puts one elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SetCursor {
    /// The group.
    pub group: String,
    /// The event after which it goes on; the last one where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Whether it begins with the first event that is kept.
    #[serde(default)]
    pub from_start: bool,
}

/// Body of `POST /v1/cursors/{name}/events`: what it answers are server-sent events, and the cursor is the caller's until they end. It is made
/// where there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TakeCursor {
    /// The group.
    pub group: String,
    /// Whether a new one begins with the first event that is kept, and not with what comes from now on.
    #[serde(default)]
    pub from_start: bool,
}

/// The first of those server-sent events.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CursorLease {
    /// Where the cursor stands.
    pub cursor: CursorView,
    /// What says, in [`MoveCursor`], that it is the caller's.
    pub lease: u64,
}

/// Body of `POST /v1/cursors/{name}/move`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MoveCursor {
    /// That of [`CursorLease`].
    pub lease: u64,
    /// The last event that is done with. What lies before where the cursor stands moves nothing.
    pub after: u64,
}

/// Query of `GET /v1/groups/{ref}/events`: the last events of its messages.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EventPage {
    /// Only events before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many at most: 100 where left out, never more than [`super::PAGE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `GET /v1/groups/{ref}/events`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Events {
    /// [`super::VERSION`].
    pub v: u8,
    /// Oldest first.
    pub events: Vec<Event>,
}

/// Query of `GET /v1/groups/{ref}/history`: messages in the order of their places, from the first on. The answer is
/// [`super::Messages`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Beyond {
    /// Only what stands beyond this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The `seq` of the message there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// How many at most, as in [`EventPage`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}
