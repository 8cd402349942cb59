//! Where everything meets: it starts a node, and one loop moves bytes between the core, the network
//! and the callers.
//!
//! > One owner of state. The core lives on a thread of its own, in the loop of `driver::turn`,
//! > because its work blocks on the disk; whoever wants something of it waits in a bounded queue.
//! > No other executor is ever held up, and nothing else decides.
//!
//! > When the core, the swarm or a relay's client dies, the node ends: its supervisor starts it
//! > again, and the store knows where it was.

mod addresses;
mod handle;
mod host;
mod open;
mod port;
mod relays;
mod turn;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime},
};

use protocol::ids::{MemberId, Timestamp};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::handle::{Gone, Handle};
use crate::{
    core::{InitError, OpenError},
    files::{self, Files},
    net::{
        Circuits, ListenSyntax, Reach,
        mapping::{self, Aim},
        mesh,
        relay::{Proxy, RelayAddrError},
    },
    store::{Reader, StoreError, Unlock},
};

/// What a node is started with.
pub struct NodeConfig {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// How the store's key is had.
    pub unlock: Unlock,
    /// The member's name, for the first start; later ones keep the name that there is.
    pub name: String,
    /// Where to listen for members: `IP:PORT` or multiaddrs; everywhere where there are none.
    pub listen: Vec<String>,
    /// Whether direct connections are made and taken at all.
    pub direct: bool,
    /// This node's relays: multiaddrs, each ending in `/p2p/…`.
    pub relays: Vec<String>,
    /// A relay to run inside the node, where one is wanted.
    pub host_relay: Option<HostRelay>,
    /// By way of what all relays are reached, if not directly.
    pub relay_proxy: Option<Proxy>,
    /// How far it goes; on local networks alone, no relay is used.
    pub reach: Reach,
    /// Whether members are looked for on the local networks, and those answered who look for this node.
    pub mdns: bool,
    /// Whether the router is asked for a port that leads here. It is not where that would show what is to be
    /// hidden: without direct connections, on local networks alone, with a proxy. What it granted to a node that was
    /// killed is taken back all the same.
    pub map_port: bool,
}

/// A relay inside the node: its key and its entries are in `<data-dir>/relay`.
#[derive(Clone, Debug, Default)]
pub struct HostRelay {
    /// Where it listens, TCP and QUIC alike. Where there are none: on every interface, on the port
    /// that it had the last time.
    pub listen: Vec<SocketAddr>,
}

/// A node that runs; dropping it stops it.
pub struct Running {
    /// Asks the core.
    pub handle: Handle,
    /// Reads from the store, beside the core.
    pub reader: Reader,
    /// Gives and fetches files.
    pub files: Files,
    /// Who it is and where it may be met.
    pub ready: Ready,
    end: oneshot::Receiver<Result<(), Stopped>>,
    core: thread::JoinHandle<()>,
    stop: DropGuard,
    host: Option<host::Host>,
}

/// What a node says of itself when it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its member.
    pub member: MemberId,
    /// The name on the member's card.
    pub name: String,
    /// The PeerId under which members meet it.
    pub peer: String,
    /// The addresses for members, each with the PeerId; none without direct connections.
    pub listen: Vec<String>,
    /// Its relays' addresses, with those of a relay inside.
    pub relays: Vec<String>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No identity could be made.
    #[error(transparent)]
    Init(#[from] InitError),
    /// What is stored can't be taken up.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A relay's address can't be read.
    #[error("{address}: {reason}")]
    Relay {
        /// As it was given.
        address: String,
        /// Why.
        reason: RelayAddrError,
    },
    /// An address to listen on can't be read.
    #[error("{address}: {reason}")]
    Listen {
        /// As it was given.
        address: String,
        /// Why.
        reason: ListenSyntax,
    },
    /// The swarm for members can't be started.
    #[error(transparent)]
    Mesh(#[from] mesh::SpawnError),
    /// The relay inside can't be started.
    #[error("the relay inside the node can't be started: {0}")]
    Host(#[from] host::HostError),
    /// The system gives no randomness or no thread.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
    /// The node ended while it started.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a node ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The store failed: what came in could not be kept.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// The swarm for members ended.
    #[error("the network task for members ended")]
    Mesh,
    /// The client of a relay ended.
    #[error("the network task for a relay ended")]
    Relay,
    /// The relay inside ended.
    #[error("the relay inside the node ended")]
    Host,
    /// The core's thread ended: there is a message on standard error.
    #[error("the node's core ended")]
    Core,
}

/// Calls that may wait for the core.
const CALLS: usize = 256;
/// Streams of members who want files that may wait to be looked at.
const FETCHERS: usize = 16;
/// How long the start waits for addresses: a machine without any network has none.
const ADDRESSES: std::time::Duration = std::time::Duration::from_secs(3);

/// Starts a node; gives it when it knows where it listens.
pub async fn start(config: NodeConfig) -> Result<Running, StartError> {
    let NodeConfig { data_dir, unlock, name, listen, direct, relays, host_relay, .. } = config;
    let (relay_proxy, reach, mdns) = (config.relay_proxy, config.reach, config.mdns);
    let listen = open::listen(listen)?;
    open::check_relays(&relays)?;
    let store = open::store(data_dir.clone(), unlock).await?;
    let host = match host_relay {
        Some(config) => Some(host::start(&data_dir.join("relay"), config).await?),
        None => None,
    };
    let mut all = relays;
    all.extend(host.iter().flat_map(|host| host.addresses().to_vec()));
    let fixed = !listen.is_empty();
    let map_port = config.map_port && direct && reach == Reach::Anywhere && relay_proxy.is_none();
    let relays = all.clone();
    let options =
        crate::core::Options { direct, relays, relay_proxy, reach, mdns, fixed, map_port };
    let opened = open::core(store, name, options).await?;
    let fetchers = mpsc::channel(FETCHERS);
    let circuits = Circuits { me: opened.core.endpoint(), clock: now, proxy: relay_proxy };
    let mesh = match direct {
        true => Some(mesh::spawn(mesh::Config {
            seed: opened.node_key,
            port: port::of_node(&data_dir)?,
            listen,
            reach,
            mdns,
            meets: relay_proxy.is_none(),
            me: opened.core.endpoint(),
            clock: now,
            fetchers: fetchers.0.clone(),
        })?),
        false => None,
    };

    let commands = mesh.as_ref().map(|mesh| mesh.commands.clone());
    let (calls, taken) = mpsc::channel(CALLS);
    let (woken, events) = watch::channel(0);
    let (told, mut listening) = watch::channel(Vec::new());
    let stop = CancellationToken::new();
    let network = tokio::runtime::Handle::current();
    let relays = relays::Relays::new(network, relay_proxy);
    let aim = if map_port { Aim::Map } else { Aim::TakeBack };
    let addresses = addresses::Addresses::new(mapping::spawn(seed()?, &data_dir, aim, now));
    let network = (mesh, addresses);
    let live = broadcast::channel(handle::LIVE).0;
    let tells = (woken, live.clone());
    let turn = turn::Turn::new(opened.core, taken, network, relays, tells, told, stop.clone());
    let (done, mut end) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let core = thread::Builder::new().name("core".into()).spawn(move || {
        // Whoever waits for the end may be gone.
        let _ = done.send(runtime.block_on(turn.run()));
    })?;

    if direct {
        tokio::select! {
            _ = timeout(ADDRESSES, listening.changed()) => {}
            ended = &mut end => return Err(stopped(ended).into()),
        }
    }
    let listen = listening.borrow().clone();
    let ready =
        Ready { member: opened.member, name: opened.name, peer: opened.peer, listen, relays: all };
    let handle = Handle::new(calls, events, live);
    let files = files::spawn(files::Config {
        handle: handle.clone(),
        mesh: commands,
        circuits,
        fetchers,
        data_dir,
        stop: stop.clone(),
    });
    let stop = stop.drop_guard();
    Ok(Running { handle, reader: opened.reader, files, ready, end, core, stop, host })
}

impl Running {
    /// Waits until the node ends by itself, which it does only when something is broken.
    pub async fn wait(&mut self) -> Stopped {
        let host = async {
            match &mut self.host {
                Some(host) => host.died().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut self.end => stopped(ended),
            () = host => Stopped::Host,
        }
    }

    /// Stops the node, with leave taken of members and relays. Nothing is lost by not calling it.
    pub async fn shutdown(self) -> Result<(), Stopped> {
        drop(self.stop);
        let ended = self.end.await.unwrap_or(Err(Stopped::Core));
        // It has ended but for what its thread keeps, which OpenSSL takes down with it.
        drop(tokio::task::spawn_blocking(|| self.core.join()).await);
        if let Some(host) = self.host {
            host.stop().await;
        }
        ended
    }
}

fn seed() -> Result<[u8; 32], std::io::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| std::io::Error::other("no randomness"))?;
    Ok(seed)
}

fn stopped(ended: Result<Result<(), Stopped>, oneshot::error::RecvError>) -> Stopped {
    match ended {
        Ok(Err(stopped)) => stopped,
        Ok(Ok(())) | Err(_) => Stopped::Core,
    }
}

/// What time it is: nowhere else in the node is a clock read.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let system = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    system.plus_ms(AHEAD_MS.load(Ordering::Relaxed))
}

/// For how long the machine has run, in milliseconds: a clock that nobody sets, and that goes on while the machine
/// sleeps where the system has such a one.
#[cfg(target_os = "linux")]
fn ran_ms() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let ran = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(ran.tv_sec), u64::try_from(ran.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000).saturating_add(nanos.unwrap_or(0) / 1_000_000)
}

#[cfg(not(target_os = "linux"))]
fn ran_ms() -> u64 {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let ran = FIRST.get_or_init(std::time::Instant::now).elapsed();
    u64::try_from(ran.as_millis()).unwrap_or(u64::MAX)
}

/// Has this process's clock go ahead of the system's, so that tests need not wait for weeks.
pub fn set_clock_ahead(by: Duration) {
    AHEAD_MS.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

static AHEAD_MS: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests;
