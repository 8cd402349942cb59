//! What a relay counts, as it happens: numbers alone, with labels from small closed sets.
//!
//! > No address, PeerId, log or key is in any of them.

use std::{
    borrow::Cow,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{
        counter::Counter as AnyCounter,
        family::Family,
        gauge::Gauge as AnyGauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use protocol::limits::ENVELOPE_MAX;

use super::why::{Reason, Why};
use crate::store::LogStore;

type Counter = AnyCounter<u64, AtomicU64>;
type Gauge = AnyGauge<i64, AtomicI64>;

/// A commit that takes longer has got stuck.
const STUCK: Duration = Duration::from_secs(30);

/// All of it.
pub(crate) struct Counts {
    /// Connections that stand.
    pub connections: Gauge,
    /// Connections that were made.
    pub connections_made: Counter,
    /// Connections with a stream of the log service.
    pub clients: Gauge,
    /// Logs that clients have open.
    pub logs: Gauge,
    /// Entries that were acknowledged as stored.
    pub appends: Counter,
    /// Their bytes.
    pub append_bytes: Counter,
    /// Entries that were handed to followers.
    pub deliveries: Counter,
    /// Their bytes.
    pub delivery_bytes: Counter,
    /// Pages behind which a follower was told nothing for a while, as its address was told what it may.
    pub deliveries_paced: Counter,
    /// Entries at the end of their time that were deleted.
    pub expired: Counter,
    /// Entries that don't match their checksum, each time that one is met.
    pub damaged: Counter,
    /// How many bytes may be stored.
    pub quota_bytes: Gauge,
    /// Circuits that were made.
    pub circuits: Counter,
    /// Connections to the dashboard that found no place.
    pub watch_shed: Counter,
    /// Bytes of memory that the process has, and above which no connections are taken; 0: there is none.
    pub memory: Gauge,
    /// See [`Self::memory`].
    pub memory_mark: Gauge,
    /// Files that it has open, and above which no connections are taken; 0: there is none.
    pub files: Gauge,
    /// See [`Self::files`].
    pub files_mark: Gauge,
    cluster: Mutex<Cow<'static, str>>,
    refused: Family<Reason, Counter>,
    commit_seconds: Histogram,
    /// When those began that are under way: at most one for each lane of the store.
    commits: Mutex<Vec<Instant>>,
    stored_entries: Gauge,
    stored_bytes: Gauge,
    is_writable: AtomicBool,
    started: SystemTime,
}

/// Why the store takes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The disk is nearly full, or a write failed.
    Disk,
    /// What may be stored is stored.
    Quota,
    /// The disk does not answer.
    Stuck,
}

/// One more in a gauge, while it lasts.
pub(crate) struct Counted(Gauge);

impl Counted {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Counts {
    fn default() -> Self {
        let counts = Self {
            connections: Gauge::default(),
            connections_made: Counter::default(),
            clients: Gauge::default(),
            logs: Gauge::default(),
            appends: Counter::default(),
            append_bytes: Counter::default(),
            deliveries: Counter::default(),
            delivery_bytes: Counter::default(),
            deliveries_paced: Counter::default(),
            expired: Counter::default(),
            damaged: Counter::default(),
            quota_bytes: Gauge::default(),
            circuits: Counter::default(),
            watch_shed: Counter::default(),
            memory: Gauge::default(),
            memory_mark: Gauge::default(),
            files: Gauge::default(),
            files_mark: Gauge::default(),
            cluster: Mutex::default(),
            refused: Family::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            commits: Mutex::default(),
            stored_entries: Gauge::default(),
            stored_bytes: Gauge::default(),
            is_writable: AtomicBool::new(true),
            started: SystemTime::now(),
        };
        // A series that begins with its first refusal has no rate then.
        for reason in Why::ALL {
            drop(counts.refused.get_or_create(&Reason { reason: *reason }));
        }
        counts
    }
}

/// A commit that is under way.
pub(crate) struct Commit<'a> {
    counts: &'a Counts,
    since: Instant,
}

impl Commit<'_> {
    /// Notes how long it took. One that is dropped instead goes on for ever: the store has failed.
    pub(crate) fn ends(self) {
        let mut commits = lock(&self.counts.commits);
        if let Some(at) = commits.iter().position(|since| *since == self.since) {
            commits.swap_remove(at);
        }
        drop(commits);
        self.counts.commit_seconds.observe(self.since.elapsed().as_secs_f64());
    }
}

impl Counts {
    /// Counts a refusal.
    pub(crate) fn refuse(&self, why: impl Into<Why>) {
        self.refused.get_or_create(&Reason { reason: why.into() }).inc();
    }

    /// Notes how many bytes may be stored.
    pub(crate) fn quota(&self, bytes: u64) {
        self.quota_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes what the store says of itself. It waits for a commit that is under way.
    pub(crate) fn stored(&self, store: &dyn LogStore) {
        if let Some(usage) = store.usage() {
            self.stored_entries.set(i64::try_from(usage.entries).unwrap_or(i64::MAX));
            self.stored_bytes.set(i64::try_from(usage.bytes).unwrap_or(i64::MAX));
        }
        *lock(&self.cluster) = store.shared();
        self.is_writable.store(store.is_writable(), Ordering::Relaxed);
    }

    /// Notes that a commit is under way, until it [`ends`](Commit::ends).
    pub(crate) fn commit_begins(&self) -> Commit<'_> {
        let since = Instant::now();
        lock(&self.commits).push(since);
        Commit { counts: self, since }
    }

    /// How often something was refused for a reason.
    pub(super) fn refusals(&self, reason: Why) -> u64 {
        self.refused.get(&Reason { reason }).map_or(0, |count| count.get())
    }

    /// Entries and bytes that are stored.
    pub(super) fn usage(&self) -> (i64, i64) {
        (self.stored_entries.get(), self.stored_bytes.get())
    }

    /// Why the store takes no entry of the largest size; `None`: it does.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let wanted = self.stored_bytes.get().saturating_add(ENVELOPE_MAX as i64);
        if lock(&self.commits).iter().any(|since| since.elapsed() > STUCK) {
            Some(Trouble::Stuck)
        } else if !self.is_writable.load(Ordering::Relaxed) {
            Some(Trouble::Disk)
        } else if wanted > self.quota_bytes.get() {
            Some(Trouble::Quota)
        } else {
            None
        }
    }

    /// With whom the store is shared.
    pub(super) fn cluster(&self) -> String {
        lock(&self.cluster).to_string()
    }

    /// All of it by name, for Prometheus.
    pub(super) fn registry(&self) -> Registry {
        let mut all = Registry::with_prefix("wattle_rendezvous");
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The program", version);
        let started = Gauge::default();
        let since = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        started.set(i64::try_from(since).unwrap_or(i64::MAX));
        let help = "When the relay started, since the Unix epoch";
        all.register_with_unit("start_time", help, Unit::Seconds, started);

        all.register("connections", "Connections that stand", self.connections.clone());
        let help = "Connections that were made";
        all.register("connections_made", help, self.connections_made.clone());
        all.register("clients", "Connections with a log stream", self.clients.clone());
        all.register("logs_open", "Logs that clients have open", self.logs.clone());
        all.register("circuits", "Circuits that were made", self.circuits.clone());
        all.register("refused", "What was refused, by reason", self.refused.clone());

        all.register("appends", "Entries acknowledged as stored", self.appends.clone());
        let help = "Bytes of entries acknowledged as stored";
        all.register_with_unit("append", help, Unit::Bytes, self.append_bytes.clone());
        let help = "How long a batch of entries took to be on the disk";
        all.register_with_unit("commit_duration", help, Unit::Seconds, self.commit_seconds.clone());
        all.register("deliveries", "Entries handed to followers", self.deliveries.clone());
        let help = "Bytes of entries handed to followers";
        all.register_with_unit("delivery", help, Unit::Bytes, self.delivery_bytes.clone());

        let help = "Pages behind which a follower waited, as its address had been told what it may";
        all.register("deliveries_paced", help, self.deliveries_paced.clone());

        all.register("stored_entries", "Entries stored now", self.stored_entries.clone());
        let help = "Bytes of entries stored now";
        all.register_with_unit("stored", help, Unit::Bytes, self.stored_bytes.clone());
        let help = "Bytes of entries that may be stored";
        all.register_with_unit("quota", help, Unit::Bytes, self.quota_bytes.clone());
        let help = "Entries deleted at the end of their time";
        all.register("expired_entries", help, self.expired.clone());
        let help = "Entries that were not as they had been written, each time that one was met";
        all.register("damaged_entries", help, self.damaged.clone());
        let writable = Gauge::default();
        writable.set(self.trouble().is_none().into());
        all.register("store_writable", "1 if the store takes entries, else 0", writable);

        let help = "Bytes of memory that the process has";
        all.register_with_unit("memory", help, Unit::Bytes, self.memory.clone());
        let help = "Bytes of memory above which no connections are taken; 0: there is none";
        all.register_with_unit("memory_mark", help, Unit::Bytes, self.memory_mark.clone());
        all.register("files_open", "Files that the process has open", self.files.clone());
        let help = "Open files above which no connections are taken; 0: there is none";
        all.register("files_mark", help, self.files_mark.clone());
        let help = "Connections to the dashboard that found no place";
        all.register("watch_shed", help, self.watch_shed.clone());
        all
    }
}

impl Trouble {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Disk => {
                "It takes no new entries: the disk is nearly full, or a write has failed."
            }
            Self::Quota => "It takes no new entries: the quota of the store is used up.",
            Self::Stuck => "It takes no new entries: the disk has not answered for 30 seconds.",
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use protocol::relay_log::Refusal;

    use super::*;

    fn text(counts: &Counts) -> String {
        let mut text = String::new();
        encode(&mut text, &counts.registry()).unwrap();
        text
    }

    #[test]
    fn what_is_counted_is_named_in_base_units_with_closed_labels() {
        let counts = Counts::default();
        counts.appends.inc();
        counts.append_bytes.inc_by(512);
        counts.commit_begins().ends();
        counts.quota_bytes.set(1 << 30);
        counts.stored_entries.set(3);
        counts.stored_bytes.set(1536);
        counts.refuse(Refusal::LogFull);
        let text = text(&counts);
        for line in [
            "appends_total 1",
            "append_bytes_total 512",
            "commit_duration_seconds_count 1",
            "stored_entries 3",
            "stored_bytes 1536",
            "quota_bytes 1073741824",
            "store_writable 1",
            "refused_total{reason=\"log_full\"} 1",
            "refused_total{reason=\"handshake\"} 0",
            concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            let line = format!("wattle_rendezvous_{line}");
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("{reason=").count(), Why::ALL.len());
        assert_eq!(counts.refusals(Why::LogFull), 1);
    }

    #[test]
    fn a_store_that_takes_nothing_says_why() {
        let counts = Counts::default();
        counts.quota_bytes.set(4 * ENVELOPE_MAX as i64);
        counts.stored_bytes.set(3 * ENVELOPE_MAX as i64);
        assert_eq!(counts.trouble(), None);
        counts.stored_bytes.inc();
        assert_eq!(counts.trouble(), Some(Trouble::Quota));
        counts.is_writable.store(false, Ordering::Relaxed);
        assert_eq!(counts.trouble(), Some(Trouble::Disk));
        assert!(text(&counts).contains("\nwattle_rendezvous_store_writable 0\n"));
        counts.is_writable.store(true, Ordering::Relaxed);
        counts.stored_bytes.dec();
        let mut stuck = counts.commit_begins();
        stuck.since = stuck.since.checked_sub(STUCK * 2).unwrap();
        lock(&counts.commits)[0] = stuck.since;
        counts.commit_begins().ends();
        assert_eq!(counts.trouble(), Some(Trouble::Stuck), "others' commits go on beside it");
        stuck.ends();
        assert_eq!(counts.trouble(), None);
    }
}
