//! What each path takes, from real processes: two nodes and a relay, on this machine and in network namespaces.
//!
//! ```text
//! cargo build --release -p node -p rendezvous --bins
//! cargo run --release -p tests --bin paths
//! ```
//!
//! > A row tells what was measured on the path that the node's own status names, before and after. Where it names
//! > another, the row says which; where this machine can't play the scene, why.
//!
//! Namespaces take root, Debian's iproute2 and nftables, and python3, which carries the packets of a network with a
//! delay. docs/benchmarks.md says what follows from the figures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what the harness waits for in vain ends the benchmark, with everybody's logs"
)]

mod heal;
mod pair;
mod report;
mod start;
mod talk;
mod wire;

use std::{
    panic::{self, AssertUnwindSafe},
    time::Duration,
};

use clap::{Parser, value_parser};
use node::api::types::Path;

use pair::{Pair, Place, Ways};
use report::{Outcome, Report, Table};
use talk::Source;

#[derive(Parser)]
#[command(about = "What each path between two nodes takes, on this machine")]
struct Asked {
    /// Messages on each path: one after the other, then so many at once.
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=10_000))]
    messages: u32,
    /// Messages that a member missed.
    #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=10_000))]
    away: u32,
    /// How often a node is started, a link cut, a relay ended.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long a packet is under way from one machine to another, where they are apart.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(0..=1000))]
    delay_ms: u64,
    /// How long a path, or what was missed, is waited for.
    #[arg(long, default_value_t = 120, value_parser = value_parser!(u64).range(1..=3600))]
    patience_s: u64,
    /// Only what needs neither root nor patience: the two on this machine, without networks of their own.
    #[arg(long)]
    loopback: bool,
    /// A line of JSON for each row.
    #[arg(long)]
    json: bool,
}

fn main() {
    let asked = Asked::parse();
    if cfg!(debug_assertions) {
        eprintln!("this is not built with --release: its figures tell nothing");
    }
    let mut report = Report::default();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| measure(&asked, &mut report)));
    print!("{}", if asked.json { report.json() } else { report.text() });
    if let Err(why) = ended {
        panic::resume_unwind(why);
    }
}

fn measure(asked: &Asked, report: &mut Report) {
    let delay = Duration::from_millis(asked.delay_ms);
    let far = format!("{} ms", asked.delay_ms);
    for (place, name) in [(Place::Loopback, "loopback"), (Place::Far(delay), &far)] {
        let rows = [(Table::Latency, format!("direct, {name}"))];
        play(asked, report, place, Ways::Direct, rows, |pair| {
            [talk::latency(pair, asked, Path::Direct)]
        });

        let rows = [
            (Table::Latency, format!("relayed, {name}")),
            (Table::CatchUp, format!("from the relay, {name}")),
            (Table::Healing, format!("the relay back after 1 s, relayed, {name}: next message")),
        ];
        play(asked, report, place, Ways::Relayed, rows, |pair| {
            [
                talk::latency(pair, asked, Path::Relay),
                talk::catch_up(pair, asked, Source::Relay),
                heal::relay_back(pair, asked),
            ]
        });

        let rows = [
            (Table::Start, name.to_owned()),
            (Table::CatchUp, format!("from a member, {name}")),
            (Table::Healing, format!("the relay lost, direct, {name}: next message")),
        ];
        play(asked, report, place, Ways::Both, rows, |pair| {
            [
                start::start(pair, asked),
                talk::catch_up(pair, asked, Source::Member),
                heal::relay_lost(pair, asked),
            ]
        });
    }

    let rows = ["next message", "status says relay", "after mending: status says direct"]
        .map(|what| (Table::Healing, format!("direct path cut, {far}: {what}")));
    play(asked, report, Place::Far(delay), Ways::Both, rows, |pair| heal::cut(pair, asked));

    let rows = [
        (Table::Start, format!("two home NATs, {far}")),
        (Table::Latency, format!("punched through two home NATs, the relay gone, {far}")),
    ];
    play(asked, report, Place::Homes(delay), Ways::Both, rows, |pair| {
        [start::start(pair, asked), punched(pair, asked)]
    });

    let mut envelope = None;
    let rows = ["sender to relay", "relay to receiver"].map(|hop| (Table::Bytes, hop.to_owned()));
    play(asked, report, Place::Switch, Ways::Relayed, rows, |pair| {
        wire::hops(pair, asked, Path::Relay, &mut envelope)
    });
    let rows = [(Table::Bytes, "sender to receiver, direct".to_owned())];
    play(asked, report, Place::Switch, Ways::Direct, rows, |pair| {
        let [hop, _] = wire::hops(pair, asked, Path::Direct, &mut envelope);
        [hop]
    });
}

/// What goes by the punched path alone: the relay that helped is gone.
fn punched(pair: &mut Pair, asked: &Asked) -> Outcome {
    pair.reaches(Path::Direct, asked.patience())?;
    pair.kill_relay();
    talk::latency(pair, asked, Path::Direct)
}

/// Has two members play a scene, and takes a row for each of its outcomes.
fn play<const N: usize>(
    asked: &Asked,
    report: &mut Report,
    place: Place,
    ways: Ways,
    rows: [(Table, String); N],
    scene: impl FnOnce(&mut Pair) -> [Outcome; N],
) {
    let met = match asked.loopback && place != Place::Loopback {
        true => Err("only loopback was asked for".into()),
        false => {
            eprintln!("{} …", rows[0].1);
            Pair::meet(place, ways)
        }
    };
    let outcomes = match met {
        Ok(mut pair) => scene(&mut pair),
        Err(why) => [(); N].map(|()| Err(format!("skipped: {why}"))),
    };
    for ((table, row), outcome) in rows.into_iter().zip(outcomes) {
        report.add(table, &row, outcome);
    }
}

impl Asked {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_s)
    }
}
