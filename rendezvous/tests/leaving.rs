//! A relay that is told to end, as its clients see it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod client;

use std::process::Command;

use libp2p::{Multiaddr, multiaddr::Protocol};
use protocol::relay_log::{Answer, LogKeys, Request};

use client::{Client, Relay, entry};

fn quic(tcp: &Multiaddr) -> Multiaddr {
    let swap = |part: Protocol<'_>| match part {
        Protocol::Tcp(port) => vec![Protocol::Udp(port).acquire(), Protocol::QuicV1],
        part => vec![part.acquire()],
    };
    tcp.iter().flat_map(swap).collect()
}

fn end(relay: &Relay) {
    let pid = relay.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

#[tokio::test]
async fn over_tcp_and_over_quic_clients_hear_that_the_relay_leaves_after_their_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = client::start(dir.path());
    let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
    let mut clients = vec![Client::of(&relay, &keys).await];
    relay.addr = quic(&relay.addr);
    for _ in 0..8 {
        clients.push(Client::of(&relay, &keys).await);
    }
    for (number, client) in (1..).zip(&mut clients) {
        let append = Request::Append { req: number, handle: 1, entry: entry(number, 512) };
        client.send(append).await;
        assert!(matches!(client.next().await, Some(Answer::Appended { .. })));
    }
    end(&relay);
    for client in &mut clients {
        assert_eq!(client.next().await, Some(Answer::Leaving { retry_ms: 500 }));
        assert_eq!(client.next().await, None);
    }
    assert_eq!(relay.process.wait().unwrap().code(), Some(0));
}
