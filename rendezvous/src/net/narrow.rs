//! Yamux with few streams and windows that don't grow: what a client can make a relay hold.
//!
//! Yamux as it comes doubles a stream's window, from 256 KiB on, for whoever sends fast and answers
//! its pings late, up to 1 GiB a connection. All of it may be in memory as soon as the relay reads no
//! further. Here twice [`streams`] windows of 256 KiB are the bound, and one stream more by the client ends
//! the connection.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use futures::{
    AsyncRead, AsyncWrite,
    future::{self, Ready},
};
use libp2p::{
    core::{
        StreamMuxer, UpgradeInfo,
        muxing::StreamMuxerEvent,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    yamux,
};

use crate::limits::Limits;

/// Streams of one connection beside those of circuits, opened by each side: the log service's,
/// Identify's and Ping's, and as many again for those that are being closed or negotiated.
const STREAMS: usize = 8;

/// Streams of one connection that each side may open.
pub(super) fn streams(limits: &Limits) -> usize {
    STREAMS + limits.circuits_per_peer as usize
}

/// With so many windows guaranteed, Yamux has none left to let one grow; [`streams`] is what
/// counts them.
const GUARANTEED: usize = 4096;

/// The upgrade of a connection.
#[derive(Clone)]
pub(super) struct Narrow {
    config: yamux::Config,
    streams: usize,
}

/// The connection.
pub(super) struct Muxer<C> {
    inner: yamux::Muxer<C>,
    streams: usize,
    /// Cloned into each stream that the client opened, and into each that the relay did.
    theirs: Arc<()>,
    ours: Arc<()>,
    waiting: VecDeque<Stream>,
    waker: Option<Waker>,
}

/// One stream of it.
pub(super) struct Stream {
    inner: yamux::Stream,
    _open: Arc<()>,
}

/// A client has more streams open than it may.
#[derive(Debug, thiserror::Error)]
#[error("too many streams")]
struct TooMany;

impl Narrow {
    pub(super) fn new(streams: usize) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(GUARANTEED);
        Self { config, streams }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> Muxer<C> {
    fn new(inner: yamux::Muxer<C>, streams: usize) -> Self {
        let [theirs, ours] = [(); 2].map(Arc::new);
        Self { inner, streams, theirs, ours, waiting: VecDeque::new(), waker: None }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        if Arc::strong_count(&self.theirs) > self.streams {
            return Poll::Ready(Err(io::Error::other(TooMany)));
        }
        Poll::Ready(Ok(Stream { inner, _open: Arc::clone(&self.theirs) }))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.next(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    /// Waits while there are too many: others may want circuits to this client, and it has done no
    /// wrong. Who asks gives up by itself.
    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        if Arc::strong_count(&self.ours) > self.streams {
            return Poll::Pending;
        }
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(Stream { inner, _open: Arc::clone(&self.ours) }))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(io::Error::from)
    }

    /// Drives the connection while nobody asks for streams; those that come wait.
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, io::Error>> {
        let stream = ready!(self.next(cx))?;
        self.waiting.push_back(stream);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl UpgradeInfo for Narrow {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.config.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Narrow {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, info: Self::Info) -> Self::Future {
        let made = self.config.upgrade_inbound(io, info).into_inner();
        future::ready(made.map(|muxer| Muxer::new(muxer, self.streams)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Narrow {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, info: Self::Info) -> Self::Future {
        let made = self.config.upgrade_outbound(io, info).into_inner();
        future::ready(made.map(|muxer| Muxer::new(muxer, self.streams)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
