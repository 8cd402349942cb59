//! Records of a keyspace, past what the disk can't give back.
//!
//! > An iterator of fjall gives the error of a damaged block again and again: who goes on after one never ends. So each error
//! > is the last thing that is asked of an iterator.

use fjall::{Guard, Keyspace, Slice};

/// Gives each record that can be read, in order. Keys are hashes: no two begin with the same 16 bytes.
pub(super) fn readable(records: &Keyspace, mut each: impl FnMut(&Slice, &Slice)) {
    let mut from = Some(0_u128);
    while let Some(start) = from {
        let mut read = start;
        let damaged = records.range(start.to_be_bytes()..).map(Guard::into_inner).any(|record| {
            if let Ok((key, value)) = &record {
                read = after(key);
                each(key, value);
            }
            record.is_err()
        });
        from = if damaged { past(records, read) } else { None };
    }
}

/// What comes after all keys that begin as this one does.
fn after(key: &[u8]) -> u128 {
    let mut begins = [0; 16];
    let len = key.len().min(16);
    begins[..len].copy_from_slice(&key[..len]);
    u128::from_be_bytes(begins).saturating_add(1)
}

/// Where records can be read again, from here on.
fn past(records: &Keyspace, from: u128) -> Option<u128> {
    let is_damaged = |at: u128| {
        let first = records.range(at.to_be_bytes()..).next();
        first.is_some_and(|first| first.key().is_err())
    };
    let (mut damaged, mut sound) = (from, u128::MAX);
    if is_damaged(sound) {
        return None;
    }
    if !is_damaged(damaged) {
        return Some(damaged);
    }
    while sound - damaged > 1 {
        let middle = damaged + (sound - damaged) / 2;
        if is_damaged(middle) {
            damaged = middle;
        } else {
            sound = middle;
        }
    }
    Some(sound)
}
