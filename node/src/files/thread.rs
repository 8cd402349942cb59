//! The thread that owns what there is of a file: it checks what comes, writes it, and asks for more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use protocol::{
    file::{Fault, Fetch, Offer, Refusal, Source, Step},
    ids::{MemberId, Timestamp},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Files, lock,
    part::{FetchFileError, Free, Opened, Part},
};

/// Owns what there is of the file.
pub(super) struct Thread {
    pub(super) files: Files,
    pub(super) seq: u64,
    pub(super) offer: Offer,
    /// Where it is to be.
    pub(super) whole: PathBuf,
    pub(super) shut_out: ShutOut,
    pub(super) free: Free,
    pub(super) now: Clock,
}

/// Tells how long a silence is.
pub(super) type Clock = Box<dyn Fn() -> Timestamp + Send>;

/// What the thread is told.
pub(super) enum Event {
    /// A stream is open.
    Up(MemberId, Giver),
    Frame(MemberId, Vec<u8>),
    /// It has ended; that is answered once all that came by it was looked at.
    Down(MemberId, oneshot::Sender<()>),
    Tick,
}

/// A member with whom a stream is open.
pub(super) struct Giver {
    /// Takes what is to be said on it.
    pub(super) requests: mpsc::Sender<Vec<u8>>,
    /// How many bytes of the file came by it, with others.
    pub(super) came: Arc<AtomicU64>,
    /// The same, by this stream alone.
    pub(super) gave: Arc<AtomicU64>,
}

/// How a fetch ended.
pub(super) enum End {
    /// It is there under its name: which it has got now, where it is new.
    Whole { source: Box<Source>, is_new: bool },
    /// It was given up, or the node ends: it goes on another time.
    Left,
}

/// Members who gave what is not of the file, or broke the rules.
pub(super) type ShutOut = Arc<Mutex<BTreeSet<MemberId>>>;

/// Events that wait for the thread: of each member no more is read meanwhile.
pub(super) const EVENTS: usize = 32;
/// How often silent givers are looked for.
pub(super) const TICK_MS: u64 = 1_000;

impl Thread {
    /// Goes on until all of it is there or nobody tells anything any more.
    pub(super) fn run(self, mut events: mpsc::Receiver<Event>) -> Result<End, FetchFileError> {
        let Self { files, seq, offer, whole, shut_out, free, now } = self;
        let opened = Part::open(&files.parts(), &seq.to_string(), &whole, &offer, free)?;
        let (mut part, mut fetch) = match opened {
            Opened::Whole(source) => return Ok(End::Whole { source, is_new: false }),
            Opened::Part(part, fetch) => (part, fetch),
        };
        let mut givers: BTreeMap<MemberId, Giver> = BTreeMap::new();
        let mut looked = now();
        files.progressed(seq, fetch.progress());
        while !fetch.is_whole() {
            let Some(event) = events.blocking_recv() else {
                part.save(&fetch)?;
                return Ok(End::Left);
            };
            take(&mut fetch, &mut part, &mut givers, event, now())?;
            // Where much comes there may be no place for a tick.
            let at = now();
            if at.0.saturating_sub(looked.0) >= TICK_MS {
                fetch.on_time(at);
                looked = at;
            }
            while let Some(step) = fetch.poll() {
                match step {
                    Step::Send { to, frame } => {
                        let sent = givers.get(&to).map(|giver| giver.requests.try_send(frame));
                        if !matches!(sent, Some(Ok(()))) {
                            givers.remove(&to);
                            fetch.remove(&to, now());
                        }
                    }
                    Step::Drop { source, fault } => {
                        givers.remove(&source);
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
        drop(givers);
        part.save(&fetch)?;
        let source = Box::new(part.finish(&offer)?);
        Ok(End::Whole { source, is_new: true })
    }
}

/// One that no change of the system's clock moves.
pub(super) fn clock() -> Clock {
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

pub(super) fn is_shut_out(shut_out: &ShutOut, member: &MemberId) -> bool {
    lock(shut_out).contains(member)
}

fn take(
    fetch: &mut Fetch,
    part: &mut Part,
    givers: &mut BTreeMap<MemberId, Giver>,
    event: Event,
    now: Timestamp,
) -> Result<(), FetchFileError> {
    match event {
        Event::Up(member, giver) => {
            if fetch.add(member, now).is_ok() {
                givers.insert(member, giver);
            }
        }
        Event::Frame(member, frame) => {
            if let Some(piece) = fetch.on_frame(&member, &frame, now) {
                part.write(&piece)?;
                if let Some(giver) = givers.get(&member) {
                    let bytes = piece.bytes.len() as u64;
                    for count in [&giver.came, &giver.gave] {
                        count.fetch_add(bytes, Ordering::Relaxed);
                    }
                }
            }
        }
        Event::Down(member, looked) => {
            givers.remove(&member);
            fetch.remove(&member, now);
            // Who asked may be gone.
            let _ = looked.send(());
        }
        // It wakes who looks at the clock.
        Event::Tick => {}
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use protocol::{
        file::{Asked, FileName, Layout, Reading, refuse},
        limits::{FILE_CHUNK, FILE_SILENCE_MS},
    };
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use tempfile::TempDir;

    use super::*;
    use crate::files::Shared;

    pub(in crate::files) const ANA: MemberId = MemberId([1; 32]);
    pub(in crate::files) const BEN: MemberId = MemberId([2; 32]);
    pub(in crate::files) const SEQ: u64 = 7;

    pub(in crate::files) fn source(content: &[u8]) -> Source {
        let layout = Layout::new(content.len() as u64).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut reading = Reading::new(FileName::new("plan.pdf").unwrap(), layout, &mut rng);
        content.chunks(FILE_CHUNK).for_each(|chunk| reading.take(chunk).unwrap());
        reading.finish().unwrap()
    }

    pub(in crate::files) struct World {
        dir: TempDir,
        pub(in crate::files) files: Files,
    }

    impl World {
        pub(in crate::files) fn new() -> Self {
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

    fn giver() -> (Giver, mpsc::Receiver<Vec<u8>>) {
        let (requests, asked) = mpsc::channel(8);
        (Giver { requests, came: Arc::default(), gave: Arc::default() }, asked)
    }

    /// A member who is asked for a file says this, and the file has no other one.
    fn problem_after(answer: Vec<u8>) -> (String, bool) {
        let world = World::new();
        let thread = world.thread(source(b"bytes").offer());
        let shut_out = ShutOut::clone(&thread.shut_out);
        let (events, taken) = mpsc::channel(EVENTS);
        let (ana, _asked) = giver();
        events.try_send(Event::Up(ANA, ana)).unwrap();
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
        let (ana, mut asked) = giver();
        events.try_send(Event::Up(ANA, ana)).unwrap();
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
        let (ana, _asked) = giver();
        let (ben, mut asked) = giver();
        events.try_send(Event::Up(ANA, ana)).unwrap();
        for _ in 0..FILE_SILENCE_MS / TICK_MS {
            events.try_send(Event::Down(BEN, oneshot::channel().0)).unwrap();
        }
        events.try_send(Event::Up(BEN, ben)).unwrap();
        drop(events);
        assert!(matches!(thread.run(taken), Ok(End::Left)));
        // Of what Ana owes, Ben were asked for a few chunks.
        let frame = asked.try_recv().unwrap();
        let mut serving = Asked::read(&frame).unwrap().serve(&source).unwrap();
        assert_eq!(std::iter::from_fn(|| serving.poll()).count(), 20);
    }

    #[test]
    fn what_is_not_of_the_file_is_not_counted_as_come() {
        let (world, source) = (World::new(), source(&[7; 2 * FILE_CHUNK]));
        let thread = world.thread(source.offer());
        let (events, taken) = mpsc::channel(EVENTS);
        let ((ana, _asked), (ben, _of_ben)) = (giver(), giver());
        let (of_ana, of_ben) = (Arc::clone(&ana.came), Arc::clone(&ben.came));
        let (by_ana, by_ben) = (Arc::clone(&ana.gave), Arc::clone(&ben.gave));
        let (looked, mut is_looked) = oneshot::channel();
        events.try_send(Event::Up(ANA, ana)).unwrap();
        events.try_send(Event::Frame(ANA, vec![7; FILE_CHUNK])).unwrap();
        events.try_send(Event::Up(BEN, ben)).unwrap();
        let chunk = source.answer(0, &[7; FILE_CHUNK]).unwrap();
        events.try_send(Event::Frame(BEN, chunk)).unwrap();
        events.try_send(Event::Down(BEN, looked)).unwrap();
        drop(events);
        assert!(matches!(thread.run(taken), Ok(End::Left)));
        assert_eq!(of_ana.load(Ordering::Relaxed), 0);
        assert_eq!(of_ben.load(Ordering::Relaxed), FILE_CHUNK as u64);
        // As it is counted to who gave it, once all that came by its stream was looked at.
        assert!(is_looked.try_recv().is_ok());
        assert_eq!(by_ana.load(Ordering::Relaxed), 0);
        assert_eq!(by_ben.load(Ordering::Relaxed), FILE_CHUNK as u64);
    }

    #[test]
    fn what_had_its_name_before_it_was_asked_for_is_not_taken_for_new() {
        let (world, source) = (World::new(), source(b"bytes"));
        let (events, taken) = mpsc::channel(EVENTS);
        let (ana, _asked) = giver();
        events.try_send(Event::Up(ANA, ana)).unwrap();
        let chunk = source.answer(0, b"bytes").unwrap();
        events.try_send(Event::Frame(ANA, chunk)).unwrap();
        let is_new = |taken| match world.thread(source.offer()).run(taken) {
            Ok(End::Whole { is_new, .. }) => is_new,
            _ => panic!("it is here"),
        };
        assert!(is_new(taken));
        assert!(!is_new(mpsc::channel(1).1));
    }
}
