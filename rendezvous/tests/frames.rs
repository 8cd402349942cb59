//! A client that sends a byte at a time, faster than it is read: no more of it is read than may lie there, and
//! so its connection ends in the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use futures::{AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    StreamProtocol, SwarmBuilder, noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use protocol::{codec, relay_log::Request};
use rendezvous::{Config, Limits, Relay};

/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(NetworkBehaviour)]
struct Behaviour {
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_short_frames_are_not_read_ends() {
    let limits = Limits {
        requests_per_s: 1,
        requests_burst: 1,
        idle: Duration::from_hours(1),
        ping_interval: Duration::from_millis(200),
        ping_timeout: Duration::from_secs(1),
        ..Limits::live()
    };
    let listen = vec![([127, 0, 0, 1], 0).into()];
    let relay = Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Behaviour {
            ping: ping::Behaviour::default(),
            stream: libp2p_stream::Behaviour::new(),
        })
        .unwrap()
        .build();
    let mut control = swarm.behaviour().stream.new_control();
    let peer = relay.peer_id();
    swarm.dial(relay.addrs()[0].clone()).unwrap();
    let sending = tokio::spawn(async move {
        let log = StreamProtocol::new("/wattle/log/1");
        let mut stream = control.open_stream(peer, log).await.unwrap();
        // Close, of a handle that is not open: no answer.
        let request = codec::encode(&Request::Close { handle: 1 });
        let len = u32::try_from(request.len()).unwrap();
        let close = [&len.to_be_bytes()[..], &request].concat();
        for byte in close.iter().cycle().take(200_000) {
            if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    });
    let ended = async {
        loop {
            if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    sending.abort();
}
