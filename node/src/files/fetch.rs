//! One file that is fetched: streams to those who may have it, and a thread that owns what there is of it.
//!
//! ```text
//! a task for each giver ── frames ─► the thread: checks, writes, asks ── frames ─► the giver's task
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{
    file::{Fault, Fetch, Offer, Refusal, Source, Step},
    ids::{MemberId, Timestamp},
    limits::FILE_SOURCES,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Files,
    part::{self, AGAIN, FetchFileError, Free, Opened, Part},
};
use crate::{
    driver::Handle,
    net::{FileEnd, mesh::MeshCommand},
};

/// A file that is to be fetched.
pub(super) struct Fetching {
    pub(super) seq: u64,
    pub(super) offer: Offer,
    /// Where it is to be, in the data directory.
    pub(super) path: PathBuf,
    /// Members who may have it, and with whom a channel stands.
    pub(super) givers: watch::Receiver<Vec<MemberId>>,
    /// Ends it; with the node, or since nobody wants the file any more.
    pub(super) cancel: CancellationToken,
    pub(super) files: Files,
    pub(super) handle: Handle,
    pub(super) mesh: mpsc::Sender<MeshCommand>,
}

/// Owns what there is of the file.
struct Thread {
    files: Files,
    seq: u64,
    offer: Offer,
    /// Where it is to be.
    whole: PathBuf,
    shut_out: ShutOut,
    free: Free,
    now: Clock,
}

/// Tells how long a silence is.
type Clock = Box<dyn Fn() -> Timestamp + Send>;

/// What the thread is told.
enum Event {
    /// A stream is open; what is to be said on it goes here.
    Up(MemberId, mpsc::Sender<Vec<u8>>),
    Frame(MemberId, Vec<u8>),
    Down(MemberId),
    Tick,
}

/// How a fetch ended.
enum End {
    Whole(Box<Source>),
    /// It was given up, or the node ends: it goes on another time.
    Left,
}

/// Members who gave what is not of the file, or broke the rules.
type ShutOut = Arc<Mutex<BTreeSet<MemberId>>>;

/// Until when somebody is left alone, and how long that was.
struct Rest {
    until: Instant,
    long: Duration,
}

/// Events that wait for the thread: of each member no more is read meanwhile.
const EVENTS: usize = 32;
/// The longest frame that holds no chunk, in bytes.
const SHORT: usize = 16;
/// Requests that wait for a stream.
const REQUESTS: usize = 8;
/// How often silent givers are looked for.
const TICK: Duration = Duration::from_millis(TICK_MS);
/// The same.
const TICK_MS: u64 = 1_000;
/// How long somebody is left alone who gave something, and nothing more; and who gives nothing, at most.
const REST: Duration = Duration::from_secs(1);
/// See [`REST`].
const REST_MAX: Duration = Duration::from_secs(64);

impl Fetching {
    /// Fetches it.
    pub(super) async fn run(self) {
        let Self { seq, offer, path, mut givers, cancel, files, handle, mesh } = self;
        let (events, taken) = mpsc::channel(EVENTS);
        let shut_out = ShutOut::default();
        let thread = Thread {
            files: files.clone(),
            seq,
            offer,
            whole: files.at(&path),
            shut_out: ShutOut::clone(&shut_out),
            free: part::free,
            now: clock(),
        };
        let mut thread = spawn_blocking(move || thread.run(taken));
        let mut streams: JoinSet<(MemberId, bool)> = JoinSet::new();
        let mut open: BTreeMap<MemberId, CancellationToken> = BTreeMap::new();
        let mut rests: BTreeMap<MemberId, Rest> = BTreeMap::new();
        let mut tick = interval(TICK);
        let end = loop {
            tokio::select! {
                () = cancel.cancelled() => {
                    // The thread ends when nobody can tell it anything any more.
                    streams.shutdown().await;
                    drop(events);
                    break thread.await;
                }
                end = &mut thread => break end,
                Some(ended) = streams.join_next() => {
                    if let Ok((member, gave)) = ended {
                        open.remove(&member);
                        let before = rests.get(&member).filter(|_| !gave).map(|rest| rest.long);
                        let long = before.map_or(REST, |long| (2 * long).min(REST_MAX));
                        rests.insert(member, Rest { until: Instant::now() + long, long });
                    }
                }
                _ = tick.tick() => {
                    // Where it is full the thread has enough that wakes it.
                    let _ = events.try_send(Event::Tick);
                }
                Ok(()) = givers.changed() => {}
            }
            let there = givers.borrow_and_update().clone();
            // Who may not have it any more is asked for no more of it.
            let gone = open.iter().filter(|(member, _)| !there.contains(*member));
            gone.for_each(|(_, gone)| gone.cancel());
            for member in there {
                let rests = rests.get(&member).is_some_and(|rest| rest.until > Instant::now());
                if rests || open.len() >= FILE_SOURCES || is_shut_out(&shut_out, &member) {
                    continue;
                }
                open.entry(member).or_insert_with(|| {
                    let gone = CancellationToken::new();
                    streams.spawn(stream(member, mesh.clone(), events.clone(), gone.clone()));
                    gone
                });
            }
        };
        match end {
            Ok(Ok(End::Whole(source))) => {
                let leaves = source.leaves();
                let kept =
                    handle.call(move |core, now| core.on_file_here(seq, &path, &leaves, now)).await;
                if let Ok(Err(error)) = kept {
                    // It is here: that alone is noted then.
                    files.pauses(seq, error.to_string(), Instant::now() + AGAIN);
                }
            }
            Ok(Ok(End::Left)) => {}
            Ok(Err(error)) => match error.passes_in() {
                Some(pause) => files.pauses(seq, error.to_string(), Instant::now() + pause),
                None => files.failed(seq, error.to_string()),
            },
            Err(_) => files.failed(seq, "the node has a fault".into()),
        }
    }
}

/// Carries frames between a member's stream and the thread, until one of them ends it or the member is no giver any more;
/// says of whom, and whether anything came.
async fn stream(
    member: MemberId,
    mesh: mpsc::Sender<MeshCommand>,
    events: mpsc::Sender<Event>,
    gone: CancellationToken,
) -> (MemberId, bool) {
    let mut gave = false;
    tokio::select! {
        () = gone.cancelled() => {}
        _ = carry(member, mesh, &events, &mut gave) => {}
    }
    // Of one that was never up nothing is known there.
    let _ = events.send(Event::Down(member)).await;
    (member, gave)
}

async fn carry(
    member: MemberId,
    mesh: mpsc::Sender<MeshCommand>,
    events: &mpsc::Sender<Event>,
    gave: &mut bool,
) -> Option<()> {
    let (answer, answered) = oneshot::channel();
    mesh.send(MeshCommand::FileOpen { member, answer }).await.ok()?;
    drop(mesh);
    let (mut reader, mut writer) = answered.await.ok()?.split();
    let (requests, mut asked) = mpsc::channel::<Vec<u8>>(REQUESTS);
    events.send(Event::Up(member, requests)).await.ok()?;
    let read = async {
        while let Some(frame) = reader.read(FileEnd::Fetcher).await {
            // A refusal is short.
            *gave |= frame.len() > SHORT;
            if events.send(Event::Frame(member, frame)).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some(frame) = asked.recv().await {
            if writer.write(&frame).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    Some(())
}

impl Thread {
    /// Goes on until all of it is there or nobody tells anything any more.
    fn run(self, mut events: mpsc::Receiver<Event>) -> Result<End, FetchFileError> {
        let Self { files, seq, offer, whole, shut_out, free, now } = self;
        let opened = Part::open(&files.parts(), &seq.to_string(), &whole, &offer, free)?;
        let (mut part, mut fetch) = match opened {
            Opened::Whole(source) => return Ok(End::Whole(source)),
            Opened::Part(part, fetch) => (part, fetch),
        };
        let mut requests: BTreeMap<MemberId, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
        let mut looked = now();
        files.progressed(seq, fetch.progress());
        while !fetch.is_whole() {
            let Some(event) = events.blocking_recv() else {
                part.save(&fetch)?;
                return Ok(End::Left);
            };
            take(&mut fetch, &mut part, &mut requests, event, now())?;
            // Where much comes there may be no place for a tick.
            let at = now();
            if at.0.saturating_sub(looked.0) >= TICK_MS {
                fetch.on_time(at);
                looked = at;
            }
            while let Some(step) = fetch.poll() {
                match step {
                    Step::Send { to, frame } => {
                        let sent = requests.get(&to).map(|stream| stream.try_send(frame));
                        if !matches!(sent, Some(Ok(()))) {
                            requests.remove(&to);
                            fetch.remove(&to, now());
                        }
                    }
                    Step::Drop { source, fault } => {
                        requests.remove(&source);
                        let is_shut_out = matches!(fault, Fault::Lied | Fault::Broke);
                        let has_changed = fault == Fault::Refused(Refusal::Changed);
                        if (is_shut_out || has_changed) && fetch.progress().sources == 0 {
                            let words = words(fault);
                            files.complain(seq, format!("a member was asked for it, and {words}"));
                        }
                        if is_shut_out {
                            lock(&shut_out).insert(source);
                            tracing::warn!(%source, %fault, "a member gives no file");
                        }
                    }
                }
            }
            part.save_if_due(&fetch)?;
            files.progressed(seq, fetch.progress());
        }
        drop(requests);
        part.save(&fetch)?;
        part.finish(&offer).map(|source| End::Whole(Box::new(source)))
    }
}

/// One that no change of the system's clock moves.
fn clock() -> Clock {
    let began = std::time::Instant::now();
    Box::new(move || Timestamp(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

/// What somebody did, for people.
fn words(fault: Fault) -> String {
    match fault {
        Fault::Refused(reason) => format!("does not give it: {reason}"),
        fault => fault.to_string().replacen("it ", "", 1),
    }
}

fn is_shut_out(shut_out: &ShutOut, member: &MemberId) -> bool {
    lock(shut_out).contains(member)
}

fn lock(shut_out: &ShutOut) -> MutexGuard<'_, BTreeSet<MemberId>> {
    // Each change is one call.
    shut_out.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(
    fetch: &mut Fetch,
    part: &mut Part,
    requests: &mut BTreeMap<MemberId, mpsc::Sender<Vec<u8>>>,
    event: Event,
    now: Timestamp,
) -> Result<(), FetchFileError> {
    match event {
        Event::Up(member, stream) => {
            if fetch.add(member, now).is_ok() {
                requests.insert(member, stream);
            }
        }
        Event::Frame(member, frame) => {
            if let Some(piece) = fetch.on_frame(&member, &frame, now) {
                part.write(&piece)?;
            }
        }
        Event::Down(member) => {
            requests.remove(&member);
            fetch.remove(&member, now);
        }
        // It wakes who looks at the clock.
        Event::Tick => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use protocol::{
        file::{Asked, FileName, Layout, Reading, refuse},
        limits::{FILE_CHUNK, FILE_SILENCE_MS},
    };
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;
    use crate::files::Shared;

    const ANA: MemberId = MemberId([1; 32]);
    const BEN: MemberId = MemberId([2; 32]);
    const SEQ: u64 = 7;
    const PATIENCE: Duration = Duration::from_secs(60);

    fn source(content: &[u8]) -> Source {
        let layout = Layout::new(content.len() as u64).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut reading = Reading::new(FileName::new("plan.pdf").unwrap(), layout, &mut rng);
        content.chunks(FILE_CHUNK).for_each(|chunk| reading.take(chunk).unwrap());
        reading.finish().unwrap()
    }

    struct World {
        dir: TempDir,
        files: Files,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let files = Files { data_dir: dir.path().into(), shared: Arc::<Shared>::default() };
            Self { dir, files }
        }

        /// What there is of a file, on a disk with room enough.
        fn thread(&self, offer: &Offer) -> Thread {
            Thread {
                files: self.files.clone(),
                seq: SEQ,
                offer: offer.clone(),
                whole: self.dir.path().join("plan.pdf"),
                shut_out: ShutOut::default(),
                free: |_| Ok(u64::MAX),
                now: Box::new(|| Timestamp(0)),
            }
        }
    }

    /// A member who is asked for a file says this, and the file has no other one.
    fn problem_after(answer: Vec<u8>) -> (String, bool) {
        let world = World::new();
        let thread = world.thread(source(b"bytes").offer());
        let shut_out = ShutOut::clone(&thread.shut_out);
        let (events, taken) = mpsc::channel(EVENTS);
        let (requests, _asked) = mpsc::channel(REQUESTS);
        events.try_send(Event::Up(ANA, requests)).unwrap();
        events.try_send(Event::Frame(ANA, answer)).unwrap();
        drop(events);
        assert!(matches!(thread.run(taken), Ok(End::Left)));
        let problem = world.files.standing().get(&SEQ).unwrap().problem.clone();
        (problem, is_shut_out(&shut_out, &ANA))
    }

    #[test]
    fn who_lies_or_has_another_file_by_now_is_the_problem_that_is_told() {
        let lie = source(b"other").answer(0, b"other").unwrap();
        let (problem, shut_out) = problem_after(lie);
        assert!(problem.contains("not of the file") && shut_out, "{problem}");
        let (problem, shut_out) = problem_after(refuse(Refusal::Changed));
        assert!(problem.contains("has changed") && !shut_out, "{problem}");
        assert_eq!(problem_after(refuse(Refusal::Unknown)), (String::new(), false));
    }

    #[test]
    fn a_file_that_the_disk_has_no_room_for_is_asked_of_nobody() {
        let world = World::new();
        let mut thread = world.thread(source(b"bytes").offer());
        thread.free = |_| Ok(0);
        let (events, taken) = mpsc::channel(EVENTS);
        let (requests, mut asked) = mpsc::channel(REQUESTS);
        events.try_send(Event::Up(ANA, requests)).unwrap();
        drop(events);
        assert!(matches!(thread.run(taken), Err(FetchFileError::NoRoom { .. })));
        assert!(asked.try_recv().is_err());
    }

    #[test]
    fn who_is_silent_is_left_however_much_others_say() {
        let (world, source) = (World::new(), source(&[7; 20 * FILE_CHUNK]));
        let mut thread = world.thread(source.offer());
        let ms = AtomicU64::new(0);
        thread.now = Box::new(move || Timestamp(ms.fetch_add(TICK_MS, Ordering::Relaxed)));
        let (events, taken) = mpsc::channel(64);
        let (of_ana, _asked) = mpsc::channel(REQUESTS);
        let (of_ben, mut asked) = mpsc::channel(REQUESTS);
        events.try_send(Event::Up(ANA, of_ana)).unwrap();
        for _ in 0..FILE_SILENCE_MS / TICK_MS {
            events.try_send(Event::Down(BEN)).unwrap();
        }
        events.try_send(Event::Up(BEN, of_ben)).unwrap();
        drop(events);
        assert!(matches!(thread.run(taken), Ok(End::Left)));
        // Of what Ana owes, Ben were asked for a few chunks.
        let frame = asked.try_recv().unwrap();
        let mut serving = Asked::read(&frame).unwrap().serve(&source).unwrap();
        assert_eq!(std::iter::from_fn(|| serving.poll()).count(), 20);
    }

    #[tokio::test]
    async fn who_is_no_giver_any_more_keeps_no_stream() {
        let world = World::new();
        let (givers, told) = watch::channel(vec![ANA]);
        let (mesh, mut opened) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let fetching = Fetching {
            seq: SEQ,
            offer: source(b"bytes").offer().clone(),
            path: "plan.pdf".into(),
            givers: told,
            cancel: cancel.clone(),
            files: world.files.clone(),
            handle: Handle::gone(),
            mesh,
        };
        let fetched = tokio::spawn(fetching.run());
        let Some(MeshCommand::FileOpen { member, mut answer }) = opened.recv().await else {
            panic!("no stream is opened")
        };
        assert_eq!(member, ANA);
        givers.send_replace(Vec::new());
        timeout(PATIENCE, answer.closed()).await.unwrap();
        cancel.cancel();
        fetched.await.unwrap();
    }
}
