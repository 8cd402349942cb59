//! Circuits between clients: libp2p's relay, and how many of them stand for each address.
//!
//! > libp2p asks its limiters first, and then denies circuits to those who reserved nothing. So what it
//! > does about each thing that a connection says is looked at: whom it tells of it, and how that ended.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    relay,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};

use super::{bucket::Buckets, crowd::address, standing::Standing};
use crate::limits::Limits;

/// libp2p's relay, with what it does counted.
pub(super) struct Circuits {
    inner: relay::Behaviour,
    counted: Arc<Mutex<Counted>>,
    actions: VecDeque<Action>,
}

type Action = ToSwarm<relay::Event, THandlerInEvent<relay::Behaviour>>;

/// Shared with the limiter that libp2p asks last.
struct Counted {
    standing: Standing,
    /// Who has each connection: libp2p names who asks where it tells the other side.
    peers: HashMap<ConnectionId, PeerId>,
    /// From where the circuit is asked for that libp2p has just been let grant.
    passed: Option<Option<IpAddr>>,
}

impl Circuits {
    /// A reservation lasts as long as its connection, which ends when the client answers no ping: one
    /// that ran out while it was being renewed could end the relay.
    pub(super) fn new(me: PeerId, limits: &Limits) -> Self {
        const YEAR: Duration = Duration::from_hours(365 * 24);
        let standing = Standing::new(limits);
        let counted = Counted { standing, peers: HashMap::new(), passed: None };
        let counted = Arc::new(Mutex::new(counted));
        let mut config = relay::Config {
            max_reservations: limits.reservations as usize,
            max_reservations_per_peer: 1,
            reservation_duration: YEAR,
            reservation_rate_limiters: Vec::new(),
            // They are counted here: libp2p counts those of a client to itself, too.
            max_circuits: usize::MAX,
            // libp2p lets one more pass than it is told.
            max_circuits_per_peer: (limits.circuits_per_peer as usize).saturating_sub(1),
            max_circuit_duration: limits.circuit_time.min(YEAR),
            max_circuit_bytes: limits.circuit_bytes.max(1),
            circuit_src_rate_limiters: Vec::new(),
        };
        if limits.circuits_per_min > 0 {
            config.reservation_rate_limiters.push(asked(limits.circuits_per_min));
            config.circuit_src_rate_limiters.push(asked(limits.circuits_per_min));
        }
        config.circuit_src_rate_limiters.push(has_room(&counted));
        let mut inner = relay::Behaviour::new(me, config);
        let is_off = limits.circuits == 0;
        let status = if is_off { relay::Status::Disable } else { relay::Status::Enable };
        inner.set_status(Some(status));
        Self { inner, counted, actions: VecDeque::new() }
    }

    /// Takes over what libp2p wants done.
    fn take(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(action) = self.inner.poll(&mut cx) {
            self.actions.push_back(action);
        }
    }
}

/// So many a minute from one address.
fn asked(a_minute: u32) -> Box<dyn relay::RateLimiter> {
    let mut buckets = Buckets::new(a_minute, Duration::from_mins(1));
    Box::new(move |_: PeerId, from: &Multiaddr, now: Instant| buckets.take(from, now))
}

/// As many as may stand.
fn has_room(counted: &Arc<Mutex<Counted>>) -> Box<dyn relay::RateLimiter> {
    let counted = Arc::clone(counted);
    Box::new(move |_: PeerId, from: &Multiaddr, _: Instant| {
        let (mut counted, from) = (lock(&counted), address(from));
        let has_room = counted.standing.has_room(from);
        counted.passed = has_room.then_some(from);
        has_room
    })
}

impl Counted {
    /// Takes what libp2p did about what the handler of a connection said.
    #[expect(deprecated, reason = "nothing else says so")]
    fn done<'a>(&mut self, by: ConnectionId, actions: impl Iterator<Item = &'a Action>) {
        let (mut told, mut has_failed) = (None, false);
        for action in actions {
            match action {
                ToSwarm::NotifyHandler { handler: NotifyHandler::One(other), .. } => {
                    told = Some(*other);
                }
                ToSwarm::GenerateEvent(event) => match event {
                    relay::Event::CircuitReqOutboundConnectFailed { .. } => has_failed = true,
                    // Said once by the handler of whoever asked, also of what libp2p itself has forgotten.
                    relay::Event::CircuitClosed { src_peer_id, dst_peer_id, .. }
                    | relay::Event::CircuitReqAcceptFailed { src_peer_id, dst_peer_id, .. }
                        if src_peer_id != dst_peer_id =>
                    {
                        self.standing.ended(by);
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        match (self.passed.take(), told.filter(|other| *other != by)) {
            // Whoever asks is told itself where it is denied. (Or is the other side as well: what a
            // client has with itself takes no place from anybody, by whichever of its connections.)
            (Some(from), Some(to)) if self.peers.get(&by) != self.peers.get(&to) => {
                self.standing.begins(by, from, to);
            }
            (None, Some(asker)) if self.standing.answered(asker, by) && has_failed => {
                self.standing.ended(asker);
            }
            _ => {}
        }
    }
}

impl NetworkBehaviour for Circuits {
    type ConnectionHandler = THandler<relay::Behaviour>;
    type ToSwarm = relay::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        here: &Multiaddr,
        from: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, here, from)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(new) => {
                lock(&self.counted).peers.insert(new.connection_id, new.peer_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                let mut counted = lock(&self.counted);
                counted.peers.remove(&closed.connection_id);
                counted.standing.gone(closed.connection_id);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.take();
        let before = self.actions.len();
        self.inner.on_connection_handler_event(peer, connection, event);
        self.take();
        lock(&self.counted).done(connection, self.actions.range(before..));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Action> {
        match self.actions.pop_front() {
            Some(action) => Poll::Ready(action),
            None => self.inner.poll(cx),
        }
    }
}

fn lock(counted: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}
