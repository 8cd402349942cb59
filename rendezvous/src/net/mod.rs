//! libp2p: listeners, connections, and one log-service session for each client's stream.

mod behaviour;
mod front_door;
mod listen;
mod narrow;
pub mod probe;

use std::{io, net::SocketAddr, sync::Arc};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, ping,
    swarm::{ConnectionId, SwarmEvent},
    tcp,
};
use tokio::task::JoinSet;
use tokio_util::{compat::FuturesAsyncReadCompatExt as _, sync::CancellationToken};

use crate::{
    limits::{BACKLOG, Limits},
    log_service::{self, LogService},
};
use behaviour::{Behaviour, BehaviourEvent, Opened};
use narrow::{Narrow, streams};

type Event = SwarmEvent<BehaviourEvent>;

/// Addresses of its own that a relay tells those who reserve a place for circuits.
const EXTERNAL: usize = 16;

/// A relay's listeners and connections.
pub(crate) struct Net {
    swarm: Swarm<Behaviour>,
    /// What happened while the listeners were being opened.
    early: Vec<Event>,
    addrs: Vec<Multiaddr>,
}

/// Why a relay can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Noise could not be set up.
    #[error("the transport could not be set up")]
    Transport,
    /// This address can't be listened on: taken, not of this machine, or not permitted.
    #[error("can't listen on {addr}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Net {
    /// Opens the listeners, TCP, WebSocket and QUIC for each address. What others reach it by is
    /// `external`, and where there is none what it listens on.
    pub(crate) async fn listen(
        key: Keypair,
        addrs: &[SocketAddr],
        external: &[Multiaddr],
        limits: &Limits,
    ) -> Result<Self, ListenError> {
        let mut swarm = swarm(key, limits)?;
        let mut early = Vec::new();
        let addrs = listen::on_all(&mut swarm, addrs, &mut early).await?;
        // Who asks for circuits is told them; nobody else is to know of a relay's own networks.
        let known = if external.is_empty() { &addrs } else { external };
        for addr in known.iter().take(EXTERNAL).filter(|_| limits.circuits > 0) {
            swarm.add_external_address(addr.clone());
        }
        Ok(Self { swarm, early, addrs })
    }

    /// Where it listens, without `/p2p`.
    pub(crate) fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// The relay's PeerId.
    pub(crate) fn peer_id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Serves clients until `stop`. When it returns no session is left, clients have been told
    /// that their connections are closed, and the ports are free.
    pub(crate) async fn run(mut self, service: Arc<LogService>, stop: CancellationToken) {
        let mut sessions = JoinSet::new();
        for event in std::mem::take(&mut self.early) {
            self.on_event(event, &service, &mut sessions);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.swarm.select_next_some() => {
                    self.on_event(event, &service, &mut sessions);
                }
                Some(ended) = sessions.join_next() => {
                    if let Ok(connection) = ended {
                        self.swarm.close_connection(connection);
                    }
                }
            }
        }
        sessions.shutdown().await;
        drop(self.swarm);
        listen::released(&self.addrs).await;
    }

    fn on_event(
        &mut self,
        event: Event,
        service: &Arc<LogService>,
        sessions: &mut JoinSet<ConnectionId>,
    ) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Front(Opened { connection, from, stream })) => {
                let service = Arc::clone(service);
                sessions.spawn(async move {
                    if let Err(ended) = log_service::serve(service, from, stream.compat()).await {
                        tracing::debug!(%ended, "a stream ended");
                    }
                    connection
                });
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                connection,
                result: Err(ping::Failure::Timeout | ping::Failure::Other { .. }),
                ..
            })) => {
                self.swarm.close_connection(connection);
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                tracing::error!(?reason, "a listener was closed");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener had an error");
            }
            _ => {}
        }
    }
}

fn swarm(key: Keypair, limits: &Limits) -> Result<Swarm<Behaviour>, ListenError> {
    let behaviour = Behaviour::new(key.public(), limits);
    let streams = streams(limits);
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = streams as u32;
            config.max_stream_data = 1 << 20;
            config.max_connection_data = 2 << 20;
            config
        })
        .with_other_transport(|key| tcp(key, streams))
        .map_err(|_| ListenError::Transport)?
        .with_behaviour(|_| behaviour)
        .map_err(|_| ListenError::Transport)?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits.idle)
                .with_max_negotiating_inbound_streams(streams)
        })
        .build();
    Ok(swarm)
}

/// TCP, with WebSocket on the same port; Noise and Yamux on either.
fn tcp(
    key: &Keypair,
    streams: usize,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let config = tcp::Config::new().nodelay(true).listen_backlog(BACKLOG);
    let tcp = tcp::tokio::Transport::new(config)
        .and_then(|socket, _| front_door::enter(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(Narrow::new(streams))
        .boxed();
    Ok(tcp)
}
