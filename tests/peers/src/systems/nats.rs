//! nats-server as Debian ships it: subjects, in plaintext, kept nowhere.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::{
    process::{Server, free_addr},
    system::{Reader, System, Writer},
};

pub struct Nats {
    pub program: PathBuf,
}

impl System for Nats {
    const NAME: &'static str = "nats-server";
    type Writer = NatsWriter;
    type Reader = NatsReader;

    async fn start(&self, _: &Path) -> anyhow::Result<Server> {
        let addr = free_addr()?;
        let mut command = Command::new(&self.program);
        command.args(["-a", "127.0.0.1", "-p", &addr.port().to_string()]);
        Server::start(&mut command, addr).await
    }

    async fn reader(&self, server: &Server, topic: u32) -> anyhow::Result<NatsReader> {
        let client = connect(server).await?;
        let told = client.subscribe(format!("t.{topic}")).await?;
        client.flush().await?;
        Ok(NatsReader { told, _client: client })
    }

    async fn writer(
        &self,
        server: &Server,
        topic: u32,
        _: &[NatsReader],
    ) -> anyhow::Result<NatsWriter> {
        Ok(NatsWriter { client: connect(server).await?, subject: format!("t.{topic}") })
    }
}

async fn connect(server: &Server) -> anyhow::Result<Client> {
    // Its library drops what a subscriber lags behind by: that would be the client's loss.
    let options = ConnectOptions::new().subscription_capacity(1 << 16);
    Ok(options.connect(format!("nats://{}", server.addr)).await?)
}

pub struct NatsReader {
    told: Subscriber,
    _client: Client,
}

impl Reader for NatsReader {
    async fn read(&mut self) -> anyhow::Result<Bytes> {
        Ok(self.told.next().await.context("gone")?.payload)
    }
}

pub struct NatsWriter {
    client: Client,
    subject: String,
}

impl Writer for NatsWriter {
    async fn write(&mut self, message: Bytes) -> anyhow::Result<()> {
        Ok(self.client.publish(self.subject.clone(), message).await?)
    }
}
