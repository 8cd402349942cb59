//! iroh-relay: datagrams between keys, in plaintext on this hop, kept nowhere; to many by one for each.

use std::{env, net::SocketAddr, path::Path, process::Command};

use anyhow::Context as _;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use iroh_base::{EndpointId, RelayUrl, SecretKey};
use iroh_dns::dns::DnsResolver;
use iroh_relay::{
    client::{Client, ClientBuilder},
    protos::relay::{ClientToRelayMsg, RelayToClientMsg},
    server::{RelayConfig, Server as Relay, ServerConfig},
    tls::{CaTlsConfig, default_provider},
};

use crate::{
    process::{Server, free_addr},
    system::{Reader, System, Writer},
};

pub struct Iroh;

/// The relay, with what its own program has without TLS.
pub async fn serve() -> anyhow::Result<()> {
    let addr: SocketAddr = env::var("PEERS_LISTEN").context("PEERS_LISTEN")?.parse()?;
    let mut config = ServerConfig::default();
    config.relay = Some(RelayConfig::new(addr));
    let _relay = Relay::spawn(config).await?;
    std::future::pending().await
}

impl System for Iroh {
    const NAME: &'static str = "iroh-relay";
    type Writer = IrohWriter;
    type Reader = IrohReader;

    async fn start(&self, _: &Path) -> anyhow::Result<Server> {
        let addr = free_addr()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg("iroh").env("PEERS_LISTEN", addr.to_string());
        Server::start(&mut command, addr).await
    }

    async fn reader(&self, server: &Server, _: u32) -> anyhow::Result<IrohReader> {
        let key = SecretKey::generate();
        Ok(IrohReader { id: key.public(), client: connect(server, key).await? })
    }

    async fn writer(
        &self,
        server: &Server,
        _: u32,
        readers: &[IrohReader],
    ) -> anyhow::Result<IrohWriter> {
        let client = connect(server, SecretKey::generate()).await?;
        Ok(IrohWriter { client, to: readers.iter().map(|reader| reader.id).collect() })
    }
}

async fn connect(server: &Server, key: SecretKey) -> anyhow::Result<Client> {
    let url: RelayUrl = format!("http://{}", server.addr).parse()?;
    let tls = CaTlsConfig::embedded().client_config(default_provider())?;
    let builder = ClientBuilder::new(url, key, DnsResolver::default()).tls_client_config(tls);
    Ok(builder.connect().await?)
}

pub struct IrohReader {
    id: EndpointId,
    client: Client,
}

impl Reader for IrohReader {
    async fn read(&mut self) -> anyhow::Result<Bytes> {
        loop {
            match self.client.next().await.context("gone")?? {
                RelayToClientMsg::Datagrams { datagrams, .. } => return Ok(datagrams.contents),
                RelayToClientMsg::Ping(data) => {
                    self.client.send(ClientToRelayMsg::Pong(data)).await?;
                }
                _ => {}
            }
        }
    }
}

pub struct IrohWriter {
    client: Client,
    to: Vec<EndpointId>,
}

impl Writer for IrohWriter {
    async fn write(&mut self, message: Bytes) -> anyhow::Result<()> {
        for to in &self.to {
            let datagrams = message.clone().into();
            let message = ClientToRelayMsg::Datagrams { dst_endpoint_id: *to, datagrams };
            self.client.feed(message).await?;
        }
        Ok(self.client.flush().await?)
    }
}
