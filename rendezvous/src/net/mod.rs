//! libp2p: listeners, connections, and one log-service session for each client's stream.

mod behaviour;
mod bucket;
mod circuits;
pub mod client;
mod crowd;
mod front_door;
mod listen;
mod metered;
mod narrow;
mod paced;
mod pings;
mod places;
pub mod probe;
mod standing;
mod way;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport as _,
    core::{
        StreamMuxer,
        muxing::StreamMuxerBox,
        transport::{Boxed, ListenerId},
        upgrade::Version,
    },
    identity::Keypair,
    noise, ping, quic, relay,
    swarm::{ConnectionId, SwarmEvent},
    tcp,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::{compat::FuturesAsyncReadCompatExt as _, sync::CancellationToken};

use crate::{
    limits::{BACKLOG, Limits},
    log_service::{self, Ended, LogService},
    strain::Strain,
    watch::{Counts, Why},
};
use behaviour::{Behaviour, BehaviourEvent, Opened};
use narrow::{Narrow, streams};
use paced::{Paced, Pacing};

type Event = SwarmEvent<BehaviourEvent>;

/// What the loop that serves is asked, and by what it answers that it is done.
pub(crate) enum Ask {
    /// Whether it still turns.
    Beat(oneshot::Sender<()>),
    /// To go by these limits, and to be reached at these addresses, from now on.
    Set { limits: Box<Limits>, external: Vec<Multiaddr>, done: oneshot::Sender<()> },
}

/// How long a relay that ends waits for its clients to read what they had asked for, beyond what its
/// store may take to answer that.
const DRAIN: Duration = Duration::from_secs(5);

/// Addresses of its own that a relay tells those who reserve a place for circuits.
const EXTERNAL: usize = 16;

/// A relay's listeners and connections.
pub(crate) struct Net {
    swarm: Swarm<Behaviour>,
    /// What happened while the listeners were being opened.
    early: Vec<Event>,
    addrs: Vec<Multiaddr>,
    counts: Arc<Counts>,
    strain: Arc<Strain>,
    /// TCP's: a QUIC listener takes its connections with it when it is closed.
    listeners: Vec<ListenerId>,
    makes_circuits: bool,
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
        strain: Arc<Strain>,
        counts: Arc<Counts>,
    ) -> Result<Self, ListenError> {
        let mut swarm = swarm(key, limits, Arc::clone(&strain), Arc::clone(&counts))?;
        let mut early = Vec::new();
        let (addrs, listeners) = listen::on_all(&mut swarm, addrs, &mut early).await?;
        let makes_circuits = limits.circuits > 0;
        let mut net = Self { swarm, early, addrs, counts, strain, listeners, makes_circuits };
        net.tell(external);
        Ok(net)
    }

    /// Has those who ask for circuits told where the relay is; nobody else is to know of its own
    /// networks.
    fn tell(&mut self, external: &[Multiaddr]) {
        let told: Vec<_> = self.swarm.external_addresses().cloned().collect();
        told.iter().for_each(|addr| self.swarm.remove_external_address(addr));
        let known = if external.is_empty() { &self.addrs } else { external };
        for addr in known.iter().take(EXTERNAL).filter(|_| self.makes_circuits) {
            self.swarm.add_external_address(addr.clone());
        }
    }

    fn answer(&mut self, ask: Ask) {
        // Who asked may have gone.
        let _ = match ask {
            Ask::Beat(done) => done.send(()),
            Ask::Set { limits, external, done } => {
                self.swarm.behaviour_mut().set(&limits);
                self.tell(&external);
                done.send(())
            }
        };
    }

    /// Closes connections, first of those who have most.
    fn shed(&mut self, count: u32) {
        for _ in 0..self.swarm.behaviour_mut().front.shed(count) {
            self.counts.refuse(Why::Shed);
        }
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
    /// to go elsewhere or to come back later, what they had asked for has been answered, and the
    /// ports are free. Who doesn't listen is waited for no longer than [`DRAIN`], and the cluster's patience.
    pub(crate) async fn run(
        mut self,
        service: Arc<LogService>,
        mut asks: mpsc::Receiver<Ask>,
        stop: CancellationToken,
    ) {
        let mut sessions = JoinSet::new();
        for event in std::mem::take(&mut self.early) {
            self.on_event(event, &service, &mut sessions);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ask) = asks.recv() => self.answer(ask),
                count = self.strain.sheds() => self.shed(count),
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
        self.leave(&service, &mut sessions).await;
        sessions.shutdown().await;
        drop(self.swarm);
        listen::released(&self.addrs).await;
    }

    /// Takes no more connections, and waits for the sessions to end.
    async fn leave(&mut self, service: &Arc<LogService>, sessions: &mut JoinSet<ConnectionId>) {
        for listener in std::mem::take(&mut self.listeners) {
            self.swarm.remove_listener(listener);
        }
        self.swarm.behaviour_mut().front.shut();
        if !service.leave(sessions.len()) {
            return;
        }
        let end = tokio::time::sleep(DRAIN + service.patience());
        tokio::pin!(end);
        // Connections without a session have nothing to lose.
        while !sessions.is_empty() {
            tokio::select! {
                () = &mut end => {
                    tracing::warn!(clients = sessions.len(), "leaving clients that don't read");
                    return;
                }
                event = self.swarm.select_next_some() => match event {
                    SwarmEvent::ListenerClosed { .. } => {}
                    event => self.on_event(event, service, sessions),
                },
                Some(ended) = sessions.join_next() => {
                    if let Ok(connection) = ended {
                        self.swarm.close_connection(connection);
                    }
                }
            }
        }
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
                let counts = Arc::clone(&self.counts);
                sessions.spawn(async move {
                    if let Err(ended) = log_service::serve(service, from, stream.compat()).await {
                        if matches!(ended, Ended::Broken) {
                            counts.refuse(Why::Protocol);
                        }
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
            SwarmEvent::Behaviour(BehaviourEvent::Circuits(event)) => self.on_circuit(&event),
            SwarmEvent::ConnectionEstablished { .. } => {
                self.counts.connections.inc();
                self.counts.connections_made.inc();
            }
            SwarmEvent::ConnectionClosed { .. } => {
                self.counts.connections.dec();
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                self.counts.refuse(behaviour::why(error));
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                // What libraries say of it may hold an address.
                let kind = reason.err().map(|error| error.kind());
                tracing::error!(?kind, "a listener was closed");
            }
            SwarmEvent::ListenerError { error, .. } => {
                // One forged packet is enough for it: it is counted, and no line of the log.
                self.counts.refuse(Why::Handshake);
                tracing::debug!(kind = ?error.kind(), "a listener had an error");
            }
            _ => {}
        }
    }
}

impl Net {
    /// Counts circuits, and what is refused of them. (How many stand can't be counted by these: the
    /// end of one whose far side goes first is told twice.)
    fn on_circuit(&self, event: &relay::Event) {
        match event {
            relay::Event::CircuitReqAccepted { .. } => {
                self.counts.circuits.inc();
            }
            relay::Event::CircuitReqDenied { .. } => self.counts.refuse(Why::Circuit),
            relay::Event::ReservationReqDenied { .. } => self.counts.refuse(Why::Reservation),
            _ => {}
        }
    }
}

fn swarm(
    key: Keypair,
    limits: &Limits,
    strain: Arc<Strain>,
    counts: Arc<Counts>,
) -> Result<Swarm<Behaviour>, ListenError> {
    let behaviour = Behaviour::new(key.public(), limits, strain, Arc::clone(&counts));
    let (streams, pacing) = (streams(limits), Pacing::new(limits, counts));
    let also = pacing.clone();
    let silent = limits.ping_interval.saturating_add(limits.ping_timeout);
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| quic(key, streams, pacing))
        .map_err(|_| ListenError::Transport)?
        .with_other_transport(|key| tcp(key, Narrow::new(streams, silent), also))
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

type Made = Boxed<(PeerId, StreamMuxerBox)>;

fn quic(key: &Keypair, streams: usize, pacing: Pacing) -> Made {
    let mut config = quic::Config::new(key);
    config.max_concurrent_stream_limit = u32::try_from(streams).unwrap_or(u32::MAX);
    // As over TCP: what one stream leaves unread does not keep the others waiting.
    config.max_stream_data = 1 << 18;
    config.max_connection_data = 2 << 20;
    quic::tokio::Transport::new(config).map(move |made, _| paced(made, &pacing)).boxed()
}

/// TCP, with WebSocket on the same port; Noise and Yamux on either.
fn tcp(
    key: &Keypair,
    narrow: Narrow,
    pacing: Pacing,
) -> Result<Made, Box<dyn std::error::Error + Send + Sync>> {
    let config = tcp::Config::new().nodelay(true).listen_backlog(BACKLOG);
    let tcp = tcp::tokio::Transport::new(config)
        .and_then(|socket, _| front_door::enter(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(narrow)
        .map(move |made, _| paced(made, &pacing))
        .boxed();
    Ok(tcp)
}

fn paced<M>((peer, muxer): (PeerId, M), pacing: &Pacing) -> (PeerId, StreamMuxerBox)
where
    M: StreamMuxer + Send + Unpin + 'static,
    M::Substream: Send + 'static,
    M::Error: Send + Sync + 'static,
{
    (peer, StreamMuxerBox::new(Paced::new(muxer, pacing)))
}
