//! Pings: libp2p's of clients, and theirs answered at a pace.
//!
//! > libp2p answers each, 32 bytes in a packet of their own, as fast as they come: the dearest that a client
//! > could have done for what it sends. Those that are too fast wait, unread.

use std::{
    convert::Infallible,
    io,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    ping,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};

use crate::{limits::PINGS, pace::Pace};

/// libp2p's pings.
pub(super) struct Pings(ping::Behaviour);

impl Pings {
    pub(super) fn new(config: ping::Config) -> Self {
        Self(ping::Behaviour::new(config))
    }
}

impl NetworkBehaviour for Pings {
    type ConnectionHandler = Handler;
    type ToSwarm = ping::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        here: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let made = self.0.handle_established_inbound_connection(connection, peer, here, from);
        made.map(Handler::new)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let made =
            self.0.handle_established_outbound_connection(connection, peer, addr, role, port);
        made.map(Handler::new)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.0.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<ping::Event, THandlerInEvent<Self>>> {
        self.0.poll(cx)
    }
}

/// One connection: libp2p's handler pings, and does not answer.
pub(super) struct Handler {
    inner: Inner,
    /// Answers on the stream that the client opened last.
    answers: Option<BoxFuture<'static, io::Result<Infallible>>>,
}

type Inner = THandler<ping::Behaviour>;

impl Handler {
    fn new(inner: Inner) -> Self {
        Self { inner, answers: None }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = <Inner as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        self.inner.listen_protocol()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if self.answers.as_mut().is_some_and(|answers| answers.poll_unpin(cx).is_ready()) {
            self.answers = None;
        }
        self.inner.poll(cx)
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: mut stream,
                ..
            }) => {
                stream.ignore_for_keep_alive();
                self.answers = Some(answer(stream).boxed());
            }
            event => self.inner.on_connection_event(event),
        }
    }
}

async fn answer(mut stream: Stream) -> io::Result<Infallible> {
    let mut pace = Pace::new(1, PINGS, Instant::now());
    loop {
        let mut ping = [0; 32];
        stream.read_exact(&mut ping).await?;
        let wait = pace.take(1, Instant::now());
        if wait > Duration::ZERO {
            tokio::time::sleep(wait).await;
        }
        stream.write_all(&ping).await?;
        stream.flush().await?;
    }
}
