//! A relay as another implementation of libp2p sees it: a peer of js-libp2p (`tests/interop/`) connects, identifies it,
//! pings it, has a place reserved for circuits, and is reached through it by another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    fs::{self, File},
    path::PathBuf,
    process::{Command, Stdio},
};

use rendezvous::{Config, Limits, Relay};
use serde_json::{Value, json};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/interop");

/// Where js-libp2p is installed; otherwise says why the test is skipped, or fails where nothing may be.
fn folder() -> Option<PathBuf> {
    let cache = || {
        let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
        let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
        Some(cache.join("wattle-ci/interop"))
    };
    let folder = env::var_os("WATTLE_INTEROP").map(PathBuf::from).or_else(cache);
    let wanted = fs::read(format!("{SOURCES}/package-lock.json")).unwrap();
    let is_there = |folder: &PathBuf| {
        folder.join("node_modules").is_dir()
            && fs::read(folder.join("package-lock.json")).is_ok_and(|found| found == wanted)
    };
    let found = folder.filter(is_there);
    if found.is_none() {
        let why = "no js-libp2p as named here; tests/interop/install.sh brings it";
        assert!(env::var_os("WATTLE_REQUIRE_ALL").is_none_or(|it| it != "1"), "{why}");
        println!("skipped: {why}");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_js_libp2p_meets_another_through_the_relay() {
    let Some(folder) = folder() else { return };
    let listen = vec![([127, 0, 0, 1], 0).into()];
    let limits = Limits { circuits: 4, ..Limits::live() };
    let relay = Relay::start(Config { listen, limits, ..Config::live() }).await.unwrap();
    let addr = relay.addrs()[0].to_string();
    // Read from standard input, it finds its packages in the folder that it runs in.
    let mut command = Command::new("node");
    command.args(["--input-type=module", "-", &addr]).current_dir(folder);
    command.stdin(File::open(format!("{SOURCES}/relay.mjs")).unwrap()).stderr(Stdio::inherit());
    let output = tokio::task::block_in_place(|| command.output().unwrap());
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    assert!(output.status.success(), "{seen}");
    let expected = json!({
        "encryption": "/noise",
        "multiplexer": "/yamux/1.0.0",
        // What is the same for all relays, and tells nothing of the machine.
        "agent": "wattle-relay",
        "protocols": [
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/ipfs/ping/1.0.0",
            "/libp2p/circuit/relay/0.2.0/hop",
            "/wattle/log/1",
        ],
        "ping": true,
        "reserved": true,
        "echoed": 100_000,
        "limited": true,
        "nobody": "refused",
    });
    assert_eq!(seen, expected);
}
