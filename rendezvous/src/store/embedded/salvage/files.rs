//! The files of a store, opened for reading alone: which of them is what, and what is wrong with them
//! before any record is looked at.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    super::{
        checked,
        periods::{PERIODS, Period, Periods, placed},
        seq_of, tally,
    },
    journal::{self, Found},
    manifest::{self, numbered, read},
    merged::{Journaled, Merged, Record},
    table::{self, Table},
};
use crate::store::witness::{self, Said};
use protocol::ids::LogId;

/// A store's keyspaces, each as one list, by what its records look like.
pub(super) struct Files {
    pub(super) entries: Merged,
    pub(super) ids: Merged,
    pub(super) expiry: Merged,
    pub(super) logs: Merged,
    /// Few and small.
    pub(super) meta: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The highest head that the journals say of a log.
    pub(super) heads: BTreeMap<LogId, u64>,
    pub(super) damaged_files: u64,
    pub(super) damaged_batches: u64,
    /// Commits that the witness has seen, or later commits prove, and that are not there.
    pub(super) lost_commits: u64,
    /// Of keyspaces that are none of the above.
    pub(super) other_blocks: (u64, u64),
}

/// What the journals have.
#[derive(Default)]
struct Journals {
    keyspaces: BTreeMap<u64, Journaled>,
    heads: BTreeMap<LogId, u64>,
    commits: Vec<u64>,
    damaged: u64,
}

/// What a keyspace is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Entries,
    Ids,
    Expiry,
    Logs,
    Meta,
}

/// What the file `version` says.
const MARK: &[u8] = b"FJL\x03";

impl Files {
    /// Opens what is in the directory of a store.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut journals = Journals::read(dir)?;
        let mut damaged_files = u64::from(!has_mark(dir)? && !is_unborn(dir)?);
        let mut roles: BTreeMap<Role, (Vec<Table>, Journaled)> = BTreeMap::new();
        let mut other_blocks = (0, 0);
        let mut found = numbered(&dir.join("keyspaces"), "")?;
        for id in journals.keyspaces.keys() {
            if !found.iter().any(|(it, _)| it == id) {
                found.push((*id, dir.join("keyspaces").join(id.to_string())));
            }
        }
        let mut keyspaces = Vec::new();
        for (id, path) in found {
            let there = manifest::tables(&path)?;
            damaged_files += there.damaged;
            let mut tables = Vec::new();
            for path in there.paths {
                match Table::open(&path) {
                    Ok(table) => tables.push(table),
                    Err(_) => damaged_files += 1,
                }
            }
            let journaled = journals.keyspaces.remove(&id).unwrap_or_default();
            let role = (id > 0).then(|| role(&tables, &journaled)).flatten();
            keyspaces.push((role, tables, journaled));
        }
        // By it is known which entries are over.
        keyspaces.sort_by_key(|(role, ..)| *role != Some(Role::Meta));
        let mut meta: Option<BTreeMap<Vec<u8>, Vec<u8>>> = None;
        let mut first = Period::EARLY;
        for (role, tables, journaled) in keyspaces {
            match role {
                Some(Role::Meta) if meta.is_none() => {
                    let mut records = Merged::new(tables, journaled);
                    let live = |record: Record| Some((record.key.clone(), record.live()?.to_vec()));
                    let live: BTreeMap<_, _> = records.by_ref().filter_map(live).collect();
                    first = first_of(&live);
                    meta = Some(live);
                    let (read, damaged) = records.blocks();
                    other_blocks = (other_blocks.0 + read, other_blocks.1 + damaged);
                }
                // An early store's, and those by period.
                Some(Role::Entries) => {
                    let (all_tables, all_journaled) = roles.entry(Role::Entries).or_default();
                    for table in tables {
                        all_tables.extend(table.by_period(first)?);
                    }
                    for (key, version) in journaled {
                        let Some((period, place)) = placed(&key) else { continue };
                        let held = all_journaled.get(&place[..]);
                        // Of two periods the newer version, whichever period that is.
                        if period >= first && held.is_none_or(|held| held.0 <= version.0) {
                            all_journaled.insert(place.to_vec(), version);
                        }
                    }
                }
                Some(role) if !roles.contains_key(&role) => {
                    roles.insert(role, (tables, journaled));
                }
                _ => {
                    let mut merged = Merged::new(tables, journaled);
                    merged.exhaust();
                    let (read, damaged) = merged.blocks();
                    other_blocks = (other_blocks.0 + read, other_blocks.1 + damaged);
                }
            }
        }
        let mut role = |role| {
            let (tables, journaled) = roles.remove(&role).unwrap_or_default();
            Merged::new(tables, journaled)
        };
        let meta = meta.unwrap_or_default();
        let kept = meta.get(&b"commits"[..]).and_then(|it| journal::array(it, 0));
        let lost_commits =
            journals.lost(kept.map_or(0, u64::from_be_bytes), witness_of(dir)?.commits);
        damaged_files += u64::from(lost_commits.is_none());
        Ok(Self {
            entries: role(Role::Entries),
            ids: role(Role::Ids),
            expiry: role(Role::Expiry),
            logs: role(Role::Logs),
            meta,
            heads: journals.heads,
            damaged_files,
            damaged_batches: journals.damaged,
            lost_commits: lost_commits.unwrap_or(0),
            other_blocks,
        })
    }
}

/// The first period that a store lists: what is before it is over.
fn first_of(meta: &BTreeMap<Vec<u8>, Vec<u8>>) -> Period {
    let listed = meta.get(PERIODS.as_bytes()).and_then(|record| Periods::read(record).ok());
    listed.and_then(|all| Some(all.first()?.period)).unwrap_or(Period::EARLY)
}

impl Journals {
    fn read(dir: &Path) -> io::Result<Self> {
        let mut journals = Self::default();
        let Said { commits: witness, mut stamp } = witness_of(dir)?;
        let mut last = 0;
        let paths = journal_paths(dir)?;
        let count = paths.len();
        for (index, path) in paths.into_iter().enumerate() {
            // What the disk does not give is damaged.
            let Ok(bytes) = journal::read(&path) else {
                journals.damaged += 1;
                continue;
            };
            let mut unsound = Vec::new();
            let found = journal::walk(&bytes, last, &mut stamp, &mut |place, item| {
                if item.is_sound {
                    journals.take(place, &item);
                } else if is_entry(item.key, item.value) {
                    let value = item.value.map(<[u8]>::to_vec);
                    unsound.push((item.at, place, item.keyspace, item.key.to_vec(), value));
                }
            });
            journals.damaged += found.damaged;
            last = found.last;
            let is_lost = found.torn.is_some()
                && (index + 1 < count || witness.is_some_and(|it| it > journals.kept()));
            journals.damaged += u64::from(is_lost);
            for (at, place, keyspace, key, value) in unsound {
                // Nobody was told of a batch that was being written.
                if found.torn != Some(at) || is_lost {
                    let records = journals.keyspaces.entry(keyspace).or_default();
                    records.insert(key, (place, value));
                }
            }
        }
        Ok(journals)
    }

    fn take(&mut self, place: u64, item: &journal::Item<'_>) {
        if let (Some(log), Some(value)) = (LogId::from_slice(item.key), item.value)
            && let Ok(tally) = tally(value)
        {
            let head = self.heads.entry(log).or_default();
            *head = (*head).max(tally.head);
        }
        self.commits.extend(commits_of(item));
        let version = (place, item.value.map(<[u8]>::to_vec));
        self.keyspaces.entry(item.keyspace).or_default().insert(item.key.to_vec(), version);
    }

    /// The number of the last commit that is there.
    fn kept(&self) -> u64 {
        self.commits.iter().copied().max().unwrap_or(0)
    }

    /// How many commits are not there; none where the witness can't be read.
    fn lost(&self, kept: u64, witness: Option<u64>) -> Option<u64> {
        let between = self.commits.windows(2).map(|two| two[1].saturating_sub(two[0] + 1));
        let between: u64 = between.sum();
        match witness {
            Some(said) => Some(between + said.saturating_sub(kept)),
            None => (kept == 0).then_some(between),
        }
    }
}

fn commits_of(item: &journal::Item<'_>) -> Option<u64> {
    let value = item.value.filter(|_| item.key == b"commits")?;
    journal::array(value, 0).map(u64::from_be_bytes)
}

/// What the witness says, as far as it can be read.
fn witness_of(dir: &Path) -> io::Result<Said> {
    Ok(witness::said(&read(&dir.join("witness"))?.unwrap_or_default()))
}

/// The journals of a store, oldest first.
pub(in super::super) fn journal_paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let items = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items?,
    };
    for item in items {
        let path = item?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
        paths.extend(number.map(|number| (number, path)));
    }
    paths.sort();
    Ok(paths.into_iter().map(|(_, path)| path).collect())
}

/// Whether the file that says what wrote the store is as it was written.
fn has_mark(dir: &Path) -> io::Result<bool> {
    Ok(read(&dir.join("version"))?.is_some_and(|bytes| bytes == MARK))
}

/// Whether there is no store yet, or one whose making was cut off before anything could be in it: its
/// mark is synced before there is a keyspace.
pub(in super::super) fn is_unborn(dir: &Path) -> io::Result<bool> {
    let mark = read(&dir.join("version"))?.unwrap_or_default();
    // It is written in two parts, of which a loss of power may leave either.
    let is_of_it = |(at, byte): (usize, &u8)| *byte == 0 || MARK.get(at) == Some(byte);
    if MARK == mark || !mark.iter().enumerate().all(is_of_it) {
        return Ok(false);
    }
    for path in journal_paths(dir)? {
        if !journal::read(&path)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(numbered(&dir.join("keyspaces"), "")?.is_empty())
}

fn is_entry(key: &[u8], value: Option<&[u8]>) -> bool {
    let (Some((_, place)), Some(value)) = (placed(key), value) else { return false };
    let (Some(log), Some(seq)) = (LogId::from_slice(&place[..20]), seq_of(place)) else {
        return false;
    };
    checked(log, seq, value).is_some()
}

/// What a keyspace is for, by its first record that has a value.
fn role(tables: &[Table], journaled: &Journaled) -> Option<Role> {
    let shape = |key: &[u8], value: &[u8]| match (key.len(), value.len()) {
        (36, 8) => Some(Role::Ids),
        (36, 20) => Some(Role::Expiry),
        (28 | 36, 24..) => Some(Role::Entries),
        (20, 24 | 32) => Some(Role::Logs),
        (4..=10, 8 | 16) => Some(Role::Meta),
        _ => None,
    };
    let mut journaled = journaled.iter().filter_map(|(key, (_, it))| shape(key, it.as_ref()?));
    journaled.next().or_else(|| {
        tables.iter().find_map(|table| {
            let mut rows = Table::open(table.path()).ok()?;
            rows.find_map(|row| shape(&row.key, row.value.as_deref()?))
        })
    })
}

/// Looks at a store before it is opened: whether its files say what it consists of, so that opening
/// it drops nothing of it. Reads the journals, the manifests and the directory of each table. Cuts
/// off a batch that was being written when the machine stopped.
pub(in super::super) fn is_openable(dir: &Path) -> io::Result<bool> {
    if is_unborn(dir)? {
        return Ok(true);
    }
    let journals = journal_paths(dir)?;
    let mut is_sound = has_mark(dir)?;
    let (mut found, mut kept) = (Found::default(), None);
    let Said { commits: witnessed, mut stamp } = witness_of(dir)?;
    for (index, path) in journals.iter().enumerate() {
        let bytes = journal::read(path)?;
        let mut has_unsound = false;
        found = journal::walk(&bytes, found.last, &mut stamp, &mut |_, item| {
            has_unsound |= !item.is_sound;
            kept = kept.max(commits_of(&item).filter(|_| item.is_sound));
        });
        is_sound &= found.damaged == 0 && (found.torn.is_none() || index + 1 == journals.len());
        if let Some(torn) = found.torn.filter(|_| has_unsound) {
            // Acknowledged, and damaged since: some of it can be saved.
            let is_lost = kept.is_some() && witnessed > kept;
            is_sound &= !is_lost;
            if is_sound {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                file.set_len(torn as u64)?;
                file.sync_all()?;
            }
        }
    }
    for (id, path) in numbered(&dir.join("keyspaces"), "")? {
        let tables = manifest::tables(&path)?;
        is_sound &= tables.damaged == 0;
        for path in tables.paths {
            is_sound &= table::has_directory(&path)?;
            if id == 0 {
                // The names of the others: without them they would be taken for left over.
                let mut table = Table::open(&path)?;
                table.by_ref().for_each(drop);
                is_sound &= table.damaged == 0;
            }
        }
    }
    Ok(is_sound)
}
