//! A TCP connection whose other end is gone ends by itself.
//!
//! > Of an end that is there something comes every ten seconds at least: its ping after five, and where what was
//! > written to it keeps the answer waiting, that it gives that ping up and sends another. So a connection on which
//! > nothing has come for [`SILENT`] is dead.
//!
//! It is noted here, below Noise and yamux: whatever waits in their queues and windows, or on a slow link, each byte that
//! gets through counts. QUIC ends a connection by itself ten seconds after the last packet came. TCP would wait for
//! minutes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{AsyncRead, AsyncWrite};
use libp2p::tcp::tokio::TcpStream;
use tokio::{
    io::ReadBuf,
    time::{Instant, Sleep, sleep},
};

/// How long nothing may come: ten seconds, and five for what the network loses or is late with.
pub(super) const SILENT: Duration = Duration::from_secs(15);
/// A task that wakes so much later than it wanted to was held up.
const LATE: Duration = Duration::from_millis(500);
/// For how long it looks then at what has come meanwhile.
const GRACE: Duration = Duration::from_secs(2);

/// A TCP stream that fails where nothing comes.
pub(super) struct Watched {
    stream: TcpStream,
    /// When something came last; at first, when it was made.
    heard: Instant,
    /// When to look whether that is too long ago.
    look: Pin<Box<Sleep>>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, heard: Instant::now(), look: Box::pin(sleep(SILENT)) }
    }

    /// Ready once nothing has come for too long. To be asked where nothing is there to be read.
    fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let wanted = self.look.deadline();
            ready!(self.look.as_mut().poll(cx));
            let now = Instant::now();
            let next = if now < self.heard + SILENT {
                self.heard + SILENT
            } else if now.duration_since(wanted) > LATE {
                now + GRACE
            } else {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            };
            self.look.as_mut().reset(next);
        }
    }

    /// What came of writing. Where that waits, whoever writes may not read until it goes on.
    fn or_silent<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_pending()
            && self.stream.0.poll_peek(cx, &mut ReadBuf::new(&mut [0])).is_pending()
            && let Poll::Ready(error) = self.poll_silent(cx)
        {
            return Poll::Ready(Err(error));
        }
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, bytes);
        match read {
            Poll::Ready(Ok(1..)) => this.heard = Instant::now(),
            Poll::Ready(_) => {}
            Poll::Pending => return this.poll_silent(cx).map(Err),
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.or_silent(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.or_silent(cx, flushed)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
    use tokio::{
        io::AsyncWriteExt as _,
        net::{self, TcpListener},
        time::timeout,
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two ends of a connection, of which the first is watched.
    async fn ends() -> (Watched, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (near, _) = listener.accept().await.unwrap();
        (Watched::new(TcpStream(near)), far)
    }

    impl Watched {
        /// As after so long a time in which nothing came, and in which it looked so late.
        fn age(&mut self, by: Duration, late: Duration) {
            let now = Instant::now();
            self.heard = now - by;
            self.look.as_mut().reset(now - late);
        }

        /// Whether it still waits for something to be read.
        fn waits(&mut self) -> bool {
            self.read(&mut [0]).now_or_never().is_none()
        }
    }

    #[tokio::test]
    async fn what_hears_nothing_for_fifteen_seconds_fails() {
        let (mut near, mut far) = ends().await;
        near.age(SILENT - SECOND, Duration::ZERO);
        // A byte of whatever it is, and as late as it may be.
        far.write_all(b"here").await.unwrap();
        let mut bytes = [0; 4];
        near.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"here");
        near.age(near.heard.elapsed(), Duration::ZERO);
        assert!(timeout(SECOND, near.read(&mut bytes)).await.is_err());
        assert_eq!(near.look.deadline(), near.heard + SILENT, "counted from there");
        near.age(SILENT - SECOND / 5, Duration::ZERO);
        let last = near.heard;
        let error = near.read(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(last.elapsed() >= SILENT);
    }

    #[tokio::test]
    async fn who_never_says_anything_is_looked_at_in_fifteen_seconds_too() {
        let (near, _far) = ends().await;
        let first = near.look.deadline().duration_since(near.heard);
        assert!((SILENT..SILENT + SECOND).contains(&first), "{first:?}");
        assert!(near.heard.elapsed() < SILENT, "by then it counts as heard");
    }

    #[tokio::test]
    async fn who_was_held_up_looks_at_what_came_before_it_takes_anybody_for_gone() {
        let (mut near, mut far) = ends().await;
        near.age(2 * SILENT, SILENT);
        // Whatever has come by then may lie where this task has not looked yet.
        assert!(near.waits());
        far.write_all(b"here").await.unwrap();
        let mut bytes = [0; 4];
        near.read_exact(&mut bytes).await.unwrap();
        assert!(near.waits());
        // Of who is gone it hears nothing meanwhile either.
        near.age(2 * SILENT, SILENT);
        let from = Instant::now();
        let error = near.read(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(from.elapsed() >= GRACE);
    }

    #[tokio::test]
    async fn who_writes_and_does_not_read_fails_where_nothing_is_there_to_be_read() {
        for speaks in [false, true] {
            let (mut near, mut far) = ends().await;
            if speaks {
                far.write_all(b"unread").await.unwrap();
                assert_eq!(near.stream.0.peek(&mut [0]).await.unwrap(), 1);
            }
            near.age(SILENT, Duration::ZERO);
            // The other end takes nothing: it is full at some time.
            let full = async {
                let all = vec![0; 1 << 20];
                loop {
                    if let Err(error) = near.write(&all).await {
                        return error.kind();
                    }
                }
            };
            if speaks {
                assert!(timeout(2 * GRACE, full).await.is_err());
            } else {
                assert_eq!(full.await, io::ErrorKind::TimedOut);
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_no_sign_of_life_and_no_silence() {
        let (mut near, far) = ends().await;
        let heard = near.heard;
        drop(far);
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(near.heard, heard);
        near.age(SILENT, Duration::ZERO);
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    }
}
