//! People behind routers: who reaches whom how, and what is said of it where it could be better.

use std::time::Duration;

use harness::{INSIDE, Machine, Nat, Nets, Network, Node, PATIENCE, Said, Weather, World};
use node::api::types::{self, MemberPath, Path};

/// The internet: far enough for calls to cross.
const INTERNET: Weather =
    Weather { delay: Duration::from_millis(20), jitter: Duration::from_millis(3), loss: 0.005 };

/// Two behind NATs may have to wait for their moment of the minute, and a dead path is noticed late.
const MINUTES: Duration = PATIENCE.saturating_mul(3);

/// What somebody is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Public,
    /// One router, or two in a row, which keep ports.
    Home,
    /// A router that lets in what nobody asked for.
    Open,
    /// One that changes ports.
    Symmetric,
    /// One that carries no UDP.
    Tcp,
}

/// A machine on the internet.
fn public(nets: &Nets, internet: &Network, name: &str, number: u8) -> Machine {
    let machine = nets.machine(name);
    machine.plug(internet, "e0", &format!("198.51.100.{number}/24"));
    machine
}

/// A machine at home, behind a router on the internet, and that.
fn home(nets: &Nets, internet: &Network, name: &str, number: u8, nat: Nat) -> (Machine, Machine) {
    let outside = format!("198.51.100.{number}/24");
    let inside = format!("192.168.{number}.1/24");
    let (home, router) = nets.behind(name, internet, &outside, &inside, nat);
    (at_home(nets, &home, name, number), router)
}

fn behind(nets: &Nets, internet: &Network, name: &str, number: u8, nat: Nat) -> Machine {
    home(nets, internet, name, number, nat).0
}

/// The same, where the router's own network is behind one of its carrier's.
fn behind_two(nets: &Nets, internet: &Network, name: &str, number: u8) -> Machine {
    let outside = format!("198.51.100.{number}/24");
    let (carrier, _) =
        nets.behind(&format!("{name}c"), internet, &outside, "100.64.0.1/24", Nat::Home);
    let inside = format!("192.168.{number}.1/24");
    let (home, router) = nets.behind(name, &carrier, "100.64.0.2/24", &inside, Nat::Home);
    router.route("100.64.0.1");
    at_home(nets, &home, name, number)
}

fn at_home(nets: &Nets, home: &Network, name: &str, number: u8) -> Machine {
    let machine = nets.machine(name);
    machine.plug(home, "e0", &format!("192.168.{number}.{INSIDE}/24"));
    machine.route(&format!("192.168.{number}.1"));
    machine
}

/// What `one` says of why it does not reach `other` directly; nothing where it has to.
fn between(one: Kind, other: Kind) -> Option<&'static str> {
    use Kind::{Home, Open, Public, Symmetric, Tcp};
    const NEAR: &str = "it tells addresses of local networks only";
    const UNSEEN: &str = "no relay says how this machine looks from outside";
    Some(match (one, other) {
        (Public, _) | (_, Public) => return None,
        (Home | Open, Home | Open) | (Open, Symmetric) | (Symmetric, Open) => return None,
        (Home, Symmetric) => "its NAT changes ports",
        (Symmetric, Home) => "the NAT here changes ports",
        (Symmetric, Symmetric) => "both NATs change ports",
        (Home | Open, Tcp) => NEAR,
        (Symmetric, Tcp) => {
            "the NAT here changes ports, and it tells addresses of local networks only"
        }
        (Tcp, Home | Open) => UNSEEN,
        (Tcp, Symmetric) => "its NAT changes ports",
        (Tcp, Tcp) => {
            "no relay says how this machine looks from outside, and it tells addresses of local \
             networks only"
        }
    })
}

/// How `node` reaches `other`.
fn path(node: &Node, other: &Node) -> MemberPath {
    let mut paths = node.status().paths;
    paths.retain(|path| path.member.name == other.name());
    paths.pop().expect("somebody it knows")
}

fn until_path(node: &Node, other: &Node, what: &str, is: impl Fn(&MemberPath) -> bool) {
    node.until_status_within(MINUTES, &format!("{what} to {}", other.name()), |status| {
        let to = |path: &&MemberPath| path.member.name == other.name();
        status.paths.iter().find(to).is_some_and(&is)
    });
}

fn until_direct(node: &Node, other: &Node) {
    until_path(node, other, "a direct path", |path| path.path == Path::Direct);
}

/// Waits until `node` says that it reaches `other` by the relay, and of what is between just this.
fn until_relayed(node: &Node, other: &Node, says: &str) {
    until_path(node, other, &format!("{says:?} and a path by the relay"), |path| {
        path.path == Path::Relay && path.reason.starts_with(&format!("{says}; direct dial failed"))
    });
}

/// What each says arrives at all others.
fn all_are_heard(nodes: &[Node], text: &str) {
    for node in nodes {
        let text = format!("{text} from {}", node.name());
        node.send("tea", &text);
        for other in nodes.iter().filter(|other| other.name() != node.name()) {
            other.hears("tea", &text);
        }
    }
}

#[test]
fn behind_each_kind_of_nat_people_are_reached_as_well_as_can_be_and_told_why_not_better() {
    use Kind::{Home, Open, Public, Symmetric, Tcp};
    let Some(nets) = Nets::new() else { return };
    let internet = nets.slow_network("inet", INTERNET);
    let machines = [
        (Public, "pia", public(&nets, &internet, "pia", 30)),
        (Home, "hana", behind(&nets, &internet, "hana", 21, Nat::Home)),
        (Home, "hugo", behind(&nets, &internet, "hugo", 22, Nat::Home)),
        (Home, "cora", behind_two(&nets, &internet, "cora", 23)),
        (Open, "nora", behind(&nets, &internet, "nora", 24, Nat::Open)),
        (Open, "nils", behind(&nets, &internet, "nils", 25, Nat::Open)),
        (Symmetric, "sara", behind(&nets, &internet, "sara", 26, Nat::Symmetric)),
        (Symmetric, "sven", behind(&nets, &internet, "sven", 27, Nat::Symmetric)),
        (Tcp, "tara", behind(&nets, &internet, "tara", 28, Nat::Tcp)),
        (Tcp, "tom", behind(&nets, &internet, "tom", 29, Nat::Tcp)),
    ];
    let kinds = machines.each_ref().map(|(kind, ..)| *kind);
    let world = World::new();
    let mut relay = world.relay_on(&public(&nets, &internet, "relay", 10), "198.51.100.10");
    let nodes =
        machines.map(|(_, name, machine)| world.node(name).on(&machine).relay(&relay).start());
    let named = nodes.each_ref().map(Node::name);
    nodes[0].create_group("tea");
    for node in &nodes[1..] {
        node.join(&nodes[0].invite("tea"));
    }
    for node in &nodes {
        node.until_people("tea", &named);
    }
    // Whatever becomes of the paths, what is said arrives.
    all_are_heard(&nodes, "hello");

    for (kind, node) in kinds.into_iter().zip(&nodes) {
        let nat = match kind {
            Public => Some(types::Nat::None),
            Home | Open => Some(types::Nat::KeepsPorts),
            Symmetric => Some(types::Nat::ChangesPorts),
            Tcp => None,
        };
        node.until_status("how it looks from outside", |status| {
            status.outside.first().map(|outside| outside.nat) == nat
        });
    }
    for (one, node) in kinds.into_iter().zip(&nodes) {
        for (other, member) in kinds.into_iter().zip(&nodes) {
            if node.name() == member.name() {
                continue;
            }
            match between(one, other) {
                None => until_direct(node, member),
                Some(says) => until_relayed(node, member, says),
            }
        }
    }
    all_are_heard(&nodes, "once more");

    // What stands by way of two NATs is seen to by a ping, too: at the outer swarm.
    let [pia, hana, hugo, ..] = &nodes;
    let works = |said: &Said| {
        let works = |line: &str, way| line.starts_with(way) && line.contains(" ms");
        ["direct", "relay"].iter().all(|way| said.out.lines().any(|line| works(line, *way)))
    };
    let said = hana.cli_until(&["ping", hugo.name()], works);
    assert!(works(&said), "{said:?}");

    relay.kill9();
    let text = "without the relay";
    hana.send("tea", text);
    for (kind, other) in kinds.into_iter().zip(&nodes) {
        if between(Home, kind).is_none() && other.name() != hana.name() {
            other.hears("tea", text);
            until_direct(hana, other);
        }
    }
    println!("{}", pia.cli(&["status"]).ok());
    relay.restart();
    all_are_heard(&nodes, "with the relay again");
}

#[test]
fn a_path_through_two_nats_outlives_what_relays_say_and_comes_back_when_it_was_cut() {
    let Some(nets) = Nets::new() else { return };
    let internet = nets.slow_network("inet", INTERNET);
    let (hers, router) = home(&nets, &internet, "hana", 21, Nat::Home);
    let world = World::new();
    let relay = world.relay_on(&public(&nets, &internet, "relay", 10), "198.51.100.10");
    let hugo = world.node("hugo").on(&behind(&nets, &internet, "hugo", 22, Nat::Home));
    let (hana, hugo) =
        (world.node("hana").on(&hers).relay(&relay).start(), hugo.relay(&relay).start());
    hana.create_group("tea");
    hugo.join(&hana.invite("tea"));
    let both = [hana, hugo];
    let [hana, hugo] = &both;
    until_direct(hana, hugo);
    until_direct(hugo, hana);
    all_are_heard(&both, "directly");

    // In mid-conversation nothing goes between the two any more.
    router.cut("198.51.100.22");
    all_are_heard(&both, "while nobody knows");
    for (one, other) in [(hana, hugo), (hugo, hana)] {
        until_path(one, other, "the way by the relay", |path| path.path == Path::Relay);
    }
    all_are_heard(&both, "by the relay");
    router.heal();
    until_direct(hana, hugo);
    until_direct(hugo, hana);
    all_are_heard(&both, "directly again");

    // Her machine has one address more, and the relay says that ports change now: she has another outer swarm,
    // and can't be called from now on. What stands goes on.
    let since = path(hugo, hana).since;
    router.changes_ports();
    hers.give("e0", "192.168.21.77/24");
    hana.until_status("ports to change", |status| {
        let outside = status.outside.first();
        outside.is_some_and(|outside| outside.nat == types::Nat::ChangesPorts)
    });
    all_are_heard(&both, "whatever relays say");
    for (one, other) in [(hana, hugo), (hugo, hana)] {
        assert_eq!(path(one, other).path, Path::Direct);
    }
    assert_eq!(path(hugo, hana).since, since);
}

#[test]
fn who_takes_a_machine_to_another_network_goes_on_there() {
    let Some(nets) = Nets::new() else { return };
    let internet = nets.slow_network("inet", INTERNET);
    let home = behind(&nets, &internet, "mia", 26, Nat::Home);
    let (cafe, _) =
        nets.behind("cafe", &internet, "198.51.100.27/24", "192.168.27.1/24", Nat::Home);
    let world = World::new();
    let relay = world.relay_on(&public(&nets, &internet, "relay", 10), "198.51.100.10");
    let pia = world.node("pia").on(&public(&nets, &internet, "pia", 30)).relay(&relay).start();
    let hugo = world.node("hugo").on(&behind(&nets, &internet, "hugo", 22, Nat::Home));
    let hugo = hugo.relay(&relay).start();
    let mia = world.node("mia").on(&home).relay(&relay).start();
    pia.create_group("tea");
    for node in [&hugo, &mia] {
        node.join(&pia.invite("tea"));
    }
    let others = [&pia, &hugo];
    for other in others {
        until_direct(&mia, other);
    }
    let is_outside = |at: &'static str| {
        move |status: &types::Status| status.outside.first().is_some_and(|it| it.address == at)
    };
    mia.until_status("its address outside", is_outside("198.51.100.26"));
    mia.send("tea", "at home");
    for other in others {
        other.hears("tea", "at home");
    }

    home.take("e0", "192.168.26.2/24");
    mia.send("tea", "on the way");
    home.plug(&cafe, "e1", "192.168.27.2/24");
    home.route("192.168.27.1");
    for other in others {
        other.hears("tea", "on the way");
    }
    pia.send("tea", "where are you?");
    mia.hears("tea", "where are you?");
    mia.until_status("its new address outside", is_outside("198.51.100.27"));
    for other in others {
        until_direct(&mia, other);
        until_direct(other, &mia);
    }
}
