//! Files: their bytes, from the disk to members and from members to the disk.
//!
//! ```text
//! wattle file send ─► read ─► core: a message offers it          streams that members open ─► give
//! wattle file get ─► core: it is wanted ─► looked at, once a second ─► fetch ─► part ─► whole
//!                                                                      └─► afar, where next to nothing comes directly
//! ```
//!
//! > The core says what is wanted, of whom, and who may have what; here nothing is decided. What is not here after
//! > a crash is fetched again, and nothing else.
//!
//! What is fetched is in `<data-dir>/files`: `<message's id>/<name>` when it is whole, and before that in `parts`. A file
//! that is offered stays where it is. The store has no path of what is still being fetched, and of what is in the data directory the
//! one within it: a directory that is moved or copied goes on by itself.

mod afar;
mod fetch;
mod give;
mod part;
mod read;
mod sources;
mod sweep;
mod thread;
mod turns;
mod whom;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::file::Progress;
use rustix::fs::OFlags;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{self, JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use self::read::ReadFileError;
use self::{
    afar::Going,
    sources::{Opens, Sources},
    sweep::Sweep,
    turns::{Seen, Turns, Waiting},
    whom::Whom,
};
use crate::{
    api::types::{FileStanding, FileView},
    core::{Givers, Made, Wanted},
    driver::Handle,
    net::{Circuits, FileStream, mesh::MeshCommand},
    store::hex,
};

/// The files of a node that runs; cheap to clone.
#[derive(Clone)]
pub struct Files {
    /// The node's data directory.
    data_dir: PathBuf,
    shared: Arc<Shared>,
}

/// What the task needs.
pub struct Config {
    /// Asks the core.
    pub handle: Handle,
    /// Opens streams that go directly; none without direct connections.
    pub mesh: Option<mpsc::Sender<MeshCommand>>,
    /// Makes circuits.
    pub circuits: Circuits,
    /// The streams that members open, and what takes those on circuits.
    pub fetchers: (mpsc::Sender<FileStream>, mpsc::Receiver<FileStream>),
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// When to end.
    pub stop: CancellationToken,
}

#[derive(Default)]
struct Shared {
    /// How far what is being fetched is, by its message's number.
    standing: Mutex<BTreeMap<u64, Standing>>,
    /// Until when those are left alone that failed for a while, and are tried again by themselves.
    paused: Mutex<BTreeMap<u64, Instant>>,
    /// Who is asked for it.
    asked: Mutex<BTreeMap<u64, Arc<Mutex<Whom>>>>,
    /// What is wanted has changed.
    changed: Notify,
}

/// How far a file is.
#[derive(Clone, Default)]
struct Standing {
    progress: Option<Progress>,
    problem: String,
    /// Why nothing of it comes.
    waits: String,
    /// It is not tried again before somebody asks for it again.
    failed: bool,
}

/// A file that is being fetched.
struct Fetching {
    /// Which of those that there were of this file, one after the other.
    task: task::Id,
    givers: watch::Sender<Givers>,
    cancel: CancellationToken,
}

/// Members that are given files at one time, all together.
const GIVEN: usize = 64;
/// Where what is fetched is, in the data directory.
const DIR: &str = "files";
/// Where what is not whole is, in there.
const PARTS: &str = "parts";
/// How often it is looked what is wanted, and who could give it.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to give and to fetch. Must be called inside a tokio runtime.
pub fn spawn(config: Config) -> Files {
    let data_dir =
        std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let files = Files { data_dir, shared: Arc::default() };
    tokio::spawn(run(config, files.clone()));
    files
}

impl Files {
    /// Where a file is of which the store has this path.
    #[must_use]
    pub fn at(&self, path: &Path) -> PathBuf {
        self.data_dir.join(path)
    }

    /// Reads a file to offer it. It blocks, for long where the file is large. The node's own are refused, but for those
    /// that it has fetched.
    pub fn read(&self, path: &Path) -> Result<Made, ReadFileError> {
        let (path, own) = (path.canonicalize()?, self.data_dir.canonicalize()?);
        let Ok(inside) = path.strip_prefix(&own) else { return read::read(&path) };
        if !inside.starts_with(DIR) || inside.starts_with(Path::new(DIR).join(PARTS)) {
            return Err(ReadFileError::Own);
        }
        Ok(Made { path: inside.into(), ..read::read(&path)? })
    }

    /// Whether a file is on the disk no more. It blocks.
    #[must_use]
    pub fn is_gone(&self, path: &Path) -> bool {
        let looked = self.at(path).symlink_metadata();
        looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Removes fetched files, with the directories that are left empty; of what is not in the data directory nothing. What can't be
    /// removed is logged, without its name.
    pub fn remove(&self, paths: &[PathBuf]) {
        let own = self.data_dir.join(DIR);
        for path in paths.iter().map(|path| self.at(path)).filter(|path| path.starts_with(&own)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "a fetched file can't be removed");
                }
                _ => {
                    let folder = path.parent().filter(|folder| *folder != own);
                    drop(folder.map(fs::remove_dir));
                }
            }
        }
    }

    /// Has it looked at once what is wanted now.
    pub fn look(&self) {
        self.shared.changed.notify_one();
    }

    /// Forgets why a file did not go on, so that it is tried again. How far it is, is as it was.
    pub fn retry(&self, seq: u64) {
        if let Some(standing) = self.standing().get_mut(&seq) {
            *standing = Standing { progress: standing.progress, ..Standing::default() };
        }
        self.paused().remove(&seq);
        if let Some(whom) = lock(&self.shared.asked).get(&seq) {
            lock(whom).wake();
        }
        self.look();
    }

    /// Adds how far it is, and where.
    #[must_use]
    pub fn with_progress(&self, mut view: FileView) -> FileView {
        view.path = view.path.map(|path| self.at(path.as_ref()).to_string_lossy().into_owned());
        if view.state == FileStanding::Fetching
            && !view.failed
            && let Some(Standing { progress, problem, waits, failed }) =
                self.standing().get(&view.seq).cloned()
        {
            view.bytes = progress.map_or(0, |progress| progress.bytes);
            view.sources = progress.map_or(0, |progress| progress.sources as u64);
            (view.problem, view.waits, view.failed) = (problem, waits, failed);
        }
        view
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<u64, Standing>> {
        lock(&self.shared.standing)
    }

    /// Who is asked for a file, in all of its turns.
    fn whom(&self, seq: u64) -> Arc<Mutex<Whom>> {
        let new = || Arc::new(Mutex::new(Whom::new(Instant::now())));
        Arc::clone(lock(&self.shared.asked).entry(seq).or_insert_with(new))
    }

    fn paused(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        // Each change is one call.
        self.shared.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once more of it is there, what was said of who gave it counts no more.
    fn progressed(&self, seq: u64, progress: Progress) {
        let mut standing = self.standing();
        let standing = standing.entry(seq).or_default();
        if standing.progress.is_some_and(|before| before.bytes < progress.bytes) {
            standing.problem.clear();
        }
        if progress.sources > 0 {
            standing.waits.clear();
        }
        standing.progress = Some(progress);
    }

    /// Nobody is asked for it just now.
    fn rests(&self, seq: u64) {
        if let Some(Standing { progress: Some(progress), .. }) = self.standing().get_mut(&seq) {
            progress.sources = 0;
        }
    }

    /// It is said why it does not go on, and it is tried all the same.
    fn complain(&self, seq: u64, problem: String) {
        self.standing().entry(seq).or_default().problem = problem;
    }

    /// It is said why nothing of it comes.
    fn waits(&self, seq: u64, why: String) {
        self.standing().entry(seq).or_default().waits = why;
    }

    /// That is not so any more, if it was said.
    fn waits_no_more(&self, seq: u64, why: &str) {
        if let Some(standing) = self.standing().get_mut(&seq).filter(|it| it.waits == why) {
            standing.waits.clear();
        }
    }

    fn failed(&self, seq: u64, problem: String) {
        let failed = Standing { problem, failed: true, ..Standing::default() };
        *self.standing().entry(seq).or_default() = failed;
    }

    /// It does not go on, and is tried again by itself in a while.
    fn pauses(&self, seq: u64, problem: String, until: Instant) {
        self.complain(seq, problem);
        self.paused().insert(seq, until);
    }

    fn has_failed(&self, seq: u64) -> bool {
        self.standing().get(&seq).is_some_and(|standing| standing.failed)
    }

    /// Whether it is tried now.
    fn is_tried(&self, seq: u64, now: Instant) -> bool {
        let mut paused = self.paused();
        paused.retain(|_, until| *until > now);
        !paused.contains_key(&seq) && !self.has_failed(seq)
    }

    fn forget(&self, seq: u64) {
        self.standing().remove(&seq);
        self.paused().remove(&seq);
    }

    fn bytes(&self, seq: u64) -> u64 {
        let standing = self.standing();
        let progress = standing.get(&seq).and_then(|standing| standing.progress);
        progress.map_or(0, |progress| progress.bytes)
    }

    /// How one is under way.
    fn seen(&self, seq: u64, givers: &Givers, now: Instant) -> Seen {
        let (bytes, is_near, whom) = (self.bytes(seq), !givers.near.is_empty(), self.whom(seq));
        let whom = lock(&whom);
        Seen { bytes, is_near, has_circuit: whom.has_circuit(), waits: whom.waits(now) }
    }

    fn parts(&self) -> PathBuf {
        self.data_dir.join(DIR).join(PARTS)
    }
}

async fn run(config: Config, files: Files) {
    let Config { handle, mesh, circuits, fetchers: (fetched_by, mut fetchers), stop, .. } = config;
    let mut going = Going::new(circuits.clone(), fetched_by);
    let (mut given, mut fetched) = (JoinSet::new(), JoinSet::new());
    let (sources, mut opens) = (Sources::default(), Opens::default());
    let mut fetching: BTreeMap<u64, Fetching> = BTreeMap::new();
    let mut turns = Turns::default();
    let parts = files.parts();
    let left = spawn_blocking(move || part::left(&parts)).await.unwrap_or_default();
    let mut sweep = Sweep::new(files.parts(), left);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(stream) = fetchers.recv() => {
                if given.len() < GIVEN && opens.may(stream.member(), Instant::now()) {
                    let (files, sources) = (files.clone(), sources.clone());
                    given.spawn(give::give(files, sources, handle.clone(), stream));
                }
                continue;
            }
            Some(ended) = given.join_next() => {
                if let Ok(Some(member)) = ended {
                    opens.gave(&member);
                }
                continue;
            }
            () = going.ended() => continue,
            Some(ended) = fetched.join_next_with_id() => {
                // One that has panicked has let go of everything that it held.
                let task = ended.map_or_else(|error| error.id(), |(task, ())| task);
                let over = fetching.iter().find(|(_, it)| it.task == task).map(|(seq, _)| *seq);
                if let Some(seq) = over {
                    fetching.remove(&seq);
                    turns.end(seq);
                    files.rests(seq);
                }
            }
            () = sweep.over() => {}
            () = files.shared.changed.notified() => {}
            _ = look.tick() => {}
        }
        // A core that ends answers late, or never.
        let wanted = tokio::select! {
            () = stop.cancelled() => return,
            wanted = handle.call(|core, _| (core.wanted_files(), core.summons())) => wanted,
        };
        let Ok((wanted, summons)) = wanted else { continue };
        summons.into_iter().flatten().for_each(|summons| going.go(summons));
        let Ok(mut wanted) = wanted else { continue };
        let all: BTreeSet<u64> = wanted.iter().map(|wanted| wanted.seq).collect();
        let unwanted = fetching.iter().filter(|(seq, _)| !all.contains(*seq));
        unwanted.for_each(|(_, it)| it.cancel.cancel());
        // The others end first: what one writes is not removed before.
        for seq in sweep.begin(&all, |seq| fetching.contains_key(&seq)) {
            turns.forget(seq);
            files.forget(seq);
            lock(&files.shared.asked).remove(&seq);
        }
        let now = Instant::now();
        wanted.retain(|wanted| match fetching.get(&wanted.seq) {
            Some(it) => {
                it.givers.send_replace(wanted.givers.clone());
                false
            }
            None => files.is_tried(wanted.seq, now) && !sweep.is_at(wanted.seq),
        });
        for (seq, it) in &fetching {
            turns.see(*seq, files.seen(*seq, &it.givers.borrow(), now), now);
        }
        let begun = turns.begin(waiting(&wanted), now);
        wanted.retain(|wanted| {
            let begins = begun.contains(&wanted.seq);
            if begins {
                let (givers, told) = watch::channel(wanted.givers.clone());
                let cancel = stop.child_token();
                let fetch = fetch::Fetching {
                    seq: wanted.seq,
                    offer: wanted.offer.clone(),
                    path: place(wanted),
                    givers: told,
                    cancel: cancel.clone(),
                    files: files.clone(),
                    whom: files.whom(wanted.seq),
                    ways: fetch::Ways {
                        handle: handle.clone(),
                        mesh: mesh.clone(),
                        circuits: circuits.clone(),
                        group: wanted.group,
                        file: wanted.offer.id(),
                        vain: 0,
                    },
                };
                let task = fetched.spawn(fetch.run()).id();
                fetching.insert(wanted.seq, Fetching { task, givers, cancel });
            }
            !begins
        });
        // Where others wait, one that gets nowhere goes on another time.
        for seq in turns.stuck(&waiting(&wanted), now) {
            if let Some(it) = fetching.get(&seq) {
                it.cancel.cancel();
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is one call or one assignment.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits for a place, of what is not under way.
fn waiting(wanted: &[Wanted]) -> Waiting {
    let (near, afar): (Vec<&Wanted>, Vec<&Wanted>) =
        wanted.iter().partition(|wanted| !wanted.givers.near.is_empty());
    let seqs = |those: Vec<&Wanted>| those.iter().map(|wanted| wanted.seq).collect();
    Waiting { near: seqs(near), afar: seqs(afar) }
}

/// Where a file is to be once it is here, in the data directory.
fn place(wanted: &Wanted) -> PathBuf {
    Path::new(DIR).join(hex(&wanted.id)).join(wanted.offer.name().to_save().as_str())
}

/// Opens a file to read it; what is no file is refused, and nobody waits for who might write to it.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some((file, metadata.len())))
}

/// Makes a directory that is its owner's alone, with those above it.
fn make_private(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ON_THE_WAY: Progress = Progress { bytes: 5, size: 9, sources: 1 };

    fn files(data_dir: &Path) -> Files {
        Files { data_dir: data_dir.into(), shared: Arc::default() }
    }

    #[test]
    fn what_is_the_nodes_own_is_not_sent_and_what_it_fetched_is() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let files = files(&data);
        let (key, part) = (data.join("key"), data.join("files/parts/7"));
        let (here, link) = (data.join("files/id/plan.pdf"), dir.path().join("link"));
        let outside = dir.path().canonicalize().unwrap().join("plan.pdf");
        fs::create_dir_all(data.join("files/parts")).unwrap();
        fs::create_dir_all(data.join("files/id")).unwrap();
        for path in [&key, &part, &here, &outside] {
            fs::write(path, b"bytes").unwrap();
        }
        std::os::unix::fs::symlink(&key, &link).unwrap();
        for own in [&key, &part, &link] {
            assert!(matches!(files.read(own), Err(ReadFileError::Own)), "{}", own.display());
        }
        assert_eq!(files.read(&outside).unwrap().path, outside);
        let made = files.read(&here).unwrap();
        assert_eq!(made.path, Path::new("files/id/plan.pdf"));
        assert_eq!(files.at(&made.path), here);
    }

    #[test]
    fn a_data_directory_that_was_moved_has_its_files_where_it_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let stored = Path::new("files/id/plan.pdf");
        let (old, new) = (files(&dir.path().join("old")), files(&dir.path().join("new")));
        fs::create_dir_all(old.at(stored).parent().unwrap()).unwrap();
        fs::write(old.at(stored), b"bytes").unwrap();
        assert!(!old.is_gone(stored));
        fs::rename(&old.data_dir, &new.data_dir).unwrap();
        assert!(old.is_gone(stored) && !new.is_gone(stored));
    }

    #[test]
    fn a_complaint_stands_until_more_is_here_and_a_failure_until_somebody_asks_again() {
        let files = files(Path::new("/none"));
        files.progressed(7, ON_THE_WAY);
        files.complain(7, "it lies".into());
        files.progressed(7, ON_THE_WAY);
        let problem = || files.standing().get(&7).unwrap().problem.clone();
        assert_eq!(problem(), "it lies");
        assert!(!files.has_failed(7), "it is tried again");
        files.progressed(7, Progress { bytes: 6, ..ON_THE_WAY });
        assert_eq!(problem(), "");
        files.waits(7, "no relay".into());
        assert_eq!(files.standing().get(&7).unwrap().waits, "no relay");
        files.progressed(7, Progress { bytes: 6, ..ON_THE_WAY });
        assert_eq!(files.standing().get(&7).unwrap().waits, "", "somebody gives it");
        files.rests(7);
        assert_eq!(files.standing().get(&7).unwrap().progress.unwrap().sources, 0);
        files.failed(7, "no room".into());
        assert!(files.has_failed(7));
        files.retry(7);
        assert!(!files.has_failed(7));
    }

    #[test]
    fn what_fails_for_a_while_is_tried_again_by_itself_and_at_once_for_who_asks() {
        let (files, now) = (files(Path::new("/none")), Instant::now());
        let (before, then) = (now + LOOK, now + 2 * LOOK);
        files.progressed(7, ON_THE_WAY);
        files.pauses(7, "too many open files".into(), then);
        assert!(!files.has_failed(7));
        assert_eq!(files.standing().get(&7).unwrap().problem, "too many open files");
        assert!(!files.is_tried(7, before) && files.is_tried(8, before));
        assert!(files.is_tried(7, then));
        files.pauses(7, "too many open files".into(), then);
        files.retry(7);
        assert!(files.is_tried(7, before));
        files.failed(7, "no room".into());
        assert!(!files.is_tried(7, then + LOOK));
    }

    #[test]
    fn who_asks_again_changes_nothing_of_how_far_a_file_is() {
        let files = files(Path::new("/none"));
        files.progressed(7, ON_THE_WAY);
        files.complain(7, "it lies".into());
        files.retry(7);
        assert_eq!(files.bytes(7), ON_THE_WAY.bytes);
        assert_eq!(files.standing().get(&7).unwrap().problem, "");
        files.retry(8);
        assert!(!files.standing().contains_key(&8));
    }
}
