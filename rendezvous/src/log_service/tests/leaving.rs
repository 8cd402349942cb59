//! A relay that is about to end.

use std::sync::{Condvar, Mutex};

use super::*;

/// A store whose disk takes as long as it is held.
struct Slow {
    store: MemoryStore,
    held: Mutex<bool>,
    freed: Condvar,
}

impl Slow {
    fn held(limits: &Limits) -> Arc<Self> {
        let store = MemoryStore::new(limits.quota).unwrap();
        Arc::new(Self { store, held: Mutex::new(true), freed: Condvar::new() })
    }

    fn free(&self) {
        *self.held.lock().unwrap() = false;
        self.freed.notify_all();
    }
}

impl LogStore for Slow {
    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let held = self.held.lock().unwrap();
        drop(self.freed.wait_while(held, |held| *held).unwrap());
        self.store.append(batch, now)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
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

    fn usage(&self) -> Option<crate::store::Usage> {
        self.store.usage()
    }
}

#[tokio::test]
async fn who_is_connected_hears_that_the_relay_leaves_and_the_stream_ends() {
    let world = world(Limits::default());
    let (mut one, mut two) = (world.client().await, world.client().await);
    assert!(world.service.leave(2));
    for client in [&mut one, &mut two] {
        assert_eq!(client.next().await, Answer::Leaving { retry_ms: 500 });
        assert!(client.io.next().await.is_none());
        // What was said may still be on its way, and a connection that is closed would take it along.
        assert!(!client.session.is_finished());
    }
    drop(one.io);
    assert!(one.session.await.unwrap().is_ok());
    // Who heard it and stays is not waited for much longer.
    assert!(two.ended().await.is_ok());
    // Who comes in the same moment hears it too.
    let mut late = world.client().await;
    assert_eq!(late.next().await, Answer::Leaving { retry_ms: 500 });
}

#[tokio::test]
async fn what_was_asked_for_is_answered_before_the_stream_ends_and_nothing_is_asked_after() {
    let limits = Limits::default();
    let store = Slow::held(&limits);
    let (world, _) = world_of(limits, Arc::clone(&store) as Arc<dyn LogStore>);
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write]).await;
    for req in 1..=3 {
        client.send(Request::Append { req, handle: 1, entry: entry(1, 512 << req) }).await;
    }
    // All three are taken before the relay leaves: a refusal comes after them.
    let refused = client.append(9, 2, entry(1, 512)).await;
    assert!(matches!(refused, Answer::AppendRefused { req: 9, .. }));
    assert!(world.service.leave(1));
    assert_eq!(client.next().await, Answer::Leaving { retry_ms: 500 });
    client.send(Request::Append { req: 4, handle: 1, entry: entry(4, 512) }).await;
    store.free();
    for req in 1..=3 {
        assert_eq!(seq(&client.next().await), req);
    }
    assert!(client.io.next().await.is_none());
    assert_eq!(store.read(keys(1).id(), 0, 1 << 20).unwrap().entries.len(), 3);
}
