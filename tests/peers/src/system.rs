//! What can be measured: a server that passes on what one client says to others.

use std::path::Path;

use bytes::Bytes;

use crate::process::Server;

/// A kind of server, and its clients.
pub trait System {
    const NAME: &'static str;
    type Writer: Writer;
    type Reader: Reader;

    /// Starts one, with a directory for what it keeps.
    async fn start(&self, dir: &Path) -> anyhow::Result<Server>;

    /// Connects a client that is told what is said under a topic.
    async fn reader(&self, server: &Server, topic: u32) -> anyhow::Result<Self::Reader>;

    /// Connects a client that says something under a topic, to these readers of it.
    async fn writer(
        &self,
        server: &Server,
        topic: u32,
        readers: &[Self::Reader],
    ) -> anyhow::Result<Self::Writer>;
}

/// Says something to all readers of a topic.
pub trait Writer: Send + 'static {
    /// Hands a message over to the operating system.
    fn write(&mut self, message: Bytes) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Is told what is said.
pub trait Reader: Send + 'static {
    /// The next message.
    fn read(&mut self) -> impl Future<Output = anyhow::Result<Bytes>> + Send;
}
