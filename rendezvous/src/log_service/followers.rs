//! Who is to be told when a log grows. Bells, not queues: a bell that rings twice is rung, and what there is
//! to hear is read by each at its own pace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use protocol::ids::LogId;
use tokio::sync::Notify;

use super::recent::{Recent, Tail};
use crate::store::Page;

/// All who follow, by log.
#[derive(Default)]
pub(super) struct Followers {
    logs: Mutex<BTreeMap<LogId, Followed>>,
    next: AtomicU64,
    recent: Recent,
}

/// A log that somebody follows.
#[derive(Default)]
struct Followed {
    followers: BTreeMap<u64, Follower>,
    tail: Arc<Tail>,
}

struct Follower {
    handle: u32,
    bell: Arc<Bell>,
}

/// Rung for a session, with the handles of the logs that grew.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<BTreeSet<u32>>,
    notify: Notify,
}

/// Being told, until dropped.
pub(super) struct Following {
    followers: Arc<Followers>,
    log: LogId,
    key: u64,
    tail: Arc<Tail>,
}

impl Followers {
    /// Rings `bell` with `handle` from now on whenever `log` grows.
    pub(super) fn follow(self: &Arc<Self>, log: LogId, handle: u32, bell: &Arc<Bell>) -> Following {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let follower = Follower { handle, bell: Arc::clone(bell) };
        let mut logs = lock(&self.logs);
        let followed = logs.entry(log).or_default();
        followed.followers.insert(key, follower);
        let tail = Arc::clone(&followed.tail);
        Following { followers: Arc::clone(self), log, key, tail }
    }

    /// Holds entries that this process alone has appended to a log, with their numbers, for those who
    /// follow along; to be rung afterwards.
    pub(super) fn appended(&self, log: LogId, entries: Vec<(u64, Vec<u8>)>) {
        let Some(tail) = lock(&self.logs).get(&log).map(|it| Arc::clone(&it.tail)) else { return };
        for (seq, entry) in entries {
            self.recent.keep(&tail, seq, &Arc::new(entry));
        }
    }

    /// Holds no entries of a log any more, as some were deleted.
    pub(super) fn trimmed(&self, log: LogId) {
        lock(&self.logs).get(&log).iter().for_each(|it| it.tail.clear());
    }

    /// Holds no entries any more: their time is over, or it is time to look.
    pub(super) fn forget(&self) {
        self.recent.clear();
    }

    /// Rings for all who follow `log`.
    pub(super) fn ring(&self, log: LogId) {
        let bells = |it: &Followed| {
            it.followers.values().map(|it| (Arc::clone(&it.bell), it.handle)).collect::<Vec<_>>()
        };
        // Not while those wait who begin or end to follow.
        let rung = lock(&self.logs).get(&log).map(bells);
        rung.into_iter().flatten().for_each(|(bell, handle)| bell.ring(handle));
    }
}

impl Following {
    /// The store says that the log's last entry has this number.
    pub(super) fn ends_at(&self, head: u64) {
        self.tail.ends_at(head);
    }

    /// What comes after a number, if that was appended a moment ago.
    pub(super) fn recent(&self, after: u64, max_bytes: usize) -> Option<Page> {
        self.tail.after(after, max_bytes)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut logs = lock(&self.followers.logs);
        if let Some(followed) = logs.get_mut(&self.log) {
            followed.followers.remove(&self.key);
            if followed.followers.is_empty() {
                logs.remove(&self.log);
            }
        }
    }
}

impl Bell {
    fn ring(&self, handle: u32) {
        lock(&self.rung).insert(handle);
        self.notify.notify_one();
    }

    /// Waits until it is rung; answers for which handles. Dropping the wait loses nothing.
    pub(super) async fn rung(&self) -> BTreeSet<u32> {
        loop {
            self.notify.notified().await;
            let rung = std::mem::take(&mut *lock(&self.rung));
            if !rung.is_empty() {
                return rung;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LOG: LogId = LogId([1; 20]);

    #[test]
    fn a_bell_remembers_which_logs_grew_and_forgets_when_dropped() {
        let followers = Arc::new(Followers::default());
        let bell = Arc::new(Bell::default());
        let one = followers.follow(LOG, 1, &bell);
        let _two = followers.follow(LOG, 2, &bell);
        followers.ring(LogId([2; 20]));
        assert_eq!(bell.rung().now_or_never(), None);
        followers.ring(LOG);
        followers.ring(LOG);
        assert_eq!(bell.rung().now_or_never(), Some([1, 2].into()));
        assert_eq!(bell.rung().now_or_never(), None);
        drop(one);
        followers.ring(LOG);
        assert_eq!(bell.rung().now_or_never(), Some([2].into()));
    }

    #[test]
    fn nothing_is_kept_of_a_log_that_nobody_follows() {
        let followers = Arc::new(Followers::default());
        drop(followers.follow(LOG, 1, &Arc::new(Bell::default())));
        assert!(lock(&followers.logs).is_empty());
    }
}
