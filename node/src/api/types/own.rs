//! A node's own name, and the other machines of its owner.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// This machine and the others of its owner. `GET /v1/machines`, and the answer of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machines {
    /// [`super::VERSION`].
    pub v: u8,
    /// This machine's identity; others are to name it.
    pub me: MemberRef,
    /// Those that this machine's card names.
    pub machines: Vec<Machine>,
}

/// Another machine of the same person, as this one's card names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Machine {
    /// Which.
    #[serde(flatten)]
    pub machine: MemberRef,
    /// Whether its card names this one too, in any group that both are in: only then are the two
    /// shown as one person.
    pub linked: bool,
}

/// Names another machine, or names it no more. `POST /v1/machines/add` and `remove`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NameMachine {
    /// Its identity: 64 hexadecimal digits.
    pub machine: String,
}

/// Body of `POST /v1/name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The name that others see from now on.
    pub name: String,
}

/// Answer of `POST /v1/name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Renamed {
    /// [`super::VERSION`].
    pub v: u8,
    /// This node's identity, by its new name.
    pub me: MemberRef,
    /// The name before.
    pub before: String,
}

/// A setting of the next start of a node, as `wattle --json config` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SettingView {
    /// [`super::VERSION`].
    pub v: u8,
    /// Its key in the settings file.
    pub key: String,
    /// What it is.
    pub value: SettingValue,
    /// Where that comes from.
    pub origin: SettingOrigin,
}

/// The value of a setting; what is empty is not set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum SettingValue {
    /// Whether something is so.
    Flag(bool),
    /// A word, a path.
    Text(String),
    /// Some of them.
    List(Vec<String>),
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SettingOrigin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The settings file.
    File,
    /// The data directory, where an earlier start was told it.
    Remembered,
    /// Nobody has said anything.
    Default,
}

/// How the service that starts a node stands, as `wattle --json service status` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceView {
    /// [`super::VERSION`].
    pub v: u8,
    /// Whether there is one that `wattle service install` wrote.
    pub installed: bool,
    /// Its file, or where that would be.
    pub file: String,
    /// The service manager's own word for how it stands, where it can be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}
