//! A client of the log service as small as can be: one log, one connection, real frames.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, multiaddr::Protocol, noise, tcp, yamux,
};
use protocol::{
    codec,
    relay_log::{Answer, Challenge, LogKeys, PROTOCOL, Request, Role},
};
use tokio::task::JoinHandle;
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _},
};

/// A connection on which a log is open under handle 1.
pub struct LogClient {
    io: Framed<Compat<Stream>, LengthDelimitedCodec>,
    swarm: JoinHandle<()>,
}

impl Drop for LogClient {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl LogClient {
    /// Connects and opens the log. `None`: the relay is not there, or was gone before it answered.
    pub async fn open(addr: &Multiaddr, keys: &LogKeys, patience: Duration) -> Option<Self> {
        tokio::time::timeout(patience, Self::try_open(addr.clone(), keys)).await.ok().flatten()
    }

    async fn try_open(mut addr: Multiaddr, keys: &LogKeys) -> Option<Self> {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        swarm.dial(addr.clone()).ok()?;
        let Some(Protocol::P2p(peer)) = addr.pop() else { panic!("{addr}") };
        let mut control = swarm.behaviour().new_control();
        let swarm = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let opened = control.open_stream(peer, StreamProtocol::new(PROTOCOL)).await;
        let Ok(stream) = opened else {
            swarm.abort();
            return None;
        };
        let frames = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
        let mut client = Self { io: Framed::new(stream.compat(), frames), swarm };
        client.prove(peer, keys).await.then_some(client)
    }

    async fn prove(&mut self, peer: PeerId, keys: &LogKeys) -> bool {
        let Some(Answer::Hello { nonce, .. }) = self.next().await else { return false };
        let challenge = Challenge::new(&peer.to_bytes(), nonce);
        let proofs = [Role::Write, Role::Read].map(|role| keys.prove(role, &challenge).unwrap());
        let publics = keys.publics();
        self.send(Request::Open { handle: 1, publics, proofs: proofs.to_vec() }).await;
        self.next().await == Some(Answer::Opened { handle: 1 })
    }

    /// Sends a request. A relay that is gone is noticed by who reads.
    pub async fn send(&mut self, request: Request) {
        let _ = self.io.send(Bytes::from(codec::encode(&request))).await;
    }

    /// The next answer; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Answer> {
        let frame = self.io.next().await?;
        frame.ok().map(|frame| codec::decode(&frame).unwrap())
    }
}
