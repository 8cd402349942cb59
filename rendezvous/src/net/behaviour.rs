//! What a relay speaks on a connection: Identify, Ping, circuits, and the log service's stream.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    connection_limits::{self, ConnectionLimits},
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    identify,
    identity::PublicKey,
    multiaddr::Protocol,
    ping, relay,
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        ListenError, NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, FullyNegotiatedInbound},
    },
};
use protocol::relay_log::PROTOCOL;

use crate::{limits::Limits, strain::Strain, watch::Why};

/// All of it. The limits come first: what they refuse costs nothing more.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) front: Front,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) circuits: relay::Behaviour,
}

impl Behaviour {
    pub(super) fn new(key: PublicKey, limits: &Limits, strain: Arc<Strain>) -> Self {
        let identify = identify::Config::new("/wattle/1".into(), key.clone())
            .with_agent_version("wattle-relay".into())
            .with_hide_listen_addrs(true)
            .with_push_listen_addr_updates(false)
            .with_cache_size(0);
        let ping = ping::Config::new()
            .with_interval(limits.ping_interval)
            .with_timeout(limits.ping_timeout);
        Self {
            limits: connection_limits::Behaviour::new(connections(limits)),
            front: Front::new(limits.per_ip, limits.handshakes_per_ip, strain),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            circuits: circuits(key.to_peer_id(), limits),
        }
    }

    /// Counts connections that come by other limits. Those of pings and circuits can't change.
    pub(super) fn set(&mut self, limits: &Limits) {
        *self.limits.limits_mut() = connections(limits);
        (self.front.per_ip, self.front.handshakes_per_ip) =
            (limits.per_ip, limits.handshakes_per_ip);
    }
}

fn connections(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.handshakes))
        .with_max_established_incoming(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.per_peer))
        .with_max_pending_outgoing(Some(0))
}

/// Circuits between clients. A reservation lasts as long as its connection, which ends when the client
/// answers no ping: one that ran out while it was being renewed could end the relay.
fn circuits(me: PeerId, limits: &Limits) -> relay::Behaviour {
    const YEAR: Duration = Duration::from_hours(365 * 24);
    // libp2p lets one more pass than it is told.
    let per_peer = (limits.circuits_per_peer as usize).saturating_sub(1);
    let mut config = relay::Config {
        max_reservations: limits.reservations as usize,
        max_reservations_per_peer: 1,
        reservation_duration: YEAR,
        reservation_rate_limiters: Vec::new(),
        max_circuits: limits.circuits as usize,
        max_circuits_per_peer: per_peer,
        max_circuit_duration: limits.circuit_time.min(YEAR),
        max_circuit_bytes: limits.circuit_bytes.max(1),
        circuit_src_rate_limiters: Vec::new(),
    };
    if let Some(each) = NonZeroU32::new(limits.circuits_per_min) {
        let every = Duration::from_mins(1) / each.get();
        config = config.reservation_rate_per_ip(each, every).circuit_src_per_ip(each, every);
    }
    let mut circuits = relay::Behaviour::new(me, config);
    let status = if limits.circuits == 0 { relay::Status::Disable } else { relay::Status::Enable };
    circuits.set_status(Some(status));
    circuits
}

/// Counts connections by address, and hands out the one stream of each connection.
pub(super) struct Front {
    per_ip: u32,
    handshakes_per_ip: u32,
    connections: HashMap<ConnectionId, Caller>,
    counts: HashMap<IpAddr, Count>,
    streams: VecDeque<Opened>,
    strain: Arc<Strain>,
    is_shut: bool,
}

struct Caller {
    block: IpAddr,
    is_known: bool,
}

/// Connections from one address, and how many of them are still being made.
#[derive(Default)]
struct Count {
    all: u32,
    handshakes: u32,
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

/// As many connections from one address as may be.
#[derive(Debug, thiserror::Error)]
#[error("too many connections from this address")]
struct TooMany;

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
        Ok(TooMany) => Why::ConnectionsOfAddress,
        Err(cause) => match cause.downcast::<connection_limits::Exceeded>() {
            Ok(_) => Why::Connections,
            Err(_) => Why::Handshake,
        },
    }
}

impl Front {
    fn new(per_ip: u32, handshakes_per_ip: u32, strain: Arc<Strain>) -> Self {
        Self {
            per_ip,
            handshakes_per_ip,
            connections: HashMap::new(),
            counts: HashMap::new(),
            streams: VecDeque::new(),
            strain,
            is_shut: false,
        }
    }

    /// Takes no more connections: the relay is about to end.
    pub(super) fn shut(&mut self) {
        self.is_shut = true;
    }

    fn count(&mut self, connection: ConnectionId, from: &Multiaddr) -> Result<(), TooMany> {
        let Some(block) = block(from) else { return Ok(()) };
        let (all, handshakes) =
            self.counts.get(&block).map_or((0, 0), |count| (count.all, count.handshakes));
        if self.is_shut || all >= self.per_ip || handshakes >= self.handshakes_per_ip {
            return Err(TooMany);
        }
        self.counts.insert(block, Count { all: all + 1, handshakes: handshakes + 1 });
        self.connections.insert(connection, Caller { block, is_known: false });
        Ok(())
    }

    /// The connection is made: its handshake counts no more.
    fn made(&mut self, connection: ConnectionId) {
        let caller = self.connections.get_mut(&connection).filter(|caller| !caller.is_known);
        let Some(caller) = caller else { return };
        caller.is_known = true;
        if let Some(count) = self.counts.get_mut(&caller.block) {
            count.handshakes -= 1;
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.made(connection);
        let Some(Caller { block, .. }) = self.connections.remove(&connection) else { return };
        if let Some(count) = self.counts.get_mut(&block) {
            count.all -= 1;
            if count.all == 0 {
                self.counts.remove(&block);
            }
        }
    }
}

/// Whom a connection is counted to: an IPv4 address, or the /64 of an IPv6 one.
fn block(addr: &Multiaddr) -> Option<IpAddr> {
    addr.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(match ip.to_ipv4_mapped() {
            Some(ip) => ip.into(),
            None => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        }),
        _ => None,
    })
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
        self.count(connection, from).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Door::default())
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
            FromSwarm::ConnectionEstablished(made) => self.made(made.connection_id),
            FromSwarm::ConnectionClosed(closed) => self.forget(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        connection: ConnectionId,
        stream: THandlerOutEvent<Self>,
    ) {
        let from = self.connections.get(&connection).map(|caller| caller.block);
        self.streams.push_back(Opened { connection, from, stream });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Opened, THandlerInEvent<Self>>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let mut front = Front::new(2, 9, Arc::default());
        let here: Multiaddr = "/ip6/2001:db8::1/tcp/1".parse().unwrap();
        let near: Multiaddr = "/ip6/2001:db8::2/udp/1/quic-v1".parse().unwrap();
        let far: Multiaddr = "/ip6/2001:db8:0:1::1/tcp/1".parse().unwrap();
        let [one, two, three] = [1, 2, 3].map(ConnectionId::new_unchecked);
        assert!(front.count(one, &here).is_ok());
        assert!(front.count(two, &near).is_ok());
        assert!(front.count(three, &here).is_err());
        assert!(front.count(three, &far).is_ok());
        for connection in [one, two, two, three] {
            front.forget(connection);
        }
        assert!(front.connections.is_empty() && front.counts.is_empty());
    }

    #[test]
    fn an_address_that_finishes_no_handshake_leaves_room_for_others() {
        let mut front = Front::new(9, 1, Arc::default());
        let (here, far) = ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1");
        let (here, far) = (here.parse().unwrap(), far.parse().unwrap());
        let [one, two, three] = [1, 2, 3].map(ConnectionId::new_unchecked);
        assert!(front.count(one, &here).is_ok());
        assert!(front.count(two, &here).is_err());
        assert!(front.count(three, &far).is_ok());
        front.made(one);
        assert!(front.count(two, &here).is_ok());
        front.forget(two);
        assert!(front.count(two, &here).is_ok());
        for connection in [one, two, three] {
            front.forget(connection);
        }
        assert!(front.connections.is_empty() && front.counts.is_empty());
    }
}
