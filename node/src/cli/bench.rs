//! `wattle bench`.

mod store;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Subcommand;
use node::api::types::{CreateInvite, Path, VERSION, What};
use serde::Serialize;

use super::{
    Place, exit,
    exit::Exit,
    show,
    stage::{Node, PATIENCE, Stage},
};

/// Measure on this machine, with real processes
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle bench latency -n 200", "wattle bench store --messages 1000000"]))]
pub struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// From sending a message to reading it on the other side, direct and through a relay
    #[command(after_help = exit::help(&["wattle bench latency -n 200"]))]
    Latency {
        /// How many messages, one after the other
        #[arg(short, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        n: u32,
    },
    /// Start-up, pages and searches with a long history, beside a hundredth of it
    #[command(after_help = exit::help(&["wattle bench store --messages 1000000"]))]
    Store {
        /// How many messages
        #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
        messages: u32,
    },
}

#[derive(Serialize)]
struct Figures {
    v: u8,
    path: &'static str,
    n: usize,
    median_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

const GROUP: &str = "bench";

impl Bench {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let measure = async {
            match self.command {
                Command::Latency { n } => latency(n, place).await,
                Command::Store { messages } => store::run(messages, place).await,
            }
        };
        tokio::select! {
            ended = measure => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    }
}

async fn latency(n: u32, place: &Place) -> anyhow::Result<Exit> {
    for (path, name) in [(Path::Direct, "direct"), (Path::Relay, "relay")] {
        show::words(format_args!("{name}: {n} messages from one node to another …"));
        let figures = figures(name, measure(n, path).await?);
        if place.json {
            show::json(&figures)?;
        } else {
            let Figures { n, median_ms, p99_ms, max_ms, .. } = figures;
            show::data(format_args!(
                "{name:<7} n={n}  median {median_ms:.2} ms  p99 {p99_ms:.2} ms  max {max_ms:.2} ms"
            ))?;
        }
    }
    Ok(Exit::Done)
}

async fn measure(n: u32, path: Path) -> anyhow::Result<Vec<Duration>> {
    let stage = Stage::new()?;
    let mut relay = stage.relay("127.0.0.1:0").await?;
    // One way or the other, never both at once.
    let args = match path {
        Path::Direct => ["--no-relay"].as_slice(),
        Path::Relay | Path::None => &["--no-direct", "--relay", &relay.address],
    };
    let mut ana = stage.node("ana", "ana", args).await?;
    let mut ben = stage.node("ben", "ben", args).await?;
    ana.client.create_group(GROUP).await?;
    let code = ana.client.invite(GROUP, &CreateInvite::default()).await?.code;
    ben.client.join(&code.context("the invite has no code")?).await?;
    ben.until("joined", async |client| Ok(client.groups().await?.pop())).await?;
    tokio::try_join!(ana.reaches(&ben, path), ben.reaches(&ana, path))?;
    // The first message makes the keys for all others.
    sample(&ana, &ben, "first").await?;
    let mut samples = Vec::new();
    for at in 0..n {
        samples.push(sample(&ana, &ben, &format!("message {at} of a measurement")).await?);
    }
    tokio::try_join!(ana.stop(), ben.stop())?;
    relay.stop().await?;
    Ok(samples)
}

async fn sample(from: &Node, to: &Node, text: &str) -> anyhow::Result<Duration> {
    let mut events = to.client.events_from_now().await?;
    let begun = Instant::now();
    from.client.send(GROUP, text).await?;
    let read = events.wait_for(|event| match &event.what {
        What::Message { message } if message.text == text => Some(()),
        _ => None,
    });
    tokio::time::timeout(PATIENCE, read).await.context("a message was not read in time")??;
    Ok(begun.elapsed())
}

fn figures(path: &'static str, mut samples: Vec<Duration>) -> Figures {
    samples.sort();
    let n = samples.len();
    let at = |share: usize| {
        let place = (n * share).div_ceil(100).clamp(1, n) - 1;
        samples[place].as_secs_f64() * 1000.0
    };
    Figures { v: VERSION, path, n, median_ms: at(50), p99_ms: at(99), max_ms: at(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_tail_are_samples_that_were_measured() {
        let samples = (1..=200).rev().map(Duration::from_millis).collect();
        let figures = figures("direct", samples);
        assert_eq!((figures.median_ms, figures.p99_ms, figures.max_ms), (100.0, 198.0, 200.0));
        let one = super::figures("direct", vec![Duration::from_millis(7)]);
        assert_eq!((one.median_ms, one.p99_ms, one.max_ms), (7.0, 7.0, 7.0));
    }
}
