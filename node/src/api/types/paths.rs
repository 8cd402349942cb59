//! How members are reached, and how they are looked for.

use serde::{Deserialize, Serialize};

use super::MemberRef;

/// How a member is reached, and why not better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemberPath {
    /// Who.
    pub member: MemberRef,
    /// The best path that stands.
    pub path: Path,
    /// The address in use, for a direct path. An event names none that was found on a local network.
    pub address: Option<String>,
    /// How that address was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// How long an answer took when it was measured last, in microseconds, there and back: from the
    /// member's node on a direct path, from the relay alone on a relayed one. None is known at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Whether a direct path stays on local networks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lan: bool,
    /// Why the path is not better, in words; empty when direct.
    pub reason: String,
    /// Since when this path stands.
    pub since: Option<String>,
    /// Whether this identity was compared here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub verified: bool,
    /// Whether it has the name of another identity that was compared, and that was not seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_key: bool,
}

/// The kinds of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// A Noise channel from node to node.
    Direct,
    /// Through the relay's log.
    Relay,
    /// Neither stands; what is sent waits.
    None,
}

/// How the address of a direct path was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// The member's node called this one.
    Called,
    /// The member, or an invite's code, had told it.
    Told,
    /// The member's node answered on the local network, by multicast DNS.
    Mdns,
}

/// How this machine looks from outside, as a relay says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outside {
    /// Its address on the internet.
    pub address: String,
    /// What is between.
    pub nat: Nat,
}

/// What a NAT before this machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// There is none.
    None,
    /// It leaves ports as they are, so that members can meet this node at its own.
    KeepsPorts,
    /// It gives a connection another port, so that nobody knows where to meet this node.
    ChangesPorts,
}

/// How this machine is met over IPv6, where firewalls let in nobody but who was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ipv6 {
    /// Its own addresses of the internet, from which it calls members behind firewalls and is called by them.
    pub addresses: Vec<String>,
    /// Why they can't meet it so, in words; empty where they can.
    pub problem: String,
}

/// How members are looked for on the local networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lan {
    /// Whether this node speaks on local networks alone.
    pub only: bool,
    /// Where it looks: this machine's own address on each network.
    pub networks: Vec<String>,
    /// Why not on others, in words; empty where nothing is in the way.
    pub problem: String,
}

/// How the router's port stands that is to lead to this node from outside. While it is being asked for, all of it
/// is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PortMap {
    /// In which language the router has agreed: PCP, NAT-PMP or UPnP.
    pub by: String,
    /// Where this node can be reached by it, with PeerId.
    pub addresses: Vec<String>,
    /// Why there is none, in words.
    pub problem: String,
}
