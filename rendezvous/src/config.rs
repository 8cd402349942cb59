//! What an operator can set.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use serde::{Deserialize, Serialize};

pub use crate::settings::cluster::{Allowance, Cluster};

use crate::{limits::Limits, tokens::Access, watch::WatchConfig};

/// The port that a relay listens on if no other is named; TCP and QUIC alike.
pub const PORT: u16 = 4407;

/// Where a relay's dashboard listens if nothing else is said.
pub const WATCH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT + 1);

/// How to run a relay.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the key and the store live. `None`: both last as long as the process.
    pub data_dir: Option<PathBuf>,
    /// Where entries are kept.
    pub storage: Storage,
    /// The cluster that keeps them, beside an index in the data directory; with [`Storage::Durable`] only.
    pub cluster: Option<Cluster>,
    /// Where to listen, each for TCP, WebSocket and QUIC on the same port number; port 0: the system chooses.
    pub listen: Vec<SocketAddr>,
    /// Addresses under which others reach this relay, if they differ from where it listens.
    pub external: Vec<Multiaddr>,
    /// Whom it serves.
    pub access: Access,
    /// What it grants.
    pub limits: Limits,
    /// From where it can be watched.
    pub watch: WatchConfig,
}

/// Where entries are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Storage {
    /// On disk, in the data directory.
    #[serde(rename = "disk")]
    Durable,
    /// In memory, for those who are connected.
    #[serde(rename = "memory")]
    Live,
}

impl Config {
    /// A durable relay in `data_dir`, on the default port of every interface.
    #[must_use]
    pub fn durable(data_dir: PathBuf) -> Self {
        Self {
            data_dir: Some(data_dir),
            storage: Storage::Durable,
            cluster: None,
            listen: every_interface(),
            external: Vec::new(),
            access: Access::Open,
            limits: Limits::default(),
            watch: WatchConfig::default(),
        }
    }

    /// A relay that keeps nothing: neither its key nor entries.
    #[must_use]
    pub fn live() -> Self {
        Self {
            data_dir: None,
            storage: Storage::Live,
            cluster: None,
            listen: every_interface(),
            external: Vec::new(),
            access: Access::Open,
            limits: Limits::live(),
            watch: WatchConfig::default(),
        }
    }
}

/// [`PORT`] on every interface, IPv4 and IPv6.
#[must_use]
pub fn every_interface() -> Vec<SocketAddr> {
    vec![(Ipv4Addr::UNSPECIFIED, PORT).into(), (Ipv6Addr::UNSPECIFIED, PORT).into()]
}

/// An address that is neither a multiaddr nor `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT or a multiaddr such as /dns/relay.example.org/tcp/4407")]
pub struct BadAddress;

/// Reads where others reach a relay: a multiaddr, or `HOST:PORT` for TCP, QUIC and WebSocket.
pub fn external(text: &str) -> Result<Vec<Multiaddr>, BadAddress> {
    if text.starts_with('/') {
        let mut addr: Multiaddr = text.parse().map_err(|_| BadAddress)?;
        if matches!(addr.iter().last(), Some(Protocol::P2p(_))) {
            addr.pop();
        }
        return Ok(vec![addr]);
    }
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(all(addr.ip().into(), addr.port()));
    }
    let (host, port) = text.rsplit_once(':').ok_or(BadAddress)?;
    let port = port.parse().map_err(|_| BadAddress)?;
    let is_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if is_name { Ok(all(Protocol::Dns(host.into()).into(), port)) } else { Err(BadAddress) }
}

/// The addresses of one port: TCP, QUIC, and WebSocket on TCP.
pub(crate) fn all(host: Multiaddr, port: u16) -> Vec<Multiaddr> {
    let web = web(&host.clone().with(Protocol::Tcp(port)));
    both(host, port).into_iter().chain(web).collect()
}

/// The WebSocket address of a TCP one.
pub(crate) fn web(tcp: &Multiaddr) -> Option<Multiaddr> {
    matches!(tcp.iter().last(), Some(Protocol::Tcp(_)))
        .then(|| tcp.clone().with(Protocol::Ws("/".into())))
}

/// The TCP and the QUIC address of one port.
pub(crate) fn both(host: Multiaddr, port: u16) -> Vec<Multiaddr> {
    vec![
        host.clone().with(Protocol::Tcp(port)),
        host.with(Protocol::Udp(port)).with(Protocol::QuicV1),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        external(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_external_address_is_read_in_each_form() {
        let host = "/dns/relay.example.org";
        let expected = ["/tcp/1", "/udp/1/quic-v1", "/tcp/1/ws"].map(|way| format!("{host}{way}"));
        assert_eq!(read("relay.example.org:1"), expected);
        assert_eq!(read("192.0.2.1:1")[0], "/ip4/192.0.2.1/tcp/1");
        assert_eq!(read("[2001:db8::1]:1")[1], "/ip6/2001:db8::1/udp/1/quic-v1");
        assert_eq!(read("/dns4/r.example/tcp/443/wss"), ["/dns4/r.example/tcp/443/wss"]);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "relay.example.org", ":1", "a b:1", "/tcp", "r.example:99999", "::1"] {
            assert_eq!(external(text), Err(BadAddress), "{text}");
        }
    }
}
