//! A file that is not all here yet: what there is of it, and which parts that is.
//!
//! > Which parts there are is written only after the parts are on the disk: what is said to be there is there, also after
//! > a loss of power. The file has its name only when all of it was read again and is what was offered. Of the disk, which the
//! > node's store needs too, [`RESERVE`] stays free.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use protocol::file::{Fetch, Offer, Piece, ReadError, Source};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with, statvfs},
    io::Errno,
};

use super::{make_private, open, read};

/// The parts of one file on the disk, locked for as long as this lives.
pub(super) struct Part {
    file: File,
    part: PathBuf,
    state: PathBuf,
    whole: PathBuf,
    free: Free,
    /// Bytes since the state was written, and when that was.
    unsaved: u64,
    saved: Instant,
}

/// What there is of a file.
pub(super) enum Opened {
    /// All of it, under its name.
    Whole(Box<Source>),
    /// Some of it, or nothing.
    Part(Part, Box<Fetch>),
}

/// Why a file can't be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFileError {
    /// What is on the disk is another one. It is fetched anew.
    #[error(transparent)]
    Changed(#[from] ReadError),
    /// Another file has the name that it is to have.
    #[error("there is another file at {path}: move it elsewhere, then ask for this one again")]
    InTheWay {
        /// Where.
        path: String,
    },
    /// The disk has less room than is missing of it, with what is to stay free; in MiB. What there is of it is kept.
    #[error(
        "there is too little room: {missing} MiB are still to come, {} MiB are to stay free, and the disk of the data \
         directory has {has} MiB left: make room, then ask for it again",
        RESERVE / MIB
    )]
    NoRoom { missing: u64, has: u64 },
    /// A write failed for want of room. What there was of it is removed.
    #[error(
        "the disk is full, and what there was of it is removed, since the node needs the room: make room, then ask for it again"
    )]
    Full,
    /// Another process is at it.
    #[error("a node that is ending still has it open")]
    InUse,
    /// The system refuses.
    #[error("what there is of it can't be read or written: {0}")]
    Io(#[from] io::Error),
}

impl FetchFileError {
    /// After how long it is tried again by itself; never, where a person has to do something.
    pub(super) const fn passes_in(&self) -> Option<Duration> {
        match self {
            Self::InUse => Some(SOON),
            Self::Io(_) => Some(AGAIN),
            Self::Changed(_) | Self::InTheWay { .. } | Self::NoRoom { .. } | Self::Full => None,
        }
    }
}

/// How many bytes the disk has left on which this is.
pub(super) type Free = fn(&Path) -> io::Result<u64>;

/// After how long it is tried again what the system refused.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// After how long, where a node that ends has it open.
const SOON: Duration = Duration::from_secs(1);
/// Bytes of the disk that no file takes: more than all that are fetched at once write before they look again.
const RESERVE: u64 = 256 * MIB;
const MIB: u64 = 1 << 20;
/// After so many bytes it is written what is there, and looked at the disk's room, or after so long.
const SAVE_BYTES: u64 = 16 << 20;
/// See [`SAVE_BYTES`].
const SAVE_AFTER: Duration = Duration::from_secs(1);

impl Part {
    /// Goes on where it was left. `key` tells the parts of one file from those of others.
    pub(super) fn open(
        parts: &Path,
        key: &str,
        whole: &Path,
        offer: &Offer,
        free: Free,
    ) -> Result<Opened, FetchFileError> {
        let (part, state) = (parts.join(key), parts.join(format!("{key}.state")));
        make_private(parts)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&part)?;
        // A node that is ending may still be at it, in another process. Not every file system can tell.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(FetchFileError::InUse);
        }
        // It got its name, and nobody was told.
        if let Ok(Some((mut file, _))) = open(whole)
            && let Ok(Ok(source)) = read::again(offer, &mut file)
        {
            return Ok(Opened::Whole(Box::new(source)));
        }
        // Before all of it is fetched for nothing.
        if whole.symlink_metadata().is_ok() {
            return Err(in_the_way(whole));
        }
        let size = offer.layout().size();
        let stored = fs::read(&state).ok().filter(|_| {
            file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
        });
        let known = stored.and_then(|stored| Fetch::load(offer.clone(), &stored).ok());
        // Else it would be taken for true next time, when the part is as long as it says.
        if known.is_none() {
            remove(&state)?;
        }
        let fetch = known.unwrap_or_else(|| Fetch::new(offer.clone()));
        let (whole, saved) = (whole.into(), Instant::now());
        let part = Self { file, part, state, whole, free, unsaved: 0, saved };
        part.has_room(&fetch)?;
        part.file.set_len(size).map_err(|error| part.refused(error))?;
        Ok(Opened::Part(part, Box::new(fetch)))
    }

    /// Writes a piece at its place.
    pub(super) fn write(&mut self, piece: &Piece) -> Result<(), FetchFileError> {
        let written = self.file.write_all_at(&piece.bytes, piece.offset);
        written.map_err(|error| self.refused(error))?;
        self.unsaved += piece.bytes.len() as u64;
        Ok(())
    }

    /// Notes what is there, where that is due, and looks whether there is room for what is not.
    pub(super) fn save_if_due(&mut self, fetch: &Fetch) -> Result<(), FetchFileError> {
        let is_due = self.unsaved >= SAVE_BYTES || self.saved.elapsed() >= SAVE_AFTER;
        if self.unsaved == 0 || !is_due {
            return Ok(());
        }
        self.save(fetch)?;
        self.has_room(fetch)
    }

    /// Notes what is there.
    pub(super) fn save(&mut self, fetch: &Fetch) -> Result<(), FetchFileError> {
        self.note(fetch).map_err(|error| self.refused(error))?;
        (self.unsaved, self.saved) = (0, Instant::now());
        Ok(())
    }

    fn note(&self, fetch: &Fetch) -> io::Result<()> {
        self.file.sync_data()?;
        let new = self.state.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&fetch.save())?;
        file.sync_all()?;
        fs::rename(&new, &self.state)
    }

    /// Whether the disk has room for what is missing.
    fn has_room(&self, fetch: &Fetch) -> Result<(), FetchFileError> {
        let progress = fetch.progress();
        let missing = progress.size.saturating_sub(progress.bytes);
        let has = (self.free)(&self.part)?;
        match fetch.is_whole() || has >= missing.saturating_add(RESERVE) {
            true => Ok(()),
            false => Err(FetchFileError::NoRoom { missing: missing.div_ceil(MIB), has: has / MIB }),
        }
    }

    /// What a write's failure means. Where the disk is full, what there is of the file makes room for the node's store, which
    /// can't even note otherwise that nobody wants it any more.
    fn refused(&self, error: io::Error) -> FetchFileError {
        if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return error.into();
        }
        // At once, whoever has it open.
        let _ = self.file.set_len(0);
        for path in [&self.state.with_extension("new"), &self.state, &self.part] {
            let _ = fs::remove_file(path);
        }
        FetchFileError::Full
    }

    /// All is there: reads it once more, and gives it its name. Where it is another file than was offered, all of it is
    /// fetched anew.
    pub(super) fn finish(mut self, offer: &Offer) -> Result<Source, FetchFileError> {
        self.file.sync_all().map_err(|error| self.refused(error))?;
        io::Seek::rewind(&mut self.file)?;
        // What can't be read today may be there tomorrow.
        let source = match read::again(offer, &mut self.file)? {
            Ok(source) => source,
            Err(changed) => {
                remove(&self.state)?;
                return Err(changed.into());
            }
        };
        let dir = self.whole.parent().unwrap_or(Path::new("/"));
        make_private(dir)?;
        name(&self.part, &self.whole)?;
        File::open(dir)?.sync_all()?;
        // What is left of it says nothing any more.
        let _ = fs::remove_file(&self.state);
        Ok(source)
    }
}

/// Gives a file its name, and takes it from no other.
fn name(part: &Path, whole: &Path) -> Result<(), FetchFileError> {
    let named = match renameat_with(CWD, part, CWD, whole, RenameFlags::NOREPLACE) {
        // Not every kind of file system can.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(part, whole).and_then(|()| fs::remove_file(part))
        }
        renamed => renamed.map_err(io::Error::from),
    };
    named.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => in_the_way(whole),
        _ => error.into(),
    })
}

fn in_the_way(whole: &Path) -> FetchFileError {
    FetchFileError::InTheWay { path: whole.to_string_lossy().into_owned() }
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// See [`Free`]: what the system says.
pub(super) fn free(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    // One that has no blocks says nothing of them.
    let is_told = disk.f_blocks > 0;
    Ok(if is_told { disk.f_bavail.saturating_mul(disk.f_frsize) } else { u64::MAX })
}

/// The numbers of those of which there are parts.
pub(super) fn left(parts: &Path) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(parts) else { return BTreeSet::new() };
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.split('.').next()?.parse().ok()
    };
    entries.filter_map(Result::ok).filter_map(number).collect()
}

/// Removes what there is of a file that nobody wants any more.
pub(super) fn forget(parts: &Path, seq: u64) {
    for name in [format!("{seq}.new"), format!("{seq}.state"), seq.to_string()] {
        // Where it can't be removed it is in nobody's way.
        let _ = fs::remove_file(parts.join(name));
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        file::Step,
        ids::{MemberId, Timestamp},
        limits::FILE_CHUNK,
    };
    use tempfile::TempDir;

    use super::*;

    const ANA: MemberId = MemberId([1; 32]);
    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const CHUNKS: usize = 5;
    /// All that the file needs.
    const ROOM: u64 = (CHUNKS * FILE_CHUNK) as u64 + RESERVE;

    struct World {
        dir: TempDir,
        content: Vec<u8>,
        source: Source,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let content: Vec<u8> = (0..CHUNKS * FILE_CHUNK).map(|n| (n % 251) as u8).collect();
            let path = dir.path().join("plan.pdf");
            fs::write(&path, &content).unwrap();
            let made = read::read(&path).unwrap();
            let source = Source::load(made.offer, &made.leaves).unwrap();
            Self { dir, content, source }
        }

        fn whole(&self) -> PathBuf {
            self.dir.path().join("files/id/plan.pdf")
        }

        fn open(&self) -> Opened {
            self.open_with(|_| Ok(ROOM)).unwrap()
        }

        fn open_with(&self, free: Free) -> Result<Opened, FetchFileError> {
            let parts = self.dir.path().join("files/parts");
            Part::open(&parts, "id", &self.whole(), self.source.offer(), free)
        }

        fn part(&self) -> (Part, Box<Fetch>) {
            match self.open() {
                Opened::Part(part, fetch) => (part, fetch),
                Opened::Whole(_) => panic!("not all is here"),
            }
        }

        /// Fetches these chunks.
        fn fetch(&self, part: &mut Part, fetch: &mut Fetch, chunks: std::ops::Range<u32>) {
            let _ = fetch.add(ANA, NOW);
            assert!(!matches!(fetch.poll(), Some(Step::Drop { .. })));
            for index in chunks {
                let chunk = &self.content[index as usize * FILE_CHUNK..][..FILE_CHUNK];
                let frame = self.source.answer(index, chunk).unwrap();
                part.write(&fetch.on_frame(&ANA, &frame, NOW).unwrap()).unwrap();
            }
        }
    }

    fn held(fetch: &Fetch) -> u64 {
        fetch.progress().bytes / FILE_CHUNK as u64
    }

    #[test]
    fn what_was_saved_is_there_after_the_end_of_a_process_and_becomes_the_file() {
        let world = World::new();
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..2);
        part.save(&fetch).unwrap();
        world.fetch(&mut part, &mut fetch, 2..3);
        drop((part, fetch));

        let (mut part, mut fetch) = world.part();
        assert_eq!(held(&fetch), 2, "what was not saved comes again");
        world.fetch(&mut part, &mut fetch, 2..5);
        assert!(!world.whole().exists());
        part.save(&fetch).unwrap();
        let source = part.finish(world.source.offer()).unwrap();
        assert_eq!(source.leaves(), world.source.leaves());
        assert_eq!(fs::read(world.whole()).unwrap(), world.content);
        assert_eq!(fs::read_dir(world.dir.path().join("files/parts")).unwrap().count(), 0);
        // And again, where nobody heard of it.
        assert!(matches!(world.open(), Opened::Whole(_)));
    }

    #[test]
    fn a_file_that_was_changed_on_the_disk_is_fetched_anew_and_not_given_its_name() {
        let world = World::new();
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..5);
        part.save(&fetch).unwrap();
        part.file.write_all_at(&[0xff], 70_000).unwrap();
        assert!(matches!(part.finish(world.source.offer()), Err(FetchFileError::Changed(_))));
        assert!(!world.whole().exists());
        assert_eq!(held(&world.part().1), 0);
    }

    #[test]
    fn another_file_of_that_name_is_left_alone_and_what_was_fetched_is_kept() {
        let world = World::new();
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..5);
        part.save(&fetch).unwrap();
        make_private(world.whole().parent().unwrap()).unwrap();
        fs::write(world.whole(), b"notes of my own").unwrap();
        let refused = part.finish(world.source.offer()).err().unwrap();
        assert!(matches!(refused, FetchFileError::InTheWay { .. }), "{refused}");
        assert_eq!(fs::read(world.whole()).unwrap(), b"notes of my own");

        // It is said before anything is fetched, too.
        let opened = world.open_with(|_| Ok(ROOM));
        assert!(matches!(opened, Err(FetchFileError::InTheWay { .. })));
        fs::rename(world.whole(), world.dir.path().join("mine.pdf")).unwrap();
        let (part, fetch) = world.part();
        assert!(fetch.is_whole(), "nothing of it is fetched again");
        part.finish(world.source.offer()).unwrap();
        assert_eq!(fs::read(world.whole()).unwrap(), world.content);
    }

    #[test]
    fn what_another_process_still_has_open_is_left_to_it_and_found_whole_after_it() {
        let world = World::new();
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..5);
        part.save(&fetch).unwrap();
        let two = world.open_with(|_| Ok(ROOM));
        assert!(two.is_err_and(|error| error.passes_in() == Some(SOON)));
        part.finish(world.source.offer()).unwrap();
        assert!(matches!(world.open(), Opened::Whole(_)));
    }

    #[test]
    fn what_the_disk_has_no_room_for_is_not_begun_and_what_was_begun_stays() {
        let world = World::new();
        let refused = world.open_with(|_| Ok(ROOM - 1)).err().unwrap();
        assert_eq!(refused.passes_in(), None, "a person is to make room");
        let FetchFileError::NoRoom { missing, has } = refused else { panic!("{refused}") };
        assert_eq!((missing, has), (1, 256));
        let words = "1 MiB are still to come, 256 MiB are to stay free";
        assert!(refused.to_string().contains(words), "{refused}");

        // Others take the room meanwhile.
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..2);
        part.free = |_| Ok(RESERVE);
        part.unsaved = SAVE_BYTES;
        let refused = part.save_if_due(&fetch);
        assert!(matches!(refused, Err(FetchFileError::NoRoom { .. })));
        drop((part, fetch));
        let opened = world.open_with(|_| Ok(ROOM - 2 * FILE_CHUNK as u64));
        let Ok(Opened::Part(mut part, mut fetch)) = opened else { panic!("not all is here") };
        assert_eq!(held(&fetch), 2);

        // What is all there needs none.
        world.fetch(&mut part, &mut fetch, 2..5);
        part.save(&fetch).unwrap();
        drop((part, fetch));
        assert!(matches!(world.open_with(|_| Ok(0)), Ok(Opened::Part(..))));
    }

    #[test]
    fn a_write_that_fails_for_want_of_room_gives_back_all_that_was_taken() {
        let world = World::new();
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..3);
        part.save(&fetch).unwrap();
        let piece = Piece { offset: 0, bytes: vec![7] };
        // As of a disk that fails: nothing is lost by it.
        part.file = File::open("/dev/full").unwrap();
        let refused = part.write(&piece);
        assert!(refused.is_err_and(|error| error.passes_in() == Some(AGAIN)));
        assert_eq!(held(&world.part().1), 3);

        part.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let refused = part.write(&piece);
        assert!(matches!(refused, Err(FetchFileError::Full)), "{refused:?}");
        assert_eq!(fs::read_dir(world.dir.path().join("files/parts")).unwrap().count(), 0);
    }

    #[test]
    fn all_that_is_left_of_a_file_is_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["7", "7.state", "7.new", "12.new", "9", "notes"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        assert_eq!(left(dir.path()), BTreeSet::from([7, 9, 12]));
        [7, 12].into_iter().for_each(|seq| forget(dir.path(), seq));
        assert_eq!(left(dir.path()), BTreeSet::from([9]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(left(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn a_state_without_its_part_counts_for_nothing() {
        let world = World::new();
        let (mut part, mut fetch) = world.part();
        world.fetch(&mut part, &mut fetch, 0..3);
        part.save(&fetch).unwrap();
        fs::remove_file(world.dir.path().join("files/parts/id")).unwrap();
        assert_eq!(held(&world.part().1), 0);
        // The part is as long as it says by now, and has nothing but zeros.
        assert_eq!(held(&world.part().1), 0);
    }
}
