//! The program itself: its ready line, bytes that mean nothing, its directory, its end.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

struct Relay {
    process: Child,
    ready: serde_json::Value,
}

fn command(dir: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattle-rendezvous"));
    command.args(["run", "--json", "--watch", "", "--listen", listen, "--data-dir"]).arg(dir);
    // The settings of whoever runs the tests are none of theirs.
    command.env("HOME", dir).env_remove("WATTLE_RENDEZVOUS_CONFIG");
    command
}

fn start(dir: &Path, listen: &str) -> Relay {
    let mut process = command(dir, listen).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Relay { process, ready: serde_json::from_str(&line).unwrap() }
}

fn fails(dir: &Path, listen: &str) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(dir, listen).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

impl Relay {
    fn addrs(&self) -> Vec<&str> {
        let addrs = self.ready["addrs"].as_array().unwrap();
        addrs.iter().map(|addr| addr.as_str().unwrap()).collect()
    }

    fn socket(&self) -> SocketAddr {
        let port = self.addrs()[0].split('/').nth(4).unwrap().parse().unwrap();
        ([127, 0, 0, 1], port).into()
    }

    /// Whether it answers a libp2p dialer's first words.
    fn answers(&self) -> bool {
        let mut stream = TcpStream::connect(self.socket()).unwrap();
        stream.write_all(b"\x13/multistream/1.0.0\n").unwrap();
        let mut answer = [0; 20];
        stream.read_exact(&mut answer).is_ok() && answer == *b"\x13/multistream/1.0.0\n"
    }

    fn signal(&mut self, name: &str) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_ready_line_names_the_key_and_one_port_for_tcp_quic_and_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start(dir.path(), "127.0.0.1:0");
    let peer = relay.ready["peer"].as_str().unwrap();
    let port = relay.socket().port();
    assert_eq!((&relay.ready["v"], &relay.ready["event"]), (&1.into(), &"ready".into()));
    assert_eq!(
        relay.addrs(),
        [
            format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"),
            format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{peer}"),
            format!("/ip4/127.0.0.1/tcp/{port}/ws/p2p/{peer}"),
        ]
    );
}

#[test]
fn bytes_that_mean_nothing_end_their_connection_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = start(dir.path(), "127.0.0.1:0");
    let noise: Vec<u8> =
        (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let web = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let plain = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    // A message of 2^62 bytes, and one of text.
    let huge = [&web[..], &[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].concat();
    let text = [&web[..], &[0x81, 0x82, 1, 2, 3, 4, 5, 6]].concat();
    let long = [b"GET /", &[b'a'; 70_000][..]].concat();
    for bytes in [
        &noise[..0],
        &noise[..1],
        &noise[..1000],
        &noise[..],
        &[0xff; 70_000],
        b"G",
        plain,
        &huge,
        &text,
        &long,
    ] {
        let mut stream = TcpStream::connect(relay.socket()).unwrap();
        // It may hang up in the middle.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        for datagram in bytes.chunks(1200).take(20) {
            udp.send_to(datagram, relay.socket()).unwrap();
        }
    }
    assert!(relay.answers());
    assert_eq!(relay.signal("-TERM"), Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_that_finishes_no_handshake_keeps_no_other_out() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let dir = tempfile::tempdir().unwrap();
    let relay = start(dir.path(), "0.0.0.0:0");
    let target = relay.socket();
    let idle: Vec<_> = (0..400).map(|_| TcpStream::connect(target).unwrap()).collect();
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut stream = other.connect(target).await.unwrap();
    stream.write_all(b"\x13/multistream/1.0.0\n").await.unwrap();
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x13/multistream/1.0.0\n");
    drop(idle);
}

#[test]
fn a_directory_in_use_and_one_of_a_newer_version_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let relay = start(dir.path(), "127.0.0.1:0");
    let (code, words) = fails(dir.path(), "127.0.0.1:0");
    assert_eq!(code, Some(1));
    assert!(words.contains("another wattle-rendezvous is using"), "{words}");
    assert!(relay.answers());
    drop(relay);

    fs::write(dir.path().join("version"), "99\n").unwrap();
    let (code, words) = fails(dir.path(), "127.0.0.1:0");
    assert_eq!(code, Some(1));
    assert!(words.contains("newer version"), "{words}");
}

#[test]
fn a_port_in_use_is_refused_with_a_code_of_its_own_and_advice() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let relay = start(one.path(), "127.0.0.1:0");
    let (code, words) = fails(two.path(), &relay.socket().to_string());
    assert_eq!(code, Some(4));
    assert!(words.contains("--listen"), "{words}");
}

#[test]
fn a_relay_keeps_its_key_and_port_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    // Of this address nobody else takes a port, in between.
    let here = if cfg!(target_os = "linux") { "127.0.0.3" } else { "127.0.0.1" };
    let mut relay = start(dir.path(), &format!("{here}:0"));
    let (port, ready) = (relay.socket().port(), relay.ready.clone());
    assert_eq!(relay.signal("-INT"), Some(0));
    let again = start(dir.path(), &format!("{here}:{port}"));
    assert_eq!(again.ready, ready);
}

#[test]
fn no_setting_makes_it_log_who_connects_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = command(dir.path(), "127.0.0.1:0")
        .env("WATTLE_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut stderr = process.stderr.take().unwrap();
    let mut relay = Relay { process, ready: serde_json::from_str(&line).unwrap() };
    assert!(relay.answers());
    assert_eq!(relay.signal("-TERM"), Some(0));
    let mut logged = String::new();
    stderr.read_to_string(&mut logged).unwrap();
    assert!(logged.contains("the relay is ready"), "{logged}");
    assert!(!logged.contains("127.0.0.1") && !logged.contains("/ip4/"), "{logged}");
}

#[test]
fn wrong_usage_and_an_address_of_another_machine_have_codes_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (code, words) = fails(dir.path(), "4407");
    assert_eq!(code, Some(2));
    assert!(words.contains("[::]:4407"), "{words}");
    // For documentation only (RFC 5737): no machine has it.
    let (code, words) = fails(dir.path(), "192.0.2.1:4407");
    assert_eq!(code, Some(4));
    assert!(words.contains("no such address"), "{words}");
}
