//! What was appended today under each token, so that a day's quota outlives a restart.
//!
//! > The relay alone writes it, every few seconds and at its end: a crash forgives what was used
//! > since. It counts for the day, of UTC by the system's clock, that it names; any other day begins
//! > at nothing.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{Tokens, seconds};
use crate::{
    data_dir::{read_text, write_durably},
    limits::TOKENS,
};

/// Bytes appended on one day, by the tokens' names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Days since the Unix epoch.
    day: u64,
    bytes: BTreeMap<String, u64>,
}

const DAY: u64 = 24 * 60 * 60;
const FILE: &str = "token-use.toml";

impl Usage {
    /// Of this moment's day.
    pub(crate) fn new(now: SystemTime, bytes: BTreeMap<String, u64>) -> Self {
        Self { day: day(now), bytes }
    }

    /// What was used by a token on the day of `now`.
    #[must_use]
    pub fn of(&self, id: &str, now: SystemTime) -> u64 {
        self.bytes.get(id).copied().filter(|_| self.day == day(now)).unwrap_or(0)
    }

    /// Reads what [`Self::write`] wrote. A file that says nothing of use is as good as none.
    pub(super) fn read(dir: &Path) -> Self {
        let text = read_text(&dir.join(FILE)).unwrap_or_default();
        let read: Self = toml::from_str(&text).unwrap_or_default();
        if read.bytes.len() > TOKENS { Self::default() } else { read }
    }

    /// Writes it down.
    pub(crate) fn write(&self, tokens: &Tokens) -> io::Result<()> {
        // What TOML has no number for was no quota either.
        let most = |bytes: &u64| (*bytes).min(i64::MAX.unsigned_abs());
        let bytes = self.bytes.iter().map(|(id, bytes)| (id.clone(), most(bytes))).collect();
        let text = toml::to_string(&Self { day: self.day, bytes }).map_err(io::Error::other)?;
        write_durably(&tokens.dir().join(FILE), text.as_bytes())
    }
}

/// The day of a moment.
pub(crate) fn day(now: SystemTime) -> u64 {
    seconds(now) / DAY
}

/// How long the day of a moment still is.
pub(crate) fn rest_of_day(now: SystemTime) -> Duration {
    Duration::from_secs(DAY - seconds(now) % DAY)
}
