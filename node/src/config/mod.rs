//! Settings: flags before the environment before the settings file before what the data directory remembers before
//! the defaults.

mod relays;
mod settings;

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    path::PathBuf,
};

use directories::ProjectDirs;
use protocol::{identity::is_name, limits::NAME_BYTES};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::client::Token;

pub use self::{
    relays::{RelayFlags, RelayOrigins, RelaySources, Relays},
    settings::{DOCUMENTED, KEYS, Settings, SettingsError, changed, most_like},
};

/// The most that is read of a token's file, in bytes.
const TOKEN_MAX: u64 = 1024;

/// Where a setting comes from; what comes later here goes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It is so where nobody says anything.
    Default,
    /// The data directory remembers it.
    Remembered,
    /// The settings file.
    File,
    /// A variable of the environment.
    Environment,
    /// The command line.
    Flag,
}

/// Settings that can't be had.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Neither a flag nor the system says where data belongs.
    #[error("this system names no place for a user's data: give --data-dir DIR")]
    NoPlace,
    /// A file can't be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What was remembered is gone.
    #[error(
        "{path} holds nothing, and may have named a proxy for relays: give --relay ADDR and --relay-proxy \
         URL (or none), or remove it"
    )]
    Emptied {
        /// Which.
        path: PathBuf,
    },
    /// A variable is no UTF-8.
    #[error("{0} is no text: set it anew, or not at all")]
    NoText(&'static str),
}

/// The data directory, as an absolute path.
pub fn data_dir(named: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let dir =
        named.or_else(|| Some(places()?.data_dir().to_owned())).ok_or(ConfigError::NoPlace)?;
    std::path::absolute(&dir).map_err(|error| ConfigError::File { path: dir, error })
}

/// Where the user's settings file is, if there is one.
#[must_use]
pub fn settings_file() -> Option<PathBuf> {
    // On macOS what is called config is the place for data.
    Some(places()?.preference_dir().join("node.toml"))
}

fn places() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "wattle")
}

/// A name for a node whose owner gave none: the user's, or the machine's.
#[must_use]
pub fn default_name() -> String {
    let machine = || fs::read_to_string("/etc/hostname").ok();
    let named = [env::var("USER").ok(), env::var("LOGNAME").ok(), machine()];
    named
        .into_iter()
        .flatten()
        .map(|text| valid_name(&text))
        .find(|name| is_name(name) && name != "root")
        .unwrap_or_else(|| "me".into())
}

/// The nearest valid name; empty where nothing of it may stand.
fn valid_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if name.len() + c.len_utf8() > NAME_BYTES {
            break;
        }
        name.push(c);
    }
    name.trim().into()
}

/// The token that a program shows: of `WATTLE_TOKEN`, or of the first line of the file that `WATTLE_TOKEN_FILE` names.
pub fn token() -> Result<Option<Token>, ConfigError> {
    if let Some(token) = env::var_os("WATTLE_TOKEN").filter(|token| !token.is_empty()) {
        return Ok(Some(Token::new(&token.to_string_lossy())));
    }
    let Some(path) = env::var_os("WATTLE_TOKEN_FILE").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    let mut text = Zeroizing::new(String::new());
    let read = File::open(&path).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text));
    read.map_err(|error| ConfigError::File { path, error })?;
    Ok(Some(Token::new(text.lines().next().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_and_machines_are_made_valid() {
        assert_eq!(valid_name(" ana\u{7}\n"), "ana");
        assert_eq!(valid_name(&"ü".repeat(40)), "ü".repeat(32));
        assert_eq!(valid_name("\n"), "");
        assert!(is_name(&default_name()));
    }
}
