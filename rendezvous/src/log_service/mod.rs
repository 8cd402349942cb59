//! The log service: what clients ask of a relay, one task for each stream.
//!
//! ```text
//! stream ──▶ session ──▶ writer (one thread: a batch, a sync, the answers) ──▶ store
//!               ▲                     │ rings
//!               └──── reads a page ◀──┴──── followers
//! ```
//!
//! > An append is answered after it is committed. A follower holds no queue: it is told that there
//! > is more, and reads from its own cursor when its stream has room. A slow one delays nobody.

mod budgets;
mod clock;
mod expiry;
mod followers;
mod pace;
mod session;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use protocol::{
    ids::{LogId, Timestamp},
    limits::LOG_BATCH_BYTES,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{Limits, TRIM_STEP},
    store::{LogStore, Page, StoreError},
};
use budgets::Budgets;
use clock::Clock;
use followers::Followers;
use writer::Job;

pub(crate) use session::serve;

/// What all sessions of a relay share.
pub(crate) struct LogService {
    relay: Vec<u8>,
    limits: Limits,
    store: Arc<dyn LogStore>,
    clock: Arc<Clock>,
    budgets: Budgets,
    followers: Arc<Followers>,
    jobs: mpsc::Sender<Job>,
    reads: Arc<Semaphore>,
    /// Held by the one trim that is carried out.
    trims: Semaphore,
    damaged: AtomicU64,
}

/// The thread that writes; it ends when the last session and the service are gone.
pub(crate) struct Writer(thread::JoinHandle<()>);

impl LogService {
    /// Starts the service of the relay with these PeerId bytes. It cancels `ended` when it can't go
    /// on, and when it has ended.
    pub(crate) fn start(
        relay: Vec<u8>,
        limits: Limits,
        store: Arc<dyn LogStore>,
        ended: CancellationToken,
    ) -> std::io::Result<(Arc<Self>, Writer)> {
        let followers = Arc::new(Followers::default());
        // A clock that was set ahead for a test leaps, as no system's clock makes it.
        let kept = store.clock().filter(|_| AHEAD_MS.load(Ordering::Relaxed) == 0);
        let clock = Arc::new(Clock::new(kept, Instant::now(), now()));
        let (jobs, queue) = mpsc::channel(limits.append_queue);
        let writer = writer::start(
            queue,
            Arc::clone(&store),
            Arc::clone(&clock),
            Arc::clone(&followers),
            ended,
        )?;
        let reads = Arc::new(Semaphore::new(limits.reads));
        let damaged = AtomicU64::new(0);
        let budgets = Budgets::new(&limits);
        let trims = Semaphore::new(1);
        let service =
            Self { relay, limits, store, clock, budgets, followers, jobs, reads, trims, damaged };
        Ok((Arc::new(service), Writer(writer)))
    }

    /// Deletes what is older than the time-to-live, until the service is gone.
    pub(crate) fn expire(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        expiry::run(Arc::downgrade(self))
    }

    async fn read(&self, log: LogId, after: u64) -> Result<Page, StoreError> {
        let store = Arc::clone(&self.store);
        let page = self.blocking(move || store.read(log, after, LOG_BATCH_BYTES)).await?;
        if page.damaged > 0 {
            let total = self.damaged.fetch_add(page.damaged, Ordering::Relaxed) + page.damaged;
            tracing::error!(damaged = page.damaged, total, "skipped damaged entries of a log");
        }
        Ok(page)
    }

    /// Deletes a log's entries up to a number, step by step; answers after which number it begins.
    async fn trim(&self, log: LogId, to: u64) -> Result<u64, StoreError> {
        // The appends of others wait for one trim at a time at most.
        let _turn = self.trims.acquire().await;
        loop {
            let store = Arc::clone(&self.store);
            let step = self.blocking(move || store.trim(log, to, TRIM_STEP)).await?;
            if step.gone < TRIM_STEP {
                return Ok(step.begins);
            }
        }
    }

    /// Runs a call of the store where it may block; the permit goes with it, so that holding all
    /// permits means that no call is under way.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let call = tokio::task::spawn_blocking(move || {
            let result = call();
            drop(permit);
            result
        });
        call.await.unwrap_or(Err(StoreError::Damaged))
    }
}

impl Writer {
    /// Ends the service: waits for the calls of the store that are under way, then for the writer
    /// to commit what it was given. All sessions must have ended.
    pub(crate) async fn finish(self, service: Arc<LogService>) {
        let all = u32::try_from(service.limits.reads).unwrap_or(u32::MAX);
        let idle = service.reads.acquire_many(all).await.is_ok();
        debug_assert!(idle, "the semaphore is never closed");
        drop(service);
        let joined = tokio::task::spawn_blocking(move || self.0.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer of the store died");
        }
    }
}

/// The system's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let system = Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    system.plus_ms(AHEAD_MS.load(Ordering::Relaxed))
}

/// Has the clock of relays in this process go ahead of the system's, so that tests need not wait
/// until entries expire.
pub fn set_clock_ahead(by: Duration) {
    AHEAD_MS.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
