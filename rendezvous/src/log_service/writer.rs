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

/// An append that waits in the queue.
pub(super) struct Job {
    pub(super) append: Append,
    /// Until it is in a batch it takes a place that others could have.
    _queued: Queued,
}

impl Job {
    pub(super) const fn new(append: Append, queued: Queued) -> Self {
        Self { append, _queued: queued }
    }
}

/// An append that waits for the disk.
pub(super) struct Append {
    pub(super) entry: NewEntry,
    pub(super) req: u32,
    /// Has room for as many answers as its session may wait for.
    pub(super) reply: mpsc::Sender<(u32, Result<Cursor, Refusal>)>,
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
                let mut next = Vec::new();
                while !next.is_empty() || begin(&mut next, queue.recv().await) {
                    gather(&mut next, &mut queue);
                    if !self.goes_on(&mut next) {
                        return;
                    }
                    // A batch at a time: others wait for this thread.
                    task::yield_now().await;
                }
            })));
        }
        let thread = thread::Builder::new().name("log-writer".into());
        let running = thread.spawn(move || {
            let mut next = Vec::new();
            while !next.is_empty() || begin(&mut next, queue.blocking_recv()) {
                gather(&mut next, &mut queue);
                if !self.goes_on(&mut next) {
                    return;
                }
            }
        });
        running.map(Running::Thread)
    }

    /// Commits this batch, and leaves of it what the next one begins with; answers whether it can do so again.
    fn goes_on(&self, batch: &mut Vec<Append>) -> bool {
        let done = self.commit(std::mem::take(batch)).map(|later| *batch = later);
        if let Err(error) = &done {
            tracing::error!(%error, "the store takes no more; the relay ends");
        }
        done.is_ok()
    }

    /// Commits and answers; gives what is to be in the next batch. After an error nobody is answered: what of the batch is
    /// on the disk is not known, and clients ask again on their next connection.
    fn commit(&self, batch: Vec<Append>) -> Result<Vec<Append>, StoreError> {
        let Self { store, followers, counts, .. } = self;
        let (entries, clients): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|append| (append.entry, (append.req, append.reply))).unzip();
        let commit = counts.commit_begins();
        let outcomes = store.append(&entries, self.clock.now())?;
        commit.ends();
        let generation = store.generation();
        let mut grown: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut later = Vec::new();
        for ((outcome, (req, reply)), entry) in outcomes.into_iter().zip(clients).zip(entries) {
            let Some(answer) = answer(outcome) else {
                later.push(Append { entry, req, reply });
                continue;
            };
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
        Ok(later)
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

/// Begins a batch with what was waited for; false, where nothing comes any more.
fn begin(batch: &mut Vec<Append>, first: Option<Job>) -> bool {
    batch.extend(first.map(|job| job.append));
    !batch.is_empty()
}

/// Fills a batch with what waits.
fn gather(batch: &mut Vec<Append>, queue: &mut mpsc::Receiver<Job>) {
    let mut bytes: usize = batch.iter().map(|append| append.entry.bytes.len()).sum();
    while batch.len() < COMMIT_ENTRIES && bytes < COMMIT_BYTES {
        let Ok(job) = queue.try_recv() else { break };
        bytes += job.append.entry.bytes.len();
        batch.push(job.append);
    }
}

/// What is answered; nothing yet, where the store wants to be asked again.
fn answer(outcome: Outcome) -> Option<Result<u64, Refusal>> {
    Some(match outcome {
        Outcome::Kept(seq) => Ok(seq),
        Outcome::LogFull => Err(Refusal::LogFull),
        Outcome::StoreFull => Err(Refusal::DiskFull),
        Outcome::Damaged | Outcome::Away => Err(Refusal::Unavailable),
        Outcome::Later => return None,
    })
}
