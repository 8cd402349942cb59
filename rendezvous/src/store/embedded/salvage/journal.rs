//! A journal, read without being changed: batch by batch, past what is damaged.
//!
//! ```text
//! batch = 1 ‖ items u32 ‖ place u64 ‖ item… ‖ 3 ‖ xxh3 of all items u64 ‖ "FJL" 3
//! item  = 2 ‖ kind u8 ‖ 0 ‖ keyspace u64 ‖ key length u16 ‖ value length u32, twice ‖ key ‖ value
//! ```
//!
//! Numbers are little-endian. A batch's place is its rank among all batches: each is higher than the
//! one before. After the last batch there are zeros, or a batch that was being written.
//!
//! The first item of each batch of ours is the store's stamp: 16 bytes that the store alone knows.
//!
//! > What follows after a place that can't be read counts only where a sound batch begins with the
//! > stamp: an entry can carry bytes that look like a batch, but its author does not know the stamp.

use std::{
    io::{self, Read as _},
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64;

use super::super::STAMP;
use crate::{data_dir::open_file, store::witness::Stamp};

/// One item of a batch.
pub(super) struct Item<'a> {
    /// Whether its batch is as it was written.
    pub(super) is_sound: bool,
    /// Where its batch begins.
    pub(super) at: usize,
    pub(super) keyspace: u64,
    pub(super) key: &'a [u8],
    /// `None`: it was deleted.
    pub(super) value: Option<&'a [u8]>,
}

/// What a journal had besides its sound batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Found {
    /// Batches, or stretches of bytes, that are not as they were written.
    pub(super) damaged: u64,
    /// Where the bytes begin that are the end of the file and no sound batch: one that was being
    /// written, or the last ones, damaged.
    pub(super) torn: Option<usize>,
    /// The place of the last batch.
    pub(super) last: u64,
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: &[u8] = b"FJL\x03";
const HEADER: usize = 13;
const ITEM_HEADER: usize = 21;
/// How far a batch's place may be above the one before.
const LEAP: u64 = 1 << 32;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

struct Batch {
    place: u64,
    /// Where its items are.
    items: (usize, usize),
    end: usize,
    is_sound: bool,
}

/// Tells each item of each batch with the batch's place, in order. `stamp`: the store's, as far as it is
/// known from elsewhere; what the journal itself says before any damage is believed first.
pub(super) fn walk(
    bytes: &[u8],
    before: u64,
    stamp: &mut Option<Stamp>,
    each: &mut dyn FnMut(u64, Item<'_>),
) -> Found {
    let mut found = Found { last: before, ..Found::default() };
    let mut is_whole = true;
    let mut at = 0;
    while at < bytes.len() {
        let Some(batch) = parse(&bytes[at..]) else {
            if is_zero(&bytes[at..]) {
                break;
            }
            let Some(next) = stamp.as_ref().and_then(|stamp| next_of_ours(bytes, at, stamp)) else {
                found.torn = Some(at);
                break;
            };
            found.damaged += 1;
            is_whole = false;
            at = next;
            continue;
        };
        if is_whole && batch.is_sound {
            *stamp = stamp_of(&bytes[at..]).or(*stamp);
        }
        let place = batch.place.wrapping_sub(found.last);
        // A place is under no checksum.
        let is_next = found.last == 0 || (1..LEAP).contains(&place);
        let place = if is_next { batch.place } else { found.last + 1 };
        let mut items = &bytes[at + batch.items.0..at + batch.items.1];
        while let Some((item, rest)) = item(items) {
            each(place, Item { is_sound: batch.is_sound, at, ..item });
            items = rest;
        }
        found.last = place;
        is_whole &= batch.is_sound;
        let end = at + batch.end;
        if !batch.is_sound && is_zero(&bytes[end..]) {
            found.torn = Some(at);
            break;
        }
        found.damaged += u64::from(!batch.is_sound || !is_next);
        at = end;
    }
    found
}

/// The batch at the start of some bytes, if all of its parts are in their places.
fn parse(bytes: &[u8]) -> Option<Batch> {
    if *bytes.first()? != START {
        return None;
    }
    let count = u32::from_le_bytes(array(bytes, 1)?);
    let place = u64::from_le_bytes(array(bytes, 5)?);
    let mut at = HEADER;
    for _ in 0..count {
        let (_, rest) = item(&bytes[at..])?;
        at = bytes.len() - rest.len();
    }
    let (has_end, has_trailer) = (*bytes.get(at)? == END, bytes.get(at + 9..at + 13)? == TRAILER);
    if !has_end && !has_trailer {
        return None;
    }
    let sum = u64::from_le_bytes(array(bytes, at + 1)?);
    let is_sound = has_end && has_trailer && xxh3_64(&bytes[HEADER..at]) == sum;
    Some(Batch { place, items: (HEADER, at), end: at + 13, is_sound })
}

fn item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    if bytes.len() < ITEM_HEADER || bytes[0] != ITEM || bytes[1] > 2 || bytes[2] != 0 {
        return None;
    }
    let keyspace = u64::from_le_bytes(array(bytes, 3)?);
    let key_len = usize::from(u16::from_le_bytes(array(bytes, 11)?));
    let value_len = u32::from_le_bytes(array(bytes, 13)?);
    if value_len != u32::from_le_bytes(array(bytes, 17)?) {
        return None;
    }
    let value_at = ITEM_HEADER + key_len;
    let end = value_at.checked_add(usize::try_from(value_len).ok()?)?;
    let value = bytes.get(value_at..end)?;
    let key = &bytes[ITEM_HEADER..value_at];
    let value = (bytes[1] == 0).then_some(value);
    Some((Item { is_sound: false, at: 0, keyspace, key, value }, &bytes[end..]))
}

/// The stamp with which a batch begins, if it is one of ours.
fn stamp_of(batch: &[u8]) -> Option<Stamp> {
    let (first, _) = item(batch.get(HEADER..)?)?;
    first.value.filter(|_| first.key == STAMP.as_bytes())?.try_into().ok()
}

/// Where the next sound batch begins after a place that has the store's stamp, if there is one.
fn next_of_ours(bytes: &[u8], from: usize, stamp: &Stamp) -> Option<usize> {
    let before = HEADER + ITEM_HEADER + STAMP.len();
    let stamps = bytes[from..].windows(stamp.len()).enumerate().filter(|(_, it)| it == stamp);
    let mut begins = stamps.filter_map(|(at, _)| Some(from + at.checked_sub(before)?));
    begins.find(|at| {
        let batch = parse(&bytes[*at..]).filter(|batch| batch.is_sound);
        batch.is_some() && stamp_of(&bytes[*at..]).as_ref() == Some(stamp)
    })
}

/// The bytes of a journal, without the zeros at its end, of which a new one has millions.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut bytes, mut zeros) = (open_file(path)?, Vec::new(), 0);
    loop {
        let mut chunk = Vec::new();
        if (&mut file).take(ZEROS.len() as u64).read_to_end(&mut chunk)? == 0 {
            return Ok(bytes);
        }
        if is_zero(&chunk) {
            zeros += chunk.len();
        } else {
            bytes.resize(bytes.len() + std::mem::take(&mut zeros), 0);
            bytes.append(&mut chunk);
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Stamp = *b"the store's own.";

    /// A batch of items, each a key and a value, as the store writes it.
    fn batch(place: u64, items: &[(&[u8], &[u8])]) -> Vec<u8> {
        stamped(place, OURS, items)
    }

    fn stamped(place: u64, stamp: Stamp, items: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut written = Vec::new();
        let items = [&[(STAMP.as_bytes(), &stamp[..])], items].concat();
        for (key, value) in &items {
            written.extend_from_slice(&[ITEM, 0, 0]);
            written.extend_from_slice(&7_u64.to_le_bytes());
            written.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
            let len = u32::try_from(value.len()).unwrap().to_le_bytes();
            written.extend_from_slice(&[len, len].concat());
            written.extend_from_slice(&[*key, *value].concat());
        }
        let mut bytes = vec![START];
        bytes.extend_from_slice(&u32::try_from(items.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&place.to_le_bytes());
        let sum = xxh3_64(&written);
        bytes.extend_from_slice(&written);
        bytes.push(END);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(TRAILER);
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, Found) {
        let mut items = Vec::new();
        let found = walk(bytes, 0, &mut Some(OURS), &mut |place, item| {
            if item.is_sound && item.key != STAMP.as_bytes() {
                items.push((place, item.key.to_vec()));
            }
        });
        (items, found)
    }

    fn three() -> [Vec<u8>; 3] {
        [
            batch(5, &[(b"a", b"1"), (b"b", b"")]),
            batch(6, &[(b"c", b"2")]),
            batch(9, &[(b"d", b"3")]),
        ]
    }

    #[test]
    fn all_batches_are_told_and_zeros_after_them_are_their_end() {
        let (items, found) = read(&[three().concat(), vec![0; 100_000]].concat());
        let keys: Vec<_> = items.iter().map(|(place, key)| (*place, key[0])).collect();
        assert_eq!(keys, [(5, b'a'), (5, b'b'), (6, b'c'), (9, b'd')]);
        assert_eq!(found, Found { damaged: 0, torn: None, last: 9 });
    }

    #[test]
    fn a_batch_that_was_being_written_is_the_end_and_no_damage() {
        let whole = three().concat();
        for cut in 1..three()[2].len() {
            let (items, found) = read(&whole[..whole.len() - cut]);
            let torn = Some(three()[0].len() + three()[1].len());
            assert_eq!((items.len(), found.damaged, found.torn), (3, 0, torn), "{cut}");
            // A page that did not reach the disk, and zeros after it.
            let zeros = vec![0; cut + 100_000];
            let (items, found) = read(&[&whole[..whole.len() - cut], &zeros].concat());
            assert_eq!((items.len(), found.damaged, found.torn), (3, 0, torn), "{cut}");
        }
    }

    #[test]
    fn whichever_bit_is_flipped_no_sound_batch_after_it_is_lost_and_none_is_made_up() {
        let [first, second, third] = three();
        let whole = [&first[..], &second, &third].concat();
        let before = read(&whole).0;
        for bit in 0..(first.len() + second.len()) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (items, found) = read(&bytes);
            assert_eq!(items.last().unwrap().1, b"d", "bit {bit}");
            let keys: Vec<_> = items.iter().map(|(_, key)| key.clone()).collect();
            assert!(keys.iter().all(|key| before.iter().any(|(_, old)| old == key)), "bit {bit}");
            // Its place is what no checksum covers; as long as the order holds, nothing is lost.
            assert!(found.damaged >= 1 || keys.len() == 4, "bit {bit}");
            assert!(items.is_sorted_by_key(|(place, _)| *place), "bit {bit}");
        }
    }

    /// A batch with an entry that carries a whole batch, which says that it is the next one.
    fn carrier() -> Vec<u8> {
        let forged = stamped(7, [0; 16], &[(b"x", b"forged"), (b"commits", &9_u64.to_be_bytes())]);
        batch(6, &[(b"c", &[TRAILER, &forged].concat())])
    }

    #[test]
    fn what_an_entry_carries_is_taken_for_no_batch() {
        let mut bytes = [three()[0].clone(), carrier(), three()[2].clone()].concat();
        // The length of the carrier's value: nothing says any more where it ends.
        let at = three()[0].len() + HEADER + ITEM_HEADER + STAMP.len() + OURS.len() + 13;
        bytes[at] ^= 1;
        let (items, found) = read(&bytes);
        assert!(items.iter().all(|(_, key)| key != b"x"));
        assert_eq!((items.len(), found.damaged), (3, 1));
    }

    #[test]
    fn nor_where_its_batch_was_being_written_when_the_machine_stopped() {
        let before = three()[0].clone();
        let whole = [before.clone(), carrier()].concat();
        for end in before.len() + 1..whole.len() {
            // Cut off; and pages that did not reach the disk before others that did.
            let mut holed = whole.clone();
            holed[end..].fill(0);
            let mut hole = whole.clone();
            hole[before.len()..end].fill(0);
            for bytes in [&whole[..end], &[&holed[..], &[0; 5000]].concat(), &hole[..]] {
                let (items, found) = read(bytes);
                assert_eq!((items.len(), found.damaged), (2, 0), "{end}");
                assert_eq!(found.torn, Some(before.len()), "{end}");
            }
        }
    }

    #[test]
    fn a_store_whose_stamp_is_not_known_learns_it_from_what_is_whole() {
        let [first, second, third] = three();
        let mut bytes = [&first[..], &second, &third].concat();
        bytes[first.len()] ^= 4;
        let mut stamp = None;
        let found = walk(&bytes, 0, &mut stamp, &mut |_, _| {});
        assert_eq!((found.last, found.damaged, stamp), (9, 1, Some(OURS)));
        // Nothing whole before the damage: nothing is believed.
        let found = walk(&bytes[first.len()..], 0, &mut None, &mut |_, _| {});
        assert_eq!((found.last, found.torn), (0, Some(0)));
    }
}
