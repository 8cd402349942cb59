//! One entry appended to a log of its own, and read back; and the relay's clock.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use libp2p::Multiaddr;
use protocol::{
    limits::BUCKETS,
    relay_log::{Answer, LogKeys, Refusal, RelayToken},
};

use super::{
    super::client::{ClientError, LogClient},
    Finding, PATIENCE, SKEW_MS, Trial,
};

const HANDLE: u32 = 1;

/// Why the log service did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("it refuses: {0}")]
    Refused(Refusal),
    #[error("no randomness from the operating system")]
    Random,
}

/// Appends and reads back; says how the clocks differ.
pub(super) async fn try_out(addr: &Multiaddr, token: Option<&RelayToken>) -> Vec<Finding> {
    const ASK: &str = "Ask whoever runs it for one; name the relay with its key (/p2p/12D3…), and the \
                       token by --token-file FILE.";
    const RENEW: &str =
        "It was revoked, has run out or was never of this relay: ask whoever runs it.";
    const LOST: &str =
        "Its log says why, at WATTLE_LOG=debug. Is it a wattle-rendezvous of this version?";
    const FULL: &str = "Is its disk full, or its quota? Its log and its settings say.";
    let mut seen = Seen::default();
    let tried = tokio::time::timeout(PATIENCE, round_trip(addr, token, &mut seen)).await;
    let log = match tried {
        Ok(Ok(took)) => Finding::works(Trial::Log, format!("stored and read back in {took} ms")),
        Ok(Err(Failure::Client(failure @ ClientError::TokenNeeded))) => {
            Finding::fails(Trial::Token, failure, ASK)
        }
        Ok(Err(Failure::Client(failure @ ClientError::TokenRefused(_)))) => {
            Finding::fails(Trial::Token, failure, RENEW)
        }
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
    addr: &Multiaddr,
    token: Option<&RelayToken>,
    seen: &mut Seen,
) -> Result<u128, Failure> {
    let mut client = LogClient::connect(addr, &Arc::default()).await?;
    let mine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    seen.clock = Some((client.hello().now_ms, u64::try_from(mine).unwrap_or(u64::MAX)));
    seen.token = client.authorize(token).await?;
    let [mut write, mut read] = [[0; 32]; 2];
    let mut entry = vec![0; BUCKETS[0]];
    for bytes in [&mut write[..], &mut read, &mut entry] {
        getrandom::fill(bytes).map_err(|_| Failure::Random)?;
    }
    let keys = LogKeys::from_seeds(write, read, None);
    client.asking().open(HANDLE, &keys).await?;
    let start = Instant::now();
    client.asking().follow(HANDLE, None).await?;
    client.asking().append(0, HANDLE, entry.clone()).await?;
    let (mut stored, mut back) = (false, false);
    while !(stored && back) {
        match client.next().await? {
            Answer::Appended { .. } => stored = true,
            Answer::Entries { entries, .. } => {
                back |= entries.iter().any(|it| it.bytes[..] == entry[..]);
            }
            Answer::Leaving { .. } => return Err(ClientError::Lost.into()),
            Answer::OpenRefused { reason, .. }
            | Answer::AppendRefused { reason, .. }
            | Answer::FollowRefused { reason, .. } => return Err(Failure::Refused(reason)),
            Answer::Opened { .. } | Answer::CaughtUp { .. } | Answer::Begins { .. } => {}
            _ => return Err(ClientError::Misbehaved.into()),
        }
    }
    Ok(start.elapsed().as_millis())
}
