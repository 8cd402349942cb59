//! One shard, as this process writes to it: one record at a time, each behind the last that it applied.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, Request,
    connection::State,
    header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_EXPECTED_STREAM},
};
use bytes::Bytes;
use protocol::ids::Timestamp;
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    Shared,
    applier::{Applied, Message, Queue},
    cluster::Stream,
    pace::Pace,
    record::{Change, Record},
};
use crate::store::{StoreError, embedded::replica::Place};

/// How long one attempt waits for its acknowledgement, before it is looked whether the record came.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The pause after an attempt that the server could not take.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the tail has to bring what another process wrote, before it is fetched.
const TAIL: Duration = Duration::from_millis(250);

/// JetStream's errors: the last sequence is another.
const WRONG_LAST: [u64; 2] = [10071, 10164];
/// The stream has all that it may have; the servers' disks have.
const FULL: [u64; 3] = [10077, 10023, 10047];

/// A shard, and the turn to write to it.
pub(super) struct Shard {
    number: u8,
    stream: Stream,
    applied: Applied,
    queue: Queue,
    shared: Arc<Shared>,
    turn: Mutex<()>,
    pace: Pace,
    /// Nothing was appended before this that may still have to go.
    expired: AtomicU64,
    /// Whether what had to go could not be written last time.
    is_stuck: AtomicBool,
    /// When the last look at the stream's end began, of those that were waited for.
    looked: Mutex<Option<Instant>>,
    purged: Mutex<u64>,
    /// Bytes that new entries may still take of the stream.
    room: AtomicI64,
}

/// What became of a record.
pub(super) enum Written {
    /// It stands on the log, and was applied.
    Applied,
    /// It is to be planned anew: another may stand in its place, or it after all.
    Anew,
    /// The stream takes no more.
    Full,
}

/// What JetStream answers a publish.
#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    error: Option<AckError>,
}

#[derive(Deserialize)]
struct AckError {
    #[serde(default)]
    err_code: u64,
}

impl Shard {
    pub(super) fn new(
        number: u8,
        stream: Stream,
        applied: Applied,
        queue: Queue,
        shared: Arc<Shared>,
    ) -> Self {
        let (turn, looked, purged) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (pace, expired) = (Pace::default(), AtomicU64::new(0));
        let (room, is_stuck) = (AtomicI64::new(i64::MAX), AtomicBool::new(false));
        Self {
            number,
            stream,
            applied,
            queue,
            shared,
            turn,
            pace,
            expired,
            is_stuck,
            looked,
            purged,
            room,
        }
    }

    pub(super) fn number(&self) -> u8 {
        self.number
    }

    /// How its time goes on.
    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// From when on it is to be looked for what has to go. (What is gone stays in the tables for a while:
    /// to begin before would be to walk over all of that at each step.)
    pub(super) fn expired(&self) -> Timestamp {
        Timestamp(self.expired.load(Ordering::Relaxed))
    }

    /// Notes that there is nothing before this. What is still to be applied is of `last` or later.
    pub(super) fn has_expired(&self, before: Timestamp, last: Timestamp) {
        self.expired.fetch_max(before.min(last).0, Ordering::Relaxed);
    }

    /// Whether what had to go could not be written last time.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// Notes whether what had to go could not be written.
    pub(super) fn sticks(&self, is_so: bool) {
        self.is_stuck.store(is_so, Ordering::Relaxed);
    }

    /// How far it has been applied.
    pub(super) fn applied(&self) -> Place {
        *self.applied.borrow()
    }

    #[cfg(test)]
    pub(super) async fn ends(&self) -> Result<super::cluster::Ends, String> {
        self.stream.ends().await
    }

    /// To be held by whoever writes.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Puts a record on the log, behind the one that was applied last.
    pub(super) async fn write(
        &self,
        record: &Record,
        deadline: Instant,
    ) -> Result<Written, StoreError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(StoreError::Away);
        }
        if self.stream.client.connection_state() != State::Connected {
            // What is sent now would wait in a queue, and come when nobody asks for it any more.
            tokio::time::sleep(PAUSE.min(left)).await;
            return Ok(Written::Anew);
        }
        if matches!(record.change, Change::Put(_)) && self.room.load(Ordering::Relaxed) <= 0 {
            return Ok(Written::Full);
        }
        let payload = Bytes::from(record.encode(self.number));
        let at = record.after + 1;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, self.stream.name.as_str());
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, record.after.to_string().as_str());
        let request = Request::new()
            .headers(headers)
            .payload(payload.clone())
            .timeout(Some(ATTEMPT.min(left)));
        let subject = self.stream.subject.clone();
        let ack = match self.stream.client.send_request(subject, request).await {
            Ok(message) => serde_json::from_slice::<Ack>(&message.payload).ok(),
            Err(_) => None,
        };
        match ack {
            Some(Ack { seq, error: None }) if seq == at => {
                let taken = i64::try_from(payload.len()).unwrap_or(i64::MAX);
                self.room.fetch_sub(taken, Ordering::Relaxed);
                let message = Message { shard: self.number, at, payload };
                self.queue.send(Some(message)).await.map_err(|_| StoreError::Parted)?;
                self.until_applied(at, None).await.map(|()| Written::Applied)
            }
            Some(Ack { error: Some(error), .. }) if WRONG_LAST.contains(&error.err_code) => {
                self.fetch_on(record.after, deadline).await
            }
            Some(Ack { error: Some(error), .. }) if FULL.contains(&error.err_code) => {
                Ok(Written::Full)
            }
            _ => {
                tokio::time::sleep(PAUSE.min(left)).await;
                Ok(Written::Anew)
            }
        }
    }

    /// Waits until this place has been applied.
    async fn until_applied(&self, at: u64, limit: Option<Duration>) -> Result<(), StoreError> {
        let mut applied = self.applied.clone();
        let wait = applied.wait_for(|place| place.at >= at);
        let reached = match limit {
            None => Some(wait.await.is_ok()),
            Some(limit) => tokio::time::timeout(limit, wait).await.ok().map(|place| place.is_ok()),
        };
        match reached {
            Some(true) => Ok(()),
            // The index has ended.
            Some(false) => Err(StoreError::Parted),
            None => Err(StoreError::Away),
        }
    }

    /// Waits for what another process wrote behind `after`; fetches it if the tail doesn't bring it.
    async fn fetch_on(&self, after: u64, deadline: Instant) -> Result<Written, StoreError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.until_applied(after + 1, Some(TAIL.min(left))).await {
            Err(StoreError::Away) => {}
            other => return other.map(|()| Written::Anew),
        }
        if let Some(payload) = self.stream.message(after + 1).await {
            let message = Message { shard: self.number, at: after + 1, payload };
            self.queue.send(Some(message)).await.map_err(|_| StoreError::Parted)?;
        }
        Ok(Written::Anew)
    }

    /// Waits until all that stands on the log now has been applied. Who waits together looks once.
    pub(super) async fn catch_up(&self, deadline: Instant) -> Result<(), StoreError> {
        // Who asks for what nobody has must not keep others waiting while the stream doesn't answer.
        if self.shared.reach.misses(self.number) {
            return Err(StoreError::Away);
        }
        let asked = Instant::now();
        let left = || deadline.saturating_duration_since(Instant::now());
        let Ok(mut looked) = tokio::time::timeout(left(), self.looked.lock()).await else {
            return Err(StoreError::Away);
        };
        self.shared.is_whole()?;
        if looked.is_some_and(|began| began > asked) {
            return Ok(());
        }
        let began = Instant::now();
        let ends = tokio::time::timeout(left(), self.stream.ends()).await;
        let Ok(Ok(ends)) = ends else {
            // The next one needn't find out anew.
            self.shared.reach.reader_misses(self.number);
            return Err(StoreError::Away);
        };
        self.until_applied(ends.last, Some(left())).await?;
        *looked = Some(began);
        Ok(())
    }

    /// Has JetStream delete what stands before this place; answers whether it did now.
    pub(super) async fn purge(&self, before: u64) -> bool {
        let mut purged = self.purged.lock().await;
        // JetStream takes a purge before the first message for one of all.
        if before <= (*purged).max(1) || !self.stream.purge(before).await {
            return false;
        }
        *purged = before;
        true
    }

    /// Asks how much room the stream has; answers whether it was told. An eighth of it is left for records of what goes: without
    /// them a full stream would stay full.
    pub(super) async fn look_at_room(&self) -> bool {
        let Ok(ends) = self.stream.ends().await else { return false };
        let room = (ends.max_bytes - ends.max_bytes / 8).checked_sub(ends.bytes);
        self.room.store(
            room.map_or(0, |room| i64::try_from(room).unwrap_or(i64::MAX)),
            Ordering::Relaxed,
        );
        true
    }
}
