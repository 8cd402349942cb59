//! Group commit: a loop takes every append that waits in a lane, commits them with one sync, answers.

use std::{collections::BTreeMap, io, sync::Arc, thread};

use protocol::relay_log::{Cursor, Refusal};
use tokio::{sync::mpsc, task};
use tokio_util::sync::DropGuard;

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

/// What commits: a thread where the store waits for a disk or for others, and otherwise a task, to which it
/// is not as far. It ends when the queue is closed and empty, or when the store has failed.
pub(super) enum Running {
    Thread(thread::JoinHandle<()>),
    Task(task::JoinHandle<()>),
}

/// What commits, and who is told.
pub(super) struct Writing {
    pub(super) store: Arc<dyn LogStore>,
    pub(super) clock: Arc<Clock>,
    pub(super) followers: Arc<Followers>,
    pub(super) counts: Arc<Counts>,
    /// However it ends, this is cancelled: without a writer there is no relay.
    pub(super) _ended: DropGuard,
}

impl Writing {
    /// Starts it.
    pub(super) fn start(self, mut queue: mpsc::Receiver<Job>) -> io::Result<Running> {
        if !self.store.waits() {
            return Ok(Running::Task(tokio::spawn(async move {
                while let Some(job) = queue.recv().await {
                    if !self.goes_on(job, &mut queue) {
                        return;
                    }
                    // A batch at a time: others wait for this thread.
                    task::yield_now().await;
                }
            })));
        }
        let thread = thread::Builder::new().name("log-writer".into());
        let running = thread.spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                if !self.goes_on(job, &mut queue) {
                    return;
                }
            }
        });
        running.map(Running::Thread)
    }

    /// Commits what waits; answers whether it can do so again.
    fn goes_on(&self, first: Job, queue: &mut mpsc::Receiver<Job>) -> bool {
        let done = self.commit(gather(first, queue));
        if let Err(error) = &done {
            tracing::error!(%error, "the store takes no more; the relay ends");
        }
        done.is_ok()
    }

    /// Commits and answers. After an error nobody is answered: what of the batch is on the disk is not
    /// known, and clients ask again on their next connection.
    fn commit(&self, jobs: Vec<Job>) -> Result<(), StoreError> {
        let Self { store, followers, counts, .. } = self;
        let (entries, clients): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| (job.entry, (job.req, job.reply))).unzip();
        let commit = counts.commit_begins();
        let outcomes = store.append(&entries, self.clock.now())?;
        commit.ends();
        let generation = store.generation();
        let mut grown: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for ((outcome, (req, reply)), entry) in outcomes.into_iter().zip(clients).zip(entries) {
            let answer = answer(outcome);
            if let Ok(seq) = answer {
                counts.appends.inc();
                counts.append_bytes.inc_by(entry.bytes.len() as u64);
                grown.entry(entry.log).or_default().push((seq, entry.bytes));
            }
            // A session that has ended needs no answer.
            let _ = reply.try_send((req, answer.map(|seq| Cursor { generation, seq })));
        }
        for (log, entries) in grown {
            if store.is_own() {
                followers.appended(log, entries);
            }
            followers.ring(log);
        }
        // It waits for whoever else asks the store: nobody's answer is to wait with it.
        counts.stored(store.as_ref());
        Ok(())
    }
}

impl Running {
    /// Waits until it has ended; answers whether it ended by itself.
    pub(super) async fn ended(self) -> bool {
        match self {
            Self::Thread(thread) => {
                matches!(task::spawn_blocking(move || thread.join()).await, Ok(Ok(())))
            }
            Self::Task(task) => task.await.is_ok(),
        }
    }
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

fn answer(outcome: Outcome) -> Result<u64, Refusal> {
    match outcome {
        Outcome::Kept(seq) => Ok(seq),
        Outcome::LogFull => Err(Refusal::LogFull),
        Outcome::StoreFull => Err(Refusal::DiskFull),
        Outcome::Damaged | Outcome::Away => Err(Refusal::Unavailable),
    }
}
