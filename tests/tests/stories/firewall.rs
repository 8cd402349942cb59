//! People whose IPv6 is behind a firewall: nothing is translated, and nothing comes in that nobody asked for.

use std::time::Duration;

use harness::{INSIDE, Machine, Nat, Nets, Network, Node, PATIENCE, Weather, World};
use node::api::types::{self, MemberPath, Path};

/// The internet: far enough for calls to cross.
const INTERNET: Weather =
    Weather { delay: Duration::from_millis(20), jitter: Duration::from_millis(3), loss: 0.005 };

/// Two behind firewalls may have to wait for their moment of the minute.
const MINUTES: Duration = PATIENCE.saturating_mul(3);

/// Connects by TCP, and says what came of it.
const KNOCK: &str = "import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print('open')
except OSError as why:
    print('shut', why)
";

/// Where the machine at home number `number` is.
fn home_ip(number: u8) -> String {
    format!("2a00:{number}::{INSIDE}")
}

/// The router of that home, outside.
fn router_ip(number: u8) -> String {
    format!("2a00:1::{number}")
}

/// A machine at home, on a network that its router has given this number, with a way out over IPv6.
fn at_home(nets: &Nets, home: &Network, name: &str, number: u8) -> Machine {
    let machine = nets.machine(name);
    machine.plug(home, "e0", &format!("{}/64", home_ip(number)));
    machine.route_six("default", &format!("2a00:{number}::1"));
    machine
}

/// Everybody outside finds these homes.
fn join_up(outside: &[&Machine], homes: &[u8]) {
    for number in homes {
        for machine in outside {
            let is_its_own = machine.run(&["ip", "-6", "addr"]).contains(&router_ip(*number));
            if !is_its_own {
                machine.route_six(&format!("2a00:{number}::/64"), &router_ip(*number));
            }
        }
    }
}

fn until_path(node: &Node, other: &Node, what: &str, is: impl Fn(&MemberPath) -> bool) {
    node.until_status_within(MINUTES, &format!("{what} to {}", other.name()), |status| {
        let to = |path: &&MemberPath| path.member.name == other.name();
        status.paths.iter().find(to).is_some_and(&is)
    });
}

/// Waits until both reach each other directly over IPv6.
fn until_direct(nodes: [&Node; 2]) {
    for (node, other) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
        until_path(node, other, "a direct path over IPv6", |path| {
            let address = path.address.as_deref().unwrap_or_default();
            path.path == Path::Direct && address.starts_with("/ip6/2a00:")
        });
    }
}

/// What each says arrives at all others.
fn all_are_heard(nodes: &[&Node], text: &str) {
    for node in nodes {
        let text = format!("{text} from {}", node.name());
        node.send("tea", &text);
        for other in nodes.iter().filter(|other| other.name() != node.name()) {
            other.hears("tea", &text);
        }
    }
}

fn is_met_at(ip: String) -> impl Fn(&types::Status) -> bool {
    move |status| {
        let six = status.ipv6.as_ref();
        six.is_some_and(|six| six.problem.is_empty() && six.addresses == [ip.clone()])
    }
}

#[test]
fn behind_two_firewalls_of_ipv6_people_reach_each_other_and_nobody_else_comes_in() {
    let Some(nets) = Nets::new() else { return };
    let internet = nets.slow_network("inet", INTERNET);
    let behind = |name: &str, number: u8| {
        let outside = format!("{}/64", router_ip(number));
        let inside = format!("2a00:{number}::1/64");
        let (home, router) = nets.behind_firewall(name, &internet, &outside, &inside);
        (at_home(&nets, &home, name, number), router)
    };
    let ((hers, her_router), (his, his_router)) = (behind("hana", 21), behind("hugo", 22));
    let outside = nets.machine("relay");
    outside.plug(&internet, "e0", "2a00:1::10/64");
    join_up(&[&outside, &her_router, &his_router], &[21, 22]);

    let world = World::new();
    let mut relay = world.relay_on(&outside, "[2a00:1::10]");
    let hana = world.node("hana").on(&hers).relay(&relay).start();
    let hugo = world.node("hugo").on(&his).relay(&relay).start();
    hana.create_group("tea");
    hugo.join(&hana.invite("tea"));
    for (node, number) in [(&hana, 21), (&hugo, 22)] {
        node.until_status("its address over IPv6", is_met_at(home_ip(number)));
    }
    until_direct([&hana, &hugo]);
    all_are_heard(&[&hana, &hugo], "directly");

    // Nothing else comes in: her node listens there, and this is as near as anybody outside gets.
    let listen = hana.status().listen;
    let tcp = listen.iter().find(|it| it.starts_with(&format!("/ip6/{}/tcp/", home_ip(21))));
    let port = tcp.and_then(|it| it.split('/').nth(4)).expect("a port").to_owned();
    let knock = |from: &Machine| from.run(&["python3", "-c", KNOCK, &home_ip(21), &port]);
    assert_eq!(knock(&her_router), "open");
    assert!(knock(&outside).starts_with("shut"));

    let said = hana.cli(&["status"]).ok();
    assert!(
        said.contains(&format!("ipv6      {}; met behind firewalls, too", home_ip(21))),
        "{said}"
    );
    let said = hana.cli(&["doctor"]);
    assert!(said.out.contains("also where firewalls are between"), "{said:?}");
    relay.kill9();
    all_are_heard(&[&hana, &hugo], "without the relay");
    for (one, other) in [(&hana, &hugo), (&hugo, &hana)] {
        until_path(one, other, "a direct path", |path| path.path == Path::Direct);
    }

    // The system calls from another address from now on, as after a day of one that is not for good: that is told.
    hers.give("e0", "2a00:21::77/64");
    hers.run(&["ip", "addr", "change", "2a00:21::2/64", "dev", "e0", "preferred_lft", "0"]);
    hana.until_status_within(MINUTES, "another address", is_met_at("2a00:21::77".into()));
    all_are_heard(&[&hana, &hugo], "whatever address is told");
}

#[test]
fn where_nats_let_nobody_through_ipv6_is_taken_and_who_has_none_is_told_so() {
    let Some(nets) = Nets::new() else { return };
    let internet = nets.slow_network("inet", INTERNET);
    let behind = |name: &str, number: u8| {
        let (outside, inside) =
            (format!("198.51.100.{number}/24"), format!("192.168.{number}.1/24"));
        let (home, router) = nets.behind(name, &internet, &outside, &inside, Nat::Symmetric);
        let machine = nets.machine(name);
        machine.plug(&home, "e0", &format!("192.168.{number}.{INSIDE}/24"));
        machine.route(&format!("192.168.{number}.1"));
        (machine, router)
    };
    let people = [behind("hana", 21), behind("hugo", 22)];
    for ((machine, router), number) in people.iter().zip([21, 22]) {
        router.give("ext", &format!("{}/64", router_ip(number)));
        router.give("int", &format!("2a00:{number}::1/64"));
        router.filters_six();
        machine.give("e0", &format!("{}/64", home_ip(number)));
        machine.route_six("default", &format!("2a00:{number}::1"));
    }
    let (sven, _) = behind("sven", 23);
    let [(hers, her_router), (his, his_router)] = &people;
    join_up(&[her_router, his_router], &[21, 22]);
    let outside = nets.machine("relay");
    outside.plug(&internet, "e0", "198.51.100.10/24");

    let world = World::new();
    let relay = world.relay_on(&outside, "198.51.100.10");
    let [hana, hugo, sven] = [("hana", hers), ("hugo", his), ("sven", &sven)]
        .map(|(name, machine)| world.node(name).on(machine).relay(&relay).start());
    hana.create_group("tea");
    for node in [&hugo, &sven] {
        node.join(&hana.invite("tea"));
    }
    for node in [&hana, &hugo, &sven] {
        node.until_people("tea", &["hana", "hugo", "sven"]);
    }
    until_direct([&hana, &hugo]);
    for node in [&hana, &hugo, &sven] {
        node.until_status("a NAT that changes ports", |status| {
            status.outside.first().is_some_and(|it| it.nat == types::Nat::ChangesPorts)
        });
    }
    let says = |node: &Node, other: &Node, why: &str| {
        let begin = format!("both NATs change ports; {why}; direct dial failed");
        until_path(node, other, &begin, |path| {
            path.path == Path::Relay && path.reason.starts_with(&begin)
        });
    };
    for node in [&hana, &hugo] {
        says(node, &sven, "it has no IPv6");
        says(&sven, node, "this machine has no IPv6");
    }
    sven.until_status("no IPv6", |status| {
        let six = status.ipv6.as_ref();
        six.is_some_and(|six| {
            six.problem == "this machine has no address of the internet over IPv6"
        })
    });
    all_are_heard(&[&hana, &hugo, &sven], "each as it can");
}
