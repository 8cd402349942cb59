//! One measurement, from a relay that is started or named to its figures.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use libp2p::{Multiaddr, multiaddr::Protocol};
use protocol::relay_log::LogKeys;
use rendezvous::{
    Storage,
    client::{LogClient, Way, Wire},
};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Bench, Target,
    board::{Seen, missing, read},
    client::{Place, Shared},
    crowd::{self, Crowd},
    figures::{Appends, Bytes, Cost, Deliveries, Figures, Looks, STOLEN, share},
    histogram::Histogram,
    hostile,
    own::OwnRelay,
    process::{Look, Machine, Process},
    siege::siege,
    soak::{Sample, Trend},
};

/// How long a relay is left in peace before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures; `None` where it was interrupted before there was anything to tell.
pub(super) async fn measure(
    asked: &Bench,
    shared: &Arc<Shared>,
    interrupted: &CancellationToken,
) -> anyhow::Result<Option<Figures>> {
    let own = match &asked.relay {
        None => Some(started(asked, shared).await?),
        Some(_) => None,
    };
    let place = place(asked, own.as_ref())?;
    let process = own.as_ref().map(OwnRelay::pid).or(asked.pid).map(Process::of);
    let look = || process.as_ref().and_then(Process::look);
    anyhow::ensure!(
        asked.pid.is_none() || look().is_some(),
        "what the process of --pid takes can't be read from /proc"
    );
    let joined = tokio::select! {
        joined = join(asked, shared, &place, look) => joined?,
        () = interrupted.cancelled() => return Ok(None),
    };
    let hostile = target(asked, shared, own.as_ref(), &joined)?;
    let figures = load(asked, shared, &place, joined, hostile, look, interrupted).await;
    if let Some(own) = own {
        own.stop().await;
    }
    Ok(Some(figures))
}

/// Starts a relay on which the load meets no limit but the machine's.
async fn started(asked: &Bench, shared: &Shared) -> anyhow::Result<OwnRelay> {
    let storage = if asked.no_store { Storage::Live } else { Storage::Durable };
    let mut listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    let mut clients = asked.clients + asked.idle;
    if !asked.hostile.is_empty() {
        listen.push((Ipv6Addr::LOCALHOST, 0).into());
        clients += asked.attackers + hostile::AT_ONCE;
    }
    let logs = shared.plan.most_logs() as u32;
    OwnRelay::start(clients, logs, storage, asked.dir.as_deref(), listen).await
}

/// Where the relay is, by the way that is wanted.
fn place(asked: &Bench, own: Option<&OwnRelay>) -> anyhow::Result<Place> {
    let (addrs, token) = match (own, &asked.relay) {
        (Some(own), _) => (own.addrs.clone(), None),
        (None, Some(target)) => {
            let count = match asked.rate() {
                0 => "as many entries as it takes".to_owned(),
                rate => format!("up to {} entries", u64::from(rate) * asked.seconds),
            };
            eprintln!(
                "This relay gets {count} of {} B: they stay there until they expire, and count against \
                 what it grants this address.",
                asked.bytes
            );
            (keyed(target), asked.pass.token(target.key)?)
        }
        (None, None) => anyhow::bail!("no relay is named"),
    };
    // Where only one way is named, that is it.
    let wanted = |addr: &&Multiaddr| addrs.len() == 1 || Way::of(addr) == asked.way.way();
    let addr = addrs.iter().find(wanted).context("no address goes by this --way")?.clone();
    Ok(Place { addr, token, wire: Arc::new(Wire::default()) })
}

fn keyed(target: &Target) -> Vec<Multiaddr> {
    let keyed = |addr: &Multiaddr| match target.key {
        Some(key) => addr.clone().with(Protocol::P2p(key)),
        None => addr.clone(),
    };
    target.addrs.iter().map(keyed).collect()
}

/// What attackers are to know, if there are any.
fn target(
    asked: &Bench,
    shared: &Shared,
    own: Option<&OwnRelay>,
    joined: &Joined,
) -> anyhow::Result<Option<Arc<hostile::Target>>> {
    let Some(own) = own.filter(|_| !asked.hostile.is_empty()) else { return Ok(None) };
    let addr = hostile::theirs(&own.addrs).context("this machine has no ::1")?;
    let place = Place { addr, token: None, wire: Arc::default() };
    let (logs, noise) = (joined.logs.clone(), shared.noise.clone());
    let strength = asked.strength();
    Ok(Some(Arc::new(hostile::Target { strength, place, logs, noise })))
}

/// All who are connected, and how the relay was on the way there.
struct Joined {
    idle: Vec<LogClient>,
    clients: Vec<LogClient>,
    logs: Vec<LogKeys>,
    connect: Histogram,
    looks: [Option<Look>; 3],
}

async fn join(
    asked: &Bench,
    shared: &Shared,
    place: &Place,
    look: impl Fn() -> Option<Look>,
) -> anyhow::Result<Joined> {
    eprintln!("connecting {} clients, {} idle ones …", asked.clients, asked.idle);
    let connect = Histogram::default();
    let before = look();
    let idle = crowd::idle(place, asked.idle, &connect).await?;
    sleep(SETTLE).await;
    let with_idle = look();
    let logs = (0..asked.logs).map(|_| crowd::keys()).collect::<Result<Vec<LogKeys>, _>>()?;
    let clients = crowd::join(place, shared, &logs, &connect).await?;
    sleep(SETTLE).await;
    Ok(Joined { idle, clients, logs, connect, looks: [before, with_idle, look()] })
}

/// Has all of them work, hears them out, and reckons.
async fn load(
    asked: &Bench,
    shared: &Arc<Shared>,
    place: &Place,
    joined: Joined,
    target: Option<Arc<hostile::Target>>,
    look: impl Fn() -> Option<Look>,
    interrupted: &CancellationToken,
) -> Figures {
    let Joined { idle, clients, connect, looks, .. } = joined;
    let [before, with_idle, with_all] = looks;
    eprintln!("{} s of load …", asked.seconds);
    let (wire, machine) = (place.wire.bytes(), Machine::look());
    let (crowd, start) = Crowd::start(shared, clients);
    let (watched, siege) = match target {
        Some(target) => siege(asked, shared, place, &target, start, &look, interrupted).await,
        None => (watch(asked, shared, start, &look, interrupted).await, None),
    };
    shared.enough.cancel();
    let (lasted, so_far) = (start.elapsed(), shared.so_far());
    crowd.drain(asked.fan_out).await;
    let (end, took, wire) = (look(), start.elapsed(), place.wire.bytes() - wire);
    let stolen = Machine::look().stolen_since(machine);
    let seen = crowd.end().await;
    drop(idle);

    let load = asked.load(Way::of(&place.addr));
    let (acknowledged, delivered) = shared.so_far();
    let looks = [before, with_idle, with_all, watched.most, end];
    let cost = Looks::all(looks).map(|it| Cost::of(&it, &load, took, acknowledged, delivered));
    let seconds = lasted.as_secs_f64().max(0.001);
    Figures {
        v: 1,
        version: env!("CARGO_PKG_VERSION"),
        debug: cfg!(debug_assertions),
        load,
        seconds,
        interrupted: watched.interrupted,
        stolen,
        connect: connect.times(),
        appends: appends(shared, so_far.0 as f64 / seconds),
        deliveries: deliveries(shared, &seen, so_far.1 as f64 / seconds),
        ack: shared.board.ack.times(),
        delivery: shared.board.delivery.times(),
        wire: (Way::of(&place.addr) != Way::Quic)
            .then(|| Bytes { bytes: wire, bytes_per_delivery: share(wire as f64, delivered) }),
        relay: cost,
        soak: Trend::of(&watched.samples, asked.slope_max),
        siege,
    }
}

fn appends(shared: &Shared, per_s: f64) -> Appends {
    let board = &shared.board;
    let (asked, acknowledged) = (board.asked(), read(&board.acknowledged));
    let refused = read(&board.refused);
    Appends {
        asked,
        acknowledged,
        per_s,
        refused,
        refusal: board.refusal.get().map(ToString::to_string),
        unanswered: asked.saturating_sub(acknowledged + refused),
    }
}

fn deliveries(shared: &Shared, seen: &[Seen], per_s: f64) -> Deliveries {
    let board = &shared.board;
    let missing = missing(&shared.plan, seen);
    Deliveries {
        delivered: read(&board.delivered),
        per_s,
        lost: missing.lost,
        cut_off: missing.cut_off,
        repeated: read(&board.repeated),
        strange: read(&board.strange),
        connections_lost: read(&board.cut),
    }
}

/// What was seen of a relay under load.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) most: Option<Look>,
    samples: Vec<Sample>,
    pub(super) interrupted: bool,
}

/// Looks at the relay while the load goes on: to its time, to Ctrl-C, or till no client is left.
pub(super) async fn watch(
    asked: &Bench,
    shared: &Shared,
    start: Instant,
    look: impl Fn() -> Option<Look>,
    interrupted: &CancellationToken,
) -> Watched {
    let (mut watched, mut machine) = (Watched::default(), Machine::look());
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = sleep_until((start + Duration::from_secs(asked.seconds)).into());
    tokio::pin!(end);
    for second in 0_u64.. {
        tokio::select! {
            () = &mut end => break,
            () = interrupted.cancelled() => {
                watched.interrupted = true;
                break;
            }
            _ = seconds.tick() => {}
        }
        if shared.board.is_all_cut() {
            break;
        }
        let Some(now) = look() else { continue };
        watched.most = Some(watched.most.map_or(now, |most| most.or_more(now)));
        let at = start.elapsed();
        if asked.soak && second.is_multiple_of(asked.every()) && at >= asked.warm_up() {
            watched.samples.push(Sample { at, memory: now.memory, files: now.files });
        }
        if asked.soak && second % 60 == 59 {
            let (mib, appends) = (now.memory as f64 / f64::from(1 << 20), shared.so_far().0);
            let (before, stolen) = (machine, Machine::look());
            machine = stolen;
            let stolen = stolen.stolen_since(before).filter(|part| *part >= STOLEN);
            let stolen = stolen.map_or_else(String::new, |part| {
                format!("; the host gave {:.0} % of this machine's time to others", part * 100.0)
            });
            eprintln!("{} s: {mib:.1} MiB, {appends} entries acknowledged{stolen}", at.as_secs());
        }
    }
    watched
}
