//! How a file of some size is cut into chunks.

use crate::limits::{FILE_BYTES, FILE_CHUNK};

/// The chunks of a file of one size: all of [`FILE_CHUNK`] bytes but the last, which has what is left. An
/// empty file has one, which is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
}

/// A file that is not offered, nor fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file of {size} bytes is too large: the largest has {FILE_BYTES}")]
pub struct TooLarge {
    /// How large it is, in bytes.
    pub size: u64,
}

const CHUNK: u64 = FILE_CHUNK as u64;

impl Layout {
    /// For a file of at most [`FILE_BYTES`].
    pub const fn new(size: u64) -> Result<Self, TooLarge> {
        if size > FILE_BYTES { Err(TooLarge { size }) } else { Ok(Self { size }) }
    }

    /// The file's size, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// How many chunks there are: at least one, and at most 262,144.
    #[must_use]
    pub const fn chunks(&self) -> u32 {
        // FILE_BYTES bounds it.
        let full = self.size.div_ceil(CHUNK) as u32;
        if full == 0 { 1 } else { full }
    }

    /// How many bytes the chunk has; `None` where there is no such chunk.
    #[must_use]
    pub const fn len(&self, index: u32) -> Option<usize> {
        if index >= self.chunks() {
            return None;
        }
        let left = self.size - self.offset(index);
        Some(if left < CHUNK { left as usize } else { FILE_CHUNK })
    }

    /// Where the chunk begins in the file, in bytes.
    #[must_use]
    pub const fn offset(&self, index: u32) -> u64 {
        index as u64 * CHUNK
    }

    /// Whether it is the file's end.
    #[must_use]
    pub const fn is_last(&self, index: u32) -> bool {
        index + 1 == self.chunks()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_in_one_chunk() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, FILE_BYTES - 1, FILE_BYTES] {
            let layout = Layout::new(size).unwrap();
            let last = layout.chunks() - 1;
            assert!(layout.is_last(last));
            assert!(last == 0 || layout.len(last - 1) == Some(FILE_CHUNK));
            assert_eq!(layout.offset(last) + layout.len(last).unwrap() as u64, size);
            assert_eq!(layout.len(last + 1), None);
            assert!(size == 0 || layout.len(last) > Some(0), "{size}");
        }
        assert_eq!(Layout::new(FILE_BYTES).unwrap().chunks(), 262_144);
        assert_eq!(Layout::new(FILE_BYTES + 1), Err(TooLarge { size: FILE_BYTES + 1 }));
    }
}
