//! `wattle-rendezvous check`.

use std::process::ExitCode;

use clap::Args;
use libp2p::{Multiaddr, PeerId};
use rendezvous::{
    config::BadAddress,
    probe::{Report, Trial, probe, target},
};

#[derive(Args)]
pub(super) struct Check {
    /// Which relay: HOST, HOST:PORT or a multiaddr, with or without its key.
    #[arg(value_name = "ADDR", value_parser = parse)]
    relay: Target,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone)]
struct Target {
    addrs: Vec<Multiaddr>,
    key: Option<PeerId>,
}

/// Exits with 0 if nodes can use it, else with 4.
#[tokio::main]
pub(super) async fn check(asked: Check) -> ExitCode {
    let report = probe(&asked.relay.addrs, asked.relay.key).await;
    if asked.json {
        println!("{}", serde_json::json!({"v": 1, "usable": report.is_usable(), "report": report}));
    } else {
        tell(&report);
    }
    if report.is_usable() { ExitCode::SUCCESS } else { ExitCode::from(4) }
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
        Trial::Log => "log",
        Trial::Circuit => "circuit",
        Trial::Clock => "clock",
    }
}

fn parse(text: &str) -> Result<Target, BadAddress> {
    target(text).map(|(addrs, key)| Target { addrs, key })
}
