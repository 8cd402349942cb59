//! Walks every record of a store, and counts what is there and what is wrong with it.

use std::{collections::BTreeMap, io, path::Path};

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::EntryId,
};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    super::{EXPIRED, checked, due_key, due_time, due_value_bytes, id_key, seq_of, short, tally},
    files::Files,
    journal::array,
    merged::{Merged, Record},
};
use crate::store::Tally;

/// What a store has, and what is wrong with it: counts alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Survey {
    /// Logs that have entries.
    pub logs: u64,
    /// Entries as they were written.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks of tables that were read.
    pub blocks: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a store. All zero: nothing that can be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Damage {
    /// Files that say what the others are: the mark of the version, manifests, the witness; and
    /// tables that aren't there.
    pub files: u64,
    /// Blocks and directories of tables that don't match their checksums.
    pub blocks: u64,
    /// Batches of the journals that don't match theirs.
    pub batches: u64,
    /// Commits that were made and aren't there.
    pub lost_commits: u64,
    /// Entries that don't match their checksums.
    pub entries: u64,
    /// Entries that are missing between others of their logs, or before a log's head.
    pub missing: u64,
    /// Logs whose own record is missing or doesn't fit what they have.
    pub tallies: u64,
    /// Records of the two indexes that are missing, or too many; at least.
    pub index: u64,
    /// Logs in which any entry is damaged or missing.
    pub logs: u64,
}

impl Survey {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage == Damage::default()
    }
}

/// What a walk meets, log by log, in order.
pub(super) enum Met<'a> {
    /// An entry as it was written.
    Entry { log: LogId, seq: u64, at: Timestamp, bytes: &'a [u8] },
    /// Entries that were there once, or that are damaged; with the time of a neighbour.
    Gone { log: LogId, from: u64, to: u64, at: Timestamp },
    /// The end of a log.
    End { log: LogId, head: u64 },
}

/// What a store says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) generation: Option<u64>,
    pub(super) floor: u64,
    pub(super) commits: u64,
    pub(super) clock: u64,
    /// Whether no log can have had a number that isn't known any more.
    pub(super) knows_heads: bool,
}

/// Entries of one log that can be missing; no log has ever had as many.
const MISSING_MAX: u64 = 1 << 24;

/// Looks at the store in a directory without changing anything in it.
pub(super) fn survey(dir: &Path) -> io::Result<Survey> {
    walk(dir, &mut |_| Ok(())).map(|(survey, _)| survey)
}

/// Walks the store in a directory, and tells what it meets.
pub(super) fn walk<E: From<io::Error>>(
    dir: &Path,
    each: &mut dyn FnMut(Met<'_>) -> Result<(), E>,
) -> Result<(Survey, Memory), E> {
    let files = Files::open(dir)?;
    let number = |key: &str| {
        files.meta.get(key.as_bytes()).and_then(|it| array(it, 0)).map(u64::from_be_bytes)
    };
    let expired = number(EXPIRED).unwrap_or(0);
    let mut walk = Walk { entries: files.entries, heads: files.heads, expired, ..Walk::new(each) };
    let mut logs = files.logs;
    loop {
        let by_entry = walk.entries.peek().map(|it| it.key.clone());
        let by_entry = by_entry.as_deref().and_then(|key| LogId::from_slice(key.get(..20)?));
        let by_tally = logs.peek().and_then(|it| LogId::from_slice(&it.key));
        if by_entry.is_none() && walk.entries.peek().is_some() {
            // A record that has no log's key.
            walk.entries.next();
            walk.survey.damage.entries += 1;
            continue;
        }
        if by_tally.is_none() && logs.peek().is_some() {
            logs.next();
            walk.survey.damage.tallies += 1;
            continue;
        }
        let Some(log) = by_entry.into_iter().chain(by_tally).min() else { break };
        let record = if by_tally == Some(log) { logs.next() } else { None };
        walk.log(log, record.as_ref())?;
    }
    let mut survey = walk.survey;
    let (ids, due) = (walk.ids, walk.due);
    let entries = walk.entries;
    let (mut own_ids, mut own_due) = (files.ids, files.expiry);
    survey.damage.index = differ(ids, sum(&mut own_ids)) + differ(due, sum(&mut own_due));
    let (mut blocks, mut vital) = (files.other_blocks, files.other_blocks.1 + logs.blocks().1);
    for merged in [&entries, &own_ids, &own_due, &logs] {
        blocks = (blocks.0 + merged.blocks().0, blocks.1 + merged.blocks().1);
    }
    vital += files.damaged_files + files.damaged_batches + files.lost_commits;
    survey.blocks = blocks.0;
    survey.damage.blocks = blocks.1;
    survey.damage.files = files.damaged_files;
    survey.damage.batches = files.damaged_batches;
    survey.damage.lost_commits = files.lost_commits;
    let memory = Memory {
        generation: number("generation"),
        floor: number("floor").unwrap_or(0),
        commits: number("commits").unwrap_or(0),
        clock: number("clock").unwrap_or(0),
        knows_heads: vital == 0 && survey.damage.tallies == 0,
    };
    Ok((survey, memory))
}

/// How many records, and the sum of their hashes: the same for the same set in any order.
type Sum = (u64, u128);

struct Walk<'a, E> {
    each: &'a mut dyn FnMut(Met<'_>) -> Result<(), E>,
    entries: Merged,
    heads: BTreeMap<LogId, u64>,
    survey: Survey,
    /// Up to when all is over that no log's record counts.
    expired: u64,
    /// What the indexes should have.
    ids: Sum,
    due: Sum,
}

impl<'a, E> Walk<'a, E> {
    fn new(each: &'a mut dyn FnMut(Met<'_>) -> Result<(), E>) -> Self {
        let entries = Merged::new(Vec::new(), BTreeMap::new());
        let (heads, survey) = (BTreeMap::new(), Survey::default());
        Self { each, entries, heads, survey, expired: 0, ids: (0, 0), due: (0, 0) }
    }

    /// Walks one log, with its own record: as it is now, and all versions of it.
    fn log(&mut self, log: LogId, record: Option<&Record>) -> Result<(), E> {
        let own = record.and_then(|it| tally(it.live()?).ok());
        let versions = record.map_or(&[][..], |it| &it.versions);
        let said = versions.iter().flatten().filter_map(|it| Some(tally(it).ok()?.head)).max();
        let said = said.max(self.heads.get(&log).copied()).unwrap_or(0);
        let first = own.map_or(0, |own| own.first);
        let (mut next, mut last) = (first, None);
        let (mut there, mut bytes, mut wrong) = (0_u64, 0_u64, 0_u64);
        while self.entries.peek().is_some_and(|it| it.key.starts_with(log.as_bytes())) {
            let Some(record) = self.entries.next() else { break };
            let Some(value) = record.live() else { continue };
            let Some(seq) = seq_of(&record.key).filter(|_| record.key.len() == 28) else {
                self.survey.damage.entries += 1;
                continue;
            };
            if seq < first {
                // It is over, and waits for its period to be.
                continue;
            }
            there += 1;
            // What is damaged may have an older version that isn't.
            let mut versions = record.versions.iter().flatten();
            let Some((bytes_there, at)) =
                versions.find_map(|it| Some((checked(log, seq, it)?, due_time(it)?)))
            else {
                self.survey.damage.entries += 1;
                if own.is_none() {
                    // Without damage elsewhere its log is gone.
                    there -= 1;
                } else {
                    wrong += 1;
                }
                continue;
            };
            debug_assert!(!value.is_empty(), "an entry has a checksum");
            if own.is_none() && at.0 <= self.expired {
                // Its log is gone.
                there -= 1;
                continue;
            }
            if next > 0 && seq > next {
                wrong += self.gone(log, next, seq - 1, at)?;
            }
            (next, last) = (seq + 1, Some(at));
            self.index(log, seq, at, bytes_there);
            bytes += bytes_there.len() as u64;
            self.survey.entries += u64::from(!bytes_there.is_empty());
            (self.each)(Met::Entry { log, seq, at, bytes: bytes_there })?;
        }
        let head = said.max(next.saturating_sub(1));
        if own.is_some() && head >= next && (next > 0 || own.is_some_and(|own| own.entries > 0)) {
            let from = if next > 0 { next } else { head };
            match last {
                Some(at) => wrong += self.gone(log, from, head, at)?,
                None => wrong += self.count_gone(from, head),
            }
        }
        self.tally(own, there, bytes, wrong, head);
        if there > 0 || own.is_some() {
            self.survey.logs += 1;
            self.survey.bytes += bytes;
            self.survey.damage.logs += u64::from(wrong > 0);
        }
        (self.each)(Met::End { log, head })
    }

    fn tally(&mut self, own: Option<Tally>, there: u64, bytes: u64, wrong: u64, head: u64) {
        let fits = match own {
            None => there == 0,
            Some(own) => {
                let all = own.first == 0 || own.entries == (own.head + 1).saturating_sub(own.first);
                own.head == head && all && (wrong > 0 || own.bytes == bytes)
            }
        };
        self.survey.damage.tallies += u64::from(!fits);
    }

    fn gone(&mut self, log: LogId, from: u64, to: u64, at: Timestamp) -> Result<u64, E> {
        let count = self.count_gone(from, to);
        (self.each)(Met::Gone { log, from, to: (from + count).saturating_sub(1), at })?;
        Ok(count)
    }

    fn count_gone(&mut self, from: u64, to: u64) -> u64 {
        let count = (to - from).saturating_add(1).min(MISSING_MAX);
        self.survey.damage.missing += count;
        count
    }

    fn index(&mut self, log: LogId, seq: u64, at: Timestamp, bytes: &[u8]) {
        let id = short(EntryId::of(bytes));
        if !bytes.is_empty() {
            add(&mut self.ids, &id_key(log, id), &seq.to_be_bytes());
        }
        add(&mut self.due, &due_key(at, log, seq), &due_value_bytes(id, bytes.len()));
    }
}

fn add(sum: &mut Sum, key: &[u8], value: &[u8]) {
    let mut both = key.to_vec();
    both.extend_from_slice(value);
    *sum = (sum.0 + 1, sum.1.wrapping_add(xxh3_128(&both)));
}

fn sum(records: &mut Merged) -> Sum {
    let mut total = (0, 0);
    for record in records {
        if let Some(value) = record.live() {
            add(&mut total, &record.key, value);
        }
    }
    total
}

/// In how many records two sets differ, at least.
fn differ(one: Sum, other: Sum) -> u64 {
    if one == other { 0 } else { one.0.abs_diff(other.0).max(1) }
}
