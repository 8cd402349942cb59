//! A disk that is told what was done to files, and what of it would be there if the power failed now.
//!
//! > What was synced is there. Of what was written since, anything may be there or not, also parts of
//! > one write, in sectors of 512 bytes. Creating, renaming and removing files is taken to be in
//! > order and durable at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    client::Dice,
    trace::{What, is_in},
};

const PAGE: u64 = 4096;
const SECTOR: usize = 512;

/// A file's bytes: the pages that were ever written, and its length.
#[derive(Clone, Default)]
struct Content {
    pages: BTreeMap<u64, Vec<u8>>,
    len: u64,
}

#[derive(Clone)]
enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Cut { len: u64 },
}

#[derive(Default)]
struct File {
    synced: Content,
    /// As the process sees it.
    len: u64,
    pending: Vec<(usize, Change)>,
}

struct Handle {
    file: usize,
    at: u64,
    appends: bool,
    syncs: bool,
}

/// The files below one directory.
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    handles: BTreeMap<i64, Handle>,
    aliases: BTreeMap<i64, i64>,
    heeds_syncs: bool,
    changes: usize,
}

/// Which of the changes that were not synced are there.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    None,
    Prefix,
    TornHalf,
}

impl Disk {
    /// An empty disk; one that does not heed syncs is what the control needs.
    pub fn new(root: &Path, heeds_syncs: bool) -> Self {
        Self {
            root: root.to_path_buf(),
            files: Vec::new(),
            names: BTreeMap::new(),
            dirs: BTreeSet::new(),
            handles: BTreeMap::new(),
            aliases: BTreeMap::new(),
            heeds_syncs,
            changes: 0,
        }
    }

    pub fn take(&mut self, what: &What) {
        match what {
            What::Open { fd, path, flags } => self.open(*fd, path, flags),
            What::Close { fd } => {
                if self.aliases.remove(fd).is_none() {
                    self.handles.remove(fd);
                }
            }
            What::Duplicate { fd, to } => {
                let target = self.target(*fd);
                if self.handles.contains_key(&target) {
                    self.aliases.insert(*to, target);
                }
            }
            What::Write { fd, at, bytes } => self.write(*fd, *at, bytes),
            What::Seek { fd, to } => {
                let target = self.target(*fd);
                if let Some(handle) = self.handles.get_mut(&target) {
                    handle.at = *to;
                }
            }
            What::Cut { fd, len } => {
                let target = self.target(*fd);
                if let Some(handle) = self.handles.get(&target) {
                    let file = handle.file;
                    self.files[file].len = *len;
                    self.change(file, Change::Cut { len: *len });
                }
            }
            What::Sync { fd } => {
                let target = self.target(*fd);
                if let Some(handle) = self.handles.get(&target).filter(|_| self.heeds_syncs) {
                    self.files[handle.file].sync();
                }
            }
            What::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
                assert!(!self.dirs.contains(from), "no directory is renamed");
            }
            What::Remove { path } => {
                self.names.remove(path);
                self.dirs.remove(path);
            }
            What::MakeDir { path } => {
                if is_in(path, &self.root) {
                    self.dirs.insert(path.clone());
                }
            }
        }
    }

    fn target(&self, fd: i64) -> i64 {
        self.aliases.get(&fd).copied().unwrap_or(fd)
    }

    fn open(&mut self, fd: i64, path: &Path, flags: &str) {
        self.handles.remove(&fd);
        self.aliases.remove(&fd);
        if !is_in(path, &self.root) || flags.contains("O_DIRECTORY") || self.dirs.contains(path) {
            return;
        }
        let file = match self.names.get(path) {
            Some(file) => *file,
            None if flags.contains("O_CREAT") => {
                self.files.push(File::default());
                self.names.insert(path.to_path_buf(), self.files.len() - 1);
                self.files.len() - 1
            }
            // The directory itself.
            None => return,
        };
        if flags.contains("O_TRUNC") && self.files[file].len > 0 {
            self.files[file].len = 0;
            self.change(file, Change::Cut { len: 0 });
        }
        let appends = flags.contains("O_APPEND");
        let syncs = flags.contains("SYNC");
        self.handles.insert(fd, Handle { file, at: 0, appends, syncs });
    }

    fn write(&mut self, fd: i64, at: Option<u64>, bytes: &[u8]) {
        let target = self.target(fd);
        let Some(handle) = self.handles.get_mut(&target) else { return };
        let file = handle.file;
        let from = match at {
            Some(at) => at,
            None => {
                let from = if handle.appends { self.files[file].len } else { handle.at };
                handle.at = from + bytes.len() as u64;
                from
            }
        };
        let syncs = handle.syncs && self.heeds_syncs;
        let end = from + bytes.len() as u64;
        self.files[file].len = self.files[file].len.max(end);
        self.change(file, Change::Write { at: from, bytes: bytes.to_vec() });
        if syncs {
            self.files[file].sync();
        }
    }

    fn change(&mut self, file: usize, change: Change) {
        self.changes += 1;
        self.files[file].pending.push((self.changes, change));
    }

    /// Writes to the directory what is there after a loss of power. The file `witness` stays the file
    /// that it is: the store knows it.
    pub fn lose_power(&self, kept: Kept, dice: &mut Dice) {
        clear(&self.root);
        for dir in &self.dirs {
            fs::create_dir_all(dir).unwrap();
        }
        let named: BTreeSet<_> = self.names.values().collect();
        let mut pending: Vec<_> = named
            .iter()
            .flat_map(|file| self.files[**file].pending.iter().map(|it| it.0))
            .collect();
        pending.sort_unstable();
        let last = pending.get(dice.below(pending.len() + 1)).copied().unwrap_or(usize::MAX);
        for (path, file) in &self.names {
            let file = &self.files[*file];
            let mut content = file.synced.clone();
            for (number, change) in &file.pending {
                let change = match kept {
                    Kept::None => None,
                    Kept::Prefix => (*number < last).then(|| change.clone()),
                    Kept::TornHalf => (dice.below(2) == 0).then(|| change.torn(dice)),
                };
                change.into_iter().for_each(|change| content.apply(&change));
            }
            content.write(path);
        }
    }
}

impl File {
    fn sync(&mut self) {
        for (_, change) in std::mem::take(&mut self.pending) {
            self.synced.apply(&change);
        }
    }
}

impl Change {
    /// Itself or, every other time, its first sectors alone.
    fn torn(&self, dice: &mut Dice) -> Self {
        match self {
            Self::Write { at, bytes } if dice.below(2) == 0 => {
                let into = usize::try_from(*at % SECTOR as u64).unwrap();
                let sectors = (into + bytes.len()).div_ceil(SECTOR);
                let end = (dice.below(sectors + 1) * SECTOR).saturating_sub(into).min(bytes.len());
                Self::Write { at: *at, bytes: bytes[..end].to_vec() }
            }
            whole => whole.clone(),
        }
    }
}

impl Content {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { at, bytes } => {
                let (mut at, mut rest) = (*at, &bytes[..]);
                while !rest.is_empty() {
                    let into = usize::try_from(at % PAGE).unwrap();
                    let len = rest.len().min(PAGE as usize - into);
                    let page =
                        self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE as usize]);
                    page[into..into + len].copy_from_slice(&rest[..len]);
                    (at, rest) = (at + len as u64, &rest[len..]);
                }
                self.len = self.len.max(at);
            }
            Change::Cut { len } => {
                self.pages.retain(|page, _| page * PAGE < *len);
                let into = usize::try_from(len % PAGE).unwrap();
                if let Some(page) = self.pages.get_mut(&(len / PAGE)) {
                    page[into..].fill(0);
                }
                self.len = *len;
            }
        }
    }

    fn write(&self, path: &Path) {
        use std::os::unix::fs::FileExt as _;
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).open(path).unwrap();
        file.set_len(self.len).unwrap();
        for (page, bytes) in &self.pages {
            let at = page * PAGE;
            let len = usize::try_from((self.len - at).min(PAGE)).unwrap();
            file.write_all_at(&bytes[..len], at).unwrap();
        }
    }
}

/// Removes all below a directory but the witness, which is emptied.
fn clear(root: &Path) {
    for path in fs::read_dir(root).unwrap().map(|item| item.unwrap().path()) {
        if path.ends_with("witness") {
            fs::write(path, "").unwrap();
        } else if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
}
