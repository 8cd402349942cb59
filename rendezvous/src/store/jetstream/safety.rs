//! Whether the servers of a cluster can lose what they have acknowledged: each one's own words, read back.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::stream::Info;
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::cluster::{ClusterError, Reached, taken};
use crate::settings::cluster::{Allowance, Cluster};

/// The oldest servers that are taken: before 2.10.23 a crash could lose a whole stream.
const OLDEST: [u32; 3] = [2, 10, 27];
/// Copies of each entry.
const REPLICAS: usize = 3;
/// How long a server's monitoring may take to answer, and how much.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: u64 = 1 << 20;
/// How often the servers are looked at while the relay runs.
const AGAIN: Duration = Duration::from_secs(60);

/// A cluster that is not safe, and the name by which it is taken all the same.
#[derive(Debug, thiserror::Error)]
#[error("{danger}")]
pub struct Unsafe {
    /// What is wrong.
    pub danger: Danger,
    /// By which name it would be allowed.
    pub allow: Allowance,
}

/// What can lose acknowledged entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Danger {
    /// A server is too old.
    Old {
        /// Which.
        server: String,
        /// Its version.
        version: String,
    },
    /// A server acknowledges before it has synced.
    Unsynced {
        /// Which.
        server: String,
    },
    /// Nobody said where a server's monitoring answers.
    Unmonitored {
        /// Which.
        server: String,
    },
    /// A server's monitoring doesn't answer.
    Silent {
        /// Where it was asked.
        url: String,
    },
    /// Entries have too few copies.
    Copies {
        /// How many.
        replicas: usize,
    },
}

impl fmt::Display for Danger {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Old { server, version } => {
                let [major, minor, patch] = OLDEST;
                write!(
                    to,
                    "server {server} is nats-server {version}, older than {major}.{minor}.{patch}"
                )
            }
            Self::Unsynced { server } => {
                write!(
                    to,
                    "server {server} acknowledges before it has synced: a power cut loses entries"
                )
            }
            Self::Unmonitored { server } => {
                write!(
                    to,
                    "whether server {server} syncs can't be read: its monitoring is not named"
                )
            }
            Self::Silent { url } => write!(to, "no server's monitoring answers at {url}"),
            Self::Copies { replicas } => {
                write!(to, "each entry is kept by {replicas} of the servers, and not by {REPLICAS}")
            }
        }
    }
}

/// What `/varz` tells that matters here.
#[derive(Deserialize)]
struct Server {
    server_name: String,
    version: String,
    #[serde(default)]
    jetstream: Jet,
}

#[derive(Deserialize, Default)]
struct Jet {
    #[serde(default)]
    config: JetConfig,
}

#[derive(Deserialize, Default)]
struct JetConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Looks at what can be seen before there are streams: the version of the server that answers, and all
/// that is told at the monitors.
pub(super) async fn before_streams(version: &str, settings: &Cluster) -> Result<(), ClusterError> {
    old("that answered", version).map_or(Ok(()), |old| taken(settings, Allowance::Version, old))?;
    if usize::from(settings.replicas) < REPLICAS {
        let danger = Danger::Copies { replicas: settings.replicas.into() };
        taken(settings, Allowance::Replicas, danger)?;
    }
    let mut dangers = Vec::new();
    servers(settings, &mut dangers).await;
    if settings.monitors.is_empty() {
        dangers.push((Allowance::Unsynced, Danger::Unmonitored { server: "any".into() }));
    }
    dangers.into_iter().try_for_each(|(what, danger)| taken(settings, what, danger))
}

/// Looks at the streams as they are: their copies, and whether each server that has one was asked.
pub(super) async fn of_streams(streams: &[Info], settings: &Cluster) -> Result<(), ClusterError> {
    let replicas = streams.iter().map(|info| info.config.num_replicas).min().unwrap_or(0);
    if replicas < REPLICAS && usize::from(settings.replicas) >= REPLICAS {
        taken(settings, Allowance::Replicas, Danger::Copies { replicas })?;
    }
    if settings.monitors.is_empty() {
        return Ok(());
    }
    let asked = servers(settings, &mut Vec::new()).await;
    let mut holders: Vec<&String> = Vec::new();
    for cluster in streams.iter().filter_map(|info| info.cluster.as_ref()) {
        holders.extend(&cluster.leader);
        holders.extend(cluster.replicas.iter().map(|peer| &peer.name));
    }
    match holders.into_iter().find(|name| !asked.contains_key(*name)) {
        None => Ok(()),
        Some(server) => {
            let danger = Danger::Unmonitored { server: server.clone() };
            taken(settings, Allowance::Unsynced, danger)
        }
    }
}

/// Looks again for as long as the relay runs: a server may have been started anew with other settings.
pub(super) async fn watch(cluster: Reached, became_unsafe: Arc<AtomicBool>) {
    let mut known = Vec::new();
    loop {
        tokio::time::sleep(AGAIN).await;
        let mut dangers = Vec::new();
        servers(cluster.settings(), &mut dangers).await;
        // A server that is down for a while is no danger to what it has synced.
        dangers.retain(|(_, danger)| !matches!(danger, Danger::Silent { .. }));
        // What is allowed was said at the start.
        dangers.retain(|(what, _)| !cluster.settings().allows(*what));
        became_unsafe.store(!dangers.is_empty(), Ordering::Relaxed);
        if dangers != known {
            for (_, danger) in &dangers {
                tracing::error!(%danger, "THE CLUSTER IS NO LONGER SAFE");
            }
            known = dangers;
        }
    }
}

/// Asks every monitor; answers the servers by name.
async fn servers(
    settings: &Cluster,
    dangers: &mut Vec<(Allowance, Danger)>,
) -> BTreeMap<String, Server> {
    let mut found = BTreeMap::new();
    for url in &settings.monitors {
        let asked = tokio::time::timeout(PATIENCE, varz(url)).await.ok().flatten();
        let Some(server) = asked else {
            dangers.push((Allowance::Unsynced, Danger::Silent { url: url.clone() }));
            continue;
        };
        let name = server.server_name.clone();
        dangers.extend(old(&name, &server.version).map(|old| (Allowance::Version, old)));
        if !server.jetstream.config.sync_always {
            dangers.push((Allowance::Unsynced, Danger::Unsynced { server: name.clone() }));
        }
        found.insert(name, server);
    }
    found
}

fn old(server: &str, version: &str) -> Option<Danger> {
    let number = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    let numbers: Vec<u32> = version.split(['.', '-']).take(3).map(number).collect();
    let is_beta = version.contains('-') && numbers == OLDEST;
    (numbers.as_slice() < OLDEST.as_slice() || is_beta)
        .then(|| Danger::Old { server: server.into(), version: version.into() })
}

/// What a server says of itself.
async fn varz(url: &str) -> Option<Server> {
    let host = url.strip_prefix("http://")?.split('/').next()?;
    let mut stream = TcpStream::connect(host).await.ok()?;
    // HTTP/1.0: the answer ends with the connection.
    let request = format!("GET /varz HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split_once(' ')?.1.starts_with("200").then_some(())?;
    serde_json::from_str(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_older_than_those_that_lose_nothing_are_told_apart() {
        for version in ["2.10.27", "2.10.28", "2.11.0", "2.11.0-preview.2", "2.15.1", "3.0.0"] {
            assert_eq!(old("a", version), None, "{version}");
        }
        for version in ["2.9.10", "2.10.26", "2.10.27-beta.1", "1.9.99", "", "new"] {
            assert!(old("a", version).is_some(), "{version}");
        }
    }
}
