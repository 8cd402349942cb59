//! All clients of a load: how they come, work, and are heard out.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::relay_log::LogKeys;
use rendezvous::client::LogClient;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    board::{Seen, read},
    client::{self, Place, Shared},
    histogram::Histogram,
};

/// Clients that connect at once: a relay takes 64 handshakes from one address.
const AT_ONCE: usize = 16;

/// How long it is waited for answers and deliveries without any coming: a disk or a machine that is busy with
/// something else may stand still for some seconds, and has lost nothing.
const SILENCE: Duration = Duration::from_secs(15);

/// And how long in all.
const DRAIN: Duration = Duration::from_secs(60);

/// How often it is looked whether all has come.
const GLANCE: Duration = Duration::from_millis(20);

/// The clients of a load at work.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Seen>>,
}

/// Connects so many clients that do nothing, each following a log of its own.
pub(super) async fn idle(
    place: &Place,
    count: u32,
    connect: &Histogram,
) -> anyhow::Result<Vec<LogClient>> {
    let joining = (0..count).map(move |_| async move {
        let start = Instant::now();
        let client = place.join(&[(0, keys()?)], &[0].into()).await;
        connect.count(start.elapsed());
        client.context("an idle client can't connect")
    });
    stream::iter(joining).buffer_unordered(AT_ONCE).try_collect().await
}

/// Connects the clients of a load, each with all its logs open.
pub(super) async fn join(
    place: &Place,
    shared: &Shared,
    logs: &[LogKeys],
    connect: &Histogram,
) -> anyhow::Result<Vec<LogClient>> {
    let plan = &shared.plan;
    let joining = (0..plan.clients()).map(move |number| async move {
        let start = Instant::now();
        let of_it = plan.logs(number).into_iter();
        let open: Vec<_> = of_it.map(|log| (log, logs[log as usize].clone())).collect();
        let followed: BTreeSet<_> = plan.followed(number).iter().copied().collect();
        let client = place.join(&open, &followed).await;
        connect.count(start.elapsed());
        client.context("a client can't connect")
    });
    // In their order: a client's number says what it writes.
    stream::iter(joining).buffered(AT_ONCE).try_collect().await
}

/// Keys of a log that nobody else knows.
pub(super) fn keys() -> anyhow::Result<LogKeys> {
    let [mut write, mut read] = [[0; 32]; 2];
    for seed in [&mut write, &mut read] {
        getrandom::fill(seed).context("no randomness from the operating system")?;
    }
    Ok(LogKeys::from_seeds(write, read, None))
}

impl Crowd {
    /// Sets all to work at once, a moment from now; answers when that is, too.
    pub(super) fn start(shared: &Arc<Shared>, clients: Vec<LogClient>) -> (Self, Instant) {
        let start = Instant::now() + GLANCE;
        let work = |(number, it)| tokio::spawn(client::load(Arc::clone(shared), number, it, start));
        let clients = (0..).zip(clients).map(work).collect();
        (Self { shared: Arc::clone(shared), clients }, start)
    }

    /// Waits until every append is answered, and what was acknowledged has come to all followers: as long
    /// as anything still comes, and not for ever.
    pub(super) async fn drain(&self, fan_out: u32) {
        let board = &self.shared.board;
        let end = Instant::now() + DRAIN;
        let (mut before, mut since) = ((0, 0), Instant::now());
        loop {
            let (acknowledged, delivered) = (read(&board.acknowledged), read(&board.delivered));
            let is_answered = acknowledged + read(&board.refused) >= board.asked();
            let is_told = delivered >= acknowledged * u64::from(fan_out);
            if (is_answered && is_told) || board.is_all_cut() {
                return;
            }
            if before != (acknowledged, delivered) {
                (before, since) = ((acknowledged, delivered), Instant::now());
            }
            if since.elapsed() > SILENCE || Instant::now() > end {
                return;
            }
            sleep(GLANCE).await;
        }
    }

    /// Ends all; answers what each has seen, in the order of their numbers.
    pub(super) async fn end(self) -> Vec<Seen> {
        self.shared.over.cancel();
        let mut seen = Vec::new();
        for client in self.clients {
            // One that could not go on has seen nothing that counts.
            seen.push(client.await.unwrap_or_else(|_| Seen { is_cut: true, ..Seen::default() }));
        }
        seen
    }
}

impl Shared {
    /// What was acknowledged and delivered so far.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (read(&self.board.acknowledged), read(&self.board.delivered))
    }
}
