//! A way from outside through the home's router: a port of the router's that leads to this node, where its
//! person has said so.
//!
//! One task asks the router by PCP, NAT-PMP or UPnP, whichever it speaks, for the TCP and the UDP port that the node
//! listens on. It asks again at half of the time that was granted and when the machine's network is another, and
//! takes back what stands when the node ends. What a router may have granted is kept in the data directory from before it is
//! asked until it is taken back or has run out: a node that was killed leaves no way in that nobody knows of.
//!
//! > Nothing is asked before somebody opted in, and nobody is asked or believed but the router that this
//! > machine's packets leave by. What it says is untrusted: it is read up to a bound, a time that it grants
//! > is kept within bounds, and an address that is not the internet's, or that relays contradict, is told to nobody.

mod gateway;
mod leads;
mod pcp;
mod task;
mod upnp;
mod xml;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    time::Duration,
};

use libp2p::Multiaddr;
use protocol::ids::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use self::{
    gateway::Gateway,
    leads::Leads,
    task::{Here, Task},
    upnp::Device,
};

/// The task's ends.
pub struct Mapping {
    /// What it is for.
    pub aim: Aim,
    /// What it shall map.
    pub wanted: watch::Sender<Wanted>,
    /// How that stands, each time that it is another.
    pub standings: mpsc::Receiver<Standing>,
    /// Ends soon after `wanted` is dropped, with what stood taken back where the router answers.
    pub task: JoinHandle<()>,
}

/// What the router is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To pass ports on to this node.
    Map,
    /// To take back what it granted to a node that was killed; the task ends when that is done.
    TakeBack,
}

/// What shall be mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where this node listens, each with its PeerId.
    pub listening: Vec<Multiaddr>,
    /// How often the machine's network has become another.
    pub changes: u64,
    /// By which addresses relays see this machine, where they say it.
    pub outside: Vec<Ipv4Addr>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// By this protocol the router has agreed: at these addresses it can be reached from outside, with its PeerId.
    Stands(Language, Vec<Multiaddr>),
    /// There is no such way, for now.
    Fails(Failure),
}

/// What routers are asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// UPnP's Internet Gateway Device.
    Upnp,
}

/// Why there is no way from outside; of several, what came furthest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Failure {
    /// No default route over IPv4 leads to a router.
    #[error("this machine knows no router for IPv4")]
    NoRouter,
    /// Packets leave by another way than the router.
    #[error(
        "this machine's packets leave by a tunnel, which a mapping would go around, or by a line without a router"
    )]
    Tunnel,
    /// The node does not listen where the router could pass something on to.
    #[error("the node listens at no address that the router knows")]
    NothingListens,
    /// The router has said that it doesn't speak the language.
    #[error("the router does not know what it is asked for")]
    Unspoken,
    /// The router answers in none of the languages.
    #[error(
        "the router answers neither PCP, NAT-PMP nor UPnP: switch one of them on there, or have it pass the port on"
    )]
    Silent,
    /// The data directory has no place for it.
    #[error("what the router would be asked for can't be noted in the data directory")]
    Unkept,
    /// It answers what can't be read.
    #[error("the router's answer can't be read")]
    Garbled,
    /// It says no.
    #[error(
        "the router refuses: allow this machine to map ports there, or have it pass the port on"
    )]
    Refused,
    /// It agrees, and is not itself on the internet.
    #[error(
        "the router has no address of the internet itself: another one, or the provider's, stands before it"
    )]
    NotGlobal,
    /// It agrees, and relays see this machine elsewhere.
    #[error(
        "relays see this machine at another address than the router's: another router stands before it"
    )]
    Contradicted,
    /// Who asks has ended, which nothing should make it do.
    #[error(
        "asking the router ended by a defect: restart the node to ask again, and report what its log says"
    )]
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// A port that is to be reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Port {
    transport: Transport,
    number: u16,
}

/// A language, and where it is spoken.
#[derive(Debug)]
enum Way {
    Pcp(u16),
    NatPmp(u16),
    Upnp(Device),
}

/// One mapping of one port, as it is asked for.
#[derive(Clone, Copy, Debug)]
struct Ask {
    port: Port,
    /// What is wished for outside, or was had before.
    external: SocketAddrV4,
    lease: Lease,
    /// Who asks: of chance, and the same for as long as the mapping is wanted.
    nonce: [u8; 12],
    /// The address of this machine's to which it leads.
    own: Ipv4Addr,
    /// Whether a router was asked for it before.
    is_noted: bool,
}

/// For how long it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    /// For [`LIFETIME`].
    Hour,
    /// For ever, of a router that knows nothing else.
    Ever,
    /// It is taken back.
    Over,
}

/// What a router says before it is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It can be asked for; the router's address outside, in languages that tell it beforehand.
    Free(Option<Ipv4Addr>),
    /// It passes this on since this node told it so; its address outside.
    Own(Ipv4Addr),
    /// It passes this on since somebody told it so by hand.
    Stood(SocketAddrV4),
    /// The port outside is somebody else's.
    Taken,
}

/// What a router says to it, if it doesn't say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// It passes this on, for so many seconds (or for ever); or has taken it back.
    Granted(SocketAddrV4, Option<u32>),
    /// The port outside is somebody else's.
    Taken,
    /// It knows mappings for ever alone.
    OnlyForEver,
}

/// How long a mapping is asked for, and within which bounds an answer is believed, in seconds.
const LIFETIME: u32 = 3600;
const LIFETIMES: std::ops::RangeInclusive<u32> = 120..=LIFETIME;
/// How often it is looked whether there is another router.
const LOOK: Duration = Duration::from_secs(30);
/// How long a router has in one round to agree, and then to take back what isn't wanted.
const ROUND: Duration = Duration::from_secs(60);
/// How long it has at the end.
const LEAVE: Duration = Duration::from_millis(1500);
/// Standings that wait to be taken.
const QUEUE: usize = 4;

/// Starts the task, for a node whose data is there; none, where there is nothing to take back. Must be called inside a
/// tokio runtime.
#[must_use]
pub fn spawn(
    seed: [u8; 32],
    data_dir: &Path,
    aim: Aim,
    clock: fn() -> Timestamp,
) -> Option<Mapping> {
    let leads = Leads::of(data_dir);
    if aim == Aim::TakeBack && leads.is_empty() {
        return None;
    }
    let (find, clock) = (Box::new(gateway::find), Box::new(clock));
    let (port, search) = (pcp::PORT, upnp::SEARCH_PORT);
    let (look, asking, round, leave) = (LOOK, upnp::ASKING, ROUND, LEAVE);
    let here = Here { find, clock, port, search, look, asking, round, leave };
    Some(spawn_at(seed, leads, aim, here))
}

fn spawn_at(seed: [u8; 32], leads: Leads, aim: Aim, here: Here) -> Mapping {
    let (wanted, told) = watch::channel(Wanted::default());
    let (given, standings) = mpsc::channel(QUEUE);
    let task = Task::new(seed, leads, aim, here, given);
    Mapping { aim, wanted, standings, task: tokio::spawn(task.run(told)) }
}

impl Way {
    fn language(&self) -> Language {
        match self {
            Self::Pcp(_) => Language::Pcp,
            Self::NatPmp(_) => Language::NatPmp,
            Self::Upnp(_) => Language::Upnp,
        }
    }

    /// The router's own name, in the language that has one.
    fn udn(&self) -> &str {
        match self {
            Self::Pcp(_) | Self::NatPmp(_) => "",
            Self::Upnp(device) => &device.udn,
        }
    }

    /// Looks what is there; changes nothing.
    async fn look(&self, gateway: &Gateway, ask: &Ask) -> Result<Look, Failure> {
        match self {
            Self::Pcp(_) => Ok(Look::Free(None)),
            Self::NatPmp(port) => Ok(Look::Free(Some(pcp::address(gateway, *port).await?))),
            Self::Upnp(device) => upnp::look(gateway, device, ask).await,
        }
    }

    async fn map(&self, gateway: &Gateway, ask: &Ask) -> Result<Reply, Failure> {
        match self {
            Self::Pcp(port) => pcp::map(gateway, *port, ask).await,
            Self::NatPmp(port) => pcp::map_old(gateway, *port, ask).await,
            Self::Upnp(device) => upnp::map(gateway, device, ask).await,
        }
    }

    async fn take_back(&self, gateway: &Gateway, ask: &Ask) -> Result<(), Failure> {
        match self {
            Self::Pcp(_) | Self::NatPmp(_) => self.map(gateway, ask).await.map(|_| ()),
            Self::Upnp(device) => upnp::take_back(gateway, device, ask).await,
        }
    }
}

impl Lease {
    /// In seconds, in languages that know no mapping for ever.
    fn seconds(self) -> u32 {
        match self {
            Self::Hour | Self::Ever => LIFETIME,
            Self::Over => 0,
        }
    }
}

impl Transport {
    /// Its number among the protocols of IP.
    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl Failure {
    /// Whether what was granted before may stand all the same: another time the answer may be another.
    fn is_passing(self) -> bool {
        matches!(self, Self::Silent | Self::Unkept | Self::Garbled | Self::Refused)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        })
    }
}

#[cfg(test)]
mod tests;
