//! What should never come: every port and every file gets it, nothing is lost, nothing panics.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use harness::{Node, Relay, World, port_of};

/// One byte; noise; a frame that claims to be enormous; a libp2p greeting, then noise.
fn garbage() -> Vec<Vec<u8>> {
    let mut noise = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while noise.len() < 100_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    let mut enormous = vec![0xff; 4];
    enormous.extend(vec![0; 1 << 20]);
    let greeting = b"\x13/multistream/1.0.0\n\x07/noise\n";
    let mut greeted = greeting.to_vec();
    greeted.extend(&noise);
    let mut greeted_enormous = greeting.to_vec();
    greeted_enormous.extend([0xff, 0xff]);
    greeted_enormous.extend(&enormous);
    let http = b"POST /v1/groups HTTP/1.1\r\nhost: wattle\r\ncontent-length: 99999999999\r\n\r\n{";
    vec![vec![0], noise, enormous, greeted, greeted_enormous, http.to_vec(), Vec::new()]
}

/// Writes, says that no more comes, and reads until the other side ends it or 2 s have gone by.
fn throw_at(mut stream: impl Read + Write, bytes: &[u8], end: impl FnOnce()) {
    let _ = stream.write_all(bytes);
    end();
    let _ = stream.read_to_end(&mut Vec::new());
}

fn throw_at_port(port: u16) {
    for bytes in garbage() {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let half = stream.try_clone().unwrap();
        throw_at(stream, &bytes, || drop(half.shutdown(Shutdown::Write)));
    }
}

fn throw_at_socket(path: &Path) {
    for bytes in garbage() {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let half = stream.try_clone().unwrap();
        throw_at(stream, &bytes, || drop(half.shutdown(Shutdown::Write)));
    }
}

fn nothing_panicked(relay: &Relay, nodes: &[&Node]) {
    let logs = nodes.iter().map(|node| node.log_file()).chain([relay.log_file()]);
    for log in logs {
        let text = fs::read_to_string(&log).unwrap();
        assert!(!text.contains("panicked"), "{}:\n{text}", log.display());
    }
}

#[test]
fn garbage_on_every_port_disturbs_nobody() {
    let world = World::new();
    let mut relay = world.relay();
    let (mut ana, mut ben) = world.pair(&relay);
    ana.send("tea", "before");
    ben.hears("tea", "before");

    throw_at_port(relay.port());
    for node in [&ana, &ben] {
        let is_tcp = |address: &&String| address.contains("/tcp/");
        node.until_status("to listen on TCP", |status| status.listen.iter().any(|it| is_tcp(&it)));
        throw_at_port(port_of(node.status().listen.iter().find(is_tcp).expect("it does")));
        throw_at_socket(Path::new(&node.ready().api));
    }

    ana.send("tea", "after");
    ben.hears("tea", "after");
    ben.send("tea", "unharmed");
    ana.hears("tea", "unharmed");
    assert!(relay.is_running() && ana.is_running() && ben.is_running());
    nothing_panicked(&relay, &[&ana, &ben]);
}

#[test]
fn a_relay_with_another_key_is_not_taken_for_it() {
    let world = World::new();
    let (relay, other) = (world.relay(), world.relay_named("other"));
    let (_, key) = other.address().split_once("/p2p/").unwrap();
    let (place, _) = relay.address().split_once("/p2p/").unwrap();
    let wrong = format!("{place}/p2p/{key}");

    let ana = world.node("ana").relay_at(&wrong).start();
    ana.create_group("tea");
    ana.until("it to say what is wrong with the relay", |event| match &event.what {
        node::api::types::What::Relay { relay } => {
            relay.reason.to_lowercase().contains("key").then_some(())
        }
        _ => None,
    });
    let status = ana.status();
    assert!(status.relays.iter().all(|relay| relay.state != node::api::types::RelayState::Up));
    nothing_panicked(&relay, &[&ana]);
}

#[test]
fn a_data_directory_has_one_node() {
    let world = World::new();
    let relay = world.relay();
    let ana = world.node("ana").relay(&relay).start();
    ana.create_group("tea");
    let said = ana.cli(&["up", "--relay", relay.address()]).refused(1);
    assert!(said.contains("running"), "{said}");
    // The first one is as it was.
    ana.send("tea", "still here");
    assert_eq!(ana.texts("tea"), ["still here"]);
}

#[test]
fn a_data_directory_of_a_newer_version_is_left_alone() {
    let world = World::new();
    let mut ana = world.node("ana").no_relay().start();
    ana.create_group("tea");
    ana.send("tea", "kept");
    ana.stop();
    let before = ana.database_format(|format| format + 1);
    let said = ana.cli(&["up", "--no-relay"]).refused(1);
    assert!(said.contains("newer"), "{said}");
    assert_eq!(ana.database_format(|_| before), before + 1, "it was left as it was");
    ana.start_again();
    assert_eq!(ana.texts("tea"), ["kept"]);
}

#[test]
fn a_relay_address_that_is_none_is_refused_with_an_example() {
    let world = World::new();
    for wrong in ["example.org", "/ip4/127.0.0.1/tcp/1", "/ip4/1.2.3/tcp/x/p2p/y", ""] {
        let said = world.cli("nobody", &["up", "--relay", wrong]).refused(2);
        assert!(said.contains("/p2p/"), "it shows what an address looks like: {said}");
    }
}
