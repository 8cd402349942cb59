//! A table, read without being changed: block by block, past what is damaged.
//!
//! ```text
//! table   = section… ‖ directory ‖ trailer
//! section = block…                                      "data" in the order of keys; indexes, filters
//! block   = "LSM" 3 ‖ kind u8 ‖ xxh3 u128 ‖ length u32 ‖ length u32 ‖ xxh3 of these u32 ‖ bytes
//! data    = item… ‖ 255 ‖ … ‖ 31 bytes, the first of them: how many items share a key's start
//! ```
//!
//! > As in a journal, what looks like a block after a place that can't be read counts only if blocks
//! > follow one another from there to the section's end.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    super::periods::{Period, placed},
    journal::array,
};
use crate::data_dir::open_file;

/// A version of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    /// The higher, the later it was written.
    pub(super) place: u64,
    /// `None`: it was deleted.
    pub(super) value: Option<Vec<u8>>,
}

/// A part of an archive: where it begins, and its length.
type Section = (u64, u64);

/// The sections of an archive, by name.
type Directory = Vec<(Vec<u8>, Section)>;

/// Reads the rows of one table, in order.
pub(super) struct Table {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next block begins, and where the last one ends.
    at: u64,
    end: u64,
    rows: std::vec::IntoIter<Row>,
    /// Of entries by period: the one that is read, and what was counted when all were.
    only: Option<(Period, (u64, u64))>,
    pub(super) damaged: u64,
    pub(super) blocks: u64,
}

const MAGIC: &[u8] = b"LSM\x03";
const HEADER: usize = 33;
const DATA: u8 = 0;
const TRAILER: usize = 31;
const ITEMS_END: u8 = 255;
/// No block of ours is longer.
const BLOCK_MAX: u32 = 64 << 20;
const DIRECTORY_MAX: u64 = 1 << 20;

impl Table {
    /// Opens a table. Its directory, indexes and filters are looked at first: what is damaged of
    /// them is counted, and takes nothing from the rows.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(open_file(path)?);
        let sections = sections(&mut file)?;
        let len = file.get_ref().metadata()?.len();
        let (mut damaged, mut blocks) = (0, 0);
        let mut data = (0, len);
        match &sections {
            None => damaged += 1,
            Some(sections) => {
                for (name, section) in sections {
                    match &name[..] {
                        b"data" => data = *section,
                        b"tli" | b"index" | b"filter" | b"filter_tli" | b"meta" => {
                            let (read, bad) = verify(&mut file, *section);
                            blocks += read;
                            damaged += bad;
                        }
                        _ => {}
                    }
                }
            }
        }
        let end = data.0.saturating_add(data.1).min(len);
        let (path, rows) = (path.to_path_buf(), Vec::new().into_iter());
        Ok(Self { path, file, at: data.0, end, rows, only: None, damaged, blocks })
    }

    /// A table of entries by period as one for each, in each of which they are in the order of logs, without periods.
    /// What is damaged is counted once. Those before `first` are left out.
    pub(super) fn by_period(mut self, first: Period) -> io::Result<Vec<Self>> {
        let mut begins: BTreeMap<Period, u64> = BTreeMap::new();
        while let Some((at, rows)) = self.read_block() {
            let periods = rows.iter().filter_map(|row| Some(placed(&row.key)?.0));
            for period in periods.filter(|period| *period >= first) {
                begins.entry(period).or_insert(at);
            }
        }
        if begins.is_empty() {
            return Ok(vec![self]);
        }
        let mut counts = (self.blocks, self.damaged);
        let mut tables = Vec::new();
        for (period, at) in begins {
            let (file, rows) = (BufReader::new(open_file(&self.path)?), Vec::new().into_iter());
            let (path, only) = (self.path.clone(), Some((period, std::mem::take(&mut counts))));
            tables.push(Self { path, file, at, rows, only, ..self });
        }
        Ok(tables)
    }

    /// Blocks that were read, and of these the damaged.
    pub(super) fn counts(&self) -> (u64, u64) {
        self.only.map_or((self.blocks, self.damaged), |(_, counts)| counts)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The rows of the next block, with where it begins.
    fn read_block(&mut self) -> Option<(u64, Vec<Row>)> {
        while self.at < self.end {
            match block(&mut self.file, self.at, self.end) {
                Ok((DATA, len, Some(bytes))) => {
                    let at = self.at;
                    self.at += len;
                    self.blocks += 1;
                    match rows(&bytes) {
                        Some(rows) => return Some((at, rows)),
                        None => self.damaged += 1,
                    }
                }
                Ok((DATA, len, None)) => {
                    self.at += len;
                    self.damaged += 1;
                }
                // Where no directory said where the data ends.
                Ok(_) => return None,
                Err(_) => {
                    self.damaged += 1;
                    self.at = self.next_run().unwrap_or(self.end);
                }
            }
        }
        None
    }

    /// Where blocks begin that follow one another to the section's end.
    fn next_run(&mut self) -> Option<u64> {
        let len = usize::try_from(self.end - self.at).ok()?;
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.at)).ok()?;
        self.file.by_ref().take(len as u64).read_to_end(&mut bytes).ok()?;
        let candidates = bytes.windows(4).enumerate().skip(1).filter(|(_, it)| *it == MAGIC);
        let mut candidates = candidates.map(|(at, _)| at);
        candidates.find(|start| reaches_end(&bytes[*start..])).map(|start| self.at + start as u64)
    }
}

impl Iterator for Table {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            for row in self.rows.by_ref() {
                let Some((only, _)) = self.only else { return Some(row) };
                match placed(&row.key) {
                    Some((period, place)) if period == only => {
                        return Some(Row { key: place.to_vec(), ..row });
                    }
                    Some((period, _)) if period > only => return None,
                    _ => {}
                }
            }
            self.rows = self.read_block()?.1.into_iter();
        }
    }
}

/// Whether a file's directory is as it was written; cheap, of the running relay's start.
pub(super) fn has_directory(path: &Path) -> io::Result<bool> {
    Ok(sections(&mut BufReader::new(open_file(path)?))?.is_some())
}

/// The sections of an archive, if its directory is as it was written.
pub(super) fn sections(file: &mut BufReader<File>) -> io::Result<Option<Directory>> {
    let len = file.get_ref().metadata()?.len();
    let Some(trailer_at) = len.checked_sub(38) else { return Ok(None) };
    let Some(trailer) = at(file, trailer_at, 38)? else { return Ok(None) };
    if &trailer[..6] != b"SFA!\x01\x00" {
        return Ok(None);
    }
    let (Some(sum), Some(pos)) = (array(&trailer, 6), array(&trailer, 22)) else { return Ok(None) };
    let (sum, pos) = (u128::from_le_bytes(sum), u64::from_le_bytes(pos));
    let size = trailer_at.checked_sub(pos).filter(|size| *size <= DIRECTORY_MAX);
    let Some(size) = size else { return Ok(None) };
    let Some(bytes) = at(file, pos, size)? else { return Ok(None) };
    Ok((xxh3_128(&bytes) == sum).then(|| directory(&bytes)).flatten())
}

fn directory(bytes: &[u8]) -> Option<Directory> {
    let mut bytes = bytes.strip_prefix(b"TOC!")?;
    let count = u32::from_le_bytes(take(&mut bytes)?);
    let mut sections = Vec::new();
    for _ in 0..count {
        let (pos, len) =
            (u64::from_le_bytes(take(&mut bytes)?), u64::from_le_bytes(take(&mut bytes)?));
        let name_len = usize::from(u16::from_le_bytes(take(&mut bytes)?));
        let (name, rest) = bytes.split_at_checked(name_len)?;
        sections.push((name.to_vec(), (pos, len)));
        bytes = rest;
    }
    Some(sections)
}

/// How many blocks a section has, and how many of them are damaged.
fn verify(file: &mut BufReader<File>, (mut from, len): Section) -> (u64, u64) {
    let end = from.saturating_add(len);
    let (mut read, mut damaged) = (0, 0);
    while from < end {
        match block(file, from, end) {
            Ok((_, len, bytes)) => {
                read += 1;
                damaged += u64::from(bytes.is_none());
                from += len;
            }
            Err(_) => return (read, damaged + 1),
        }
    }
    (read, damaged)
}

/// The kind and length of a block, with its bytes if they are as they were written. An error: its
/// header isn't, or the disk does not give it.
fn block(
    file: &mut BufReader<File>,
    from: u64,
    end: u64,
) -> io::Result<(u8, u64, Option<Vec<u8>>)> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let header = at(file, from, HEADER as u64)?.ok_or_else(damaged)?;
    let (kind, sum, len) = block_header(&header).ok_or_else(damaged)?;
    let total = HEADER as u64 + u64::from(len);
    if from + total > end {
        return Err(damaged());
    }
    let bytes = at(file, from + HEADER as u64, len.into()).ok().flatten();
    Ok((kind, total, bytes.filter(|bytes| xxh3_128(bytes) == sum)))
}

fn block_header(header: &[u8]) -> Option<(u8, u128, u32)> {
    let own = u32::from_le_bytes(array(header, 29)?);
    let len = u32::from_le_bytes(array(header, 21)?);
    let sum = xxh3_128(&header[..29]).to_le_bytes();
    let is_sound = header.starts_with(MAGIC) && sum[..4] == own.to_le_bytes() && len <= BLOCK_MAX;
    is_sound.then_some((header[4], u128::from_le_bytes(array(header, 5)?), len))
}

fn reaches_end(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some((_, _, len)) = bytes.get(..HEADER).and_then(block_header) else { return false };
        let Some(rest) = bytes.get(HEADER + len as usize..) else { return false };
        bytes = rest;
    }
    true
}

/// The rows of a data block.
fn rows(bytes: &[u8]) -> Option<Vec<Row>> {
    let interval = usize::from(*bytes.get(bytes.len().checked_sub(TRAILER)?)?).max(1);
    let mut rows: Vec<Row> = Vec::new();
    let mut base = 0;
    let mut bytes = bytes;
    loop {
        let [kind] = take(&mut bytes)?;
        if kind == ITEMS_END {
            return Some(rows);
        }
        if kind > 2 {
            return None;
        }
        let place = varint(&mut bytes)?;
        let key = if rows.len().is_multiple_of(interval) {
            base = rows.len();
            let len = usize::try_from(varint(&mut bytes)?).ok()?;
            split(&mut bytes, len)?.to_vec()
        } else {
            let shared = usize::try_from(varint(&mut bytes)?).ok()?;
            let len = usize::try_from(varint(&mut bytes)?).ok()?;
            let start = rows[base].key.get(..shared)?;
            [start, split(&mut bytes, len)?].concat()
        };
        let value = if kind == 0 {
            let len = usize::try_from(varint(&mut bytes)?).ok()?;
            Some(split(&mut bytes, len)?.to_vec())
        } else {
            None
        };
        rows.push(Row { key, place, value });
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn split<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(first)
}

/// So many bytes of a file, if it has them.
fn at(file: &mut BufReader<File>, from: u64, len: u64) -> io::Result<Option<Vec<u8>>> {
    file.seek_relative_or(from)?;
    let mut bytes = Vec::new();
    file.by_ref().take(len).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 == len).then_some(bytes))
}

trait SeekNear {
    /// Goes to a place without giving up what was read ahead, if it is near.
    fn seek_relative_or(&mut self, to: u64) -> io::Result<()>;
}

impl SeekNear for BufReader<File> {
    fn seek_relative_or(&mut self, to: u64) -> io::Result<()> {
        let here = self.stream_position()?;
        match i64::try_from(i128::from(to) - i128::from(here)) {
            Ok(by) => self.seek_relative(by),
            Err(_) => self.seek(SeekFrom::Start(to)).map(drop),
        }
    }
}
