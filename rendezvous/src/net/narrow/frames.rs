//! Frames that have come on a connection and were not read, counted.
//!
//! > Yamux keeps each frame by itself until it is read: one byte costs 64. A window bounds the bytes and not
//! > their overhead, so that frames are counted, and with too many of them unread the connection is read
//! > no further.
//!
//! What is in a stream that was dropped counts until Yamux has let go of it, which is as soon as it can
//! write: who does not read can't have it collected uncounted.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::limits::UNREAD_FRAMES;

/// All frames of a connection that wait to be read.
#[derive(Default)]
pub(super) struct Frames {
    all: Mutex<All>,
    is_blocked: AtomicBool,
}

#[derive(Default)]
struct All {
    unread: usize,
    lanes: HashMap<u32, Waiting>,
    made: u64,
    last: Came,
    /// Lanes whose streams were dropped, and of which Yamux may still know.
    dropped: Vec<(u32, u64)>,
    /// Who is to read the connection on.
    paused: Option<Waker>,
    is_closed: bool,
}

/// A data frame that comes: of which stream, and how long. Others are none of a stream, and empty.
#[derive(Clone, Copy, Default)]
pub(super) struct Came {
    pub(super) stream: u32,
    pub(super) len: u32,
}

/// Frames of one stream.
struct Waiting {
    /// Yamux's number of a stream may be used again.
    number: u64,
    /// What is unread of each.
    frames: VecDeque<u32>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One stream's part of them; dropped when the stream has been.
pub(super) struct Lane {
    frames: Arc<Frames>,
    id: u32,
    number: u64,
}

/// The connection is being closed.
pub(super) struct Closed;

/// Beyond this many numbers a queue that has run empty is made anew, so that it keeps no room.
const KEPT: usize = 64;

impl Frames {
    /// A frame begins.
    pub(super) fn came(&self, frame: Came) {
        let mut all = self.lock();
        all.last = frame;
        if frame.len > 0
            && let Some(lane) = all.lanes.get_mut(&frame.stream)
        {
            lane.frames.push_back(frame.len);
            all.unread += 1;
        }
    }

    /// Whether the connection is read on; otherwise whoever asks is woken when it is.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut all = self.lock();
        if all.unread < UNREAD_FRAMES || all.is_closed {
            return Poll::Ready(());
        }
        all.paused = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes whether what is to be written has to wait.
    pub(super) fn blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// A stream begins: Yamux has just read the frame that opened it, or opens it itself.
    pub(super) fn open(self: &Arc<Self>, id: u32) -> Lane {
        let mut all = self.lock();
        all.made += 1;
        let number = all.made;
        let first = (all.last.stream == id && all.last.len > 0).then_some(all.last.len);
        let lane =
            Waiting { number, frames: first.into_iter().collect(), reader: None, writer: None };
        all.unread += lane.frames.len();
        if let Some(before) = all.lanes.insert(id, lane) {
            all.unread -= before.frames.len();
        }
        drop(all);
        Lane { frames: Arc::clone(self), id, number }
    }

    /// Has Yamux go on, and then forgets the streams that were dropped before, if it could let go of them.
    pub(super) fn turn<T>(&self, go_on: impl FnOnce() -> T) -> T {
        let dropped = mem::take(&mut self.lock().dropped);
        let done = go_on();
        if dropped.is_empty() {
            return done;
        }
        let mut all = self.lock();
        let is_blocked = self.is_blocked.load(Ordering::Relaxed);
        for (id, number) in dropped {
            if all.lane(id, number).is_none() {
                continue;
            }
            if is_blocked {
                all.dropped.push((id, number));
            } else if let Some(lane) = all.lanes.remove(&id) {
                all.unread -= lane.frames.len();
            }
        }
        all.go_on();
        done
    }

    /// Has all streams end: Yamux wakes none when it is closed from here.
    pub(super) fn close(&self) {
        let mut all = self.lock();
        all.is_closed = true;
        let wakers: Vec<_> = all
            .lanes
            .values_mut()
            .flat_map(|lane| [lane.reader.take(), lane.writer.take()])
            .flatten()
            .collect();
        drop(all);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of how many streams Yamux may know.
    pub(super) fn streams(&self) -> usize {
        self.lock().lanes.len()
    }

    /// How many there are, and of how many streams.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let all = self.lock();
        (all.unread, all.lanes.len())
    }
}

impl All {
    fn go_on(&mut self) {
        if self.unread < UNREAD_FRAMES
            && let Some(waker) = self.paused.take()
        {
            waker.wake();
        }
    }

    fn lane(&mut self, id: u32, number: u64) -> Option<&mut Waiting> {
        self.lanes.get_mut(&id).filter(|lane| lane.number == number)
    }
}

impl Lane {
    /// So many bytes were read.
    pub(super) fn took(&self, bytes: usize) {
        let mut left = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut all = self.frames.lock();
        let Some(lane) = all.lane(self.id, self.number) else { return };
        let before = lane.frames.len();
        while left > 0
            && let Some(first) = lane.frames.front_mut()
        {
            let part = left.min(*first);
            *first -= part;
            left -= part;
            if *first == 0 {
                lane.frames.pop_front();
            }
        }
        let read = before - lane.frames.len();
        if lane.frames.is_empty() && lane.frames.capacity() > KEPT {
            lane.frames = VecDeque::new();
        }
        all.unread -= read;
        all.go_on();
    }

    /// Whoever reads waits, unless nothing more can come.
    pub(super) fn wait_to_read(&self, cx: &Context<'_>) -> Result<(), Closed> {
        self.wait(cx, |lane| &mut lane.reader)
    }

    /// Whoever writes waits, unless nothing more can go.
    pub(super) fn wait_to_write(&self, cx: &Context<'_>) -> Result<(), Closed> {
        self.wait(cx, |lane| &mut lane.writer)
    }

    fn wait(
        &self,
        cx: &Context<'_>,
        who: impl FnOnce(&mut Waiting) -> &mut Option<Waker>,
    ) -> Result<(), Closed> {
        let mut all = self.frames.lock();
        if all.is_closed {
            return Err(Closed);
        }
        if let Some(lane) = all.lane(self.id, self.number) {
            let waits = who(lane);
            if waits.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                *waits = Some(cx.waker().clone());
            }
        }
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut all = self.frames.lock();
        if all.lane(self.id, self.number).is_some() {
            all.dropped.push((self.id, self.number));
        }
    }
}
