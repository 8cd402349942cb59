//! How others ask the core.

use protocol::ids::Timestamp;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{api::types::Event, core::Core};

/// A call to the core, with its answer's way back inside.
pub(super) type Call = Box<dyn FnOnce(&mut Core, Timestamp) + Send>;

/// What a listener may lag behind of what is told once; what is older is lost to it.
pub(super) const LIVE: usize = 64;

/// Asks the core; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    events: watch::Receiver<u64>,
    live: broadcast::Sender<Event>,
}

/// The node has ended: there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has ended")]
pub struct Gone;

impl Handle {
    pub(super) fn new(
        calls: mpsc::Sender<Call>,
        events: watch::Receiver<u64>,
        live: broadcast::Sender<Event>,
    ) -> Self {
        Self { calls, events, live }
    }

    /// One whose node has ended.
    #[cfg(test)]
    pub(crate) fn gone() -> Self {
        Self::new(mpsc::channel(1).0, watch::channel(0).1, broadcast::channel(1).0)
    }

    /// Runs `verb` on the core, in its turn. Where the caller goes away it is run all the same.
    pub async fn call<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&mut Core, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |core, now| {
            // Who asked may be gone.
            let _ = answer.send(verb(core, now));
        });
        self.calls.send(call).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Tells when there are new events, and the last one's `seq`; 0 before the first.
    #[must_use]
    pub fn events(&self) -> watch::Receiver<u64> {
        self.events.clone()
    }

    /// What is told from now on to who listens, and kept by nobody.
    #[must_use]
    pub fn live(&self) -> broadcast::Receiver<Event> {
        self.live.subscribe()
    }
}
