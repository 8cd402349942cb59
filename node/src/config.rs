//! Settings: flags before the environment before what the data directory remembers before the
//! defaults.
//!
//! The choice of relays is remembered in `<data-dir>/relays`, a line for each address, or the words
//! `host` (a relay inside the node), `none`, and `lan-only` (none, and nothing beyond local networks). The proxy
//! through which they are reached stands there, too, and with it `relay-only`: nobody who has given these once
//! goes around them by leaving them out. So does `map-port`, whatever the relays are.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use directories::ProjectDirs;
use protocol::{identity::is_name, limits::NAME_BYTES};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::client::Token;

/// The most that is read of a token's file, in bytes.
const TOKEN_MAX: u64 = 1024;

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
    /// Whether members are reached through them alone.
    pub relay_only: bool,
    /// Whether the router is asked for a port that leads here.
    pub map_port: bool,
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
    /// `--direct` or `--relay-only`, where one is given.
    pub direct: Option<bool>,
    /// `--map-port` or `--no-map-port`, where one is given.
    pub map_port: Option<bool>,
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
        let kept = Self::kept(data_dir, flags)?;
        let of_env = env::var("WATTLE_RELAY").ok().and_then(|text| Self::parse(&text));
        let by_env = of_env.as_ref().filter(|it| it.proxy.is_some());
        let proxy = Self::proxy(flags, by_env.or(kept.as_ref()));
        let hidden = kept.as_ref().is_some_and(|kept| kept.relay_only);
        let map_port = map_port(flags, kept.as_ref());
        let chosen = Self::from_flags(flags).or(of_env).or(kept).unwrap_or(Self::DEFAULT);
        let relay_only = relay_only(flags, proxy.as_ref(), hidden);
        Ok(Self { relay_only, proxy, map_port, ..chosen })
    }

    /// What the data directory remembers.
    fn kept(data_dir: &Path, flags: &RelayFlags) -> Result<Option<Self>, ConfigError> {
        let path = file(data_dir);
        let is_said_anew = flags.proxy.is_some() && Self::from_flags(flags).is_some();
        match fs::read_to_string(&path) {
            Ok(text) => match Self::parse(&text) {
                None if !is_said_anew => Err(ConfigError::Emptied { path }),
                kept => Ok(kept),
            },
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
        let kept = Self::kept(data_dir, flags)?;
        let proxy = Self::proxy(flags, kept.as_ref());
        let hidden = kept.as_ref().is_some_and(|kept| kept.relay_only);
        let relay_only = proxy.is_some() && relay_only(flags, proxy.as_ref(), hidden);
        let map_port = map_port(flags, kept.as_ref());
        let mapped = kept.as_ref().is_some_and(|kept| kept.map_port);
        let chosen = match (Self::from_flags(flags), &flags.proxy) {
            (Some(chosen), _) => chosen,
            (None, None) if (relay_only, map_port) == (hidden, mapped) => return Ok(()),
            (None, _) => match kept {
                Some(Self { host, addresses, lan_only, .. }) => {
                    Self { host, addresses, lan_only, ..Self::NONE }
                }
                None => Self::DEFAULT,
            },
        };
        let mut text =
            String::from("# The relays of this node; `wattle up --relay …` changes it.\n");
        let words =
            [(chosen.host, "host"), (chosen == Self::NONE, "none"), (chosen.lan_only, "lan-only")];
        let words = words.into_iter().filter(|(said, _)| *said).map(|(_, word)| word);
        let proxy = proxy.as_deref().into_iter().chain(relay_only.then_some(RELAY_ONLY));
        let proxy = proxy.chain(map_port.then_some(MAP_PORT));
        for line in words.chain(chosen.addresses.iter().map(String::as_str)).chain(proxy) {
            text.push_str(line);
            text.push('\n');
        }
        let path = file(data_dir);
        write(data_dir, &path, &text).map_err(|error| ConfigError::File { path, error })
    }

    const DEFAULT: Self = Self {
        host: true,
        addresses: Vec::new(),
        lan_only: false,
        proxy: None,
        relay_only: false,
        map_port: false,
    };
    const NONE: Self = Self {
        host: false,
        addresses: Vec::new(),
        lan_only: false,
        proxy: None,
        relay_only: false,
        map_port: false,
    };

    fn from_flags(flags: &RelayFlags) -> Option<Self> {
        let (host, lan_only) = (flags.host, flags.lan_only);
        let addresses = flags.addresses.clone();
        let chosen = Self { host, addresses, lan_only, ..Self::NONE };
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
                RELAY_ONLY => chosen.relay_only = true,
                MAP_PORT => chosen.map_port = true,
                proxy if is_proxy(proxy) => chosen.proxy = Some(proxy.into()),
                address => chosen.addresses.push(address.into()),
            }
        }
        said
    }
}

/// The word for members being reached through relays alone.
const RELAY_ONLY: &str = "relay-only";
/// The word for the router's being asked for a port.
const MAP_PORT: &str = "map-port";

/// Whether the router is asked for a port: as it is said, or as it was said once.
fn map_port(flags: &RelayFlags, kept: Option<&Relays>) -> bool {
    flags.map_port.unwrap_or_else(|| kept.is_some_and(|kept| kept.map_port))
}

/// Whether members are reached through relays alone: as it is said, or as it was said with the proxy.
fn relay_only(flags: &RelayFlags, proxy: Option<&String>, hidden: bool) -> bool {
    flags.direct.map_or(proxy.is_some() && hidden, |direct| !direct)
}

/// Writes a file so that it is there whole or as it was; not at all, where it is the same.
fn write(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    let mut draft = tempfile::NamedTempFile::new_in(dir)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    fs::File::open(dir)?.sync_all()
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
    fn who_hides_behind_a_proxy_stays_hidden_at_the_next_plain_start() {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Some("socks5://127.0.0.1:9050".to_owned());
        let first = RelayFlags { proxy, direct: Some(false), ..flags(&["/a"]) };
        let chosen = |said: &RelayFlags| Relays::choose(dir.path(), said).unwrap();
        for said in [first, flags(&[]), flags(&["/b"])] {
            assert!(chosen(&said).relay_only);
            Relays::remember(dir.path(), &said).unwrap();
        }
        let seen = RelayFlags { direct: Some(true), ..flags(&[]) };
        assert!(!chosen(&seen).relay_only);
        Relays::remember(dir.path(), &seen).unwrap();
        let next = chosen(&flags(&[]));
        assert!(!next.relay_only && next.proxy.is_some() && next.addresses == ["/b"]);
        // Without a proxy it is for one start.
        let dir = tempfile::tempdir().unwrap();
        let hidden = RelayFlags { direct: Some(false), ..flags(&["/a"]) };
        Relays::remember(dir.path(), &hidden).unwrap();
        assert!(Relays::choose(dir.path(), &hidden).unwrap().relay_only);
        assert!(!Relays::choose(dir.path(), &flags(&[])).unwrap().relay_only);
    }

    #[test]
    fn that_a_port_is_mapped_is_remembered_beside_whatever_relays_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let said = |map_port| RelayFlags { map_port, ..flags(&[]) };
        let chosen = |said: &RelayFlags| Relays::choose(dir.path(), said).unwrap();
        assert!(!chosen(&said(None)).map_port);
        Relays::remember(dir.path(), &said(Some(true))).unwrap();
        let next = chosen(&said(None));
        assert!(next.map_port && next.host, "the relay inside stays the default");
        Relays::remember(dir.path(), &flags(&["/a"])).unwrap();
        let next = chosen(&said(None));
        assert!(next.map_port && next.addresses == ["/a"]);
        assert!(!chosen(&said(Some(false))).map_port);
        Relays::remember(dir.path(), &said(Some(false))).unwrap();
        let next = chosen(&said(None));
        assert!(!next.map_port && next.addresses == ["/a"]);
    }

    #[test]
    fn what_was_remembered_and_is_gone_is_not_taken_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("relays"), "").unwrap();
        for said in [flags(&[]), flags(&["/a"])] {
            let refused = Relays::choose(dir.path(), &said);
            assert!(matches!(refused, Err(ConfigError::Emptied { .. })), "{refused:?}");
        }
        let said = RelayFlags { proxy: Some("none".into()), ..flags(&["/a"]) };
        assert_eq!(Relays::choose(dir.path(), &said).unwrap().addresses, ["/a"]);
        Relays::remember(dir.path(), &said).unwrap();
        assert_eq!(Relays::choose(dir.path(), &flags(&[])).unwrap().addresses, ["/a"]);
    }

    #[test]
    fn names_of_users_and_machines_are_made_valid() {
        assert_eq!(valid_name(" ana\u{7}\n"), "ana");
        assert_eq!(valid_name(&"ü".repeat(40)), "ü".repeat(32));
        assert_eq!(valid_name("\n"), "");
        assert!(is_name(&default_name()));
    }
}
