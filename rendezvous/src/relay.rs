//! A relay as a value: start it, ask where it is, stop it.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

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
    net::{Beat, ListenError, Net},
    store::{
        ClusterError, JetStreamStore, LogStore, MemoryStore, RESERVE_BYTES, ReopeningStore,
        StoreError,
    },
    tokens::{Access, Tokens, TokensError},
    watch::{Counts, Facts, Lookout, WatchError},
};

/// A relay that runs, in tasks of the Tokio runtime in which it was started. Dropped, it stops
/// soon; [`Relay::stop`] says when it has.
#[derive(Debug)]
pub struct Relay {
    peer_id: PeerId,
    addrs: Vec<Multiaddr>,
    watch: Option<SocketAddr>,
    beats: mpsc::Sender<Beat>,
    stop: CancellationToken,
    task: JoinHandle<()>,
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
        let lookout = Lookout::open(config.watch.clone()).await?;
        let dir = config.data_dir.as_deref().map(DataDir::open).transpose()?;
        let key = match &dir {
            Some(dir) => dir.key()?,
            None => Keypair::generate_ed25519(),
        };
        let holders = holders(&config)?;
        let clustered = open_clustered(&config, dir.as_ref(), key.public().to_peer_id()).await?;
        let counts = Arc::new(Counts::default());
        let (listen, external) = (&config.listen, &config.external);
        let net = Net::listen(key, listen, external, &config.limits, Arc::clone(&counts)).await?;
        let store = match clustered {
            Some(store) => store,
            None => open_store(&config, dir.as_ref()).await?,
        };
        let peer_id = net.peer_id();
        let addrs: Vec<_> = config.external.iter().chain(net.addrs()).cloned().collect();

        let stop = CancellationToken::new();
        let facts = Facts {
            addrs: addrs.iter().map(|addr| whole(addr, peer_id).to_string()).collect(),
            live: config.storage == Storage::Live,
            ttl: config.limits.ttl,
        };
        let (peer, limits) = (peer_id.to_bytes(), config.limits);
        let held = holders.clone();
        let (service, writer) =
            LogService::start(peer, limits, store, Arc::clone(&counts), held, stop.clone())
                .map_err(StartError::Thread)?;
        let watch = lookout.as_ref().map(Lookout::addr);
        let watching = lookout.map(|it| it.serve(facts, counts, stop.clone())).unwrap_or_default();
        let (beats, asked) = mpsc::channel(1);
        let loops = Loops { watching, beats: asked };
        let task = tokio::spawn(run(net, service, writer, holders, dir, loops, stop.clone()));
        Ok(Self { peer_id, addrs, watch, beats, stop, task })
    }

    /// Its key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where it can be reached: what was set as external first, loopback last; each with `/p2p`.
    #[must_use]
    pub fn addrs(&self) -> Vec<Multiaddr> {
        self.addrs.iter().map(|addr| whole(addr, self.peer_id)).collect()
    }

    /// Where its dashboard is, if it has one.
    #[must_use]
    pub fn watch(&self) -> Option<SocketAddr> {
        self.watch
    }

    /// Tells whether it still turns.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse(self.beats.clone())
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
pub struct Pulse(mpsc::Sender<Beat>);

impl Pulse {
    /// Waits until the loop that serves the clients has turned once more: for ever where it hangs or
    /// has ended.
    pub async fn beat(&self) {
        let (beat, turned) = oneshot::channel();
        if self.0.send(beat).await.is_err() || turned.await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn whole(addr: &Multiaddr, peer_id: PeerId) -> Multiaddr {
    addr.clone().with(Protocol::P2p(peer_id))
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
    /// Whoever asks whether the relay turns.
    beats: mpsc::Receiver<Beat>,
}

async fn run(
    net: Net,
    service: Arc<LogService>,
    writer: Writer,
    holders: Option<Arc<Holders>>,
    dir: Option<DataDir>,
    Loops { mut watching, beats }: Loops,
    stop: CancellationToken,
) {
    let expiry = tokio::spawn(service.expire());
    let watch = tokio::spawn(service.watch_holders());
    net.run(Arc::clone(&service), beats, stop).await;
    for task in [expiry, watch] {
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
