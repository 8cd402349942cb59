//! What lies below Yamux, its frames followed as they are read: where each begins, of which stream it is,
//! how long. Nothing is changed.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};
use yamux::DEFAULT_CREDIT;

use super::frames::{Came, Frames};

/// Bytes of a frame's header.
const HEADER: usize = 12;
/// The type of a frame that carries data; the others are a header alone.
const DATA: u8 = 0;
/// The flag of a frame that resets its stream; what is in it is thrown away.
const RESET: u8 = 8;

/// A connection, and the frames that come on it.
pub(super) struct Followed<C> {
    inner: C,
    frames: Arc<Frames>,
    at: At,
}

/// What the next byte belongs to.
enum At {
    Header { bytes: [u8; HEADER], len: usize },
    Body { left: usize },
}

/// A frame that no window lets through: Yamux would make room for it before it looks.
#[derive(Debug, thiserror::Error)]
#[error("a frame longer than any window")]
struct TooLong;

impl<C> Followed<C> {
    pub(super) fn new(inner: C, frames: Arc<Frames>) -> Self {
        Self { inner, frames, at: At::begin() }
    }

    fn follow(&mut self, mut read: &[u8]) -> Result<(), TooLong> {
        while !read.is_empty() {
            match &mut self.at {
                At::Header { bytes, len } => {
                    let part = read.len().min(HEADER - *len);
                    bytes[*len..*len + part].copy_from_slice(&read[..part]);
                    *len += part;
                    read = &read[part..];
                    if *len == HEADER {
                        let frame = came(bytes);
                        self.begins(frame)?;
                    }
                }
                At::Body { left } => {
                    let part = read.len().min(*left);
                    *left -= part;
                    read = &read[part..];
                    if *left == 0 {
                        self.at = At::begin();
                    }
                }
            }
        }
        Ok(())
    }

    fn begins(&mut self, (frame, body): (Came, u32)) -> Result<(), TooLong> {
        if body > DEFAULT_CREDIT {
            return Err(TooLong);
        }
        self.frames.came(frame);
        self.at = if body == 0 { At::begin() } else { At::Body { left: body as usize } };
        Ok(())
    }
}

impl At {
    fn begin() -> Self {
        Self::Header { bytes: [0; HEADER], len: 0 }
    }
}

/// What a header says: a frame for a stream to read, and how many bytes follow.
fn came(header: &[u8; HEADER]) -> (Came, u32) {
    let [_, kind, _, flags, a, b, c, d, e, f, g, h] = *header;
    if kind != DATA {
        return (Came::default(), 0);
    }
    let (stream, body) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let len = if flags & RESET == 0 { body } else { 0 };
    (Came { stream, len }, body)
}

impl<C: AsyncRead + Unpin> AsyncRead for Followed<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.frames.poll_room(cx));
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        if read > 0 {
            self.frames.hears();
        }
        self.follow(&buffer[..read]).map_err(io::Error::other)?;
        Poll::Ready(Ok(read))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Followed<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.frames.blocked(written.is_pending());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
