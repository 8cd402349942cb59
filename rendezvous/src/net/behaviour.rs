//! What a relay speaks on a connection: Identify, Ping, circuits, and the log service's stream.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    identify,
    identity::PublicKey,
    ping,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
        FromSwarm, ListenError, NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};
use protocol::relay_log::PROTOCOL;

use super::{
    circuits::Circuits,
    crowd::{Crowd, Place, TooMany},
    pings::Pings,
};
use crate::{
    limits::Limits,
    strain::Strain,
    watch::{Counts, Why},
};

/// All of it. Who counts connections comes first: what is refused costs nothing more.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) front: Front,
    identify: identify::Behaviour,
    ping: Pings,
    circuits: Circuits,
}

impl Behaviour {
    pub(super) fn new(
        key: PublicKey,
        limits: &Limits,
        strain: Arc<Strain>,
        counts: Arc<Counts>,
    ) -> Self {
        let identify = identify::Config::new("/wattle/1".into(), key.clone())
            .with_agent_version("wattle-relay".into())
            .with_hide_listen_addrs(true)
            .with_push_listen_addr_updates(false)
            .with_cache_size(0);
        let ping = ping::Config::new()
            .with_interval(limits.ping_interval)
            .with_timeout(limits.ping_timeout);
        Self {
            front: Front::new(limits, strain, counts),
            identify: identify::Behaviour::new(identify),
            ping: Pings::new(ping),
            circuits: Circuits::new(key.to_peer_id(), limits),
        }
    }

    /// Counts connections that come by other limits. Those of pings and circuits can't change.
    pub(super) fn set(&mut self, limits: &Limits) {
        self.front.crowd.set(limits);
    }
}

/// Counts connections, and hands out the one stream of each.
pub(super) struct Front {
    crowd: Crowd,
    streams: VecDeque<Opened>,
    strain: Arc<Strain>,
    counts: Arc<Counts>,
    is_shut: bool,
}

/// A client opened its stream.
#[derive(Debug)]
pub(super) struct Opened {
    /// To be closed when the stream has ended.
    pub(super) connection: ConnectionId,
    /// Whom the connection is counted to.
    pub(super) from: Option<IpAddr>,
    /// The stream.
    pub(super) stream: Stream,
}

/// Something is nearly used up.
#[derive(Debug, thiserror::Error)]
#[error("no more connections are taken")]
struct Strained(Why);

/// Why a connection was not made.
pub(super) fn why(error: ListenError) -> Why {
    let ListenError::Denied { cause } = error else { return Why::Handshake };
    let cause = match cause.downcast::<Strained>() {
        Ok(Strained(why)) => return why,
        Err(cause) => cause,
    };
    match cause.downcast::<TooMany>() {
        Ok(TooMany::OfAddress) => Why::ConnectionsOfAddress,
        Ok(TooMany::InAll) => Why::Connections,
        Err(_) => Why::Handshake,
    }
}

impl Front {
    fn new(limits: &Limits, strain: Arc<Strain>, counts: Arc<Counts>) -> Self {
        let (crowd, streams) = (Crowd::new(limits), VecDeque::new());
        Self { crowd, streams, strain, counts, is_shut: false }
    }

    /// Has so many connections closed, first of those who have most; answers of how many.
    pub(super) fn shed(&mut self, count: u32) -> u32 {
        self.crowd.shed(count)
    }

    /// Takes no more connections: the relay is about to end.
    pub(super) fn shut(&mut self) {
        self.is_shut = true;
    }
}

impl NetworkBehaviour for Front {
    type ConnectionHandler = Door;
    type ToSwarm = Opened;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        if let Some(why) = self.strain.refuses() {
            return Err(ConnectionDenied::new(Strained(why)));
        }
        if self.is_shut {
            return Err(ConnectionDenied::new(TooMany::InAll));
        }
        self.crowd.begins(connection, from).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if self.crowd.made(connection, peer).map_err(ConnectionDenied::new)? == Place::Cleared {
            self.counts.refuse(Why::ConnectionsOfAddress);
        }
        Ok(Door::default())
    }

    /// A relay calls nobody.
    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Err(ConnectionDenied::new(TooMany::InAll))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Door::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.crowd.forget(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.crowd.forget(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        stream: THandlerOutEvent<Self>,
    ) {
        let from = self.crowd.from(connection);
        self.streams.push_back(Opened { connection, from, stream });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.crowd.leaving() {
            let connection = CloseConnection::One(connection);
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
        }
        match self.streams.pop_front() {
            Some(opened) => Poll::Ready(ToSwarm::GenerateEvent(opened)),
            None => Poll::Pending,
        }
    }
}

/// One connection: its first stream goes through, any other is reset.
#[derive(Default)]
pub(super) struct Door {
    state: DoorState,
}

#[derive(Default)]
enum DoorState {
    #[default]
    Open,
    Entered(Stream),
    Shut,
}

impl ConnectionHandler for Door {
    type FromBehaviour = Infallible;
    type ToBehaviour = Stream;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new(PROTOCOL)), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Stream>> {
        match std::mem::replace(&mut self.state, DoorState::Shut) {
            DoorState::Entered(stream) => {
                Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(stream))
            }
            state => {
                self.state = state;
                Poll::Pending
            }
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        if let ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
            protocol: stream,
            ..
        }) = event
            && matches!(self.state, DoorState::Open)
        {
            self.state = DoorState::Entered(stream);
        }
    }
}
