//! The program itself and a client of its log service, for the tests that need both.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use protocol::relay_log::{Answer, Cursor, LogKeys, Request};
use rendezvous::client::{ClientError, LogClient};

/// Long enough for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Relay {
    pub process: Child,
    pub addr: Multiaddr,
    pub peer: PeerId,
}

/// The program, to run a relay in a data directory, at a port that the system chooses.
pub fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command
        .args(["run", "--json", "--watch", "", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir);
    command
}

pub fn start(dir: &Path) -> Relay {
    ready(program(dir))
}

/// Starts the program and waits until it says where it is.
pub fn ready(mut program: Command) -> Relay {
    let mut process = program.stdout(Stdio::piped()).spawn().unwrap();
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

/// How often something is to be done: a number in the environment, else the short form.
pub fn count(name: &str, short: usize) -> usize {
    std::env::var(name).map_or(short, |value| value.parse().unwrap())
}

/// Whether a part that the machine may lack is there; under `WATTLE_REQUIRE_ALL` it has to be.
pub fn has(part: bool, what: &str) -> bool {
    let is_required = std::env::var_os("WATTLE_REQUIRE_ALL").is_some_and(|it| it == "1");
    assert!(part || !is_required, "{what} is required");
    if !part {
        println!("skipped: {what} is not there");
    }
    part
}

/// Random numbers that are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % bound.max(1) as u64).unwrap()
    }
}

/// A client with one log open under handle 1.
pub struct Client(LogClient);

impl Client {
    /// Connects, and opens the log under handle 1.
    pub async fn of(relay: &Relay, keys: &LogKeys) -> Self {
        let addr = relay.addr.clone().with(Protocol::P2p(relay.peer));
        let mut client = Self(LogClient::connect(&addr, &Arc::default()).await.unwrap());
        client.0.asking().open(1, keys).await.unwrap();
        assert_eq!(client.next().await, Some(Answer::Opened { handle: 1 }));
        client
    }

    pub async fn send(&mut self, request: Request) {
        // A relay that was killed is noticed by who reads.
        let _ = self.0.asking().ask(&request).await;
    }

    pub async fn next(&mut self) -> Option<Answer> {
        match tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap() {
            Ok(answer) => Some(answer),
            Err(ClientError::Lost) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// All entries of a log under handle 1, by the number that each begins with, and the log's end.
pub async fn read(relay: &Relay, keys: &LogKeys) -> (BTreeMap<u32, u64>, Cursor) {
    let mut client = Client::of(relay, keys).await;
    client.send(Request::Follow { handle: 1, after: None }).await;
    let mut found = BTreeMap::new();
    loop {
        match client.next().await {
            Some(Answer::Entries { entries, .. }) => {
                for entry in entries {
                    let number = u32::from_be_bytes(entry.bytes[..4].try_into().unwrap());
                    assert_eq!(entry.bytes, self::entry(number, entry.bytes.len()), "torn");
                    found.insert(number, entry.seq);
                }
            }
            Some(Answer::CaughtUp { cursor, .. }) => return (found, cursor),
            other => panic!("{other:?}"),
        }
    }
}

/// An entry that says its number, all over.
pub fn entry(number: u32, len: usize) -> Vec<u8> {
    number.to_be_bytes().repeat(len / 4)
}
