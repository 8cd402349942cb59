//! Conversations of two.

use bytes::Bytes;
use hyper::Method;

use super::{Client, ClientError, escaped};
use crate::api::types::{BeginTalk, Talk, Talks};

impl Client {
    /// The conversations of two, and those that are asked for.
    pub async fn talks(&self) -> Result<Vec<Talk>, ClientError> {
        Ok(self.get::<Talks>("/v1/talks").await?.talks)
    }

    /// Asks a member to talk alone, or comes where that member has asked.
    pub async fn talk(&self, member: &str) -> Result<Talk, ClientError> {
        self.post("/v1/talks", &BeginTalk { member: member.into() }).await
    }

    /// Passes over that a member asks, who is told nothing.
    pub async fn deny_talk(&self, member: &str) -> Result<Talk, ClientError> {
        let path = format!("/v1/talks/{}", escaped(member));
        self.ask(Method::DELETE, &path, Bytes::new()).await
    }
}
