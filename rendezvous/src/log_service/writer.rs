//! Group commit: one thread takes every append that waits, commits them with one sync, answers.

use std::{collections::BTreeSet, io, sync::Arc, thread};

use protocol::relay_log::{Cursor, Refusal};
use tokio::sync::mpsc;

use super::{followers::Followers, now};
use crate::{
    limits::{COMMIT_BYTES, COMMIT_ENTRIES},
    store::{LogStore, NewEntry, Outcome},
};

/// An append that waits for the disk.
pub(super) struct Job {
    pub(super) entry: NewEntry,
    pub(super) req: u32,
    /// Has room for as many answers as its session may wait for.
    pub(super) reply: mpsc::Sender<(u32, Result<Cursor, Refusal>)>,
}

/// Starts the thread; it ends when the queue is closed and empty.
pub(super) fn start(
    mut queue: mpsc::Receiver<Job>,
    store: Arc<dyn LogStore>,
    followers: Arc<Followers>,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("log-writer".into()).spawn(move || {
        while let Some(job) = queue.blocking_recv() {
            commit(gather(job, &mut queue), store.as_ref(), &followers);
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

fn commit(jobs: Vec<Job>, store: &dyn LogStore, followers: &Followers) {
    let (entries, clients): (Vec<_>, Vec<_>) =
        jobs.into_iter().map(|job| (job.entry, (job.req, job.reply))).unzip();
    let answers = match store.append(&entries, now()) {
        Ok(outcomes) => outcomes.into_iter().map(answer).collect(),
        Err(error) => {
            tracing::error!(%error, "could not append");
            vec![Err(Refusal::Unavailable); entries.len()]
        }
    };
    let generation = store.generation();
    let mut grown = BTreeSet::new();
    for ((answer, (req, reply)), entry) in answers.into_iter().zip(clients).zip(&entries) {
        if answer.is_ok() {
            grown.insert(entry.log);
        }
        // A session that has ended needs no answer.
        let _ = reply.try_send((req, answer.map(|seq| Cursor { generation, seq })));
    }
    grown.into_iter().for_each(|log| followers.ring(log));
}

fn answer(outcome: Outcome) -> Result<u64, Refusal> {
    match outcome {
        Outcome::Kept(seq) => Ok(seq),
        Outcome::LogFull => Err(Refusal::LogFull),
        Outcome::StoreFull => Err(Refusal::DiskFull),
        Outcome::Damaged => Err(Refusal::Unavailable),
    }
}
