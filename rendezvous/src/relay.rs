//! A relay as a value: start it, ask where it is, stop it.

use std::{io, sync::Arc};

use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Storage},
    data_dir::{DataDir, DataDirError},
    log_service::{LogService, Writer},
    net::{ListenError, Net},
    store::{EmbeddedStore, LogStore, MemoryStore, StoreError},
};

/// A relay that runs, in tasks of the Tokio runtime in which it was started. Dropped, it stops
/// soon; [`Relay::stop`] says when it has.
#[derive(Debug)]
pub struct Relay {
    peer_id: PeerId,
    addrs: Vec<Multiaddr>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory can't be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The store in it can't be opened.
    #[error("the store can't be opened")]
    Store(#[from] StoreError),
    /// An address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A thread can't be started.
    #[error("a thread can't be started")]
    Thread(#[source] io::Error),
}

impl Relay {
    /// Starts a relay. When this returns it can be reached.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let dir = config.data_dir.as_deref().map(DataDir::open).transpose()?;
        let key = match &dir {
            Some(dir) => dir.key()?,
            None => Keypair::generate_ed25519(),
        };
        let net = Net::listen(key, &config.listen, &config.external, &config.limits).await?;
        let store = open_store(&config, dir.as_ref()).await?;
        let peer_id = net.peer_id();
        let addrs = config.external.iter().chain(net.addrs()).cloned().collect();

        let stop = CancellationToken::new();
        let (service, writer) =
            LogService::start(peer_id.to_bytes(), config.limits, store, stop.clone())
                .map_err(StartError::Thread)?;
        let task = tokio::spawn(run(net, service, writer, dir, stop.clone()));
        Ok(Self { peer_id, addrs, stop, task })
    }

    /// Its key.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Where it can be reached: what was set as external first, loopback last; each with `/p2p`.
    #[must_use]
    pub fn addrs(&self) -> Vec<Multiaddr> {
        self.addrs.iter().map(|addr| addr.clone().with(Protocol::P2p(self.peer_id))).collect()
    }

    /// Stops it. When this returns, what it acknowledged is on disk, and its ports and its
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

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
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
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&path, quota)).await;
    Ok(Arc::new(opened.map_err(|_| StoreError::Damaged)??))
}

async fn run(
    net: Net,
    service: Arc<LogService>,
    writer: Writer,
    dir: Option<DataDir>,
    stop: CancellationToken,
) {
    let expiry = tokio::spawn(service.expire());
    net.run(Arc::clone(&service), stop).await;
    expiry.abort();
    // Aborted tasks let go of what they hold when they are joined.
    let _ = expiry.await;
    writer.finish(service).await;
    drop(dir);
}
