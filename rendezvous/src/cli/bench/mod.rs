//! `wattle-rendezvous bench`: load on a relay, and what becomes of it.
//!
//! > Each entry says who wrote it, as the how manieth and when. So loss is not counted but looked up:
//! > what was acknowledged to a writer and was not told to a follower whose connection stood is lost.
//!
//! All clients are in this process, with one clock; the relay is a process of its own, so that /proc tells
//! what it takes. An append's time begins when it was due by the rate, so that what waits behind a slow
//! relay counts as slow, too.

mod board;
mod client;
mod crowd;
mod figures;
mod histogram;
mod hostile;
mod measure;
mod own;
mod plan;
mod process;
mod siege;
mod soak;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::{Args, ValueEnum, value_parser};
use protocol::limits::ENVELOPE_MAX;
use rendezvous::client::Way;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::named::{self, Pass, Target};
use board::Board;
use client::Shared;
use figures::{Figures, Load};
use hostile::{Attack, Strength};
use plan::Plan;

#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 all that was acknowledged was delivered; 1 memory or files grow; \
                        4 the relay can't be used, or connections were lost; 8 entries were lost; \
                        130 interrupted.\n\n\
                        A soak of two hours: wattle-rendezvous bench --soak --rate 1000 --seconds 7200"
)]
pub(super) struct Bench {
    /// Which relay: HOST, HOST:PORT or a multiaddr. Entries stay there until they expire, and count against
    /// its quotas [default: one that is started for it on this machine, and ended].
    #[arg(value_name = "ADDR", value_parser = named::parse)]
    relay: Option<Target>,
    /// Clients that write and follow.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Logs that they share.
    #[arg(long, value_name = "M", default_value_t = 10, value_parser = value_parser!(u32).range(1..=10_000))]
    logs: u32,
    /// Entries per second, of all clients together; 0: as fast as they are acknowledged.
    #[arg(long, value_name = "R", default_value_t = 500, value_parser = value_parser!(u32).range(0..=1_000_000))]
    rate: u32,
    /// Followers of each log, at most as many as there are clients.
    #[arg(long, value_name = "F", default_value_t = 5)]
    fan_out: u32,
    /// Bytes of an entry: one of the sizes that there are.
    #[arg(long, value_name = "B", default_value = "512", value_parser = plan::size)]
    bytes: usize,
    /// How long.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=604_800))]
    seconds: u64,
    /// Clients beside them that do nothing but follow a log of their own.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=50_000))]
    idle: u32,
    /// By which way.
    #[arg(long, default_value = "tcp")]
    way: By,
    /// Half of the rate, and the relay's memory and files looked at all the while: do they grow?
    #[arg(long)]
    soak: bool,
    /// How much memory may grow, in per cent an hour; judged from ten minutes on.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, requires = "soak")]
    slope_max: f64,
    /// Seconds of a soak that don't count [default: a fifth of it, at most ten minutes].
    #[arg(long, value_name = "S", requires = "soak")]
    warm_up: Option<u64>,
    /// Clients beside them that mean no good, for as long again, and how the honest ones fare then.
    #[arg(long, value_name = "KIND", value_delimiter = ',', conflicts_with_all = ["relay", "soak"])]
    hostile: Vec<Attack>,
    /// How many of them stand at once: slow and stuck ones, and those that append or guess.
    #[arg(long, value_name = "N", default_value_t = 500, requires = "hostile", value_parser = value_parser!(u32).range(1..=10_000))]
    attackers: u32,
    /// How many of the others come in a second, and what those append or guess in one, all together.
    #[arg(long, value_name = "R", default_value_t = 1000, requires = "hostile", value_parser = value_parser!(u32).range(1..=20_000))]
    attacks: u32,
    /// The process of the relay that is named, if it runs on this machine: what does it take?
    #[arg(long, value_name = "PID", requires = "relay")]
    pid: Option<u32>,
    /// Where the relay that is started keeps its entries [default: a directory for what is temporary].
    #[arg(long, value_name = "DIR", conflicts_with = "relay")]
    dir: Option<PathBuf>,
    /// It keeps them in memory only.
    #[arg(long, conflicts_with_all = ["relay", "dir"])]
    no_store: bool,
    #[command(flatten)]
    pass: Pass,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Tcp,
    Quic,
    Ws,
}

/// Files that this process, or the relay that it starts, has open beside the clients' sockets.
const FILES: u64 = 256;

/// Samples of a soak, about, and the longest time between two.
const SAMPLES: u64 = 100;
const SAMPLE_MAX: u64 = 10;

/// The longest that a soak warms up unless it is said.
const WARM_UP_MAX: u64 = 600;

/// The exit code of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// Answers with an exit code of its own for each way in which it may end.
pub(super) fn bench(asked: Bench) -> anyhow::Result<ExitCode> {
    if let Some(wrong) = asked.wrong() {
        eprintln!("error: {wrong}");
        return Ok(ExitCode::from(2));
    }
    run(asked)
}

impl Bench {
    /// What can't be asked for.
    fn wrong(&self) -> Option<String> {
        if self.fan_out > self.clients {
            return Some("a log has no more followers than there are clients: --clients".into());
        }
        if self.soak && self.rate < 2 {
            return Some(
                "a soak needs the --rate that the relay can do: it takes half of it".into(),
            );
        }
        if self.soak && self.relay.is_some() && self.pid.is_none() {
            return Some("a soak looks at the relay's process, on this machine: --pid".into());
        }
        let each = u64::from(self.attackers.max(hostile::AT_ONCE));
        let hostile = self.hostile.len() as u64 * each;
        let wanted = u64::from(self.clients) + u64::from(self.idle) + hostile + FILES;
        let allowed = process::files_allowed().filter(|allowed| *allowed < wanted)?;
        Some(format!("this process may open {allowed} files; first: ulimit -n {wanted}"))
    }

    fn rate(&self) -> u32 {
        if self.soak { self.rate / 2 } else { self.rate }
    }

    fn strength(&self) -> Strength {
        Strength { standing: self.attackers, per_s: self.attacks }
    }

    fn load(&self, way: Way) -> Load {
        let store = if self.no_store { "memory" } else { "disk" };
        Load {
            relay: if self.relay.is_some() { "named" } else { "own" },
            way: name(way),
            store: self.relay.is_none().then_some(store),
            clients: self.clients,
            logs: self.logs,
            fan_out: self.fan_out,
            rate: self.rate(),
            bytes: self.bytes,
            idle: self.idle,
        }
    }

    /// Seconds between two samples.
    fn every(&self) -> u64 {
        (self.seconds / SAMPLES).clamp(1, SAMPLE_MAX)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs(self.warm_up.unwrap_or((self.seconds / 5).min(WARM_UP_MAX)))
    }
}

#[tokio::main]
async fn run(asked: Bench) -> anyhow::Result<ExitCode> {
    let shared = Arc::new(shared(&asked)?);
    let [first, second] = [(); 2].map(|()| CancellationToken::new());
    let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    tokio::spawn(interrupts(signals, [first.clone(), second.clone()]));
    let measured = tokio::select! {
        measured = measure::measure(&asked, &shared, &first) => measured?,
        () = second.cancelled() => None,
    };
    let Some(figures) = measured else { return Ok(ExitCode::from(INTERRUPTED)) };
    tell(&figures, asked.json)?;
    Ok(code(&figures))
}

/// The first Ctrl-C or SIGTERM ends the load, the second all.
async fn interrupts(mut signals: [Signal; 2], tokens: [CancellationToken; 2]) {
    let [interrupt, terminate] = &mut signals;
    for token in tokens {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        token.cancel();
    }
}

fn shared(asked: &Bench) -> anyhow::Result<Shared> {
    let mut noise = vec![0; ENVELOPE_MAX];
    getrandom::fill(&mut noise).context("no randomness from the operating system")?;
    Ok(Shared {
        plan: Plan::new(asked.clients, asked.logs, asked.fan_out, asked.rate(), asked.bytes),
        board: Board::new(asked.clients),
        noise,
        enough: CancellationToken::new(),
        over: CancellationToken::new(),
    })
}

impl By {
    fn way(self) -> Way {
        match self {
            Self::Tcp => Way::Tcp,
            Self::Quic => Way::Quic,
            Self::Ws => Way::WebSocket,
        }
    }
}

fn name(way: Way) -> &'static str {
    match way {
        Way::Tcp => "tcp",
        Way::Quic => "quic",
        Way::WebSocket => "ws",
    }
}

fn tell(figures: &Figures, json: bool) -> anyhow::Result<()> {
    if json {
        super::print(format!("{}\n", serde_json::to_string(figures)?).as_bytes())?;
    } else {
        super::print(figures.text().as_bytes())?;
    }
    if figures.debug {
        eprintln!("This program was built without optimization: its figures compare with nothing.");
    }
    Ok(())
}

fn code(figures: &Figures) -> ExitCode {
    if !figures.is_whole() {
        return ExitCode::from(8);
    }
    if figures.deliveries.connections_lost > 0 {
        return ExitCode::from(4);
    }
    if figures.interrupted {
        return ExitCode::from(INTERRUPTED);
    }
    match figures.soak.as_ref().is_none_or(|trend| trend.holds) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
