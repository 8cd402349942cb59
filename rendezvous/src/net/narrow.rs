//! Yamux with few streams and windows that don't grow: what a client can make a relay hold.
//!
//! Yamux as it comes doubles a stream's window, from 256 KiB on, for whoever sends fast and answers
//! its pings late, up to 1 GiB a connection. All of it may be in memory as soon as the relay reads no
//! further. Here [`MAX_STREAMS`] windows of 256 KiB are the bound, and one stream more ends the
//! connection.

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

/// Streams of one connection that a client may have open: the log service's, Identify's and Ping's,
/// and as many again for those that are being closed or negotiated.
pub(super) const MAX_STREAMS: usize = 8;

/// With so many windows guaranteed, Yamux has none left to let one grow; [`MAX_STREAMS`] is what
/// counts them.
const GUARANTEED: usize = 4096;

/// The upgrade of a connection.
#[derive(Clone)]
pub(super) struct Narrow(yamux::Config);

/// The connection.
pub(super) struct Muxer<C> {
    inner: yamux::Muxer<C>,
    /// Cloned into each stream.
    open: Arc<()>,
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
    pub(super) fn new() -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(GUARANTEED);
        Self(config)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> Muxer<C> {
    fn new(inner: yamux::Muxer<C>) -> Self {
        Self { inner, open: Arc::new(()), waiting: VecDeque::new(), waker: None }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        if Arc::strong_count(&self.open) > MAX_STREAMS {
            return Poll::Ready(Err(io::Error::other(TooMany)));
        }
        Poll::Ready(Ok(Stream { inner, _open: Arc::clone(&self.open) }))
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

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(Stream { inner, _open: Arc::clone(&self.open) }))
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
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Narrow {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, info: Self::Info) -> Self::Future {
        future::ready(self.0.upgrade_inbound(io, info).into_inner().map(Muxer::new))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Narrow {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, info: Self::Info) -> Self::Future {
        future::ready(self.0.upgrade_outbound(io, info).into_inner().map(Muxer::new))
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
