//! Relays, looked at from here as any client may.

use futures::future::join_all;
use node::net::address;
use rendezvous::probe::{Finding, Report, Trial, probe};

use super::{super::exit::Exit, check::Check};

/// Looks at each relay; the addresses of each with its key.
pub(super) async fn look(relays: &[Vec<String>]) -> Vec<Check> {
    let looks = relays.iter().enumerate().map(|(at, addresses)| one(at + 1, addresses));
    join_all(looks).await.into_iter().flatten().collect()
}

async fn one(number: usize, addresses: &[String]) -> Vec<Check> {
    let mut checks = Vec::new();
    for relay in address::relays(addresses.iter().map(String::as_str)) {
        let report = probe(&relay.addrs, Some(relay.peer_id), None).await;
        let first = addresses.first().cloned().unwrap_or_default();
        checks.push(whole(number, &report).detail(first));
        checks.extend(report.findings.iter().map(|finding| told(&report, finding)));
    }
    checks
}

/// The relay that somebody names, as `wattle-rendezvous check` looks at it.
pub(super) async fn named(text: &str) -> Option<Vec<Check>> {
    let (addresses, key) = rendezvous::probe::target(text).ok()?;
    let report = probe(&addresses, key, None).await;
    let key = report.peer.clone().unwrap_or_default();
    let mut checks = vec![whole(1, &report).detail(key)];
    checks.extend(report.findings.iter().map(|finding| told(&report, finding)));
    Some(checks)
}

/// Whether nodes can use it. One that wants a token takes the group's, which is not shown here.
fn whole(number: usize, report: &Report) -> Check {
    let relay = format!("relay {number}");
    if report.is_usable() {
        return Check::well("relay", format!("{relay} can be used from here"));
    }
    if wants_token(report) {
        return Check::unknown("relay", format!("{relay} answers, and wants a token for more"))
            .advice("wattle status says whether it takes those of your groups");
    }
    let said = format!("{relay} can't be used from here");
    Check::broken("relay", said, Exit::Network).advice("what each way needs stands below it")
}

fn wants_token(report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.trial == Trial::Token && !finding.works)
}

/// What is seen where a way fails may name an address or a key.
fn told(report: &Report, finding: &Finding) -> Check {
    let name = name(finding.trial);
    if finding.works {
        return Check::well(name, finding.seen.clone());
    }
    if finding.trial == Trial::Circuit {
        return Check::well(name, "none is made there: files come by direct paths alone");
    }
    let is_clock = finding.trial == Trial::Clock;
    let check = match (report.is_usable() || wants_token(report), is_clock) {
        (_, true) => Check::broken(name, finding.seen.clone(), Exit::Unexpected),
        (true, false) => Check::look(name, "does not work").detail(finding.seen.clone()),
        (false, false) => {
            Check::broken(name, "does not work", Exit::Network).detail(finding.seen.clone())
        }
    };
    check.advice(finding.advice.unwrap_or_default())
}

fn name(trial: Trial) -> &'static str {
    match trial {
        Trial::Tcp => "  tcp",
        Trial::Quic => "  quic",
        Trial::WebSocket => "  websocket",
        Trial::Token => "  token",
        Trial::Log => "  log",
        Trial::Circuit => "  circuit",
        Trial::Clock => "  clock",
    }
}
