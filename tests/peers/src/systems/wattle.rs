//! Wattle's relay: an encrypted hop, a log that is kept, and an answer to each append.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context as _;
use bytes::Bytes;
use libp2p::{Multiaddr, multiaddr::Protocol};
use protocol::relay_log::{Answer, LogKeys};
use rendezvous::{
    Storage,
    client::{Asking, LogClient, Wire},
    settings::Settings,
};
use tokio::task::JoinHandle;

use crate::{
    process::{Server, free_addr},
    system::{Reader, System, Writer},
};

/// Clients of this one machine.
const CLIENTS: u32 = 20_000;

pub struct Wattle {
    pub program: PathBuf,
    /// Entries go to the disk, and are acknowledged once they are there.
    pub is_durable: bool,
}

impl System for Wattle {
    const NAME: &'static str = "wattle";
    type Writer = WattleWriter;
    type Reader = WattleReader;

    async fn start(&self, dir: &Path) -> anyhow::Result<Server> {
        anyhow::ensure!(
            self.program.is_file(),
            "{} is not there; first: cargo build --release -p rendezvous",
            self.program.display()
        );
        let addr = free_addr()?;
        let file = dir.join("relay.toml");
        let storage = if self.is_durable { Storage::Durable } else { Storage::Live };
        // As it ships, but for what one machine with all clients runs into.
        let shipped = Settings::shipped(storage);
        let limits = shipped.limits.clone().lifted(CLIENTS, 0);
        let mut settings =
            Settings { limits, data_dir: dir.join("data"), listen: vec![addr], ..shipped };
        settings.watch.listen = String::new();
        fs::write(&file, settings.written())?;
        let mut command = Command::new(&self.program);
        command.env("WATTLE_LOG", "error").args(["run", "--config"]).arg(file);
        Server::start(&mut command, addr).await
    }

    async fn reader(&self, server: &Server, topic: u32) -> anyhow::Result<WattleReader> {
        let mut client = connect(server, topic).await?;
        client.asking().follow(0, None).await?;
        while !matches!(client.next().await?, Answer::CaughtUp { .. }) {}
        Ok(WattleReader { client, told: VecDeque::new() })
    }

    async fn writer(
        &self,
        server: &Server,
        topic: u32,
        _: &[WattleReader],
    ) -> anyhow::Result<WattleWriter> {
        let (asking, mut answers) = connect(server, topic).await?.split();
        let refused = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&refused);
        let heard = tokio::spawn(async move {
            while let Ok(answer) = answers.next().await {
                if !matches!(answer, Answer::Appended { .. }) {
                    seen.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(WattleWriter { asking, next: 0, refused, heard })
    }
}

/// A client with the topic's log open: whoever is told its keys may use it.
async fn connect(server: &Server, topic: u32) -> anyhow::Result<LogClient> {
    let addr =
        Multiaddr::empty().with(server.addr.ip().into()).with(Protocol::Tcp(server.addr.port()));
    let mut client = LogClient::connect(&addr, &Arc::new(Wire::default())).await?;
    client.authorize(None).await?;
    let mut seed = [1; 32];
    seed[..4].copy_from_slice(&topic.to_be_bytes());
    let keys = LogKeys::from_seeds(seed, [2; 32], None);
    client.asking().open(0, &keys).await?;
    match client.next().await? {
        Answer::Opened { .. } => Ok(client),
        _ => anyhow::bail!("the relay refuses"),
    }
}

pub struct WattleReader {
    client: LogClient,
    told: VecDeque<Bytes>,
}

impl Reader for WattleReader {
    async fn read(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Some(message) = self.told.pop_front() {
                return Ok(message);
            }
            match self.client.next().await? {
                Answer::Entries { entries, .. } => {
                    self.told.extend(entries.into_iter().map(|entry| Bytes::from(entry.bytes)));
                }
                Answer::CaughtUp { .. } | Answer::Begins { .. } => {}
                _ => anyhow::bail!("the relay refuses"),
            }
        }
    }
}

pub struct WattleWriter {
    asking: Asking,
    next: u32,
    refused: Arc<AtomicBool>,
    heard: JoinHandle<()>,
}

impl Writer for WattleWriter {
    async fn write(&mut self, message: Bytes) -> anyhow::Result<()> {
        anyhow::ensure!(!self.refused.load(Ordering::Relaxed), "the relay refused an append");
        self.next += 1;
        self.asking.append(self.next, 0, message.to_vec()).await.context("append")
    }
}

impl Drop for WattleWriter {
    fn drop(&mut self) {
        self.heard.abort();
    }
}
