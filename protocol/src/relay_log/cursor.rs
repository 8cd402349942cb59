//! Places in a log, and the names of its entries.

use core::fmt;

use minicbor::{Decoder, Encoder, decode, encode};

use crate::hash::{Label, hash32};

/// A place in a log: just after the entry `seq` of the store `generation`.
///
/// Opaque to everybody but the relay that gave it: a client keeps it and hands it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Random at the creation of the relay's store; a cursor of another generation is gone.
    pub generation: u64,
    /// The last entry before this place; entries count without a gap, from 1 or above.
    pub seq: u64,
}

impl Cursor {
    /// Its length in bytes.
    pub const LEN: usize = 16;

    /// The 16 bytes to keep: generation and sequence, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (generation, seq) = bytes.split_at_mut(8);
        generation.copy_from_slice(&self.generation.to_be_bytes());
        seq.copy_from_slice(&self.seq.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for any other length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (generation, seq) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            generation: u64::from_be_bytes(*generation),
            seq: u64::from_be_bytes(seq.try_into().ok()?),
        })
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({:08x}…, {})", self.generation >> 32, self.seq)
    }
}

impl<C> encode::Encode<C> for Cursor {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> decode::Decode<'b, C> for Cursor {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::from_bytes(d.bytes()?).ok_or_else(|| decode::Error::message("cursor length"))
    }
}

/// An entry's name within its log: BLAKE2b-256 over its bytes. A repeated append is known by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryId(pub [u8; 32]);

impl EntryId {
    /// The name of these bytes.
    #[must_use]
    pub fn of(entry: &[u8]) -> Self {
        Self(hash32(Label::Entry, &[entry]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_bytes_and_no_other_length_is_one() {
        let cursor = Cursor { generation: 0x0102_0304_0506_0708, seq: 9 };
        let bytes = cursor.to_bytes();
        assert_eq!(Cursor::from_bytes(&bytes), Some(cursor));
        assert_eq!(Cursor::from_bytes(&bytes[..15]), None);
        assert_eq!(Cursor::from_bytes(&[0; 17]), None);
        assert_eq!(Cursor::from_bytes(&[]), None);
    }

    #[test]
    fn entries_that_differ_have_different_names() {
        assert_eq!(EntryId::of(b"one"), EntryId::of(b"one"));
        assert_ne!(EntryId::of(b"one"), EntryId::of(b"two"));
    }
}
