//! Group commit: one thread takes every append that waits, commits them with one sync, answers.

use std::{collections::BTreeSet, io, sync::Arc, thread};

use protocol::relay_log::{Cursor, Refusal};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{budgets::Queued, clock::Clock, followers::Followers};
use crate::{
    limits::{COMMIT_BYTES, COMMIT_ENTRIES},
    store::{LogStore, NewEntry, Outcome, StoreError},
    watch::Counts,
};

/// An append that waits for the disk.
pub(super) struct Job {
    pub(super) entry: NewEntry,
    pub(super) req: u32,
    /// Has room for as many answers as its session may wait for.
    pub(super) reply: mpsc::Sender<(u32, Result<Cursor, Refusal>)>,
    /// Until it is in a batch it takes a place that others could have.
    pub(super) _queued: Queued,
}

/// Starts the thread; it ends when the queue is closed and empty, or when the store has failed.
/// However it ends, it cancels `ended`: without a writer there is no relay.
pub(super) fn start(
    mut queue: mpsc::Receiver<Job>,
    store: Arc<dyn LogStore>,
    clock: Arc<Clock>,
    followers: Arc<Followers>,
    counts: Arc<Counts>,
    ended: CancellationToken,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("log-writer".into()).spawn(move || {
        let _ended: DropGuard = ended.drop_guard();
        while let Some(job) = queue.blocking_recv() {
            let jobs = gather(job, &mut queue);
            if let Err(error) = commit(jobs, store.as_ref(), &clock, &followers, &counts) {
                tracing::error!(%error, "the store takes no more; the relay ends");
                return;
            }
        }
    })
}

fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.entry.bytes.len();
    let mut jobs = vec![first];
    while jobs.len() < COMMIT_ENTRIES && bytes < COMMIT_BYTES {
        let Ok(job) = queue.try_recv() else { break };
        bytes += job.entry.bytes.len();
        jobs.push(job);
    }
    jobs
}

/// Commits and answers. After an error nobody is answered: what of the batch is on the disk is not
/// known, and clients ask again on their next connection.
fn commit(
    jobs: Vec<Job>,
    store: &dyn LogStore,
    clock: &Clock,
    followers: &Followers,
    counts: &Counts,
) -> Result<(), StoreError> {
    let (entries, clients): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| (job.entry, (job.req, job.reply))).unzip();
    counts.commit_begins();
    let outcomes = store.append(&entries, clock.now())?;
    counts.commit_ends();
    let generation = store.generation();
    let mut grown = BTreeSet::new();
    for ((outcome, (req, reply)), entry) in outcomes.into_iter().zip(clients).zip(&entries) {
        let answer = answer(outcome);
        if answer.is_ok() {
            grown.insert(entry.log);
            counts.appends.inc();
            counts.append_bytes.inc_by(entry.bytes.len() as u64);
        }
        // A session that has ended needs no answer.
        let _ = reply.try_send((req, answer.map(|seq| Cursor { generation, seq })));
    }
    grown.into_iter().for_each(|log| followers.ring(log));
    // It waits for whoever else asks the store: nobody's answer is to wait with it.
    counts.stored(store);
    Ok(())
}

fn answer(outcome: Outcome) -> Result<u64, Refusal> {
    match outcome {
        Outcome::Kept(seq) => Ok(seq),
        Outcome::LogFull => Err(Refusal::LogFull),
        Outcome::StoreFull => Err(Refusal::DiskFull),
        Outcome::Damaged | Outcome::Away => Err(Refusal::Unavailable),
    }
}
