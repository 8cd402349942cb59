//! Policy, shared history, audit.

use super::{Client, ClientError, at};
use crate::api::conduct::{
    AuditPage, AuditReport, ConductView, PolicyView, SetConduct, SetPolicy, ShareHistory,
    SharedHistory, TellTyping, TypingTold,
};

impl Client {
    /// A group's policy.
    pub async fn policy(&self, group: &str) -> Result<PolicyView, ClientError> {
        self.get(&at(group, "/policy")).await
    }

    /// Changes a group's policy.
    pub async fn set_policy(
        &self,
        group: &str,
        change: &SetPolicy,
    ) -> Result<PolicyView, ClientError> {
        self.post(&at(group, "/policy"), change).await
    }

    /// What a group's admins ask of everybody's nodes.
    pub async fn conduct(&self, group: &str) -> Result<ConductView, ClientError> {
        self.get(&at(group, "/conduct")).await
    }

    /// Changes it.
    pub async fn set_conduct(
        &self,
        group: &str,
        change: &SetConduct,
    ) -> Result<ConductView, ClientError> {
        self.post(&at(group, "/conduct"), change).await
    }

    /// Tells members that this node's person is typing, or has stopped; whether any may be told. To be asked for every few
    /// seconds while it goes on.
    pub async fn tell_typing(&self, group: &str, on: bool) -> Result<bool, ClientError> {
        let told: TypingTold = self.post(&at(group, "/typing"), &TellTyping { on }).await?;
        Ok(told.told)
    }

    /// Shares the last messages with all members of this moment.
    pub async fn share_history(
        &self,
        group: &str,
        last: u32,
    ) -> Result<SharedHistory, ClientError> {
        self.post(&at(group, "/share"), &ShareHistory { last }).await
    }

    /// Entries of a group's audit log: from this one on, or the last ones.
    pub async fn audit(
        &self,
        group: &str,
        from: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, ClientError> {
        let from = from.map_or_else(String::new, |from| format!("&from={from}"));
        self.get(&at(group, &format!("/audit?limit={limit}{from}"))).await
    }

    /// Whether a group's audit log is whole.
    pub async fn verify_audit(&self, group: &str) -> Result<AuditReport, ClientError> {
        self.get(&at(group, "/audit/verify")).await
    }
}
