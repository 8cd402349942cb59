//! Who follows along is told what comes without a read of the store.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A store that counts how often it is read.
struct Counted {
    store: MemoryStore,
    reads: AtomicUsize,
    waits: bool,
    is_own: bool,
}

impl LogStore for Counted {
    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        self.store.append(batch, now)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.store.read(log, after, max_bytes)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.store.trim(log, to, max)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        self.store.expire(before, now, max)
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }

    fn is_own(&self) -> bool {
        self.is_own
    }

    fn waits(&self) -> bool {
        self.waits
    }

    fn usage(&self) -> Option<crate::store::Usage> {
        self.store.usage()
    }
}

/// A log that its owner can trim.
fn log() -> LogKeys {
    LogKeys::from_seeds([1; 32], [101; 32], Some([201; 32]))
}

fn counted(waits: bool, is_own: bool) -> (Arc<Counted>, World) {
    let limits = Limits::default();
    let store = MemoryStore::new(limits.quota).unwrap();
    let store = Arc::new(Counted { store, reads: AtomicUsize::new(0), waits, is_own });
    let (world, _) = world_of(limits, Arc::clone(&store) as Arc<dyn LogStore>);
    (store, world)
}

async fn writer(world: &World) -> Client {
    let mut client = world.client().await;
    client.open(1, &log(), &[Role::Write, Role::Trim]).await;
    client
}

async fn follower(world: &World, after: Option<Cursor>) -> Client {
    let mut client = world.client().await;
    client.open(1, &log(), &[Role::Read]).await;
    client.send(Request::Follow { handle: 1, after }).await;
    while !matches!(client.next().await, Answer::CaughtUp { .. }) {}
    client
}

/// The first bytes of the entries that come next, so many of them.
async fn told(client: &mut Client, count: usize) -> Vec<u16> {
    let mut told = Vec::new();
    while told.len() < count {
        let answer = client.next().await;
        let Answer::Entries { entries, cursor, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(entries.last().map(|entry| entry.seq), Some(cursor.seq));
        told.extend(entries.iter().map(|it| u16::from_be_bytes([it.bytes[0], it.bytes[1]])));
    }
    told
}

#[tokio::test]
async fn who_follows_along_has_the_store_read_once() {
    for waits in [false, true] {
        let (store, world) = counted(waits, true);
        let mut writer = writer(&world).await;
        let mut followers = [follower(&world, None).await, follower(&world, None).await];
        for round in 0..20 {
            writer.append(1, 1, entry(round, 512)).await;
            for follower in &mut followers {
                assert_eq!(told(follower, 1).await, [round]);
            }
        }
        assert_eq!(store.reads.load(Ordering::SeqCst), 2, "{waits}");
    }
}

#[tokio::test]
async fn what_was_appended_twice_or_elsewhere_is_told_once_and_in_order() {
    let (_, world) = counted(true, true);
    let mut writer = writer(&world).await;
    let mut follower = follower(&world, None).await;
    writer.append(1, 1, entry(0, 512)).await;
    assert_eq!(told(&mut follower, 1).await, [0]);
    // Nobody tells the follower of these, as after a commit that nobody was answered for.
    for number in [1, 2] {
        let new = NewEntry { log: log().id(), bytes: entry(number, 512) };
        world.service.store.append(&[new], Timestamp(1)).unwrap();
    }
    writer.append(2, 1, entry(1, 512)).await;
    writer.append(3, 1, entry(3, 512)).await;
    writer.append(4, 1, entry(0, 512)).await;
    writer.append(5, 1, entry(4, 512)).await;
    assert_eq!(told(&mut follower, 4).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_was_trimmed_is_not_told_out_of_memory() {
    let (_, world) = counted(true, true);
    let mut writer = writer(&world).await;
    let mut first = follower(&world, None).await;
    let mut last = None;
    for round in 0..4 {
        let answer = writer.append(round.into(), 1, entry(round, 512)).await;
        let Answer::Appended { cursor, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(told(&mut first, 1).await, [round]);
        last = Some(cursor);
    }
    let cursor = Cursor { seq: 3, ..last.unwrap() };
    writer.ask(Request::Trim { req: 9, handle: 1, cursor }).await;
    let mut client = world.client().await;
    client.open(1, &log(), &[Role::Read]).await;
    client.send(Request::Follow { handle: 1, after: None }).await;
    assert_eq!(told(&mut client, 1).await, [3]);
}

#[tokio::test]
async fn where_others_append_the_store_is_read() {
    let (store, world) = counted(true, false);
    let mut writer = writer(&world).await;
    let mut follower = follower(&world, None).await;
    for round in 0..5 {
        writer.append(1, 1, entry(round, 512)).await;
        assert_eq!(told(&mut follower, 1).await, [round]);
    }
    assert!(store.reads.load(Ordering::SeqCst) >= 6);
}
