//! One file that is fetched: streams to those who may have it, and a thread that owns what there is of it.
//!
//! ```text
//! a task for each giver ── frames ─► the thread: checks, writes, asks ── frames ─► the giver's task
//! ```
//!
//! Where next to nothing of it comes directly, one is asked to come to a relay; much that comes directly ends that.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{
    file::Offer,
    ids::{FileId, GroupId, MemberId},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinSet, spawn_blocking},
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Files,
    afar::{self, NoCircuit},
    lock,
    part::{self, AGAIN},
    thread::{EVENTS, End, Event, Giver, ShutOut, TICK_MS, Thread, clock, is_shut_out},
    whom::{By, Whom},
};
use crate::{
    core::Givers,
    driver::Handle,
    net::{Circuit, Circuits, FileEnd, FileStream, mesh::MeshCommand},
};

/// A file that is to be fetched.
pub(super) struct Fetching {
    pub(super) seq: u64,
    pub(super) offer: Offer,
    /// Where it is to be, in the data directory.
    pub(super) path: PathBuf,
    /// Members who may have it.
    pub(super) givers: watch::Receiver<Givers>,
    /// Ends it; with the node, or since nobody wants the file any more.
    pub(super) cancel: CancellationToken,
    pub(super) files: Files,
    pub(super) whom: Arc<Mutex<Whom>>,
    pub(super) ways: Ways,
}

/// How a stream with a member is opened.
#[derive(Clone)]
pub(super) struct Ways {
    pub(super) handle: Handle,
    /// Opens those that go directly; none without direct connections.
    pub(super) mesh: Option<mpsc::Sender<MeshCommand>>,
    pub(super) circuits: Circuits,
    /// The group in which the file was offered.
    pub(super) group: GroupId,
    /// What is asked for.
    pub(super) file: FileId,
    /// How many circuits with the member brought little: which relay is the first.
    pub(super) vain: usize,
}

/// What is said before why there is no circuit.
const ALONE: &str = "no direct path leads to anybody who gives it, nor does a circuit";

/// What is said where nobody can be asked.
const NOBODY: &str = "there is no other member who could give it";

/// A stream that has ended, or that could not be opened.
struct Ended {
    member: MemberId,
    by: By,
    /// What came of the file and was found to be of it, in bytes.
    bytes: u64,
    /// Why there was no circuit.
    why: Option<NoCircuit>,
}

/// Requests that wait for a stream.
const REQUESTS: usize = 8;
/// See [`TICK_MS`].
const TICK: Duration = Duration::from_millis(TICK_MS);

impl Fetching {
    /// Fetches it.
    pub(super) async fn run(self) {
        let Self { seq, offer, path, mut givers, cancel, files, whom, ways } = self;
        let handle = ways.handle.clone();
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
        let size = thread.offer.layout().size();
        let mut thread = spawn_blocking(move || thread.run(taken));
        let mut streams: JoinSet<Ended> = JoinSet::new();
        lock(&whom).begin(Instant::now());
        // Ends a stream with somebody.
        let mut open: BTreeMap<MemberId, CancellationToken> = BTreeMap::new();
        let (direct, mut by_circuit) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
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
                    if let Ok(Ended { member, by, bytes, why }) = ended {
                        open.remove(&member);
                        let (mut whom, now) = (lock(&whom), Instant::now());
                        match &why {
                            Some(why) => whom.unmet(member, why.unmet, now),
                            None => whom.ended(member, by, bytes, now),
                        }
                        let is_idle = whom.is_idle();
                        drop(whom);
                        if let Some(NoCircuit { why, .. }) = why.filter(|_| is_idle) {
                            files.waits(seq, format!("{ALONE}: {why}"));
                        }
                    }
                }
                _ = tick.tick() => {
                    // Where it is full the thread has enough that wakes it.
                    let _ = events.try_send(Event::Tick);
                }
                Ok(()) = givers.changed() => {}
            }
            let there = givers.borrow_and_update().clone();
            if there == Givers::default() {
                files.waits(seq, NOBODY.into());
            } else {
                files.waits_no_more(seq, NOBODY);
            }
            let shut = |member: &MemberId| is_shut_out(&shut_out, member);
            // Nothing is missing any more: it is read once more.
            let is_whole = size > 0 && files.bytes(seq) == size;
            let (left, next) = {
                let (mut whom, now) = (lock(&whom), Instant::now());
                let came = [&direct, &by_circuit].map(|came| came.load(Ordering::Relaxed));
                whom.brought(came[0], came[1], now);
                let left = whom.leaves(&there, shut, now);
                let next = if is_whole { Vec::new() } else { whom.next(&there, shut, now) };
                let next = next.into_iter().map(|(member, by)| (member, by, whom.vain(&member)));
                (left, next.collect::<Vec<_>>())
            };
            // Who may not have it any more is asked for no more of it.
            left.iter().filter_map(|member| open.get(member)).for_each(CancellationToken::cancel);
            for (member, by, vain) in next {
                let over = CancellationToken::new();
                open.insert(member, over.clone());
                if by == By::Circuit {
                    by_circuit = Arc::default();
                }
                let came = Arc::clone(if by == By::Circuit { &by_circuit } else { &direct });
                let ways = Ways { vain, ..ways.clone() };
                streams.spawn(stream(ways, member, by, events.clone(), came, over));
            }
        };
        // What a circuit brought that ends with this.
        let came = [&direct, &by_circuit].map(|came| came.load(Ordering::Relaxed));
        lock(&whom).brought(came[0], came[1], Instant::now());
        match end {
            Ok(Ok(End::Whole { source, is_new })) => {
                let (leaves, named) = (source.leaves(), path.clone());
                let kept =
                    handle.call(move |core, now| core.on_file_here(seq, &path, &leaves, now)).await;
                match kept {
                    // Nobody wants it any more, and what it is is in no row.
                    Ok(Ok(false)) if is_new => {
                        let _ = spawn_blocking(move || files.remove(&[named])).await;
                    }
                    // It is here: that alone is noted then.
                    Ok(Err(error)) => files.pauses(seq, error.to_string(), Instant::now() + AGAIN),
                    _ => {}
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

impl Ways {
    /// Opens a stream; says why there is no circuit, where that is by what.
    async fn open(
        self,
        member: MemberId,
        by: By,
    ) -> Result<(Option<Circuit>, FileStream), Option<NoCircuit>> {
        let Self { handle, mesh, circuits, group, file, vain } = self;
        if by == By::Circuit {
            let met = afar::meet(&circuits, &handle, group, member, file, vain).await;
            return met.map(|(circuit, stream)| (Some(circuit), stream)).map_err(Some);
        }
        let (answer, answered) = oneshot::channel();
        let asked = mesh.ok_or(None)?.send(MeshCommand::FileOpen { member, answer }).await;
        asked.map_err(|_| None)?;
        answered.await.map(|stream| (None, stream)).map_err(|_| None)
    }
}

/// Carries frames between a member's stream and the thread, until one of them ends it or it is `over`; what comes of the file is
/// counted in `came`.
async fn stream(
    ways: Ways,
    member: MemberId,
    by: By,
    events: mpsc::Sender<Event>,
    came: Arc<AtomicU64>,
    over: CancellationToken,
) -> Ended {
    let mut ended = Ended { member, by, bytes: 0, why: None };
    let gave = Arc::<AtomicU64>::default();
    tokio::select! {
        () = over.cancelled() => {}
        () = carry(ways, &mut ended, &events, came, Arc::clone(&gave)) => {}
    }
    // Of one that was never up nothing is known there.
    let (answer, looked) = oneshot::channel();
    if events.send(Event::Down(member, answer)).await.is_ok() {
        // What it sent last counts, too. A thread that ends doesn't say.
        let _ = looked.await;
    }
    ended.bytes = gave.load(Ordering::Relaxed);
    ended
}

async fn carry(
    ways: Ways,
    ended: &mut Ended,
    events: &mpsc::Sender<Event>,
    came: Arc<AtomicU64>,
    gave: Arc<AtomicU64>,
) {
    let (member, by) = (ended.member, ended.by);
    let (_circuit, stream) = match ways.open(member, by).await {
        Ok(opened) => opened,
        Err(why) => {
            ended.why = why;
            return;
        }
    };
    let (mut reader, mut writer) = stream.split();
    let (requests, mut asked) = mpsc::channel::<Vec<u8>>(REQUESTS);
    if events.send(Event::Up(member, Giver { requests, came, gave })).await.is_err() {
        return;
    }
    let read = async {
        while let Some(frame) = reader.read(FileEnd::Fetcher).await {
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
}

#[cfg(test)]
mod tests {
    use protocol::{endpoint::Endpoint, file::Progress, ids::Timestamp};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use tokio::{
        task::{JoinHandle, yield_now},
        time::timeout,
    };

    use super::*;
    use crate::files::thread::tests::{ANA, BEN, SEQ, World, source};

    const CLEO: MemberId = MemberId([3; 32]);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A file that is fetched, without a node and without bytes.
    struct Fetched {
        world: World,
        givers: watch::Sender<Givers>,
        opened: mpsc::Receiver<MeshCommand>,
        cancel: CancellationToken,
        task: JoinHandle<()>,
    }

    impl Fetched {
        fn of(members: &[MemberId]) -> Self {
            let world = World::new();
            let (givers, told) = watch::channel(near(members));
            let me = Endpoint::generate("bob", Vec::new(), &mut ChaCha20Rng::seed_from_u64(1));
            let me = Arc::new(me.unwrap());
            let (mesh, opened) = mpsc::channel(16);
            let cancel = CancellationToken::new();
            let offer = source(b"bytes").offer().clone();
            let ways = Ways {
                handle: Handle::gone(),
                mesh: Some(mesh),
                circuits: Circuits { me, clock: || Timestamp(0), proxy: None },
                group: GroupId([1; 32]),
                file: offer.id(),
                vain: 0,
            };
            let fetching = Fetching {
                seq: SEQ,
                offer,
                path: "plan.pdf".into(),
                givers: told,
                cancel: cancel.clone(),
                files: world.files.clone(),
                whom: world.files.whom(SEQ),
                ways,
            };
            let task = tokio::spawn(fetching.run());
            Self { world, givers, opened, cancel, task }
        }

        /// With whom a stream is to be opened next, and what waits for it.
        async fn opens(&mut self) -> (MemberId, oneshot::Sender<FileStream>) {
            match timeout(PATIENCE, self.opened.recv()).await.unwrap() {
                Some(MeshCommand::FileOpen { member, answer }) => (member, answer),
                _ => panic!("no stream is opened"),
            }
        }

        async fn waits_for(&self, why: &str) {
            let says = || self.world.files.standing().get(&SEQ).map(|it| it.waits.clone());
            let said = async {
                while says().as_deref() != Some(why) {
                    yield_now().await;
                }
            };
            timeout(PATIENCE, said).await.unwrap();
        }

        async fn end(self) {
            self.cancel.cancel();
            self.task.await.unwrap();
        }
    }

    fn near(members: &[MemberId]) -> Givers {
        Givers { near: members.to_vec(), afar: Vec::new() }
    }

    #[tokio::test]
    async fn who_is_no_giver_any_more_keeps_no_stream() {
        let mut fetched = Fetched::of(&[ANA]);
        let (member, mut answer) = fetched.opens().await;
        assert_eq!(member, ANA);
        fetched.givers.send_replace(Givers::default());
        timeout(PATIENCE, answer.closed()).await.unwrap();
        fetched.end().await;
    }

    #[tokio::test]
    async fn that_nobody_is_there_is_said_until_somebody_is() {
        let mut fetched = Fetched::of(&[]);
        fetched.waits_for(NOBODY).await;
        fetched.givers.send_replace(near(&[ANA]));
        assert_eq!(fetched.opens().await.0, ANA);
        fetched.waits_for("").await;
        fetched.end().await;
    }

    #[tokio::test]
    async fn while_what_is_whole_is_read_once_more_nobody_is_asked() {
        let mut fetched = Fetched::of(&[ANA]);
        // Ana's stream stands, as it were.
        let (_, _answer) = fetched.opens().await;
        let files = fetched.world.files.clone();
        let progress = |bytes| Progress { bytes, size: 5, sources: 0 };
        // The thread says how far it is when it begins and with each tick: just now, and then in a second.
        for _ in 0..2 {
            files.progressed(SEQ, progress(1));
            let is_told = async {
                while files.bytes(SEQ) > 0 {
                    yield_now().await;
                }
            };
            timeout(PATIENCE, is_told).await.unwrap();
        }
        files.progressed(SEQ, progress(5));
        files.waits(SEQ, NOBODY.into());
        // It has looked at these once that is taken back.
        fetched.givers.send_replace(near(&[ANA, BEN]));
        fetched.waits_for("").await;
        files.progressed(SEQ, progress(0));
        fetched.givers.send_replace(near(&[ANA, CLEO]));
        assert_eq!(fetched.opens().await.0, CLEO);
        fetched.end().await;
    }
}
