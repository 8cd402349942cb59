//! A local network and nothing else: no relay, no route beyond it.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

use harness::{Machine, Nets, Network, Node, World};
use node::{
    api::types::{Path, Via, What},
    net::address,
};

const NAMES: [&str; 3] = ["ana", "ben", "cleo"];

/// The address of the `number`th machine after so many changes.
fn at(number: usize, changes: usize) -> String {
    format!("10.78.0.{}/24", 10 * (changes + 1) + number)
}

fn machine(nets: &Nets, network: &Network, number: usize) -> Machine {
    let machine = nets.machine(NAMES[number]);
    machine.plug(network, "e0", &at(number, 0));
    assert_eq!(machine.ways_out(), "");
    machine
}

fn talk(nodes: [&Node; 3], topic: &str) {
    for node in nodes {
        node.send("tea", &format!("{topic}, says {}", node.name()));
    }
    for node in nodes {
        for other in nodes.into_iter().filter(|other| other.name() != node.name()) {
            node.hears("tea", &format!("{topic}, says {}", other.name()));
        }
    }
}

/// Whether a node has found somebody by multicast DNS since its event number `after`.
fn found(node: &Node, after: u64) -> bool {
    let paths = node.events().into_iter().filter(|event| event.seq > after);
    paths.into_iter().any(|event| match event.what {
        What::Path { path } => path.path == Path::Direct && path.via == Some(Via::Mdns),
        _ => false,
    })
}

#[test]
fn on_a_lan_without_internet_people_join_converse_and_go_on_when_addresses_change() {
    let Some(nets) = Nets::new() else { return };
    let network = nets.network("lan");
    let machines = [0, 1, 2].map(|number| machine(&nets, &network, number));
    let cafe = Stranger::on(&nets, &network);
    let world = World::new();
    let start =
        |number: usize| world.node(NAMES[number]).on(&machines[number]).arg("--lan-only").start();
    let [ana, mut ben, cleo] = [0, 1, 2].map(start);
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));

    // The code names an address that is nobody's any more.
    let code = ana.invite("tea");
    machines[0].readdress("e0", &at(0, 0), &at(0, 1));
    cleo.join(&code);
    for node in [&ana, &ben, &cleo] {
        node.until_people("tea", &NAMES);
    }
    talk([&ana, &ben, &cleo], "no relay");

    // In the middle of a conversation.
    machines[2].readdress("e0", &at(2, 0), &at(2, 1));
    talk([&ana, &ben, &cleo], "still here");

    // While one is away, everybody moves: what each had been told of the others is worth nothing.
    ben.stop();
    machines[0].readdress("e0", &at(0, 1), &at(0, 2));
    machines[1].readdress("e0", &at(1, 0), &at(1, 2));
    machines[2].readdress("e0", &at(2, 1), &at(2, 2));
    let before = [ana.latest_event(), ben.latest_event(), cleo.latest_event()];
    ben.start_again();
    talk([&ana, &ben, &cleo], "and again");
    let nodes = [&ana, &ben, &cleo];
    assert!(nodes.into_iter().zip(before).any(|(node, after)| found(node, after)));
    for other in ["ana", "cleo"] {
        let path = ben.until_after(before[1], "a direct path to both", |event| match &event.what {
            What::Path { path } if path.path == Path::Direct && path.member.name == other => {
                Some(path.clone())
            }
            _ => None,
        });
        assert!(path.lan && path.via.is_some(), "{path:#?}");
    }
    let status = ben.status();
    assert!(status.relays.is_empty() && status.lan.is_some_and(|lan| lan.only));

    cafe.learned_nothing_of(&nodes);
}

#[test]
fn on_a_lan_of_ipv6_alone_people_find_each_other_and_one_with_an_address_of_the_link_is_told() {
    let Some(nets) = Nets::new() else { return };
    let network = nets.network("lan");
    let at = |number: usize, changes: usize| format!("fd00:78::{}/64", 16 * changes + number + 1);
    let plug = |number: usize, address: &str| {
        let machine = nets.machine(NAMES[number]);
        machine.plug(&network, "e0", address);
        machine
    };
    let machines = [plug(0, &at(0, 0)), plug(1, &at(1, 0)), plug(2, "fe80::c/64")];
    let world = World::new();
    let start =
        |number: usize| world.node(NAMES[number]).on(&machines[number]).arg("--lan-only").start();
    let [ana, mut ben, cleo] = [0, 1, 2].map(start);
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "six");
    ben.hears("tea", "six");

    // While one is away, both move: what each had been told of the other is worth nothing.
    ben.stop();
    for (number, machine) in machines[..2].iter().enumerate() {
        machine.readdress("e0", &at(number, 0), &at(number, 1));
    }
    let before = [ana.latest_event(), ben.latest_event()];
    ben.start_again();
    for (node, other) in [(&ana, &ben), (&ben, &ana)] {
        let text = format!("here, says {}", node.name());
        node.send("tea", &text);
        other.hears("tea", &text);
    }
    assert!(found(&ana, before[0]) || found(&ben, before[1]));
    let moved = at(0, 1).replace("/64", "");
    ana.until_status("where it looks", |status| {
        status.lan.as_ref().is_some_and(|lan| lan.networks == [moved.clone()])
    });
    cleo.until_status("why it looks nowhere", |status| {
        let lan = status.lan.as_ref();
        lan.is_some_and(|lan| lan.networks.is_empty() && lan.problem.contains("its link alone"))
    });
}

/// Somebody else on the network, who asks once and hears everything.
struct Stranger {
    python: Child,
    heard: Receiver<String>,
}

/// Says what it hears at multicast DNS, after a question of its own, in hexadecimal.
const LISTEN: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 5353))
here = socket.inet_aton(sys.argv[1])
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + here)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
name = (b"\x20" + b"5" * 32) * 2 + b"\x07_wattle\x04_udp\x05local\0"
ask = struct.pack("!6H", 0, 0, 1, 0, 0, 0) + name + struct.pack("!2H", 16, 1)
print("listening", flush=True)
s.settimeout(1)
while True:
    try:
        data, source = s.recvfrom(9000)
        print(source[0], data.hex(), flush=True)
    except TimeoutError:
        s.sendto(ask, ("224.0.0.251", 5353))
"#;

impl Stranger {
    const ADDRESS: &str = "10.78.0.200";

    fn on(nets: &Nets, network: &Network) -> Self {
        let machine = nets.machine("stranger");
        machine.plug(network, "e0", &format!("{}/24", Self::ADDRESS));
        let mut python = machine.command("python3");
        python.args(["-c", LISTEN, Self::ADDRESS]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut python = python.spawn().expect("python3");
        let lines = BufReader::new(python.stdout.take().unwrap()).lines();
        let (said, heard) = sync_channel(65_536);
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
        assert_eq!(heard.recv().unwrap(), "listening");
        Self { python, heard }
    }

    /// Of all packets no two are the same, and none has a key of anybody's in it.
    fn learned_nothing_of(mut self, nodes: &[&Node]) {
        self.python.kill().unwrap();
        self.python.wait().unwrap();
        let (mut packets, mut answers) = (BTreeSet::new(), 0);
        let heard: Vec<String> = self.heard.iter().collect();
        for line in &heard {
            let (source, hex) = line.split_once(' ').unwrap();
            if source == Self::ADDRESS {
                continue;
            }
            assert!(packets.insert(hex), "a packet that tells who it is of, by being said twice");
            answers += usize::from(hex.starts_with("00008400"));
            for node in nodes {
                let peer = address::to_bytes(&format!("/p2p/{}", node.ready().peer)).unwrap();
                let key: String =
                    peer[peer.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect();
                for secret in [key, node.member().to_owned()] {
                    assert!(!hex.contains(&secret), "{}: {hex}", node.name());
                }
            }
        }
        println!("the stranger heard {} packets, {answers} of them answers", packets.len());
        assert!(answers > 0 && answers < packets.len(), "{heard:#?}");
    }
}
