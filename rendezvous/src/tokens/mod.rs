//! The operator's tokens: who may use a relay that is not open to all.
//!
//! > A token is shown once, when it is made. Kept are its hash, a label and what it grants, in a file
//! > of the data directory that its owner alone reads. Commands write that file, one at a time, whole
//! > or not at all; a relay reads it and notices within [`TOKENS_CHECK`](crate::limits::TOKENS_CHECK)
//! > that it has changed. What was used of each today is a file of the relay's own (`usage`).

pub(crate) mod usage;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use protocol::relay_log::RelayToken;
use serde::{Deserialize, Serialize};

use crate::{
    data_dir::{create_private_dir, private, read_text, write_durably},
    limits::{Limits, TOKEN_LABEL, TOKENS},
};

pub use usage::Usage;

/// Whom a relay serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Whoever reaches it.
    #[default]
    Open,
    /// Who holds a token of its operator's.
    Token,
}

/// What is known of a token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Issued {
    /// Names it in commands: the first eight digits of its hash.
    pub id: String,
    /// BLAKE2b-256 of it, in hexadecimal.
    hash: String,
    /// For whom it is, in the operator's words.
    pub label: String,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// When it ends; never where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// What it grants, where that is not what the settings say.
    #[serde(flatten)]
    pub grants: Grants,
}

/// What one token grants; where nothing is said, what the settings say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Grants {
    /// Bytes that may be appended in a day, of UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Bytes that may be appended in a second, in the long run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u32>,
    /// Logs open at once, of all connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<u32>,
    /// Connections at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
}

/// What an operator says of a new token.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// For whom it is.
    pub label: String,
    /// How long it holds; without an end where nothing is said.
    pub lasts: Option<Duration>,
    /// What it grants.
    pub grants: Grants,
}

/// Why a list of tokens can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file can't be read or written.
    #[error("the list of tokens in {} can't be used", .dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("a newer version of wattle-rendezvous wrote the list of tokens (form {found})")]
    Newer {
        /// The form's number.
        found: u32,
    },
    /// There is no token of that name.
    #[error("there is no token {id}")]
    Unknown {
        /// The name.
        id: String,
    },
    /// The label is empty, too long or not printable.
    #[error("a label has 1 to {TOKEN_LABEL} characters, all printable")]
    BadLabel,
    /// It would end as soon as it is made, or beyond all time.
    #[error("a token can't last for that time")]
    BadTime,
    /// It would grant nothing.
    #[error("with none of it a token grants nothing")]
    BadGrant,
    /// There are too many.
    #[error("there are {TOKENS} tokens, and no more may be; revoke some")]
    TooMany,
}

/// The tokens of a data directory.
#[derive(Clone, Debug)]
pub struct Tokens {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    #[serde(default)]
    token: Vec<Issued>,
}

/// The form of the file that this version writes.
const VERSION: u32 = 1;

const HEAD: &str =
    "# Written by `wattle-rendezvous token`: what is known of each token, and no token.\n";

impl Tokens {
    /// Those of a data directory, whether a relay uses it now or not.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf() }
    }

    /// All that were made and not revoked, oldest first; those that have expired are among them.
    pub fn all(&self) -> Result<Vec<Issued>, TokensError> {
        let path = self.path();
        let damaged = || TokensError::Damaged { path: path.clone() };
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(damaged()),
            Err(error) => return Err(self.failed(error)),
        };
        let table: toml::Table = toml::from_str(&text).map_err(|_| damaged())?;
        let version = table.get("version").and_then(toml::Value::as_integer);
        match version.map(u32::try_from) {
            Some(Ok(VERSION)) => {}
            Some(Ok(found)) if found > VERSION => return Err(TokensError::Newer { found }),
            _ => return Err(damaged()),
        }
        let written: Written = table.try_into().map_err(|_| damaged())?;
        let is_whole = |token: &Issued| token.hash().is_some_and(|hash| id(&hash) == token.id);
        if written.token.len() > TOKENS || !written.token.iter().all(is_whole) {
            return Err(damaged());
        }
        Ok(written.token)
    }

    /// Makes a token. It is in this answer and nowhere else.
    pub fn issue(
        &self,
        terms: Terms,
        now: SystemTime,
    ) -> Result<(RelayToken, Issued), TokensError> {
        let label = terms.label.trim().to_owned();
        let length = label.chars().count();
        if !(1..=TOKEN_LABEL).contains(&length) || label.chars().any(char::is_control) {
            return Err(TokensError::BadLabel);
        }
        if terms.grants.is_nothing() {
            return Err(TokensError::BadGrant);
        }
        let created = seconds(now);
        let expires = match terms.lasts {
            None => None,
            Some(time) => {
                let end = created.checked_add(time.as_secs()).filter(|end| *end <= FOREVER);
                Some(end.filter(|end| *end > created).ok_or(TokensError::BadTime)?)
            }
        };
        self.change(|tokens| {
            if tokens.len() >= TOKENS {
                return Err(TokensError::TooMany);
            }
            let token = loop {
                let mut bytes = [0; RelayToken::LEN];
                getrandom::fill(&mut bytes)
                    .map_err(|_| self.failed(io::Error::other("no randomness")))?;
                let token = RelayToken::from_bytes(bytes);
                let name = id(&token.hash());
                if tokens.iter().all(|other| other.id != name) {
                    break token;
                }
            };
            let hash = token.hash();
            let issued = Issued {
                id: id(&hash),
                hash: hex(&hash),
                label,
                created,
                expires,
                grants: terms.grants,
            };
            tokens.push(issued.clone());
            Ok((token, issued))
        })
    }

    /// Takes a token back: a relay that runs ends what goes on under it.
    pub fn revoke(&self, id: &str) -> Result<Issued, TokensError> {
        let unknown = || TokensError::Unknown { id: id.to_owned() };
        self.change(|tokens| {
            let at = tokens.iter().position(|token| token.id == id).ok_or_else(unknown)?;
            Ok(tokens.remove(at))
        })
    }

    /// Changes as soon as the list does.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let meta = fs::metadata(self.path()).ok()?;
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let file = 0;
        Some((file, meta.len(), meta.modified().ok()))
    }

    /// What was used today, as far as a relay has written it down.
    pub fn usage(&self) -> Usage {
        Usage::read(&self.dir)
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads, changes and writes the list while nobody else does; an error leaves it as it was.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Issued>) -> Result<T, TokensError>,
    ) -> Result<T, TokensError> {
        let failed = |error| self.failed(error);
        create_private_dir(&self.dir).map_err(failed)?;
        let path = self.dir.join("tokens.lock");
        let lock =
            private().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        fs4::FileExt::lock(&lock).map_err(failed)?;
        let mut tokens = self.all()?;
        let answer = change(&mut tokens)?;
        let written = Written { version: VERSION, token: tokens };
        let text = toml::to_string(&written)
            .map_err(|_| self.failed(io::Error::other("it can't be written as TOML")))?;
        write_durably(&self.path(), format!("{HEAD}{text}").as_bytes()).map_err(failed)?;
        drop::<File>(lock);
        Ok(answer)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("tokens.toml")
    }

    fn failed(&self, source: io::Error) -> TokensError {
        TokensError::Io { dir: self.dir.clone(), source }
    }
}

/// Tells one writing of the file from another.
pub(crate) type Stamp = (u64, u64, Option<SystemTime>);

/// The end of the year 9999: what people can be shown of times.
const FOREVER: u64 = 253_402_300_799;

impl Issued {
    /// The token's hash.
    pub(crate) fn hash(&self) -> Option<[u8; 32]> {
        let digits = self.hash.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(hash)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|end| end <= seconds(now))
    }
}

impl Grants {
    /// Whether it would grant nothing at all.
    fn is_nothing(&self) -> bool {
        self.bytes_per_day == Some(0)
            || self.bytes_per_s == Some(0)
            || self.logs == Some(0)
            || self.connections == Some(0)
    }

    /// With what the settings say where this says nothing.
    #[must_use]
    pub fn or(&self, limits: &Limits) -> Granted {
        Granted {
            bytes_per_day: self.bytes_per_day.unwrap_or(limits.token_bytes_per_day),
            bytes_per_s: self.bytes_per_s.unwrap_or(limits.token_bytes_per_s),
            logs: self.logs.unwrap_or(limits.token_logs),
            connections: self.connections.unwrap_or(limits.token_connections),
        }
    }
}

/// What a token grants, all said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Bytes that may be appended in a day.
    pub bytes_per_day: u64,
    /// Bytes that may be appended in a second.
    pub bytes_per_s: u32,
    /// Logs open at once.
    pub logs: u32,
    /// Connections at once.
    pub connections: u32,
}

fn id(hash: &[u8; 32]) -> String {
    hex(&hash[..4])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
