//! Finding members' nodes on the local networks, by multicast DNS.
//!
//! One task watches the interfaces. On each network of IPv4, and of IPv6 whose addresses mean something beyond the
//! link, on which the node listens it asks for those that it has no connection with, and answers whoever asks. What the
//! packets hold is `protocol::lan`'s: no name, no key and no port that anybody but the asker could read.
//!
//! > Nothing that comes from a network is believed but the answer of a node that is looked for, to the
//! > question that was asked there last, from the very address that it names.

mod answering;
mod asking;
mod packet;
mod six;
mod socket;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    task::Poll,
    time::Duration,
};

use if_watch::{IfEvent, IpNet, tokio::IfWatcher};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use protocol::lan::{Answerer, Ports};
use rand_chacha::ChaCha20Rng;
use tokio::{
    io::ReadBuf,
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use self::{
    answering::Answering,
    asking::{Asking, Node},
    packet::{PACKET_MAX, Packet},
    socket::Sockets,
};

/// The task's two ends.
pub(super) struct Lan {
    /// What it shall do.
    pub(super) wanted: watch::Sender<Wanted>,
    /// What it saw.
    pub(super) events: mpsc::Receiver<LanEvent>,
}

/// What the task shall do.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where this node listens, by its own addresses.
    pub(super) listening: BTreeMap<IpAddr, Ports>,
    /// Whom to look for.
    pub(super) sought: BTreeSet<PeerId>,
}

/// What the task saw.
#[derive(Debug)]
pub(super) enum LanEvent {
    /// A node that is looked for is at these addresses.
    Found(PeerId, Vec<Multiaddr>),
    /// From now on it asks and answers on the networks of these addresses of its own.
    On(Vec<IpAddr>, Option<Trouble>),
}

/// Why it does not ask and answer somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The system does not say which addresses it has.
    #[error("the network interfaces can't be watched")]
    Unwatched,
    /// A socket could not be had.
    #[error("port 5353 can't be shared with another program of this machine")]
    Taken,
    /// A socket could not be bound to an interface.
    #[error("a network interface takes no multicast")]
    NoMulticast,
    /// There are addresses of IPv6 that mean something on their link alone, and no others.
    #[error(
        "this machine has addresses of its link alone (fe80:…), at which nobody can be dialled: give it one of the network (fd…), or one of IPv4"
    )]
    LinkAlone,
}

/// Networks on which it asks and answers at one time.
const DOORS: usize = 8;
/// Events that may wait.
const EVENTS: usize = 64;
/// How long after the system refused something it is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// After how long an address of IPv6 can be used of which it is not known yet whether another node has it.
const ASSURED: Duration = Duration::from_secs(3);
/// How long the system may take to send a packet.
const SENDING: Duration = Duration::from_secs(1);

/// Starts the task for the node with this seed of its key; it ends when [`Lan::wanted`] is dropped.
pub(super) fn spawn(seed: &[u8; 32], rng: ChaCha20Rng) -> Result<Lan, Trouble> {
    let watcher = IfWatcher::new().map_err(|_| Trouble::Unwatched)?;
    let (wanted, taken) = watch::channel(Wanted::default());
    let (given, events) = mpsc::channel(EVENTS);
    let task = Task {
        watcher: Some(watcher),
        answerer: Answerer::new(seed),
        wanted: taken,
        events: given,
        rng,
        nets: BTreeSet::new(),
        doors: Vec::new(),
        sought: Vec::new(),
        trouble: None,
        again: None,
        told: None,
    };
    tokio::spawn(task.run());
    Ok(Lan { wanted, events })
}

struct Task {
    /// None once it is broken.
    watcher: Option<IfWatcher>,
    answerer: Answerer,
    wanted: watch::Receiver<Wanted>,
    events: mpsc::Sender<LanEvent>,
    rng: ChaCha20Rng,
    /// This machine's networks, each with its own address there.
    nets: BTreeSet<IpNet>,
    doors: Vec<Door>,
    sought: Vec<Node>,
    trouble: Option<Trouble>,
    /// When to try again what the system refused.
    again: Option<Instant>,
    /// What was told last of where it asks.
    told: Option<(Vec<IpAddr>, Option<Trouble>)>,
}

/// One network.
struct Door {
    net: IpNet,
    ports: Ports,
    sockets: Sockets,
    asking: Asking,
    answering: Answering,
}

enum Input {
    Interface(io::Result<IfEvent>),
    Wanted,
    /// At which door; how long, and from where.
    Packet(usize, io::Result<(usize, SocketAddr)>),
    Due,
}

/// The swarm is gone.
struct Gone;

impl Task {
    async fn run(mut self) {
        let mut buffer = [0; PACKET_MAX];
        let mut turn = 0;
        loop {
            let next = self.next();
            let Self { watcher, wanted, doors, .. } = &mut self;
            let interface = poll_fn(|cx| match watcher {
                Some(watcher) => watcher.poll_if_event(cx),
                None => Poll::Pending,
            });
            let input = tokio::select! {
                event = interface => Input::Interface(event),
                changed = wanted.changed() => match changed {
                    Ok(()) => Input::Wanted,
                    Err(_) => return,
                },
                (door, read) = receive(doors, turn, &mut buffer) => {
                    turn = door + 1;
                    Input::Packet(door, read)
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => Input::Due,
            };
            let done = match input {
                Input::Interface(event) => self.on_interface(event).await,
                Input::Wanted => self.on_wanted().await,
                Input::Packet(door, Ok((len, from))) => {
                    self.on_packet(door, &buffer[..len], from).await
                }
                Input::Packet(door, Err(_)) => {
                    self.doors.remove(door);
                    self.again = Some(Instant::now() + AGAIN);
                    Ok(())
                }
                Input::Due => self.on_due().await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn tell(&mut self, event: LanEvent) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }

    async fn on_interface(&mut self, event: io::Result<IfEvent>) -> Result<(), Gone> {
        match event {
            Ok(IfEvent::Up(net)) => {
                self.nets.insert(net);
            }
            Ok(IfEvent::Down(net)) => {
                self.nets.remove(&net);
            }
            Err(_) => {
                self.watcher = None;
                self.trouble = Some(Trouble::Unwatched);
            }
        }
        self.open().await
    }

    async fn on_wanted(&mut self) -> Result<(), Gone> {
        let sought: BTreeSet<PeerId> = self.wanted.borrow_and_update().sought.clone();
        let fresh = sought.iter().any(|peer| self.sought.iter().all(|(known, _)| known != peer));
        self.sought = sought.into_iter().filter_map(asking::node_of).collect();
        if fresh {
            let now = Instant::now();
            self.doors.iter_mut().for_each(|door| door.asking.hurry(now));
        }
        self.open().await
    }

    /// Asks and answers on the networks on which this node listens, and nowhere else.
    async fn open(&mut self) -> Result<(), Gone> {
        let listening = self.wanted.borrow().listening.clone();
        let four = self.nets.iter().filter(|net| net.addr().is_ipv4() && !net.addr().is_loopback());
        let own =
            if self.nets.iter().any(|net| net.addr().is_ipv6()) { six::own() } else { vec![] };
        let six = six::places(&self.nets, |ip| listening.contains_key(ip), &own);
        let wanted: Vec<(IpNet, u32, Ports)> = four
            .map(|net| (*net, 0))
            .chain(six)
            .filter_map(|(net, interface)| Some((net, interface, *listening.get(&net.addr())?)))
            .take(DOORS)
            .collect();
        self.doors.retain(|door| wanted.iter().any(|(net, ..)| *net == door.net));
        let now = Instant::now();
        self.again = six::is_waited_for(&own).then(|| now + ASSURED);
        if self.watcher.is_some() {
            self.trouble =
                (wanted.is_empty() && self.has_link_alone()).then_some(Trouble::LinkAlone);
        }
        for (net, interface, ports) in wanted {
            if let Some(door) = self.doors.iter_mut().find(|door| door.net == net) {
                door.ports = ports;
                continue;
            }
            match socket::open(net.addr(), interface) {
                Ok(sockets) => {
                    let (asking, answering) = (Asking::new(now), Answering::new(now));
                    self.doors.push(Door { net, ports, sockets, asking, answering });
                }
                Err(error) => {
                    let is_taken = error.kind() == io::ErrorKind::AddrInUse;
                    let why = if is_taken { Trouble::Taken } else { Trouble::NoMulticast };
                    self.trouble = Some(why);
                    self.again = Some(now + AGAIN);
                }
            }
        }
        let now = (self.doors.iter().map(|door| door.net.addr()).collect(), self.trouble);
        if self.told.as_ref() != Some(&now) {
            self.told = Some(now.clone());
            self.tell(LanEvent::On(now.0, now.1)).await?;
        }
        Ok(())
    }

    /// Whether all that leads anywhere are addresses of the link.
    fn has_link_alone(&self) -> bool {
        let mut beyond =
            self.nets.iter().map(IpNet::addr).filter(|ip| !ip.is_loopback()).peekable();
        let is_of_link = |ip| matches!(ip, IpAddr::V6(ip) if six::is_of_link(ip));
        beyond.peek().is_some() && beyond.all(is_of_link)
    }

    async fn on_packet(&mut self, at: usize, packet: &[u8], from: SocketAddr) -> Result<(), Gone> {
        let (ip, port) = (from.ip(), from.port());
        let Some(packet) = packet::read(packet) else { return Ok(()) };
        let own = |question: &[u8; 32]| self.doors.iter().any(|door| door.asking.is_own(question));
        let is_own = matches!(&packet, Packet::Question(question) if own(question));
        let Some(door) = self.doors.get_mut(at) else { return Ok(()) };
        // What a router let through is not of this network (RFC 6762, 11).
        if is_own || port != socket::PORT || !door.net.contains(&ip) {
            return Ok(());
        }
        match packet {
            Packet::Question(question) => {
                door.answering.take(question, Instant::now(), &mut self.rng);
                Ok(())
            }
            Packet::Answer(question, answer) => {
                let found = door.asking.read(&question, &answer, ip);
                let Some((peer, ports)) = found else { return Ok(()) };
                self.tell(LanEvent::Found(peer, addresses(ip, ports))).await
            }
        }
    }

    /// When something is to be done next for the time's sake.
    fn next(&self) -> Option<Instant> {
        let asks = self.doors.iter().map(|door| door.asking.next());
        let asks = asks.filter(|_| !self.sought.is_empty());
        let answers = self.doors.iter().filter_map(|door| door.answering.next());
        asks.chain(answers).chain(self.again).min()
    }

    async fn on_due(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if self.again.is_some_and(|at| at <= now) {
            self.open().await?;
        }
        for door in &mut self.doors {
            if let Some(question) = door.asking.ask(&self.sought, now, &mut self.rng) {
                send(&door.sockets, &packet::question(&question)).await;
            }
            while let Some(question) = door.answering.due(now) {
                let ip = door.net.addr();
                let said = self.answerer.answer(&question, ip, door.ports, &mut self.rng);
                if let Some(answer) = said {
                    send(&door.sockets, &packet::answer(&question, &answer)).await;
                }
            }
        }
        Ok(())
    }
}

/// The next packet at any door, beginning with the `turn`th.
async fn receive(
    doors: &[Door],
    turn: usize,
    buffer: &mut [u8],
) -> (usize, io::Result<(usize, SocketAddr)>) {
    poll_fn(|cx| {
        for at in (turn..doors.len()).chain(0..turn.min(doors.len())) {
            let mut read = ReadBuf::new(buffer);
            if let Poll::Ready(from) = doors[at].sockets.poll_recv_from(cx, &mut read) {
                return Poll::Ready((at, from.map(|from| (read.filled().len(), from))));
            }
        }
        Poll::Pending
    })
    .await
}

/// What is lost is asked for again.
async fn send(sockets: &Sockets, packet: &[u8]) {
    if !matches!(timeout(SENDING, sockets.tell(packet)).await, Ok(Ok(_))) {
        tracing::debug!("a packet could not be sent to a local network");
    }
}

fn addresses(ip: IpAddr, ports: Ports) -> Vec<Multiaddr> {
    let at = || Multiaddr::from(ip);
    let mut all = Vec::new();
    if ports.udp != 0 {
        all.push(at().with(Protocol::Udp(ports.udp)).with(Protocol::QuicV1));
    }
    if ports.tcp != 0 {
        all.push(at().with(Protocol::Tcp(ports.tcp)));
    }
    all
}

/// Where a swarm that listens at these addresses does so, by IP address.
pub(super) fn listening<'a>(
    addresses: impl IntoIterator<Item = &'a Multiaddr>,
) -> BTreeMap<IpAddr, Ports> {
    let mut all: BTreeMap<IpAddr, Ports> = BTreeMap::new();
    for address in addresses {
        let mut parts = address.iter();
        let ip = match parts.next() {
            Some(Protocol::Ip4(ip)) => ip.into(),
            Some(Protocol::Ip6(ip)) => ip.into(),
            _ => continue,
        };
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Protocol::Tcp(port)), None, None) => all.entry(ip).or_default().tcp = port,
            (Some(Protocol::Udp(port)), Some(Protocol::QuicV1), None) => {
                all.entry(ip).or_default().udp = port;
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_node_listens_is_told_as_others_dial_it() {
        for ip in ["10.0.0.7", "fd00:78::7"] {
            let ip: IpAddr = ip.parse().unwrap();
            let at = |rest: &str| -> Multiaddr {
                let family = if ip.is_ipv4() { "ip4" } else { "ip6" };
                format!("/{family}/{ip}/{rest}").parse().unwrap()
            };
            let all = [at("tcp/1"), at("udp/2/quic-v1"), at("tcp/3/ws")];
            let listening = listening(&all);
            assert_eq!(listening, BTreeMap::from([(ip, Ports { tcp: 1, udp: 2 })]));
            let dialled: BTreeSet<Multiaddr> = addresses(ip, listening[&ip]).into_iter().collect();
            assert_eq!(dialled, all[..2].iter().cloned().collect());
        }
    }
}
