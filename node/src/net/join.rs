//! A stream on which an invite is redeemed: frames to and from the core, as they are.
//!
//! The Noise handshake of a join runs in the core, over these frames.

use std::{sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    beat::{Beat, Noted},
    frames,
    mesh::MeshReport,
    queue,
};

/// What a join stream's task is made of.
pub(super) struct Opening<S> {
    /// Its number.
    pub(super) number: u64,
    pub(super) stream: S,
    /// How many frames may come in.
    pub(super) frames: u32,
    pub(super) outbound: queue::Receiver,
    /// Where it is noted when something comes.
    pub(super) beat: Arc<Beat>,
    /// Answered once the caller knows of the stream.
    pub(super) go: oneshot::Receiver<()>,
    pub(super) reports: mpsc::Sender<MeshReport>,
    pub(super) ended: mpsc::Sender<JoinEnded>,
}

/// The task is over.
pub(super) struct JoinEnded(pub(super) u64);

/// Frames that whoever redeems an invite here may send.
pub(super) const FRAMES_FROM_STRANGERS: u32 = 64;

/// How long a stream lives at most.
const LIFE: Duration = Duration::from_secs(60);
/// How long the other side has to read the last frames.
const LINGER: Duration = Duration::from_secs(5);

/// Carries frames until either side is done.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin + Send>(opening: Opening<S>) {
    let Opening { number, stream, frames, mut outbound, beat, go, reports, ended } = opening;
    let life = async {
        if go.await.is_err() {
            return;
        }
        let (input, mut output) = stream.split();
        let mut input = Noted { stream: input, beat: &beat };
        let mut reading = std::pin::pin!(read(&mut input, number, frames, &reports));
        tokio::select! {
            () = &mut reading => {}
            // All is written: the other side closes when it has read it.
            () = write(&mut output, &mut outbound) => { let _ = timeout(LINGER, reading).await; }
        }
    };
    let _ = timeout(LIFE, life).await;
    let _ = ended.send(JoinEnded(number)).await;
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    number: u64,
    frames: u32,
    reports: &mpsc::Sender<MeshReport>,
) {
    for _ in 0..frames {
        let Ok(frame) = frames::read(stream).await else { return };
        if reports.send(MeshReport::JoinFrame { stream: number, frame }).await.is_err() {
            return;
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), outbound: &mut queue::Receiver) {
    while let Some(frame) = outbound.next().await {
        let written = async {
            frames::write(stream, &frame).await?;
            if outbound.is_empty() { stream.flush().await } else { Ok(()) }
        };
        if written.await.is_err() {
            return;
        }
    }
    let _ = stream.close().await;
}
