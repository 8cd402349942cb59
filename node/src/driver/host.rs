//! A relay inside the node, for people who have no server.
//!
//! > A relay's address stands in invites and in groups' policies, so it keeps its key and its port.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use rendezvous::{Config, ListenError, Relay, StartError, config::PORT};

use super::{HostRelay, port};
use crate::net::{address::is_web, free_port, reachable};

/// A relay that runs in this process.
pub(super) struct Host {
    relay: Relay,
    addresses: Vec<String>,
}

/// Why there is no relay inside.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The port under which others know it can't be read or written.
    #[error("its port can't be kept: {0}")]
    Port(#[from] io::Error),
}

/// Addresses that go into invites and policies.
const ADDRESSES: usize = 4;

/// Starts the relay whose key, port and entries are in `data_dir`.
pub(super) async fn start(data_dir: &Path, config: HostRelay) -> Result<Host, HostError> {
    let relay = if config.listen.is_empty() {
        on_its_port(data_dir).await?
    } else {
        on(data_dir, config.listen).await?
    };
    // WebSocket is for relays that networks let nobody else reach; a code is to be short.
    let chosen = reachable(relay.addrs().into_iter().filter(|addr| !is_web(addr)), ADDRESSES);
    Ok(Host { addresses: chosen.iter().map(ToString::to_string).collect(), relay })
}

/// On the port that it had the last time. At first that is the usual one, or, where that is taken,
/// any.
async fn on_its_port(data_dir: &Path) -> Result<Relay, HostError> {
    let (port, relay) = match port::kept(data_dir)? {
        Some(port) => (port, on(data_dir, everywhere(port)).await?),
        None => match (on(data_dir, everywhere(PORT)).await, free_port()) {
            (Err(StartError::Listen(ListenError::Bind { .. })), Some(port)) => {
                (port, on(data_dir, everywhere(port)).await?)
            }
            (started, _) => (PORT, started?),
        },
    };
    port::keep(data_dir, port)?;
    Ok(relay)
}

async fn on(data_dir: &Path, listen: Vec<SocketAddr>) -> Result<Relay, StartError> {
    Relay::start(Config { listen, ..Config::durable(data_dir.into()) }).await
}

fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
}

impl Host {
    /// Where others reach it, each with the relay's PeerId.
    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Waits until the relay dies.
    pub(super) async fn died(&mut self) {
        self.relay.ended().await;
    }

    /// Stops it; what it acknowledged is on the disk.
    pub(super) async fn stop(self) {
        self.relay.stop().await;
    }
}
