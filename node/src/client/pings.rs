//! Whether members' nodes answer.

use super::{Client, ClientError, escaped};
use crate::api::types::{PingMember, PingView};

impl Client {
    /// Begins to try each way to a member, in this group or in any.
    pub async fn ping(&self, group: Option<&str>, member: &str) -> Result<PingView, ClientError> {
        let (member, group) = (member.into(), group.map(Into::into));
        self.post("/v1/pings", &PingMember { member, group }).await
    }

    /// How far that is.
    pub async fn ping_state(&self, id: &str) -> Result<PingView, ClientError> {
        self.get(&format!("/v1/pings/{}", escaped(id))).await
    }
}
