//! When something came on a connection, as its streams' tasks note it: a sign of life where the network has changed.

use std::{
    io,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use futures::AsyncRead;
use tokio::time::{Duration, Instant};

/// When something came last on a connection.
pub(super) struct Beat {
    since: Instant,
    /// When bytes were read last, in milliseconds from then.
    read: AtomicU64,
}

impl Beat {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, read: AtomicU64::new(0) }
    }

    /// Bytes came.
    pub(super) fn note_read(&self, now: Instant) {
        let ms = u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        self.read.fetch_max(ms, Ordering::Relaxed);
    }

    /// When bytes came last; at first, when the connection was made.
    pub(super) fn read(&self) -> Instant {
        self.since + Duration::from_millis(self.read.load(Ordering::Relaxed))
    }
}

/// A stream of which each byte that comes is noted.
pub(super) struct Noted<'a, S> {
    pub(super) stream: S,
    pub(super) beat: &'a Beat,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, bytes);
        if matches!(read, Poll::Ready(Ok(len)) if len > 0) {
            this.beat.note_read(Instant::now());
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt as _, executor::block_on, io::Cursor};

    use super::*;

    /// Until the clock shows something else.
    fn wait(from: Instant) {
        while from.elapsed() < Duration::from_millis(2) {}
    }

    #[test]
    fn each_byte_that_comes_is_noted_and_an_end_is_none() {
        let start = Instant::now();
        let beat = Beat::new(start);
        assert_eq!(beat.read(), start);
        let mut stream = Noted { stream: Cursor::new([7; 3]), beat: &beat };
        let mut bytes = [0; 2];
        let mut last = start;
        for len in [2, 1] {
            wait(last);
            assert_eq!(block_on(stream.read(&mut bytes)).unwrap(), len);
            assert!(beat.read() > last && beat.read() <= Instant::now());
            last = beat.read();
        }
        wait(Instant::now());
        assert_eq!(block_on(stream.read(&mut bytes)).unwrap(), 0);
        assert_eq!(beat.read(), last);
        // Of two tasks that note at once the later counts.
        beat.note_read(start);
        assert_eq!(beat.read(), last);
    }
}
