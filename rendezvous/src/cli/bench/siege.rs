//! The honest clients of a load, before the hostile ones come and under them.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum as _;
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Bench,
    client::{Place, Shared},
    crowd,
    histogram::{Histogram, Times},
    hostile::{Attack, Attackers, Target},
    measure::{Watched, watch},
    process::Look,
};

/// Between two new honest clients.
const PACE: Duration = Duration::from_millis(100);

/// How the honest fared, before and under it.
#[derive(Serialize)]
pub(super) struct Siege {
    attacks: Vec<Attack>,
    /// Connections that the hostile ones tried.
    tried: u64,
    before: Fare,
    under: Fare,
}

/// How the honest fared for a while.
#[derive(Serialize)]
struct Fare {
    ack: Option<Times>,
    delivery: Option<Times>,
    /// New clients, one after the other.
    connect: Option<Times>,
    /// Those that were turned away, or not answered.
    turned_away: u64,
    /// What the relay took.
    cores: Option<f64>,
    memory_most: Option<u64>,
}

/// Watches the load for its time, and as long again with the hostile ones beside it.
pub(super) async fn siege(
    asked: &Bench,
    shared: &Shared,
    place: &Place,
    target: &Arc<Target>,
    start: Instant,
    look: impl Fn() -> Option<Look>,
    interrupted: &CancellationToken,
) -> (Watched, Option<Siege>) {
    let newcomers = Newcomers::default();
    let stages = async {
        let (from, begun) = (look(), Instant::now());
        let quiet = watch(asked, shared, start, &look, interrupted).await;
        if quiet.interrupted {
            return (quiet, None);
        }
        let board = &shared.board;
        let times = [board.ack.take(), board.delivery.take()];
        let before = fare(times, &newcomers, &quiet, cores([from, look()], begun));
        eprintln!("{} s more, with the hostile ones …", asked.seconds);
        let attackers = Attackers::start(&asked.hostile, target);
        let (from, begun) = (look(), Instant::now());
        let watched = watch(asked, shared, begun, &look, interrupted).await;
        let times = [board.ack.times(), board.delivery.times()];
        let under = fare(times, &newcomers, &watched, cores([from, look()], begun));
        let tried = attackers.end().await;
        let siege = Siege { attacks: asked.hostile.clone(), tried, before, under };
        (watched, Some(siege))
    };
    tokio::select! {
        never = newcomers.come(place) => match never {},
        watched = stages => watched,
    }
}

fn fare(
    [ack, delivery]: [Option<Times>; 2],
    newcomers: &Newcomers,
    watched: &Watched,
    cores: Option<f64>,
) -> Fare {
    let turned_away = newcomers.turned_away.swap(0, Ordering::Relaxed);
    let memory_most = watched.most.map(|it| it.memory);
    Fare { ack, delivery, connect: newcomers.connect.take(), turned_away, cores, memory_most }
}

/// What a relay took since then, in processors.
fn cores([from, to]: [Option<Look>; 2], begun: Instant) -> Option<f64> {
    let took = to?.cpu.saturating_sub(from?.cpu).as_secs_f64();
    Some(took / begun.elapsed().as_secs_f64().max(0.001))
}

/// New honest clients, one after the other: can they still come?
#[derive(Default)]
struct Newcomers {
    connect: Histogram,
    turned_away: AtomicU64,
}

impl Newcomers {
    async fn come(&self, place: &Place) -> Infallible {
        loop {
            sleep(PACE).await;
            let Ok(keys) = crowd::keys() else { continue };
            let start = Instant::now();
            let joined = place.join(&[(0, keys)], &[0].into()).await;
            self.connect.count(start.elapsed());
            if joined.is_err() {
                self.turned_away.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Siege {
    /// For people, in lines.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let name = |it: &Attack| Some(it.to_possible_value()?.get_name().to_owned());
        let attacks: Vec<_> = self.attacks.iter().filter_map(name).collect();
        vec![
            ("hostile", format!("{}; {} connections tried", attacks.join(", "), self.tried)),
            ("- before", self.before.line()),
            ("- under it", self.under.line()),
        ]
    }
}

impl Fare {
    fn line(&self) -> String {
        let p99 = |times: &Option<Times>| times.as_ref().map_or(0.0, |it| it.p99_ms);
        let cores = self.cores.map(|it| format!("; {:.0} % of a core", it * 100.0));
        let memory = self.memory_most.map(|it| format!(", {} MiB", it >> 20));
        format!(
            "p99 of ack {:.2} ms, of delivery {:.2} ms, of connect {:.2} ms ({} turned away){}{}",
            p99(&self.ack),
            p99(&self.delivery),
            p99(&self.connect),
            self.turned_away,
            cores.unwrap_or_default(),
            memory.unwrap_or_default()
        )
    }
}
