//! From where a relay can be watched, and by which token.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::SettingsError;
use crate::{config::WATCH, watch::WatchConfig};

/// The token of those who watch, where the environment has it.
const TOKEN: &str = "WATTLE_RENDEZVOUS_WATCH_TOKEN";

/// From where a relay can be watched.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// `IP:PORT`; empty: from nowhere.
    pub listen: String,
    /// The file with the token; empty: there is none.
    pub token_file: PathBuf,
}

impl Default for Watch {
    fn default() -> Self {
        Self { listen: WATCH.to_string(), token_file: PathBuf::new() }
    }
}

impl Watch {
    /// Reads the address and the token: the environment's, else the file's.
    pub fn config(&self) -> Result<WatchConfig, SettingsError> {
        let given = std::env::var(TOKEN).ok();
        self.config_with(given.filter(|token| !token.is_empty()))
    }

    fn config_with(&self, given: Option<String>) -> Result<WatchConfig, SettingsError> {
        let listen = match self.listen.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| SettingsError::Watch(text.to_owned()))?),
        };
        let token = match (given, self.token_file.as_path()) {
            (Some(token), _) => Some(token),
            (None, path) if path.as_os_str().is_empty() => None,
            (None, path) => Some(first_line(path)?),
        };
        Ok(WatchConfig { optional: listen == Some(WATCH), listen, token })
    }
}

fn first_line(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::Token { path: path.to_path_buf(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_environments_else_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        let watch = Watch { listen: "0.0.0.0:1".into(), token_file: token_file.clone() };
        let token =
            |given: Option<&str>| watch.config_with(given.map(Into::into)).map(|it| it.token);
        assert!(matches!(token(None), Err(SettingsError::Token { .. })), "there is no such file");
        std::fs::write(&token_file, " \nsecond line").unwrap();
        assert!(matches!(token(None), Err(SettingsError::Token { .. })), "it is empty");
        std::fs::write(&token_file, "a token \r\nsecond line").unwrap();
        assert_eq!(token(None).unwrap().as_deref(), Some("a token"));
        assert_eq!(token(Some("another")).unwrap().as_deref(), Some("another"));
    }

    #[test]
    fn it_is_watched_from_this_machine_where_nothing_is_said_and_from_nowhere_if_so_said() {
        let shipped = Watch::default().config_with(None).unwrap();
        assert!(shipped.listen == Some(WATCH) && shipped.optional && shipped.token.is_none());
        let listen =
            |text: &str| Watch { listen: text.into(), ..Watch::default() }.config_with(None);
        assert_eq!(listen("").unwrap().listen, None);
        assert!(!listen("[::1]:9").unwrap().optional, "what was asked for must be");
        for text in ["4408", "localhost:4408", ":4408"] {
            assert!(matches!(listen(text), Err(SettingsError::Watch(_))), "{text}");
        }
    }
}
