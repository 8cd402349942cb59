//! Where appends wait: a queue and a writer for each part of the store that commits by itself.
//!
//! ```text
//! session ──▶ the lane of its log ──▶ writer (a batch, a sync, the answers) ──▶ store
//! ```
//!
//! > A store on a disk is one lane. On a cluster each stream is one: what one of them does not take keeps
//! > waiting what is for it, and nothing else. All lanes together hold as many appends as one would.

use std::io;

use protocol::ids::LogId;
use tokio::sync::mpsc::{self, Permit, error::TrySendError};

use super::writer::{Job, Running, Writing};
use crate::store::LogStore;

/// The queues, by lane; never empty.
pub(super) struct Lanes {
    queues: Vec<mpsc::Sender<Job>>,
}

/// One lane, as an append finds it.
pub(super) struct Lane<'a> {
    queue: &'a mpsc::Sender<Job>,
    number: usize,
}

impl Lanes {
    /// Starts a writer for each lane of the store, with room for `all` appends in all of them; `writing` makes what one
    /// of them writes with. When the lanes are dropped, the writers end.
    pub(super) fn start(
        store: &dyn LogStore,
        all: usize,
        writing: impl Fn() -> Writing,
    ) -> io::Result<(Self, Vec<Running>)> {
        let lanes = store.lanes().max(1);
        let (mut queues, mut writers) = (Vec::new(), Vec::new());
        for _ in 0..lanes {
            let (queue, waiting) = mpsc::channel(all.div_ceil(lanes).max(1));
            writers.push(writing().start(waiting)?);
            queues.push(queue);
        }
        Ok((Self { queues }, writers))
    }

    /// The lane in which a log's appends wait.
    pub(super) fn of(&self, store: &dyn LogStore, log: LogId) -> Lane<'_> {
        let number = store.lane(log) % self.queues.len();
        Lane { queue: &self.queues[number], number }
    }

    /// Whether a writer has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.queues.iter().any(mpsc::Sender::is_closed)
    }
}

impl<'a> Lane<'a> {
    /// Which one it is.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// How many appends it has room for.
    pub(super) fn all(&self) -> usize {
        self.queue.max_capacity()
    }

    /// How many of them find room now.
    pub(super) fn free(&self) -> usize {
        self.queue.capacity()
    }

    /// A place for one append.
    pub(super) fn reserve(&self) -> Result<Permit<'a, Job>, TrySendError<()>> {
        self.queue.try_reserve()
    }
}
