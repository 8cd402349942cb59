//! Files: their bytes, from the disk to members and from members to the disk.
//!
//! ```text
//! wattle file send ─► read ─► core: a message offers it          streams that members open ─► give
//! wattle file get ─► core: it is wanted ─► looked at, once a second ─► fetch ─► part ─► whole
//! ```
//!
//! > The core says what is wanted, of whom, and who may have what; here nothing is decided. What is not here after
//! > a crash is fetched again, and nothing else.
//!
//! What is fetched is in `<data-dir>/files`: `<message's id>/<name>` when it is whole, and before that in `parts`. A file
//! that is offered stays where it is.

mod fetch;
mod give;
mod part;
mod read;

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{
    file::{Offer, Progress},
    ids::MemberId,
};
use rustix::fs::OFlags;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

pub use self::read::{ReadFileError, read};
use crate::{
    api::types::{FileStanding, FileView},
    core::Wanted,
    driver::Handle,
    net::{FileStream, mesh::MeshCommand},
};

/// The files of a node that runs; cheap to clone.
#[derive(Clone)]
pub struct Files {
    dir: PathBuf,
    shared: Arc<Shared>,
}

/// What the task needs.
pub struct Config {
    /// Asks the core.
    pub handle: Handle,
    /// Opens streams; none without direct connections.
    pub mesh: Option<mpsc::Sender<MeshCommand>>,
    /// The streams that members open.
    pub fetchers: mpsc::Receiver<FileStream>,
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// When to end.
    pub stop: CancellationToken,
}

#[derive(Default)]
struct Shared {
    /// How far what is being fetched is, by its message's number.
    standing: Mutex<BTreeMap<u64, Standing>>,
    /// What is wanted has changed.
    changed: Notify,
}

/// How far a file is.
#[derive(Clone, Default)]
struct Standing {
    progress: Option<Progress>,
    problem: String,
}

/// A file that is being fetched.
struct Fetching {
    givers: watch::Sender<Vec<MemberId>>,
    cancel: CancellationToken,
}

/// Members that are given files at one time, all together.
const GIVEN: usize = 64;
/// Files that are fetched at one time; others wait.
const FETCHED: usize = 4;
/// How often it is looked what is wanted, and who could give it.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to give and to fetch. Must be called inside a tokio runtime.
pub fn spawn(config: Config) -> Files {
    let dir = config.data_dir.join("files");
    let files = Files { dir, shared: Arc::default() };
    tokio::spawn(run(config, files.clone()));
    files
}

impl Files {
    /// Where an offered file is to be once it is here. `id` is that of its message.
    #[must_use]
    pub fn place(&self, id: &str, offer: &Offer) -> PathBuf {
        self.dir.join(id).join(offer.name().as_str())
    }

    /// Has it looked at once what is wanted now.
    pub fn look(&self) {
        self.shared.changed.notify_one();
    }

    /// Forgets why a file did not go on, so that it is tried again.
    pub fn retry(&self, seq: u64) {
        self.standing().remove(&seq);
        self.look();
    }

    /// Adds how far it is.
    #[must_use]
    pub fn with_progress(&self, mut view: FileView) -> FileView {
        if view.state == FileStanding::Fetching
            && let Some(Standing { progress, problem }) = self.standing().get(&view.seq).cloned()
        {
            view.bytes = progress.map_or(0, |progress| progress.bytes);
            view.sources = progress.map_or(0, |progress| progress.sources as u64);
            view.problem = problem;
        }
        view
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<u64, Standing>> {
        // Each change is one assignment.
        self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progressed(&self, seq: u64, progress: Progress) {
        self.standing().entry(seq).or_default().progress = Some(progress);
    }

    fn failed(&self, seq: u64, problem: String) {
        *self.standing().entry(seq).or_default() = Standing { progress: None, problem };
    }

    fn has_failed(&self, seq: u64) -> bool {
        self.standing().get(&seq).is_some_and(|standing| !standing.problem.is_empty())
    }

    /// Forgets how far what nobody wants any more is; gives it, but for what still ends.
    fn unwanted(&self, is_wanted: impl Fn(&u64) -> bool, ends: impl Fn(&u64) -> bool) -> Vec<u64> {
        let mut standing = self.standing();
        let unwanted = |seq: &&u64| !is_wanted(seq) && !ends(seq);
        let unwanted: Vec<u64> = standing.keys().filter(unwanted).copied().collect();
        unwanted.iter().for_each(|seq| drop(standing.remove(seq)));
        unwanted
    }

    fn parts(&self) -> PathBuf {
        self.dir.join("parts")
    }
}

async fn run(config: Config, files: Files) {
    let Config { handle, mesh, mut fetchers, stop, .. } = config;
    let (mut given, mut fetched) = (JoinSet::new(), JoinSet::new());
    let mut fetching: BTreeMap<u64, Fetching> = BTreeMap::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(stream) = fetchers.recv() => {
                if given.len() < GIVEN {
                    given.spawn(give::give(handle.clone(), stream));
                }
                continue;
            }
            Some(_) = given.join_next() => continue,
            Some(ended) = fetched.join_next() => match ended {
                Ok(seq) => drop(fetching.remove(&seq)),
                // It has panicked: everything that it held is gone with it.
                Err(_) => fetching.retain(|_, it| !it.givers.is_closed()),
            },
            () = files.shared.changed.notified() => {}
            _ = look.tick() => {}
        }
        // A core that ends answers late, or never.
        let wanted = tokio::select! {
            () = stop.cancelled() => return,
            wanted = handle.call(|core, _| core.wanted_files()) => wanted,
        };
        let (Ok(Ok(wanted)), Some(mesh)) = (wanted, &mesh) else { continue };
        // Its place is free once its thread has ended.
        let is_wanted = |seq: &u64| wanted.iter().any(|wanted| wanted.seq == *seq);
        fetching.iter().filter(|(seq, _)| !is_wanted(seq)).for_each(|(_, it)| it.cancel.cancel());
        for seq in files.unwanted(is_wanted, |seq| fetching.contains_key(seq)) {
            let parts = files.parts();
            // Before it may be wanted again.
            let _ = spawn_blocking(move || part::forget(&parts, seq)).await;
        }
        for wanted in wanted {
            let Wanted { seq, offer, path, givers } = wanted;
            if let Some(it) = fetching.get(&seq) {
                it.givers.send_replace(givers);
            } else if fetching.len() < FETCHED && !files.has_failed(seq) {
                let (givers, told) = watch::channel(givers);
                let cancel = stop.child_token();
                fetching.insert(seq, Fetching { givers, cancel: cancel.clone() });
                let fetch = fetch::Fetching {
                    seq,
                    offer,
                    path,
                    givers: told,
                    cancel,
                    files: files.clone(),
                    handle: handle.clone(),
                    mesh: mesh.clone(),
                };
                fetched.spawn(fetch.run());
            }
        }
    }
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
