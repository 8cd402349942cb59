//! A relay looked at from outside: which ways lead to it, whether it does its work, and what to do
//! about what fails.
//!
//! > It is asked what any client may ask, by PeerIds made for the purpose. One entry of 512 random
//! > bytes stays in a log that nobody follows, until it expires.

mod circuit;
mod log;
mod ways;

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use protocol::relay_log::RelayToken;
use serde::Serialize;

use crate::config::{BadAddress, PORT, external};

/// How long each question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How far a relay's clock may be from this one's before it is said, in milliseconds: entries expire
/// by the relay's, and people compare what both show.
const SKEW_MS: u64 = 60_000;

/// What is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trial {
    /// A connection over TCP.
    Tcp,
    /// One over QUIC.
    Quic,
    /// One through WebSocket.
    WebSocket,
    /// The operator's token, at a relay that is not open to all.
    Token,
    /// An entry appended to a log, and read back.
    Log,
    /// A circuit between two clients.
    Circuit,
    /// The relay's clock against this one.
    Clock,
}

/// What became of one trial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was tried.
    pub trial: Trial,
    /// Whether it works.
    pub works: bool,
    /// What was seen, in words.
    pub seen: String,
    /// What to do about it; nothing where it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// What a relay looks like from here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The key that it has proven, as a PeerId; none where nothing answers.
    pub peer: Option<String>,
    /// Trial by trial.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nodes can use it: some way leads to it, and its log works.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let works = |trial| self.findings.iter().any(|it| it.trial == trial && it.works);
        works(Trial::Log)
    }
}

impl Finding {
    fn works(trial: Trial, seen: String) -> Self {
        Self { trial, works: true, seen, advice: None }
    }

    fn fails(trial: Trial, seen: impl ToString, advice: &'static str) -> Self {
        Self { trial, works: false, seen: seen.to_string(), advice: Some(advice) }
    }
}

/// Where to look for a relay: a multiaddr, with or without its key, or `HOST` or `HOST:PORT`.
pub fn target(text: &str) -> Result<(Vec<Multiaddr>, Option<PeerId>), BadAddress> {
    let with_port = if text.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{text}]:{PORT}")
    } else if text.contains(['/', ':']) {
        text.to_owned()
    } else {
        format!("{text}:{PORT}")
    };
    let key = with_port.rsplit_once("/p2p/").and_then(|(_, key)| key.parse().ok());
    let named = external(&with_port)?;
    let [only] = &named[..] else { return Ok((named, key)) };
    // One way is named: the others are on the same port, where it has one.
    let host = only.iter().next().ok_or(BadAddress)?;
    let port = only.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    let is_plain =
        only.iter().count() <= 3 && !only.iter().any(|it| matches!(it, Protocol::Wss(_)));
    match port.filter(|_| is_plain) {
        Some(port) => Ok((crate::config::all(host.into(), port), key)),
        None => Ok((named, key)),
    }
}

/// Looks at a relay. A token is shown only if the relay asks for one and has proven the key that is
/// expected: to whom no key is named, none is shown.
pub async fn probe(
    addrs: &[Multiaddr],
    expected: Option<PeerId>,
    token: Option<&RelayToken>,
) -> Report {
    let token = token.filter(|_| expected.is_some());
    let mut findings = Vec::new();
    let mut met: Option<(PeerId, Multiaddr)> = None;
    for addr in addrs {
        let trial = ways::trial(addr);
        match ways::connect(addr, expected).await {
            Ok((peer, took)) => {
                findings
                    .push(Finding::works(trial, format!("connected in {} ms", took.as_millis())));
                met.get_or_insert((peer, addr.clone()));
            }
            Err(failure) => findings.push(failure.finding(trial)),
        }
    }
    if let Some((peer, addr)) = &met {
        let there = addr.clone().with(Protocol::P2p(*peer));
        findings.extend(log::try_out(&there, token).await);
        findings.push(circuit::try_out(&there).await);
    }
    Report { peer: met.map(|(peer, _)| peer.to_string()), findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_named_in_many_ways() {
        let read = |text: &str| {
            let (addrs, key) = target(text).unwrap();
            (addrs.iter().map(ToString::to_string).collect::<Vec<_>>(), key.is_some())
        };
        let three = |host: &str, port| {
            let ways =
                [format!("tcp/{port}"), format!("udp/{port}/quic-v1"), format!("tcp/{port}/ws")];
            ways.map(|way| format!("{host}/{way}")).to_vec()
        };
        assert_eq!(read("192.0.2.1"), (three("/ip4/192.0.2.1", 4407), false));
        assert_eq!(read("2001:db8::1"), (three("/ip6/2001:db8::1", 4407), false));
        assert_eq!(read("[2001:db8::1]:9"), (three("/ip6/2001:db8::1", 9), false));
        assert_eq!(read("r.example:9"), (three("/dns/r.example", 9), false));
        let key = PeerId::random();
        let whole = format!("/ip4/192.0.2.1/udp/9/quic-v1/p2p/{key}");
        assert_eq!(read(&whole), (three("/ip4/192.0.2.1", 9), true));
        let proxy = "/dns/r.example/tcp/443/wss";
        assert_eq!(read(proxy), (vec![proxy.to_owned()], false));
        assert!(target("a b").is_err() && target("").is_err());
    }
}
