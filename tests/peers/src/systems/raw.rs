//! The floor: a forwarder on bare TCP that knows neither names nor keys.

use std::{
    env,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{SinkExt, StreamExt as _};
use tokio::{
    io::AsyncReadExt as _,
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::{
    process::{Server, free_addr},
    system::{Reader, System, Writer},
};

/// Messages that wait for one reader.
const QUEUE: usize = 4096;

pub struct Raw;

type Readers = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;

/// The forwarder: whoever says `w` first writes to all who said anything else.
pub async fn serve() -> anyhow::Result<()> {
    let addr: SocketAddr = env::var("PEERS_LISTEN").context("PEERS_LISTEN")?.parse()?;
    let listener = TcpListener::bind(addr).await?;
    let readers = Readers::default();
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(client(socket, Arc::clone(&readers)));
    }
}

async fn client(mut socket: TcpStream, readers: Readers) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let is_writer = socket.read_u8().await? == b'w';
    let (read, write) = socket.into_split();
    if is_writer {
        let mut frames = FramedRead::new(read, LengthDelimitedCodec::new());
        while let Some(frame) = frames.next().await {
            let frame = frame?.freeze();
            let all = readers.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for reader in &all {
                let _ = reader.send(frame.clone()).await;
            }
        }
        return Ok(());
    }
    let (sender, mut queue) = mpsc::channel(QUEUE);
    readers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    let mut frames = FramedWrite::new(write, LengthDelimitedCodec::new());
    // Told that it is heard.
    frames.send(Bytes::from_static(b"r")).await?;
    while let Some(frame) = queue.recv().await {
        frames.feed(frame).await?;
        while let Ok(frame) = queue.try_recv() {
            frames.feed(frame).await?;
        }
        SinkExt::<Bytes>::flush(&mut frames).await?;
    }
    Ok(())
}

impl System for Raw {
    const NAME: &'static str = "raw";
    type Writer = RawWriter;
    type Reader = RawReader;

    async fn start(&self, _: &Path) -> anyhow::Result<Server> {
        let addr = free_addr()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg("raw").env("PEERS_LISTEN", addr.to_string());
        Server::start(&mut command, addr).await
    }

    async fn reader(&self, server: &Server, _: u32) -> anyhow::Result<RawReader> {
        let (read, write) = dial(server, b'r').await?;
        let mut frames = FramedRead::new(read, LengthDelimitedCodec::new());
        frames.next().await.context("gone")??;
        Ok(RawReader { frames, _write: write })
    }

    async fn writer(&self, server: &Server, _: u32, _: &[RawReader]) -> anyhow::Result<RawWriter> {
        let (_read, write) = dial(server, b'w').await?;
        Ok(RawWriter { frames: FramedWrite::new(write, LengthDelimitedCodec::new()), _read })
    }
}

async fn dial(server: &Server, role: u8) -> anyhow::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let socket = TcpStream::connect(server.addr).await?;
    socket.set_nodelay(true)?;
    let (read, mut write) = socket.into_split();
    tokio::io::AsyncWriteExt::write_u8(&mut write, role).await?;
    Ok((read, write))
}

pub struct RawReader {
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    _write: OwnedWriteHalf,
}

impl Reader for RawReader {
    async fn read(&mut self) -> anyhow::Result<Bytes> {
        Ok(self.frames.next().await.context("gone")??.freeze())
    }
}

pub struct RawWriter {
    frames: FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>,
    _read: OwnedReadHalf,
}

impl Writer for RawWriter {
    async fn write(&mut self, message: Bytes) -> anyhow::Result<()> {
        Ok(self.frames.send(message).await?)
    }
}
