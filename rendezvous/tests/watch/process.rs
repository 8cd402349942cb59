//! The program as an operator starts it, and what it gives away: nothing.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use protocol::relay_log::{Answer, LogKeys};

use crate::{
    TOKEN,
    client::Client,
    http::{get, get_with},
};

pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(dir: &Path, watch: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.args(["run", "--json", "--listen", "127.0.0.1:0", "--watch", watch, "--data-dir"]);
    command.arg(dir).env_clear().env("HOME", dir).stderr(Stdio::piped());
    command
}

/// Starts it; answers its ready line too.
pub fn start(command: &mut Command) -> (Process, serde_json::Value) {
    let mut process = command.stdout(Stdio::piped()).spawn().map(Process).unwrap();
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (process, serde_json::from_str(&line).unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_page_nor_metrics_nor_journal_names_a_client_its_address_or_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut process, ready) = start(command(dir.path(), "127.0.0.1:0").env("WATTLE_LOG", "trace"));
    let relay: PeerId = ready["peer"].as_str().unwrap().parse().unwrap();
    let addr: Multiaddr = ready["addrs"][0].as_str().unwrap().parse().unwrap();
    assert!(matches!(addr.iter().nth(1), Some(Protocol::Tcp(_))), "{addr}");
    let watch = ready["watch"].as_str().unwrap();
    let watch = watch.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap();

    let keys = LogKeys::from_seeds([0xa1; 32], [0xb2; 32], None);
    let mut client = Client::of(relay, addr).await;
    assert_eq!(client.open(1, &keys).await, Answer::Opened { handle: 1 });
    assert!(matches!(client.append(1, 7, 512).await, Answer::Appended { .. }));
    assert!(matches!(client.append(1, 7, 513).await, Answer::AppendRefused { .. }));
    assert_eq!(client.read(1).await, 1);
    let mut shown = String::new();
    for path in ["/", "/live.json", "/state.json", "/metrics", "/healthz", "/else"] {
        let answer = get(watch, path).await;
        shown.push_str(&answer.head);
        shown.push_str(&answer.body);
    }
    let peer = client.peer;
    client.send(vec![0xff; 9]).await;
    assert_eq!(client.next().await, None);
    let pid = process.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut journal = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut journal).unwrap();
    assert!(journal.contains("the relay is ready"), "{journal}");

    // Its own addresses are the page's to show, and not the journal's.
    for own in ready["addrs"].as_array().unwrap() {
        let own = own.as_str().unwrap();
        assert!(shown.contains(own), "{own}");
        shown = shown.replace(own, "");
    }
    let publics = keys.publics();
    let id = publics.id();
    let secrets = [
        peer.to_string(),
        relay.to_string(),
        hex(id.as_bytes()),
        format!("{id:?}"),
        format!("{publics:?}"),
        hex(&[0xa1; 32]),
        hex(&[0xb2; 32]),
    ];
    let shapes = ["12D3Koo", "/p2p/", "/ip4/", "/ip6/", "127.0.0.1", "::1"];
    for text in secrets.iter().map(String::as_str).chain(shapes) {
        for (place, said) in [("shown", &shown), ("journal", &journal)] {
            let said = said.to_lowercase();
            assert!(!said.contains(&text.to_lowercase()), "{text} in what is {place}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_comes_from_the_environment_or_a_file_and_is_never_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let settings = dir.path().join("relay.toml");
    std::fs::write(&settings, format!("[watch]\ntoken_file = {:?}\n", file.to_str().unwrap()))
        .unwrap();
    let mut by_file = command(dir.path(), "0.0.0.0:0");
    by_file.arg("--config").arg(&settings).env("WATTLE_LOG", "trace");
    let mut by_environment = command(dir.path(), "0.0.0.0:0");
    by_environment.env("WATTLE_RENDEZVOUS_WATCH_TOKEN", TOKEN).env("WATTLE_LOG", "trace");
    for mut command in [by_file, by_environment] {
        let (mut process, ready) = start(&mut command);
        let port = ready["watch"].as_str().unwrap().rsplit_once(':').unwrap().1;
        let port = port.trim_end_matches('/').parse().unwrap();
        let watch = ([127, 0, 0, 1], port).into();
        assert_eq!(get(watch, "/metrics").await.status, 401);
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        assert_eq!(get_with(watch, "/metrics", &bearer).await.status, 200);
        let pid = process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut journal = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut journal).unwrap();
        assert!(!journal.contains(TOKEN) && !ready.to_string().contains(TOKEN), "{journal}");
    }
}

#[test]
fn what_can_not_be_watched_so_is_refused_in_words_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let says = |command: &mut Command| {
        let Output { status, stderr, .. } = command.output().unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    };
    let data = dir.path().join("data");
    let (code, words) = says(&mut command(&data, "0.0.0.0:0"));
    assert_eq!(code, Some(2));
    assert!(words.contains("has no token") && words.contains("--watch 127.0.0.1:4408"), "{words}");
    let mut short = command(&data, "0.0.0.0:0");
    let (code, words) = says(short.env("WATTLE_RENDEZVOUS_WATCH_TOKEN", "swordfish"));
    assert_eq!(code, Some(2));
    assert!(words.contains("at least 16") && !words.contains("swordfish"), "{words}");
    let (code, words) = says(&mut command(&data, "here"));
    assert_eq!(code, Some(2));
    assert!(words.contains("watch.listen = \"here\": expected IP:PORT"), "{words}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, words) = says(&mut command(&data, &taken.local_addr().unwrap().to_string()));
    assert_eq!(code, Some(4));
    assert!(words.contains("--watch"), "{words}");
    assert!(!data.join("key").exists(), "and nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_in_a_line_how_the_relay_of_this_machine_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = command(dir.path(), "0.0.0.0:0");
    let (process, ready) = start(relay.env("WATTLE_RENDEZVOUS_WATCH_TOKEN", TOKEN));
    let port = ready["watch"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let watch = format!("0.0.0.0:{}", port.trim_end_matches('/'));
    let status = |token: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
        command.args(["status", "--watch", &watch]).args(args).env_clear().env("HOME", dir.path());
        let Output { status, stdout, stderr } =
            command.env("WATTLE_RENDEZVOUS_WATCH_TOKEN", token).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    };
    let (code, out, words) = status(TOKEN, &[]);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(out.lines().count(), 1, "{out}");
    for text in
        ["takes entries, up for ", ", 0 connections, ", " of 16.0 GiB stored, ", "0 refused"]
    {
        assert!(out.contains(text), "{text}: {out}");
    }
    let (code, out, _) = status(TOKEN, &["--json"]);
    let figures: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &figures["v"], &figures["appends"]), (Some(0), &1.into(), &0.into()));
    let (code, out, words) = status("a token of nobody", &[]);
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(words.contains("another token") && !words.contains(TOKEN), "{words}");
    drop(process);
    let (code, _, words) = status(TOKEN, &[]);
    assert_eq!(code, Some(4));
    assert!(words.contains("Does the relay run?"), "{words}");
}
