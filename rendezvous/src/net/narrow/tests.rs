//! What Yamux is made to hold, by raw frames and by a client of Yamux.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, future::poll_fn};
use libp2p::core::muxing::StreamMuxerExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split},
    sync::{mpsc, oneshot},
    task::yield_now,
    time::timeout,
};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::*;
use crate::limits::UNREAD_FRAMES;

/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

const SYN: u8 = 1;
const RST: u8 = 8;

type Near = Muxer<Compat<DuplexStream>>;

/// A relay's side, and what a client has of the wire.
fn pair(buffer: usize) -> (Near, DuplexStream) {
    silent_for(PATIENCE, buffer)
}

/// The same, where the client may say nothing for so long.
fn silent_for(silent: Duration, buffer: usize) -> (Near, DuplexStream) {
    let (near, far) = duplex(buffer);
    (Narrow::new(8, silent).over(near.compat(), Mode::Server), far)
}

fn frame(stream: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap();
    let mut bytes = vec![0, 0, 0, flags, 0, 0, 0, stream, 0, 0, 0, len];
    bytes.extend_from_slice(body);
    bytes
}

fn byte(at: usize) -> u8 {
    at.to_le_bytes()[0]
}

/// Drives a connection until it ends, and hands out the streams that the client opens.
fn drive(mut muxer: Near) -> mpsc::Receiver<Stream> {
    let (streams, opened) = mpsc::channel(64);
    tokio::spawn(poll_fn(move |cx| {
        loop {
            if muxer.poll_unpin(cx).is_ready() {
                return Poll::Ready(());
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => streams.try_send(stream).unwrap(),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }));
    opened
}

/// A client of Yamux whose frames are of three bytes; it opens a stream for whoever asks.
fn client(io: DuplexStream) -> mpsc::Sender<oneshot::Sender<yamux::Stream>> {
    let (asks, mut asked) = mpsc::channel::<oneshot::Sender<_>>(1);
    let mut config = Config::default();
    config.set_split_send_size(3);
    let mut connection = Connection::new(io.compat(), config, Mode::Client);
    tokio::spawn(poll_fn(move |cx| {
        while let Poll::Ready(Some(asked)) = asked.poll_recv(cx) {
            let Poll::Ready(Ok(stream)) = connection.poll_new_outbound(cx) else { break };
            assert!(asked.send(stream).is_ok());
        }
        connection.poll_next_inbound(cx).map(|_| ())
    }));
    asks
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let soon = async {
        while !is_so() {
            yield_now().await;
        }
    };
    timeout(PATIENCE, soon).await.unwrap();
}

/// Lets all tasks go on as far as they can.
async fn rest() {
    for _ in 0..1000 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_stream_whose_one_byte_frames_nobody_reads_is_reset_and_the_others_go_on() {
    const SENT: usize = 20_000;
    let (muxer, far) = pair(1 << 16);
    let frames = Arc::clone(&muxer.frames);
    let mut opened = drive(muxer);
    let (mut reader, mut writer) = split(far);
    let sending = tokio::spawn(async move {
        for stream in [1, 3] {
            writer.write_all(&frame(stream, SYN, &[])).await.unwrap();
        }
        // So that it has more than the other at any time.
        for _ in 0..UNREAD_FRAMES * 3 / 4 {
            writer.write_all(&frame(1, 0, b"a")).await.unwrap();
        }
        for at in 0..SENT {
            writer.write_all(&frame(1, 0, b"a")).await.unwrap();
            writer.write_all(&frame(3, 0, &[byte(at)])).await.unwrap();
        }
        writer
    });
    let (mut stuck, mut other) = (opened.recv().await.unwrap(), opened.recv().await.unwrap());
    let mut read = vec![0; SENT];
    timeout(PATIENCE, other.read_exact(&mut read)).await.unwrap().unwrap();
    assert!(read.iter().enumerate().all(|(at, read)| *read == byte(at)));
    let _writer = sending.await.unwrap();
    let ended = stuck.read(&mut [0]).await.map_err(|error| error.kind());
    assert_eq!(ended, Err(io::ErrorKind::ConnectionReset));
    assert!(stuck.write(b"a").await.is_err() && stuck.flush().await.is_err());
    until(|| frames.count() == (0, 1)).await;
    let reset = frame(1, RST, &[]);
    let mut heard = Vec::new();
    let told = async {
        while !heard.windows(reset.len()).any(|window| window == reset) {
            heard.push(reader.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_waits_is_woken_when_it_is_reset() {
    let (muxer, far) = pair(1 << 16);
    let mut opened = drive(muxer);
    let (mut reader, mut writer) = split(far);
    tokio::spawn(async move { while reader.read(&mut [0; 4096]).await.is_ok_and(|it| it > 0) {} });
    writer.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let mut stream = opened.recv().await.unwrap();
    // As a circuit whose far side takes nothing: it writes and waits, and reads no more.
    let writing = tokio::spawn(async move { while stream.write_all(&[0; 4096]).await.is_ok() {} });
    rest().await;
    assert!(!writing.is_finished());
    for _ in 0..=UNREAD_FRAMES {
        writer.write_all(&frame(1, 0, b"a")).await.unwrap();
    }
    timeout(PATIENCE, writing).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_honest_connection_counts_nothing_in_the_end() {
    const SENT: usize = 6000;
    const ROUNDS: usize = 150;
    let (muxer, far) = pair(1 << 14);
    let frames = Arc::clone(&muxer.frames);
    let (mut opened, asks) = (drive(muxer), client(far));
    for round in 0..ROUNDS {
        let (ask, stream) = oneshot::channel();
        asks.send(ask).await.unwrap();
        let mut theirs = stream.await.unwrap();
        let writing = tokio::spawn(async move {
            // Where nobody reads, it is reset in the middle.
            let _ = theirs.write_all(&vec![7; SENT]).await;
            let _ = theirs.close().await;
        });
        let mut ours = timeout(PATIENCE, opened.recv()).await.unwrap().unwrap();
        let wanted = if round % 3 == 0 { SENT / 3 } else { SENT };
        let mut read = vec![0; wanted];
        timeout(PATIENCE, ours.read_exact(&mut read)).await.unwrap().unwrap();
        assert!(frames.count().0 <= UNREAD_FRAMES);
        drop(ours);
        timeout(PATIENCE, writing).await.unwrap().unwrap();
    }
    until(|| frames.count() == (0, 0)).await;
}

#[tokio::test]
async fn what_was_dropped_counts_until_yamux_can_let_go_of_it() {
    let (muxer, far) = pair(64);
    let frames = Arc::clone(&muxer.frames);
    let mut opened = drive(muxer);
    let (mut reader, mut writer) = split(far);
    writer.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let mut first = opened.recv().await.unwrap();
    // One is being written, one waits, and then nothing that was dropped is looked at.
    for _ in 0..2 {
        first.write_all(&[0; 1000]).await.unwrap();
        rest().await;
    }
    writer.write_all(&frame(3, SYN, b"b")).await.unwrap();
    let mut second = opened.recv().await.unwrap();
    second.read_exact(&mut [0]).await.unwrap();
    assert!(second.read(&mut [0]).now_or_never().is_none());
    let waiting = frames.wakers();
    drop(second);
    assert_eq!(frames.wakers(), waiting - 1, "nobody waits for it any more");
    let sending =
        tokio::spawn(async move { while writer.write_all(&frame(3, 0, b"c")).await.is_ok() {} });
    until(|| frames.count().0 >= UNREAD_FRAMES).await;
    rest().await;
    assert_eq!(frames.count(), (UNREAD_FRAMES, 2), "the client doesn't read");

    let reading = tokio::spawn(async move { while reader.read(&mut [0; 64]).await.is_ok() {} });
    until(|| frames.count() == (1, 1)).await;
    sending.abort();
    reading.abort();
}

#[tokio::test]
async fn what_was_reset_counts_until_yamux_can_let_go_of_it() {
    let (muxer, far) = pair(64);
    let frames = Arc::clone(&muxer.frames);
    let mut opened = drive(muxer);
    let (mut reader, mut writer) = split(far);
    writer.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let mut first = opened.recv().await.unwrap();
    for _ in 0..2 {
        first.write_all(&[0; 1000]).await.unwrap();
        rest().await;
    }
    writer.write_all(&frame(3, SYN, b"b")).await.unwrap();
    let mut second = opened.recv().await.unwrap();
    let sending =
        tokio::spawn(async move { while writer.write_all(&frame(3, 0, b"c")).await.is_ok() {} });
    until(|| frames.count().0 >= UNREAD_FRAMES).await;
    rest().await;
    assert_eq!(frames.count(), (UNREAD_FRAMES, 2), "the client doesn't read");
    assert!(second.read(&mut [0]).await.is_err(), "it is reset");

    let reading = tokio::spawn(async move { while reader.read(&mut [0; 64]).await.is_ok() {} });
    until(|| frames.count() == (1, 1)).await;
    sending.abort();
    reading.abort();
}

#[tokio::test]
async fn no_more_streams_are_remembered_than_yamux_knows_though_a_write_is_always_pending() {
    let (muxer, far) = pair(64);
    let frames = Arc::clone(&muxer.frames);
    let mut opened = drive(muxer);
    let (mut reader, mut writer) = split(far);
    writer.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let mut first = opened.recv().await.unwrap();
    let writing = tokio::spawn(async move { while first.write_all(&[0; 1000]).await.is_ok() {} });
    for at in 1..100 {
        writer.write_all(&frame(byte(2 * at + 1), SYN, b"b")).await.unwrap();
        drop(timeout(PATIENCE, opened.recv()).await.unwrap().unwrap());
        // Room for two frames, and then the next has to wait.
        timeout(PATIENCE, reader.read_exact(&mut [0; 2100])).await.unwrap().unwrap();
        rest().await;
        let (unread, streams) = frames.count();
        assert!(unread <= 17 && streams <= 16, "{unread} frames of {streams} streams");
    }
    assert!(!writing.is_finished());
    writing.abort();
}

#[tokio::test]
async fn a_relay_opens_no_more_streams_than_yamux_knows_room_for() {
    let (mut muxer, _far) = pair(64);
    let mut opened = 0;
    poll_fn(|cx| {
        for _ in 0..99 {
            // Nothing is written, so that Yamux still knows of each that is dropped.
            if let Poll::Ready(stream) = muxer.poll_outbound_unpin(cx) {
                drop(stream.unwrap());
                opened += 1;
            }
        }
        Poll::Ready(())
    })
    .await;
    assert_eq!(opened, 16);
}

#[tokio::test]
async fn a_frame_longer_than_any_window_ends_the_connection() {
    let (mut muxer, mut far) = pair(1 << 16);
    far.write_all(&[0, 0, 0, SYN, 0, 0, 0, 1, 0, 4, 0, 1]).await.unwrap();
    let next = timeout(PATIENCE, poll_fn(|cx| muxer.poll_inbound_unpin(cx))).await;
    assert!(next.unwrap().is_err());
}

#[tokio::test]
async fn a_stream_that_waits_ends_when_its_connection_is_closed_from_here() {
    let (mut muxer, far) = pair(1 << 14);
    let (mut reader, mut writer) = split(far);
    writer.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let stream = poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await.unwrap();
    let (mut ours, mut written) = stream.split();
    let read = tokio::spawn(async move {
        let mut all = Vec::new();
        ours.read_to_end(&mut all).await.map(|_| all)
    });
    // The client reads, and never lets the window open again.
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            counted.fetch_add(read, Ordering::Relaxed);
        }
    });
    let write = tokio::spawn(async move { while written.write_all(&[0; 4096]).await.is_ok() {} });
    let full = poll_fn(|cx| {
        let _ = muxer.poll_unpin(cx);
        cx.waker().wake_by_ref();
        // Each of the 64 frames has a header.
        if sent.load(Ordering::Relaxed) >= DEFAULT_CREDIT as usize + 64 * 12 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    timeout(PATIENCE, full).await.unwrap();
    rest().await;
    assert!(!read.is_finished() && !write.is_finished());
    timeout(PATIENCE, poll_fn(|cx| muxer.poll_close_unpin(cx))).await.unwrap().unwrap();
    assert_eq!(timeout(PATIENCE, read).await.unwrap().unwrap().unwrap(), b"a");
    timeout(PATIENCE, write).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_its_connection_from_being_closed() {
    let (mut muxer, mut far) = pair(64);
    far.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let mut stream = poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await.unwrap();
    stream.write_all(&[0; 1000]).await.unwrap();
    timeout(PATIENCE, poll_fn(|cx| muxer.poll_close_unpin(cx))).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_of_which_nothing_is_heard_is_given_up() {
    let (mut muxer, mut far) = silent_for(Duration::from_millis(20), 1 << 10);
    far.write_all(&frame(1, SYN, b"a")).await.unwrap();
    let _stream = poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await.unwrap();
    let next = timeout(PATIENCE, poll_fn(|cx| muxer.poll_inbound_unpin(cx))).await.unwrap();
    assert_eq!(next.map(|_| ()).unwrap_err().kind(), io::ErrorKind::TimedOut);
}
