//! A channel with a member: the Noise handshake on a stream, and then frames both ways.
//!
//! ```text
//! opener                                   accepter
//! suite ‖ purpose ‖ msg1 ────────────────▶
//!                        ◀──────────────── msg2: who the accepter is
//! msg3: who the opener is ───────────────▶ the swarm decides: this channel, or another?
//!                        ◀──────────────── an empty frame: this one
//! frames ◀───────────────────────────────▶ frames
//! ```
//!
//! > The swarm hears of a channel only when both sides are proven, and the opener only when the
//! > accepter has chosen it. Nothing but frames ever leaves here.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use protocol::{
    endpoint::Endpoint,
    ids::{MemberId, Timestamp},
    noise::{self, NoiseKey, Peer, Purpose, Session, Suite, Terms},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    beat::{Beat, Noted},
    frames,
    mesh::{ChannelEnd, MeshReport},
    queue,
};

/// Who this node is in channels, for as long as its key is certified.
pub(super) struct Local {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) key: NoiseKey,
    pub(super) clock: fn() -> Timestamp,
}

/// Which side of a handshake this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Opener,
    Accepter,
}

/// What a channel's task is made of.
pub(super) struct Opening<S> {
    /// Chosen by the swarm.
    pub(super) task: u64,
    pub(super) stream: S,
    pub(super) side: Side,
    pub(super) local: Arc<Local>,
    /// The members whose cards name the connection's PeerId: the peer must be one of them.
    pub(super) allowed: BTreeSet<MemberId>,
    pub(super) outbound: queue::Receiver,
    /// Where it is noted when something comes.
    pub(super) beat: Arc<Beat>,
    /// Ends the task when dropped.
    pub(super) stop: oneshot::Receiver<()>,
    pub(super) reports: mpsc::Sender<MeshReport>,
    pub(super) events: mpsc::Sender<ChannelEvent>,
}

/// What a channel's task tells the swarm.
pub(super) enum ChannelEvent {
    /// The peer is proven; the channel begins when `go` is answered and ends if it is dropped.
    Proven { task: u64, peer: Box<Peer>, go: oneshot::Sender<()> },
    /// The task is over; comes once for each task, last.
    Ended { task: u64, end: ChannelEnd },
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the other side may take none of what is written.
const STALLED: Duration = Duration::from_secs(30);

/// How often it is told that keys were replaced, in milliseconds: once an hour.
const REKEYED_MS: u64 = 60 * 60 * 1000;

/// Every node has ML-KEM: nobody is met without.
const TERMS: Terms<'static> =
    Terms { purpose: Purpose::Channel, session: None, suite: Suite::Hybrid };

/// Runs a channel from handshake to end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(opening: Opening<S>) {
    let (task, events) = (opening.task, opening.events.clone());
    let end = live(opening).await;
    // Where the swarm is gone, so is everybody who would want to know.
    let _ = events.send(ChannelEvent::Ended { task, end }).await;
}

async fn live<S: AsyncRead + AsyncWrite + Unpin + Send>(opening: Opening<S>) -> ChannelEnd {
    let Opening {
        task,
        mut stream,
        side,
        local,
        allowed,
        mut outbound,
        beat,
        stop,
        reports,
        events,
    } = opening;
    let life = async {
        let shaken = timeout(HANDSHAKE, shake(&mut stream, side, &local, &allowed)).await;
        let (mut session, peer) = match shaken.unwrap_or(Err(ChannelEnd::Slow)) {
            Ok(shaken) => shaken,
            Err(end) => return end,
        };
        let clock = local.clock;
        drop(local);
        let member = peer.member;
        let (go, chosen) = oneshot::channel();
        if events.send(ChannelEvent::Proven { task, peer: Box::new(peer), go }).await.is_err()
            || chosen.await.is_err()
        {
            return ChannelEnd::Replaced;
        }
        if side == Side::Accepter && confirm(&mut stream, &mut session, clock).await.is_err() {
            return ChannelEnd::Closed;
        }
        let session = Mutex::new(session);
        let (input, mut output) = stream.split();
        let mut input = Noted { stream: input, beat: &beat };
        tokio::select! {
            end = read(&mut input, &session, clock, member, &reports) => end,
            end = write(&mut output, &session, clock, &mut outbound) => end,
        }
    };
    tokio::select! {
        end = life => end,
        _ = stop => ChannelEnd::Closed,
    }
}

/// Shows the other side of a stream who this is, and that it is this member: a channel's handshake, and nothing after it.
pub(super) async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    side: Side,
    local: &Local,
    member: MemberId,
) -> Result<(), ChannelEnd> {
    let allowed = BTreeSet::from([member]);
    let shaken = timeout(HANDSHAKE, shake(stream, side, local, &allowed)).await;
    let (mut session, _) = shaken.unwrap_or(Err(ChannelEnd::Slow))?;
    match side {
        Side::Opener => Ok(()),
        Side::Accepter => confirm(stream, &mut session, local.clock).await,
    }
}

/// The handshake, and for the opener the accepter's choice.
async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    side: Side,
    local: &Local,
    allowed: &BTreeSet<MemberId>,
) -> Result<(Session, Peer), ChannelEnd> {
    let Local { endpoint: me, key, clock } = local;
    let mut rng = rng().ok_or(ChannelEnd::Broken)?;
    match side {
        Side::Opener => {
            let (expect, one) =
                noise::initiate(TERMS, key, me, &mut rng).map_err(|_| ChannelEnd::Broken)?;
            write_now(stream, &one).await?;
            let two = frames::read(stream).await.map_err(|_| ChannelEnd::Closed)?;
            let verified = expect.read(&two, clock()).map_err(|_| ChannelEnd::Broken)?;
            let peer = verified.peer().clone();
            if !allowed.contains(&peer.member) {
                return Err(ChannelEnd::Broken);
            }
            let (three, mut session) = verified.finish(&[]).map_err(|_| ChannelEnd::Broken)?;
            write_now(stream, &three).await?;
            let choice = frames::read(stream).await.map_err(|_| ChannelEnd::Closed)?;
            match session.open(&choice) {
                Ok(frame) if frame.is_empty() => Ok((session, peer)),
                _ => Err(ChannelEnd::Broken),
            }
        }
        Side::Accepter => {
            let one = frames::read(stream).await.map_err(|_| ChannelEnd::Closed)?;
            let (expect, two) = noise::respond(TERMS, key, me, &one, &[], &mut rng)
                .map_err(|_| ChannelEnd::Broken)?;
            write_now(stream, &two).await?;
            let three = frames::read(stream).await.map_err(|_| ChannelEnd::Closed)?;
            let (session, peer, _) =
                expect.read(&three, clock()).map_err(|_| ChannelEnd::Broken)?;
            if !allowed.contains(&peer.member) {
                return Err(ChannelEnd::Broken);
            }
            Ok((session, peer))
        }
    }
}

async fn confirm(
    stream: &mut (impl AsyncWrite + Unpin),
    session: &mut Session,
    clock: fn() -> Timestamp,
) -> Result<(), ChannelEnd> {
    let frame = session.seal(&[], clock()).map_err(|_| ChannelEnd::Broken)?;
    in_time(write_now(stream, &frame)).await?
}

async fn write_now(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), ChannelEnd> {
    frames::write(stream, frame).await.map_err(|_| ChannelEnd::Closed)?;
    stream.flush().await.map_err(|_| ChannelEnd::Closed)
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    session: &Mutex<Session>,
    clock: fn() -> Timestamp,
    member: MemberId,
    reports: &mpsc::Sender<MeshReport>,
) -> ChannelEnd {
    let mut rekeys = Rekeys::default();
    loop {
        let sealed = match frames::read(stream).await {
            Ok(sealed) => sealed,
            Err(frames::ReadError::Ended) => return ChannelEnd::Closed,
            Err(frames::ReadError::TooLong { .. }) => return ChannelEnd::Broken,
        };
        let (opened, replaced) = {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            (session.open(&sealed), session.rekeys())
        };
        let Ok(frame) = opened else { return ChannelEnd::Broken };
        if let Some(times) = rekeys.due(replaced, clock())
            && reports.send(MeshReport::Rekeyed { member, times }).await.is_err()
        {
            return ChannelEnd::Closed;
        }
        if reports.send(MeshReport::Frame { member, frame }).await.is_err() {
            return ChannelEnd::Closed;
        }
    }
}

/// What was told of keys that were replaced, and when.
#[derive(Default)]
struct Rekeys {
    told: u64,
    at: Option<Timestamp>,
}

impl Rekeys {
    /// How many more there are than were told, where it is time to tell.
    fn due(&mut self, replaced: u64, now: Timestamp) -> Option<u32> {
        let more = replaced.saturating_sub(self.told);
        let late = self.at.is_none_or(|at| now < at || now.ms_since(at) >= REKEYED_MS);
        if more == 0 || !late {
            return None;
        }
        (self.told, self.at) = (replaced, Some(now));
        Some(u32::try_from(more).unwrap_or(u32::MAX))
    }
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    session: &Mutex<Session>,
    clock: fn() -> Timestamp,
    outbound: &mut queue::Receiver,
) -> ChannelEnd {
    while let Some(frame) = outbound.next().await {
        let sealed = session.lock().unwrap_or_else(PoisonError::into_inner).seal(&frame, clock());
        // Too long a frame is an error of this node's own; the other side must not suffer for it.
        let Ok(sealed) = sealed else { continue };
        let written = in_time(async {
            frames::write(stream, &sealed).await?;
            if outbound.is_empty() { stream.flush().await } else { Ok(()) }
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return ChannelEnd::Closed,
            Err(end) => return end,
        }
    }
    ChannelEnd::Closed
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, ChannelEnd> {
    timeout(STALLED, work).await.map_err(|_| ChannelEnd::Slow)
}

/// A source of randomness of this handshake's own.
pub(super) fn rng() -> Option<ChaCha20Rng> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).ok()?;
    Some(ChaCha20Rng::from_seed(*seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_replaced_without_end_are_told_of_once_an_hour_and_all() {
        let start = Timestamp(1_800_000_000_000);
        let mut rekeys = Rekeys::default();
        assert_eq!(rekeys.due(0, start), None);
        assert_eq!(rekeys.due(1, start), Some(1));
        assert_eq!(rekeys.due(900, start.plus_ms(REKEYED_MS - 1)), None);
        assert_eq!(rekeys.due(901, start.plus_ms(REKEYED_MS)), Some(900));
        assert_eq!(rekeys.due(901, start.plus_ms(9 * REKEYED_MS)), None, "nothing new");
        assert_eq!(rekeys.due(902, start), Some(1), "whatever the clock does");
    }
}
