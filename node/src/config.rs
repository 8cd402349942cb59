//! Settings: flags before the environment before what the data directory remembers before the
//! defaults.
//!
//! The choice of relays is remembered in `<data-dir>/relays`, a line for each address, or the words
//! `host` (a relay inside the node), `none`, and `lan-only` (none, and nothing beyond local networks). The proxy
//! through which they are reached stands there, too: nobody who has given it once goes around it by leaving it out.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use protocol::{identity::is_name, limits::NAME_BYTES};
use thiserror::Error;
use zeroize::Zeroizing;

/// Which relays a node uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relays {
    /// Whether it runs one itself.
    pub host: bool,
    /// Addresses of others, with PeerId.
    pub addresses: Vec<String>,
    /// Whether the node uses none and speaks on local networks alone.
    pub lan_only: bool,
    /// Through what they are reached, if not directly.
    pub proxy: Option<String>,
}

/// Where relays come from, in flags.
#[derive(Clone, Debug, Default)]
pub struct RelayFlags {
    /// `--relay`, as often as it was given.
    pub addresses: Vec<String>,
    /// `--host`.
    pub host: bool,
    /// `--no-relay`.
    pub none: bool,
    /// `--lan-only`.
    pub lan_only: bool,
    /// `--relay-proxy`: a proxy, or the word `none`.
    pub proxy: Option<String>,
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
}

/// The data directory, as an absolute path.
pub fn data_dir(flag: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let dir = flag
        .or_else(|| Some(ProjectDirs::from("", "", "wattle")?.data_dir().to_owned()))
        .ok_or(ConfigError::NoPlace)?;
    std::path::absolute(&dir).map_err(|error| ConfigError::File { path: dir, error })
}

impl Relays {
    /// The relays to use: as the flags say, else `WATTLE_RELAY` (addresses with spaces or commas
    /// between), else as remembered in the data directory, else one inside the node.
    pub fn choose(data_dir: &Path, flags: &RelayFlags) -> Result<Self, ConfigError> {
        let kept = Self::kept(data_dir)?;
        let of_env = env::var("WATTLE_RELAY").ok().and_then(|text| Self::parse(&text));
        let by_env = of_env.as_ref().filter(|it| it.proxy.is_some());
        let proxy = Self::proxy(flags, by_env.or(kept.as_ref()));
        let chosen = Self::from_flags(flags).or(of_env).or(kept).unwrap_or(Self::DEFAULT);
        Ok(Self { proxy, ..chosen })
    }

    /// What the data directory remembers.
    fn kept(data_dir: &Path) -> Result<Option<Self>, ConfigError> {
        let path = file(data_dir);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::File { path, error }),
        }
    }

    /// The proxy that is named, or else remembered.
    fn proxy(flags: &RelayFlags, kept: Option<&Self>) -> Option<String> {
        match flags.proxy.as_deref() {
            Some("none") => None,
            Some(named) => Some(named.into()),
            None => kept.and_then(|kept| kept.proxy.clone()),
        }
    }

    /// Remembers a choice that was made in flags, for the next plain start.
    pub fn remember(data_dir: &Path, flags: &RelayFlags) -> Result<(), ConfigError> {
        let kept = Self::kept(data_dir)?;
        let proxy = Self::proxy(flags, kept.as_ref());
        let chosen = match (Self::from_flags(flags), &flags.proxy) {
            (Some(chosen), _) => chosen,
            (None, Some(_)) => Self { proxy: None, ..kept.unwrap_or(Self::DEFAULT) },
            (None, None) => return Ok(()),
        };
        let mut text =
            String::from("# The relays of this node; `wattle up --relay …` changes it.\n");
        let words =
            [(chosen.host, "host"), (chosen == Self::NONE, "none"), (chosen.lan_only, "lan-only")];
        let words = words.into_iter().filter(|(said, _)| *said).map(|(_, word)| word);
        let proxy = proxy.as_deref();
        for line in words.chain(chosen.addresses.iter().map(String::as_str)).chain(proxy) {
            text.push_str(line);
            text.push('\n');
        }
        let path = file(data_dir);
        fs::write(&path, text).map_err(|error| ConfigError::File { path, error })
    }

    const DEFAULT: Self = Self { host: true, addresses: Vec::new(), lan_only: false, proxy: None };
    const NONE: Self = Self { host: false, addresses: Vec::new(), lan_only: false, proxy: None };

    fn from_flags(flags: &RelayFlags) -> Option<Self> {
        let (host, lan_only) = (flags.host, flags.lan_only);
        let chosen = Self { host, addresses: flags.addresses.clone(), lan_only, proxy: None };
        (flags.none || chosen != Self::NONE).then_some(chosen)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words =
            lines.flat_map(|line| line.split([' ', ',', '\t'])).filter(|word| !word.is_empty());
        let mut said = None;
        for word in words {
            let chosen = said.get_or_insert(Self::NONE);
            match word {
                "host" => chosen.host = true,
                "none" => {}
                "lan-only" => chosen.lan_only = true,
                proxy if is_proxy(proxy) => chosen.proxy = Some(proxy.into()),
                address => chosen.addresses.push(address.into()),
            }
        }
        said
    }
}

fn is_proxy(word: &str) -> bool {
    word.starts_with("socks5")
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

/// The passphrase in a file (`-`: standard input), without the end of its line.
pub fn passphrase(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    let read = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    let text = read.map_err(|error| ConfigError::File { path: path.into(), error })?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).into()))
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("relays")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(addresses: &[&str]) -> RelayFlags {
        let addresses = addresses.iter().map(|address| String::from(*address)).collect();
        RelayFlags { addresses, ..RelayFlags::default() }
    }

    #[test]
    fn a_plain_start_runs_a_relay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let plain = flags(&[]);
        Relays::remember(dir.path(), &plain).unwrap();
        assert_eq!(Relays::choose(dir.path(), &plain).unwrap(), Relays::DEFAULT);
    }

    #[test]
    fn what_flags_chose_is_used_by_the_next_plain_start() {
        let dir = tempfile::tempdir().unwrap();
        let both = RelayFlags { host: true, ..flags(&["/ip4/1.2.3.4/tcp/4001/p2p/x"]) };
        let none = RelayFlags { none: true, ..flags(&[]) };
        let lan_only = RelayFlags { lan_only: true, ..flags(&[]) };
        for said in [flags(&["/a", "/b"]), both, none, lan_only] {
            Relays::remember(dir.path(), &said).unwrap();
            let next = Relays::choose(dir.path(), &flags(&[])).unwrap();
            assert_eq!(Some(next), Relays::from_flags(&said));
        }
    }

    #[test]
    fn a_proxy_that_was_given_once_stays_until_it_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let through = |proxy: &str| RelayFlags { proxy: Some(proxy.into()), ..flags(&[]) };
        let socks = "socks5://127.0.0.1:9050";
        let first = RelayFlags { proxy: Some(socks.into()), ..flags(&["/a"]) };
        let chosen = |said: &RelayFlags| Relays::choose(dir.path(), said).unwrap();
        for (said, addresses) in [(first, ["/a"]), (flags(&[]), ["/a"]), (flags(&["/b"]), ["/b"])] {
            Relays::remember(dir.path(), &said).unwrap();
            let next = chosen(&flags(&[]));
            assert_eq!((next.proxy.as_deref(), next.host), (Some(socks), false));
            assert_eq!(next.addresses, addresses);
        }
        assert_eq!(chosen(&flags(&["/c"])).proxy.as_deref(), Some(socks));
        Relays::remember(dir.path(), &through("none")).unwrap();
        assert_eq!(
            (chosen(&flags(&[])).proxy, chosen(&flags(&[])).addresses),
            (None, vec!["/b".into()])
        );
    }

    #[test]
    fn names_of_users_and_machines_are_made_valid() {
        assert_eq!(valid_name(" ana\u{7}\n"), "ana");
        assert_eq!(valid_name(&"ü".repeat(40)), "ü".repeat(32));
        assert_eq!(valid_name("\n"), "");
        assert!(is_name(&default_name()));
    }
}
