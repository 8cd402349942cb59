//! mosquitto as Debian ships it: topics of quality 0, in plaintext, kept nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use tokio::task::JoinHandle;

use crate::{
    process::{Server, free_addr},
    system::{Reader, System, Writer},
};

/// Requests that wait inside of a client.
const QUEUE: usize = 64;

pub struct Mosquitto {
    pub program: PathBuf,
}

impl System for Mosquitto {
    const NAME: &'static str = "mosquitto";
    type Writer = MqttWriter;
    type Reader = MqttReader;

    async fn start(&self, dir: &Path) -> anyhow::Result<Server> {
        let addr = free_addr()?;
        let file = dir.join("mosquitto.conf");
        // As a relay: whoever comes is served, and no queue drops what fits the window.
        fs::write(
            &file,
            format!(
                "listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
                 max_queued_messages 100000\n",
                addr.port()
            ),
        )?;
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(file);
        Server::start(&mut command, addr).await
    }

    async fn reader(&self, server: &Server, topic: u32) -> anyhow::Result<MqttReader> {
        let (client, mut events) = client(server);
        client.subscribe(format!("t/{topic}"), QoS::AtMostOnce).await?;
        while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
        Ok(MqttReader { events, _client: client })
    }

    async fn writer(
        &self,
        server: &Server,
        topic: u32,
        _: &[MqttReader],
    ) -> anyhow::Result<MqttWriter> {
        let (client, mut events) = client(server);
        while !matches!(events.poll().await?, Event::Incoming(Packet::ConnAck(_))) {}
        let driven = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Ok(MqttWriter { client, topic: format!("t/{topic}"), driven })
    }
}

fn client(server: &Server) -> (AsyncClient, EventLoop) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut options = MqttOptions::new(id, server.addr.ip().to_string(), server.addr.port());
    options.set_keep_alive(Duration::from_secs(600));
    let (client, mut events) = AsyncClient::new(options, QUEUE);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (client, events)
}

pub struct MqttReader {
    events: EventLoop,
    _client: AsyncClient,
}

impl Reader for MqttReader {
    async fn read(&mut self) -> anyhow::Result<Bytes> {
        loop {
            if let Event::Incoming(Packet::Publish(message)) = self.events.poll().await? {
                return Ok(message.payload);
            }
        }
    }
}

pub struct MqttWriter {
    client: AsyncClient,
    topic: String,
    driven: JoinHandle<()>,
}

impl Writer for MqttWriter {
    async fn write(&mut self, message: Bytes) -> anyhow::Result<()> {
        Ok(self.client.publish_bytes(&self.topic, QoS::AtMostOnce, false, message).await?)
    }
}

impl Drop for MqttWriter {
    fn drop(&mut self) {
        self.driven.abort();
    }
}
