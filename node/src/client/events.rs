//! The node's events, as they happen.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    ClientError,
    sse::{Frame, Parser},
};
use crate::api::types::Event;

/// Events of a node, in the order of their `seq`, none lost and none twice; where some are not kept any more that is told
/// ([`What::EventsLost`](crate::api::types::What::EventsLost)), by a `seq` that does not grow.
///
/// It ends with [`ClientError::Ended`] when the node does; [`EventStream::after`] is then where
/// [`super::Client::events`] goes on at the next start of that node.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    parser: Parser,
    after: u64,
}

impl EventStream {
    /// Reads from an answer; it stands when the node has told its place.
    pub(super) async fn open(body: Incoming) -> Result<Self, ClientError> {
        Ok(Self::open_with(body).await?.0)
    }

    /// The same, with what was told beside its place.
    pub(super) async fn open_with(body: Incoming) -> Result<(Self, Option<String>), ClientError> {
        let mut stream = Self { body, parser: Parser::default(), after: 0 };
        let first = stream.frame().await?;
        stream.after = first.id.ok_or(ClientError::Garbled)?;
        Ok((stream, first.data))
    }

    /// The next event.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            let Some(data) = self.frame().await?.data else { continue };
            let event: Event = serde_json::from_str(&data).map_err(|_| ClientError::Garbled)?;
            self.after = event.seq;
            return Ok(event);
        }
    }

    /// Waits for the first event of which `wanted` makes something. The ones before it are passed
    /// over.
    pub async fn wait_for<T>(
        &mut self,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ClientError> {
        loop {
            let event = self.next().await?;
            if let Some(found) = wanted(&event) {
                return Ok(found);
            }
        }
    }

    /// The `seq` of the last event that was read; at first, the place where the stream began.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.after
    }

    async fn frame(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = self.parser.poll().map_err(|_| ClientError::Garbled)? {
                return Ok(frame);
            }
            let chunk = self.body.frame().await.ok_or(ClientError::Ended)?;
            let chunk = chunk.map_err(|_| ClientError::Ended)?;
            if let Some(bytes) = chunk.data_ref() {
                self.parser.feed(bytes).map_err(|_| ClientError::Garbled)?;
            }
        }
    }
}
