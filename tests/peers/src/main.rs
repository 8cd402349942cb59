//! The relay beside others of its kind: the same work, in one run, in turns.
//!
//! ```text
//! round 1: raw, wattle, wattle without a disk, iroh-relay, nats-server, mosquitto
//! round 2: the same again, …
//! ```
//!
//! > Machines differ from hour to hour, and this one's cores are shared by server and clients: what
//! > counts is the ratio of two figures of one round, and the median of these over all rounds.
//!
//! What each system does for the same message is not the same: Wattle encrypts the hop, keeps the
//! entry and acknowledges it; the others pass plaintext on and forget it. docs/benchmarks.md says what follows.

mod process;
mod report;
mod system;
mod systems;
mod work;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};

use report::Report;
use system::System;
use systems::{iroh::Iroh, mqtt::Mosquitto, nats::Nats, raw::Raw, wattle::Wattle};
use work::Work;

#[derive(Parser)]
#[command(about = "The relay beside others of its kind, on one machine in one run")]
struct Asked {
    /// How often all are measured, in turns.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Which systems [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,
    #[command(flatten)]
    work: Work,
    /// The relay's program, built with --release.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/wattle-rendezvous"))]
    wattle: PathBuf,
    /// nats-server: tests/nats/install.sh prints where it is.
    #[arg(long, env = "WATTLE_NATS_SERVER")]
    nats: Option<PathBuf>,
    /// mosquitto: tests/peers/install.sh prints where it is.
    #[arg(long, env = "WATTLE_MOSQUITTO")]
    mosquitto: Option<PathBuf>,
    #[command(subcommand)]
    serve: Option<Serve>,
}

/// A server that is this program itself: a process of its own, so that what it takes can be told.
#[derive(Subcommand)]
enum Serve {
    /// Forwards each message to every other connection, and does nothing else.
    #[command(hide = true)]
    Raw,
    /// iroh-relay, as its own program runs it with --dev.
    #[command(hide = true)]
    Iroh,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Raw,
    Wattle,
    WattleLive,
    Iroh,
    Nats,
    Mosquitto,
}

fn main() -> anyhow::Result<()> {
    let asked = Asked::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    match asked.serve {
        Some(Serve::Raw) => runtime.block_on(systems::raw::serve()),
        Some(Serve::Iroh) => runtime.block_on(systems::iroh::serve()),
        None => runtime.block_on(compare(&asked)),
    }
}

async fn compare(asked: &Asked) -> anyhow::Result<()> {
    process::open_all_files()?;
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for name in Name::value_variants() {
            if asked.only.is_empty() || asked.only.contains(name) {
                eprintln!("round {round}: {} …", title(*name));
                let figures = asked.measure(*name).await.with_context(|| title(*name))?;
                report.add(round, title(*name), figures);
            }
        }
    }
    print!("{}", report.text());
    Ok(())
}

impl Asked {
    async fn measure(&self, name: Name) -> anyhow::Result<work::Figures> {
        let relay = |is_durable| Wattle { program: self.wattle.clone(), is_durable };
        match name {
            Name::Raw => self.work.done_by(&Raw).await,
            Name::Wattle => self.work.done_by(&relay(true)).await,
            Name::WattleLive => self.work.done_by(&relay(false)).await,
            Name::Iroh => self.work.done_by(&Iroh).await,
            Name::Nats => {
                let program = self.nats.clone().context("name it: --nats, or --only the others")?;
                self.work.done_by(&Nats { program }).await
            }
            Name::Mosquitto => {
                let program =
                    self.mosquitto.clone().context("name it: --mosquitto, or --only the others")?;
                self.work.done_by(&Mosquitto { program }).await
            }
        }
    }
}

fn title(name: Name) -> &'static str {
    match name {
        Name::Raw => Raw::NAME,
        Name::Wattle => Wattle::NAME,
        Name::WattleLive => "wattle --no-store",
        Name::Iroh => Iroh::NAME,
        Name::Nats => Nats::NAME,
        Name::Mosquitto => Mosquitto::NAME,
    }
}
