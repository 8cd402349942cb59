//! Members as identities that people compare.

use super::{Client, ClientError, escaped};
use crate::api::types::{MemberIdentity, Rename, Renamed, VerifyMember};

impl Client {
    /// Gives this node's own member another name.
    pub async fn rename(&self, name: &str) -> Result<Renamed, ClientError> {
        self.post("/v1/name", &Rename { name: name.into() }).await
    }

    /// A member of any group: by name or an unambiguous id prefix, with or without `@`.
    pub async fn identity(&self, member: &str) -> Result<MemberIdentity, ClientError> {
        self.get(&format!("/v1/members/{}", escaped(member))).await
    }

    /// Marks an identity as compared, or what else is asked.
    pub async fn verify_member(
        &self,
        member: &str,
        asked: &VerifyMember,
    ) -> Result<MemberIdentity, ClientError> {
        self.post(&format!("/v1/members/{}/verify", escaped(member)), asked).await
    }
}
