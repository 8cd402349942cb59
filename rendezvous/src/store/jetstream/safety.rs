//! Whether the servers of a cluster can lose what they have acknowledged: each one's own words, read back.
//!
//! > A server that is down is no danger to what it has synced. So a process starts without what one of
//! > them says, where most of them say that they are safe and the streams' leaders hear nothing of that
//! > one; and looks at it as soon as it answers.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::stream::{Info, PeerInfo};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    cluster::{ClusterError, Reached, taken},
    streams::Maker,
};
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
/// How often while one of them is down.
const SOON: Duration = Duration::from_secs(5);
/// A server of which a leader has heard nothing for so long is down.
const UNHEARD: Duration = Duration::from_secs(10);
/// One of which it has heard something as lately as this is not.
const HEARD: Duration = Duration::from_secs(3);
/// How long it is waited at the start until that is known: of one that was heard of, and of others.
const WAIT_HEARD: Duration = Duration::from_secs(6);
const WAIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);

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

impl Danger {
    fn is_silence(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }
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
    let asked = servers(settings, &mut dangers).await;
    if asked.len() * 2 > settings.monitors.len() {
        // Whether those that are silent are down, the streams' leaders say.
        dangers.retain(|(_, danger)| !danger.is_silence());
    }
    if settings.monitors.is_empty() {
        dangers.push((Allowance::Unsynced, Danger::Unmonitored { server: "any".into() }));
    }
    dangers.into_iter().try_for_each(|(what, danger)| taken(settings, what, danger))
}

/// Looks at the streams as they are: their copies, and whether each server that has one was asked, or is
/// down.
pub(super) async fn of_streams(
    maker: &Maker<'_>,
    mut streams: Vec<Info>,
    settings: &Cluster,
) -> Result<(), ClusterError> {
    let replicas = streams.iter().map(|info| info.config.num_replicas).min().unwrap_or(0);
    if replicas < REPLICAS && usize::from(settings.replicas) >= REPLICAS {
        taken(settings, Allowance::Replicas, Danger::Copies { replicas })?;
    }
    if settings.monitors.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    loop {
        let mut dangers = Vec::new();
        let asked = servers(settings, &mut dangers).await;
        let (silent, found): (Vec<_>, Vec<_>) =
            dangers.into_iter().partition(|(_, danger)| danger.is_silence());
        // What is allowed has been said.
        if let Some((what, danger)) = found.into_iter().find(|(what, _)| !settings.allows(*what)) {
            return Err(Unsafe { danger, allow: what }.into());
        }
        let unasked = holders(&streams)
            .find(|(name, seen)| !asked.contains_key(name.as_str()) && !matches!(seen, Seen::Down));
        let Some((server, seen)) = unasked else {
            for (_, danger) in silent {
                tracing::warn!(
                    %danger,
                    "A SERVER OF THE CLUSTER IS DOWN: whether it is safe is looked at when it answers"
                );
            }
            return Ok(());
        };
        let wait = match seen {
            Seen::Leads => Duration::ZERO,
            Seen::Heard => WAIT_HEARD,
            Seen::Unheard | Seen::Down => WAIT,
        };
        if settings.allows(Allowance::Unsynced) || start.elapsed() >= wait {
            let silence = silent.into_iter().next().map(|(_, danger)| danger);
            let danger = silence.unwrap_or(Danger::Unmonitored { server: server.clone() });
            return taken(settings, Allowance::Unsynced, danger);
        }
        tokio::time::sleep(LOOK).await;
        streams = maker.again().await?;
    }
}

/// How a server is, in the words of a stream's leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    Leads,
    Heard,
    Unheard,
    Down,
}

/// The servers that have a copy of these streams.
fn holders(streams: &[Info]) -> impl Iterator<Item = (&String, Seen)> {
    streams.iter().filter_map(|info| info.cluster.as_ref()).flat_map(|cluster| {
        let leader = cluster.leader.iter().map(|name| (name, Seen::Leads));
        leader.chain(cluster.replicas.iter().map(|peer| (&peer.name, seen(peer))))
    })
}

fn seen(peer: &PeerInfo) -> Seen {
    if peer.offline || peer.active >= UNHEARD {
        Seen::Down
    } else if peer.active < HEARD {
        Seen::Heard
    } else {
        Seen::Unheard
    }
}

/// That a stream has too few copies, where that is not allowed.
pub(super) fn copies(stream: &Info, settings: &Cluster) -> Option<Danger> {
    let replicas = stream.config.num_replicas;
    let few = replicas < REPLICAS && !settings.allows(Allowance::Replicas);
    few.then_some(Danger::Copies { replicas })
}

/// Looks again for as long as the relay runs: a server may have been started anew with other settings,
/// or a stream been given others.
pub(super) async fn watch(cluster: Reached, became_unsafe: Arc<AtomicBool>) {
    let mut known = Vec::new();
    let mut pause = SOON;
    loop {
        tokio::time::sleep(pause).await;
        let mut dangers = Vec::new();
        servers(cluster.settings(), &mut dangers).await;
        let all = dangers.len();
        dangers.retain(|(_, danger)| !danger.is_silence());
        pause = if dangers.len() < all { SOON } else { AGAIN };
        // What is allowed was said at the start.
        dangers.retain(|(what, _)| !cluster.settings().allows(*what));
        let mut found: Vec<_> = dangers.iter().map(|(_, danger)| danger.to_string()).collect();
        found.extend(cluster.maker().problems(cluster.origin().generation).await);
        became_unsafe.store(!found.is_empty(), Ordering::Relaxed);
        if found != known {
            for danger in &found {
                tracing::error!(%danger, "THE CLUSTER IS NO LONGER SAFE");
            }
            known = found;
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
