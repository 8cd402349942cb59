//! `wattle-rendezvous token` as its operator types it, and a relay that serves holders of tokens.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use protocol::relay_log::RelayToken;
use rendezvous::{Access, Config, Relay, StartError, tokens::Tokens};

fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.env_clear().env("HOME", dir).env("WATTLE_RENDEZVOUS_DATA_DIR", dir.join("data"));
    command
}

/// Exit code, standard output, standard error.
fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        program(dir).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

async fn relay(dir: &Path) -> Relay {
    let listen = vec![([127, 0, 0, 1], 0).into()];
    let config = Config { listen, access: Access::Token, ..Config::durable(dir.join("data")) };
    Relay::start(config).await.unwrap()
}

#[test]
fn a_token_is_printed_once_and_listed_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, words) = run(dir.path(), &["token", "list"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(words.contains("token new --label"), "{words}");

    let new = ["token", "new", "--label", "ana", "--bytes-per-day", "1GiB", "--expires", "90d"];
    let (code, token, words) = run(dir.path(), &new);
    assert_eq!(code, Some(0), "{words}");
    assert!(RelayToken::parse(&token).is_ok() && token.lines().count() == 1, "{token}");
    assert!(words.contains("--token-file") && words.contains("open to all"), "{words}");
    assert!(words.contains(dir.path().join("data").to_str().unwrap()), "at which relay: {words}");
    assert!(!words.contains(token.trim()), "the data is on standard output alone");

    let (_, out, _) = run(dir.path(), &["token", "list"]);
    assert!(out.contains("ana") && out.contains("1.0 GiB") && !out.contains(token.trim()), "{out}");
    let (_, out, _) = run(dir.path(), &["token", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&out).unwrap();
    let ana = &listed["tokens"][0];
    assert_eq!((ana["label"].as_str(), ana["used_today"].as_u64()), (Some("ana"), Some(0)));
    assert_eq!((ana["logs"].as_u64(), ana["expired"].as_bool()), (Some(10_000), Some(false)));

    let id = ana["id"].as_str().unwrap();
    let (code, out, _) = run(dir.path(), &["token", "revoke", id]);
    assert_eq!((code, out.trim()), (Some(0), id));
    let (code, _, words) = run(dir.path(), &["token", "revoke", id]);
    assert_eq!(code, Some(1));
    assert!(words.contains("no token") && words.contains("token list"), "{words}");
}

#[test]
fn what_can_not_be_granted_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    for (args, said) in [
        (&["--label", ""][..], "a label has"),
        (&["--label", "x", "--logs", "0"], "grants nothing"),
        (&["--label", "x", "--expires", "0s"], "can't last"),
        (&["--label", "x", "--bytes-per-day", "much"], "1GiB"),
        (&[], "--label"),
    ] {
        let (code, out, words) = run(dir.path(), &[&["token", "new"], args].concat());
        assert!(code != Some(0) && out.is_empty() && words.contains(said), "{args:?}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_whether_a_relay_wants_a_token_and_whether_this_one_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let relay = relay(dir.path()).await;
    let addr = relay.addrs()[0].to_string();
    let keyless = addr.rsplit_once("/p2p/").unwrap().0.to_owned();
    let (code, out, _) = run(dir.path(), &["check", &addr]);
    assert_eq!(code, Some(4), "{out}");
    assert!(
        out.contains("this relay wants a token") && out.contains("Ask whoever runs it"),
        "{out}"
    );

    // Made while the relay runs; it looks each second.
    let (_, token, _) = run(dir.path(), &["token", "new", "--label", "ana", "--json"]);
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let file = dir.path().join("token");
    fs::write(&file, token["token"].as_str().unwrap()).unwrap();
    let file = file.to_str().unwrap();
    let good = || run(dir.path(), &["check", "--token-file", file, &addr]);
    let until = |what: &str, holds: fn(&(Option<i32>, String, String)) -> bool| {
        let end = Instant::now() + Duration::from_secs(180);
        loop {
            let said = good();
            if holds(&said) {
                return said;
            }
            assert!(Instant::now() < end, "{what}: {said:?}");
        }
    };
    let works = |said: &(Option<i32>, String, String)| said.0 == Some(0);
    let (_, out, words) = until("the token is taken", works);
    assert!(out.contains("token      works") && out.contains("log        works"), "{out}{words}");
    let (code, _, words) = run(dir.path(), &["check", "--token-file", file, &keyless]);
    assert!(code == Some(2) && words.contains("with its key"), "{words}");

    let id = token["issued"]["id"].as_str().unwrap();
    run(dir.path(), &["token", "revoke", id]);
    // A check that it is revoked under loses its connection, which has other words.
    let (code, ..) = until("the token is refused", |it| it.1.contains("not valid, or no longer"));
    assert_eq!(code, Some(4));

    // What was stored under a token is written down at the relay's end.
    let (_, again, _) = run(dir.path(), &["token", "new", "--label", "ben"]);
    fs::write(dir.path().join("token"), again).unwrap();
    until("another token is taken", works);
    relay.stop().await;
    let tokens = Tokens::of(&dir.path().join("data"));
    let used: Vec<_> = tokens.all().unwrap().iter().map(|it| it.id.clone()).collect();
    // One entry for each check that came as far, also for one that was not done in time.
    let used = tokens.usage().of(&used[0], SystemTime::now());
    assert!(used >= 512 && used.is_multiple_of(512), "{used}");
}

#[tokio::test]
async fn a_relay_that_can_not_keep_to_its_tokens_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { access: Access::Token, ..Config::durable(dir.path().join("data")) };
    config.listen = vec![([127, 0, 0, 1], 0).into()];
    config.limits.circuits = 1;
    assert!(matches!(Relay::start(config.clone()).await, Err(StartError::OpenCircuits)));
    config.limits.circuits = 0;
    // Another one: a child that a test beside this is about to start may hold the first one's lock.
    let other = dir.path().join("other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("tokens.toml"), "?").unwrap();
    config.data_dir = Some(other);
    let refused = Relay::start(config.clone()).await;
    assert!(matches!(refused, Err(StartError::Tokens(_))), "{refused:?}");
    config.data_dir = None;
    assert!(matches!(Relay::start(config).await, Err(StartError::NoTokens)));
}
