//! A relay inside the node, for people who have no server.

use std::path::Path;

use super::HostRelay;

/// A relay that runs in this process.
pub(super) struct Host {
    addresses: Vec<String>,
}

/// Why there is no relay inside.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This build has none.
    #[error("not in this build")]
    Absent,
}

pub(super) async fn start(data_dir: &Path, config: HostRelay) -> Result<Host, HostError> {
    let _ = (data_dir, config);
    Err(HostError::Absent)
}

impl Host {
    /// Where others reach it, each with the relay's PeerId.
    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(super) async fn stop(self) {}
}
