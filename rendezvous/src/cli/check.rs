//! `wattle-rendezvous check`: a relay from outside, or the store of one that doesn't run.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use protocol::relay_log::RelayToken;
use rendezvous::probe::{Report, Trial, probe};

use super::named::{self, Pass, Target};

#[derive(Args)]
pub(super) struct Check {
    /// Which relay: HOST, HOST:PORT or a multiaddr, with or without its key.
    #[arg(value_name = "ADDR", value_parser = named::parse, required_unless_present = "store")]
    relay: Option<Target>,
    /// Look at the store in a data directory instead, record by record. The relay must not run
    /// [default: the data directory that `run` uses].
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with_all = ["relay", "token_file"])]
    store: Option<Option<PathBuf>>,
    #[command(flatten)]
    pass: Pass,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

/// Exits with 0 if all is well, with 4 if nodes can't use the relay, with 10 if a store is damaged.
pub(super) fn check(asked: Check) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &asked.store {
        return super::store::check(dir.clone(), asked.json);
    }
    let target = asked.relay.context("no relay is named")?;
    let token = match asked.pass.token(target.key) {
        Ok(token) => token,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    outside(&target, token.as_ref(), asked.json)
}

#[tokio::main]
async fn outside(
    target: &Target,
    token: Option<&RelayToken>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let report = probe(&target.addrs, target.key, token).await;
    if json {
        println!("{}", serde_json::json!({"v": 1, "usable": report.is_usable(), "report": report}));
    } else {
        tell(&report);
    }
    Ok(if report.is_usable() { ExitCode::SUCCESS } else { ExitCode::from(4) })
}

fn tell(report: &Report) {
    if let Some(peer) = &report.peer {
        println!("{peer}");
    }
    for finding in &report.findings {
        let trial = name(finding.trial);
        let state = if finding.works { "works" } else { "FAILS" };
        println!("{trial:<10} {state}  {}", finding.seen);
        if let Some(advice) = finding.advice {
            println!("{:<17} {advice}", "");
        }
    }
    match report.is_usable() {
        true => eprintln!("Nodes can use this relay from here."),
        false => eprintln!("Nodes can't use this relay from here."),
    }
}

fn name(trial: Trial) -> &'static str {
    match trial {
        Trial::Tcp => "tcp",
        Trial::Quic => "quic",
        Trial::WebSocket => "websocket",
        Trial::Token => "token",
        Trial::Log => "log",
        Trial::Circuit => "circuit",
        Trial::Clock => "clock",
    }
}
