//! Frames that have come on a connection and were not read, counted.
//!
//! > Yamux keeps each frame by itself until it is read: one byte costs 64. A window bounds the bytes and not
//! > their overhead, so that frames are counted, and with too many of them unread the stream that has most
//! > is reset: whoever does not read one, as the far side of a circuit, ends that one.
//!
//! What is in a stream that was dropped or reset counts until Yamux has let go of it, which is as soon as it
//! can write. Until then the connection is read no further: who does not read can't have it collected
//! uncounted.

use std::{
    collections::{HashMap, VecDeque},
    io, mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::limits::UNREAD_FRAMES;

/// All frames of a connection that wait to be read.
pub(super) struct Frames {
    all: Mutex<All>,
    /// Of how many streams Yamux knows at most.
    most: usize,
    is_blocked: AtomicBool,
    is_heard: AtomicBool,
}

#[derive(Default)]
struct All {
    unread: usize,
    lanes: HashMap<u32, Waiting>,
    made: u64,
    last: Came,
    /// Lanes whose streams were dropped or reset, and of which Yamux may still know.
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
    /// Until it is dropped or reset.
    stream: Option<Weak<Slot>>,
}

/// A stream of Yamux, from where it is taken when it is reset.
type Slot = Mutex<Option<yamux::Stream>>;

/// One stream, and its part of them.
pub(super) struct Lane {
    frames: Arc<Frames>,
    id: u32,
    number: u64,
    stream: Arc<Slot>,
}

/// The connection is being closed.
pub(super) struct Closed;

/// Beyond this many numbers a queue that has run empty is made anew, so that it keeps no room.
const KEPT: usize = 64;

impl Frames {
    pub(super) fn new(most: usize) -> Self {
        let [is_blocked, is_heard] = [false; 2].map(AtomicBool::new);
        Self { all: Mutex::default(), most, is_blocked, is_heard }
    }

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

    /// Whether the connection is read on; otherwise whoever asks is woken when it is, and a stream is
    /// reset.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut all = self.lock();
        if all.unread < UNREAD_FRAMES || all.is_closed {
            return Poll::Ready(());
        }
        all.paused = Some(cx.waker().clone());
        let Some(full) = all.fullest() else { return Poll::Pending };
        drop(all);
        drop(locked(&full.stream).take());
        self.lock().dropped.push(full.lane);
        full.wakers.into_iter().flatten().for_each(Waker::wake);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes whether what is to be written has to wait.
    pub(super) fn blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
    }

    /// Notes that something was read.
    pub(super) fn hears(&self) {
        self.is_heard.store(true, Ordering::Relaxed);
    }

    /// Whether something was read since this was asked last.
    pub(super) fn heard(&self) -> bool {
        self.is_heard.swap(false, Ordering::Relaxed)
    }

    /// A stream begins: Yamux has just read the frame that opened it, or opens it itself.
    pub(super) fn open(self: &Arc<Self>, stream: yamux::Stream) -> Lane {
        let id = stream.id().val();
        let stream = Arc::new(Mutex::new(Some(stream)));
        let mut all = self.lock();
        all.made += 1;
        let number = all.made;
        let first = (all.last.stream == id && all.last.len > 0).then_some(all.last.len);
        let lane = Waiting {
            number,
            frames: first.into_iter().collect(),
            reader: None,
            writer: None,
            stream: Some(Arc::downgrade(&stream)),
        };
        all.unread += lane.frames.len();
        if let Some(before) = all.lanes.insert(id, lane) {
            all.unread -= before.frames.len();
        }
        if all.lanes.len() > self.most {
            all.forget();
        }
        drop(all);
        Lane { frames: Arc::clone(self), id, number, stream }
    }

    /// Has Yamux go on, and then forgets the streams that were dropped or reset before, if it could let go of
    /// them.
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

    /// How many wait to read or to write.
    #[cfg(test)]
    pub(super) fn wakers(&self) -> usize {
        let all = self.lock();
        let wakers = all.lanes.values().flat_map(|lane| [&lane.reader, &lane.writer]);
        wakers.flatten().count()
    }

    /// How many there are, and of how many streams.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        let all = self.lock();
        (all.unread, all.lanes.len())
    }
}

/// A stream that is to be reset, and who waits for it.
struct Full {
    lane: (u32, u64),
    stream: Arc<Slot>,
    wakers: [Option<Waker>; 2],
}

impl All {
    /// The stream with most frames, unless Yamux still has to let go of one.
    fn fullest(&mut self) -> Option<Full> {
        let is_going = |lane: &Waiting| lane.stream.is_none() && !lane.frames.is_empty();
        if self.lanes.values().any(is_going) {
            return None;
        }
        let (id, lane) = self.lanes.iter_mut().max_by_key(|(_, lane)| lane.frames.len())?;
        // Where there is none it is just being dropped.
        let stream = lane.stream.take()?.upgrade()?;
        let wakers = [lane.reader.take(), lane.writer.take()];
        Some(Full { lane: (*id, lane.number), stream, wakers })
    }

    /// Forgets one of those that were dropped. Yamux has let go of one, as it knows of no more than there
    /// may be; of which is not known, so that the one with fewest frames is taken for it.
    fn forget(&mut self) {
        let dropped = self.lanes.iter().filter(|(_, lane)| lane.stream.is_none());
        let fewest = dropped.min_by_key(|(_, lane)| lane.frames.len()).map(|(id, _)| *id);
        if let Some(lane) = fewest.and_then(|id| self.lanes.remove(&id)) {
            self.unread -= lane.frames.len();
            self.go_on();
        }
    }

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
    /// Asks the stream, unless it was reset.
    pub(super) fn ask<T>(
        &self,
        ask: impl FnOnce(Pin<&mut yamux::Stream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *locked(&self.stream) {
            Some(stream) => ask(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

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
        // Yamux hears of it first: what is in it counts until then.
        drop(locked(&self.stream).take());
        let mut all = self.frames.lock();
        let Some(lane) = all.lane(self.id, self.number) else { return };
        lane.stream = None;
        let wakers = [lane.reader.take(), lane.writer.take()];
        all.dropped.push((self.id, self.number));
        // Its frames may be what the connection waits for.
        let paused = all.paused.take();
        drop(all);
        drop(wakers);
        if let Some(waker) = paused {
            waker.wake();
        }
    }
}

fn locked(stream: &Slot) -> MutexGuard<'_, Option<yamux::Stream>> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
