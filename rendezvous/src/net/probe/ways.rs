//! One connection by one way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId};

use super::{
    super::way::{self, Unreached, Way},
    Finding, PATIENCE, Trial,
};

/// Why a way leads nowhere.
pub(super) enum Failure {
    /// Nobody answers, or somebody else.
    Unreached(Unreached),
    /// Something answers too late.
    TimedOut,
}

impl Failure {
    pub(super) fn finding(self, trial: Trial) -> Finding {
        const TCP: &str = "Is the relay running, and TCP open for its port in each firewall and \
                           passed on by the router?";
        const QUIC: &str = "Nodes use TCP instead. For QUIC open the same port for UDP, and have the \
                            router pass it on.";
        const WEB: &str = "Nodes need it only where TCP doesn't get through. A reverse proxy must pass \
                           Upgrade on (docs/operations.md).";
        let advice = match (&self, trial) {
            (Self::Unreached(Unreached::OtherKey(_)), _) => {
                "Another relay answers at this address, or one with a new key. Whoever knows the old \
                 one won't use it: restore the relay's data directory, or name the new key to all."
            }
            (_, Trial::Quic) => QUIC,
            (_, Trial::WebSocket) => WEB,
            _ => TCP,
        };
        let seen = match self {
            Self::Unreached(why) => why.to_string(),
            Self::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        Finding::fails(trial, seen, advice)
    }
}

pub(super) fn trial(addr: &Multiaddr) -> Trial {
    match Way::of(addr) {
        Way::Tcp => Trial::Tcp,
        Way::Quic => Trial::Quic,
        Way::WebSocket => Trial::WebSocket,
    }
}

/// Connects once; answers whom it met and how long it took.
pub(super) async fn connect(
    addr: &Multiaddr,
    expected: Option<PeerId>,
) -> Result<(PeerId, Duration), Failure> {
    let unknown = || Failure::Unreached(Unreached::Unreachable("no such transport".into()));
    let mut swarm = way::swarm(addr, &Arc::default()).ok_or_else(unknown)?;
    let start = Instant::now();
    let met = tokio::time::timeout(PATIENCE, way::meet(&mut swarm, addr, expected)).await;
    let peer = met.map_err(|_| Failure::TimedOut)?.map_err(Failure::Unreached)?;
    Ok((peer, start.elapsed()))
}
