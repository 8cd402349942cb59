//! A client of the log service with one log open, for relays that come and go.

use std::{sync::Arc, time::Duration};

use libp2p::Multiaddr;
use protocol::relay_log::{Answer, LogKeys, Request};
use rendezvous::client::{self, ClientError};

/// A connection on which a log is open under handle 1.
pub struct LogClient(client::LogClient);

impl LogClient {
    /// Connects and opens the log. `None`: the relay is not there, or was gone before it answered.
    pub async fn open(addr: &Multiaddr, keys: &LogKeys, patience: Duration) -> Option<Self> {
        tokio::time::timeout(patience, Self::try_open(addr, keys)).await.ok().flatten()
    }

    async fn try_open(addr: &Multiaddr, keys: &LogKeys) -> Option<Self> {
        let client = client::LogClient::connect(addr, &Arc::default()).await.ok()?;
        let mut client = Self(client);
        client.0.asking().open(1, keys).await.ok()?;
        (client.next().await? == Answer::Opened { handle: 1 }).then_some(client)
    }

    /// Sends a request. A relay that is gone is noticed by who reads.
    pub async fn send(&mut self, request: Request) {
        let _ = self.0.asking().ask(&request).await;
    }

    /// The next answer; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Answer> {
        match self.0.next().await {
            Ok(answer) => Some(answer),
            Err(ClientError::Lost) => None,
            Err(error) => panic!("{error}"),
        }
    }
}
