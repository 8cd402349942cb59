//! The log service: what clients ask of a relay, one task for each stream.
//!
//! ```text
//! stream ──▶ session ──▶ writer (a loop for each lane: a batch, a sync, the answers) ──▶ store
//!               ▲                     │ rings, with what it appended                  │
//!               └── a page ◀── followers ◀── of what came a moment ago                │
//!                       ▲──────────────── of anything else, by a read ◀───────────────┘
//! ```
//!
//! > An append is answered after it is committed. A follower holds no queue: it is told that there
//! > is more, and reads from its own cursor when its stream has room. A slow one delays nobody.

mod budgets;
mod clock;
mod expiry;
mod followers;
mod holders;
mod lanes;
mod leave;
mod recent;
mod seldom;
mod session;
mod stuck;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use protocol::{
    ids::{LogId, Timestamp},
    limits::LOG_BATCH_BYTES,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    limits::{CATCH_UPS, Limits, TRIM_STEP},
    store::{LogStore, Others, Page, StoreError},
    watch::Counts,
};
use budgets::{Budget, Budgets};
use clock::Clock;
use followers::Followers;
use lanes::{Lane, Lanes};
use leave::Leave;
use seldom::Seldom;
use writer::{Running, Writing};

pub(crate) use holders::Holders;
pub(crate) use session::{Ended, serve};

/// What all sessions of a relay share.
pub(crate) struct LogService {
    relay: Vec<u8>,
    /// What streams that begin now are granted.
    limits: Mutex<Arc<Limits>>,
    store: Arc<dyn LogStore>,
    clock: Arc<Clock>,
    budgets: Budgets,
    /// Of a relay that is not open to all.
    holders: Option<Arc<Holders>>,
    followers: Arc<Followers>,
    lanes: Lanes,
    reads: Arc<Semaphore>,
    /// For those who wait for other processes.
    catch_ups: Arc<Semaphore>,
    /// Held by the one trim of which a step is carried out.
    trims: Semaphore,
    counts: Arc<Counts>,
    leave: Leave,
    failures: Seldom,
    damages: Seldom,
}

/// What writes, lane by lane; it ends when the last session and the service are gone.
pub(crate) struct Writer(Vec<Running>);

impl LogService {
    /// Starts the service of the relay with these PeerId bytes. It cancels `ended` when it can't go
    /// on, and when it has ended.
    pub(crate) fn start(
        relay: Vec<u8>,
        limits: Limits,
        store: Arc<dyn LogStore>,
        counts: Arc<Counts>,
        holders: Option<Arc<Holders>>,
        ended: CancellationToken,
    ) -> std::io::Result<(Arc<Self>, Writer)> {
        counts.quota(limits.quota.total_bytes);
        counts.stored(store.as_ref());
        let followers = Arc::new(Followers::default());
        // A clock that was set ahead for a test leaps, as no system's clock makes it.
        let kept = store.clock().filter(|_| AHEAD_MS.load(Ordering::Relaxed) == 0);
        let clock = match store.counts_time() {
            true => Clock::steady(Instant::now(), now()),
            false => Clock::new(kept, Instant::now(), now()),
        };
        let clock = Arc::new(clock);
        let ears = Ears { followers: Arc::clone(&followers), ended: ended.clone() };
        store.listen(Box::new(ears));
        let writing = || Writing {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            followers: Arc::clone(&followers),
            counts: Arc::clone(&counts),
            _ended: ended.clone().drop_guard(),
        };
        let (lanes, writers) = Lanes::start(store.as_ref(), limits.append_queue, writing)?;
        let reads = Arc::new(Semaphore::new(limits.reads));
        let budgets = Budgets::new(&limits, writers.len());
        let catch_ups = Arc::new(Semaphore::new(CATCH_UPS));
        let trims = Semaphore::new(1);
        let service = Self {
            relay,
            limits: Mutex::new(Arc::new(limits)),
            store,
            clock,
            budgets,
            holders,
            followers,
            lanes,
            reads,
            catch_ups,
            trims,
            counts,
            leave: Leave::default(),
            failures: Seldom::default(),
            damages: Seldom::default(),
        };
        Ok((Arc::new(service), Writer(writers)))
    }

    /// What keeps the entries; who sets its quota may have to wait.
    pub(crate) fn store(&self) -> Arc<dyn LogStore> {
        Arc::clone(&self.store)
    }

    /// Goes by other limits from now on, all but the store's quota; streams that are there keep what they
    /// were told. How many reads there may be and how many appends may wait can't change.
    pub(crate) fn set(&self, limits: &Limits) {
        let old = self.limits();
        let limits = Limits { reads: old.reads, append_queue: old.append_queue, ..limits.clone() };
        self.counts.quota(limits.quota.total_bytes);
        self.budgets.set(&limits, Instant::now());
        self.holders.iter().for_each(|holders| holders.set(&limits));
        *self.lock() = Arc::new(limits);
    }

    /// What streams that begin now are granted.
    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Limits>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the holders of tokens as the operator's list says, until the service is gone.
    pub(crate) fn watch_holders(&self) -> impl Future<Output = ()> + use<> {
        let holders = self.holders.as_ref().map(Arc::downgrade);
        async move {
            if let Some(holders) = holders {
                Holders::watch(holders).await;
            }
        }
    }

    /// Deletes what is older than the time-to-live, until the service is gone.
    pub(crate) fn expire(self: &Arc<Self>) -> impl Future<Output = ()> + use<> {
        expiry::run(Arc::downgrade(self))
    }

    /// Has all sessions end, as soon as what they were asked for is answered: clients are told to come
    /// back within a time that has room for so many of them. Answers whether there is a writer that
    /// answers what waits.
    pub(crate) fn leave(&self, sessions: usize) -> bool {
        self.leave.tell(sessions);
        !self.lanes.is_closed()
    }

    /// How long it may take until what waits is answered, beyond what a disk takes.
    pub(crate) fn patience(&self) -> Duration {
        self.store.patience()
    }

    /// Where appends to a log wait.
    fn lane(&self, log: LogId) -> Lane<'_> {
        self.lanes.of(self.store.as_ref(), log)
    }

    async fn read(&self, budget: &Budget, log: LogId, after: u64) -> Result<Page, StoreError> {
        let mut page = self.page(budget, log, after).await?;
        if page.head < after {
            // Another process may have answered for what is not here yet.
            self.catch_up(budget, log).await?;
            page = self.page(budget, log, after).await?;
        }
        if page.damaged > 0 {
            let total = self.counts.damaged.inc_by(page.damaged) + page.damaged;
            if self.damages.may(Instant::now()) {
                tracing::error!(total, "skipped damaged entries of logs; look with check --store");
            }
        }
        Ok(page)
    }

    async fn page(&self, budget: &Budget, log: LogId, after: u64) -> Result<Page, StoreError> {
        let place = budget.reading().await;
        let store = Arc::clone(&self.store);
        let read = move || {
            let _place = place;
            store.read(log, after, LOG_BATCH_BYTES)
        };
        self.blocking(read).await
    }

    /// Waits for others who write, and keeps nobody from reading meanwhile: whoever makes up a cursor has
    /// the relay ask them.
    async fn catch_up(&self, budget: &Budget, log: LogId) -> Result<(), StoreError> {
        let place = budget.catching_up().await;
        let store = Arc::clone(&self.store);
        let catch_up = move || {
            let _place = place;
            store.catch_up(log)
        };
        blocking(&self.catch_ups, catch_up).await
    }

    /// Says that the store failed a client, unless that was said a short while ago: whoever asks could
    /// write the relay's log otherwise.
    fn failed(&self, what: &'static str, error: &StoreError) {
        if self.failures.may(Instant::now()) {
            tracing::error!(%error, "{what}");
        } else {
            tracing::debug!(%error, "{what}");
        }
    }

    /// Deletes a log's entries up to a number, step by step; answers after which number it begins.
    async fn trim(&self, budget: &Budget, log: LogId, to: u64) -> Result<u64, StoreError> {
        let _place = budget.trimming().await;
        loop {
            // The appends of others wait for one step at a time at most, and other trims for one of each.
            let _turn = self.trims.acquire().await;
            let store = Arc::clone(&self.store);
            let counts = Arc::clone(&self.counts);
            let trim = move || {
                let step = store.trim(log, to, TRIM_STEP)?;
                counts.stored(store.as_ref());
                Ok(step)
            };
            let step = self.blocking(trim).await?;
            self.followers.trimmed(log);
            if step.gone < TRIM_STEP {
                return Ok(step.begins);
            }
        }
    }

    /// Runs a call of the store, with one of the permits to read.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        blocking(&self.reads, call).await
    }
}

/// Runs a call of the store where it may block; the permit goes with it, so that holding all permits
/// means that no call is under way.
async fn blocking<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let permit = Arc::clone(permits).acquire_owned().await;
    let call = tokio::task::spawn_blocking(move || {
        let result = call();
        drop(permit);
        result
    });
    call.await.unwrap_or(Err(StoreError::Damaged))
}

/// What the service does about what other processes do with the store.
struct Ears {
    followers: Arc<Followers>,
    ended: CancellationToken,
}

impl Others for Ears {
    fn grown(&self, log: LogId) {
        self.followers.ring(log);
    }

    fn ended(&self) {
        self.ended.cancel();
    }
}

impl Writer {
    /// Ends the service: waits for the calls of the store that are under way, then for the writers
    /// to commit what they were given. All sessions must have ended.
    pub(crate) async fn finish(self, service: Arc<LogService>) {
        let all = u32::try_from(service.limits().reads).unwrap_or(u32::MAX);
        let idle = service.reads.acquire_many(all).await.is_ok()
            && service.catch_ups.acquire_many(CATCH_UPS as u32).await.is_ok();
        debug_assert!(idle, "the semaphore is never closed");
        drop(service);
        for writer in self.0 {
            if !writer.ended().await {
                tracing::error!("a writer of the store died");
            }
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
