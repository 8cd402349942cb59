//! Files between people whom nothing but the relay joins: by circuits through it, where its operator makes some.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use harness::{Machine, Nets, Node, PATIENCE, Relay, World};
use node::api::types::{FileStanding, Path};

use super::{
    files::{MIB, content, file, get, look, send, until},
    proxy::is_installed,
};

/// A file of [`SIZE`] takes several of them.
const SMALL: &str = "[limits]\ncircuits = 16\ncircuit_bytes = \"12 MiB\"\n";
const SIZE: usize = 30 * MIB;

/// Ana and Ben, who meet nowhere but at the relay.
fn apart(world: &World, relay: &Relay) -> (Node, Node) {
    let [ana, ben] = ["ana", "ben"].map(|name| world.node(name).relay(relay).no_direct().start());
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    (ana, ben)
}

#[test]
fn without_a_direct_path_a_file_arrives_whole_by_circuits_that_end_in_its_middle() {
    let world = World::new();
    let relay = world.relay_with(SMALL);
    let (ana, mut ben) = apart(&world, &relay);
    let (path, sent) = file(&ana, "plan.pdf", SIZE);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    get(&ben, "plan.pdf");
    let some = until(&ben, "some of it", |file| file.bytes > 4 * MIB as u64);
    assert!(some.bytes < SIZE as u64, "it is whole too soon: {some:#?}");
    // Not by the circuit alone: also who fetches ends in its middle.
    ben.kill9();
    ben.start_again();
    until(&ben, "more than before", |file| file.bytes >= some.bytes);
    ana.send("tea", "does it come?");
    ben.hears("tea", "does it come?");
    let here = until(&ben, "all of it", |file| file.state == FileStanding::Here);
    assert!(content(&here) == sent);
    // What is said goes by the log, as ever, and no path of the group's is a circuit.
    for node in [&ana, &ben] {
        let status = node.status();
        let [path] = &status.paths[..] else { panic!("one other member: {status:#?}") };
        assert_eq!(path.path, Path::Relay);
        assert!(status.listen.is_empty(), "{status:#?}");
    }
}

#[test]
fn where_the_relay_makes_no_circuits_it_is_said_and_people_converse_as_ever() {
    let world = World::new();
    let relay = world.relay();
    let (ana, ben) = apart(&world, &relay);
    let (path, _) = file(&ana, "notes.txt", MIB);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    get(&ben, "notes.txt");
    until(&ben, "a reason", |file| file.waits.contains("the relay makes no circuits"));
    let said = ben.cli(&["file", "list", "tea"]).ok();
    assert!(said.contains("the relay makes no circuits"), "{said}");
    ben.send("tea", "bring it along");
    ana.hears("tea", "bring it along");
}

#[test]
fn who_does_not_come_to_the_relay_is_waited_for_and_comes_when_asked_again() {
    let world = World::new();
    let relay = world.relay_with(SMALL);
    let (mut ana, ben) = apart(&world, &relay);
    let (path, sent) = file(&ana, "notes.txt", MIB);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    ana.stop();
    get(&ben, "notes.txt");
    until(&ben, "a reason", |file| file.waits.contains("and did not"));
    ana.start_again();
    // Its person asks once more, and need not wait until it is tried by itself.
    for _ in 0..60 {
        get(&ben, "notes.txt");
        sleep(Duration::from_secs(1));
        if look(&ben).iter().any(|file| file.state == FileStanding::Here) {
            break;
        }
    }
    let here = until(&ben, "all of it", |file| file.state == FileStanding::Here);
    assert!(content(&here) == sent);
}

/// The bytes that came to a machine.
fn came(machine: &Machine) -> u64 {
    machine.run(&["cat", "/sys/class/net/e0/statistics/rx_bytes"]).trim().parse().unwrap()
}

#[test]
fn a_direct_path_that_comes_up_meanwhile_takes_over_and_nothing_more_goes_through_the_relay() {
    let Some(nets) = Nets::new() else { return };
    let network = nets.network("lan");
    let machines = ["relay", "ana", "ben"].map(|name| nets.machine(name));
    for (machine, ip) in machines.iter().zip(1..) {
        machine.plug(&network, "e0", &format!("10.79.3.{ip}/24"));
    }
    let [between, hers, his] = &machines;
    for rule in [
        "add table inet wall",
        "add chain inet wall in { type filter hook input priority 0 ; policy drop ; }",
        "add rule inet wall in iifname lo accept",
        "add rule inet wall in ip saddr 10.79.3.1 accept",
        "add chain inet wall out { type filter hook output priority 0 ; policy accept ; }",
        "add rule inet wall out ip daddr 10.79.3.2 drop",
    ] {
        his.run(&["nft", rule]);
    }
    let world = World::new();
    // So that it takes its time.
    let settings = "[limits]\ncircuits = 16\ncircuit_bytes = \"6 MiB\"\n";
    let relay = world.relay_on_with(between, "10.79.3.1", settings);
    let ana = world.node("ana").on(hers).relay(&relay).start();
    let ben = world.node("ben").on(his).relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let (path, sent) = file(&ana, "plan.pdf", 32 * MIB);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    get(&ben, "plan.pdf");
    until(&ben, "some of it, by circuits", |file| file.bytes > 8 * MIB as u64);

    his.run(&["nft", "delete", "table", "inet", "wall"]);
    // With another address a machine looks for everybody at once.
    his.give("e0", "10.79.3.33/24");
    ben.until_status_within(2 * PATIENCE, "a direct path", |status| {
        status.paths.iter().all(|path| path.path == Path::Direct)
    });
    let (before, at_relay) = (look(&ben)[0].bytes, came(between));
    let here = until(&ben, "all of it", |file| file.state == FileStanding::Here);
    assert!(content(&here) == sent);
    let (rest, through) = (sent.len() as u64 - before, came(between) - at_relay);
    assert!(rest > 8 * MIB as u64, "too little was left to tell: {rest}");
    assert!(through < rest / 2, "{through} bytes of {rest} went through the relay");
}

/// Debian's microsocks on this machine, until it is dropped.
struct Socks(Child, u16);

impl Socks {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("microsocks");
        let quiet = command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        let quiet = quiet.stdout(Stdio::null()).stderr(Stdio::null());
        let socks = Self(quiet.spawn().unwrap(), port);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {}
        socks
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_reaches_the_relay_by_way_of_a_proxy_has_circuits_through_it() {
    if !is_installed() {
        return;
    }
    let world = World::new();
    let relay = world.relay_with(SMALL);
    let socks = Socks::start();
    let proxy = format!("--relay-proxy=socks5://127.0.0.1:{}", socks.1);
    let ana = world.node("ana").relay(&relay).no_direct().arg(&proxy).start();
    let ben = world.node("ben").relay(&relay).no_direct().arg(&proxy).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    let (path, sent) = file(&ana, "notes.txt", 3 * MIB);
    send(&ana, &path);
    until(&ben, "the offer", |file| file.state == FileStanding::Offered);
    get(&ben, "notes.txt");
    let here = until(&ben, "all of it", |file| file.state == FileStanding::Here);
    assert!(content(&here) == sent);
}
