//! What those who come from one address can take from others.

use std::{
    sync::{Condvar, Mutex},
    time::Instant,
};

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// As many as a cluster has that says nothing of its own.
const LANES: usize = 8;

impl World {
    /// Reads all of a log from an address, on a stream of its own; answers how many entries.
    async fn read_from(&self, from: IpAddr, keys: &LogKeys) -> usize {
        let mut client = self.client_from(Some(from), 1 << 20).await;
        client.open(1, keys, &[Role::Read]).await;
        client.send(Request::Follow { handle: 1, after: None }).await;
        let mut count = 0;
        loop {
            match client.next().await {
                Answer::Entries { entries, .. } => count += entries.len(),
                Answer::CaughtUp { .. } => return count,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_an_address_reads_is_paced_on_all_its_streams_and_all_of_it_comes() {
    let world = world(Limits {
        address_delivered_per_s: 1 << 20,
        address_delivered_burst: 128 << 10,
        ..Limits::default()
    });
    world.fill(&keys(1), 20);
    let start = Instant::now();
    for _ in 0..2 {
        assert_eq!(world.read_from(HERE, &keys(1)).await, 20);
    }
    // But for what is free after a rest, and the last page: nothing waits behind that.
    let least = Duration::from_secs(1) * (40 - 4 - 2) / 32;
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

#[tokio::test]
async fn that_an_address_is_told_more_slowly_is_counted() {
    for (burst, times) in [(1 << 20, 0), (1 << 10, 1)] {
        let world = world(Limits {
            address_delivered_per_s: 1,
            address_delivered_burst: burst,
            ..Limits::default()
        });
        world.fill(&keys(1), 1);
        assert_eq!(world.read_from(HERE, &keys(1)).await, 1);
        assert_eq!(world.service.counts.deliveries_paced.get(), times, "{burst}");
    }
}

#[tokio::test]
async fn what_was_read_and_is_wanted_no_more_counts_too() {
    let limits = Limits {
        address_delivered_per_s: 1,
        address_delivered_burst: 1 << 10,
        ..Limits::default()
    };
    let (world, gate) = Gated::world(limits, Call::Read, None);
    world.fill(&keys(1), 1);
    let mut client = world.client_from(Some(HERE), 1 << 20).await;
    client.open(1, &keys(1), &[Role::Read]).await;
    client.send(Request::Follow { handle: 1, after: None }).await;
    gate.seen(1).await;
    let generation = world.service.store.generation() + 1;
    let after = Some(Cursor { generation, seq: 1 });
    let answer = client.ask(Request::Follow { handle: 1, after }).await;
    assert_eq!(answer, Answer::CursorGone { handle: 1 });
    let wait = || world.service.budgets.of(HERE, Instant::now()).wait_to_read(Instant::now());
    assert!(wait().is_zero());
    drop(gate);
    let counted = async {
        while wait().is_zero() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), counted).await.is_ok());
}

/// A store one of whose calls waits until it is let go on.
struct Gated {
    store: MemoryStore,
    call: Call,
    /// Whose calls wait; by itself all.
    only: Option<LogId>,
    gate: Arc<Gate>,
}

#[derive(Clone, Copy, PartialEq)]
enum Call {
    Append,
    CatchUp,
    Read,
    Trim,
}

#[derive(Default)]
struct Gate {
    /// Whether it is open, and of which logs calls have come to it.
    state: Mutex<(bool, Vec<LogId>)>,
    opened: Condvar,
}

/// Opens the gate at the latest when the test has ended: a runtime waits for the calls of its store.
struct Opens(Arc<Gate>);

impl Gated {
    fn world(limits: Limits, call: Call, only: Option<LogId>) -> (World, Opens) {
        let gate = Arc::new(Gate::default());
        let store = MemoryStore::new(limits.quota).unwrap();
        let store = Self { store, call, only, gate: Arc::clone(&gate) };
        (world_of(limits, Arc::new(store)).0, Opens(gate))
    }

    fn pass(&self, call: Call, log: LogId) {
        if self.call != call || self.only.is_some_and(|only| only != log) {
            return;
        }
        let mut state = self.gate.state.lock().unwrap();
        state.1.push(log);
        while !state.0 {
            state = self.gate.opened.wait(state).unwrap();
        }
    }
}

impl Opens {
    /// The logs of which calls have come to the gate, once there are so many.
    async fn seen(&self, least: usize) -> Vec<LogId> {
        loop {
            let seen = self.0.state.lock().unwrap().1.clone();
            if seen.len() >= least {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().0 = true;
        self.0.opened.notify_all();
    }
}

impl LogStore for Gated {
    fn generation(&self) -> u64 {
        self.store.generation()
    }

    /// What waits by itself has a lane of its own, of as many as a cluster has.
    fn lanes(&self) -> usize {
        if self.only.is_some() { LANES } else { 1 }
    }

    fn lane(&self, log: LogId) -> usize {
        usize::from(self.only == Some(log))
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        batch.first().into_iter().for_each(|new| self.pass(Call::Append, new.log));
        self.store.append(batch, now)
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        self.pass(Call::Read, log);
        self.store.read(log, after, max_bytes)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.pass(Call::Trim, log);
        self.store.trim(log, to, max)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        self.store.expire(before, now, max)
    }

    fn catch_up(&self, log: LogId) -> Result<(), StoreError> {
        self.pass(Call::CatchUp, log);
        Ok(())
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }

    fn usage(&self) -> Option<crate::store::Usage> {
        self.store.usage()
    }
}

/// Has every session do what it can without the store.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_address_has_half_of_the_reads_and_others_read_beside_it() {
    let limits = Limits { reads: 4, ..Limits::default() };
    let (world, gate) = Gated::world(limits, Call::Read, Some(keys(1).id()));
    let mut many = Vec::new();
    for _ in 0..8 {
        let mut client = world.client_from(Some(HERE), 1 << 20).await;
        client.open(1, &keys(1), &[Role::Read]).await;
        client.send(Request::Follow { handle: 1, after: None }).await;
        many.push(client);
    }
    settle().await;
    gate.seen(2).await;
    let other = keys(2);
    let there = world.read_from(THERE, &other);
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), there).await, Ok(0));
    assert_eq!(gate.seen(2).await.len(), 2);
    drop(gate);
    for mut client in many {
        assert!(matches!(client.next().await, Answer::CaughtUp { .. }), "each has its turn");
    }
}

#[tokio::test]
async fn an_address_fills_most_of_the_queue_and_others_find_room_in_it() {
    let limits = Limits { append_queue: 16, ..Limits::default() };
    let (world, gate) = Gated::world(limits, Call::Append, None);
    let mut here = world.client_from(Some(HERE), 1 << 20).await;
    here.open(1, &keys(1), &[Role::Write]).await;
    let append = |req| Request::Append { req, handle: 1, entry: entry(req as u16, 512) };
    here.send(append(0)).await;
    gate.seen(1).await;
    for req in 1..=40 {
        here.send(append(req)).await;
    }
    for _ in 0..24 {
        let refused = here.next().await;
        assert!(matches!(refused, Answer::AppendRefused { .. }), "{refused:?}");
    }
    let mut there = world.client_from(Some(THERE), 1 << 20).await;
    there.open(1, &keys(2), &[Role::Write]).await;
    there.send(append(1)).await;
    there.send(Request::Append { req: 2, handle: 9, entry: entry(2, 512) }).await;
    let second = Answer::AppendRefused { req: 2, reason: Refusal::NoSuchHandle };
    assert_eq!(there.next().await, second, "the first one waits for the disk");
    drop(gate);
    assert!(matches!(there.next().await, Answer::Appended { req: 1, .. }));
    let mut taken = 0;
    for _ in 24..41 {
        taken += usize::from(matches!(here.next().await, Answer::Appended { .. }));
    }
    assert_eq!(taken, 1 + 12, "one in hand, and all but what is kept for others");
}

#[tokio::test]
async fn what_one_lane_does_not_take_keeps_no_other_waiting_and_one_address_fills_none_of_them() {
    let limits = Limits { append_queue: 16 * LANES, ..Limits::default() };
    let (world, gate) = Gated::world(limits, Call::Append, Some(keys(1).id()));
    let mut stuck = world.client_from(Some(HERE), 1 << 20).await;
    stuck.open(1, &keys(1), &[Role::Write]).await;
    let append = |req| Request::Append { req, handle: 1, entry: entry(req as u16, 512) };
    stuck.send(append(0)).await;
    gate.seen(1).await;
    for req in 1..=20 {
        stuck.send(append(req)).await;
    }
    // A lane has its part of the queue, and a part of that is kept for others.
    for _ in 0..8 {
        assert!(matches!(stuck.next().await, Answer::AppendRefused { .. }));
    }
    let mut there = world.client_from(Some(THERE), 1 << 20).await;
    there.open(1, &keys(1), &[Role::Write]).await;
    there.send(append(30)).await;
    there.send(Request::Append { req: 31, handle: 9, entry: entry(31, 512) }).await;
    let second = Answer::AppendRefused { req: 31, reason: Refusal::NoSuchHandle };
    assert_eq!(there.next().await, second, "the first one waits for the lane");
    // Who fills its part of one has room in the others.
    for from in [HERE, THERE] {
        let mut other = world.client_from(Some(from), 1 << 20).await;
        other.open(1, &keys(2), &[Role::Write]).await;
        let answer = other.append(7, 1, entry(7, 512));
        let answer = tokio::time::timeout(Duration::from_secs(60), answer).await.unwrap();
        assert!(matches!(answer, Answer::Appended { req: 7, .. }), "{answer:?}");
    }
    drop(gate);
    for _ in 0..13 {
        assert!(matches!(stuck.next().await, Answer::Appended { .. }));
    }
    assert!(matches!(there.next().await, Answer::Appended { req: 30, .. }));
}

#[tokio::test]
async fn trims_take_turns_step_by_step_and_one_address_has_one_at_a_time() {
    let inbox = |seed| LogKeys::from_seeds([seed; 32], [seed + 100; 32], Some([seed + 200; 32]));
    let (world, gate) = Gated::world(Limits::default(), Call::Trim, None);
    let (long, short, other) = (inbox(1), inbox(2), inbox(3));
    world.fill(&long, 700);
    let mut clients = Vec::new();
    for (from, keys) in [(HERE, &long), (HERE, &short), (THERE, &other)] {
        let mut client = world.client_from(Some(from), 1 << 20).await;
        client.open(1, keys, &[Role::Trim]).await;
        let cursor = Cursor { generation: world.service.store.generation(), seq: 650 };
        client.send(Request::Trim { req: 1, handle: 1, cursor }).await;
        settle().await;
        clients.push(client);
    }
    gate.seen(1).await;
    let seen = Arc::clone(&gate.0);
    drop(gate);
    for client in &mut clients {
        assert!(matches!(client.next().await, Answer::Trimmed { .. }));
    }
    let [long, short, other] = [long, short, other].map(|keys| keys.id());
    assert_eq!(seen.state.lock().unwrap().1, [long, other, long, long, short]);
}

#[tokio::test]
async fn who_makes_up_a_cursor_keeps_nobody_from_reading() {
    let limits = Limits { reads: 1, ..Limits::default() };
    let (world, gate) = Gated::world(limits, Call::CatchUp, None);
    let after = Some(Cursor { generation: world.service.store.generation(), seq: 5 });
    let mut many = Vec::new();
    for _ in 0..3 {
        let mut client = world.client_from(Some(HERE), 1 << 20).await;
        client.open(1, &keys(1), &[Role::Read]).await;
        client.send(Request::Follow { handle: 1, after }).await;
        many.push(client);
    }
    settle().await;
    gate.seen(1).await;
    let other = keys(2);
    for from in [HERE, THERE] {
        let read = world.read_from(from, &other);
        assert_eq!(tokio::time::timeout(Duration::from_secs(60), read).await, Ok(0));
    }
    assert_eq!(gate.seen(1).await.len(), 1, "one at a time for an address");
    drop(gate);
    for mut client in many {
        assert_eq!(client.next().await, Answer::CursorGone { handle: 1 });
    }
}
