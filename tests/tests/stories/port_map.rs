//! A home's router that lets nothing in, and passes a port on to who asks it to: Debian's miniupnpd on nftables.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use harness::{Machine, Nets, Node, PATIENCE, World, available};
use node::api::types::{Path, PortMap, Via};

/// What the router does: it lets out, and in what was asked for from within.
const RULES: &str = r#"
table inet filter {
    chain input {
        type filter hook input priority 0
        policy drop
        ct state established,related accept
        iifname { "lo", "lan0" } accept
    }
    chain forward {
        type filter hook forward priority 0
        policy drop
        ct state established,related accept
        iifname "lan0" oifname "ext0" accept
        jump mapped
    }
    chain mapped {
    }
}
table inet nat {
    chain prerouting {
        type nat hook prerouting priority -100
        jump mapped
    }
    chain postrouting {
        type nat hook postrouting priority 100
        jump mapped_out
        oifname "ext0" masquerade
    }
    chain mapped {
    }
    chain mapped_out {
    }
}
"#;

/// Who takes no calls: what comes is an answer, or dropped.
const CLOSED: &str = r#"
table inet filter {
    chain input {
        type filter hook input priority 0
        policy drop
        ct state established,related accept
        iifname "lo" accept
    }
}
"#;

const SETTINGS: &str = "
ext_ifname=ext0
listening_ip=lan0
port=0
secure_mode=yes
upnp_table_name=filter
upnp_nat_table_name=nat
upnp_forward_chain=mapped
upnp_nat_chain=mapped
upnp_nat_postrouting_chain=mapped_out
uuid=00000000-0000-0000-0000-000000000000
allow 1024-65535 192.168.78.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
";

/// A router's daemon.
struct Daemon(Child);

impl Daemon {
    fn on(router: &Machine, world: &World, settings: &str) -> Self {
        let (config, pid) = (world.dir().join("router.conf"), world.dir().join("router.pid"));
        fs::write(&config, format!("{SETTINGS}{settings}")).unwrap();
        let mut command = router.command("miniupnpd");
        command.arg("-d").arg("-f").arg(config).arg("-P").arg(pid);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Self(command.spawn().unwrap());
        let start = Instant::now();
        // Of PCP and NAT-PMP, or of UPnP's search.
        while ![":5351 ", ":1900 "].iter().any(|port| router.run(&["ss", "-lnu"]).contains(port)) {
            assert!(start.elapsed() < PATIENCE, "the router's daemon does not listen");
            sleep(LOOK);
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether miniupnpd is there. With `WATTLE_REQUIRE_ALL=1` it has to be.
fn is_installed() -> bool {
    let asked = Command::new("miniupnpd").arg("--version").stdout(Stdio::null()).status();
    available(asked.map_err(|_| "miniupnpd is not installed".into())).is_some()
}

fn rules(machine: &Machine, world: &World, rules: &str) {
    let file = world.dir().join("rules.nft");
    fs::write(&file, rules).unwrap();
    machine.run(&["nft", "-f", file.to_str().unwrap()]);
}

/// Waits until the router passes this many ports on to that address.
fn until_passed_on(router: &Machine, to: &str, ports: usize) {
    assert!(is_passed_on(router, to, ports, PATIENCE), "{ports} to {to}: {}", mapped(router));
}

/// Whether it does within so long a time.
fn is_passed_on(router: &Machine, to: &str, ports: usize, patience: Duration) -> bool {
    let start = Instant::now();
    while mapped(router).matches(&format!("{to}:")).count() != ports {
        if start.elapsed() >= patience {
            return false;
        }
        sleep(LOOK);
    }
    true
}

fn mapped(router: &Machine) -> String {
    router.run(&["nft", "list", "chain", "inet", "nat", "mapped"])
}

/// Ends a node, which gives back what leads to this address. For that it takes a second and a half, in which a machine that
/// is busy may not get there; then it is ended once more.
fn ends(node: &mut Node, router: &Machine, to: &str) {
    for _ in 0..TRIES {
        node.stop();
        if is_passed_on(router, to, 0, WHILE) {
            return;
        }
        node.start_again();
        until_mapped(node);
    }
    panic!("{} gives nothing back: {}", node.name(), mapped(router));
}

fn until_mapped(node: &Node) {
    node.until_status("a port of the router's", |status| {
        status.port_map.as_ref().is_some_and(|map| map.addresses.len() == 2)
    });
}

const LOOK: Duration = Duration::from_millis(100);
const TRIES: usize = 5;
const WHILE: Duration = Duration::from_secs(5);

fn map(node: &Node) -> PortMap {
    node.status().port_map.expect("a port is asked for")
}

/// Ana is at home behind such a router. Ben is outside, and nobody can call him: where they meet directly, he has
/// called her by the router's address.
fn passed_on(settings: &str, language: &str) {
    let Some(nets) = Nets::new() else { return };
    if !is_installed() {
        return;
    }
    let (home, outside, vpn) = (nets.network("home"), nets.network("out"), nets.network("vpn"));
    let [hers, router, his] = ["ana", "router", "ben"].map(|name| nets.machine(name));
    hers.plug(&home, "e0", "192.168.78.10/24");
    hers.run(&["ip", "route", "add", "default", "via", "192.168.78.1"]);
    router.plug(&home, "lan0", "192.168.78.1/24");
    router.plug(&outside, "ext0", "11.78.0.2/24");
    router.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    his.plug(&outside, "e0", "11.78.0.9/24");
    let world = World::new();
    rules(&router, &world, RULES);
    rules(&his, &world, CLOSED);

    // While nothing answers, that is said; what the router then gives is told.
    let mut ana = world.node("ana").on(&hers).no_relay().start();
    ana.stop();
    fs::write(ana.data_dir().join("relays"), "none\nmap-port\n").unwrap();
    ana.start_again();
    let ben = world.node("ben").on(&his).no_relay().start();
    ana.until_status("to hear that the router is silent", |status| {
        status.port_map.as_ref().is_some_and(|map| map.problem.contains("neither PCP"))
    });
    assert!(ana.cli(&["status"]).ok().contains("router    no port: "), "{:?}", map(&ana));
    let _daemon = Daemon::on(&router, &world, settings);
    ana.stop();
    ana.start_again();
    until_mapped(&ana);
    let given = map(&ana);
    assert_eq!(given.by, language);
    assert!(given.addresses.iter().all(|at| at.starts_with("/ip4/11.78.0.2/")), "{given:?}");
    until_passed_on(&router, "192.168.78.10", 2);
    let said = ana.cli(&["doctor"]);
    assert!(said.out.contains("passes a port on"), "{}", said.out);
    assert!(ben.status().port_map.is_none());

    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    ana.send("tea", "come in");
    ben.hears("tea", "come in");
    ben.send("tea", "through the front door");
    ana.hears("tea", "through the front door");
    let path = ben.status().paths.remove(0);
    assert_eq!(path.path, Path::Direct);
    assert!(path.address.is_some_and(|at| at.starts_with("/ip4/11.78.0.2/")));
    assert_eq!(ana.status().paths[0].via, Some(Via::Called));

    // Her machine gets another address at home, to which the router then passes a port on, too.
    hers.readdress("e0", "192.168.78.10/24", "192.168.78.20/24");
    hers.run(&["ip", "route", "replace", "default", "via", "192.168.78.1"]);
    until_passed_on(&router, "192.168.78.20", 2);
    // This router lets nobody but the address of before give back what leads there; it ends with its time.
    until_passed_on(&router, "192.168.78.10", 2);

    // While a VPN hides where she is, the router passes nothing on.
    hers.plug(&vpn, "tun0", "10.8.0.2/24");
    let halves = |what: &str| {
        for half in ["0.0.0.0/1", "128.0.0.0/1"] {
            hers.run(&["ip", "route", what, half, "via", "10.8.0.1"]);
        }
    };
    halves("add");
    until_passed_on(&router, "192.168.78.20", 0);
    ana.until_status("to hear of the tunnel", |status| {
        status.port_map.as_ref().is_some_and(|map| map.problem.contains("tunnel"))
    });
    halves("del");
    until_passed_on(&router, "192.168.78.20", 2);

    // Who ends gives it back. What a killed node left is renewed by its next start, or taken back.
    ends(&mut ana, &router, "192.168.78.20");
    ana.start_again();
    until_passed_on(&router, "192.168.78.20", 2);
    ana.kill9();
    ana.start_again();
    until_mapped(&ana);
    ends(&mut ana, &router, "192.168.78.20");
    ana.start_again();
    until_passed_on(&router, "192.168.78.20", 2);
    ana.kill9();
    ana.add_arg("--no-map-port");
    ana.start_again();
    until_passed_on(&router, "192.168.78.20", 0);
    assert!(ana.status().port_map.is_none());
}

#[test]
fn by_a_port_that_the_router_gives_by_pcp_a_member_is_reached_from_outside() {
    passed_on("enable_natpmp=yes\nenable_upnp=no\n", "PCP");
}

#[test]
fn by_a_port_that_the_router_gives_by_upnp_a_member_is_reached_from_outside() {
    passed_on("enable_natpmp=no\nenable_upnp=yes\n", "UPnP");
}

#[test]
fn who_does_not_ask_for_a_port_asks_no_router_for_anything() {
    let Some(nets) = Nets::new() else { return };
    let home = nets.network("home");
    let [hers, his, router] = ["ana", "ben", "router"].map(|name| nets.machine(name));
    for (machine, address) in [(&hers, "192.168.78.10/24"), (&his, "192.168.78.11/24")] {
        machine.plug(&home, "e0", address);
        machine.run(&["ip", "route", "add", "default", "via", "192.168.78.1"]);
    }
    router.plug(&home, "lan0", "192.168.78.1/24");
    let world = World::new();
    let count = r#"
        table inet filter {
            chain output {
                type filter hook output priority 0
                ip daddr 192.168.78.1 counter
                ip daddr 224.0.0.0/4 udp dport 1900 counter
            }
        }
    "#;
    rules(&hers, &world, count);
    let asked = || {
        let chain = hers.run(&["nft", "list", "chain", "inet", "filter", "output"]);
        chain
            .lines()
            .filter(|line| line.contains("packets") && !line.contains("packets 0 "))
            .count()
    };
    let mut ana = world.node("ana").on(&hers).no_relay().start();
    assert!(ana.status().port_map.is_none());
    const HIDDEN: [&[&str]; 3] =
        [&["--no-direct"], &["--lan-only"], &["--relay-proxy", "socks5://127.0.0.1:9"]];
    let others = HIDDEN.map(|settings| {
        // What is remembered is passed over where it would show what is to be hidden.
        let setting = settings[0];
        let other = world.node(&setting[2..]).on(&hers);
        let plain = if setting == "--lan-only" { other } else { other.no_relay() };
        let mut other = settings.iter().fold(plain, |it, word| it.arg(word)).start();
        fs::write(other.data_dir().join("relays"), "none\nmap-port\n").unwrap();
        other.stop();
        other.start_again();
        assert!(other.status().port_map.is_none(), "{setting}");
        other
    });
    // They have had as long for it as one takes that does ask, and has heard nothing.
    let hears_nothing = |node: &Node| {
        node.until_status("to hear that the router is silent", |status| {
            status.port_map.as_ref().is_some_and(|map| !map.problem.is_empty())
        });
    };
    hears_nothing(&world.node("ben").on(&his).no_relay().arg("--map-port").start());
    assert_eq!(asked(), 0);
    drop(others);
    // And had one asked, it would have been counted.
    ana.stop();
    ana.add_arg("--map-port");
    ana.start_again();
    hears_nothing(&ana);
    assert!(asked() > 0);
}
