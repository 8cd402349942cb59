//! Streams on which files are fetched: frames to and from a member, for as long as its channel stands.
//!
//! > A file's stream is opened on the connection on which a channel stands, with the member who has proven
//! > there who it is, and ends with that channel. Who has no channel has no such stream.

use std::{io, sync::Arc, time::Duration};

use futures::{
    AsyncReadExt, AsyncWriteExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::Stream;
use protocol::{
    ids::MemberId,
    limits::{FILE_ANSWER_MAX, FILE_REQUEST_MAX},
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    beat::{Beat, Noted},
    frames,
};

/// A stream with a member.
#[derive(Debug)]
pub struct FileStream {
    member: MemberId,
    stream: Stream,
    shared: Arc<Shared>,
}

/// What comes on it.
pub struct FileReader {
    input: ReadHalf<Stream>,
    shared: Arc<Shared>,
}

/// What goes.
pub struct FileWriter {
    output: WriteHalf<Stream>,
    shared: Arc<Shared>,
}

/// Which end of the stream this is: who fetches says less at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// What comes are requests.
    Giver,
    /// What comes are chunks.
    Fetcher,
}

/// The streams of one channel; when this is dropped they end.
pub(super) struct Files {
    ended: CancellationToken,
    _end: DropGuard,
    /// Those that the other side opened.
    given: Arc<()>,
    /// Those that this side did.
    fetched: Arc<()>,
}

struct Shared {
    ended: CancellationToken,
    beat: Arc<Beat>,
    _open: Arc<()>,
}

/// Streams that each side of a channel opens at one time; those of both are fewer than a connection has.
pub(super) const STREAMS: usize = 4;
/// How long the other side may take none of what is written.
const STALLED: Duration = Duration::from_secs(30);

impl Files {
    pub(super) fn new() -> Self {
        let ended = CancellationToken::new();
        let (given, fetched) = (Arc::new(()), Arc::new(()));
        Self { _end: ended.clone().drop_guard(), ended, given, fetched }
    }

    /// One stream more of which this is that end, unless there are too many.
    pub(super) fn stream(
        &self,
        end: FileEnd,
        member: MemberId,
        beat: &Arc<Beat>,
        stream: Stream,
    ) -> Option<FileStream> {
        let open = match end {
            FileEnd::Giver => &self.given,
            FileEnd::Fetcher => &self.fetched,
        };
        // One of those that count is here.
        if Arc::strong_count(open) > STREAMS {
            return None;
        }
        let (ended, beat, open) = (self.ended.clone(), Arc::clone(beat), Arc::clone(open));
        Some(FileStream { member, stream, shared: Arc::new(Shared { ended, beat, _open: open }) })
    }
}

impl FileStream {
    /// With whom.
    #[must_use]
    pub const fn member(&self) -> MemberId {
        self.member
    }

    /// Both directions, each for itself.
    #[must_use]
    pub fn split(self) -> (FileReader, FileWriter) {
        let (input, output) = self.stream.split();
        let shared = Arc::clone(&self.shared);
        (FileReader { input, shared: self.shared }, FileWriter { output, shared })
    }
}

impl FileReader {
    /// The next frame; none when the stream has ended or the other side says too much. What was read of a frame is
    /// lost where this is given up.
    pub async fn read(&mut self, end: FileEnd) -> Option<Vec<u8>> {
        let most = match end {
            FileEnd::Giver => FILE_REQUEST_MAX,
            FileEnd::Fetcher => FILE_ANSWER_MAX,
        };
        let mut input = Noted { stream: &mut self.input, beat: &self.shared.beat };
        tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => None,
            frame = frames::read_at_most(&mut input, most) => frame.ok(),
        }
    }
}

impl FileWriter {
    /// Writes a frame; an error where the stream has ended or the other side takes nothing.
    pub async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let written = async {
            frames::write_at_most(&mut self.output, frame, FILE_ANSWER_MAX).await?;
            self.output.flush().await
        };
        tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
            written = timeout(STALLED, written) => written?,
        }
    }

    /// Takes leave: what was written is read, and then the end.
    pub async fn close(mut self) {
        let _ = timeout(STALLED, self.output.close()).await;
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}
