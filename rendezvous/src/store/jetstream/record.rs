//! What stands on the cluster's log: records that say all that they change.
//!
//! ```text
//! record  = "wtr1" ‖ generation 8 ‖ after 8 ‖ time 8 ‖ floor 8 ‖ kind 1 ‖ items ‖ checksum 16
//! kind 1  = entries: log 20 ‖ number 8 ‖ length 4 ‖ bytes
//! kind 2  = what goes: log 20 ‖ number 8, and all of the log before it
//! ```
//!
//! > A record counts if it stands right behind the record that its writer had applied last, `after`, and
//! > not otherwise. So its numbers are right wherever they are read, and nobody need know what stood
//! > before it.

use protocol::{
    hash::{Label, kdf16},
    ids::{LogId, Timestamp},
};

/// One change of a shard, in one message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Of the cluster.
    pub generation: u64,
    /// The place of the record that stands before it.
    pub after: u64,
    /// When its entries were appended, by the shard's own time (`pace`); it never goes back.
    pub time: Timestamp,
    /// At least the highest head of a log of this shard that is forgotten once this is applied.
    pub floor: u64,
    /// What it changes.
    pub change: Change,
}

/// What a record changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// These entries are new.
    Put(Vec<Put>),
    /// These entries are gone.
    Drop(Vec<Gone>),
}

/// A new entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Of this log.
    pub log: LogId,
    /// Its number there.
    pub seq: u64,
    /// Opaque.
    pub bytes: Vec<u8>,
}

/// What goes of a log: all up to a number, and with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// Of this log.
    pub log: LogId,
    /// The last that goes.
    pub to: u64,
}

/// The checksum at a record's end.
pub type Sum = [u8; 16];

/// Bytes of entries in one record; NATS takes messages of 1 MiB unless it is told otherwise.
pub const RECORD_BYTES: usize = 512 << 10;

const MAGIC: &[u8; 4] = b"wtr1";
const PUT: u8 = 1;
const DROP: u8 = 2;

impl Record {
    /// Its bytes in a shard.
    pub fn encode(&self, shard: u8) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in [self.generation, self.after, self.time.0, self.floor] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        match &self.change {
            Change::Put(puts) => {
                bytes.push(PUT);
                for put in puts {
                    bytes.extend_from_slice(put.log.as_bytes());
                    bytes.extend_from_slice(&put.seq.to_be_bytes());
                    let len = u32::try_from(put.bytes.len()).unwrap_or(u32::MAX);
                    bytes.extend_from_slice(&len.to_be_bytes());
                    bytes.extend_from_slice(&put.bytes);
                }
            }
            Change::Drop(gone) => {
                bytes.push(DROP);
                for gone in gone {
                    bytes.extend_from_slice(gone.log.as_bytes());
                    bytes.extend_from_slice(&gone.to.to_be_bytes());
                }
            }
        }
        let sum = sum(shard, &bytes);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// The record in a message at this place of a shard, if it is one of this generation that counts.
    pub fn decode(shard: u8, generation: u64, at: u64, message: &[u8]) -> Option<Self> {
        let (body, checksum) = message.split_last_chunk::<16>()?;
        if sum(shard, body) != *checksum {
            return None;
        }
        let mut rest = Rest(body.strip_prefix(MAGIC)?);
        let (of, after) = (rest.number()?, rest.number()?);
        if of != generation || after.checked_add(1)? != at {
            return None;
        }
        let (time, floor) = (Timestamp(rest.number()?), rest.number()?);
        let change = match rest.take::<1>()? {
            [PUT] => Change::Put(rest.all(Rest::put)?),
            [DROP] => Change::Drop(rest.all(Rest::gone)?),
            _ => return None,
        };
        Some(Self { generation, after, time, floor, change })
    }
}

/// What tells this message from any other that might stand at its place.
pub fn mark(message: &[u8]) -> Sum {
    kdf16(&[], Label::EntrySum, &[b"message", message])
}

fn sum(shard: u8, body: &[u8]) -> Sum {
    kdf16(&[], Label::EntrySum, &[b"record", &[shard], body])
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn put(&mut self) -> Option<Put> {
        let (log, seq) = (LogId(self.take()?), self.number()?);
        let len = usize::try_from(u32::from_be_bytes(self.take()?)).ok()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Put { log, seq, bytes: bytes.to_vec() })
    }

    fn gone(&mut self) -> Option<Gone> {
        Some(Gone { log: LogId(self.take()?), to: self.number()? })
    }

    fn all<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            all.push(one(self)?);
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(change: Change) -> Record {
        Record { generation: 7, after: 4, time: Timestamp(9), floor: 3, change }
    }

    fn put() -> Change {
        let put = |seq, len| Put { log: LogId([1; 20]), seq, bytes: vec![5; len] };
        Change::Put(vec![put(1, 512), put(2, 0)])
    }

    #[test]
    fn what_was_written_is_read_at_its_place_and_nowhere_else() {
        let gone = Gone { log: LogId([2; 20]), to: 9 };
        for change in [put(), Change::Drop(vec![gone, gone]), Change::Drop(vec![])] {
            let record = record(change);
            let bytes = record.encode(1);
            assert_eq!(Record::decode(1, 7, 5, &bytes), Some(record));
            assert_eq!(Record::decode(0, 7, 5, &bytes), None, "another shard");
            assert_eq!(Record::decode(1, 8, 5, &bytes), None, "another generation");
            for at in [0, 4, 6, u64::MAX] {
                assert_eq!(Record::decode(1, 7, at, &bytes), None, "another place");
            }
        }
    }

    #[test]
    fn a_damaged_or_cut_record_counts_for_nothing() {
        let bytes = record(put()).encode(1);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(1, 7, 5, &bytes), None);
        }
        for len in 0..bytes.len() {
            assert_eq!(Record::decode(1, 7, 5, &bytes[..len]), None);
        }
    }

    #[test]
    fn a_length_that_is_not_there_is_refused() {
        let mut bytes = record(put()).encode(1);
        bytes.truncate(bytes.len() - 16);
        let len = 4 + 32 + 1 + 28;
        bytes[len..len + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        let checksum = sum(1, &bytes);
        bytes.extend_from_slice(&checksum);
        assert_eq!(Record::decode(1, 7, 5, &bytes), None);
    }
}
