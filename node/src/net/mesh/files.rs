//! Streams for files, on the connections of channels that stand.

use std::sync::Arc;

use libp2p::{Stream, swarm::ConnectionId};
use protocol::ids::MemberId;
use tokio::sync::oneshot;

use super::{dials::Wanted, run::Run};
use crate::net::file::{FileEnd, FileStream};

/// A stream that is being opened: with whom, and who waits for it.
pub(super) struct Opening {
    member: MemberId,
    answer: oneshot::Sender<FileStream>,
}

/// Streams that are being opened at one time.
const OPENING: usize = 64;

impl Run {
    /// Opens a stream with a member; who waits for it hears nothing more where none can be.
    pub(super) fn open_file(&mut self, member: MemberId, answer: oneshot::Sender<FileStream>) {
        let Some(id) = self.channels.get(&member).map(|channel| channel.connection) else { return };
        let Some(peer) = self.connections.get(&id).map(|connection| connection.peer) else {
            return;
        };
        if self.opening.len() >= OPENING {
            return;
        }
        let number = self.number();
        self.opening.insert(number, Opening { member, answer });
        self.open(id, peer, Wanted::File(number));
    }

    /// A stream for a file is open, or can't be.
    pub(super) fn on_file_stream(&mut self, id: ConnectionId, number: u64, stream: Option<Stream>) {
        let Some(Opening { member, answer }) = self.opening.remove(&number) else { return };
        if let Some(stream) =
            stream.and_then(|stream| self.file_stream(id, member, FileEnd::Fetcher, stream))
        {
            // Whoever wanted it may be gone.
            let _ = answer.send(stream);
        }
    }

    /// A peer opened a stream to fetch a file. Who it is the channel there has shown.
    pub(super) fn accept_file(&mut self, id: ConnectionId, stream: Stream) {
        let Some(member) = self.channels_on(id).first().copied() else {
            return self.close_if_strange(id);
        };
        if let Some(stream) = self.file_stream(id, member, FileEnd::Giver, stream) {
            // Where more wait than are taken, this one ends: who fetches tries again.
            let _ = self.fetchers.try_send(stream);
        }
    }

    fn file_stream(
        &self,
        id: ConnectionId,
        member: MemberId,
        end: FileEnd,
        stream: Stream,
    ) -> Option<FileStream> {
        let channel = self.channels.get(&member).filter(|channel| channel.connection == id)?;
        let beat = Arc::clone(&self.connections.get(&id)?.beat);
        channel.files.stream(end, member, &beat, stream)
    }
}
