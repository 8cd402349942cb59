//! One stream of a connection: Yamux's, with what is read of it counted, and an end when it is reset or the
//! connection is closed from here.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use super::frames::{Closed, Lane};

/// The stream.
pub(in crate::net) struct Stream {
    lane: Lane,
    _open: Arc<()>,
}

impl Stream {
    pub(super) fn new(lane: Lane, open: &Arc<()>) -> Self {
        Self { lane, _open: Arc::clone(open) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = self.lane.ask(|stream| stream.poll_read(cx, buffer));
        match read {
            Poll::Ready(Ok(bytes)) => self.lane.took(bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if let Err(Closed) = self.lane.wait_to_read(cx) {
                    return Poll::Ready(Ok(0));
                }
            }
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.lane.ask(|stream| stream.poll_write(cx, bytes));
        if written.is_pending()
            && let Err(Closed) = self.lane.wait_to_write(cx)
        {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lane.ask(|stream| stream.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lane.ask(|stream| stream.poll_close(cx))
    }
}
