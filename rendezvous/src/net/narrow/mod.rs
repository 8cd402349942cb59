//! Yamux with few streams, windows that don't grow, and few frames unread: what a client can make a relay
//! hold.
//!
//! Yamux as it comes doubles a stream's window, from 256 KiB on, for whoever sends fast and answers
//! its pings late, up to 1 GiB a connection, and keeps each frame by itself, however short it is. All of it
//! may be in memory as soon as the relay reads no further. Here twice [`streams`] windows of 256 KiB are the
//! bound, one stream more by the client ends the connection, and with [`UNREAD_FRAMES`](crate::limits::UNREAD_FRAMES)
//! frames unread the stream that has most of them is reset; until the client hears of it, it is read no
//! further, so that one that does not read answers no ping in the end.
//!
//! > A stream ends with its connection, whoever ended that, and what was unread of it is gone.

mod followed;
mod frames;
mod silence;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io, iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures::{
    AsyncRead, AsyncWrite,
    future::{self, Ready},
};
use libp2p::core::{
    StreamMuxer, UpgradeInfo,
    muxing::StreamMuxerEvent,
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use tokio::time::Sleep;
use yamux::{Config, Connection, ConnectionError, DEFAULT_CREDIT, Mode};

use crate::limits::Limits;
use followed::Followed;
use frames::Frames;
use silence::Silence;
use stream::Stream;

/// Streams of one connection beside those of circuits, opened by each side: the log service's,
/// Identify's and Ping's, and as many again for those that are being closed or negotiated.
const STREAMS: usize = 8;

/// How long a connection may take to be closed, with what was said before: one that is not read would take
/// for ever.
const GOODBYE: Duration = Duration::from_secs(5);

/// Streams of one connection that each side may open.
pub(super) fn streams(limits: &Limits) -> usize {
    STREAMS + limits.circuits_per_peer as usize
}

/// The upgrade of a connection.
#[derive(Clone)]
pub(super) struct Narrow {
    config: Config,
    streams: usize,
    /// For how long, and once more, nothing may be heard of a client.
    silent: Duration,
}

/// The connection.
pub(super) struct Muxer<C> {
    connection: Connection<Followed<C>>,
    frames: Arc<Frames>,
    silence: Silence,
    streams: usize,
    /// Cloned into each stream that the client opened, and into each that the relay did.
    theirs: Arc<()>,
    ours: Arc<()>,
    waiting: VecDeque<Stream>,
    waker: Option<Waker>,
    goodbye: Option<Pin<Box<Sleep>>>,
}

/// A client has more streams open than it may.
#[derive(Debug, thiserror::Error)]
#[error("too many streams")]
struct TooMany;

impl Narrow {
    pub(super) fn new(streams: usize, silent: Duration) -> Self {
        let all = 2 * streams;
        let mut config = Config::default();
        // What was dropped counts as well, until Yamux could say so to the client. With each window
        // guaranteed there is none left to let one grow.
        config.set_max_connection_receive_window(None);
        config.set_max_num_streams(all);
        config.set_max_connection_receive_window(Some(all * DEFAULT_CREDIT as usize));
        config.set_read_after_close(false);
        Self { config, streams, silent }
    }

    fn over<C>(self, io: C, mode: Mode) -> Muxer<C>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let frames = Arc::new(Frames::new(2 * self.streams));
        let io = Followed::new(io, Arc::clone(&frames));
        let [theirs, ours] = [(); 2].map(Arc::new);
        Muxer {
            connection: Connection::new(io, self.config, mode),
            frames,
            silence: Silence::new(self.silent),
            streams: self.streams,
            theirs,
            ours,
            waiting: VecDeque::new(),
            waker: None,
            goodbye: None,
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> Muxer<C> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        if self.silence.poll(&self.frames, cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let next = self.frames.turn(|| self.connection.poll_next_inbound(cx));
        let inner = ready!(next).unwrap_or(Err(ConnectionError::Closed)).map_err(plainly)?;
        if Arc::strong_count(&self.theirs) > self.streams {
            return Poll::Ready(Err(io::Error::other(TooMany)));
        }
        Poll::Ready(Ok(Stream::new(self.frames.open(inner), &self.theirs)))
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
        // Yamux would end the connection where dropped ones take the rest.
        if Arc::strong_count(&self.ours) > self.streams || self.frames.streams() >= 2 * self.streams
        {
            return Poll::Pending;
        }
        let inner = ready!(self.connection.poll_new_outbound(cx)).map_err(plainly)?;
        Poll::Ready(Ok(Stream::new(self.frames.open(inner), &self.ours)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.connection.poll_close(cx).map_err(plainly);
        self.frames.close();
        if closed.is_ready() {
            return closed;
        }
        let goodbye = self.goodbye.get_or_insert_with(|| Box::pin(tokio::time::sleep(GOODBYE)));
        goodbye.as_mut().poll(cx).map(Ok)
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

fn plainly(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(error) => error,
        error => io::Error::other(error),
    }
}

impl UpgradeInfo for Narrow {
    type Info = &'static str;
    type InfoIter = iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Narrow {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_inbound(self, io: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(self.over(io, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Narrow {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Muxer<C>>>;

    fn upgrade_outbound(self, io: C, _: Self::Info) -> Self::Future {
        future::ready(Ok(self.over(io, Mode::Client)))
    }
}
