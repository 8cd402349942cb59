//! A client of the log service, with a key of its own.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux,
};
use protocol::{
    codec,
    relay_log::{Answer, Challenge, LogKeys, PROTOCOL, Proof, Request, Role},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _},
};

use crate::http::PATIENCE;

pub struct Client {
    pub peer: PeerId,
    io: Framed<Compat<Stream>, LengthDelimitedCodec>,
    challenge: Challenge,
    swarm: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Client {
    /// Connects to a relay's TCP address.
    pub async fn of(relay: PeerId, addr: Multiaddr) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .build();
        let peer = *swarm.local_peer_id();
        swarm.dial(addr).unwrap();
        let mut control = swarm.behaviour().new_control();
        // First: a stream that is asked for just as the connection stands is forgotten by libp2p-stream.
        let connected = async {
            while !matches!(
                swarm.select_next_some().await,
                SwarmEvent::ConnectionEstablished { .. }
            ) {}
        };
        timeout(PATIENCE, connected).await.unwrap();
        let swarm = tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        let stream = control.open_stream(relay, StreamProtocol::new(PROTOCOL)).await.unwrap();
        let frames = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
        let mut io = Framed::new(stream.compat(), frames);
        let hello = io.next().await.unwrap().unwrap();
        let Ok(Answer::Hello { nonce, .. }) = codec::decode(&hello) else { panic!("no hello") };
        Self { peer, io, challenge: Challenge::new(&relay.to_bytes(), nonce), swarm }
    }

    pub fn proof(&self, keys: &LogKeys, role: Role) -> Proof {
        keys.prove(role, &self.challenge).unwrap()
    }

    /// Opens a log to write and to read.
    pub async fn open(&mut self, handle: u32, keys: &LogKeys) -> Answer {
        let proofs = [Role::Write, Role::Read].map(|role| self.proof(keys, role)).to_vec();
        self.ask(Request::Open { handle, publics: keys.publics(), proofs }).await
    }

    /// Appends an entry of so many bytes, and hears the answer; who follows the log may be told of it before.
    pub async fn append(&mut self, handle: u32, number: u32, bytes: usize) -> Answer {
        let mut entry = vec![0; bytes];
        entry[..4].copy_from_slice(&number.to_be_bytes());
        let mut answer = self.ask(Request::Append { req: number, handle, entry }).await;
        while matches!(answer, Answer::Entries { .. } | Answer::CaughtUp { .. }) {
            answer = self.next().await.unwrap();
        }
        answer
    }

    /// Reads a log from its start; answers how many entries there are.
    pub async fn read(&mut self, handle: u32) -> usize {
        self.send(codec::encode(&Request::Follow { handle, after: None })).await;
        let mut count = 0;
        loop {
            match self.next().await {
                Some(Answer::Entries { entries, .. }) => count += entries.len(),
                Some(Answer::CaughtUp { .. }) => return count,
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn ask(&mut self, request: Request) -> Answer {
        self.send(codec::encode(&request)).await;
        self.next().await.unwrap()
    }

    pub async fn send(&mut self, frame: Vec<u8>) {
        self.io.send(Bytes::from(frame)).await.unwrap();
    }

    pub async fn next(&mut self) -> Option<Answer> {
        let frame = timeout(PATIENCE, self.io.next()).await.unwrap();
        frame.and_then(Result::ok).map(|frame| codec::decode(&frame).unwrap())
    }
}
