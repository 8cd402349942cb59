//! What is asked of a node that may not run, or not answer.

use std::{path::Path, time::Duration};

use node::client::{Client, ClientError};
use tokio::runtime::Runtime;

/// Asks nodes by their local APIs, one after another.
pub(super) struct Api(Runtime);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Api {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self(runtime.expect("a runtime"))
    }

    /// Asks the node of a data directory; says why nothing came of it.
    pub(super) fn ask<T, F>(
        &self,
        dir: &Path,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let asked = async {
            let client = Client::connect(dir).await?;
            ask(client).await
        };
        self.0.block_on(within(PATIENCE, asked))
    }

    /// The same for what takes many answers, the more the longer it all goes on; each of them is waited for
    /// [`in_time`].
    pub(super) fn ask_all<T, F>(
        &self,
        dir: &Path,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        self.0.block_on(async {
            let client = in_time(Client::connect(dir)).await?;
            ask(client).await
        })
    }
}

/// One answer of many, if it comes within as long as any step may take.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    within(crate::PATIENCE, answer).await
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(patience, answer).await.unwrap_or(Err(ClientError::Ended))
}
