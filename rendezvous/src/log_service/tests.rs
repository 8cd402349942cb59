//! What a client sees of the log service, over a pipe.

mod fairness;
mod leaving;
mod recent;
mod tokens;
mod trims;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use protocol::{
    codec,
    ids::{LogId, Timestamp},
    limits::{ENVELOPE_MAX, LOG_REQUEST_MAX},
    relay_log::{Answer, Challenge, Cursor, LogKeys, Proof, Refusal, Request, Role},
    sign::Signature,
};
use tokio::{io::DuplexStream, task::JoinHandle};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    sync::CancellationToken,
};

use super::{Holders, LogService, Writer, serve, session::Ended};
use crate::{
    limits::{BAD_PROOFS, Limits},
    store::{LogStore, MemoryStore, NewEntry, Outcome, Page, Quota, StoreError, Trimmed},
};

const RELAY: &[u8] = b"relay";

/// How long who has no log open may stay, where that is tried: what is to be opened in time must be so on a
/// machine that is busy, too.
const IDLE: Duration = Duration::from_secs(3);

struct World {
    service: Arc<LogService>,
    writer: Writer,
}

struct Client {
    io: Framed<DuplexStream, LengthDelimitedCodec>,
    challenge: Challenge,
    session: JoinHandle<Result<(), Ended>>,
}

fn world(limits: Limits) -> World {
    let store = Arc::new(MemoryStore::new(limits.quota).unwrap());
    world_of(limits, store).0
}

fn world_of(limits: Limits, store: Arc<dyn LogStore>) -> (World, CancellationToken) {
    world_for(limits, store, None)
}

fn world_for(
    limits: Limits,
    store: Arc<dyn LogStore>,
    holders: Option<Arc<Holders>>,
) -> (World, CancellationToken) {
    let ended = CancellationToken::new();
    let (service, writer) =
        LogService::start(RELAY.to_vec(), limits, store, Arc::default(), holders, ended.clone())
            .unwrap();
    (World { service, writer }, ended)
}

fn keys(seed: u8) -> LogKeys {
    LogKeys::from_seeds([seed; 32], [seed + 100; 32], None)
}

impl World {
    async fn client(&self) -> Client {
        self.client_with_pipe(1 << 20).await
    }

    async fn client_with_pipe(&self, pipe: usize) -> Client {
        self.client_from(None, pipe).await
    }

    async fn client_from(&self, from: Option<IpAddr>, pipe: usize) -> Client {
        let (near, far) = tokio::io::duplex(pipe);
        let session = tokio::spawn(serve(Arc::clone(&self.service), from, far));
        let frames = LengthDelimitedCodec::builder().max_frame_length(1 << 20).new_codec();
        let mut io = Framed::new(near, frames);
        let hello = io.next().await.unwrap().unwrap();
        let Answer::Hello { nonce, .. } = codec::decode(&hello).unwrap() else { panic!() };
        Client { io, challenge: Challenge::new(RELAY, nonce), session }
    }

    /// Appends behind the clients' backs, as fast as the store goes.
    fn fill(&self, keys: &LogKeys, count: u16) {
        let batch: Vec<_> =
            (0..count).map(|i| NewEntry { log: keys.id(), bytes: entry(i, 32_768) }).collect();
        self.service.store.append(&batch, Timestamp(1)).unwrap();
        self.service.followers.ring(keys.id());
    }
}

impl Client {
    async fn send(&mut self, request: Request) {
        self.io.send(Bytes::from(codec::encode(&request))).await.unwrap();
    }

    async fn next(&mut self) -> Answer {
        codec::decode(&self.io.next().await.unwrap().unwrap()).unwrap()
    }

    async fn ask(&mut self, request: Request) -> Answer {
        self.send(request).await;
        self.next().await
    }

    async fn open(&mut self, handle: u32, keys: &LogKeys, roles: &[Role]) -> Answer {
        let proofs = roles.iter().filter_map(|role| keys.prove(*role, &self.challenge)).collect();
        self.ask(Request::Open { handle, publics: keys.publics(), proofs }).await
    }

    async fn append(&mut self, req: u32, handle: u32, entry: Vec<u8>) -> Answer {
        self.ask(Request::Append { req, handle, entry }).await
    }

    async fn ended(self) -> Result<(), Ended> {
        self.session.await.unwrap()
    }
}

fn entry(number: u16, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn seq(answer: &Answer) -> u64 {
    match answer {
        Answer::Appended { cursor, .. } => cursor.seq,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_takes_nothing_of_what_it_asked_for_is_hung_up_on() {
    let timing = Limits { ping_timeout: Duration::from_millis(100), ..Limits::default() };
    let world = world(timing);
    let mut stuck = world.client_with_pipe(512).await;
    stuck.open(1, &keys(1), &[Role::Write, Role::Read]).await;
    world.fill(&keys(1), 4);
    stuck.send(Request::Follow { handle: 1, after: None }).await;
    let ended = tokio::time::timeout(Duration::from_secs(60), stuck.session).await;
    assert!(matches!(ended.unwrap().unwrap(), Err(Ended::Stuck)));

    let mut idle = world.client_with_pipe(512).await;
    idle.open(1, &keys(2), &[Role::Write, Role::Read]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!idle.session.is_finished(), "nothing waits for it");
}

#[tokio::test]
async fn who_has_no_log_open_is_sent_away_in_time() {
    let world = world(Limits { idle: IDLE, ..Limits::default() });
    let silent = world.client().await;
    let (mut user, mut done) = (world.client().await, world.client().await);
    user.open(1, &keys(1), &[Role::Write]).await;
    done.open(1, &keys(1), &[Role::Write]).await;
    assert!(matches!(silent.ended().await, Err(Ended::Idle)));
    done.send(Request::Close { handle: 1 }).await;
    assert!(matches!(done.ended().await, Err(Ended::Idle)));
    assert_eq!(seq(&user.append(1, 1, entry(1, 512)).await), 1);
}

#[tokio::test]
async fn a_log_is_open_once_on_a_stream() {
    let world = world(Limits::default());
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Read]).await;
    let refused = Answer::OpenRefused { handle: 2, reason: Refusal::TooManyLogs };
    assert_eq!(client.open(2, &keys(1), &[Role::Write]).await, refused);
    assert_eq!(client.open(2, &keys(2), &[Role::Write]).await, Answer::Opened { handle: 2 });
    client.send(Request::Close { handle: 1 }).await;
    assert_eq!(client.open(1, &keys(1), &[Role::Write]).await, Answer::Opened { handle: 1 });
}

#[tokio::test]
async fn a_follower_gets_what_was_there_and_what_comes() {
    let world = world(Limits::default());
    let (mut alice, mut bob) = (world.client().await, world.client().await);
    assert_eq!(alice.open(7, &keys(1), &[Role::Write]).await, Answer::Opened { handle: 7 });
    assert_eq!(seq(&alice.append(1, 7, entry(1, 512)).await), 1);

    bob.open(9, &keys(1), &[Role::Read]).await;
    let first = bob.ask(Request::Follow { handle: 9, after: None }).await;
    let Answer::Entries { handle: 9, entries, cursor } = first else { panic!("{first:?}") };
    assert_eq!((entries[0].bytes.clone(), cursor.seq), (entry(1, 512), 1));
    assert_eq!(bob.next().await, Answer::CaughtUp { handle: 9, cursor });

    alice.append(2, 7, entry(2, 1024)).await;
    let Answer::Entries { entries, cursor, .. } = bob.next().await else { panic!() };
    assert_eq!((entries.len(), entries[0].bytes.len(), cursor.seq), (1, 1024, 2));
}

#[tokio::test]
async fn following_from_a_cursor_skips_what_was_read() {
    let world = world(Limits::default());
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write, Role::Read]).await;
    client.append(1, 1, entry(1, 512)).await;
    let Answer::Appended { cursor, .. } = client.append(2, 1, entry(2, 512)).await else {
        panic!()
    };
    client.append(3, 1, entry(3, 512)).await;
    let after = Some(cursor);
    let Answer::Entries { entries, .. } = client.ask(Request::Follow { handle: 1, after }).await
    else {
        panic!()
    };
    assert_eq!(entries.iter().map(|it| it.seq).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a_cursor_of_another_generation_or_of_the_future_is_gone() {
    let world = world(Limits::default());
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Read]).await;
    let generation = world.service.store.generation();
    for cursor in [Cursor { generation: !generation, seq: 0 }, Cursor { generation, seq: 5 }] {
        let answer = client.ask(Request::Follow { handle: 1, after: Some(cursor) }).await;
        assert_eq!(answer, Answer::CursorGone { handle: 1 });
    }
    let answer = client.ask(Request::Follow { handle: 1, after: None }).await;
    assert_eq!(answer, Answer::CaughtUp { handle: 1, cursor: Cursor { generation, seq: 0 } });
}

#[tokio::test]
async fn nothing_is_done_without_the_proof_for_it() {
    let world = world(Limits::default());
    let mut client = world.client().await;
    let refused = |reason| Answer::OpenRefused { handle: 1, reason };
    assert_eq!(client.open(1, &keys(1), &[]).await, refused(Refusal::BadProof));
    let proofs = vec![keys(2).prove(Role::Write, &client.challenge).unwrap()];
    let stolen = Request::Open { handle: 1, publics: keys(1).publics(), proofs };
    assert_eq!(client.ask(stolen).await, refused(Refusal::BadProof));
    let answer = client.append(5, 1, entry(1, 512)).await;
    assert_eq!(answer, Answer::AppendRefused { req: 5, reason: Refusal::NoSuchHandle });

    client.open(1, &keys(1), &[Role::Read]).await;
    let answer = client.append(5, 1, entry(1, 512)).await;
    assert_eq!(answer, Answer::AppendRefused { req: 5, reason: Refusal::BadProof });
    client.send(Request::Close { handle: 1 }).await;
    client.open(2, &keys(1), &[Role::Write]).await;
    let answer = client.ask(Request::Follow { handle: 2, after: None }).await;
    assert_eq!(answer, Answer::FollowRefused { handle: 2, reason: Refusal::BadProof });
}

#[tokio::test]
async fn only_entries_of_a_bucket_s_size_are_taken_and_each_once() {
    let world = world(Limits::default());
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write]).await;
    for (len, reason) in [
        (0, Refusal::NotBucket),
        (1, Refusal::NotBucket),
        (513, Refusal::NotBucket),
        (ENVELOPE_MAX + 1, Refusal::TooLarge),
    ] {
        let answer = client.append(1, 1, vec![0; len]).await;
        assert_eq!(answer, Answer::AppendRefused { req: 1, reason }, "{len}");
    }
    assert_eq!(seq(&client.append(2, 1, entry(1, ENVELOPE_MAX)).await), 1);
    assert_eq!(seq(&client.append(3, 1, entry(2, 512)).await), 2);
    assert_eq!(seq(&client.append(4, 1, entry(1, ENVELOPE_MAX)).await), 1);
}

#[tokio::test]
async fn a_full_log_and_too_many_logs_are_refused() {
    let default = Limits::default();
    let quota = Quota { log_entries: 1, ..default.quota };
    let world = world(Limits { logs: 2, quota, ..default });
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write]).await;
    client.append(1, 1, entry(1, 512)).await;
    let answer = client.append(2, 1, entry(2, 512)).await;
    assert_eq!(answer, Answer::AppendRefused { req: 2, reason: Refusal::LogFull });
    client.open(2, &keys(2), &[Role::Write]).await;
    let answer = client.open(3, &keys(3), &[Role::Write]).await;
    assert_eq!(answer, Answer::OpenRefused { handle: 3, reason: Refusal::TooManyLogs });
    client.send(Request::Close { handle: 1 }).await;
    assert_eq!(client.open(3, &keys(3), &[Role::Write]).await, Answer::Opened { handle: 3 });
}

#[tokio::test]
async fn a_client_that_breaks_the_rules_is_dropped_and_others_are_served() {
    let world = world(Limits::default());
    let mut good = world.client().await;
    for frame in [vec![0], vec![], vec![0xff; 200], vec![0; LOG_REQUEST_MAX + 1]] {
        let mut bad = world.client().await;
        bad.io.send(Bytes::from(frame)).await.unwrap();
        assert!(matches!(bad.ended().await, Err(Ended::Broken)));
    }
    let mut twice = world.client().await;
    twice.open(1, &keys(1), &[Role::Read]).await;
    let publics = keys(2).publics();
    twice.send(Request::Open { handle: 1, publics, proofs: vec![] }).await;
    assert!(matches!(twice.ended().await, Err(Ended::Broken)));
    assert_eq!(good.open(1, &keys(1), &[Role::Read]).await, Answer::Opened { handle: 1 });
}

#[tokio::test]
async fn a_slow_reader_delays_nobody_and_still_gets_everything() {
    let world = world(Limits::default());
    let mut slow = world.client_with_pipe(16_384).await;
    slow.open(1, &keys(1), &[Role::Read]).await;
    slow.send(Request::Follow { handle: 1, after: None }).await;
    let mut fast = world.client().await;
    fast.open(1, &keys(1), &[Role::Read]).await;
    fast.send(Request::Follow { handle: 1, after: None }).await;
    world.fill(&keys(1), 200);

    for client in [&mut fast, &mut slow] {
        let mut numbers = Vec::new();
        while numbers.len() < 200 {
            if let Answer::Entries { entries, .. } = client.next().await {
                numbers.extend(entries.iter().map(|entry| entry.seq));
            }
        }
        assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn following_again_starts_again() {
    let world = world(Limits::default());
    world.fill(&keys(1), 3);
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Read]).await;
    for _ in 0..2 {
        client.send(Request::Follow { handle: 1, after: None }).await;
    }
    let mut ends = 0;
    let mut last_round = Vec::new();
    while ends < 1 || last_round != [1, 2, 3] {
        match client.next().await {
            Answer::Entries { entries, .. } => {
                let numbers = entries.iter().map(|entry| entry.seq);
                if entries[0].seq == 1 {
                    last_round = numbers.collect()
                } else {
                    last_round.extend(numbers)
                }
            }
            Answer::CaughtUp { .. } => ends += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn too_fast_a_client_is_slowed_down_and_loses_nothing() {
    let world = world(Limits { requests_per_s: 200, requests_burst: 2, ..Limits::default() });
    let mut client = world.client().await;
    let start = std::time::Instant::now();
    client.open(1, &keys(1), &[Role::Write]).await;
    for i in 0..21 {
        assert_eq!(seq(&client.append(1, 1, entry(i, 512)).await), u64::from(i) + 1);
    }
    assert!(start.elapsed() >= Duration::from_millis(90), "20 of 22 requests waited 5 ms each");
}

#[tokio::test]
async fn a_client_that_guesses_at_proofs_is_dropped_and_a_full_stream_checks_none() {
    let world = world(Limits { logs: 1, ..Limits::default() });
    let mut client = world.client().await;
    let stolen = |handle| {
        let proofs = vec![keys(2).prove(Role::Write, &Challenge::new(RELAY, [0; 32])).unwrap()];
        Request::Open { handle, publics: keys(1).publics(), proofs }
    };
    for handle in 0..BAD_PROOFS {
        let reason = Refusal::BadProof;
        assert_eq!(client.ask(stolen(handle)).await, Answer::OpenRefused { handle, reason });
    }
    client.open(50, &keys(1), &[Role::Read]).await;
    let reason = Refusal::TooManyLogs;
    assert_eq!(client.ask(stolen(51)).await, Answer::OpenRefused { handle: 51, reason });
    client.send(Request::Close { handle: 50 }).await;
    client.send(stolen(50)).await;
    assert!(matches!(client.ended().await, Err(Ended::Broken)));
}

#[tokio::test]
async fn a_proof_of_another_connection_is_no_proof() {
    let world = world(Limits::default());
    let (one, mut two) = (world.client().await, world.client().await);
    let proofs = vec![keys(1).prove(Role::Read, &one.challenge).unwrap()];
    let replay = Request::Open { handle: 1, publics: keys(1).publics(), proofs };
    let reason = Refusal::BadProof;
    assert_eq!(two.ask(replay).await, Answer::OpenRefused { handle: 1, reason });
}

/// A store whose disk takes nothing.
struct Broken(MemoryStore);

impl LogStore for Broken {
    fn generation(&self) -> u64 {
        self.0.generation()
    }

    fn append(&self, _: &[NewEntry], _: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        Err(std::io::Error::other("broken").into())
    }

    fn read(&self, log: LogId, after: u64, max_bytes: usize) -> Result<Page, StoreError> {
        self.0.read(log, after, max_bytes)
    }

    fn trim(&self, log: LogId, to: u64, max: usize) -> Result<Trimmed, StoreError> {
        self.0.trim(log, to, max)
    }

    fn expire(&self, before: Timestamp, now: Timestamp, max: usize) -> Result<usize, StoreError> {
        self.0.expire(before, now, max)
    }

    fn clock(&self) -> Option<Timestamp> {
        None
    }

    fn usage(&self) -> Option<crate::store::Usage> {
        self.0.usage()
    }
}

#[tokio::test]
async fn a_store_that_fails_ends_the_relay_and_acknowledges_nothing() {
    let limits = Limits::default();
    let store = Broken(MemoryStore::new(limits.quota).unwrap());
    let (world, ended) = world_of(limits, Arc::new(store));
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write]).await;
    client.send(Request::Append { req: 1, handle: 1, entry: entry(1, 512) }).await;
    ended.cancelled().await;
    assert!(client.io.next().now_or_never().is_none(), "no answer");
}

/// A store that puts off each entry that it has already, the first time that it is given it again.
struct Slow {
    store: MemoryStore,
    put_off: Mutex<BTreeSet<(LogId, u64)>>,
}

impl LogStore for Slow {
    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn append(&self, batch: &[NewEntry], now: Timestamp) -> Result<Vec<Outcome>, StoreError> {
        let mut outcome = |new: &NewEntry| -> Result<Outcome, StoreError> {
            let head = self.store.read(new.log, u64::MAX, 0)?.head;
            let outcome = self.store.append(std::slice::from_ref(new), now)?[0];
            Ok(match outcome {
                Outcome::Kept(seq)
                    if seq <= head && self.put_off.lock().unwrap().insert((new.log, seq)) =>
                {
                    Outcome::Later
                }
                outcome => outcome,
            })
        };
        batch.iter().map(&mut outcome).collect()
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
async fn what_the_store_puts_off_is_given_to_it_again_until_it_is_answered() {
    let limits = Limits::default();
    let put_off = Mutex::default();
    let store = Arc::new(Slow { store: MemoryStore::new(limits.quota).unwrap(), put_off });
    let (world, _) = world_of(limits, Arc::clone(&store) as Arc<dyn LogStore>);
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write]).await;
    for number in 1..=8 {
        let answer = client.append(number.into(), 1, entry(number, 512)).await;
        assert_eq!(seq(&answer), u64::from(number));
    }
    for number in 1..=9 {
        client
            .send(Request::Append { req: number.into(), handle: 1, entry: entry(number, 512) })
            .await;
    }
    let mut answers = Vec::new();
    while answers.len() < 9 {
        let Answer::Appended { req, cursor } = client.next().await else { panic!() };
        answers.push((u64::from(req), cursor.seq));
    }
    answers.sort_unstable();
    assert!(answers.into_iter().eq((1..=9).map(|number| (number, number))));
    assert_eq!(store.put_off.lock().unwrap().len(), 8, "each was put off once");
}

#[tokio::test]
async fn an_address_can_t_append_more_by_connecting_again() {
    let day = Duration::from_hours(24);
    let world = world(Limits { address_bytes: 1024, address_time: day, ..Limits::default() });
    let [here, there]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
    for (round, from, is_taken) in
        [(1, here, true), (2, here, true), (3, here, false), (4, there, true)]
    {
        let mut client = world.client_from(Some(from), 1 << 20).await;
        client.open(1, &keys(1), &[Role::Write]).await;
        let answer = client.append(1, 1, entry(round, 512)).await;
        assert_eq!(matches!(answer, Answer::Appended { .. }), is_taken, "{round}: {answer:?}");
    }
}

#[tokio::test]
async fn old_entries_expire() {
    let world = world(Limits { ttl: Duration::from_millis(1), ..Limits::default() });
    world.fill(&keys(1), 3);
    let expiry = tokio::spawn(world.service.expire());
    while !world.service.store.read(keys(1).id(), 0, 1).unwrap().entries.is_empty() {
        tokio::task::yield_now().await;
    }
    expiry.abort();
}

#[tokio::test]
async fn what_waits_for_the_disk_is_written_before_the_service_ends() {
    let World { service, writer } = world(Limits::default());
    let store = Arc::clone(&service.store);
    let world = World { service, writer };
    let mut client = world.client().await;
    client.open(1, &keys(1), &[Role::Write]).await;
    client.append(1, 1, entry(1, 512)).await;
    drop(client.io);
    assert!(matches!(client.session.await.unwrap(), Err(Ended::Closed)));
    world.writer.finish(world.service).await;
    assert_eq!(store.read(keys(1).id(), 0, 1).unwrap().entries.len(), 1);
}
