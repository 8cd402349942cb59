//! How a machine looks from outside, and who asks.

use std::collections::BTreeMap;

use libp2p::PeerId;
use tokio::{net::UdpSocket, time::timeout};

use super::{PATIENCE, config, identity};
use crate::net::{change::Change, mesh::*, relay::RelayPeer};

/// Who listens where a relay would.
async fn relay() -> (UdpSocket, RelayPeer) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let addrs = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()];
    (socket, RelayPeer { peer_id: PeerId::random(), addrs })
}

fn start(seed: u64, meets: bool) -> Mesh {
    spawn(Config { meets, ..config(seed, identity(seed).1) }).unwrap()
}

/// The name of its outer swarm, when it tells that, and what relays say.
async fn named(mesh: &mut Mesh) -> (Multiaddr, BTreeMap<PeerId, Seen>) {
    let told = async {
        loop {
            let report = mesh.reports.recv().await.unwrap();
            if let MeshReport::Outside { name: Some(name), seen, .. } = report {
                return (name, seen);
            }
        }
    };
    timeout(PATIENCE, told).await.expect("a name in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_to_relays_by_way_of_a_proxy_asks_none_and_has_no_outer_swarm() {
    let ((silent, hidden), (heard, asked)) = (relay().await, relay().await);
    let (shy, mut open) = (start(1, false), start(2, true));
    shy.commands.send(MeshCommand::Look(hidden)).await.unwrap();
    shy.commands.send(MeshCommand::Changed(Change::default())).await.unwrap();
    named(&mut open).await;
    open.commands.send(MeshCommand::Look(asked)).await.unwrap();
    let mut bytes = [0; 2048];
    timeout(PATIENCE, heard.recv_from(&mut bytes)).await.unwrap().unwrap();
    assert!(silent.try_recv_from(&mut bytes).is_err());
    let Mesh { commands, mut reports, .. } = shy;
    drop(commands);
    while let Some(report) = timeout(PATIENCE, reports.recv()).await.unwrap() {
        assert!(!matches!(report, MeshReport::Outside { .. }), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_another_network_the_outer_swarm_has_another_name() {
    let mut mesh = start(1, true);
    let (before, seen) = named(&mut mesh).await;
    assert!(seen.is_empty() && before.to_string().starts_with("/p2p/"), "{before}");
    let change = Change { moved: true, ..Change::default() };
    mesh.commands.send(MeshCommand::Changed(change)).await.unwrap();
    // More may have been told under the first one before that was heard.
    while named(&mut mesh).await.0 == before {}
}
