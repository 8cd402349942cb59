//! `wattle-rendezvous check`: a relay from outside, or the store of one that doesn't run.

use std::{fs, io, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use libp2p::{Multiaddr, PeerId};
use protocol::relay_log::RelayToken;
use rendezvous::{
    config::BadAddress,
    probe::{Report, Trial, probe, target},
};

#[derive(Args)]
pub(super) struct Check {
    /// Which relay: HOST, HOST:PORT or a multiaddr, with or without its key.
    #[arg(value_name = "ADDR", value_parser = parse, required_unless_present = "store")]
    relay: Option<Target>,
    /// Look at the store in a data directory instead, record by record. The relay must not run
    /// [default: the data directory that `run` uses].
    #[arg(long, value_name = "DIR", num_args = 0..=1, conflicts_with = "relay")]
    store: Option<Option<PathBuf>>,
    /// The relay's token, in a file; - is standard input. WATTLE_RELAY_TOKEN may hold it in its place.
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    token_file: Option<PathBuf>,
    /// Print one JSON line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone)]
struct Target {
    addrs: Vec<Multiaddr>,
    key: Option<PeerId>,
}

/// Exits with 0 if all is well, with 4 if nodes can't use the relay, with 10 if a store is damaged.
pub(super) fn check(asked: Check) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &asked.store {
        return super::store::check(dir.clone(), asked.json);
    }
    let token = match asked.token() {
        Ok(token) => token,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let target = asked.relay.context("no relay is named")?;
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

impl Check {
    /// The token that is to be shown, if the relay asks for one.
    fn token(&self) -> anyhow::Result<Option<RelayToken>> {
        let text = match (&self.token_file, std::env::var("WATTLE_RELAY_TOKEN")) {
            (Some(file), _) if file.as_os_str() == "-" => io::read_to_string(io::stdin())?,
            (Some(file), _) => fs::read_to_string(file)
                .with_context(|| format!("{} can't be read", file.display()))?,
            (None, Ok(text)) => text,
            (None, Err(_)) => return Ok(None),
        };
        let token = RelayToken::parse(&text)?;
        anyhow::ensure!(
            self.relay.as_ref().is_some_and(|it| it.key.is_some()) || self.token_file.is_none(),
            "a token is shown to the relay that it is for alone: name the relay with its key, as it \
             printed it (…/p2p/12D3…)"
        );
        Ok(Some(token))
    }
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

fn parse(text: &str) -> Result<Target, BadAddress> {
    target(text).map(|(addrs, key)| Target { addrs, key })
}
