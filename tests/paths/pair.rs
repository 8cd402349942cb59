//! Two members of a group, with a relay or without one, somewhere.

use std::{
    thread,
    time::{Duration, Instant},
};

use harness::{Machine, Nat, Nets, Network, Node, Relay, Weather, World};
use node::api::types::{Event, MemberPath, Path, RelayState, What};

/// The group in which they talk.
pub const GROUP: &str = "tea";

/// Where they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Loopback,
    /// Each on a machine of its own, on one switch.
    Switch,
    /// The same, where packets take so long from one to another.
    Far(Duration),
    /// The same, each behind a router such as people have at home.
    Homes(Duration),
}

/// What they may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// Nothing but direct paths: there is no relay.
    Direct,
    /// The relay alone.
    Relayed,
    /// Whatever there is.
    Both,
}

/// The two.
pub struct Pair {
    /// Who made the group.
    pub ana: Node,
    /// Who came second.
    pub ben: Node,
    relay: Option<Relay>,
    grounds: Option<Grounds>,
    _world: World,
}

/// The machines that they are on.
struct Grounds {
    machines: [Machine; 2],
    relay: Machine,
    _networks: Vec<Network>,
    _nets: Nets,
}

/// Addresses on the internet, as documents have it (RFC 5737).
const RELAY: &str = "198.51.100.10";
const NUMBERS: [u8; 2] = [21, 22];
const NAMES: [&str; 2] = ["ana", "ben"];

/// How often a status is read while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Pair {
    /// Two members who have talked once, or why they can't be there.
    pub fn meet(place: Place, ways: Ways) -> Result<Self, String> {
        let grounds = Grounds::of(place)?;
        let world = World::new();
        let relay = (ways != Ways::Direct).then(|| match &grounds {
            None => world.relay(),
            Some(grounds) => world.relay_on(&grounds.relay, RELAY),
        });
        let [ana, ben] = [0, 1].map(|at| {
            let setup = world.node(NAMES[at]);
            let setup = match &grounds {
                None => setup,
                Some(grounds) => setup.on(&grounds.machines[at]),
            };
            let setup = match &relay {
                None => setup.no_relay(),
                Some(relay) => setup.relay(relay),
            };
            match ways {
                Ways::Relayed => setup.no_direct().start(),
                Ways::Direct | Ways::Both => setup.start(),
            }
        });
        ana.create_group(GROUP);
        ben.join(&ana.invite(GROUP));
        for node in [&ana, &ben] {
            node.until_people(GROUP, &NAMES);
        }
        let pair = Self { ana, ben, relay, grounds, _world: world };
        // The first message of each makes the keys for all others.
        pair.say("hello");
        let back = pair.ben.send(GROUP, "hello yourself");
        pair.ana.hears(GROUP, "hello yourself");
        pair.ben.until_received(&back);
        Ok(pair)
    }

    /// Has one text sent, and answers how long it took from there until the other had read it.
    pub fn say(&self, text: &str) -> Duration {
        let seen = self.ben.latest_event();
        let begun = Instant::now();
        self.ana.send(GROUP, text);
        self.ben.until_after(seen, &format!("{text:?}"), |event| reads(event, text));
        begun.elapsed()
    }

    /// How Ana reaches Ben, as her status says.
    pub fn path(&self) -> MemberPath {
        self.ana.status().paths.pop().expect("the other member")
    }

    /// Waits until each says that the other is reached so; else what Ana says.
    pub fn reaches(&self, path: Path, patience: Duration) -> Result<(), String> {
        let begun = Instant::now();
        let is_so = |node: &Node| node.status().paths.iter().all(|known| known.path == path);
        while ![&self.ana, &self.ben].into_iter().all(is_so) {
            if begun.elapsed() > patience {
                return Err(format!("not reached: path is {}", words(&self.path())));
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Waits until all that Ana has sent is where it can be fetched.
    pub fn until_sent(&self) {
        self.ana.until_status("all to be kept by the relay", |status| {
            status.groups.iter().all(|group| group.queued == 0)
                && status.relays.iter().all(|relay| relay.waiting == 0)
        });
    }

    /// Ends the relay without a word.
    pub fn kill_relay(&mut self) {
        self.relay.as_mut().expect("a relay").kill9();
    }

    /// Starts it again; returns when it serves.
    pub fn restart_relay(&mut self) {
        self.relay.as_mut().expect("a relay").restart();
    }

    /// Waits until both have it again.
    pub fn until_relay_up(&self) {
        for node in [&self.ana, &self.ben] {
            node.until_status("the relay to be up", |status| {
                status.relays.iter().all(|relay| relay.state == RelayState::Up)
            });
        }
    }

    /// The sizes of what the relay keeps. Only after [`Pair::kill_relay`].
    pub fn kept(&self) -> Vec<usize> {
        self.relay.as_ref().expect("a relay").stored().iter().map(Vec::len).collect()
    }

    /// Has every packet between the two dropped, and none other.
    pub fn cut(&self) {
        let [_, other] = NUMBERS;
        let rules = format!(
            "add table inet cut {{
                chain out {{
                    type filter hook output priority filter;
                    oifname \"e0\" ip daddr 198.51.100.{other} drop;
                    oifname \"e0\" meta nfproto ipv6 drop;
                }}
                chain in {{
                    type filter hook input priority filter;
                    iifname \"e0\" ip saddr 198.51.100.{other} drop;
                    iifname \"e0\" meta nfproto ipv6 drop;
                }}
            }}"
        );
        self.machines()[0].run(&["nft", &rules]);
    }

    /// Undoes that.
    pub fn mend(&self) {
        self.machines()[0].run(&["nft", "delete table inet cut"]);
    }

    /// The machines that they are on; Ana's and Ben's interface is `e0`.
    pub fn machines(&self) -> &[Machine; 2] {
        &self.grounds.as_ref().expect("machines of their own").machines
    }
}

impl Grounds {
    fn of(place: Place) -> Result<Option<Self>, String> {
        let delay = match place {
            Place::Loopback => return Ok(None),
            Place::Switch => None,
            Place::Far(delay) | Place::Homes(delay) => Some(delay),
        };
        let nets = Nets::try_new()?;
        let outer = match delay {
            None => nets.network("inet"),
            Some(delay) => {
                nets.slow_network("inet", Weather { delay, jitter: Duration::ZERO, loss: 0.0 })
            }
        };
        let mut networks = Vec::new();
        let machines = [0, 1].map(|at| {
            let (name, number) = (NAMES[at], NUMBERS[at]);
            let machine = nets.machine(name);
            let outside = format!("198.51.100.{number}/24");
            if !matches!(place, Place::Homes(_)) {
                machine.plug(&outer, "e0", &outside);
                return machine;
            }
            let router = format!("192.168.{number}.1");
            let (home, _) = nets.behind(name, &outer, &outside, &format!("{router}/24"), Nat::Home);
            machine.plug(&home, "e0", &format!("192.168.{number}.2/24"));
            machine.route(&router);
            networks.push(home);
            machine
        });
        let relay = nets.machine("relay");
        relay.plug(&outer, "e0", &format!("{RELAY}/24"));
        networks.push(outer);
        Ok(Some(Self { machines, relay, _networks: networks, _nets: nets }))
    }
}

/// Whether a message with this text was read.
pub fn reads(event: &Event, text: &str) -> Option<()> {
    match &event.what {
        What::Message { message } if !message.mine && message.text == text => Some(()),
        _ => None,
    }
}

/// Whether the other is reached so from now on.
pub fn turns(event: &Event, path: Path) -> Option<()> {
    match &event.what {
        What::Path { path: now } if now.path == path => Some(()),
        _ => None,
    }
}

/// A path as its status says it.
pub fn words(path: &MemberPath) -> String {
    match (path.path, &path.address) {
        (Path::Direct, address) => {
            let address = address.as_deref().unwrap_or_default();
            let address = address.split("/p2p/").next().unwrap_or_default();
            format!("direct {address}")
        }
        (Path::Relay, _) => format!("relay: {}", path.reason),
        (Path::None, _) => format!("none: {}", path.reason),
    }
}
