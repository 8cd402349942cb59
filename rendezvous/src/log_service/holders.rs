//! Who holds a token: what each token grants, what is used of it now, and what a stream is used under.
//!
//! > A log that was opened under a token counts for that token until it is closed, and so does what is
//! > appended to it. Where a token has ended, the streams that use it end. A client is not told whether
//! > a token was never given out, has run out or was taken back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use protocol::{
    limits::ENVELOPE_MAX,
    relay_log::{Refusal, RelayToken},
};
use tokio::sync::watch;

use crate::{
    limits::{Limits, TOKEN_RETRY, TOKENS_CHECK, USAGE_KEPT},
    pace::Pace,
    tokens::{
        Granted, Issued, Stamp, Tokens, TokensError, Usage,
        usage::{day, rest_of_day},
    },
};

/// The tokens that are good now.
pub(crate) struct Holders {
    tokens: Tokens,
    /// What a token grants that says nothing else.
    limits: Mutex<Limits>,
    by_hash: Mutex<HashMap<[u8; 32], Arc<Holder>>>,
    /// Counts up when a token ends.
    ended: watch::Sender<u64>,
    /// The writing of the list that was read last, and when it was looked at last.
    seen: Mutex<(Option<Stamp>, SystemTime)>,
    /// What was written last of today's use.
    kept: Mutex<Usage>,
}

/// One token, and what is used of it.
struct Holder {
    issued: Issued,
    granted: Mutex<Granted>,
    has_ended: AtomicBool,
    spent: Mutex<Spent>,
    connections: AtomicU32,
    logs: AtomicU32,
}

struct Spent {
    day: u64,
    bytes: u64,
    pace: Pace,
}

impl Holders {
    /// Reads the tokens of a data directory, and what was used of them today.
    pub(crate) fn open(tokens: Tokens, limits: &Limits) -> Result<Arc<Self>, TokensError> {
        // Before the list is read: what changes in between is read again.
        let seen = Mutex::new((tokens.stamp(), now()));
        let holders = Self {
            limits: Mutex::new(limits.clone()),
            by_hash: Mutex::default(),
            ended: watch::Sender::new(0),
            seen,
            kept: Mutex::default(),
            tokens,
        };
        let usage = holders.tokens.usage();
        holders.replace(holders.tokens.all()?, &usage, now());
        Ok(Arc::new(holders))
    }

    /// Goes by other limits where a token says nothing else, from its next append, log and connection on.
    pub(super) fn set(&self, limits: &Limits) {
        *lock(&self.limits) = limits.clone();
        for holder in lock(&self.by_hash).values() {
            let granted = holder.issued.grants.or(limits);
            *lock(&holder.granted) = granted;
            lock(&holder.spent).pace.set(granted.bytes_per_s, burst(&granted), Instant::now());
        }
    }

    /// Follows the list of tokens, ends what has run out and writes down what is used, until nobody
    /// else holds this.
    pub(crate) async fn watch(this: Weak<Self>) {
        let mut kept = Instant::now();
        loop {
            tokio::time::sleep(TOKENS_CHECK).await;
            let Some(holders) = this.upgrade() else { return };
            let is_due = kept.elapsed() >= USAGE_KEPT;
            if is_due {
                kept = Instant::now();
            }
            let look = move || {
                holders.look(now());
                if is_due {
                    holders.keep_usage();
                }
            };
            if tokio::task::spawn_blocking(look).await.is_err() {
                tracing::error!("the list of tokens could not be looked at");
            }
        }
    }

    /// Takes over the list of tokens if it has changed, and ends what has run out.
    pub(super) fn look(&self, now: SystemTime) {
        let mut seen = lock(&self.seen);
        let before = std::mem::replace(&mut *seen, (self.tokens.stamp(), now));
        // A clock that was set back brings back what had run out by it.
        if seen.0 != before.0 || now < before.1 {
            match self.tokens.all() {
                Ok(all) => self.replace(all, &self.tokens.usage(), now),
                Err(error) => {
                    tracing::error!(%error, "the list of tokens can't be read; the one of before holds");
                }
            }
        }
        self.expire(now);
    }

    /// Writes down what was used today, if that is not what was written last.
    pub(crate) fn keep_usage(&self) {
        let mut kept = lock(&self.kept);
        let now = now();
        let used = |holder: &Arc<Holder>| {
            let bytes = lock(&holder.spent).today(now);
            (bytes > 0).then(|| (holder.issued.id.clone(), bytes))
        };
        let usage = Usage::new(now, lock(&self.by_hash).values().filter_map(used).collect());
        if usage == *kept {
            return;
        }
        match usage.write(&self.tokens) {
            Ok(()) => *kept = usage,
            Err(error) => {
                tracing::warn!(%error, "what was used of tokens could not be written down");
            }
        }
    }

    /// Takes a list in place of the one of before: who stays keeps what it has used.
    fn replace(&self, all: Vec<Issued>, usage: &Usage, now: SystemTime) {
        let mut by_hash = lock(&self.by_hash);
        let limits = lock(&self.limits).clone();
        let mut old = std::mem::take(&mut *by_hash);
        for issued in all.into_iter().filter(|issued| !issued.has_expired(now)) {
            let Some(hash) = issued.hash() else { continue };
            let holder = match old.remove(&hash) {
                Some(holder) if holder.issued == issued => holder,
                // What it grants was changed: its streams end, and come again.
                other => {
                    other.iter().for_each(|holder| holder.end());
                    let used = other.map(|it| lock(&it.spent).today(now));
                    let used = used.unwrap_or_else(|| usage.of(&issued.id, now));
                    Arc::new(Holder::new(issued, &limits, used, now))
                }
            };
            by_hash.insert(hash, holder);
        }
        drop(by_hash);
        old.values().for_each(|holder| holder.end());
        self.ended.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn expire(&self, now: SystemTime) {
        let mut by_hash = lock(&self.by_hash);
        let before = by_hash.len();
        by_hash.retain(|_, holder| {
            let has_ended = holder.issued.has_expired(now);
            if has_ended {
                holder.end();
            }
            !has_ended
        });
        if by_hash.len() < before {
            self.ended.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn find(&self, token: &RelayToken) -> Option<Arc<Holder>> {
        let holder = lock(&self.by_hash).get(&token.hash()).cloned();
        holder.filter(|holder| !holder.issued.has_expired(now()))
    }
}

impl Holder {
    fn new(issued: Issued, limits: &Limits, used: u64, now: SystemTime) -> Self {
        let granted = issued.grants.or(limits);
        let pace = Pace::new(granted.bytes_per_s, burst(&granted), Instant::now());
        Self {
            issued,
            granted: Mutex::new(granted),
            has_ended: AtomicBool::new(false),
            spent: Mutex::new(Spent { day: day(now), bytes: used, pace }),
            connections: AtomicU32::new(0),
            logs: AtomicU32::new(0),
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Spent {
    /// What was used on the day of `now`.
    fn today(&mut self, now: SystemTime) -> u64 {
        if self.day != day(now) {
            (self.day, self.bytes) = (day(now), 0);
        }
        self.bytes
    }
}

/// How many seconds' worth of bytes may be appended at once after a rest.
const BURST_S: u32 = 8;

fn burst(granted: &Granted) -> u32 {
    granted.bytes_per_s.saturating_mul(BURST_S).max(ENVELOPE_MAX as u32)
}

/// What one stream may do: all, at a relay that is open; else what the token grants that it has shown
/// last.
pub(super) struct Pass {
    holders: Option<Arc<Holders>>,
    shown: Result<Arc<Lease>, Refusal>,
    /// Of the tokens under which logs are open, and of the one that was shown last.
    leases: Vec<Weak<Lease>>,
    ended: Option<watch::Receiver<u64>>,
}

/// A token that one stream uses: one connection of it.
struct Lease(Arc<Holder>);

/// A log that is open under a token.
pub(super) struct Held(Arc<Lease>);

impl Pass {
    /// Of a stream that begins.
    pub(super) fn new(holders: Option<Arc<Holders>>) -> Self {
        Self {
            ended: holders.as_ref().map(|holders| holders.ended.subscribe()),
            holders,
            shown: Err(Refusal::TokenNeeded),
            leases: Vec::new(),
        }
    }

    /// What `Hello` says of tokens.
    pub(super) fn wanted(&self) -> Option<bool> {
        self.holders.is_some().then_some(true)
    }

    /// Takes a token that the client shows.
    pub(super) fn show(&mut self, token: &RelayToken) -> Result<(), Refusal> {
        let Some(holders) = &self.holders else { return Ok(()) };
        let holder = holders.find(token);
        self.leases.retain(|lease| lease.strong_count() > 0);
        self.shown = match holder {
            None => Err(Refusal::TokenInvalid),
            Some(holder) => {
                let mut known = self.leases.iter().filter_map(Weak::upgrade);
                match known.find(|lease| Arc::ptr_eq(&lease.0, &holder)) {
                    Some(lease) => Ok(lease),
                    None => Lease::take(holder).inspect(|lease| {
                        self.leases.push(Arc::downgrade(lease));
                    }),
                }
            }
        };
        self.shown.as_ref().map(|_| ()).map_err(|reason| *reason)
    }

    /// Lets a log be opened, under the token that was shown last.
    pub(super) fn open(&self) -> Result<Option<Held>, Refusal> {
        if self.holders.is_none() {
            return Ok(None);
        }
        match &self.shown {
            Ok(lease) => Held::take(lease).map(Some),
            Err(reason) => Err(*reason),
        }
    }

    /// Whether the stream counts as a connection of the token that was shown last.
    pub(super) fn is_counted(&self) -> bool {
        self.shown.is_ok()
    }

    /// Waits until a token has ended under which this stream is used.
    pub(super) async fn ended(&mut self) {
        let Self { ended: Some(ended), leases, .. } = self else {
            return std::future::pending().await;
        };
        loop {
            let over = |lease: &Weak<Lease>| {
                lease.upgrade().is_some_and(|lease| lease.0.has_ended.load(Ordering::Relaxed))
            };
            if leases.iter().any(over) {
                return;
            }
            if ended.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Lease {
    fn take(holder: Arc<Holder>) -> Result<Arc<Self>, Refusal> {
        let most = lock(&holder.granted).connections;
        count_up(&holder.connections, most)?;
        Ok(Arc::new(Self(holder)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Held {
    fn take(lease: &Arc<Lease>) -> Result<Self, Refusal> {
        let most = lock(&lease.0.granted).logs;
        count_up(&lease.0.logs, most)?;
        Ok(Self(Arc::clone(lease)))
    }

    /// Spends so many bytes of the token's day.
    pub(super) fn spend(&self, bytes: u32, at: Instant) -> Result<(), Refusal> {
        let holder = &self.0.0;
        let now = now();
        let most = lock(&holder.granted).bytes_per_day;
        let mut spent = lock(&holder.spent);
        let used = spent.today(now).saturating_add(bytes.into());
        if used > most {
            return Err(again_in(rest_of_day(now)));
        }
        let paced = spent.pace.try_take(bytes, at);
        paced.map_err(|wait| super::session::again_in(wait.max(crate::limits::RETRY)))?;
        spent.bytes = used;
        Ok(())
    }

    /// Takes back what was spent on an entry that another bound refused.
    pub(super) fn refund(&self, bytes: u32) {
        let mut spent = lock(&self.0.0.spent);
        spent.bytes = spent.bytes.saturating_sub(bytes.into());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.logs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one more, unless there are as many as may be.
fn count_up(count: &AtomicU32, most: u32) -> Result<(), Refusal> {
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < most).then(|| count + 1)
        })
        .map(|_| ())
        .map_err(|_| again_in(TOKEN_RETRY))
}

fn again_in(wait: Duration) -> Refusal {
    Refusal::TokenSpent { retry_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }
}

/// The system's clock, with what a test set it ahead by.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(super::now().0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
