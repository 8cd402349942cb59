//! The settings file: what an operator may set without a flag.
//!
//! > Flags come first, then the environment, then the file, then what is built in. What the file
//! > leaves out is as it ships; a key that is none is an error and says which it may have meant.
//!
//! [`DOCUMENTED`] is the file as `init` writes it, with each key, what it means, and what it is if
//! nobody sets it; a test holds it against the code.

mod changes;
pub mod cluster;
pub(crate) mod units;
mod watch;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    config::{Config, Storage, every_interface, external},
    limits::Limits,
    settings::cluster::Cluster,
    tokens::Access,
};

pub use changes::Changes;
pub use watch::Watch;

/// The settings file with every key and its default, each commented out.
pub const DOCUMENTED: &str = include_str!("documented.toml");

/// Where a settings file is looked for if none is named, after the user's own.
pub const SYSTEM: &str = "/etc/wattle-rendezvous/relay.toml";

/// How like a key has to be to be proposed, by Jaro and Winkler.
const LIKE: f64 = 0.85;

/// What an operator has set.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where its key and its store live; empty: the user's data directory.
    pub data_dir: PathBuf,
    /// Where entries are kept.
    pub store: Storage,
    /// Where to listen, TCP and QUIC alike.
    pub listen: Vec<SocketAddr>,
    /// Under which addresses others reach it: `HOST:PORT` or a multiaddr.
    pub external: Vec<String>,
    /// Whom it serves.
    pub access: Access,
    /// From where it can be watched.
    pub watch: Watch,
    /// What it grants.
    pub limits: Limits,
    /// Which cluster keeps the entries, if one does.
    pub cluster: Cluster,
}

/// Why a settings file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It can't be read.
    #[error("{} can't be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML.
    #[error("{} is not written as it should be:\n{said}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        said: String,
    },
    /// It has a key that is none.
    #[error("{} has a key that is none: {key}{}", .path.display(), meant(.like))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// One that is like it.
        like: Option<String>,
    },
    /// A value is none of its key.
    #[error("{} can't be followed: {said}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which key, and why.
        said: String,
    },
    /// Where to listen for those who watch is no address.
    #[error("watch.listen = {0:?}: expected IP:PORT, such as 127.0.0.1:4408, or nothing")]
    Watch(String),
    /// The token's file can't be read.
    #[error("watch.token_file: {} can't be read, or is empty", .path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key of the cluster can't be followed.
    #[error("cluster.{key} can't be followed: {why}")]
    Cluster {
        /// Which.
        key: &'static str,
        /// What it has to be.
        why: &'static str,
    },
    /// Entries are to be kept in memory and by a cluster.
    #[error(
        "a cluster keeps entries on disks: leave out --no-store and store = \"memory\", or the cluster"
    )]
    LiveCluster,
    /// An external address is none.
    #[error("external = {0:?}: {1}")]
    External(String, crate::config::BadAddress),
}

fn meant(like: &Option<String>) -> String {
    like.as_ref().map_or_else(String::new, |like| format!("; did you mean {like}?"))
}

impl Settings {
    /// As it ships, for a store on disk or in memory.
    #[must_use]
    pub fn shipped(store: Storage) -> Self {
        let limits = match store {
            Storage::Durable => Limits::default(),
            Storage::Live => Limits::live(),
        };
        Self {
            data_dir: PathBuf::new(),
            store,
            listen: every_interface(),
            external: Vec::new(),
            watch: Watch::default(),
            access: Access::Open,
            limits,
            cluster: Cluster::default(),
        }
    }

    /// Reads a file. What it leaves out is as it ships for the kind of store that is asked for here,
    /// or there.
    pub fn read(path: &Path, store: Option<Storage>) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Read { path: path.to_path_buf(), source })?;
        Self::parse(path, &text, store)
    }

    fn parse(path: &Path, text: &str, store: Option<Storage>) -> Result<Self, SettingsError> {
        let path = path.to_path_buf();
        let mut set: Table = match toml::from_str(text) {
            Ok(set) => set,
            Err(error) => {
                let said = error.to_string().trim_end().to_owned();
                return Err(SettingsError::Syntax { path, said });
            }
        };
        if let Some(Ok(store)) = store.map(Value::try_from) {
            set.insert("store".into(), store);
        }
        let value = |key: &str, error: &toml::de::Error| {
            let said = format!("{key}: {}", error.message());
            SettingsError::Value { path: path.clone(), said }
        };
        let store = set.get("store").cloned().map_or(Ok(Storage::Durable), Value::try_into);
        let shipped = Self::shipped(store.map_err(|error| value("store", &error))?).table();
        let mut all = shipped.clone();
        if let Err(key) = lay_over(&mut all, set, "") {
            let like = most_like(&shipped, &key);
            return Err(SettingsError::Unknown { path, key, like });
        }
        // Each key by itself, so that the error can name it.
        for (key, one) in &all {
            let mut other = shipped.clone();
            other.insert(key.clone(), one.clone());
            if let Err(error) = other.try_into::<Self>() {
                return Err(value(key, &error));
            }
        }
        let settings: Self = all.try_into().map_err(|error| value("all of it", &error))?;
        if let Some(key) = settings.limits.impossible() {
            let said = format!("limits.{key}: with none of it nothing is served");
            return Err(SettingsError::Value { path, said });
        }
        Ok(settings)
    }

    /// The file that says all this: [`DOCUMENTED`], with what differs from what ships set.
    #[must_use]
    pub fn written(&self) -> String {
        let (shipped, mine) = (Self::shipped(Storage::Durable).table(), self.table());
        let mut table = String::new();
        let mut text = String::new();
        for line in DOCUMENTED.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                table = name.to_owned();
            }
            let key = line.strip_prefix('#').and_then(|line| line.split_once(" = "));
            let key = key.map(|(key, _)| key).filter(|key| !key.contains(' '));
            let (mine, shipped) = (
                key.and_then(|key| find(&mine, &table, key)),
                key.and_then(|key| find(&shipped, &table, key)),
            );
            match (key, mine) {
                (Some(key), Some(mine)) if Some(mine) != shipped => {
                    text.push_str(&format!("{key} = {mine}\n"));
                }
                _ => {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        text
    }

    /// What to run. By then the settings name a data directory.
    pub fn config(self) -> Result<Config, SettingsError> {
        let mut addrs = Vec::new();
        for text in self.external {
            match external(&text) {
                Ok(read) => addrs.extend(read),
                Err(error) => return Err(SettingsError::External(text, error)),
            }
        }
        let cluster = self.cluster.is_set().then_some(self.cluster);
        if let Some((key, why)) = cluster.as_ref().and_then(Cluster::impossible) {
            return Err(SettingsError::Cluster { key, why });
        }
        if cluster.is_some() && self.store == Storage::Live {
            return Err(SettingsError::LiveCluster);
        }
        let watch = self.watch.config()?;
        Ok(Config {
            watch,
            data_dir: Some(self.data_dir),
            storage: self.store,
            cluster,
            listen: self.listen,
            external: addrs,
            access: self.access,
            limits: self.limits,
        })
    }

    fn table(&self) -> Table {
        // All of it can be written as TOML: a test says so.
        Table::try_from(self).unwrap_or_default()
    }
}

fn find<'a>(all: &'a Table, table: &str, key: &str) -> Option<&'a Value> {
    let path = table.split('.').filter(|name| !name.is_empty());
    path.chain([key]).try_fold(None::<&Value>, |at, name| match at {
        None => all.get(name).map(Some),
        Some(Value::Table(inner)) => inner.get(name).map(Some),
        Some(_) => None,
    })?
}

/// Lays what is set over what ships; answers a key that is none.
fn lay_over(all: &mut Table, set: Table, within: &str) -> Result<(), String> {
    for (key, value) in set {
        let name = format!("{within}{key}");
        match (all.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => {
                lay_over(inner, value, &format!("{name}."))?;
            }
            (Some(known), value) => *known = value,
            (None, _) => return Err(name),
        }
    }
    Ok(())
}

/// The key that is most like this one; of two that are alike, the one in its table.
fn most_like(all: &Table, key: &str) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_lowercase();
    let likeness = |known: &String| strsim::jaro_winkler(&last(known), &last(key));
    let table = |key: &str| key.rsplit_once('.').map(|(table, _)| table.to_owned());
    let beside = |known: &String| table(known) == table(key);
    let known = names(all, "").into_iter().filter(|known| likeness(known) > LIKE);
    known.max_by(|one, other| {
        likeness(one).total_cmp(&likeness(other)).then(beside(one).cmp(&beside(other)))
    })
}

/// All keys, with their tables.
fn names(all: &Table, within: &str) -> Vec<String> {
    let inner = |(key, value): (&String, &Value)| {
        let name = format!("{within}{key}");
        let inner = value.as_table().map(|inner| names(inner, &format!("{name}.")));
        inner.into_iter().flatten().chain([name]).collect::<Vec<_>>()
    };
    all.iter().flat_map(inner).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::Mark;

    fn read(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("relay.toml"), text, None).map_err(|error| error.to_string())
    }

    /// The documented file with each key set to what it says.
    fn all_set() -> String {
        let is_key = |line: &str| {
            line.strip_prefix('#').is_some_and(|it| !it.starts_with([' ', '#']) && !it.is_empty())
        };
        let lines = DOCUMENTED.lines().map(|line| if is_key(line) { &line[1..] } else { line });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_documented_file_has_each_key_and_says_what_ships() {
        let shipped = Settings::shipped(Storage::Durable);
        assert_eq!(read(DOCUMENTED), Ok(shipped.clone()));
        let set: Table = toml::from_str(&all_set()).unwrap();
        assert_eq!(set, shipped.table());
    }

    #[test]
    fn what_is_set_is_laid_over_what_ships() {
        let set = read(
            "store = \"memory\"\n[limits]\nttl = \"1h\"\nquota.total_bytes = \"1 GiB\"\n\
                        memory = \"512 MiB\"\nfiles = \"off\"",
        )
        .unwrap();
        let mut expected = Settings::shipped(Storage::Live);
        expected.limits.ttl = Duration::from_hours(1);
        expected.limits.quota.total_bytes = 1 << 30;
        (expected.limits.memory, expected.limits.files) = (Mark::At(512 << 20), Mark::Off);
        assert_eq!(set, expected);
        assert_eq!(read(&set.written()), Ok(set));
    }

    #[test]
    fn what_can_not_be_followed_is_said_with_its_key() {
        for (text, words) in [
            ("limit = 1", "a key that is none: limit; did you mean limits?"),
            (
                "[limits]\nconections = 1",
                "none: limits.conections; did you mean limits.connections?",
            ),
            ("[limits]\nquota.log_byte = 1", "did you mean limits.quota.log_bytes?"),
            ("[limits.quota]\nttl = 1", "none: limits.quota.ttl; did you mean limits.ttl?"),
            ("xyz = 1", "a key that is none: xyz"),
            ("listen = [\"here\"]", "listen: "),
            ("[limits]\nttl = 30", "limits: expected a time"),
            ("[limits]\naddress_bytes = \"5 TiB\"", "limits: this size is too large here"),
            ("[limits]\nreads = 0", "limits.reads: with none of it"),
            ("[limits]\nttl = \"0s\"", "limits.ttl: with none of it"),
            ("[limits]\nmemory = \"much\"", "limits: expected \"auto\", \"off\""),
            ("[limits]\nfiles = 0", "limits.files: with none of it"),
            ("store = \"tape\"", "`disk` or `memory`"),
            ("listen = [", "relay.toml is not written as it should be"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
