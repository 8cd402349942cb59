//! Which cluster keeps the entries, if one does.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A NATS cluster, and how to reach it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Servers of the cluster, one at least: `nats://HOST:4222`, or `tls://`. None: no cluster.
    pub urls: Vec<String>,
    /// What its streams are called, with `-` and a number behind it.
    pub name: String,
    /// Where each server's monitoring answers, for its settings to be read: `http://HOST:8222`.
    pub monitors: Vec<String>,
    /// A file with NATS credentials (a JWT and its key); empty: none.
    pub credentials: PathBuf,
    /// A file with `USER:PASSWORD` in its first line; empty: none.
    pub login_file: PathBuf,
    /// A file with the authorities (PEM) that vouch for the servers; empty: the system's.
    pub ca: PathBuf,
    /// A file with this relay's own certificate (PEM), for servers that ask for one; empty: none.
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// How many servers keep each entry.
    pub replicas: u8,
    /// Into how many streams logs are divided. It can't be changed once the cluster is in use.
    pub shards: u8,
    /// What is taken though it isn't safe.
    pub allow: Vec<Allowance>,
}

/// Something unsafe that an operator may take by its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allowance {
    /// Servers that acknowledge before they have synced, or can't be asked whether they do.
    Unsynced,
    /// Fewer than three servers for each entry.
    Replicas,
    /// Servers older than those that this was made for.
    Version,
}

/// The most shards: each is a stream, and costs every server memory.
pub(crate) const SHARDS_MOST: u8 = 64;

impl Default for Cluster {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            name: "wattle".into(),
            monitors: Vec::new(),
            credentials: PathBuf::new(),
            login_file: PathBuf::new(),
            ca: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            replicas: 3,
            shards: 8,
            allow: Vec::new(),
        }
    }
}

impl Cluster {
    /// Whether a cluster is named at all.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Whether this is taken though it isn't safe.
    #[must_use]
    pub fn allows(&self, what: Allowance) -> bool {
        self.allow.contains(&what)
    }

    /// The first key that can't be followed, and why.
    pub(crate) fn impossible(&self) -> Option<(&'static str, &'static str)> {
        let is_name = !self.name.is_empty()
            && self.name.len() <= 32
            && self.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let has_secret = |url: &String| url.contains('@');
        let is_monitor = |url: &String| url.starts_with("http://");
        let problems = [
            (!is_name, "name", "up to 32 letters, digits and _"),
            (
                self.urls.iter().any(has_secret),
                "urls",
                "secrets stand in a file or in the environment: login_file, credentials",
            ),
            (
                !self.monitors.iter().all(is_monitor),
                "monitors",
                "http://HOST:8222, for each server of the cluster",
            ),
            (!(1..=SHARDS_MOST).contains(&self.shards), "shards", "from 1 to 64"),
            (!(1..=5).contains(&self.replicas), "replicas", "from 1 to 5"),
            (
                self.certificate.as_os_str().is_empty() != self.key.as_os_str().is_empty(),
                "certificate",
                "it goes with key: set both or none",
            ),
        ];
        problems.into_iter().find(|(is_so, ..)| *is_so).map(|(_, key, why)| (key, why))
    }
}

impl Allowance {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsynced => "unsynced",
            Self::Replicas => "replicas",
            Self::Version => "version",
        }
    }
}

impl std::str::FromStr for Allowance {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Unsynced, Self::Replicas, Self::Version];
        let found = all.into_iter().find(|it| it.name() == text);
        found.ok_or("expected unsynced, replicas or version")
    }
}
