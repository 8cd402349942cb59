//! Which chunks of a file are there: one bit each.

use alloc::{vec, vec::Vec};

/// Chunks that are there, of so many.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// Chunk n is bit n mod 8, the lowest first, of byte n / 8.
    bits: Vec<u8>,
    chunks: u32,
    count: u32,
    /// All before it are there.
    first: u32,
}

impl Held {
    /// None.
    pub(super) fn none(chunks: u32) -> Self {
        Self { bits: vec![0; bytes(chunks)], chunks, count: 0, first: 0 }
    }

    /// As [`Self::as_bytes`] gave them; `None` where that is of another number of chunks.
    pub(super) fn from_bytes(bits: &[u8], chunks: u32) -> Option<Self> {
        if bits.len() != bytes(chunks) {
            return None;
        }
        let mut held = Self::none(chunks);
        for (at, byte) in (0_u32..).zip(bits) {
            for bit in (0..8).filter(|bit| byte & 1 << bit != 0) {
                let index = at * 8 + bit;
                if index >= chunks {
                    return None;
                }
                held.add(index);
            }
        }
        Some(held)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Adds one of the chunks; whether it was not there.
    pub(super) fn add(&mut self, index: u32) -> bool {
        let Some(byte) = self.bits.get_mut(index as usize / 8) else { return false };
        let bit = 1 << (index % 8);
        if index >= self.chunks || *byte & bit != 0 {
            return false;
        }
        *byte |= bit;
        self.count += 1;
        while self.first < self.chunks && self.has(self.first) {
            self.first += 1;
        }
        true
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.bits.get(index as usize / 8).is_some_and(|byte| byte & 1 << (index % 8) != 0)
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.count == self.chunks
    }

    /// Those that are not there, in order.
    pub(super) fn missing(&self) -> impl Iterator<Item = u32> {
        let bytes = (0_u32..).zip(&self.bits).skip(self.first as usize / 8);
        bytes
            .filter(|(_, byte)| **byte != 0xff)
            .flat_map(|(at, byte)| {
                (0..8).filter(move |bit| byte & 1 << bit == 0).map(move |bit| at * 8 + bit)
            })
            .take_while(|index| *index < self.chunks)
    }
}

const fn bytes(chunks: u32) -> usize {
    chunks.div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection, prelude::*};

    use super::*;

    #[test]
    fn bits_beyond_the_end_are_refused() {
        assert!(Held::from_bytes(&[0xff, 0x01], 9).unwrap().is_whole());
        assert_eq!(Held::from_bytes(&[0xff, 0x03], 9), None);
        assert_eq!(Held::from_bytes(&[0xff], 9), None);
        assert_eq!(Held::from_bytes(&[0xff, 0x01, 0], 9), None);
    }

    proptest! {
        #[test]
        fn it_knows_what_a_set_knows(chunks in 1..70_u32, adds in collection::vec(0..80_u32, 0..90)) {
            let (mut held, mut set) = (Held::none(chunks), BTreeSet::new());
            for index in adds {
                prop_assert_eq!(held.add(index), index < chunks && set.insert(index));
            }
            prop_assert_eq!(held.count() as usize, set.len());
            let missing: Vec<u32> = (0..chunks).filter(|index| !set.contains(index)).collect();
            prop_assert_eq!(held.is_whole(), missing.is_empty());
            prop_assert_eq!(held.missing().collect::<Vec<_>>(), missing);
            prop_assert_eq!(Held::from_bytes(held.as_bytes(), chunks), Some(held));
        }
    }
}
