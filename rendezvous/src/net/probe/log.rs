//! One entry appended to a log of its own, and read back; and the relay's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use protocol::{
    codec,
    limits::{BUCKETS, LOG_ANSWER_MAX},
    relay_log::{Answer, Challenge, LogKeys, PROTOCOL, Refusal, RelayToken, Request, Role},
};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    compat::{Compat, FuturesAsyncReadCompatExt as _},
};

use super::{Finding, PATIENCE, SKEW_MS, Trial, ways};

const HANDLE: u32 = 1;

/// Why the log service did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it does not speak the log's protocol")]
    NoStream,
    #[error("the connection was lost")]
    Lost,
    #[error("it does not follow the log's protocol")]
    Misbehaved,
    #[error("it refuses: {0}")]
    Refused(Refusal),
    #[error("this relay wants a token")]
    TokenNeeded,
    #[error("{0}")]
    TokenRefused(Refusal),
    #[error("no randomness from the operating system")]
    Random,
}

/// Appends and reads back; says how the clocks differ.
pub(super) async fn try_out(
    peer: PeerId,
    addr: &Multiaddr,
    token: Option<&RelayToken>,
) -> Vec<Finding> {
    const ASK: &str = "Ask whoever runs it for one; name the relay with its key (/p2p/12D3…), and the \
                       token by --token-file FILE.";
    const RENEW: &str =
        "It was revoked, has run out or was never of this relay: ask whoever runs it.";
    const LOST: &str =
        "Its log says why, at WATTLE_LOG=debug. Is it a wattle-rendezvous of this version?";
    const FULL: &str = "Is its disk full, or its quota? Its log and its settings say.";
    let mut seen = Seen::default();
    let tried = tokio::time::timeout(PATIENCE, round_trip(peer, addr, token, &mut seen)).await;
    let log = match tried {
        Ok(Ok(took)) => Finding::works(Trial::Log, format!("stored and read back in {took} ms")),
        Ok(Err(failure @ Failure::TokenNeeded)) => Finding::fails(Trial::Token, failure, ASK),
        Ok(Err(failure @ Failure::TokenRefused(_))) => Finding::fails(Trial::Token, failure, RENEW),
        Ok(Err(failure @ Failure::Refused(_))) => Finding::fails(Trial::Log, failure, FULL),
        Ok(Err(failure)) => Finding::fails(Trial::Log, failure, LOST),
        Err(_) => {
            let seen = format!("no answer within {} s", PATIENCE.as_secs());
            Finding::fails(Trial::Log, seen, LOST)
        }
    };
    let token = seen.token.then(|| Finding::works(Trial::Token, "taken".into()));
    token.into_iter().chain([log]).chain(seen.clock.map(told)).collect()
}

/// What is seen on the way.
#[derive(Default)]
struct Seen {
    /// The relay's clock and this one, in milliseconds.
    clock: Option<(u64, u64)>,
    /// Whether a token was asked for, and taken.
    token: bool,
}

/// What is said of a relay's clock.
fn told((theirs, mine): (u64, u64)) -> Finding {
    const SET: &str = "One of the two clocks is wrong: set it (timedatectl, chrony). Entries are kept as \
                       long all the same; times that people are shown are not right.";
    let apart = theirs.abs_diff(mine);
    let way = if theirs > mine { "ahead" } else { "behind" };
    if apart <= SKEW_MS {
        Finding::works(Trial::Clock, format!("{} ms {way}", apart))
    } else {
        Finding::fails(Trial::Clock, format!("{} s {way}", apart / 1000), SET)
    }
}

async fn round_trip(
    peer: PeerId,
    addr: &Multiaddr,
    token: Option<&RelayToken>,
    seen: &mut Seen,
) -> Result<u128, Failure> {
    let mut swarm = ways::swarm(addr).ok_or(Failure::Lost)?;
    swarm.dial(addr.clone()).map_err(|_| Failure::Lost)?;
    let mut control = swarm.behaviour().stream.new_control();
    let driven = async {
        loop {
            swarm.select_next_some().await;
        }
    };
    let asked = async {
        match control.open_stream(peer, StreamProtocol::new(PROTOCOL)).await {
            Ok(stream) => converse(peer, stream, token, seen).await,
            Err(_) => Err(Failure::NoStream),
        }
    };
    tokio::select! {
        took = asked => took,
        never = driven => never,
    }
}

async fn converse(
    peer: PeerId,
    stream: Stream,
    token: Option<&RelayToken>,
    seen: &mut Seen,
) -> Result<u128, Failure> {
    let frames = LengthDelimitedCodec::builder().max_frame_length(LOG_ANSWER_MAX).new_codec();
    let mut io = Framed::new(stream.compat(), frames);
    let Answer::Hello { nonce, now_ms, wants_token, .. } = next(&mut io).await? else {
        return Err(Failure::Misbehaved);
    };
    let mine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    seen.clock = Some((now_ms, u64::try_from(mine).unwrap_or(u64::MAX)));
    if wants_token == Some(true) {
        let token = token.ok_or(Failure::TokenNeeded)?.clone();
        say(&mut io, Request::Token { token }).await?;
        match next(&mut io).await? {
            Answer::TokenTaken => seen.token = true,
            Answer::TokenRefused { reason } => return Err(Failure::TokenRefused(reason)),
            _ => return Err(Failure::Misbehaved),
        }
    }
    let [mut write, mut read] = [[0; 32]; 2];
    let mut entry = vec![0; BUCKETS[0]];
    for bytes in [&mut write[..], &mut read, &mut entry] {
        getrandom::fill(bytes).map_err(|_| Failure::Random)?;
    }
    let keys = LogKeys::from_seeds(write, read, None);
    let challenge = Challenge::new(&peer.to_bytes(), nonce);
    let proofs = [Role::Write, Role::Read].map(|role| keys.prove(role, &challenge));
    let proofs = proofs.into_iter().flatten().collect();
    say(&mut io, Request::Open { handle: HANDLE, publics: keys.publics(), proofs }).await?;
    let start = Instant::now();
    say(&mut io, Request::Follow { handle: HANDLE, after: None }).await?;
    say(&mut io, Request::Append { req: 0, handle: HANDLE, entry: entry.clone() }).await?;
    let (mut stored, mut back) = (false, false);
    while !(stored && back) {
        match next(&mut io).await? {
            Answer::Appended { .. } => stored = true,
            Answer::Entries { entries, .. } => {
                back |= entries.iter().any(|it| it.bytes[..] == entry[..]);
            }
            Answer::Leaving { .. } => return Err(Failure::Lost),
            Answer::OpenRefused { reason, .. }
            | Answer::AppendRefused { reason, .. }
            | Answer::FollowRefused { reason, .. } => return Err(Failure::Refused(reason)),
            Answer::Opened { .. } | Answer::CaughtUp { .. } | Answer::Begins { .. } => {}
            _ => return Err(Failure::Misbehaved),
        }
    }
    Ok(start.elapsed().as_millis())
}

type Io = Framed<Compat<Stream>, LengthDelimitedCodec>;

async fn say(io: &mut Io, request: Request) -> Result<(), Failure> {
    io.send(Bytes::from(codec::encode(&request))).await.map_err(|_| Failure::Lost)
}

async fn next(io: &mut Io) -> Result<Answer, Failure> {
    let frame = io.next().await.ok_or(Failure::Lost)?.map_err(|_| Failure::Lost)?;
    codec::decode(&frame).map_err(|_| Failure::Misbehaved)
}
