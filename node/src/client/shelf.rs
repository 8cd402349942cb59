//! What this node's people keep of groups and members for themselves.

use bytes::Bytes;
use hyper::Method;

use super::{Client, ClientError, at, escaped};
use crate::api::types::{BlockMember, Blocked, BlockedMember, GroupSummary, ShelveGroup};

impl Client {
    /// Mutes a group, puts it away, or marks it as read.
    pub async fn shelve(
        &self,
        group: &str,
        asked: &ShelveGroup,
    ) -> Result<GroupSummary, ClientError> {
        self.post(&at(group, "/shelf"), asked).await
    }

    /// Who is blocked.
    pub async fn blocked(&self) -> Result<Vec<BlockedMember>, ClientError> {
        Ok(self.get::<Blocked>("/v1/blocked").await?.blocked)
    }

    /// Shows nothing more of a member.
    pub async fn block(&self, member: &str) -> Result<BlockedMember, ClientError> {
        self.post("/v1/blocked", &BlockMember { member: member.into() }).await
    }

    /// Shows what a member says again.
    pub async fn unblock(&self, member: &str) -> Result<BlockedMember, ClientError> {
        let path = format!("/v1/blocked/{}", escaped(member));
        self.ask(Method::DELETE, &path, Bytes::new()).await
    }
}
