//! The one thread that writes the index: it applies what waits in one commit, each shard in order.

use std::{collections::BTreeMap, sync::Arc, thread};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    Shared,
    record::{Record, mark},
};
use crate::{
    limits::{COMMIT_BYTES, COMMIT_ENTRIES},
    store::{
        StoreError,
        embedded::replica::{Place, Step},
    },
};

/// A message of a shard, at its place.
pub(super) struct Message {
    pub(super) shard: u8,
    pub(super) at: u64,
    pub(super) payload: Bytes,
}

/// Messages that wait; `None` ends the thread.
pub(super) type Queue = mpsc::Sender<Option<Message>>;

/// How far a shard was applied, for those who wait for it.
pub(super) type Applied = watch::Receiver<Place>;

/// Messages that wait for the index; who brings more waits.
const QUEUE: usize = 64;

/// The thread; it ends when this is dropped.
pub(super) struct Applier {
    queue: Queue,
    thread: Option<thread::JoinHandle<()>>,
}

/// Starts the thread with how far each shard was applied.
pub(super) fn start(
    shared: Arc<Shared>,
    places: &[Place],
) -> std::io::Result<(Applier, Queue, Vec<Applied>)> {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let (tell, applied): (Vec<_>, Vec<_>) =
        places.iter().map(|place| watch::channel(*place)).unzip();
    let thread = thread::Builder::new().name("log-index".into()).spawn(move || {
        if let Err(error) = run(waiting, &shared, &tell) {
            tracing::error!(%error, "the index takes no more");
            // Whatever it is, it would be so again; but for a full disk, which is no fault of the index.
            if shared.index.has_room() {
                shared.spoil();
            }
            shared.end();
        }
    })?;
    Ok((Applier { queue: queue.clone(), thread: Some(thread) }, queue, applied))
}

impl Drop for Applier {
    fn drop(&mut self) {
        // A full queue is emptied by the thread; it ends with what it has in hand.
        while let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(None) {
            thread::yield_now();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the index died");
        }
    }
}

fn run(
    mut waiting: mpsc::Receiver<Option<Message>>,
    shared: &Shared,
    tell: &[watch::Sender<Place>],
) -> Result<(), StoreError> {
    while let Some(Some(first)) = waiting.blocking_recv() {
        let mut ends = false;
        let mut bytes = first.payload.len();
        let mut messages = vec![first];
        while messages.len() < COMMIT_ENTRIES && bytes < COMMIT_BYTES {
            match waiting.try_recv() {
                Ok(Some(message)) => {
                    bytes += message.payload.len();
                    messages.push(message);
                }
                Ok(None) => {
                    ends = true;
                    break;
                }
                Err(_) => break,
            }
        }
        commit(&messages, shared, tell)?;
        if ends {
            break;
        }
    }
    Ok(())
}

/// Applies what comes next in each shard; what was applied already, or comes too early, is left out.
fn commit(
    messages: &[Message],
    shared: &Shared,
    tell: &[watch::Sender<Place>],
) -> Result<(), StoreError> {
    let mut next: BTreeMap<u8, u64> = BTreeMap::new();
    let mut steps = Vec::new();
    for Message { shard, at, payload } in messages {
        let applied = || tell.get(usize::from(*shard)).map_or(u64::MAX, |tell| tell.borrow().at);
        let last = next.entry(*shard).or_insert_with(applied);
        if last.checked_add(1) != Some(*at) {
            continue;
        }
        *last = *at;
        let record = Record::decode(*shard, shared.origin.generation, *at, payload);
        steps.push(Step { shard: *shard, at: *at, mark: mark(payload), record });
    }
    if steps.is_empty() {
        return Ok(());
    }
    let (places, grown) = shared.index.apply(&steps)?;
    for (shard, place) in places {
        if let Some(tell) = tell.get(usize::from(shard)) {
            tell.send_replace(place);
        }
    }
    if let Some(others) = shared.others.get() {
        grown.into_iter().for_each(|log| others.grown(log));
    }
    Ok(())
}
