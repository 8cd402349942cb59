//! Groups that are erased from this machine.

use serde::{Deserialize, Serialize};

/// Body of `POST /v1/groups/{ref}/wipe`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WipeGroup {
    /// Also if nobody has heard yet that this node left.
    #[serde(default)]
    pub unheard: bool,
}

/// A group that was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Wiped {
    /// [`super::VERSION`].
    pub v: u8,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Files in the data directory that were deleted with it.
    pub files: u64,
}
