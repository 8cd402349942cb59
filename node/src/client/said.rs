//! What changes a message. One is named by its local id, at least four digits of it, or is `last`.

use bytes::Bytes;
use hyper::Method;

use super::{Client, ClientError, at, escaped};
use crate::api::types::{EditMessage, Message, PinMessage, React};

impl Client {
    /// Gives an own message another text.
    pub async fn edit(
        &self,
        group: &str,
        message: &str,
        text: &str,
    ) -> Result<Message, ClientError> {
        self.post(&verb(group, message, "/edit"), &EditMessage { text: text.into() }).await
    }

    /// Deletes an own message.
    pub async fn delete_message(&self, group: &str, message: &str) -> Result<Message, ClientError> {
        self.ask(Method::DELETE, &verb(group, message, ""), Bytes::new()).await
    }

    /// Puts a sign at a message, or takes it away.
    pub async fn react(
        &self,
        group: &str,
        message: &str,
        sign: &str,
        on: bool,
    ) -> Result<Message, ClientError> {
        self.post(&verb(group, message, "/react"), &React { sign: sign.into(), on }).await
    }

    /// Pins a message for everybody, or no more.
    pub async fn pin(&self, group: &str, message: &str, on: bool) -> Result<Message, ClientError> {
        self.post(&verb(group, message, "/pin"), &PinMessage { on }).await
    }
}

fn verb(group: &str, message: &str, verb: &str) -> String {
    at(group, &format!("/messages/{}{verb}", escaped(message)))
}
