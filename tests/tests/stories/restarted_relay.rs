//! A relay that is killed and comes back under many clients.
//!
//! `WATTLE_CLIENTS` says how many there are.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use harness::{World, asked};
use node::net::relay::{Begin, ClientId, LogPlan, RelayCommand, RelayPeer, RelayReport, spawn};
use protocol::relay_log::LogKeys;
use tokio::{sync::mpsc, task::JoinSet};

/// Clients that follow one log.
const OF_ONE_LOG: u64 = 10;
/// How long the relay is away.
const AWAY: Duration = Duration::from_secs(2);
/// The longest that a client waits between two attempts is a minute.
const PATIENCE: Duration = Duration::from_secs(400);
/// Attempts of one client in vain, from the kill on: four or five while the relay is away, for the waits double, and some
/// where it is turned away then. Without longer waits there are sixteen.
const ATTEMPTS: u64 = 10;
/// So short a time has no more than this part of all clients in it that then come: each has chosen its moment by chance.
const MOMENT: Duration = Duration::from_millis(100);
const AT_ONCE: usize = 3;

struct Client {
    commands: mpsc::Sender<RelayCommand>,
    reports: mpsc::Receiver<(ClientId, RelayReport)>,
    keys: Arc<LogKeys>,
}

/// How one of them came back.
struct Back {
    client: Client,
    /// When it was lost, and when attempts came to nothing; and for when it then took the next one upon itself.
    in_vain: Vec<(Instant, Instant)>,
    at: Instant,
}

impl Client {
    async fn begin(relay: RelayPeer, number: u64) -> Self {
        let (commands, inbox) = mpsc::channel(4);
        let (outbox, reports) = mpsc::channel(16);
        spawn(relay, 0, None, inbox, outbox);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(number / OF_ONE_LOG).to_be_bytes());
        let keys = Arc::new(LogKeys::from_seeds(seed, [2; 32], None));
        let plan =
            LogPlan { keys: Arc::clone(&keys), after: None, begin: Begin::Start, token: None };
        commands.send(RelayCommand::Plan(vec![plan])).await.expect("its task");
        let mut client = Self { commands, reports, keys };
        client.until(|report| matches!(report, RelayReport::CaughtUp { .. })).await;
        client
    }

    async fn until(&mut self, holds: impl Fn(&RelayReport) -> bool) {
        let look = async {
            while let Some((_, report)) = self.reports.recv().await {
                if holds(&report) {
                    return;
                }
            }
            panic!("the client's task ended");
        };
        tokio::time::timeout(PATIENCE, look).await.expect("a report in time");
    }

    /// Waits until the relay is lost and has taken it again.
    async fn comes_back(mut self) -> Back {
        let mut in_vain = Vec::new();
        loop {
            let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
            let now = Instant::now();
            match report.expect("a report in time").expect("the client's task").1 {
                RelayReport::Down { retry_in, .. } => in_vain.push((now, now + retry_in)),
                RelayReport::CaughtUp { .. } if !in_vain.is_empty() => {
                    return Back { client: self, in_vain, at: now };
                }
                _ => {}
            }
        }
    }
}

/// The most of these moments within so long a time.
fn busiest(mut moments: Vec<Instant>, span: Duration) -> usize {
    moments.sort();
    let within = |at: &Instant| moments.partition_point(|it| *it < *at + span);
    moments.iter().enumerate().map(|(before, at)| within(at) - before).max().unwrap_or(0)
}

#[test]
fn a_relay_that_comes_back_has_all_its_clients_again_and_is_not_run_over() {
    let count = asked("WATTLE_CLIENTS", 200);
    let world = World::new();
    // All of them are on this machine.
    let mut relay = world.relay_with("[limits]\nconnections_per_address = 5000\n");
    let peer: RelayPeer = relay.address().parse().expect("the relay's address");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");

    let clients = runtime.block_on(async {
        let mut beginning = JoinSet::new();
        for number in 0..count {
            beginning.spawn(Client::begin(peer.clone(), number));
        }
        beginning.join_all().await
    });
    let coming: Vec<_> =
        clients.into_iter().map(|client| runtime.spawn(client.comes_back())).collect();
    relay.kill9();
    std::thread::sleep(AWAY);
    let start = Instant::now();
    relay.restart();
    let since = Instant::now();
    let back: Vec<Back> = runtime.block_on(async {
        let mut back = Vec::new();
        for client in coming {
            back.push(client.await.expect("a client"));
        }
        back
    });

    let mut took: Vec<Duration> = back.iter().map(|it| it.at - since).collect();
    took.sort();
    // What each is told first is the loss.
    let in_vain: Vec<Instant> =
        back.iter().flat_map(|it| it.in_vain.iter().skip(1).map(|(at, _)| *at)).collect();
    let meanwhile: Vec<Instant> = in_vain.iter().copied().filter(|at| *at > since).collect();
    let due = back.iter().flat_map(|it| it.in_vain.iter().map(|(_, next)| *next));
    let at_once = busiest(due.filter(|at| *at > start).collect(), MOMENT);
    let second = Duration::from_secs(1);
    println!(
        "{count} clients; the relay starts in {:?}; half of them are back after {:?}, all after {:?}; {} attempts in \
         vain from the kill on, {} of them after it stood and at most {} in a second; at most {at_once} meant to come \
         within {MOMENT:?}, at most {} came back in a second",
        since - start,
        took[took.len() / 2],
        took[took.len() - 1],
        in_vain.len(),
        meanwhile.len(),
        busiest(meanwhile.clone(), second),
        busiest(back.iter().map(|it| it.at).collect(), second),
    );
    // Who finds nobody, or is turned away, waits longer each time, and not as long as the others.
    assert!(in_vain.len() as u64 <= ATTEMPTS * count, "{} attempts in vain", in_vain.len());
    assert!(meanwhile.len() as u64 <= 4 * count, "{} attempts in vain", meanwhile.len());
    assert!(at_once * AT_ONCE <= back.len(), "{at_once} of {} within {MOMENT:?}", back.len());

    // And each is told what comes from now on.
    runtime.block_on(async {
        let (mut hearing, mut told) = (JoinSet::new(), BTreeSet::new());
        for Back { mut client, .. } in back {
            let log = client.keys.id();
            if told.insert(log) {
                let append = RelayCommand::Append { log, tag: 1, entry: vec![7; 512].into() };
                client.commands.send(append).await.expect("its task");
            }
            hearing.spawn(async move {
                client.until(|report| matches!(report, RelayReport::Entries { .. })).await;
            });
        }
        hearing.join_all().await;
    });
}
