//! A client of the log service: one connection by a PeerId made for it, one stream.
//!
//! ```text
//! connect ─▶ authorize ─▶ open ─▶ follow, append ─▶ next, next, …
//! ```
//!
//! > What it asks for is sent, not answered: answers come in their own order, to whoever calls
//! > [`LogClient::next`]. Who asks for much must read all the while ([`LogClient::split`]), because a relay
//! > takes nothing more from a client that doesn't.
//!
//! Nothing here waits for less than for ever: who calls sets the time.

use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, multiaddr::Protocol};
use protocol::{
    codec,
    limits::LOG_ANSWER_MAX,
    relay_log::{Answer, Challenge, Cursor, LogKeys, PROTOCOL, Refusal, RelayToken, Request, Role},
};
use tokio::{
    io::{ReadHalf, WriteHalf},
    task::JoinHandle,
};
use tokio_util::{
    codec::{FramedRead, FramedWrite, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _},
};

use super::way;

pub use super::{
    metered::Wire,
    way::{Unreached, Way},
};

/// A connection to a relay, with its stream.
pub struct LogClient {
    relay: PeerId,
    hello: Hello,
    asking: Asking,
    answers: Answers,
}

/// What a relay says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Logs that may be open at once.
    pub max_logs: u32,
    /// The relay's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Whether nothing is opened but under a token.
    pub wants_token: bool,
}

/// Why a client can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The relay is not reached.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// Who answers is no relay.
    #[error("it does not speak the log's protocol")]
    NoStream,
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost,
    /// Something came that may not come.
    #[error("it does not follow the log's protocol")]
    Misbehaved,
    /// The relay serves holders of tokens, and there is none.
    #[error("this relay wants a token")]
    TokenNeeded,
    /// The token is not taken.
    #[error("{0}")]
    TokenRefused(Refusal),
}

impl LogClient {
    /// Connects, and hears the relay's first words. An address that ends in a key is that relay's, or
    /// nobody's. What goes through the socket is counted by `wire`, but over QUIC.
    pub async fn connect(addr: &Multiaddr, wire: &Arc<Wire>) -> Result<Self, ClientError> {
        let (addr, expected) = parted(addr);
        let unknown = || Unreached::Unreachable("no such transport".into());
        let mut swarm = way::swarm(&addr, wire).ok_or_else(unknown)?;
        let relay = way::meet(&mut swarm, &addr, expected).await?;
        let mut control = swarm.behaviour().stream.new_control();
        let driven = Arc::new(Driven::new(swarm));
        let stream = control.open_stream(relay, StreamProtocol::new(PROTOCOL)).await;
        let (reader, writer) =
            tokio::io::split(stream.map_err(|_| ClientError::NoStream)?.compat());
        let mut answers =
            Answers { frames: FramedRead::new(reader, frames()), _driven: Arc::clone(&driven) };
        let Answer::Hello { nonce, max_logs, now_ms, wants_token, .. } = answers.next().await?
        else {
            return Err(ClientError::Misbehaved);
        };
        let challenge = Challenge::new(&relay.to_bytes(), nonce);
        let frames = FramedWrite::new(writer, frames());
        let asking = Asking { frames, challenge, _driven: driven };
        let hello = Hello { max_logs, now_ms, wants_token: wants_token == Some(true) };
        Ok(Self { relay, hello, asking, answers })
    }

    /// Shows a token, if the relay asks for one; answers whether it did. Before anything is opened.
    pub async fn authorize(&mut self, token: Option<&RelayToken>) -> Result<bool, ClientError> {
        if !self.hello.wants_token {
            return Ok(false);
        }
        let token = token.ok_or(ClientError::TokenNeeded)?.clone();
        self.asking.ask(&Request::Token { token }).await?;
        match self.next().await? {
            Answer::TokenTaken => Ok(true),
            Answer::TokenRefused { reason } => Err(ClientError::TokenRefused(reason)),
            _ => Err(ClientError::Misbehaved),
        }
    }

    /// The relay's key.
    #[must_use]
    pub fn relay(&self) -> PeerId {
        self.relay
    }

    /// What it said first.
    #[must_use]
    pub fn hello(&self) -> Hello {
        self.hello
    }

    /// What asks.
    pub fn asking(&mut self) -> &mut Asking {
        &mut self.asking
    }

    /// The next answer.
    pub async fn next(&mut self) -> Result<Answer, ClientError> {
        self.answers.next().await
    }

    /// What asks and what hears, for two tasks. The connection lasts as long as either.
    #[must_use]
    pub fn split(self) -> (Asking, Answers) {
        (self.asking, self.answers)
    }
}

/// The side of a client that asks.
pub struct Asking {
    frames: FramedWrite<WriteHalf<Compat<Stream>>, LengthDelimitedCodec>,
    challenge: Challenge,
    _driven: Arc<Driven>,
}

impl Asking {
    /// What proofs on this connection answer.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// Opens a log with proofs of all that its keys allow.
    pub async fn open(&mut self, handle: u32, keys: &LogKeys) -> Result<(), ClientError> {
        let roles = [Role::Write, Role::Read, Role::Trim];
        let proofs = roles.into_iter().filter_map(|role| keys.prove(role, &self.challenge));
        let (publics, proofs) = (keys.publics(), proofs.collect());
        self.ask(&Request::Open { handle, publics, proofs }).await
    }

    /// Appends an entry.
    pub async fn append(
        &mut self,
        req: u32,
        handle: u32,
        entry: Vec<u8>,
    ) -> Result<(), ClientError> {
        self.ask(&Request::Append { req, handle, entry }).await
    }

    /// Follows a log from a place on, or from its start.
    pub async fn follow(&mut self, handle: u32, after: Option<Cursor>) -> Result<(), ClientError> {
        self.ask(&Request::Follow { handle, after }).await
    }

    /// Asks for anything.
    pub async fn ask(&mut self, request: &Request) -> Result<(), ClientError> {
        self.say(codec::encode(request)).await
    }

    /// Sends a frame of these bytes, whatever they are: to see what a relay does about it.
    pub async fn say(&mut self, frame: Vec<u8>) -> Result<(), ClientError> {
        self.frames.send(Bytes::from(frame)).await.map_err(|_| ClientError::Lost)
    }
}

/// The side of a client that hears.
pub struct Answers {
    frames: FramedRead<ReadHalf<Compat<Stream>>, LengthDelimitedCodec>,
    _driven: Arc<Driven>,
}

impl Answers {
    /// The next answer. Dropping the wait for it loses nothing.
    pub async fn next(&mut self) -> Result<Answer, ClientError> {
        let frame = self.frames.next().await.ok_or(ClientError::Lost)?;
        codec::decode(&frame.map_err(|_| ClientError::Lost)?).map_err(|_| ClientError::Misbehaved)
    }
}

/// A swarm that is driven until nobody needs it.
struct Driven(JoinHandle<()>);

impl Driven {
    fn new(mut swarm: Swarm<way::Behaviour>) -> Self {
        Self(tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        }))
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(LOG_ANSWER_MAX).new_codec()
}

/// An address and the key that it ends in.
fn parted(addr: &Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let mut rest = addr.clone();
    match rest.pop() {
        Some(Protocol::P2p(peer)) => (rest, Some(peer)),
        _ => (addr.clone(), None),
    }
}
