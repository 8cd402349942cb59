//! A relay as those see it who watch it: the page, the metrics, its health; and who may not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod door;
mod figures;
mod files;
mod http;
mod process;
mod reload;
mod strain;

use std::net::SocketAddr;

use libp2p::multiaddr::Protocol;
use rendezvous::{Config, Limits, Relay, WatchConfig};

use client::Client;

const HERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const TOKEN: &str = "a-token-for-those-who-watch";

/// A relay that keeps nothing and is watched; and where.
async fn start(limits: Limits, watch: WatchConfig) -> (Relay, SocketAddr) {
    let listen = vec![HERE.into()];
    let relay = Relay::start(Config { listen, limits, watch, ..Config::live() }).await.unwrap();
    let watch = relay.watch().unwrap();
    (relay, watch)
}

fn open() -> WatchConfig {
    WatchConfig { listen: Some(HERE.into()), ..WatchConfig::default() }
}

fn with_token() -> WatchConfig {
    WatchConfig { token: Some(TOKEN.into()), ..open() }
}

async fn client(relay: &Relay) -> Client {
    let tcp = relay.addrs().into_iter().find(|addr| {
        matches!(addr.iter().nth(1), Some(Protocol::Tcp(_))) && addr.iter().count() == 3
    });
    Client::of(relay.peer_id(), tcp.unwrap()).await
}
