//! One stream on which a file is given: what was asked for, in the order in which it was.
//!
//! ```text
//! Asked ── the file is looked up ─► Serving ── poll: an index ─► Source::answer ─► a frame
//! ```
//!
//! Who writes the frames asks for the next index when the one before is written: so no more of a file is in
//! memory than one chunk for each stream, however slow its other end is.

use alloc::{collections::VecDeque, vec::Vec};

use super::{
    Layout, Range, Refusal, Source,
    wire::{Answer, Request},
};
use crate::{codec, ids::FileId, limits::FILE_WINDOW};

/// The first frame on a stream: it names the file.
#[derive(Debug)]
pub struct Asked {
    file: FileId,
    ranges: Vec<Range>,
}

/// A stream whose file is there.
#[derive(Debug)]
pub struct Serving {
    file: FileId,
    layout: Layout,
    /// No range is empty.
    queue: VecDeque<Range>,
    /// Chunks in the queue.
    queued: u32,
}

/// The other side breaks the rules: the stream is to be ended, and it is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side breaks the protocol")]
pub struct Broken;

/// A chunk that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The file has fewer.
    #[error("the file has no such chunk")]
    NoSuchChunk,
    /// What was read is not what was offered: say [`Refusal::Changed`].
    #[error("the file has changed since it was offered")]
    Changed,
}

/// The frame that says why nothing is given.
#[must_use]
pub fn refuse(reason: Refusal) -> Vec<u8> {
    codec::encode(&Answer::Refused { reason })
}

impl Asked {
    /// Reads it.
    pub fn read(frame: &[u8]) -> Result<Self, Broken> {
        let Request::Want { file, ranges } = Request::read(frame).map_err(|_| Broken)?;
        Ok(Self { file, ranges })
    }

    /// Which file.
    #[must_use]
    pub const fn file(&self) -> FileId {
        self.file
    }

    /// The file is there.
    pub fn serve(self, source: &Source) -> Result<Serving, Broken> {
        let Self { file, ranges } = self;
        let layout = source.offer().layout();
        let mut serving = Serving { file, layout, queue: VecDeque::new(), queued: 0 };
        serving.want(ranges)?;
        Ok(serving)
    }
}

impl Serving {
    /// Takes a further frame.
    pub fn on_frame(&mut self, frame: &[u8]) -> Result<(), Broken> {
        let Request::Want { file, ranges } = Request::read(frame).map_err(|_| Broken)?;
        if file != self.file {
            return Err(Broken);
        }
        self.want(ranges)
    }

    fn want(&mut self, ranges: Vec<Range>) -> Result<(), Broken> {
        let more: u32 = ranges.iter().map(|range| range.count).sum();
        let is_there = |range: &Range| range.indexes().end <= self.layout.chunks();
        if self.queued + more > FILE_WINDOW || !ranges.iter().all(is_there) {
            return Err(Broken);
        }
        self.queued += more;
        self.queue.extend(ranges);
        Ok(())
    }

    /// The next chunk to be given; it counts as given from here on.
    pub fn poll(&mut self) -> Option<u32> {
        let next = self.queue.front_mut()?;
        let index = next.first;
        (next.first, next.count) = (next.first + 1, next.count - 1);
        if next.count == 0 {
            self.queue.pop_front();
        }
        self.queued -= 1;
        Some(index)
    }
}
