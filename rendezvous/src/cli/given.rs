//! What is given on the command line, in the environment and in a file, in this order.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, builder::FalseyValueParser};
use directories::ProjectDirs;
use rendezvous::{
    Storage,
    config::{Allowance, BadAddress, external},
    settings::{SYSTEM, Settings},
};

/// Settings that have a flag, and where the others are.
#[derive(Args, Default, Clone)]
pub(super) struct Given {
    /// The settings file [default: the user's, else /etc/wattle-rendezvous/relay.toml, else none].
    #[arg(long, value_name = "FILE", env = "WATTLE_RENDEZVOUS_CONFIG")]
    config: Option<PathBuf>,
    /// Where its key and its store live [default: the user's data directory].
    #[arg(long, value_name = "DIR", env = "WATTLE_RENDEZVOUS_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen, TCP and QUIC alike; port 0: the system chooses [default: port 4407 of every
    /// interface].
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "WATTLE_RENDEZVOUS_LISTEN",
        value_delimiter = ',',
        value_parser = parse_listen
    )]
    listen: Vec<SocketAddr>,
    /// Under which address others reach it, if it can't know: HOST:PORT or a multiaddr.
    #[arg(
        long,
        value_name = "ADDR",
        env = "WATTLE_RENDEZVOUS_EXTERNAL",
        value_delimiter = ',',
        value_parser = parse_external
    )]
    external: Vec<String>,
    /// A server of the NATS cluster that keeps messages, such as nats://HOST:4222; again for each.
    #[arg(long, value_name = "URL", env = "WATTLE_RENDEZVOUS_CLUSTER", value_delimiter = ',')]
    cluster: Vec<String>,
    /// What the cluster's streams are called [default: wattle].
    #[arg(long, value_name = "NAME", env = "WATTLE_RENDEZVOUS_CLUSTER_NAME")]
    cluster_name: Option<String>,
    /// Where a server's monitoring answers, such as http://HOST:8222; for each server of the cluster.
    #[arg(
        long,
        value_name = "URL",
        env = "WATTLE_RENDEZVOUS_CLUSTER_MONITOR",
        value_delimiter = ','
    )]
    cluster_monitor: Vec<String>,
    /// What to take of the cluster though it can lose messages: unsynced, replicas, version.
    #[arg(
        long,
        value_name = "DANGER",
        env = "WATTLE_RENDEZVOUS_CLUSTER_ALLOW",
        value_delimiter = ','
    )]
    cluster_allow: Vec<Allowance>,
    /// Where its dashboard listens; "" is nowhere [default: 127.0.0.1:4408].
    #[arg(long, value_name = "IP:PORT", env = "WATTLE_RENDEZVOUS_WATCH")]
    watch: Option<String>,
    /// Keep messages in memory only and for two minutes.
    #[arg(long, env = "WATTLE_RENDEZVOUS_NO_STORE", value_parser = FalseyValueParser::new())]
    no_store: bool,
}

impl Given {
    /// The settings that hold.
    pub(super) fn settings(self) -> anyhow::Result<Settings> {
        let store = self.no_store.then_some(Storage::Live);
        self.settings_of(store)
    }

    /// Has the settings read again from the file that was found at first, if one was.
    pub(super) fn of_that_file(mut self) -> Self {
        self.config = self.config.or_else(found);
        self
    }

    /// Whether there is a file to read: one that was named, or one where they are looked for.
    pub(super) fn has_file(&self) -> bool {
        self.config.is_some() || found().is_some()
    }

    /// The settings that hold, with what ships for a kind of store if one is named here.
    pub(super) fn settings_of(self, store: Option<Storage>) -> anyhow::Result<Settings> {
        let mut settings = match self.config.or_else(found) {
            Some(file) => Settings::read(&file, store)?,
            None => Settings::shipped(store.unwrap_or(Storage::Durable)),
        };
        if let Some(dir) = self.data_dir {
            settings.data_dir = dir;
        }
        if !self.listen.is_empty() {
            settings.listen = self.listen;
        }
        if let Some(watch) = self.watch {
            settings.watch.listen = watch;
        }
        if !self.external.is_empty() {
            settings.external = self.external;
        }
        let cluster = &mut settings.cluster;
        if !self.cluster.is_empty() {
            cluster.urls = self.cluster;
        }
        if let Some(name) = self.cluster_name {
            cluster.name = name;
        }
        if !self.cluster_monitor.is_empty() {
            cluster.monitors = self.cluster_monitor;
        }
        if !self.cluster_allow.is_empty() {
            cluster.allow = self.cluster_allow;
        }
        Ok(settings)
    }
}

/// The data directory that `run` uses without flags, unless one is named.
pub(super) fn data_dir(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(dir) =
        named.or_else(|| std::env::var_os("WATTLE_RENDEZVOUS_DATA_DIR").map(Into::into))
    {
        return Ok(dir);
    }
    let file = std::env::var_os("WATTLE_RENDEZVOUS_CONFIG").map(PathBuf::from).or_else(found);
    let set = file.map(|file| Settings::read(&file, None)).transpose()?;
    match set.map(|set| set.data_dir).filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => Ok(dir),
        None => users_data(),
    }
}

/// The settings of a relay that is not started here.
pub(super) fn of_place(
    config: Option<PathBuf>,
    data_dir: Option<PathBuf>,
) -> anyhow::Result<Settings> {
    Given { config, data_dir, ..Given::default() }.settings()
}

/// Where a user's settings are.
pub(super) fn users_file() -> Option<PathBuf> {
    dirs().map(|dirs| dirs.config_dir().join("relay.toml"))
}

/// Where a user's relay lives.
pub(super) fn users_data() -> anyhow::Result<PathBuf> {
    let dirs = dirs().context("no home directory; name one with --data-dir")?;
    Ok(dirs.data_dir().to_path_buf())
}

fn dirs() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "wattle-rendezvous")
}

fn found() -> Option<PathBuf> {
    let files = users_file().into_iter().chain([Path::new(SYSTEM).to_path_buf()]);
    files.into_iter().find(|file| file.exists())
}

fn parse_listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected IP:PORT, such as 0.0.0.0:4407 or [::]:4407")
}

fn parse_external(text: &str) -> Result<String, BadAddress> {
    external(text).map(|_| text.to_owned())
}
