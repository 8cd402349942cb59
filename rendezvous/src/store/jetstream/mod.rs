//! Logs on a cluster: JetStream keeps a replicated log of records, and every relay process has an index.
//!
//! ```text
//! append ──▶ plan on the index ──▶ publish "right behind N" ──▶ ack ──┐
//!                  ▲                                                  ▼
//!                index ◀── apply, one commit for many ◀── queue ◀── tail of each shard
//! ```
//!
//! A log belongs to one of a few shards, by its id; a shard is one stream. Whoever appends decides by
//! its index what becomes of it (its number, or why not) and writes that down as a `record`. The
//! record counts only if it stands right behind the last one that its writer had applied: otherwise
//! another process was first, and it decides anew. So all processes have the same numbers, each entry
//! has one, and an index can be made from wherever the streams begin.
//!
//! > Nothing is answered before JetStream has acknowledged it and the index has applied it. Nothing goes
//! > by the clock of a server: entries go by records, and messages by a purge up to where none of them
//! > is needed by any process. Cursors mean the same in every process of a cluster.
//!
//! Why so: `docs/decisions/0017-a-cluster-as-a-log-and-an-index.md`.

mod applier;
mod cluster;
mod pace;
mod reach;
pub(super) mod record;
mod safety;
mod shard;
mod streams;
mod tail;
#[cfg(test)]
mod tests;
mod under_way;

use std::{
    borrow::Cow,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use protocol::ids::{LogId, Timestamp};
use tokio::{runtime::Handle, task::JoinSet};

use super::{
    EmbeddedStore, LogStore, NewEntry, Others, Outcome, Page, Quota, StoreError, Trimmed, Usage,
    embedded::replica::{Expiry, Origin, Place, shard_of},
};
use crate::settings::cluster::{Allowance, Cluster};
use applier::Applier;
use pace::TICK;
use reach::Reach;
use record::{Change, Gone, RECORD_BYTES, Record};
use shard::{Shard, Written};
use under_way::UnderWay;

pub use cluster::ClusterError;
pub use safety::{Danger, Unsafe};

/// How long an append waits for the cluster; the time that a stream needs for a new leader, and more.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits where the last one has waited in vain.
const IMPATIENCE: Duration = Duration::from_millis(500);
/// How long a reader waits until what others have written is here.
const CATCH_UP: Duration = Duration::from_secs(2);
/// The file in an index that says that it is of no use any more.
const SPOILT: &str = "spoilt";
/// Logs that one record drops entries of.
const RECORD_DROPS: usize = 8192;

/// Logs on a NATS JetStream cluster, with an index in a directory of this process.
pub struct JetStreamStore {
    shared: Arc<Shared>,
    shards: Vec<Shard>,
    runtime: Handle,
    patience: Duration,
    /// Bytes of entries that were put on the log and are not in the index yet: one quota is for all
    /// shards.
    under_way: AtomicU64,
    /// What the operator has taken though it isn't safe.
    allowed: Vec<Allowance>,
    became_unsafe: Arc<AtomicBool>,
    _tails: JoinSet<()>,
    _applier: Applier,
}

/// What the parts of a store share.
struct Shared {
    index: EmbeddedStore,
    /// Where the index is.
    dir: PathBuf,
    /// Whether the index is to be made anew.
    is_spoilt: AtomicBool,
    origin: Origin,
    others: OnceLock<Box<dyn Others>>,
    has_ended: AtomicBool,
    /// Which streams answer.
    reach: Arc<Reach>,
}

impl Shared {
    /// Says that the store can't go on.
    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        if let Some(others) = self.others.get() {
            others.ended();
        }
    }

    /// Has the next start make the index anew: the cluster has what this one has lost.
    fn spoil(&self) {
        if self.is_spoilt.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(
            "the index is damaged: the next start makes it anew from the cluster's log"
        );
        if let Err(error) = File::create(self.dir.join(SPOILT)) {
            tracing::error!(%error, "could not mark the index; delete it before the next start");
        }
    }

    fn is_whole(&self) -> Result<(), StoreError> {
        if self.has_ended.load(Ordering::Acquire) { Err(StoreError::Parted) } else { Ok(()) }
    }
}

impl JetStreamStore {
    /// Connects to a cluster, makes its streams if there are none, and brings the index in a directory
    /// up to where they end. To be called on a Tokio runtime, on which the store then lives.
    ///
    /// `relay` is what tells this relay from others: a cluster is one relay's.
    pub async fn open(
        dir: &Path,
        settings: &Cluster,
        quota: Quota,
        relay: &[u8],
    ) -> Result<Self, ClusterError> {
        let cluster = cluster::Reached::connect(settings, quota, relay).await?;
        let origin = cluster.origin();
        let ends = cluster.ends().await?;
        let (path, dir) = (dir.to_path_buf(), dir.to_path_buf());
        let opened = tokio::task::spawn_blocking(move || index(&path, quota, origin, &ends));
        let (index, places) = opened.await.map_err(|_| StoreError::Parted)??;

        let shared = Arc::new(Shared {
            index,
            dir,
            is_spoilt: AtomicBool::new(false),
            origin,
            others: OnceLock::new(),
            has_ended: AtomicBool::new(false),
            reach: Arc::new(Reach::of(origin.shards)),
        });
        let (applier, queue, applied) = applier::start(Arc::clone(&shared), &places)?;
        let mut shards = Vec::new();
        let mut tails = JoinSet::new();
        for (number, applied) in (0_u8..).zip(applied) {
            let stream = cluster.stream(number);
            tails.spawn(tail::run(
                number,
                stream.clone(),
                applied.clone(),
                queue.clone(),
                Arc::downgrade(&shared),
            ));
            shards.push(Shard::new(number, stream, applied, queue.clone(), Arc::clone(&shared)));
        }
        let became_unsafe = Arc::new(AtomicBool::new(false));
        let streams = (0..origin.shards).map(|number| cluster.stream(number)).collect();
        tails.spawn(reach::look_for(streams, Arc::downgrade(&shared)));
        tails.spawn(safety::watch(cluster.clone(), Arc::clone(&became_unsafe)));
        let store = Self {
            shared,
            shards,
            patience: PATIENCE,
            runtime: Handle::current(),
            under_way: AtomicU64::new(0),
            allowed: settings.allow.clone(),
            became_unsafe,
            _tails: tails,
            _applier: applier,
        };
        store.catch_up_all(&cluster).await?;
        for shard in &store.shards {
            shard.look_at_room().await;
        }
        Ok(store)
    }

    /// Waits until the index is where the streams end now, and says how far it is meanwhile.
    async fn catch_up_all(&self, cluster: &cluster::Reached) -> Result<(), ClusterError> {
        let ends = cluster.ends().await?;
        let behind = || -> u64 {
            let pairs = self.shards.iter().zip(&ends);
            pairs.map(|(shard, end)| end.last.saturating_sub(shard.applied().at)).sum()
        };
        let all = behind();
        let mut said = Instant::now();
        while behind() > 0 {
            self.shared.is_whole()?;
            if said.elapsed() > Duration::from_secs(2) {
                said = Instant::now();
                tracing::info!(done = all - behind(), all, "reading the cluster's log");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if all > 0 {
            tracing::info!(records = all, "the index has caught up with the cluster");
        }
        Ok(())
    }

    fn shard_of(&self, log: LogId) -> &Shard {
        &self.shards[usize::from(shard_of(log, self.shared.origin.shards))]
    }

    fn deadline(&self, shard: &Shard) -> Instant {
        let is_away = self.shared.reach.is_away(shard.number());
        Instant::now() + if is_away { IMPATIENCE } else { self.patience }
    }

    /// A shard's time when the relay's clock tells `told`; the last record's where no clock is asked.
    fn time(&self, shard: &Shard, told: Option<Timestamp>, last: Timestamp) -> Timestamp {
        // The first record's: where the other shards are.
        let newest = || self.shards.iter().map(|shard| shard.applied().time).max();
        let last = match last {
            Timestamp(0) => newest().unwrap_or_default().max(Timestamp(1)),
            last => last,
        };
        told.map_or(last, |told| shard.pace().at(told, last))
    }

    /// Writes what a plan asks for by the shard's time now and its last record's, planning anew for as
    /// long as other processes are first.
    async fn change<T>(
        &self,
        shard: &Shard,
        deadline: Instant,
        told: Option<Timestamp>,
        mut plan: impl FnMut(Timestamp, Timestamp) -> Result<(T, Option<(Change, u64)>), StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            self.shared.is_whole()?;
            let last = shard.applied();
            let time = self.time(shard, told, last.time);
            let (answer, change) = plan(time, last.time)?;
            let Some((change, floor)) = change else { return Ok(answer) };
            let record = Record {
                generation: self.shared.origin.generation,
                after: last.at,
                time,
                floor,
                change,
            };
            match shard.write(&record, deadline).await? {
                Written::Applied => {
                    shard.pace().wrote(time);
                    self.shared.reach.takes(shard.number());
                    return Ok(answer);
                }
                Written::Anew => {}
                Written::Full => return Err(StoreError::Full),
            }
        }
    }

    /// Appends to one shard.
    async fn append_to(
        &self,
        shard: &Shard,
        entries: &[&NewEntry],
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Vec<Outcome>, StoreError> {
        let _turn = shard.turn().await;
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut rest = entries;
        let mut has_waited = false;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(fitting(rest));
            let index = &self.shared.index;
            let mut mine = UnderWay::of(&self.under_way);
            let mut is_crowded = false;
            let answered = self.change(shard, deadline, Some(now), |_, _| {
                let others = mine.takes(part.iter().map(|new| new.bytes.len() as u64).sum());
                let (outcomes, puts) = index.plan_append(part, others);
                is_crowded = !has_waited && others > 0 && outcomes.contains(&Outcome::StoreFull);
                if is_crowded {
                    mine.takes(0);
                    return Ok((outcomes, None));
                }
                mine.takes(puts.iter().map(|put| put.bytes.len() as u64).sum());
                let floor = index.floor(shard.number());
                let change = (!puts.is_empty()).then_some((Change::Put(puts), floor));
                Ok((outcomes, change))
            });
            match answered.await {
                // What has just been applied may still be counted as under way, too.
                Ok(_) if is_crowded => {
                    has_waited = true;
                    self.until_nothing_is_under_way(deadline).await;
                    continue;
                }
                Ok(answers) => {
                    if answers.contains(&Outcome::Damaged) {
                        self.shared.spoil();
                    }
                    outcomes.extend(answers);
                }
                Err(StoreError::Away) => {
                    self.shared.reach.append_misses(shard.number());
                    outcomes.resize(entries.len(), Outcome::Away);
                    break;
                }
                Err(StoreError::Full) => {
                    outcomes.resize(entries.len(), Outcome::StoreFull);
                    break;
                }
                Err(error) => return Err(error),
            }
            rest = others;
        }
        Ok(outcomes)
    }

    /// Waits until other appends are through, but not long.
    async fn until_nothing_is_under_way(&self, deadline: Instant) {
        let end = deadline.min(Instant::now() + Duration::from_millis(100));
        while self.under_way.load(Ordering::Acquire) > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Drops what is older than `ttl` by the shard's time, and has that go on where nobody writes.
    async fn expire_in(
        &self,
        shard: &Shard,
        ttl: u64,
        now: Timestamp,
        max: usize,
        deadline: Instant,
    ) -> Result<usize, StoreError> {
        let _turn = shard.turn().await;
        self.change(shard, deadline, Some(now), |time, last| {
            let before = Timestamp(time.0.saturating_sub(ttl));
            let (index, shards) = (&self.shared.index, self.shared.origin.shards);
            let (number, from) = (shard.number(), shard.expired());
            let plan = index.plan_expiry(number, shards, from, before, max);
            shard.has_expired(plan.oldest, last);
            let Expiry { mut due, floor, .. } = plan;
            due.truncate(RECORD_DROPS);
            let count = due.iter().map(|due| due.count).sum();
            let gone: Vec<Gone> = due.iter().map(|due| due.gone).collect();
            let ticks = last > Timestamp(0) && time.ms_since(last) >= TICK;
            let change = (ticks || !gone.is_empty()).then_some((Change::Drop(gone), floor));
            Ok((count, change))
        })
        .await
    }

    /// Has JetStream let go of what no process needs any more, and looks how it is.
    async fn purge(&self) {
        for shard in &self.shards {
            let at = self.shared.index.unneeded(shard.number(), shard.expired());
            if let Some(at) = at
                && shard.purge(at).await
                && let Err(error) = self.shared.index.forget_places(shard.number(), at)
            {
                tracing::warn!(%error, "could not tidy the index");
            }
            if shard.look_at_room().await {
                self.shared.reach.answers(shard.number());
            }
        }
    }
}

impl LogStore for JetStreamStore {
    fn generation(&self) -> u64 {
        self.shared.origin.generation
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut by_shard: Vec<Vec<usize>> = vec![Vec::new(); self.shards.len()];
        for (position, new) in batch.iter().enumerate() {
            by_shard[usize::from(self.shard_of(new.log).number())].push(position);
        }
        let parts = self.shards.iter().zip(&by_shard).filter(|(_, part)| !part.is_empty());
        let appends = parts.map(|(shard, part)| {
            let entries: Vec<_> = part.iter().map(|position| &batch[*position]).collect();
            let deadline = self.deadline(shard);
            async move { (part, self.append_to(shard, &entries, now, deadline).await) }
        });
        let answers = self.runtime.block_on(join_all(appends.collect::<Vec<_>>()));
        let mut outcomes = vec![Outcome::Away; batch.len()];
        for (part, answers) in answers {
            for (position, outcome) in part.iter().zip(answers?) {
                outcomes[*position] = outcome;
            }
        }
        Ok(outcomes)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        let page = self.shared.index.read(log, after, max_bytes);
        if !page.as_ref().is_ok_and(|page| page.damaged == 0) {
            self.shared.spoil();
        }
        page
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        let shard = self.shard_of(log);
        let index = &self.shared.index;
        self.runtime.block_on(async {
            let _turn = shard.turn().await;
            let mut first = None;
            let trim = self.change(shard, self.deadline(shard), None, |_, _| {
                let (begins, gone) = index.plan_trim(log, to, max)?;
                let first = *first.get_or_insert(begins);
                let begins = gone.map_or(begins, |gone| gone.to);
                let count = usize::try_from(begins.saturating_sub(first)).unwrap_or(usize::MAX);
                let floor = index.floor(shard.number());
                let change = gone.map(|gone| (Change::Drop(vec![gone]), floor));
                Ok((Trimmed { begins, gone: count }, change))
            });
            trim.await
        })
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        let ttl = now.ms_since(before);
        self.runtime.block_on(async {
            let (mut gone, mut failed) = (0, None);
            for shard in &self.shards {
                if gone >= max {
                    return Ok(gone);
                }
                let deadline = match failed.is_some() || shard.is_stuck() {
                    false => self.deadline(shard),
                    true => Instant::now() + IMPATIENCE,
                };
                let expired = self.expire_in(shard, ttl, now, max - gone, deadline).await;
                shard.sticks(expired.is_err());
                match expired {
                    Ok(count) => gone += count,
                    // It is not for the other shards to wait for this one.
                    Err(error @ (StoreError::Away | StoreError::Full)) => failed = Some(error),
                    Err(error) => return Err(error),
                }
            }
            self.purge().await;
            // There may be more where it goes on.
            if gone >= max {
                return Ok(gone);
            }
            failed.map_or(Ok(gone), Err)
        })
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }

    fn is_own(&self) -> bool {
        false
    }

    /// One for each stream: a leader that is gone is waited for by what is for its stream alone.
    fn lanes(&self) -> usize {
        self.shards.len()
    }

    fn lane(&self, log: LogId) -> usize {
        usize::from(self.shard_of(log).number())
    }

    fn counts_time(&self) -> bool {
        true
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn usage(&self) -> Option<Usage> {
        self.shared.index.usage()
    }

    fn is_writable(&self) -> bool {
        !self.shared.reach.takes_nothing() && self.shared.index.is_writable()
    }

    fn shared(&self) -> Cow<'static, str> {
        let mut said = self.shared.reach.said();
        if self.became_unsafe.load(Ordering::Relaxed) {
            said.push_str(" IT IS NO LONGER SAFE: the log says why.");
        }
        if !self.allowed.is_empty() {
            let names = self.allowed.iter().map(|it| it.name()).collect::<Vec<_>>().join(", ");
            said.push_str(&format!(" IT MAY LOSE ENTRIES, as its operator allows: {names}."));
        }
        said.into()
    }

    fn catch_up(&self, log: LogId) -> Result<(), StoreError> {
        let shard = self.shard_of(log);
        self.runtime.block_on(shard.catch_up(Instant::now() + CATCH_UP))
    }

    fn listen(&self, others: Box<dyn Others>) {
        // Only the first is told: a store has one service.
        let _ = self.shared.others.set(others);
        if self.shared.has_ended.load(Ordering::Acquire) {
            self.shared.end();
        }
    }
}

/// How many of these entries go into one record: at least one.
fn fitting(entries: &[&NewEntry]) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|new| {
        bytes += new.bytes.len();
        bytes <= RECORD_BYTES
    });
    fit.count().max(1)
}

/// Opens the index in a directory; makes it anew where it is of no use any more.
fn index(
    dir: &Path,
    quota: Quota,
    origin: Origin,
    ends: &[cluster::Ends],
) -> Result<(EmbeddedStore, Vec<Place>), ClusterError> {
    let is_spoilt = dir.join(SPOILT).exists();
    let opened = if is_spoilt { None } else { followed(dir, quota, origin) };
    if let Some((store, places)) = opened {
        for (shard, (place, end)) in places.iter().zip(ends).enumerate() {
            if place.at > end.last {
                return Err(ClusterError::WentBack { shard, ends: end.last, seen: place.at });
            }
        }
        // Where messages are gone that this index has not seen, all that it has of them is gone too.
        if places.iter().zip(ends).all(|(place, end)| place.at + 1 >= end.first) {
            return Ok((store, places));
        }
    }
    if dir.join("witness").exists() {
        tracing::warn!("the index can't be used and is made anew from the cluster's log");
    }
    std::fs::remove_dir_all(dir).or_else(|error| {
        if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
    })?;
    std::fs::create_dir_all(dir)?;
    let mut store = EmbeddedStore::open(dir, quota)?;
    let mut places = store.follow(origin)?.ok_or(StoreError::Parted)?;
    for (place, end) in places.iter_mut().zip(ends) {
        place.at = end.first.saturating_sub(1);
    }
    Ok((store, places))
}

/// The index in a directory and how far each shard was applied, if it is this cluster's.
fn followed(dir: &Path, quota: Quota, origin: Origin) -> Option<(EmbeddedStore, Vec<Place>)> {
    let mut store = EmbeddedStore::open(dir, quota).ok()?;
    let places = store.follow(origin).ok()??;
    Some((store, places))
}
