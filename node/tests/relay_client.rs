//! The relay's client against real relays in this process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use node::net::relay::{
    Begin, ClientId, DownReason, LogPlan, RelayCommand, RelayPeer, RelayReport, spawn,
};
use protocol::relay_log::{Cursor, LogKeys, Refusal};
use rendezvous::{Config, Relay};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

/// Long enough for a machine that is busy; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

struct Client {
    commands: mpsc::Sender<RelayCommand>,
    reports: mpsc::Receiver<(ClientId, RelayReport)>,
}

/// What is told of a relay that keeps entries as long as one does by itself.
const UP: RelayReport =
    RelayReport::Up { wants_token: false, keeps: Duration::from_hours(30 * 24) };

fn config(dir: &Path, listen: SocketAddr) -> Config {
    Config { listen: vec![listen], ..Config::durable(dir.to_path_buf()) }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A port that the system gives nobody who asks for any: a relay that comes back finds it free.
fn kept() -> SocketAddr {
    loop {
        let port = 10_000 + u16::try_from(getrandom::u32().unwrap() % 20_000).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(at).is_ok() && std::net::UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

fn peer(relay: &Relay) -> RelayPeer {
    RelayPeer::from_addrs(&relay.addrs()).unwrap()
}

fn socket(relay: &Relay) -> SocketAddr {
    let addr = relay.addrs()[0].to_string();
    ([127, 0, 0, 1], addr.split('/').nth(4).unwrap().parse().unwrap()).into()
}

fn keys() -> Arc<LogKeys> {
    Arc::new(LogKeys::from_seeds([1; 32], [2; 32], None))
}

fn entry(number: u64) -> Bytes {
    let mut bytes = vec![0; 512];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn number(entry: &Bytes) -> u64 {
    u64::from_be_bytes(entry[..8].try_into().unwrap())
}

impl Client {
    fn of(relay: RelayPeer) -> Self {
        let (commands, inbox) = mpsc::channel(64);
        let (outbox, reports) = mpsc::channel(64);
        spawn(relay, 0, None, inbox, outbox);
        Self { commands, reports }
    }

    async fn follow(&self, keys: &Arc<LogKeys>, after: Option<Cursor>) {
        let plan =
            vec![LogPlan { keys: Arc::clone(keys), after, begin: Begin::Start, token: None }];
        self.commands.send(RelayCommand::Plan(plan)).await.unwrap();
    }

    async fn append(&self, keys: &LogKeys, tag: u64) {
        let command = RelayCommand::Append { log: keys.id(), tag, entry: entry(tag) };
        self.commands.send(command).await.unwrap();
    }

    /// The next report; those of pings come in between whenever they like.
    async fn next(&mut self) -> RelayReport {
        loop {
            let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
            match report.unwrap().unwrap().1 {
                RelayReport::Latency { .. } => {}
                report => return report,
            }
        }
    }

    async fn until<T>(&mut self, mut find: impl FnMut(RelayReport) -> Option<T>) -> T {
        loop {
            if let Some(found) = find(self.next().await) {
                return found;
            }
        }
    }

    /// Waits until it has read all, and has an answer to its first ping: the next one is a while later.
    async fn rests(&mut self) {
        let (mut has_read, mut is_pinged) = (false, false);
        while !(has_read && is_pinged) {
            let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
            match report.unwrap().unwrap().1 {
                RelayReport::CaughtUp { .. } => has_read = true,
                RelayReport::Latency { .. } => is_pinged = true,
                _ => {}
            }
        }
    }

    async fn sees(&mut self, expected: RelayReport) {
        self.until(|report| (report == expected).then_some(())).await;
    }

    async fn stored(&mut self, entry: u64) {
        let is_it =
            |it: &RelayReport| matches!(it, RelayReport::Appended { tag, .. } if *tag == entry);
        self.until(|report| is_it(&report).then_some(())).await;
    }

    /// The numbers of the next `count` entries.
    async fn entries(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            if let RelayReport::Entries { entries, .. } = self.next().await {
                numbers.extend(entries.iter().map(number));
            }
        }
        numbers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_websocket_gets_through_a_relay_is_reached_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    let mut web = peer(&relay);
    web.addrs.retain(|addr| addr.to_string().ends_with("/ws"));
    assert_eq!(web.addrs.len(), 1);
    // An address where nobody listens is tried first.
    let nobody = std::net::TcpListener::bind(anywhere()).unwrap().local_addr().unwrap().port();
    let dead = format!("/ip4/127.0.0.1/tcp/{nobody}").parse().unwrap();
    let both = RelayPeer { addrs: vec![dead, web.addrs[0].clone()], ..web.clone() };
    for peer in [web, both] {
        let mut client = Client::of(peer);
        client.follow(&keys(), None).await;
        client.append(&keys(), 1).await;
        // Either may come first.
        let (mut stored, mut read) = (false, false);
        while !(stored && read) {
            match client.next().await {
                RelayReport::Appended { tag: 1, .. } => stored = true,
                RelayReport::Entries { entries, .. } => {
                    read = entries.iter().any(|it| number(it) == 1)
                }
                _ => {}
            }
        }
    }
}

/// What a way to a relay does with what it is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Passes,
    Swallows,
    /// It swallows, but what the relay has sent meanwhile arrives yet.
    IsLate,
}

/// A way to a relay by TCP.
async fn way(relay: &Relay) -> (RelayPeer, watch::Sender<Way>) {
    let to = socket(relay);
    let listener = TcpListener::bind(anywhere()).await.unwrap();
    let here = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port());
    let (way, seen) = watch::channel(Way::Passes);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (far, seen) = (TcpStream::connect(to).await.unwrap(), seen.clone());
            tokio::spawn(carry(near, far, seen));
        }
    });
    (RelayPeer { addrs: vec![here.parse().unwrap()], ..peer(relay) }, way)
}

async fn carry(near: TcpStream, far: TcpStream, seen: watch::Receiver<Way>) {
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let mut held = seen.clone();
    let there = async {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from_near.read(&mut bytes).await {
            if *seen.borrow() == Way::Passes && to_far.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from_far.read(&mut bytes).await {
            if held.wait_for(|it| *it != Way::Swallows).await.is_err()
                || to_near.write_all(&bytes[..length]).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
    if *seen.borrow() != Way::Passes {
        // Both ends stand, and nothing comes out of either.
        std::future::pending::<()>().await;
    }
}

fn down(report: RelayReport) -> Option<DownReason> {
    match report {
        RelayReport::Down { reason, .. } => Some(reason),
        _ => None,
    }
}

/// Whether a client that was cut off then is down, for want of a sign of life, long before its ping finds that. A machine
/// that was held up says nothing.
async fn is_found_early(client: &mut Client, cut: Instant) -> bool {
    assert_eq!(client.until(down).await, DownReason::Lost);
    cut.elapsed() < EARLY
}

/// It is asked for a sign twice at most, for five seconds each; a ping takes twenty and more.
const EARLY: Duration = Duration::from_secs(15);
/// Times that it is tried on a machine that is held up.
const TRIES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_a_dead_connection_is_found_long_before_a_ping_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    for _ in 0..TRIES {
        let (by, carries) = way(&relay).await;
        let mut client = Client::of(by);
        client.follow(&keys(), None).await;
        client.rests().await;

        client.commands.send(RelayCommand::Changed).await.unwrap();
        client.append(&keys(), 1).await;
        client.stored(1).await;
        let cut = Instant::now();
        carries.send_replace(Way::Swallows);
        client.commands.send(RelayCommand::Changed).await.unwrap();
        if is_found_early(&mut client, cut).await {
            return;
        }
    }
    panic!("a ping finds it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_connection_is_found_by_a_ping_where_nothing_tells_of_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    let (by, carries) = way(&relay).await;
    let mut client = Client::of(by);
    client.follow(&keys(), None).await;
    client.rests().await;
    carries.send_replace(Way::Swallows);
    assert_eq!(client.until(down).await, DownReason::Lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_before_a_change_is_no_sign_of_life() {
    for _ in 0..TRIES {
        let dir = tempfile::tempdir().unwrap();
        let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
        let mut writer = Client::of(peer(&relay));
        writer.follow(&keys(), None).await;
        let (by, carries) = way(&relay).await;
        let mut client = Client::of(by);
        client.follow(&keys(), None).await;
        client.rests().await;

        let cut = Instant::now();
        carries.send_replace(Way::Swallows);
        writer.append(&keys(), 1).await;
        writer.stored(1).await;
        client.commands.send(RelayCommand::Changed).await.unwrap();
        carries.send_replace(Way::IsLate);
        // It has five seconds for that.
        let in_time = client.until(|report| match report {
            RelayReport::Entries { entries, .. } => Some(entries.iter().map(number).eq([1])),
            report => down(report).map(|_| false),
        });
        if in_time.await && is_found_early(&mut client, cut).await {
            return;
        }
    }
    panic!("a ping finds it, or nothing came late");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_appends_the_other_gets() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    let (mut alice, mut bob) = (Client::of(peer(&relay)), Client::of(peer(&relay)));
    alice.sees(UP).await;
    bob.follow(&keys(), None).await;
    bob.until(|report| matches!(report, RelayReport::CaughtUp { .. }).then_some(())).await;

    alice.append(&keys(), 1).await;
    alice.follow(&keys(), None).await;
    alice.stored(1).await;
    assert_eq!(bob.entries(1).await, [1]);
    alice.append(&keys(), 2).await;
    assert_eq!(bob.entries(1).await, [2]);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_comes_back_starts_where_it_left_off() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    let mut writer = Client::of(peer(&relay));
    writer.follow(&keys(), None).await;
    for tag in 0..60 {
        writer.append(&keys(), tag).await;
    }
    let mut seen = Vec::new();
    let mut place = None;
    while seen.len() < 50 {
        if let RelayReport::Entries { entries, cursor, .. } = writer.next().await {
            seen.extend(entries.iter().map(number));
            place = Some(cursor);
        }
    }
    for tag in 60..100 {
        writer.append(&keys(), tag).await;
    }
    writer.stored(99).await;
    drop(writer);
    let mut reader = Client::of(peer(&relay));
    reader.follow(&keys(), place).await;
    seen.extend(reader.entries(100 - seen.len()).await);
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_restarts_under_load_loses_nothing_and_keeps_everything_once() {
    const COUNT: u64 = 600;
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), kept())).await.unwrap();
    let (peer, socket) = (peer(&relay), socket(&relay));
    let all = keys();
    let write_only = LogKeys::write_only([1; 32], all.publics().read, all.publics().trim);
    let mut writer = Client::of(peer.clone());
    writer.follow(&Arc::new(write_only), None).await;
    let mut reader = Client::of(peer.clone());
    reader.follow(&all, None).await;

    let commands = writer.commands.clone();
    let load = tokio::spawn(async move {
        for tag in 0..COUNT {
            let command = RelayCommand::Append { log: keys().id(), tag, entry: entry(tag) };
            commands.send(command).await.unwrap();
        }
    });
    let mut answers: BTreeMap<u64, u32> = BTreeMap::new();
    let mut running = Some(relay);
    while answers.len() < usize::try_from(COUNT).unwrap() {
        match writer.next().await {
            RelayReport::Appended { tag, .. } => *answers.entry(tag).or_default() += 1,
            RelayReport::Refused { tag, reason } => panic!("{tag} {reason}"),
            _ => {}
        }
        if answers.len() == 100 {
            running.take().unwrap().stop().await;
            running = Some(Relay::start(config(dir.path(), socket)).await.unwrap());
            answers.insert(u64::MAX, 1);
        }
    }
    load.await.unwrap();
    answers.remove(&u64::MAX);
    while answers.len() < usize::try_from(COUNT).unwrap() {
        if let RelayReport::Appended { tag, .. } = writer.next().await {
            *answers.entry(tag).or_default() += 1;
        }
    }
    assert!(answers.values().all(|count| *count == 1), "one answer for each");
    let mut numbers = reader.entries(usize::try_from(COUNT).unwrap()).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
    running.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_another_key_is_named_as_such() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let relay = Relay::start(config(dirs[0].path(), anywhere())).await.unwrap();
    let other = Relay::start(config(dirs[1].path(), anywhere())).await.unwrap();
    let mistaken = RelayPeer { peer_id: other.peer_id(), addrs: peer(&relay).addrs };
    let mut client = Client::of(mistaken.clone());
    client.until(|report| (down(report) == Some(DownReason::WrongKey)).then_some(())).await;

    let addrs = [mistaken.addrs, peer(&other).addrs].concat();
    let mut client = Client::of(RelayPeer { addrs, ..mistaken });
    // One right address is enough.
    client.sees(UP).await;
    relay.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_told_and_tried_again_until_somebody_is() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), kept())).await.unwrap();
    let (peer, socket) = (peer(&relay), socket(&relay));
    relay.stop().await;
    let mut client = Client::of(RelayPeer { addrs: vec![peer.addrs[0].clone()], ..peer });
    let report = client.next().await;
    assert!(
        matches!(report, RelayReport::Down { reason: DownReason::Unreachable, .. }),
        "{report:?}"
    );
    let relay = Relay::start(config(dir.path(), socket)).await.unwrap();
    client.sees(UP).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_relay_refuses_is_reported_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    let mut client = Client::of(peer(&relay));
    client.follow(&keys(), None).await;
    let log = keys().id();
    let entry = Bytes::from_static(&[0; 513]);
    client.commands.send(RelayCommand::Append { log, tag: 1, entry }).await.unwrap();
    client.append(&keys(), 2).await;
    client.sees(RelayReport::Refused { tag: 1, reason: Refusal::NotBucket }).await;
    client.stored(2).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_task_ends_when_told_to_and_when_nobody_is_left_to_tell_it() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    for stop in [Some(RelayCommand::Stop), None] {
        let (commands, inbox) = mpsc::channel(1);
        let (outbox, mut reports) = mpsc::channel(1);
        let task = spawn(peer(&relay), 0, None, inbox, outbox);
        reports.recv().await.unwrap();
        match stop {
            Some(stop) => commands.send(stop).await.unwrap(),
            None => drop(commands),
        }
        tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_s_inbox_is_trimmed_and_a_group_s_log_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(config(dir.path(), anywhere())).await.unwrap();
    let inbox = Arc::new(LogKeys::from_seeds([1; 32], [2; 32], Some([3; 32])));
    let mut owner = Client::of(peer(&relay));
    let plans = [&inbox, &keys()].map(|keys| LogPlan {
        keys: Arc::clone(keys),
        after: None,
        begin: Begin::Start,
        token: None,
    });
    owner.commands.send(RelayCommand::Plan(plans.to_vec())).await.unwrap();
    for tag in 0..4 {
        owner.append(&inbox, tag).await;
    }
    owner.append(&keys(), 9).await;
    let mut places = Vec::new();
    while places.len() < 4 {
        if let RelayReport::Entries { log, entries, cursor } = owner.next().await
            && log == inbox.id()
        {
            let last = cursor.seq + 1 - entries.len() as u64;
            places.extend((last..=cursor.seq).map(|seq| Cursor { seq, ..cursor }));
        }
    }
    for (log, cursor) in [(keys().id(), places[0]), (inbox.id(), places[2])] {
        owner.commands.send(RelayCommand::Trim { log, cursor }).await.unwrap();
    }
    owner.sees(RelayReport::Trimmed { log: inbox.id(), cursor: places[2] }).await;
    drop(owner);

    // Somebody who left off before: told where it begins, and read on.
    let mut earlier = Client::of(peer(&relay));
    earlier.follow(&inbox, Some(places[0])).await;
    earlier.sees(RelayReport::Begins { log: inbox.id(), cursor: places[2] }).await;
    assert_eq!(earlier.entries(1).await, [3]);
    let mut group = Client::of(peer(&relay));
    group.follow(&keys(), None).await;
    assert_eq!(group.entries(1).await, [9]);
    relay.stop().await;
}
