//! What a relay has acknowledged is there after `kill -9`, at its place, each time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, multiaddr::Protocol, noise, tcp, yamux,
};
use protocol::{
    codec,
    relay_log::{Answer, Challenge, Cursor, LogKeys, PROTOCOL, Request, Role},
};
use tokio::task::JoinHandle;
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _},
};

const ROUNDS: u32 = 3;
const ACKNOWLEDGED: usize = 150;
/// Long enough for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Relay {
    process: Child,
    addr: Multiaddr,
    peer: PeerId,
}

fn start(dir: &Path) -> Relay {
    let mut process = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"))
        .args(["run", "--json", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let mut addr: Multiaddr = ready["addrs"][0].as_str().unwrap().parse().unwrap();
    let Some(Protocol::P2p(peer)) = addr.pop() else { panic!("{addr}") };
    Relay { process, addr, peer }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // SIGKILL, where there are signals.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Client {
    io: Framed<Compat<Stream>, LengthDelimitedCodec>,
    swarm: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Client {
    /// Connects, and opens the log under handle 1.
    async fn of(relay: &Relay, keys: &LogKeys) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        swarm.dial(relay.addr.clone().with(Protocol::P2p(relay.peer))).unwrap();
        let mut control = swarm.behaviour().new_control();
        let swarm = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let stream = control.open_stream(relay.peer, StreamProtocol::new(PROTOCOL)).await.unwrap();
        let frames = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
        let mut client = Self { io: Framed::new(stream.compat(), frames), swarm };
        let Answer::Hello { nonce, .. } = client.next().await.unwrap() else { panic!() };
        let challenge = Challenge::new(&relay.peer.to_bytes(), nonce);
        let proofs = [Role::Write, Role::Read].map(|role| keys.prove(role, &challenge).unwrap());
        let publics = keys.publics();
        client.send(Request::Open { handle: 1, publics, proofs: proofs.to_vec() }).await;
        assert_eq!(client.next().await, Some(Answer::Opened { handle: 1 }));
        client
    }

    async fn send(&mut self, request: Request) {
        // A relay that was killed is noticed by who reads.
        let _ = self.io.send(Bytes::from(codec::encode(&request))).await;
    }

    async fn next(&mut self) -> Option<Answer> {
        let frame = tokio::time::timeout(PATIENCE, self.io.next()).await.unwrap();
        frame.and_then(Result::ok).map(|frame| codec::decode(&frame).unwrap())
    }
}

fn entry(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Appends, 32 at a time, until enough are acknowledged and others are on their way; kills.
async fn load(mut relay: Relay, keys: &LogKeys, first: u32) -> BTreeMap<u32, Cursor> {
    let mut client = Client::of(&relay, keys).await;
    let mut acknowledged = BTreeMap::new();
    let mut next = first;
    while acknowledged.len() < ACKNOWLEDGED {
        while next < first + u32::try_from(acknowledged.len()).unwrap() + 32 {
            client.send(Request::Append { req: next, handle: 1, entry: entry(next) }).await;
            next += 1;
        }
        match client.next().await {
            Some(Answer::Appended { req, cursor }) => acknowledged.insert(req, cursor),
            other => panic!("{other:?}"),
        };
    }
    relay.process.kill().unwrap();
    while let Some(Answer::Appended { req, cursor }) = client.next().await {
        acknowledged.insert(req, cursor);
    }
    acknowledged
}

/// All entries of the log, by number, and its end.
async fn read(relay: &Relay, keys: &LogKeys) -> (BTreeMap<u32, u64>, Cursor) {
    let mut client = Client::of(relay, keys).await;
    client.send(Request::Follow { handle: 1, after: None }).await;
    let mut found = BTreeMap::new();
    loop {
        match client.next().await {
            Some(Answer::Entries { entries, .. }) => {
                found.extend(entries.iter().map(|entry| {
                    let number = u32::from_be_bytes(entry.bytes[..4].try_into().unwrap());
                    (number, entry.seq)
                }));
            }
            Some(Answer::CaughtUp { cursor, .. }) => return (found, cursor),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_acknowledged_entry_is_there_after_each_kill() {
    let dir = tempfile::tempdir().unwrap();
    let keys = LogKeys::from_seeds([1; 32], [2; 32], None);
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        acknowledged.extend(load(start(dir.path()), &keys, round * 10_000).await);
        let (found, end) = read(&start(dir.path()), &keys).await;
        for (number, cursor) in &acknowledged {
            assert_eq!(found.get(number), Some(&cursor.seq), "entry {number}");
            assert_eq!(cursor.generation, end.generation);
        }
    }
    assert!(acknowledged.len() >= ACKNOWLEDGED * ROUNDS as usize);
}
