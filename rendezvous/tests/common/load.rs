//! Load on a relay of several processes: writers and a follower that go elsewhere when one fails them,
//! bare JetStream beside them, and the check that nothing acknowledged was lost or is there twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use libp2p::Multiaddr;
use protocol::relay_log::{Answer, Cursor, LogKeys, Request};
use tokio::task::JoinHandle;

use super::log_client::LogClient;

/// Appends without an answer.
const WINDOW: usize = 16;
/// How long a writer waits for an answer before it tries another process.
const ANSWER: Duration = Duration::from_secs(8);
/// How long connecting may take the first time; a machine that is busy needs longer.
const CONNECT: Duration = Duration::from_secs(2);
/// And how many times longer at most, one more after each attempt that came to nothing.
const LONGER: u32 = 10;
/// Pause of a writer between appends: what matters is what is lost, not how much is written.
const PACE: Duration = Duration::from_millis(5);

/// Where the processes of the relay are now; each may move when it is started again.
pub type Addrs = Arc<Mutex<Vec<Multiaddr>>>;

/// How long it went on without an acknowledgement, and how many there were.
#[derive(Default)]
pub struct Progress {
    pub acks: AtomicU64,
    pub gap_ms: AtomicU64,
}

impl Progress {
    fn ack(&self, last: &mut Instant) {
        let gap = u64::try_from(last.elapsed().as_millis()).unwrap();
        self.gap_ms.fetch_max(gap, Ordering::Relaxed);
        self.acks.fetch_add(1, Ordering::Relaxed);
        *last = Instant::now();
    }

    pub fn acks(&self) -> u64 {
        self.acks.load(Ordering::Relaxed)
    }

    pub fn gap(&self) -> f64 {
        Duration::from_millis(self.gap_ms.load(Ordering::Relaxed)).as_secs_f64()
    }
}

pub struct Load {
    stop: Arc<AtomicBool>,
    pub writers: Vec<Arc<Progress>>,
    tasks: Vec<JoinHandle<BTreeMap<u64, Cursor>>>,
    follower: JoinHandle<BTreeMap<u64, u64>>,
    addrs: Addrs,
    keys: Arc<LogKeys>,
}

pub fn entry(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

impl Load {
    /// Starts so many writers to one log, and a follower of it.
    pub fn start(addrs: &Addrs, writers: u64) -> Self {
        let keys = Arc::new(LogKeys::from_seeds([1; 32], [2; 32], None));
        let stop = Arc::new(AtomicBool::new(false));
        let progress: Vec<_> = (0..writers).map(|_| Arc::new(Progress::default())).collect();
        let tasks = (0..writers).zip(&progress).map(|(writer, progress)| {
            tokio::spawn(write(
                writer,
                Arc::clone(addrs),
                Arc::clone(&keys),
                Arc::clone(&stop),
                Arc::clone(progress),
            ))
        });
        let tasks = tasks.collect();
        let follower =
            tokio::spawn(follow(Arc::clone(addrs), Arc::clone(&keys), Arc::clone(&stop)));
        Self { stop, writers: progress, tasks, follower, addrs: Arc::clone(addrs), keys }
    }

    /// Waits until each writer has so many more acknowledgements.
    pub async fn go_on(&self, more: u64, patience: Duration) {
        let start = Instant::now();
        let wanted: Vec<_> = self.writers.iter().map(|it| it.acks() + more).collect();
        while self.writers.iter().zip(&wanted).any(|(writer, wanted)| writer.acks() < *wanted) {
            assert!(start.elapsed() < patience, "writers don't go on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn gap(&self) -> f64 {
        self.writers.iter().map(|it| it.gap()).fold(0.0, f64::max)
    }

    /// Stops, and checks what is there at each process; answers how many entries were acknowledged.
    pub async fn check(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = BTreeMap::new();
        for task in self.tasks {
            acknowledged.extend(task.await.unwrap());
        }
        let followed = self.follower.await.unwrap();
        let addrs = self.addrs.lock().unwrap().clone();
        let mut first: Option<(Cursor, BTreeMap<u64, u64>)> = None;
        for addr in &addrs {
            let (end, found) = read(addr, &self.keys).await;
            for (number, cursor) in &acknowledged {
                assert_eq!(found.get(&cursor.seq), Some(number), "an acknowledged entry is lost");
                assert_eq!(cursor.generation, end.generation);
            }
            let once: BTreeSet<_> = found.values().collect();
            assert_eq!(once.len(), found.len(), "an entry is there twice");
            let seqs: Vec<_> = found.keys().copied().collect();
            assert_eq!(seqs, (1..=end.seq).collect::<Vec<_>>(), "numbers have a gap");
            for (seq, number) in &followed {
                assert_eq!(found.get(seq), Some(number), "a follower was told something else");
            }
            let (end_there, found_there) = first.get_or_insert((end, found.clone()));
            assert_eq!((&end, &found), (&*end_there, &*found_there), "two processes differ");
        }
        acknowledged.len()
    }
}

/// Appends under numbers of its own, until it is stopped and all is answered for.
async fn write(
    writer: u64,
    addrs: Addrs,
    keys: Arc<LogKeys>,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
) -> BTreeMap<u64, Cursor> {
    let mut acknowledged = BTreeMap::new();
    let mut waiting: BTreeSet<u64> = BTreeSet::new();
    let mut next = 0_u32;
    let mut last = Instant::now();
    let mut patience = CONNECT;
    let whole = |req: u32| (writer << 32) + u64::from(req);
    for turn in usize::try_from(writer).unwrap().. {
        if stop.load(Ordering::Relaxed) && waiting.is_empty() {
            break;
        }
        let addr = {
            let addrs = addrs.lock().unwrap();
            addrs[turn % addrs.len()].clone()
        };
        let Some(mut client) = LogClient::open(&addr, &keys, patience).await else {
            patience = (patience + CONNECT).min(CONNECT * LONGER);
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        patience = CONNECT;
        for number in &waiting {
            let req = u32::try_from(number & u64::from(u32::MAX)).unwrap();
            client.send(Request::Append { req, handle: 1, entry: entry(*number) }).await;
        }
        loop {
            let is_over = stop.load(Ordering::Relaxed);
            while !is_over && waiting.len() < WINDOW {
                tokio::time::sleep(PACE).await;
                let number = whole(next);
                client.send(Request::Append { req: next, handle: 1, entry: entry(number) }).await;
                waiting.insert(number);
                next += 1;
            }
            if waiting.is_empty() {
                break;
            }
            match tokio::time::timeout(ANSWER, client.next()).await {
                Ok(Some(Answer::Appended { req, cursor })) => {
                    progress.ack(&mut last);
                    waiting.remove(&whole(req));
                    acknowledged.insert(whole(req), cursor);
                }
                Ok(Some(Answer::AppendRefused { reason, .. })) => {
                    assert!(reason.is_passing(), "{reason:?}");
                    // Each process has its chance; the refused are asked for again.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    break;
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) | Err(_) => break,
            }
        }
    }
    acknowledged
}

/// Follows the log from process to process at its cursor: each number once, and none left out.
async fn follow(addrs: Addrs, keys: Arc<LogKeys>, stop: Arc<AtomicBool>) -> BTreeMap<u64, u64> {
    let mut followed = BTreeMap::new();
    let mut at: Option<Cursor> = None;
    let mut patience = CONNECT;
    for turn in 1_usize.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let addr = {
            let addrs = addrs.lock().unwrap();
            addrs[turn % addrs.len()].clone()
        };
        let Some(mut client) = LogClient::open(&addr, &keys, patience).await else {
            patience = (patience + CONNECT).min(CONNECT * LONGER);
            continue;
        };
        patience = CONNECT;
        client.send(Request::Follow { handle: 1, after: at }).await;
        loop {
            match tokio::time::timeout(Duration::from_secs(1), client.next()).await {
                Ok(Some(Answer::Entries { entries, cursor, .. })) => {
                    for entry in entries {
                        let expected = followed.last_key_value().map_or(1, |(seq, _)| seq + 1);
                        assert_eq!(entry.seq, expected, "a follower lost or repeated something");
                        followed.insert(entry.seq, number(&entry.bytes));
                    }
                    at = Some(cursor);
                }
                Ok(Some(Answer::CaughtUp { cursor, .. })) => at = Some(cursor),
                Ok(Some(Answer::FollowRefused { reason, .. })) => {
                    assert!(reason.is_passing(), "{reason:?}");
                    break;
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) => break,
                Err(_) if stop.load(Ordering::Relaxed) => break,
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    followed
}

/// All of the log at one process, by number, and its end.
async fn read(addr: &Multiaddr, keys: &LogKeys) -> (Cursor, BTreeMap<u64, u64>) {
    let patience = Duration::from_secs(180);
    let mut client = LogClient::open(addr, keys, patience).await.unwrap();
    // Behind the end: the process asks the cluster whether it has all.
    let start = Instant::now();
    loop {
        client.send(Request::Append { req: 0, handle: 1, entry: entry(u64::MAX) }).await;
        match tokio::time::timeout(patience, client.next()).await.unwrap() {
            Some(Answer::Appended { .. }) => break,
            Some(Answer::AppendRefused { reason, .. })
                if reason.is_passing() && start.elapsed() < patience =>
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    client.send(Request::Follow { handle: 1, after: None }).await;
    let mut found = BTreeMap::new();
    loop {
        match tokio::time::timeout(patience, client.next()).await.unwrap() {
            Some(Answer::Entries { entries, .. }) => {
                found.extend(entries.iter().map(|entry| (entry.seq, number(&entry.bytes))));
            }
            Some(Answer::CaughtUp { cursor, .. }) => return (cursor, found),
            other => panic!("{other:?}"),
        }
    }
}
