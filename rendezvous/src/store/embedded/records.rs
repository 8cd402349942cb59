//! The records of the durable store, as bytes and back. Their table is at the top of the store.

use protocol::{
    hash::{Label, kdf16},
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};

use crate::store::{StoreError, Tally};

/// The 16 bytes of an entry's id that the indexes keep.
pub(super) type ShortId = [u8; 16];

const ENTRY_HEADER: usize = 24;

pub(super) fn short(id: EntryId) -> ShortId {
    let mut short = [0; 16];
    short.copy_from_slice(&id.0[..16]);
    short
}

pub(super) fn place(log: LogId, seq: u64) -> [u8; 28] {
    let mut key = [0; 28];
    key[..20].copy_from_slice(log.as_bytes());
    key[20..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(super) fn seq_of(place: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(place.get(20..)?.try_into().ok()?))
}

pub(super) fn id_key(log: LogId, id: ShortId) -> [u8; 36] {
    let mut key = [0; 36];
    key[..20].copy_from_slice(log.as_bytes());
    key[20..].copy_from_slice(&id);
    key
}

pub(super) fn due_key(time: Timestamp, log: LogId, seq: u64) -> [u8; 36] {
    let mut key = [0; 36];
    key[..8].copy_from_slice(&time.0.to_be_bytes());
    key[8..].copy_from_slice(&place(log, seq));
    key
}

pub(super) fn due_of(key: &[u8]) -> Option<(LogId, u64)> {
    let place = key.get(8..)?;
    Some((LogId::from_slice(place.get(..20)?)?, seq_of(place)?))
}

pub(super) fn due_time(key: &[u8]) -> Option<Timestamp> {
    key.first_chunk::<8>().map(|time| Timestamp(u64::from_be_bytes(*time)))
}

pub(super) fn due_value_bytes(id: ShortId, len: usize) -> [u8; 20] {
    let mut value = [0; 20];
    value[..16].copy_from_slice(&id);
    value[16..].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    value
}

pub(super) fn due_value(value: &[u8]) -> Option<(ShortId, u64)> {
    let (id, len) = value.split_first_chunk::<16>()?;
    Some((*id, u64::from(u32::from_be_bytes(len.try_into().ok()?))))
}

/// An entry's record. Without bytes: that it is known to be lost.
pub(super) fn record(log: LogId, seq: u64, at: Timestamp, bytes: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(ENTRY_HEADER + bytes.len());
    value.extend_from_slice(&at.0.to_be_bytes());
    value.extend_from_slice(&checksum(log, seq, &at.0.to_be_bytes(), bytes));
    value.extend_from_slice(bytes);
    value
}

/// The entry in a value, if it is the one that was written at this place.
pub(super) fn checked(log: LogId, seq: u64, value: &[u8]) -> Option<&[u8]> {
    let (time, rest) = value.split_first_chunk::<8>()?;
    let (sum, bytes) = rest.split_first_chunk::<16>()?;
    (checksum(log, seq, time, bytes) == *sum).then_some(bytes)
}

fn checksum(log: LogId, seq: u64, time: &[u8; 8], bytes: &[u8]) -> [u8; 16] {
    kdf16(&[], Label::EntrySum, &[log.as_bytes(), &seq.to_be_bytes(), time, bytes])
}

pub(super) fn tally_bytes(tally: &Tally) -> [u8; 32] {
    let mut bytes = [0; 32];
    let parts = [tally.head, tally.entries, tally.bytes, tally.first];
    for (place, part) in bytes.chunks_exact_mut(8).zip(parts) {
        place.copy_from_slice(&part.to_be_bytes());
    }
    bytes
}

/// Reads a log's record. An early one does not say which entry is the first.
pub(super) fn tally(bytes: &[u8]) -> Result<Tally, StoreError> {
    let part = |at: usize| bytes.get(at..at + 8).ok_or(StoreError::Damaged).and_then(number);
    let first = match bytes.len() {
        24 => 0,
        32 => part(24)?,
        _ => return Err(StoreError::Damaged),
    };
    Ok(Tally { head: part(0)?, entries: part(8)?, bytes: part(16)?, first })
}

pub(super) fn number(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Damaged)
}
