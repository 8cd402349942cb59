//! One client of the load: a task that appends, and one that hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use libp2p::Multiaddr;
use protocol::relay_log::{Answer, LogKeys, Refusal, RelayToken};
use rendezvous::client::{Answers, Asking, ClientError, LogClient, Wire};
use tokio::{
    sync::Semaphore,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Seen, add},
    plan::{Mark, Plan},
};

/// How long connecting, opening and catching up may take together.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a frame that is being sent may take to its end once nothing more is to be.
const LAST: Duration = Duration::from_secs(5);

/// How long a client that was refused waits at least, and at most.
const HOLD: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Where the relay is, and what it asks for.
pub(super) struct Place {
    pub(super) addr: Multiaddr,
    pub(super) token: Option<RelayToken>,
    pub(super) wire: Arc<Wire>,
}

/// What all clients share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) board: Board,
    pub(super) noise: Vec<u8>,
    /// Nobody begins an append after this.
    pub(super) enough: CancellationToken,
    /// Nobody listens after this.
    pub(super) over: CancellationToken,
}

impl Place {
    /// Connects, and opens and follows these logs, each under its number as its handle; answers when all
    /// that was there has come.
    pub(super) async fn join(
        &self,
        logs: &[(u32, LogKeys)],
        followed: &BTreeSet<u32>,
    ) -> anyhow::Result<LogClient> {
        let joined = timeout(PATIENCE, self.try_join(logs, followed)).await;
        joined.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
    }

    async fn try_join(
        &self,
        logs: &[(u32, LogKeys)],
        followed: &BTreeSet<u32>,
    ) -> anyhow::Result<LogClient> {
        let mut client = LogClient::connect(&self.addr, &self.wire).await?;
        client.authorize(self.token.as_ref()).await?;
        let most = client.hello().max_logs as usize;
        anyhow::ensure!(
            logs.len() <= most,
            "a client would have {} logs open, and the relay takes {most}: name more --clients, or less \
             --logs or --fan-out",
            logs.len()
        );
        for (handle, keys) in logs {
            client.asking().open(*handle, keys).await?;
            wait(&mut client, |answer| matches!(answer, Answer::Opened { .. })).await?;
            if followed.contains(handle) {
                client.asking().follow(*handle, None).await?;
                wait(&mut client, |answer| matches!(answer, Answer::CaughtUp { .. })).await?;
            }
        }
        Ok(client)
    }
}

async fn wait(client: &mut LogClient, is_it: fn(&Answer) -> bool) -> anyhow::Result<()> {
    loop {
        match client.next().await? {
            answer if is_it(&answer) => return Ok(()),
            Answer::OpenRefused { reason, .. } | Answer::FollowRefused { reason, .. } => {
                return Err(reason).context("the relay refuses");
            }
            // Another client has written to a log that is followed already.
            Answer::Entries { .. } | Answer::Begins { .. } => {}
            _ => return Err(ClientError::Misbehaved.into()),
        }
    }
}

/// Appends of a client that wait for their answers.
struct Waiting {
    room: Semaphore,
    begun: Mutex<BTreeMap<u32, Instant>>,
    /// The relay was asked too much: not before then.
    hold: Mutex<Option<Instant>>,
}

/// Appends and listens until it is over; answers what was seen.
pub(super) async fn load(
    shared: Arc<Shared>,
    number: u32,
    client: LogClient,
    start: Instant,
) -> Seen {
    let (mut asking, answers) = client.split();
    let waiting = Waiting {
        room: Semaphore::new(shared.plan.window()),
        begun: Mutex::default(),
        hold: Mutex::default(),
    };
    let hears = hear(&shared, number, answers, &waiting);
    let appends = async {
        tokio::select! {
            biased;
            () = append(&shared, number, &mut asking, &waiting, start) => {}
            () = async { shared.enough.cancelled().await; sleep(LAST).await } => {}
        }
    };
    tokio::pin!(appends, hears);
    tokio::select! {
        seen = &mut hears => seen,
        () = &mut appends => hears.await,
    }
}

/// Appends when it is due, or as soon as there is room.
async fn append(
    shared: &Shared,
    number: u32,
    asking: &mut Asking,
    waiting: &Waiting,
    start: Instant,
) {
    let Shared { plan, board, noise, enough, .. } = shared;
    sleep_until(start.into()).await;
    for turn in 0..u32::MAX {
        let due = plan.due(number, turn).map(|after| start + after);
        // Who is late because the relay is slow has waited since it was due.
        let mut begun = due;
        if let Some(due) = due.filter(|due| *due > Instant::now()) {
            sleep_until(due.into()).await;
            begun = Some(Instant::now());
        }
        let Ok(room) = waiting.room.acquire().await else { return };
        room.forget();
        let hold = lock(&waiting.hold).take();
        if let Some(until) = hold {
            sleep_until(until.into()).await;
        }
        if enough.is_cancelled() {
            return;
        }
        let begun = begun.unwrap_or_else(Instant::now);
        let (log, _) = plan.place(number, turn);
        let mark = Mark { client: number, turn, begun: board.nanos(begun) };
        lock(&waiting.begun).insert(turn, begun);
        board.turns[number as usize].store(turn + 1, Ordering::Relaxed);
        if asking.append(turn, log, mark.entry(plan, noise)).await.is_err() {
            return;
        }
    }
}

/// Hears what comes, until it is over or the connection ends.
async fn hear(shared: &Shared, number: u32, mut answers: Answers, waiting: &Waiting) -> Seen {
    let board = &shared.board;
    let mut seen = Seen::default();
    loop {
        let answer = tokio::select! {
            biased;
            answer = answers.next() => answer,
            () = shared.over.cancelled() => return seen,
        };
        let now = Instant::now();
        match answer {
            Ok(Answer::Appended { req, .. }) => {
                let begun = lock(&waiting.begun).remove(&req);
                let Some(begun) = begun else {
                    add(&board.strange);
                    continue;
                };
                waiting.room.add_permits(1);
                board.ack.count(now.saturating_duration_since(begun));
                add(&board.acknowledged);
                let (log, place) = shared.plan.place(number, req);
                seen.acknowledged.entry(log).or_default().insert(place);
            }
            Ok(Answer::AppendRefused { req, reason }) => {
                if lock(&waiting.begun).remove(&req).is_some() {
                    waiting.room.add_permits(1);
                }
                add(&board.refused);
                let _ = board.refusal.set(reason);
                *lock(&waiting.hold) = Some(now + hold(reason));
            }
            Ok(Answer::Entries { handle, entries, .. }) => {
                for entry in entries {
                    told(shared, handle, &entry.bytes, now, &mut seen);
                }
            }
            Ok(Answer::CaughtUp { .. } | Answer::Begins { .. }) => {}
            _ => {
                add(&board.cut);
                waiting.room.close();
                seen.is_cut = true;
                return seen;
            }
        }
    }
}

/// Takes an entry that a follower is told.
fn told(shared: &Shared, log: u32, entry: &[u8], now: Instant, seen: &mut Seen) {
    let Shared { plan, board, .. } = shared;
    let ours = Mark::read(entry).filter(|mark| {
        let turns = board.turns.get(mark.client as usize);
        let was_asked = turns.is_some_and(|turns| mark.turn < turns.load(Ordering::Relaxed));
        was_asked
            && plan.place(mark.client, mark.turn).0 == log
            && *entry == mark.entry(plan, &shared.noise)
    });
    let Some(mark) = ours else { return add(&board.strange) };
    let (_, place) = plan.place(mark.client, mark.turn);
    if seen.delivered.entry((log, mark.client)).or_default().insert(place) {
        board.delivery.count(board.since(mark.begun, now));
        add(&board.delivered);
    } else {
        add(&board.repeated);
    }
}

fn hold(reason: Refusal) -> Duration {
    let wanted = match reason {
        Refusal::RateLimited { retry_ms } | Refusal::TokenSpent { retry_ms } => {
            Duration::from_millis(retry_ms)
        }
        _ => HOLD[1],
    };
    wanted.clamp(HOLD[0], HOLD[1])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
