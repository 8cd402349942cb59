//! How far a node has come with what was said while it was away.

use serde::{Deserialize, Serialize};

/// How far what was said in a group meanwhile is read. How much there is nobody knows before it is read: the way
/// is the time from when the first of it was written to when reading began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Backlog {
    /// Messages of it that were read, since this node was started or connected last.
    pub messages: u64,
    /// When the first of these was written, by its writer's clock.
    pub since: String,
    /// When the last of what was read was written, by its writer's clock.
    pub upto: String,
    /// The part of the way that is behind; 100 once all is read.
    pub percent: u8,
    /// Whether it ended before that: this node is out of the group, or nothing came for an hour.
    #[serde(default)]
    pub ended: bool,
}
