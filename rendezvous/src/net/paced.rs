//! A connection whose client opens no more streams than it may: each costs a negotiation, and what is
//! spoken on it. Beyond that the connection ends.

use std::{
    error::Error,
    io,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use libp2p::core::{StreamMuxer, muxing::StreamMuxerEvent};

use crate::{
    limits::{Limits, OPENED},
    pace::Pace,
    watch::{Counts, Why},
};

/// Streams that a client may open where circuits aren't paced, in a minute.
const UNPACED: u32 = 600;

/// How fast, and where it is counted who was faster.
#[derive(Clone)]
pub(super) struct Pacing {
    at_once: u32,
    counts: Arc<Counts>,
}

/// The connection.
pub(super) struct Paced<M> {
    inner: M,
    pace: Pace,
    counts: Arc<Counts>,
}

/// A client opened more streams in a while than it may.
#[derive(Debug, thiserror::Error)]
#[error("too many streams in a short time")]
struct TooFast;

impl Pacing {
    /// Each circuit is a stream of the client that asks for it, and each reservation.
    pub(super) fn new(limits: &Limits, counts: Arc<Counts>) -> Self {
        let a_minute = NonZeroU32::new(limits.circuits_per_min);
        let circuits = a_minute.map_or(UNPACED, |it| it.get().saturating_mul(2));
        let circuits = if limits.circuits == 0 { 0 } else { circuits };
        Self { at_once: OPENED.saturating_add(circuits), counts }
    }
}

impl<M> Paced<M> {
    pub(super) fn new(inner: M, pacing: &Pacing) -> Self {
        let again = Duration::from_secs(OPENED.into());
        let pace = Pace::within(pacing.at_once, again, Instant::now());
        Self { inner, pace, counts: Arc::clone(&pacing.counts) }
    }
}

impl<M> StreamMuxer for Paced<M>
where
    M: StreamMuxer + Unpin,
    M::Error: Error + Send + Sync + 'static,
{
    type Substream = M::Substream;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<M::Substream>> {
        let stream =
            ready!(Pin::new(&mut self.inner).poll_inbound(cx)).map_err(io::Error::other)?;
        if self.pace.try_take(1, Instant::now()).is_err() {
            self.counts.refuse(Why::TooFast);
            // Streams that are in use elsewhere would keep one over QUIC.
            let _ = Pin::new(&mut self.inner).poll_close(cx);
            return Poll::Ready(Err(io::Error::other(TooFast)));
        }
        Poll::Ready(Ok(stream))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<M::Substream>> {
        Pin::new(&mut self.inner).poll_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(io::Error::other)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx).map_err(io::Error::other)
    }
}
