//! Streams, each on a connection that the caller names.
//!
//! > A stream is opened on one connection and handed over with it, so the caller always knows which
//! > connection stands or falls with which channel. What nobody asked for is dropped with its
//! > connection.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, InboundUpgrade, OutboundUpgrade, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A channel between members.
    Channel,
    /// The redeeming of an invite.
    Join,
    /// A file that is fetched.
    File,
    /// Nothing: nobody takes such a stream, and that it is refused is a sign of life.
    Sign,
}

/// A stream, or that there is none.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// The other side opened one.
    Inbound { connection: ConnectionId, purpose: Purpose, stream: Stream },
    /// [`Streams::open`] has ended. Where the connection closes first this never comes.
    Opened { ticket: u64, stream: Option<Stream> },
}

#[derive(Default)]
pub(super) struct Streams {
    queue: VecDeque<ToSwarm<StreamEvent, Open>>,
}

/// Asks a connection's handler for a stream.
#[derive(Debug)]
pub(super) struct Open {
    purpose: Purpose,
    ticket: u64,
}

pub(super) struct Handler {
    connection: ConnectionId,
    wanted: VecDeque<Open>,
    events: VecDeque<StreamEvent>,
}

/// Which protocols to negotiate.
#[derive(Clone)]
pub(super) struct Upgrade(&'static [Purpose]);

/// What nobody speaks.
pub(super) const SIGN: StreamProtocol = StreamProtocol::new("/wattle/sign/1");

/// What others may open.
const TAKEN: &[Purpose] = &[Purpose::Channel, Purpose::Join, Purpose::File];

impl Streams {
    /// Opens a stream on a connection; the ticket comes back in [`StreamEvent::Opened`].
    pub(super) fn open(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        purpose: Purpose,
        ticket: u64,
    ) {
        self.queue.push_back(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event: Open { purpose, ticket },
        });
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(connection))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Handler {
    fn new(connection: ConnectionId) -> Self {
        Self { connection, wanted: VecDeque::new(), events: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = StreamEvent;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = u64;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(Upgrade(TAKEN), ())
    }

    fn connection_keep_alive(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Upgrade, u64, StreamEvent>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        let Some(Open { purpose, ticket }) = self.wanted.pop_front() else {
            return Poll::Pending;
        };
        let protocol = SubstreamProtocol::new(Upgrade(purpose.alone()), ticket);
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
    }

    fn on_behaviour_event(&mut self, open: Open) {
        self.wanted.push_back(open);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Upgrade, Upgrade, (), u64>) {
        let event = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (purpose, stream),
                info: (),
            }) => StreamEvent::Inbound { connection: self.connection, purpose, stream },
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (_, stream),
                info: ticket,
            }) => StreamEvent::Opened { ticket, stream: Some(stream) },
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: ticket, .. }) => {
                StreamEvent::Opened { ticket, stream: None }
            }
            _ => return,
        };
        self.events.push_back(event);
    }
}

impl Purpose {
    const fn alone(self) -> &'static [Self] {
        match self {
            Self::Channel => &[Self::Channel],
            Self::Join => &[Self::Join],
            Self::File => &[Self::File],
            Self::Sign => &[Self::Sign],
        }
    }

    const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Channel => StreamProtocol::new("/wattle/channel/1"),
            Self::Join => StreamProtocol::new("/wattle/join/1"),
            Self::File => StreamProtocol::new("/wattle/file/1"),
            Self::Sign => SIGN,
        }
    }
}

/// A purpose with the name under which it is negotiated.
#[derive(Clone)]
pub(super) struct Named(Purpose, StreamProtocol);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for Upgrade {
    type Info = Named;
    type InfoIter = std::iter::Map<std::slice::Iter<'static, Purpose>, fn(&Purpose) -> Named>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().map(|purpose| Named(*purpose, purpose.protocol()))
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Purpose, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.0, stream)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Purpose, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.0, stream)))
    }
}
