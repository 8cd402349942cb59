//! `wattle-rendezvous check`: a relay looked at from outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use libp2p::PeerId;
use rendezvous::{Config, Limits, Relay};

async fn start(limits: Limits) -> Relay {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap()
}

fn port(relay: &Relay) -> u16 {
    relay.addrs()[0].to_string().split('/').nth(4).unwrap().parse().unwrap()
}

/// Exit code, standard output, standard error.
fn check(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    let Output { status, stdout, stderr } = command.arg("check").args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Each trial and whether it works, in order.
fn findings(report: &str) -> Vec<(String, bool)> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let findings = report["report"]["findings"].as_array().unwrap().clone();
    let one = |it: &serde_json::Value| {
        (it["trial"].as_str().unwrap().to_owned(), it["works"].as_bool().unwrap())
    };
    findings.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_well_is_found_so_by_each_way() {
    let relay = start(Limits { circuits: 9, ..Limits::live() }).await;
    let (code, out, words) = check(&[&format!("127.0.0.1:{}", port(&relay))]);
    assert_eq!(code, Some(0), "{out}{words}");
    assert!(out.starts_with(&relay.peer_id().to_string()), "{out}");
    for trial in ["tcp", "quic", "websocket", "log", "circuit", "clock"] {
        let line = out.lines().find(|line| line.starts_with(trial)).unwrap();
        assert!(line.contains(" works "), "{line}");
    }
    assert!(words.contains("can use this relay"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_said_with_what_to_do_and_what_works_all_the_same() {
    let relay = start(Limits::live()).await;
    let (code, out, _) = check(&["--json", &format!("127.0.0.1:{}", port(&relay))]);
    let failed: Vec<_> = findings(&out).into_iter().filter(|(_, works)| !works).collect();
    assert_eq!((code, failed), (Some(0), vec![("circuit".to_owned(), false)]));

    let other = PeerId::random();
    let addr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{other}", port(&relay));
    let (code, out, words) = check(&[&addr]);
    assert_eq!(code, Some(4), "{out}");
    assert!(out.contains(&format!("the key {} answers", relay.peer_id())), "{out}");
    assert!(out.contains("restore the relay's data directory"), "{out}");
    assert!(words.contains("can't use this relay"), "{words}");
}

#[test]
fn where_nobody_listens_each_way_says_so_and_a_wrong_address_is_refused() {
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = held.local_addr().unwrap().port();
    let (code, out, _) = check(&["--json", &format!("/ip4/127.0.0.1/tcp/{port}")]);
    assert_eq!(code, Some(4));
    let expected = ["tcp", "quic", "websocket"].map(|trial| (trial.to_owned(), false));
    assert_eq!(findings(&out), expected);
    let (code, _, words) = check(&["a b"]);
    assert!(code == Some(2) && words.contains("HOST:PORT"), "{words}");
}
