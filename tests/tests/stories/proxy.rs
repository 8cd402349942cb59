//! Somebody who reaches the relay by way of a SOCKS5 proxy, and of nothing else.

use std::process::{Child, Command, Stdio};

use harness::{Machine, Nets, World, available};
use node::api::types::Path;

/// Debian's microsocks on a machine, until it is dropped.
struct Socks(Child);

impl Socks {
    fn on(machine: &Machine) -> Self {
        let mut command = machine.command("microsocks");
        let quiet = command.args(["-p", PORT]).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().unwrap())
    }
}

impl Drop for Socks {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program that it runs.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PORT: &str = "1080";

/// Packets that left a machine for anywhere but the proxy: none of them gets far.
fn around(machine: &Machine) -> u64 {
    let said = machine.run(&["nft", "list", "counter", "inet", "watch", "around"]);
    let count = said.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.unwrap().parse().unwrap()
}

fn watch(machine: &Machine) {
    let rules = [
        "add table inet watch",
        "add counter inet watch around",
        "add chain inet watch out { type filter hook output priority 0 ; policy accept ; }",
        "add rule inet watch out oifname lo accept",
        "add rule inet watch out ip daddr 10.79.1.1 tcp dport 1080 accept",
        "add rule inet watch out meta l4proto { tcp, udp } counter name around drop",
    ];
    for rule in rules {
        machine.run(&["nft", rule]);
    }
}

pub(super) fn is_installed() -> bool {
    let there = Command::new("sh").args(["-c", "command -v microsocks"]).output();
    let there = there.is_ok_and(|said| said.status.success());
    available(there.then_some(()).ok_or_else(|| "microsocks is not installed".into())).is_some()
}

#[test]
fn by_way_of_a_proxy_people_converse_and_no_packet_goes_around_it() {
    let Some(nets) = Nets::new() else { return };
    if !is_installed() {
        return;
    }
    let (inside, outside) = (nets.network("inside"), nets.network("outside"));
    let [hers, between, his] = ["ana", "proxy", "ben"].map(|name| nets.machine(name));
    hers.plug(&inside, "e0", "10.79.1.2/24");
    between.plug(&inside, "e0", "10.79.1.1/24");
    between.plug(&outside, "e1", "10.79.2.1/24");
    his.plug(&outside, "e0", "10.79.2.2/24");
    // What leaves for elsewhere would go by way of the proxy's machine: it is counted, and dropped.
    hers.run(&["ip", "route", "add", "default", "via", "10.79.1.1"]);
    watch(&hers);
    let socks = Socks::on(&between);

    let world = World::new();
    let ben = world.node("ben").on(&his).arg("--host").start();
    let relays = &ben.ready().relays;
    let relay = relays.iter().find(|it| it.contains("/10.79.2.2/tcp/")).unwrap();
    let ana = world.node("ana").on(&hers).relay_at(relay).arg("--relay-only");
    let ana = ana.arg("--relay-proxy").arg("socks5://10.79.1.1:1080").start();
    ben.create_group("tea");
    ana.join(&ben.invite("tea"));
    ben.send("tea", "can you hear me?");
    ana.hears("tea", "can you hear me?");
    ana.send("tea", "as if you were next door");
    ben.hears("tea", "as if you were next door");
    let status = ana.status();
    assert_eq!(status.relay_proxy.as_deref(), Some("socks5://10.79.1.1:1080"));
    assert!(status.paths.iter().all(|path| path.path == Path::Relay), "{status:#?}");
    assert!(ben.status().paths.iter().all(|path| path.address.is_none()), "she shows no address");

    drop(socks);
    ana.until_status("the proxy to be missed", |status| {
        status.relays.iter().all(|relay| relay.reason.contains("proxy"))
    });
    ben.send("tea", "still there?");
    ana.send("tea", "wait");
    let _socks = Socks::on(&between);
    ana.hears("tea", "still there?");
    ben.hears("tea", "wait");
    assert_eq!(around(&hers), 0);
    // One that does go around is counted.
    hers.run(&["bash", "-c", "echo > /dev/udp/10.79.2.2/9 || true"]);
    assert_eq!(around(&hers), 1);
}
