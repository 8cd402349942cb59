//! The swarm's task: one loop, which waits for commands, the swarm, the streams' tasks and time.
//!
//! > Nothing in the loop waits for anything else: reports that the caller has not yet taken stand
//! > in a queue, and while it is not empty the loop takes commands only.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    swarm::{ConnectionId, SwarmEvent},
};
use protocol::{ids::MemberId, noise::NoiseKey};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Config, Mesh, MeshCommand, MeshReport, SpawnError, Via,
    dials::{Dial, Wanted},
    outers::{On, Outers},
    outside::{Answer, Outlook},
};
use crate::net::{
    beat::Beat,
    behaviour::{self, Behaviour, BehaviourEvent},
    book::{self, Book},
    channel::{self, ChannelEvent, Local},
    dial::Dialer,
    file::FileStream,
    gate::Joins,
    join::JoinEnded,
    lan::{self, Lan, LanEvent},
    listen, node_key,
    reach::Reach,
    streams::{Purpose, StreamEvent},
};

/// The swarm and all that is known of its connections.
pub(super) struct Run {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) outers: Outers,
    pub(super) local: Arc<Local>,
    pub(super) dialer: Dialer,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// What the dials under way are for.
    pub(super) dials: BTreeMap<ConnectionId, Dial>,
    /// What the streams being opened are for, and on which connection.
    pub(super) tickets: BTreeMap<u64, (ConnectionId, Wanted)>,
    /// Signs of life that are waited for.
    pub(super) signs: BTreeMap<u64, super::change::Sign>,
    /// Channels in their handshake, by task.
    pub(super) shaking: BTreeMap<u64, super::members::Shaking>,
    /// Channels that stand.
    pub(super) channels: BTreeMap<MemberId, super::members::Channel>,
    /// On which connection the tasks of ended or standing channels run.
    pub(super) tasks: BTreeMap<u64, ConnectionId>,
    pub(super) joins: BTreeMap<u64, super::joins::Join>,
    /// Streams for files that are being opened.
    pub(super) opening: BTreeMap<u64, super::files::Opening>,
    /// Takes those that others opened.
    pub(super) fetchers: mpsc::Sender<FileStream>,
    pub(super) probes: super::probes::Probes,
    pub(super) reports: mpsc::Sender<MeshReport>,
    pub(super) channel_events: mpsc::Sender<ChannelEvent>,
    pub(super) join_events: mpsc::Sender<JoinEnded>,
    pub(super) reach: Reach,
    /// Tells whom to look for on the local networks, where that is done.
    pub(super) lan: Option<watch::Sender<lan::Wanted>>,
    pub(super) inviters: BTreeMap<PeerId, super::lan::Inviter>,
    pub(super) outlook: Outlook,
    /// Whether that may have changed.
    pub(super) looks: bool,
    pub(super) waiting: VecDeque<(MeshReport, Option<oneshot::Sender<()>>)>,
    pub(super) listening: BTreeSet<Multiaddr>,
    /// When the addresses have stood still for long enough to be told.
    settled: Option<Instant>,
    numbers: u64,
    /// Whether what is to be done for the time's sake may have changed.
    pub(super) touched: bool,
}

/// A connection that stands.
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    pub(super) via: Via,
    pub(super) on: On,
    /// Streams on it that have a task.
    pub(super) streams: u32,
    /// How long the last ping took, there and back.
    pub(super) latency: Option<Duration>,
    /// What came on its streams, and when.
    pub(super) beat: Arc<Beat>,
    /// When a peer that no card names has to be gone.
    expires: Option<Instant>,
}

/// Commands and reports that may wait.
const QUEUE: usize = 256;
/// How long a peer that no card names may stay.
const STRANGER: Duration = Duration::from_secs(60);
/// How long the listening addresses must stand still before they are told.
const SETTLE: Duration = Duration::from_millis(100);
/// How long the end may take.
const LEAVE: Duration = Duration::from_millis(500);
/// A key is replaced this long before its certificate ends.
const RENEW_MS: u64 = 24 * 60 * 60 * 1000;

/// What the tasks beside the loop tell it.
pub(super) struct Inboxes {
    channels: mpsc::Receiver<ChannelEvent>,
    joins: mpsc::Receiver<JoinEnded>,
    lan: mpsc::Receiver<LanEvent>,
    outlooks: mpsc::Receiver<Answer>,
}

pub(super) fn spawn(config: Config) -> Result<Mesh, SpawnError> {
    let (run, inboxes, reports) = Run::new(config)?;
    let (commands, taken) = mpsc::channel(QUEUE);
    let task = tokio::spawn(run.run(taken, inboxes));
    Ok(Mesh { commands, reports, task })
}

impl Run {
    /// Listens, and knows nobody yet.
    pub(super) fn new(
        config: Config,
    ) -> Result<(Self, Inboxes, mpsc::Receiver<MeshReport>), SpawnError> {
        let Config { seed, listen, port, reach, mdns, meets, me, clock, fetchers } = config;
        let key = node_key(&seed).ok_or(SpawnError::Transport)?;
        let mut rng = channel::rng().ok_or(SpawnError::Transport)?;
        let mut swarm = behaviour::swarm(key)?;
        swarm.behaviour_mut().gate.set_reach(reach);
        listen::listen(&mut swarm, &listen, port)?;
        let outers = Outers::new(meets, reach, &listen, Instant::now());
        let mut waiting = VecDeque::new();
        let lan = match mdns {
            true => Some(lan::spawn(&seed, channel::rng().ok_or(SpawnError::Transport)?)),
            false => None,
        };
        let (lan, lan_inbox) = match lan {
            Some(Ok(Lan { wanted, events })) => (Some(wanted), events),
            Some(Err(trouble)) => {
                let report = MeshReport::Lan { networks: Vec::new(), trouble: Some(trouble) };
                waiting.push_back((report, None));
                (None, mpsc::channel(1).1)
            }
            None => (None, mpsc::channel(1).1),
        };
        let noise = NoiseKey::generate(&me, clock(), &mut rng);
        let (reports, given) = mpsc::channel(QUEUE);
        let (channel_events, channels) = mpsc::channel(QUEUE);
        let (join_events, joins) = mpsc::channel(QUEUE);
        let (outlook, outlooks) = Outlook::new();
        let run = Self {
            swarm,
            outers,
            dialer: Dialer::new(me.member(), clock, rng),
            local: Arc::new(Local { endpoint: me, key: noise, clock }),
            connections: BTreeMap::new(),
            dials: BTreeMap::new(),
            tickets: BTreeMap::new(),
            signs: BTreeMap::new(),
            shaking: BTreeMap::new(),
            channels: BTreeMap::new(),
            tasks: BTreeMap::new(),
            joins: BTreeMap::new(),
            opening: BTreeMap::new(),
            fetchers,
            probes: super::probes::Probes::default(),
            reports,
            channel_events,
            join_events,
            reach,
            lan,
            inviters: BTreeMap::new(),
            outlook,
            looks: true,
            waiting,
            listening: BTreeSet::new(),
            settled: None,
            numbers: 0,
            touched: true,
        };
        Ok((run, Inboxes { channels, joins, lan: lan_inbox, outlooks }, given))
    }

    async fn run(mut self, mut commands: mpsc::Receiver<MeshCommand>, inboxes: Inboxes) {
        let Inboxes { mut channels, mut joins, mut lan, mut outlooks } = inboxes;
        let mut next = None;
        loop {
            if std::mem::take(&mut self.touched) {
                self.on_time(Instant::now());
                next = self.next();
            }
            let reports = self.reports.clone();
            let free = self.waiting.is_empty();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return self.leave().await,
                },
                permit = reports.reserve(), if !free => match permit {
                    Ok(permit) => self.give(permit),
                    Err(_) => return,
                },
                event = self.swarm.select_next_some(), if free => self.on_swarm(event),
                Some(event) = channels.recv(), if free => self.on_channel(event),
                Some(JoinEnded(number)) = joins.recv(), if free => self.on_join_ended(number),
                Some(event) = lan.recv(), if free => self.on_lan(event),
                Some(answer) = outlooks.recv(), if free => self.on_outside(answer),
                (on, event) = self.outers.next(), if free => self.on_outer(on, event),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if free && next.is_some() => {
                    self.touched = true;
                }
            }
        }
    }

    /// Takes leave of everybody, so that they know at once.
    async fn leave(mut self) {
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.close(id);
        }
        let left = async {
            while !self.connections.is_empty() {
                let event = tokio::select! {
                    event = self.swarm.select_next_some() => event,
                    (_, event) = self.outers.next() => event,
                };
                if let SwarmEvent::ConnectionClosed { connection_id, .. } = event {
                    self.connections.remove(&connection_id);
                }
            }
        };
        let _ = timeout(LEAVE, left).await;
    }

    fn give(&mut self, permit: mpsc::Permit<'_, MeshReport>) {
        if let Some((report, go)) = self.waiting.pop_front() {
            permit.send(report);
            // Where the task is gone already, its end follows.
            let _ = go.map(|go| go.send(()));
        }
    }

    pub(super) fn report(&mut self, report: MeshReport) {
        self.waiting.push_back((report, None));
    }

    /// Reports, and lets a stream's task go on once the report has been handed over.
    pub(super) fn report_and_go(&mut self, report: MeshReport, go: oneshot::Sender<()>) {
        self.waiting.push_back((report, Some(go)));
    }

    fn command(&mut self, command: MeshCommand) {
        self.touched |= !matches!(command, MeshCommand::Channel { .. });
        match command {
            MeshCommand::Book(mut entries) => {
                entries.retain(|entry| entry.member != self.local.endpoint.member());
                for entry in &mut entries {
                    entry.addresses.retain(|address| self.reach.allows_bytes(address));
                }
                self.set_book(Book::new(entries));
            }
            MeshCommand::OpenForJoins(open) => {
                let joins = if open { Joins::Open } else { Joins::Closed };
                self.swarm.behaviour_mut().gate.set_joins(joins);
            }
            MeshCommand::Changed(change) => self.on_change(&change),
            MeshCommand::Look(relay) => self.look_outside(relay),
            MeshCommand::Unlook(relay) => self.leave_outside(&relay),
            MeshCommand::Channel { to, frame } => self.send(to, frame),
            MeshCommand::Probe { ticket, member } => self.probe(ticket, member),
            MeshCommand::FileOpen { member, answer } => self.open_file(member, answer),
            MeshCommand::JoinDial { stream, addresses } => self.join_dial(stream, addresses),
            MeshCommand::JoinSend { stream, frame } => self.join_send(stream, frame),
            MeshCommand::JoinClose { stream } => self.join_close(stream),
        }
    }

    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.touched = true;
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping)) => {
                // Otherwise its answer may wait behind what was written. Who is gone is silent, and its connection ends by that.
                if let Ok(took) = ping.result {
                    self.on_latency(ping.connection, took);
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let (address, _) = book::split(endpoint.get_remote_address().clone());
                self.on_connected(connection_id, peer_id, address, On::Main);
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => self.on_closed(connection_id),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_error(connection_id, &error);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.listening.insert(address);
                self.looks = true;
                self.settled = Some(Instant::now() + SETTLE);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listening.remove(&address);
                self.looks = true;
                self.settled = Some(Instant::now() + SETTLE);
            }
            _ => {}
        }
    }

    pub(super) fn on_connected(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: Multiaddr,
        on: On,
    ) {
        let dial = self.dials.remove(&id);
        let stranger = dial.is_none() && !self.swarm.behaviour().gate.book().knows(&peer);
        let expires = stranger.then(|| Instant::now() + STRANGER);
        let via = self.via(dial.as_ref(), &address);
        let beat = Arc::new(Beat::new(Instant::now()));
        let latency = None;
        let connection = Connection { peer, address, via, on, streams: 0, latency, beat, expires };
        self.connections.insert(id, connection);
        match dial.map(|dial| dial.wanted) {
            Some(Wanted::Channel(member)) if self.channels.contains_key(&member) => {
                self.close(id);
            }
            Some(Wanted::Probe(number)) => self.probe_connected(number, id),
            Some(wanted) => self.open(id, peer, wanted),
            None => {}
        }
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
        self.signs.retain(|_, sign| sign.of != id);
        self.probe_lost(id);
        let lost: Vec<u64> =
            self.tickets.iter().filter(|(_, (on, _))| *on == id).map(|(n, _)| *n).collect();
        for ticket in lost {
            self.on_opened(ticket, None);
        }
    }

    fn on_stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened { ticket, stream } => self.on_opened(ticket, stream),
            StreamEvent::Inbound { connection, purpose, stream } => match purpose {
                Purpose::Channel => self.accept_channel(connection, stream),
                Purpose::Join => self.accept_join(connection, stream),
                Purpose::File => self.accept_file(connection, stream),
                Purpose::Sign => {}
            },
        }
    }

    /// Opens a stream on a connection that stands; ends in [`Self::on_opened`].
    pub(super) fn open(&mut self, connection: ConnectionId, peer: PeerId, wanted: Wanted) {
        let purpose = match wanted {
            Wanted::Channel(_) => Purpose::Channel,
            Wanted::Join(_) => Purpose::Join,
            Wanted::File(_) => Purpose::File,
            Wanted::Probe(_) => return,
        };
        let ticket = self.number();
        self.tickets.insert(ticket, (connection, wanted));
        self.open_on(connection, peer, purpose, ticket);
    }

    pub(super) fn open_on(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        purpose: Purpose,
        ticket: u64,
    ) {
        let on = self.connections.get(&id).map_or(On::Main, |known| known.on);
        let swarm = self.outers.get(on).unwrap_or(&mut self.swarm);
        swarm.behaviour_mut().streams.open(peer, id, purpose, ticket);
    }

    fn on_opened(&mut self, ticket: u64, stream: Option<libp2p::Stream>) {
        if self.is_sign(ticket) {
            return;
        }
        match self.tickets.remove(&ticket) {
            Some((on, Wanted::Channel(member))) => self.on_channel_stream(on, member, stream),
            Some((on, Wanted::Join(number))) => self.on_join_stream(on, number, stream),
            Some((on, Wanted::File(number))) => self.on_file_stream(on, number, stream),
            Some((_, Wanted::Probe(_))) | None => {}
        }
    }

    /// One stream less on a connection. A peer that no card names has nothing more to do here; a
    /// member's connection may idle for a while.
    pub(super) fn release(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.streams = connection.streams.saturating_sub(1);
        if connection.streams == 0 && !self.swarm.behaviour().gate.book().knows(&connection.peer) {
            self.close(id);
        }
    }

    /// When something is to be done next for the time's sake.
    pub(super) fn next(&self) -> Option<Instant> {
        let strangers = self.connections.values().filter_map(|connection| connection.expires);
        let looks = self.inviters.values().map(super::lan::Inviter::until);
        strangers
            .chain(self.settled)
            .chain(self.dialer.next())
            .chain(looks)
            .chain(self.next_sign())
            .chain(self.probes.next())
            .chain(self.next_outside())
            .min()
    }

    pub(super) fn on_time(&mut self, now: Instant) {
        if self.settled.is_some_and(|at| at <= now) {
            self.settled = None;
            let me = *self.swarm.local_peer_id();
            let addresses = listen::announced(&self.listening, me, self.reach);
            self.report(MeshReport::Listening(addresses));
            self.outlook.is_stale = true;
        }
        let mut strange = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.expires.is_some_and(|at| at <= now) {
                connection.expires = None;
                if !self.swarm.behaviour().gate.book().knows(&connection.peer) {
                    strange.push(*id);
                }
            }
        }
        strange.into_iter().for_each(|id| self.close(id));
        self.outside_due(now);
        // While the swarm is not heard, nobody's silence says anything.
        if self.waiting.is_empty() {
            self.end_silent(now);
        }
        for (member, whereabouts) in self.dialer.due(now) {
            self.dial(member, whereabouts);
        }
        self.probes_due(now);
        self.looks |= self.inviters.values().any(|inviter| inviter.until() <= now);
        if std::mem::take(&mut self.looks) {
            self.look(now);
        }
    }

    /// This member's channel keys, renewed where their certificate ends soon.
    pub(super) fn local(&mut self) -> Arc<Local> {
        let Local { endpoint, key, clock } = &*self.local;
        if key.not_after() < clock().plus_ms(RENEW_MS)
            && let Some(mut rng) = channel::rng()
        {
            let key = NoiseKey::generate(endpoint, clock(), &mut rng);
            self.local = Arc::new(Local { endpoint: Arc::clone(endpoint), key, clock: *clock });
        }
        Arc::clone(&self.local)
    }

    /// A number that was not used before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
