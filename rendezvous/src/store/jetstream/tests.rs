//! A store on a cluster of real servers: the laws, several processes, and what can go wrong between them.

use std::{
    collections::BTreeSet,
    hint,
    path::Path,
    sync::{Mutex, atomic::AtomicBool, mpsc},
    thread,
    time::Duration,
};

use tokio::runtime::Runtime;

use super::*;
use crate::{
    settings::cluster::Allowance,
    store::{
        FLOOR_STEP,
        contract::{self, AMPLE},
    },
};
use nats::{Nats, Sync as Synced};

#[path = "../../../tests/common/nats.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod nats;

const LOG: LogId = LogId([1; 20]);
const OTHER: LogId = LogId([2; 20]);
const NOW: Timestamp = Timestamp(1000);
const RELAY: &[u8] = b"relay";
const DAY: u64 = 24 * 60 * 60 * 1000;
/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENT: Duration = Duration::from_secs(300);

/// Several names on one cluster: each has its own streams.
struct World {
    runtime: Runtime,
    nats: Nats,
    dirs: tempfile::TempDir,
    shards: u8,
}

fn world(servers: usize, shards: u8) -> Option<World> {
    let nats = Nats::start(servers, Synced::Always)?;
    let runtime = Runtime::new().unwrap();
    Some(World { runtime, nats, dirs: tempfile::tempdir().unwrap(), shards })
}

impl World {
    fn settings(&self, name: &str) -> Cluster {
        let replicas = u8::try_from(self.nats.len()).unwrap();
        let allow = if replicas < 3 { vec![Allowance::Replicas] } else { Vec::new() };
        Cluster {
            urls: self.nats.urls(),
            monitors: self.nats.monitors(),
            name: name.into(),
            shards: self.shards,
            replicas,
            allow,
            ..Cluster::default()
        }
    }

    fn dir(&self, name: &str) -> std::path::PathBuf {
        self.dirs.path().join(name)
    }

    fn open_with(
        &self,
        settings: &Cluster,
        dir: &str,
        quota: Quota,
    ) -> Result<JetStreamStore, ClusterError> {
        let dir: &Path = &self.dir(dir);
        self.runtime.block_on(JetStreamStore::open(dir, settings, quota, RELAY))
    }

    fn jet(&self) -> async_nats::jetstream::Context {
        self.runtime.block_on(async {
            let client = async_nats::connect(self.nats.urls()).await;
            async_nats::jetstream::new(client.unwrap())
        })
    }

    fn config(&self, stream: &str) -> Option<async_nats::jetstream::stream::Config> {
        let stream = self.runtime.block_on(self.jet().get_stream(stream)).ok()?;
        Some(stream.cached_info().config.clone())
    }

    fn open(&self, name: &str, dir: &str) -> JetStreamStore {
        self.open_with(&self.settings(name), dir, AMPLE).unwrap()
    }

    /// What a process has of a log once it has all that others have written to it.
    fn read(&self, store: &JetStreamStore, log: LogId) -> Page {
        catch_up(store, log);
        store.read(log, 0, 1 << 20).unwrap()
    }
}

/// Waits until a process has all that others have written to a log. A reader waits for 2 s: a machine that is
/// busy may need longer.
fn catch_up(store: &JetStreamStore, log: LogId) {
    let start = Instant::now();
    while let Err(error) = store.catch_up(log) {
        let is_late = matches!(error, StoreError::Away) && start.elapsed() < PATIENT;
        assert!(is_late, "{error}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Appends one entry, as often as a client does that is told that the cluster was not reached in time.
fn append(store: &JetStreamStore, new: NewEntry) -> Outcome {
    let start = Instant::now();
    loop {
        match store.append(std::slice::from_ref(&new), NOW).unwrap()[..] {
            [Outcome::Away] if start.elapsed() < PATIENT => {}
            [outcome] => return outcome,
            ref other => panic!("{other:?}"),
        }
    }
}

fn new(log: LogId, byte: u8) -> NewEntry {
    NewEntry { log, bytes: vec![byte; 512] }
}

fn numbered(log: LogId, number: u32) -> NewEntry {
    let mut bytes = vec![0; 512];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    NewEntry { log, bytes }
}

/// Waits until a process says that its cluster is no longer safe.
fn until_unsafe(store: &JetStreamStore) {
    let start = Instant::now();
    while !store.shared().contains("NO LONGER SAFE") {
        assert!(start.elapsed() < PATIENT, "nobody has noticed");
        thread::sleep(Duration::from_millis(50));
    }
}

fn holds(world: &World) {
    let count = std::cell::Cell::new(0);
    contract::holds(&|quota| {
        count.set(count.get() + 1);
        let name = format!("c{}", count.get());
        let store = world.open_with(&world.settings(&name), &name, quota);
        Box::new(store.unwrap())
    });
}

#[test]
fn it_obeys_the_laws_of_a_store_on_three_servers() {
    let Some(world) = world(3, 1) else { return };
    holds(&world);
}

#[test]
fn it_obeys_the_laws_of_a_store_with_several_shards() {
    let Some(world) = world(1, 3) else { return };
    holds(&world);
}

#[test]
fn two_processes_that_append_at_once_give_each_entry_one_number() {
    let Some(world) = world(1, 2) else { return };
    let stores = [world.open("two", "a"), world.open("two", "b")];
    assert_eq!(stores[0].generation(), stores[1].generation());
    let numbers: Vec<Vec<Outcome>> = thread::scope(|scope| {
        let append = |store| {
            scope.spawn(move || {
                let batches = (0..25_u32).map(|batch| {
                    let new: Vec<_> = (0..4)
                        .flat_map(|n| [LOG, OTHER].map(|log| numbered(log, batch * 4 + n)))
                        .collect();
                    let store: &JetStreamStore = store;
                    store.append(&new, NOW).unwrap()
                });
                batches.collect::<Vec<_>>().concat()
            })
        };
        let under_way: Vec<_> = stores.iter().map(append).collect();
        under_way.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(numbers[0], numbers[1], "the same bytes have one number");
    assert!(numbers[0].iter().all(|it| matches!(it, Outcome::Kept(_))));
    for log in [LOG, OTHER] {
        let pages = stores.each_ref().map(|store| world.read(store, log));
        assert_eq!(pages[0], pages[1]);
        let seqs: Vec<_> = pages[0].entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
        let all: BTreeSet<_> = pages[0].entries.iter().map(|entry| entry.bytes.clone()).collect();
        assert_eq!(all.len(), 100);
    }
}

#[test]
fn who_follows_one_process_is_told_of_what_another_appends() {
    struct Ears(Mutex<mpsc::SyncSender<LogId>>);
    impl Others for Ears {
        fn grown(&self, log: LogId) {
            let _ = self.0.lock().unwrap().try_send(log);
        }
        fn ended(&self) {}
    }
    let Some(world) = world(1, 2) else { return };
    let (here, there) = (world.open("ring", "a"), world.open("ring", "b"));
    let (tell, told) = mpsc::sync_channel(8);
    here.listen(Box::new(Ears(Mutex::new(tell))));
    there.append(&[new(LOG, 1)], NOW).unwrap();
    assert_eq!(told.recv_timeout(PATIENT), Ok(LOG));
    assert_eq!(here.read(LOG, 0, 9999).unwrap().head, 1, "it can be read by then");
}

#[test]
fn trims_and_expiry_are_the_same_in_all_processes_and_in_one_that_comes_later() {
    let Some(world) = world(1, 2) else { return };
    let (here, there) = (world.open("same", "a"), world.open("same", "b"));
    let batch: Vec<_> = (0..9).flat_map(|n| [new(LOG, n), new(OTHER, n)]).collect();
    here.append(&batch, Timestamp(10)).unwrap();
    catch_up(&there, LOG);
    catch_up(&there, OTHER);
    assert_eq!(there.expire(Timestamp(0), Timestamp(10), 100).unwrap(), 0);
    assert_eq!(there.trim(LOG, 4, 100).unwrap(), Trimmed { begins: 4, gone: 4 });
    here.append(&[new(LOG, 9)], Timestamp(20)).unwrap();
    catch_up(&there, LOG);
    assert_eq!(there.expire(Timestamp(11), Timestamp(30), 100).unwrap(), 14);
    let later = world.open("same", "c");
    let times = later.shards.iter().map(|shard| shard.applied().time.0);
    assert_eq!(times.collect::<Vec<_>>(), [21, 21], "20 ms have passed since the first record");
    for store in [&here, &there, &later] {
        let page = world.read(store, LOG);
        assert_eq!((page.begins, page.head, page.entries.len()), (9, 10, 1));
        let empty = world.read(store, OTHER);
        assert_eq!((empty.entries.len(), empty.head), (0, FLOOR_STEP));
    }
    let outcomes = later.append(&[new(OTHER, 1)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(FLOOR_STEP + 1)]);
}

#[test]
fn an_index_that_is_damaged_or_too_old_is_made_anew_from_where_the_streams_begin() {
    let Some(world) = world(1, 1) else { return };
    let stays = world.open("anew", "a");
    drop(world.open("anew", "late"));
    let minute = |minute: u64| Timestamp(minute * 60_000);
    stays.append(&[new(LOG, 1), new(OTHER, 1)], minute(1)).unwrap();
    drop(world.open("anew", "behind"));
    stays.append(&[new(OTHER, 2)], minute(2)).unwrap();
    stays.append(&[new(OTHER, 3)], minute(3)).unwrap();
    stays.append(&[new(LOG, 2)], minute(5)).unwrap();
    stays.append(&[new(LOG, 3)], minute(6)).unwrap();
    // What is older than the second entry goes, and with it the messages that brought it.
    assert_eq!(stays.expire(minute(4), minute(7), 100).unwrap(), 4);
    let ends = world.runtime.block_on(stays.shards[0].ends()).unwrap();
    assert_eq!((ends.first, ends.last), (3, 6));
    let expected = world.read(&stays, LOG);
    assert_eq!(expected.entries.iter().map(|it| it.seq).collect::<Vec<_>>(), [2, 3]);

    // One has seen nothing yet; one has lost its table of contents; one is new.
    let damaged = world.dir("damaged");
    drop(world.open("anew", "damaged"));
    for file in std::fs::read_dir(&damaged).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::write(path, [7; 64]).unwrap();
        }
    }
    for dir in ["late", "behind", "damaged", "new"] {
        let store = world.open("anew", dir);
        assert_eq!(world.read(&store, LOG), expected, "{dir}");
        assert_eq!(world.read(&store, OTHER).head, FLOOR_STEP, "{dir}");
        assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::Kept(3)], "{dir}");
    }
    let outcomes = stays.append(&[new(OTHER, 1)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(FLOOR_STEP + 1)]);
    assert_eq!(stays.append(&[new(LOG, 1)], NOW).unwrap(), [Outcome::Kept(4)]);
}

#[test]
fn without_servers_nothing_is_acknowledged_reads_go_on_and_it_recovers_by_itself() {
    let Some(mut world) = world(1, 2) else { return };
    let mut store = world.open("away", "a");
    store.append(&[new(LOG, 0), new(LOG, 1)], NOW).unwrap();
    store.patience = Duration::from_millis(100);
    world.nats.kill(0);
    assert!(matches!(store.catch_up(LOG), Err(StoreError::Away)));
    let shard = store.shard_of(LOG).number();
    assert!(store.shared.reach.misses(shard) && store.is_writable(), "other readers don't wait");
    assert_eq!(store.append(&[new(LOG, 2)], NOW).unwrap(), [Outcome::Away]);
    assert!(matches!(store.trim(LOG, 1, 1), Err(StoreError::Away)));
    assert!(matches!(store.catch_up(LOG), Err(StoreError::Away)));
    assert_eq!(store.read(LOG, 0, 9999).unwrap().head, 2);
    while store.is_writable() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(store.shared().contains("nothing is taken"), "{}", store.shared());
    world.nats.start_node(0);
    world.nats.wait();
    while !store.is_writable() {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(append(&store, new(LOG, 2)), Outcome::Kept(3));
    assert_eq!(store.read(LOG, 0, 9999).unwrap().head, 3);
}

#[test]
fn a_stream_that_does_not_answer_keeps_nobody_from_another() {
    let Some(world) = world(1, 2) else { return };
    let mut store = world.open("apart", "a");
    store.append(&[new(LOG, 1), new(OTHER, 1)], NOW).unwrap();
    // It is waited in vain for one, and long enough for the other.
    store.patience = Duration::from_secs(5);
    let gone = store.shard_of(OTHER).number();
    assert_ne!(gone, store.shard_of(LOG).number());
    world.runtime.block_on(world.jet().delete_stream(format!("apart-{gone}"))).unwrap();
    assert!(matches!(store.catch_up(OTHER), Err(StoreError::Away)));
    catch_up(&store, LOG);
    let both = [new(LOG, 2), new(OTHER, 2)];
    assert_eq!(store.append(&both, NOW).unwrap(), [Outcome::Kept(2), Outcome::Away]);
    assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::Kept(3)]);
    assert!(store.shared.reach.is_away(gone), "what the other takes says nothing of this one");
    assert!(matches!(store.catch_up(OTHER), Err(StoreError::Away)));
    catch_up(&store, LOG);
    assert!(store.is_writable(), "it takes what is for the other");
    assert!(store.shared().contains("1 of its 2 streams did not answer"), "{}", store.shared());
}

#[test]
fn what_is_counted_twice_for_a_moment_refuses_nobody() {
    let Some(world) = world(1, 2) else { return };
    let store = world.open("twice", "a");
    // It waits a tenth of a second; a busy machine may not let go of it in time, or not see it.
    let is_kept = |last: u8| {
        let (crowd, is_done) = (1 << 50, AtomicBool::new(false));
        store.under_way.fetch_add(crowd, Ordering::AcqRel);
        thread::scope(|scope| {
            // What else is under way is through as soon as the append has counted it, and no sooner.
            scope.spawn(|| {
                let is_alone = || store.under_way.load(Ordering::Acquire) == crowd;
                while is_alone() && !is_done.load(Ordering::Acquire) {
                    hint::spin_loop();
                }
                store.under_way.fetch_sub(crowd, Ordering::AcqRel);
            });
            let outcomes = store.append(&[new(LOG, last)], NOW);
            is_done.store(true, Ordering::Release);
            matches!(outcomes.unwrap()[..], [Outcome::Kept(_)])
        })
    };
    assert!((0..20).any(is_kept));
    store.under_way.store(1 << 50, Ordering::Release);
    assert_eq!(store.append(&[new(LOG, 99)], NOW).unwrap(), [Outcome::StoreFull]);
}

#[test]
fn a_stream_that_is_lost_is_not_made_anew() {
    let Some(world) = world(1, 3) else { return };
    let store = world.open("lost", "a");
    let outcomes = store.append(&[new(LOG, 1), new(OTHER, 1)], NOW).unwrap();
    assert_eq!(outcomes, [Outcome::Kept(1), Outcome::Kept(1)]);
    drop(store);
    for stream in ["lost-1", "lost-0"] {
        world.runtime.block_on(world.jet().delete_stream(stream)).unwrap();
        for dir in ["a", "new"] {
            let opened = world.open_with(&world.settings("lost"), dir, AMPLE);
            let error = opened.err().unwrap();
            assert!(matches!(&error, ClusterError::Lost { stream: it } if it == stream), "{error}");
            assert_eq!(world.config(stream), None, "it was made anew");
        }
    }
}

#[test]
fn streams_whose_making_was_cut_off_are_made() {
    let Some(world) = world(1, 3) else { return };
    let generation = world.open("cut", "a").generation();
    let mut first = world.config("cut-0").unwrap();
    assert!(first.metadata.remove("wattle-whole").is_some());
    world.runtime.block_on(world.jet().update_stream(first)).unwrap();
    world.runtime.block_on(world.jet().delete_stream("cut-2")).unwrap();
    let store = world.open("cut", "b");
    assert_eq!(store.generation(), generation);
    assert_eq!(store.append(&[new(OTHER, 1)], NOW).unwrap(), [Outcome::Kept(1)]);
    assert!(world.config("cut-0").unwrap().metadata.contains_key("wattle-whole"));
}

/// Drops what is older than seven days, on that day by the process's own clock.
fn sweep(store: &JetStreamStore, day: u64) -> usize {
    store.expire(Timestamp((day - 7) * DAY), Timestamp(day * DAY), 99).unwrap()
}

#[test]
fn a_process_whose_clock_is_months_off_expires_nothing_early_or_late() {
    let Some(world) = world(1, 2) else { return };
    let stores = ["right", "ahead", "behind"].map(|dir| world.open("clocks", dir));
    let today = [100, 200, 50];
    let sweep_all = |days: u64| -> usize {
        let sweeps = stores.iter().zip(today).map(|(store, today)| {
            catch_up(store, LOG);
            catch_up(store, OTHER);
            sweep(store, today + days)
        });
        sweeps.sum()
    };
    assert_eq!(sweep_all(0), 0);
    for ((store, today), n) in stores.iter().zip(today).zip(0..) {
        store.append(&[new(LOG, n), new(OTHER, n)], Timestamp(today * DAY)).unwrap();
        assert_eq!(sweep_all(0), 0, "{n}");
    }
    assert_eq!(sweep_all(6), 0);
    assert_eq!(sweep_all(8), 6);
}

#[test]
fn entries_expire_where_nobody_writes_and_no_process_runs_for_long() {
    let Some(world) = world(1, 1) else { return };
    world.open("idle", "a").append(&[new(LOG, 1)], NOW).unwrap();
    let mut gone = Vec::new();
    for day in 100..108 {
        let store = world.open("idle", "a");
        gone.push(sweep(&store, day) + sweep(&store, day + 1));
    }
    assert_eq!(gone, [0, 0, 0, 0, 0, 0, 0, 1]);
    let store = world.open("idle", "a");
    let before = store.shards[0].applied().at;
    assert_eq!(sweep(&store, 100) + sweep(&store, 100), 0);
    assert_eq!(store.shards[0].applied().at, before, "no time passes, and nothing is written");
}

#[test]
fn with_one_of_three_servers_down_a_process_starts_and_looks_at_it_once_it_is_back() {
    let Some(mut world) = world(3, 2) else { return };
    world.open("down", "a").append(&[new(LOG, 1), new(OTHER, 1)], NOW).unwrap();
    world.nats.kill(2);
    let store = world.open("down", "b");
    assert_eq!(world.read(&store, LOG).head, 1);
    assert_eq!(append(&store, new(LOG, 2)), Outcome::Kept(2));
    assert!(!store.shared().contains("NO LONGER SAFE"));

    let config = world.nats.dir().join("n2.conf");
    let synced = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, synced.replace("sync_interval: always", "")).unwrap();
    world.nats.start_node(2);
    until_unsafe(&store);
    drop(store);
    let error = world.open_with(&world.settings("down"), "b", AMPLE).err().unwrap();
    let unsynced = |error: &ClusterError| {
        let ClusterError::Unsafe(Unsafe { danger, .. }) = error else { return false };
        *danger == Danger::Unsynced { server: "n2".into() }
    };
    assert!(unsynced(&error), "{error}");
}

#[test]
fn a_server_that_is_silent_and_not_down_is_refused() {
    let Some(world) = world(3, 1) else { return };
    drop(world.open("silent", "a"));
    let mut settings = world.settings("silent");
    let url = format!("http://127.0.0.1:{}", nats::free_ports(1)[0]);
    settings.monitors[2].clone_from(&url);
    let error = world.open_with(&settings, "a", AMPLE).err().unwrap();
    let ClusterError::Unsafe(Unsafe { danger, .. }) = error else { panic!("{error}") };
    assert_eq!(danger, Danger::Silent { url });
}

#[test]
fn an_index_that_rots_is_made_anew_at_the_next_start() {
    let Some(world) = world(1, 1) else { return };
    let (sound, store) = (world.open("rot", "sound"), world.open("rot", "a"));
    sound.append(&[new(LOG, 1), new(LOG, 2)], NOW).unwrap();
    assert_eq!(world.read(&store, LOG).head, 2);
    store.shared.index.rot(LOG, 1);
    assert_eq!(sound.trim(LOG, 1, 9).unwrap().gone, 1);
    while store.shared.is_whole().is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    drop(store);
    let store = world.open("rot", "a");
    assert_eq!(world.read(&store, LOG), world.read(&sound, LOG));

    store.shared.index.rot(LOG, 2);
    assert_eq!(store.read(LOG, 0, 9999).unwrap().damaged, 1, "it goes on, and says so");
    assert_eq!(store.append(&[new(LOG, 3)], NOW).unwrap(), [Outcome::Kept(3)]);
    drop(store);
    let store = world.open("rot", "a");
    assert_eq!(world.read(&store, LOG), world.read(&sound, LOG));
    assert!(!world.dir("a").join(SPOILT).exists(), "once");
}

#[test]
fn a_stream_that_is_set_up_otherwise_meanwhile_is_said_loudly() {
    let Some(world) = world(1, 2) else { return };
    let store = world.open("watched", "a");
    let aging = world.config("watched-1").unwrap();
    let max_age = Duration::from_hours(1);
    let aging = async_nats::jetstream::stream::Config { max_age, ..aging };
    world.runtime.block_on(world.jet().update_stream(aging)).unwrap();
    until_unsafe(&store);
}

#[test]
fn a_stream_made_anew_under_another_generation_is_said_loudly_also_if_it_is_the_only_one() {
    let Some(world) = world(1, 1) else { return };
    let store = world.open("other", "a");
    let mut config = world.config("other-0").unwrap();
    world.runtime.block_on(world.jet().delete_stream("other-0")).unwrap();
    config.metadata.insert("wattle-generation".into(), format!("{:016x}", !store.generation()));
    world.runtime.block_on(world.jet().create_stream(config)).unwrap();
    until_unsafe(&store);
}

#[test]
fn a_shard_that_takes_nothing_keeps_no_other_from_expiring() {
    let Some(world) = world(1, 2) else { return };
    let mut store = world.open("stuck", "a");
    // Some: of a step that is not acknowledged in time it is not told how many it was.
    let batch: Vec<_> = (0..8).map(|n| new(LOG, n)).chain([new(OTHER, 1)]).collect();
    store.append(&batch, Timestamp(10)).unwrap();
    assert_eq!(store.expire(Timestamp(0), Timestamp(10), 9).unwrap(), 0);
    store.patience = Duration::from_millis(100);
    let stuck = store.shard_of(OTHER).number();
    assert!(stuck < store.shard_of(LOG).number(), "it comes first");
    world.runtime.block_on(world.jet().delete_stream(format!("stuck-{stuck}"))).unwrap();
    let entries = |log| store.read(log, 0, 9999).unwrap().entries.len();
    let (start, mut goes_on) = (Instant::now(), false);
    while entries(LOG) > 0 {
        assert!(start.elapsed() < PATIENT, "it waits for the other");
        match store.expire(Timestamp(20), Timestamp(30), 1) {
            Ok(gone) => goes_on |= gone == 1,
            expired => assert!(matches!(expired, Err(StoreError::Away)), "{expired:?}"),
        }
    }
    assert!(goes_on, "there may be more where it can");
    assert_eq!(entries(OTHER), 1);
    assert!(store.shards[usize::from(stuck)].is_stuck(), "it is not waited for again for long");
}
