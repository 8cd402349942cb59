//! Events of groups, by named cursors and backwards; a group's history from the first message on.

use bytes::Bytes;
use hyper::Method;

use super::{Client, ClientError, EventStream, at, escaped};
use crate::api::types::{
    CursorLease, CursorView, Cursors, Done, Event, Events, Message, Messages, MoveCursor,
    SetCursor, TakeCursor,
};

/// A named cursor that is this program's as long as this value is, and the events after it.
#[derive(Debug)]
pub struct CursorStream {
    /// Where it stood, and what it is moved by.
    pub lease: CursorLease,
    /// The events.
    pub events: EventStream,
}

impl Client {
    /// All named cursors.
    pub async fn cursors(&self) -> Result<Vec<CursorView>, ClientError> {
        Ok(self.get::<Cursors>("/v1/cursors").await?.cursors)
    }

    /// Makes one, or puts one elsewhere.
    pub async fn set_cursor(
        &self,
        name: &str,
        cursor: &SetCursor,
    ) -> Result<CursorView, ClientError> {
        let body = serde_json::to_vec(cursor).map_err(|_| ClientError::Garbled)?;
        self.ask(Method::PUT, &path(name, ""), body.into()).await
    }

    /// Removes one.
    pub async fn drop_cursor(&self, name: &str) -> Result<Done, ClientError> {
        self.ask(Method::DELETE, &path(name, ""), Bytes::new()).await
    }

    /// Reads by one, as nobody else can meanwhile; makes it where there is none.
    pub async fn take_cursor(
        &self,
        name: &str,
        cursor: &TakeCursor,
    ) -> Result<CursorStream, ClientError> {
        let body = serde_json::to_vec(cursor).map_err(|_| ClientError::Garbled)?;
        let answer = self.request(Method::POST, &path(name, "/events"), body.into()).await?;
        let (events, lease) = EventStream::open_with(answer.into_body()).await?;
        let lease = lease.and_then(|lease| serde_json::from_str(&lease).ok());
        Ok(CursorStream { lease: lease.ok_or(ClientError::Garbled)?, events })
    }

    /// Moves one on: events up to `after` are done with.
    pub async fn move_cursor(
        &self,
        lease: &CursorLease,
        after: u64,
    ) -> Result<CursorView, ClientError> {
        let body = MoveCursor { lease: lease.lease, after };
        self.post(&path(&lease.cursor.name, "/move"), &body).await
    }

    /// Events of a group's messages, oldest first: the last `limit`, before one event where it is given.
    pub async fn message_events(
        &self,
        group: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Event>, ClientError> {
        let before = before.map_or_else(String::new, |before| format!("&before={before}"));
        let path = at(group, &format!("/events?limit={limit}{before}"));
        Ok(self.get::<Events>(&path).await?.events)
    }

    /// A group's messages in the order that is shown: the first `limit` beyond one, from the first on where there is none.
    pub async fn history_beyond(
        &self,
        group: &str,
        beyond: Option<&Message>,
        limit: u32,
    ) -> Result<Vec<Message>, ClientError> {
        let beyond = beyond.map(|it| format!("&place={}&seq={}", escaped(&it.place), it.seq));
        let query = format!("/history?limit={limit}{}", beyond.unwrap_or_default());
        Ok(self.get::<Messages>(&at(group, &query)).await?.messages)
    }
}

fn path(name: &str, rest: &str) -> String {
    format!("/v1/cursors/{}{rest}", escaped(name))
}
