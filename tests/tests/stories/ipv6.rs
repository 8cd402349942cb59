//! A network that has IPv6 and nothing else.

use harness::{Nets, Node, World};
use node::api::types::Path;

const NAMES: [&str; 3] = ["relay", "ana", "ben"];

fn ip(number: usize) -> String {
    format!("2a00:79::{}", number + 1)
}

/// Waits until each reaches the other by IPv6 and this transport.
fn reach_each_other(nodes: [&Node; 2], transport: &str) {
    for node in nodes {
        node.until_status(&format!("a direct path by {transport}"), |status| {
            let [path] = &status.paths[..] else { return false };
            let address = path.address.as_deref().unwrap_or_default();
            path.path == Path::Direct
                && address.starts_with("/ip6/2a00:79::")
                && address.contains(transport)
        });
    }
}

#[test]
fn with_ipv6_alone_people_join_and_reach_each_other_by_tcp_and_by_quic() {
    let Some(nets) = Nets::new() else { return };
    let network = nets.network("six");
    let machines = [0, 1, 2].map(|number| {
        let machine = nets.machine(NAMES[number]);
        machine.plug(&network, "e0", &format!("{}/64", ip(number)));
        machine
    });
    let world = World::new();
    let relay = world.relay_on(&machines[0], &format!("[{}]", ip(0)));
    let ana = world.node("ana").on(&machines[1]).relay(&relay).start();
    let mut ben = world.node("ben").on(&machines[2]).relay(&relay).start();
    ana.create_group("tea");
    ben.join(&ana.invite("tea"));
    reach_each_other([&ana, &ben], "/");
    ana.send("tea", "six is enough");
    ben.hears("tea", "six is enough");

    for (kept, dropped) in [("/tcp/", "udp"), ("/quic-v1", "tcp")] {
        ben.stop();
        // Not what goes to the relay.
        let rules = format!(
            "add table inet no; flush table inet no; \
             add chain inet no way {{ type filter hook input priority 0; }}; \
             add rule inet no way ip6 saddr {} meta l4proto {dropped} drop",
            ip(1)
        );
        machines[2].run(&["nft", &rules]);
        ben.start_again();
        reach_each_other([&ana, &ben], kept);
        ben.send("tea", &format!("without {dropped}"));
        ana.hears("tea", &format!("without {dropped}"));
    }
}
