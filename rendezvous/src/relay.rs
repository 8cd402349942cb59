//! A relay as a value: start it, ask where it is, stop it.

mod controls;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Storage},
    data_dir::{DataDir, DataDirError},
    limits::STORE_PAUSE,
    log_service::{Holders, LogService, Writer},
    net::{Ask, ListenError, Net},
    store::{
        ClusterError, JetStreamStore, LogStore, MemoryStore, RESERVE_BYTES, ReopeningStore,
        StoreError,
    },
    strain::Strain,
    tokens::{Access, Tokens, TokensError},
    watch::{Counts, Facts, Lookout, WatchError},
};

pub use controls::Controls;

/// A relay that runs, in tasks of the Tokio runtime in which it was started. Dropped, it stops
/// soon; [`Relay::stop`] says when it has.
pub struct Relay {
    place: Arc<Place>,
    watch: Option<SocketAddr>,
    controls: Controls,
    asks: mpsc::Sender<Ask>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("peer_id", &self.place.peer_id).finish_non_exhaustive()
    }
}

/// Where a relay is, and of what kind.
struct Place {
    peer_id: PeerId,
    /// Where others reach it.
    external: Mutex<Vec<Multiaddr>>,
    /// Where it listens.
    listened: Vec<Multiaddr>,
    live: bool,
}

impl Place {
    fn addrs(&self) -> Vec<Multiaddr> {
        let external = self.external();
        let all = external.iter().chain(&self.listened);
        all.map(|addr| addr.clone().with(Protocol::P2p(self.peer_id))).collect()
    }

    fn external(&self) -> MutexGuard<'_, Vec<Multiaddr>> {
        self.external.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self, config: &Config) -> Facts {
        Facts {
            addrs: self.addrs().iter().map(ToString::to_string).collect(),
            live: self.live,
            ttl: config.limits.ttl,
            token: config.watch.token.clone(),
        }
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can't be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store in this data directory is damaged, so that opening it would drop what can be saved.
    #[error("the store is damaged")]
    Damaged {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The store in it can't be opened.
    #[error("the store can't be opened")]
    Store(#[from] StoreError),
    /// The cluster that is to keep the entries can't be used.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The list of tokens can't be read.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// Tokens are asked for, and there is no directory in which a list of them could be.
    #[error("a relay without a data directory can't know tokens")]
    NoTokens,
    /// Circuits are granted to all, and logs to holders of tokens.
    #[error("circuits can't be kept to holders of tokens")]
    OpenCircuits,
    /// An address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It can't be watched as it is to be.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A thread can't be started.
    #[error("a thread can't be started")]
    Thread(#[source] io::Error),
}

impl Relay {
    /// Starts a relay. When this returns it can be reached.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::begin(config, None).await
    }

    /// The same on a store of the caller's, in place of the one that is set: for tests of what clients do about a
    /// relay that lies.
    pub async fn start_on(config: Config, store: Arc<dyn LogStore>) -> Result<Self, StartError> {
        Self::begin(config, Some(store)).await
    }

    async fn begin(config: Config, given: Option<Arc<dyn LogStore>>) -> Result<Self, StartError> {
        let lookout = Lookout::open(config.watch.clone()).await?;
        let dir = config.data_dir.as_deref().map(DataDir::open).transpose()?;
        let key = match &dir {
            Some(dir) => dir.key()?,
            None => Keypair::generate_ed25519(),
        };
        let holders = holders(&config)?;
        let clustered = match given {
            Some(store) => Some(store),
            None => open_clustered(&config, dir.as_ref(), key.public().to_peer_id()).await?,
        };
        let counts = Arc::new(Counts::default());
        let (listen, external) = (&config.listen, &config.external);
        let limits = &config.limits;
        let strain = Arc::new(Strain::new(limits, Arc::clone(&counts)));
        let held = Arc::clone(&strain);
        let net = Net::listen(key, listen, external, limits, held, Arc::clone(&counts)).await?;
        let store = match clustered {
            Some(store) => store,
            None => open_store(&config, dir.as_ref()).await?,
        };
        let place = Place {
            peer_id: net.peer_id(),
            external: Mutex::new(config.external.clone()),
            listened: net.addrs().to_vec(),
            live: config.storage == Storage::Live,
        };

        let stop = CancellationToken::new();
        let (peer, limits) = (place.peer_id.to_bytes(), config.limits.clone());
        let held = holders.clone();
        let (service, writer) =
            LogService::start(peer, limits, store, Arc::clone(&counts), held, stop.clone())
                .map_err(StartError::Thread)?;
        let watch = lookout.as_ref().map(Lookout::addr);
        let watched = lookout.map(|it| it.serve(place.facts(&config), counts, stop.clone()));
        let (watching, signboard) = watched.unzip();
        let (asks, asked) = mpsc::channel(1);
        let watching = watching.unwrap_or_default();
        let loops = Loops { watching, asks: asked, strain: Arc::downgrade(&strain) };
        let place = Arc::new(place);
        let controls = Controls::new(&place, &service, strain, asks.clone(), signboard);
        let task = tokio::spawn(run(net, service, writer, holders, dir, loops, stop.clone()));
        Ok(Self { place, watch, controls, asks, stop, task })
    }

    /// What has it go by other settings while it runs.
    #[must_use]
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Its key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.place.peer_id
    }

    /// Where it can be reached: what was set as external first, loopback last; each with `/p2p`.
    #[must_use]
    pub fn addrs(&self) -> Vec<Multiaddr> {
        self.place.addrs()
    }

    /// Where its dashboard is, if it has one.
    #[must_use]
    pub fn watch(&self) -> Option<SocketAddr> {
        self.watch
    }

    /// Tells whether it still turns.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse(self.asks.clone())
    }

    /// Stops it: takes no more connections, answers what it was asked, tells its clients to go
    /// elsewhere or to come back soon. When this returns, what it acknowledged is on disk, and its ports and its
    /// directory are free.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.ended().await;
    }

    /// Waits for its end: after [`Relay::stop`] only, unless it died or its store takes no more; the
    /// log says why.
    pub async fn ended(&mut self) {
        // Where the task panicked, the panic has been reported already.
        let _ = (&mut self.task).await;
    }
}

/// Asks a relay whether it still turns.
#[derive(Clone, Debug)]
pub struct Pulse(mpsc::Sender<Ask>);

impl Pulse {
    /// Waits until the loop that serves the clients has turned once more: for ever where it hangs or
    /// has ended.
    pub async fn beat(&self) {
        let (beat, turned) = oneshot::channel();
        if self.0.send(Ask::Beat(beat)).await.is_err() || turned.await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Opens the store of a cluster, if there is one: who connects must not wait until the index is there.
async fn open_clustered(
    config: &Config,
    dir: Option<&DataDir>,
    relay: PeerId,
) -> Result<Option<Arc<dyn LogStore>>, StartError> {
    let (Some(cluster), Some(dir)) = (&config.cluster, dir) else { return Ok(None) };
    let (path, quota) = (dir.index()?, config.limits.quota);
    let store = JetStreamStore::open(&path, cluster, quota, &relay.to_bytes()).await?;
    Ok(Some(Arc::new(store)))
}

/// Who may use the relay, where not everybody may.
fn holders(config: &Config) -> Result<Option<Arc<Holders>>, StartError> {
    if config.access == Access::Open {
        return Ok(None);
    }
    if config.limits.circuits > 0 {
        return Err(StartError::OpenCircuits);
    }
    let dir = config.data_dir.as_deref().ok_or(StartError::NoTokens)?;
    Ok(Some(Holders::open(Tokens::of(dir), &config.limits)?))
}

async fn open_store(
    config: &Config,
    dir: Option<&DataDir>,
) -> Result<Arc<dyn LogStore>, StartError> {
    let quota = config.limits.quota;
    let (Some(dir), Storage::Durable) = (dir, config.storage) else {
        return Ok(Arc::new(MemoryStore::new(quota)?));
    };
    let path = dir.store()?;
    let opened = tokio::task::spawn_blocking(move || {
        ReopeningStore::open(&path, quota, RESERVE_BYTES, STORE_PAUSE)
    })
    .await;
    match opened.unwrap_or(Err(StoreError::NeedsRepair)) {
        Ok(store) => Ok(Arc::new(store)),
        Err(StoreError::NeedsRepair) => {
            Err(StartError::Damaged { data_dir: config.data_dir.clone().unwrap_or_default() })
        }
        Err(error) => Err(error.into()),
    }
}

/// What runs beside the network, or asks after it.
struct Loops {
    /// The dashboard.
    watching: JoinSet<()>,
    /// Whoever asks whether the relay turns, or for other limits.
    asks: mpsc::Receiver<Ask>,
    /// Looked at every second.
    strain: Weak<Strain>,
}

async fn run(
    net: Net,
    service: Arc<LogService>,
    writer: Writer,
    holders: Option<Arc<Holders>>,
    dir: Option<DataDir>,
    Loops { mut watching, asks, strain }: Loops,
    stop: CancellationToken,
) {
    let expiry = tokio::spawn(service.expire());
    let watch = tokio::spawn(service.watch_holders());
    let strain = tokio::spawn(Strain::watch(strain));
    net.run(Arc::clone(&service), asks, stop).await;
    for task in [expiry, watch, strain] {
        task.abort();
        // Aborted tasks let go of what they hold when they are joined.
        let _ = task.await;
    }
    writer.finish(service).await;
    watching.shutdown().await;
    if let Some(holders) = holders {
        // The last use is written where it may block, and before the directory is free.
        let kept = tokio::task::spawn_blocking(move || holders.keep_usage());
        let _ = kept.await;
    }
    drop(dir);
}
