//! Files that were offered, and how they stand on this machine.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// A file, by its sender's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileRef {
    /// What it is called: no path.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// Body of `POST /v1/groups/{ref}/files`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SendFile {
    /// The file's absolute path on this machine. It stays where it is, and has to, as long as it is to be given.
    pub path: String,
}

/// A file that was offered in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileView {
    /// [`super::VERSION`].
    pub v: u8,
    /// The local id of the message that offers it.
    pub id: String,
    /// That message's number.
    pub seq: u64,
    /// Who offers it.
    pub from: MemberRef,
    /// Whether this node does.
    pub mine: bool,
    /// What it is.
    pub file: FileRef,
    /// How it stands here.
    pub state: FileStanding,
    /// Where it is on this machine, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How many bytes of it are here.
    pub bytes: u64,
    /// How many members give it just now.
    pub sources: u64,
    /// Why it does not go on, where it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// Whether it is not tried again by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// Why nothing of it comes just now, where that is known: it is asked for again by and by.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waits: String,
}

/// How a file stands on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FileStanding {
    /// It is offered, and nobody has asked for it here.
    Offered,
    /// It is being fetched.
    Fetching,
    /// It is here, and given to others.
    Here,
}

/// Answer to `GET /v1/groups/{ref}/files`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Files {
    /// [`super::VERSION`].
    pub v: u8,
    /// The newest last; of very many, the last.
    pub files: Vec<FileView>,
}
