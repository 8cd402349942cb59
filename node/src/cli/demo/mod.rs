//! `wattle demo`: the main job, played by real processes on this machine, and checked.
//!
//! > Each step holds because it was looked at, or the demo ends there and says so.

mod play;
mod report;
mod scan;

use self::report::Report;
use super::{Place, exit, exit::Exit, show, stage::Stage};

/// Show what Wattle does, with a relay and three nodes on this machine
///
/// Everything is real and in a temporary directory: the processes, the network, the keys. Ends with
/// 0 only if every step held.
#[derive(clap::Args)]
#[command(after_help = exit::help(&["wattle demo"]))]
pub struct Demo {}

impl Demo {
    pub async fn run(self, place: &Place) -> anyhow::Result<Exit> {
        // What is dropped here ends its processes and removes its directory.
        tokio::select! {
            ended = demo(place) => ended,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    }
}

async fn demo(place: &Place) -> anyhow::Result<Exit> {
    let (stage, mut report) = (Stage::new()?, Report::new(place));
    report.say("A relay and three nodes (ana, ben and cleo), each a process of its own.\n")?;
    if let Err(error) = play::play(&stage, &mut report).await {
        for line in stage.logs() {
            show::words(show::safe(&line));
        }
        return Err(error);
    }
    let took = report.elapsed().as_secs_f64();
    report.say(&format!("\nEvery step held, in {took:.1} s."))?;
    show::next("wattle up, then in another terminal: wattle group create NAME");
    Ok(Exit::Done)
}
