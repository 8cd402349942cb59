//! A file that is not all here yet: what there is of it, and which parts that is.
//!
//! > Which parts there are is written only after the parts are on the disk: what is said to be there is there, also after
//! > a loss of power. The file has its name only when all of it was read again and is what was offered.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use protocol::file::{Fetch, Offer, Piece, Source};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::{
    make_private, open,
    read::{self, ReadFileError},
};

/// The parts of one file on the disk.
pub(super) struct Part {
    file: File,
    part: PathBuf,
    state: PathBuf,
    whole: PathBuf,
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

/// After so many bytes it is written what is there, or after so long.
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
    ) -> Result<Opened, ReadFileError> {
        let (part, state) = (parts.join(key), parts.join(format!("{key}.state")));
        // It got its name, and nobody was told.
        if let Ok(Some((mut file, _))) = open(whole)
            && let Ok(source) = read::again(offer, &mut file)
        {
            return Ok(Opened::Whole(Box::new(source)));
        }
        // Before all of it is fetched for nothing.
        if whole.symlink_metadata().is_ok() {
            return Err(in_the_way(whole));
        }
        make_private(parts)?;
        let size = offer.layout().size();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(&part)?;
        let stored = fs::read(&state).ok().filter(|_| {
            file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
        });
        let known = stored.and_then(|stored| Fetch::load(offer.clone(), &stored).ok());
        file.set_len(size)?;
        let fetch = known.unwrap_or_else(|| Fetch::new(offer.clone()));
        let whole = whole.into();
        let part = Self { file, part, state, whole, unsaved: 0, saved: Instant::now() };
        Ok(Opened::Part(part, Box::new(fetch)))
    }

    /// Writes a piece at its place.
    pub(super) fn write(&mut self, piece: &Piece) -> io::Result<()> {
        self.file.write_all_at(&piece.bytes, piece.offset)?;
        self.unsaved += piece.bytes.len() as u64;
        Ok(())
    }

    /// Notes what is there, where that is due.
    pub(super) fn save_if_due(&mut self, fetch: &Fetch) -> io::Result<()> {
        let is_due = self.unsaved >= SAVE_BYTES || self.saved.elapsed() >= SAVE_AFTER;
        if self.unsaved > 0 && is_due { self.save(fetch) } else { Ok(()) }
    }

    /// Notes what is there.
    pub(super) fn save(&mut self, fetch: &Fetch) -> io::Result<()> {
        self.file.sync_data()?;
        let new = self.state.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&fetch.save())?;
        file.sync_all()?;
        fs::rename(&new, &self.state)?;
        (self.unsaved, self.saved) = (0, Instant::now());
        Ok(())
    }

    /// All is there: reads it once more, and gives it its name. Where it is another file than was offered, all of it is
    /// fetched anew.
    pub(super) fn finish(mut self, offer: &Offer) -> Result<Source, ReadFileError> {
        self.file.sync_all()?;
        io::Seek::rewind(&mut self.file)?;
        let source = match read::again(offer, &mut self.file) {
            Ok(source) => source,
            Err(error) => {
                // What can't be read today may be there tomorrow.
                if matches!(error, ReadFileError::Changed(_)) {
                    fs::remove_file(&self.state)?;
                }
                return Err(error);
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
fn name(part: &Path, whole: &Path) -> Result<(), ReadFileError> {
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

fn in_the_way(whole: &Path) -> ReadFileError {
    ReadFileError::InTheWay { path: whole.to_string_lossy().into_owned() }
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
            let parts = self.dir.path().join("files/parts");
            Part::open(&parts, "id", &self.whole(), self.source.offer()).unwrap()
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
        assert!(matches!(part.finish(world.source.offer()), Err(ReadFileError::Changed(_))));
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
        assert!(matches!(refused, ReadFileError::InTheWay { .. }), "{refused}");
        assert_eq!(fs::read(world.whole()).unwrap(), b"notes of my own");

        // It is said before anything is fetched, too.
        let parts = world.dir.path().join("files/parts");
        let opened = Part::open(&parts, "id", &world.whole(), world.source.offer());
        assert!(matches!(opened, Err(ReadFileError::InTheWay { .. })));
        fs::rename(world.whole(), world.dir.path().join("mine.pdf")).unwrap();
        let (part, fetch) = world.part();
        assert!(fetch.is_whole(), "nothing of it is fetched again");
        part.finish(world.source.offer()).unwrap();
        assert_eq!(fs::read(world.whole()).unwrap(), world.content);
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
    }
}
