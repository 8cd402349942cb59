//! Which relays a node uses, and how: from what flags, the environment, the settings file and the data directory say.
//!
//! The choice of relays is remembered in `<data-dir>/relays`, a line for each address, or the words
//! `host` (a relay inside the node), `none`, and `lan-only` (none, and nothing beyond local networks). The proxy
//! through which they are reached stands there, too, and with it `relay-only`: nobody who has given these once, by flags or in the environment,
//! goes around them by leaving them out. So does `map-port`, whatever the relays are. What the settings file says is in that file alone.

use std::{
    env, fs,
    io::{self, Write},
    path::Path,
};

use super::{ConfigError, Origin};

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
    /// Who said so.
    pub origins: RelayOrigins,
}

/// Where each part of it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayOrigins {
    /// `host`, `addresses` and `lan_only`.
    pub relays: Origin,
    /// `proxy`.
    pub proxy: Origin,
    /// `relay_only`.
    pub relay_only: Origin,
    /// `map_port`.
    pub map_port: Origin,
}

/// What one source says of relays; what it leaves out is as the next one has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Those who are asked, the first of them first.
#[derive(Clone, Debug, Default)]
pub struct RelaySources {
    /// Flags.
    pub flags: RelayFlags,
    /// The environment.
    pub environment: RelayFlags,
    /// The settings file.
    pub file: RelayFlags,
}

impl RelayFlags {
    /// What `WATTLE_RELAY` (addresses and words, with spaces or commas between) and `WATTLE_RELAY_PROXY` say.
    pub fn of_environment() -> Result<Self, ConfigError> {
        let mut said = Self::of_words(&text("WATTLE_RELAY")?.unwrap_or_default());
        said.proxy = text("WATTLE_RELAY_PROXY")?.or(said.proxy);
        Ok(said)
    }

    /// What words say that could stand in the data directory's file.
    #[must_use]
    pub fn of_words(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split([' ', ',', '\t']));
        let mut said = Self::default();
        for word in words.filter(|word| !word.is_empty()) {
            match word {
                HOST => said.host = true,
                NONE => said.none = true,
                LAN_ONLY => said.lan_only = true,
                RELAY_ONLY => said.direct = Some(false),
                MAP_PORT => said.map_port = Some(true),
                proxy if is_proxy(proxy) => said.proxy = Some(proxy.into()),
                address => said.addresses.push(address.into()),
            }
        }
        said
    }

    /// Whether it says which relays there are to be.
    fn chooses(&self) -> bool {
        self.none || self.host || self.lan_only || !self.addresses.is_empty()
    }

    /// All that is said here, and there what is not.
    fn over(&self, next: &Self) -> Self {
        let chosen = if self.chooses() { self } else { next };
        Self {
            proxy: self.proxy.clone().or_else(|| next.proxy.clone()),
            direct: self.direct.or(next.direct),
            map_port: self.map_port.or(next.map_port),
            ..chosen.clone()
        }
    }

    /// The words that say it.
    fn words(&self) -> impl Iterator<Item = &str> {
        let Self { addresses, host, none, lan_only, proxy, direct, map_port } = self;
        let said = [(*none, NONE), (*host, HOST), (*lan_only, LAN_ONLY)];
        let more = [(*direct == Some(false), RELAY_ONLY), (*map_port == Some(true), MAP_PORT)];
        let word = |(is_said, word): (bool, &'static str)| is_said.then_some(word);
        let addresses = addresses.iter().chain(proxy).map(String::as_str);
        said.into_iter().filter_map(word).chain(addresses).chain(more.into_iter().filter_map(word))
    }
}

impl Relays {
    /// The relays to use: of each part what the first source says that says something, else what the data
    /// directory remembers, else a relay inside the node.
    pub fn choose(data_dir: &Path, sources: &RelaySources) -> Result<Self, ConfigError> {
        let kept = kept(data_dir, sources)?;
        let all = [
            (Origin::Flag, &sources.flags),
            (Origin::Environment, &sources.environment),
            (Origin::File, &sources.file),
            (Origin::Remembered, &kept),
        ];
        let none = RelayFlags { host: true, ..RelayFlags::default() };
        let chosen = all.into_iter().find(|(_, said)| said.chooses());
        let (relays, chosen) = chosen.unwrap_or((Origin::Default, &none));
        let proxy = all.into_iter().find_map(|(from, said)| Some((from, said.proxy.as_ref()?)));
        let (by, proxy) = proxy.map_or((Origin::Default, None), |(by, it)| (by, Some(it.clone())));
        let proxy = proxy.filter(|proxy| proxy != NONE);
        // What was remembered with a proxy goes with it.
        let holds = |from: Origin| from != Origin::Remembered || proxy.is_some();
        let direct = all.into_iter().find_map(|(from, said)| Some((from, said.direct?)));
        let (hidden, direct) =
            direct.filter(|(from, _)| holds(*from)).unwrap_or((Origin::Default, true));
        let mapped = all.into_iter().find_map(|(from, said)| Some((from, said.map_port?)));
        let (mapped, map_port) = mapped.unwrap_or((Origin::Default, false));
        let origins = RelayOrigins { relays, proxy: by, relay_only: hidden, map_port: mapped };
        Ok(Self {
            host: chosen.host,
            addresses: chosen.addresses.clone(),
            lan_only: chosen.lan_only,
            proxy,
            relay_only: !direct,
            map_port,
            origins,
        })
    }

    /// Remembers what flags and the environment have chosen, for the next plain start.
    pub fn remember(data_dir: &Path, sources: &RelaySources) -> Result<(), ConfigError> {
        let kept = kept(data_dir, sources)?;
        let said = sources.flags.over(&sources.environment);
        let mut next = said.over(&kept);
        next.proxy = next.proxy.filter(|proxy| proxy != NONE);
        // A proxy of the file's is none that is remembered, and there all the same.
        let of_file = sources.file.proxy.as_ref().is_some_and(|proxy| proxy != NONE);
        let is_hidden = next.direct == Some(false) && (next.proxy.is_some() || of_file);
        next.direct = is_hidden.then_some(false);
        next.map_port = next.map_port.filter(|map| *map);
        if next == kept {
            return Ok(());
        }
        if !next.chooses() {
            next.host = true;
        }
        let mut text =
            String::from("# The relays of this node; `wattle up --relay …` changes it.\n");
        for line in next.words() {
            text.push_str(line);
            text.push('\n');
        }
        let path = data_dir.join(FILE);
        write(data_dir, &path, &text).map_err(|error| ConfigError::File { path, error })
    }

    /// The words that choose such relays: addresses, `host`, `lan-only` or `none`.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Self { host, lan_only, addresses, .. } = self.clone();
        let none = !host && !lan_only && addresses.is_empty();
        let said = RelayFlags { addresses, host, none, lan_only, ..RelayFlags::default() };
        said.words().map(Into::into).collect()
    }
}

/// What the data directory remembers.
fn kept(data_dir: &Path, sources: &RelaySources) -> Result<RelayFlags, ConfigError> {
    let path = data_dir.join(FILE);
    let said = sources.flags.over(&sources.environment).over(&sources.file);
    match fs::read_to_string(&path) {
        Ok(text) => match RelayFlags::of_words(&text) {
            kept if kept != RelayFlags::default() || said.proxy.is_some() && said.chooses() => {
                Ok(kept)
            }
            _ => Err(ConfigError::Emptied { path }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(RelayFlags::default()),
        Err(error) => Err(ConfigError::File { path, error }),
    }
}

/// The file in the data directory.
const FILE: &str = "relays";
/// The word for a relay inside the node.
const HOST: &str = "host";
/// The word for no relay, and for no proxy.
const NONE: &str = "none";
/// The word for local networks alone.
const LAN_ONLY: &str = "lan-only";
/// The word for members being reached through relays alone.
const RELAY_ONLY: &str = "relay-only";
/// The word for the router's being asked for a port.
const MAP_PORT: &str = "map-port";

/// A variable that is set to something.
fn text(name: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(text) = env::var_os(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    text.into_string().map(Some).map_err(|_| ConfigError::NoText(name))
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

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn flags(addresses: &[&str]) -> RelayFlags {
        let addresses = addresses.iter().map(|address| String::from(*address)).collect();
        RelayFlags { addresses, ..RelayFlags::default() }
    }

    fn of(flags: &RelayFlags) -> RelaySources {
        RelaySources { flags: flags.clone(), ..RelaySources::default() }
    }

    fn choose(dir: &TempDir, said: &RelayFlags) -> Result<Relays, ConfigError> {
        Relays::choose(dir.path(), &of(said))
    }

    fn remember(dir: &TempDir, said: &RelayFlags) -> Result<(), ConfigError> {
        Relays::remember(dir.path(), &of(said))
    }

    #[test]
    fn flags_go_before_the_environment_before_the_file_before_what_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        remember(&dir, &flags(&["/kept"])).unwrap();
        let mut sources = RelaySources::default();
        let chosen = |sources: &RelaySources| Relays::choose(dir.path(), sources).unwrap();
        let is = |sources: &RelaySources, address: &str, from: Origin| {
            let chosen = chosen(sources);
            assert_eq!((chosen.words(), chosen.origins.relays), (vec![address.into()], from));
        };
        is(&sources, "/kept", Origin::Remembered);
        sources.file = RelayFlags { map_port: Some(true), ..flags(&["/file"]) };
        is(&sources, "/file", Origin::File);
        sources.environment = flags(&["/environment"]);
        is(&sources, "/environment", Origin::Environment);
        sources.flags = RelayFlags { map_port: Some(false), ..flags(&["/flag"]) };
        is(&sources, "/flag", Origin::Flag);
        let chosen = chosen(&sources);
        assert_eq!((chosen.map_port, chosen.origins.map_port), (false, Origin::Flag));
        assert_eq!((chosen.proxy, chosen.origins.proxy), (None, Origin::Default));
    }

    #[test]
    fn what_the_environment_chose_is_remembered_as_flags_are_and_what_the_file_chose_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let socks = "socks5://127.0.0.1:9050";
        let environment = RelayFlags::of_words(&format!("/a {socks} relay-only"));
        let sources = RelaySources { environment, file: flags(&["/b"]), ..RelaySources::default() };
        let first = Relays::choose(dir.path(), &sources).unwrap();
        assert!(first.relay_only && first.addresses == ["/a"], "{first:?}");
        Relays::remember(dir.path(), &sources).unwrap();
        let next = choose(&dir, &flags(&[])).unwrap();
        assert!(next.relay_only && next.addresses == ["/a"] && !next.host, "{next:?}");
        assert_eq!(next.proxy.as_deref(), Some(socks));
        // Nor is a proxy of the file's; that members are to see no address is, with it.
        let dir = tempfile::tempdir().unwrap();
        let file = RelayFlags { proxy: Some(socks.into()), ..flags(&["/b"]) };
        let hidden = RelayFlags { direct: Some(false), ..flags(&[]) };
        let sources = RelaySources { flags: hidden, file, ..RelaySources::default() };
        Relays::remember(dir.path(), &sources).unwrap();
        let plain = RelaySources { flags: flags(&[]), ..sources };
        assert!(Relays::choose(dir.path(), &plain).unwrap().relay_only);
        let next = choose(&dir, &flags(&[])).unwrap();
        assert!(next.proxy.is_none() && !next.relay_only, "{next:?}");
    }

    #[test]
    fn a_plain_start_runs_a_relay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let plain = flags(&[]);
        remember(&dir, &plain).unwrap();
        assert_eq!(choose(&dir, &plain).unwrap().words(), ["host"]);
    }

    #[test]
    fn what_flags_chose_is_used_by_the_next_plain_start() {
        let dir = tempfile::tempdir().unwrap();
        let both = RelayFlags { host: true, ..flags(&["/ip4/1.2.3.4/tcp/4001/p2p/x"]) };
        let none = RelayFlags { none: true, ..flags(&[]) };
        let lan_only = RelayFlags { lan_only: true, ..flags(&[]) };
        for said in [flags(&["/a", "/b"]), both, none, lan_only] {
            remember(&dir, &said).unwrap();
            let next = choose(&dir, &flags(&[])).unwrap();
            let words: Vec<&str> = said.words().collect();
            assert_eq!(
                (next.words(), next.origins.relays),
                (words.iter().map(ToString::to_string).collect(), Origin::Remembered)
            );
        }
    }

    #[test]
    fn a_proxy_that_was_given_once_stays_until_it_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let through = |proxy: &str| RelayFlags { proxy: Some(proxy.into()), ..flags(&[]) };
        let socks = "socks5://127.0.0.1:9050";
        let first = RelayFlags { proxy: Some(socks.into()), ..flags(&["/a"]) };
        let chosen = |said: &RelayFlags| choose(&dir, said).unwrap();
        for (said, addresses) in [(first, ["/a"]), (flags(&[]), ["/a"]), (flags(&["/b"]), ["/b"])] {
            remember(&dir, &said).unwrap();
            let next = chosen(&flags(&[]));
            assert_eq!((next.proxy.as_deref(), next.host), (Some(socks), false));
            assert_eq!(next.addresses, addresses);
        }
        assert_eq!(chosen(&flags(&["/c"])).proxy.as_deref(), Some(socks));
        remember(&dir, &through("none")).unwrap();
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
        let chosen = |said: &RelayFlags| choose(&dir, said).unwrap();
        for said in [first, flags(&[]), flags(&["/b"])] {
            assert!(chosen(&said).relay_only);
            remember(&dir, &said).unwrap();
        }
        let seen = RelayFlags { direct: Some(true), ..flags(&[]) };
        assert!(!chosen(&seen).relay_only);
        remember(&dir, &seen).unwrap();
        let next = chosen(&flags(&[]));
        assert!(!next.relay_only && next.proxy.is_some() && next.addresses == ["/b"]);
        // Without a proxy it is for one start.
        let dir = tempfile::tempdir().unwrap();
        let hidden = RelayFlags { direct: Some(false), ..flags(&["/a"]) };
        remember(&dir, &hidden).unwrap();
        assert!(choose(&dir, &hidden).unwrap().relay_only);
        assert!(!choose(&dir, &flags(&[])).unwrap().relay_only);
    }

    #[test]
    fn that_a_port_is_mapped_is_remembered_beside_whatever_relays_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let said = |map_port| RelayFlags { map_port, ..flags(&[]) };
        let chosen = |said: &RelayFlags| choose(&dir, said).unwrap();
        assert!(!chosen(&said(None)).map_port);
        remember(&dir, &said(Some(true))).unwrap();
        let next = chosen(&said(None));
        assert!(next.map_port && next.host, "the relay inside stays the default");
        remember(&dir, &flags(&["/a"])).unwrap();
        let next = chosen(&said(None));
        assert!(next.map_port && next.addresses == ["/a"]);
        assert!(!chosen(&said(Some(false))).map_port);
        remember(&dir, &said(Some(false))).unwrap();
        let next = chosen(&said(None));
        assert!(!next.map_port && next.addresses == ["/a"]);
    }

    #[test]
    fn what_was_remembered_and_is_gone_is_not_taken_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "").unwrap();
        for said in [flags(&[]), flags(&["/a"])] {
            let refused = choose(&dir, &said);
            assert!(matches!(refused, Err(ConfigError::Emptied { .. })), "{refused:?}");
        }
        let said = RelayFlags { proxy: Some("none".into()), ..flags(&["/a"]) };
        assert_eq!(choose(&dir, &said).unwrap().addresses, ["/a"]);
        remember(&dir, &said).unwrap();
        assert_eq!(choose(&dir, &flags(&[])).unwrap().addresses, ["/a"]);
    }
}
